//! The provider's library: where it is, and the folder libfabric is to be told of.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;

use super::{elf, libfabric};

/// The name under which libfabric and people know it.
pub(crate) const FILE: &str = "libelastane-fi.so";
/// The name under which it takes the place of EFA's.
pub(crate) const EFA_FILE: &str = "libefa-fi.so";
/// Both names of an installed library.
pub(crate) const FILES: [&str; 2] = [FILE, EFA_FILE];
/// What cargo calls it.
const BUILT: &str = "libelastane_fi.so";

/// Finds the library: `named`, on `FI_PROVIDER_PATH`, beside this program, or installed.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        check(path).context("--provider-library")?;
        return Ok(path::absolute(path)?);
    }
    let mut places = on_the_provider_path();
    let program = env::current_exe().context("cannot tell where this program is")?;
    let beside = program.parent().unwrap_or(Path::new("/"));
    places.extend([beside.join(FILE), beside.join(BUILT), beside.join("../lib").join(FILE)]);
    if let Some(found) = places.iter().find_map(|place| ours(place)) {
        return Ok(found);
    }
    let installed: Vec<PathBuf> =
        libfabric::copies().into_iter().filter_map(|copy| copy.providers).collect();
    let files = installed.iter().flat_map(|folder| FILES.map(|file| folder.join(file)));
    files.into_iter().find_map(|place| ours(&place)).with_context(|| absent(beside, &installed))
}

/// The path, made absolute, if the library is there. A link keeps its name, which may be the one
/// that libfabric takes.
fn ours(place: &Path) -> Option<PathBuf> {
    let path = path::absolute(place).ok()?;
    (path.is_file() && check(&path).is_ok()).then_some(path)
}

fn absent(beside: &Path, installed: &[PathBuf]) -> String {
    let mut folders: Vec<_> = installed.iter().map(|folder| folder.display().to_string()).collect();
    folders.insert(0, beside.display().to_string());
    folders.dedup();
    format!(
        "the provider's library {FILE} is not on FI_PROVIDER_PATH and not in {}: build it with \
         `cargo build --release --package elastane-provider`, or name it with --provider-library",
        folders.join(", ")
    )
}

/// The libraries that `FI_PROVIDER_PATH` leads to: a list of folders, of `@` and of `+LIBRARY`.
fn on_the_provider_path() -> Vec<PathBuf> {
    let value = env::var_os("FI_PROVIDER_PATH").unwrap_or_default();
    let entries = env::split_paths(&value).collect::<Vec<_>>();
    let places = entries.iter().flat_map(|entry| {
        let text = entry.to_string_lossy();
        let text = text.trim_start_matches('@');
        match text.strip_prefix('+') {
            Some(library) => vec![PathBuf::from(library)],
            None if text.is_empty() => Vec::new(),
            None => FILES.iter().map(|file| Path::new(text).join(file)).collect(),
        }
    });
    places.collect()
}

/// Refuses what libfabric would not load, and providers of others.
pub(crate) fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        bail!("{shown} is a folder: name the library in it");
    }
    let facts = elf::read(path)?;
    let Some(facts) = facts else { bail!("{shown} is no shared library") };
    if !facts.exports.iter().any(|name| name == "fi_prov_ini") {
        bail!("{shown} has no fi_prov_ini: it is no provider of libfabric");
    }
    if !is_ours(path)? {
        bail!("{shown} is a provider of libfabric, but not elastane's");
    }
    Ok(())
}

/// Whether the file names this project, as every build of the provider does.
pub(crate) fn is_ours(path: &Path) -> Result<bool> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(memmem::find(&bytes, b"elastane").is_some())
}

/// A folder with the library under a name that libfabric takes: its own where it has such a name,
/// else one beside it with a link.
pub(crate) fn folder(library: &Path) -> Result<PathBuf> {
    let own = library.parent().unwrap_or(Path::new("/"));
    if library.file_name().is_some_and(|name| FILES.iter().any(|file| name == *file)) {
        return Ok(own.to_owned());
    }
    let beside = link_in(&own.join("elastane-libfabric"), library);
    let Err(error) = beside else { return beside };
    // The library is in a folder of somebody else's.
    let Some(cache) = cache() else {
        return Err(error).with_context(|| {
            format!("no folder for a link to {}: copy it as {FILE}", library.display())
        });
    };
    // A folder for each library: two users of it find the same link.
    let name = library.to_string_lossy().replace('/', "-");
    let folder = cache.join("elastane").join(name.trim_start_matches('-'));
    link_in(&folder, library)
        .with_context(|| format!("cannot make a link to the library in {}", folder.display()))
}

/// Where a user's programs may keep what can be made again.
fn cache() -> Option<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
}

fn link_in(folder: &Path, library: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let link = folder.join(FILE);
    if fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(folder.to_owned());
    }
    // Renamed over what is there: another process may read it, or do the same.
    let fresh = tempfile::Builder::new()
        .prefix(".elastane-")
        .make_in(folder, |path| symlink(library, path))?;
    match fresh.persist(&link) {
        Ok(()) => Ok(folder.to_owned()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_library_gets_a_folder_with_a_link_of_the_right_name() {
        let place = tempfile::tempdir().unwrap();
        let library = place.path().join(BUILT);
        fs::write(&library, "library").unwrap();
        for _ in 0..2 {
            let folder = folder(&library).unwrap();
            assert_eq!(fs::read_to_string(folder.join(FILE)).unwrap(), "library");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        }
        let installed = place.path().join(EFA_FILE);
        assert_eq!(folder(&installed).unwrap(), place.path());
    }

    #[test]
    fn what_is_no_provider_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let text = place.path().join("text");
        fs::write(&text, "elastane").unwrap();
        let this = env::current_exe().unwrap();
        for (path, wrong) in
            [(place.path(), "is a folder"), (&text, "no shared library"), (&this, "no fi_prov_ini")]
        {
            let error = format!("{:#}", check(path).unwrap_err());
            assert!(error.contains(wrong) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
