//! `--print-env`, and which MPI a program means.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Mpi, Provider, as_root, finish, path};
use crate::running::elastane;

#[test]
fn variables_of_each_mpi_are_printed_for_shells_and_programs() {
    let provider = Provider::build();
    let folder = provider.linked_folder();
    let folder = folder.to_str().unwrap();
    for (mpi, version, wanted) in [
        (
            Mpi::Debian,
            "4.",
            vec![
                ("FI_PROVIDER_PATH", folder),
                ("FI_PROVIDER", "elastane"),
                ("OMPI_MCA_mtl", "ofi"),
                ("OMPI_MCA_osc", "sm,pt2pt"),
            ],
        ),
        (Mpi::Wheel, "5.", vec![("FI_PROVIDER_PATH", folder)]),
        (
            Mpi::Mpich,
            "5.",
            vec![
                ("FI_PROVIDER_PATH", folder),
                ("MPIR_CVAR_CH4_NETMOD", "ofi"),
                ("FI_PROVIDER", "elastane"),
            ],
        ),
        (Mpi::Intel, "2021.", vec![("FI_PROVIDER_PATH", folder), ("FI_PROVIDER", "elastane")]),
    ] {
        let lines = finish(mpi.run(&provider, &["--print-env"]));
        let exports: String =
            wanted.iter().map(|(name, value)| format!("export {name}={value}\n")).collect();
        assert_eq!(lines.success(), exports);
        assert_eq!(lines.stderr, "");
        let document = finish(mpi.run(&provider, &["--print-env", "--json"]));
        let document: Value = serde_json::from_str(document.success()).unwrap();
        let wanted: serde_json::Map<_, _> =
            wanted.iter().map(|(name, value)| (String::from(*name), json!(value))).collect();
        assert_eq!(document["variables"], Value::Object(wanted));
        assert_eq!(document["mpi"], mpi.id());
        assert!(document["version"].as_str().unwrap().starts_with(version), "{document}");
        let launcher = Path::new(document["launcher"].as_str().unwrap());
        assert_eq!(launcher.parent().unwrap(), mpi.bin());
    }
}

#[test]
fn name_of_efa_is_asked_for() {
    let provider = Provider::build();
    let finished = finish(Mpi::Mpich.run(&provider, &["--efa-name", "--print-env"]));
    for line in ["export FI_ELASTANE_NAME=efa", "export FI_PROVIDER=efa"] {
        assert!(finished.success().lines().any(|l| l == line), "{finished:?}");
    }
}

/// What `elastane run --print-env PROGRAM` says of the launcher, with all MPIs on the `PATH`, the
/// one that is meant last.
fn launcher_for(program: &Path, meant: Mpi) -> Value {
    let provider = Provider::build();
    let mut folders: Vec<_> =
        Mpi::ALL.iter().filter(|&&mpi| mpi != meant).map(|m| m.bin()).collect();
    folders.push(meant.bin());
    folders.push("/bin".into());
    let mut command = elastane(&["run", "--print-env", "--json", "--provider-library"]);
    command.arg(&provider.library).arg(program);
    as_root(&mut command);
    command.env("PATH", path(&folders.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
    let finished = finish(command);
    serde_json::from_str(finished.success()).expect("JSON")
}

#[test]
fn program_decides_which_launcher_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (source, linked) = (folder.path().join("a.c"), folder.path().join("a.out"));
    fs::write(&source, "#include <mpi.h>\nint main() { return MPI_Init(0, 0); }\n").unwrap();
    let compiled =
        Command::new("/usr/bin/mpicc").arg(&source).arg("-o").arg(&linked).status().unwrap();
    assert!(compiled.success());
    let script = folder.path().join("ring.py");
    fs::write(&script, format!("#!{}\nimport mpi4py\n", Mpi::Mpich.python().display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (program, meant) in [
        (linked, Mpi::Debian),
        (script, Mpi::Mpich),
        (Mpi::Wheel.python(), Mpi::Wheel),
        (Mpi::Intel.python(), Mpi::Intel),
        (Mpi::Intel.bin().join("IMB-MPI1"), Mpi::Intel),
    ] {
        let document = launcher_for(&program, meant);
        let launcher = Path::new(document["launcher"].as_str().unwrap());
        assert_eq!(launcher.parent().unwrap(), meant.bin(), "{} {document}", program.display());
    }
}
