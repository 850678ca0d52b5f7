//! The library that is tested, where it was built.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The provider: `ELASTANE_PROVIDER_LIBRARY`, or the newest that cargo left. Tests of the whole
/// workspace leave one that is not beside the command.
fn built() -> Result<PathBuf, [PathBuf; 2]> {
    if let Some(named) = env::var_os("ELASTANE_PROVIDER_LIBRARY") {
        return Ok(named.into());
    }
    let folder = Path::new(env!("CARGO_BIN_EXE_elastane")).parent().expect("a folder");
    let places = ["libelastane_fi.so", "deps/libelastane_fi.so"].map(|name| folder.join(name));
    let modified = |path: &&PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = places.iter().filter(|path| path.exists()).max_by_key(modified).cloned();
    newest.ok_or(places)
}

/// Where it is.
pub(crate) fn library() -> PathBuf {
    built().unwrap_or_else(|places| panic!("none of {places:?}: build elastane-provider"))
}

/// Has a command find this one first, if there is one.
pub(crate) fn offer(command: &mut Command) {
    if let Ok(library) = built() {
        command.env("FI_PROVIDER_PATH", format!("+{}", library.display()));
    }
}
