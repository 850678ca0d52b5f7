//! `elastane install`.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use super::{Provider, compile, finish};
use crate::running::{Running, elastane};

fn install(provider: &Provider, prefix: &Path, arguments: &[&str]) -> Command {
    let mut command = elastane(&["install", "--prefix"]);
    command.arg(prefix).args(arguments);
    if !arguments.contains(&"--uninstall") {
        command.arg("--provider-library").arg(&provider.library);
    }
    command
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[test]
fn library_is_put_in_place_and_removed() {
    let provider = Provider::build();
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("new/libfabric");
    let place = prefix.join("libelastane-fi.so");
    let line = |said: &str| format!("{}: {said}\n", place.display());
    let done = |arguments: &[&str]| finish(install(&provider, &prefix, arguments));

    assert_eq!(done(&["--dry-run"]).success(), line("would be installed"));
    assert!(!prefix.exists());
    let finished = done(&[]);
    assert_eq!(finished.success(), line("installed"));
    let advice = format!("FI_PROVIDER_PATH={}", prefix.display());
    assert!(finished.stderr.contains(&advice), "{finished:?}");
    assert_eq!(fs::read(&place).unwrap(), fs::read(&provider.library).unwrap());
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(done(&[]).success(), line("is there"));

    let mut older = fs::read(&place).unwrap();
    older.push(0);
    fs::write(&place, older).unwrap();
    assert_eq!(done(&[]).success(), line("replaced what was there"));
    assert_eq!(done(&["--uninstall", "--dry-run"]).success(), line("would be removed"));
    assert_eq!(done(&["--uninstall"]).success(), line("removed"));
    assert_eq!(done(&["--uninstall"]).success(), "it is installed nowhere\n");
    assert_eq!(names(&prefix), [""; 0]);
}

#[test]
fn many_at_once_leave_one_whole_library() {
    let provider = Provider::build();
    let prefix = tempfile::tempdir().unwrap();
    let running: Vec<_> =
        (0..8).map(|_| Running::start(install(&provider, prefix.path(), &["--json"]))).collect();
    for one in running {
        let finished = one.finish();
        let places: serde_json::Value = serde_json::from_str(finished.success()).unwrap();
        let step = places[0]["step"].as_str().unwrap();
        assert!(["installed", "replaced", "unchanged"].contains(&step), "{places}");
    }
    assert_eq!(names(prefix.path()), ["libelastane-fi.so"]);
    let place = prefix.path().join("libelastane-fi.so");
    assert_eq!(fs::read(place).unwrap(), fs::read(&provider.library).unwrap());
}

#[test]
fn provider_of_others_is_kept_unless_forced() {
    let provider = Provider::build();
    let prefix = tempfile::tempdir().unwrap();
    let place = prefix.path().join("libefa-fi.so");
    compile("void *fi_prov_ini(void) { return 0; }", &place, &[]);
    let others = fs::read(&place).unwrap();
    let done = |arguments: &[&str]| finish(install(&provider, prefix.path(), arguments));

    let finished = done(&["--name", "efa"]);
    assert!(finished.error().contains("--force"), "{finished:?}");
    assert!(finished.error().contains(place.to_str().unwrap()), "{finished:?}");
    assert!(done(&["--uninstall"]).success().contains("left, as it is not elastane's"));
    assert_eq!(fs::read(&place).unwrap(), others);

    done(&["--name", "efa", "--force"]).success();
    assert_eq!(fs::read(&place).unwrap(), fs::read(&provider.library).unwrap());
    done(&[]).success();
    assert_eq!(names(prefix.path()), ["libefa-fi.so", "libelastane-fi.so"]);
    done(&["--uninstall"]).success();
    assert_eq!(names(prefix.path()), [""; 0]);
}

#[test]
fn folders_where_libfabric_looks_are_found() {
    let provider = Provider::build();
    let mut command = elastane(&["install", "--dry-run", "--provider-library"]);
    command.arg(&provider.library);
    let finished = finish(command);
    // An ordinary user is told so by an error, which names the folder too.
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("/usr/lib/x86_64-linux-gnu/libfabric"), "{finished:?}");
}

#[test]
fn folder_that_cannot_be_written_is_named() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    const NOBODY: u32 = 65534;
    let provider = Provider::build();
    // Where others may look, unlike in a folder of root's.
    let open = tempfile::tempdir().unwrap();
    let locked = open.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let program = open.path().join("elastane");
    fs::copy(env!("CARGO_BIN_EXE_elastane"), &program).unwrap();
    let library = open.path().join("libelastane-fi.so");
    fs::copy(&provider.library, &library).unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.args(["install", "--prefix"]).arg(&locked).uid(NOBODY).gid(NOBODY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = finish(command);
    assert!(finished.error().contains(locked.to_str().unwrap()), "{finished:?}");
    assert!(finished.error().contains("run it as root, or give --prefix"), "{finished:?}");
    assert_eq!(names(&locked), [""; 0]);
}
