//! The library where libfabric finds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The library in a folder of its own, under a name that libfabric looks for.
pub(crate) struct Installed(tempfile::TempDir);

impl Installed {
    pub(crate) fn named(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(library(), folder.path().join(file)).unwrap();
        Self(folder)
    }

    pub(crate) fn ours() -> Self {
        Self::named("libelastane-fi.so")
    }

    /// One of the programs of the Debian package libfabric-bin.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.set_up(Command::new(program))
    }

    /// A command whose libfabric finds the library.
    pub(crate) fn set_up(&self, mut command: Command) -> Command {
        let set = env::vars_os().map(|(name, _)| name);
        for name in set.filter(|name| name.as_encoded_bytes().starts_with(b"FI_")) {
            command.env_remove(name);
        }
        command.env("FI_PROVIDER_PATH", self.0.path());
        command
    }
}

/// Cargo puts the library beside the tests that it was built with.
pub(crate) fn library() -> PathBuf {
    let test = env::current_exe().unwrap();
    let folders = test.ancestors().skip(1).take(2).map(Path::to_owned);
    let candidates: Vec<_> = folders.map(|folder| folder.join("libelastane_fi.so")).collect();
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = candidates.iter().filter(|path| path.exists()).max_by_key(|path| modified(path));
    newest.unwrap_or_else(|| panic!("none of {candidates:?} was built")).clone()
}
