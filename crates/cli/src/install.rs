//! `elastane install`: the provider where libfabric looks for it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::{
    Verdict,
    mpi::{
        libfabric,
        provider::{self, EFA_FILE, FILE, FILES},
    },
    output,
};

/// Put the provider where libfabric looks for it.
///
/// Without --prefix, that is the folder of every libfabric that the dynamic loader or an MPI on the
/// PATH knows. Then MPIs find the provider without FI_PROVIDER_PATH. A library is put in place as a
/// whole, so that programs that start meanwhile find the old or the new one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane install --dry-run
  elastane install
  elastane install --prefix ~/libfabric      # then FI_PROVIDER_PATH=~/libfabric
  elastane install --uninstall

Exit status: 0 it is in place, or was removed; 2 it could not be.")]
pub(crate) struct InstallArgs {
    /// Put it in this folder, which is made if need be.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,

    /// The name it answers to: that of its own (the default), or `efa` in place of EFA's provider.
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,

    /// The provider's library; else it is looked for on FI_PROVIDER_PATH and beside this program.
    #[arg(long, value_name = "PATH", conflicts_with = "uninstall")]
    provider_library: Option<PathBuf>,

    /// Take the place of a provider that is not elastane's, or of a device's.
    #[arg(long, conflicts_with = "uninstall")]
    force: bool,

    /// Remove it, by both names unless --name says one.
    #[arg(long)]
    uninstall: bool,

    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,

    /// Print a JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// A provider of its own.
    Elastane,
    /// In place of EFA's.
    Efa,
}

impl Name {
    const fn file(self) -> &'static str {
        match self {
            Self::Elastane => FILE,
            Self::Efa => EFA_FILE,
        }
    }
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    Installed,
    Replaced,
    /// The same is there already.
    Unchanged,
    Removed,
    /// The folder is one that this user cannot write.
    NotWritable,
    /// It is another's.
    Left,
}

impl Step {
    const fn words(self, dry: bool) -> &'static str {
        match (self, dry) {
            (Self::Installed, false) => "installed",
            (Self::Installed, true) => "would be installed",
            (Self::Replaced, false) => "replaced what was there",
            (Self::Replaced, true) => "would replace what is there",
            (Self::Unchanged, _) => "is there",
            (Self::Removed, false) => "removed",
            (Self::Removed, true) => "would be removed",
            (Self::NotWritable, _) => "cannot be written by this user",
            (Self::Left, _) => "left, as it is not elastane's",
        }
    }
}

/// A file, and what becomes of it.
#[derive(Debug, Serialize)]
struct Place {
    path: PathBuf,
    step: Step,
}

pub(crate) fn run(args: &InstallArgs) -> Result<Verdict> {
    let folders = folders(args.prefix.as_deref())?;
    let places = if args.uninstall {
        uninstall(args, &folders)?
    } else {
        let library = provider::find(args.provider_library.as_deref())?;
        install(args, &folders, &library)?
    };
    report(args, &places)?;
    if let (Some(prefix), false) = (&args.prefix, args.uninstall || args.dry_run) {
        advise(prefix);
    }
    Ok(Verdict::Passed)
}

/// Where libraries are put.
fn folders(prefix: Option<&Path>) -> Result<Vec<PathBuf>> {
    if let Some(prefix) = prefix {
        if prefix.exists() && !prefix.is_dir() {
            bail!("--prefix: {} is not a folder", prefix.display());
        }
        return Ok(vec![prefix.to_owned()]);
    }
    let mut folders = Vec::new();
    for copy in libfabric::copies() {
        folders.extend(copy.providers.filter(|folder| !folders.contains(folder)));
    }
    if folders.is_empty() {
        bail!("no libfabric is installed here: `apt-get install libfabric1`, or --prefix DIR");
    }
    Ok(folders)
}

fn install(args: &InstallArgs, folders: &[PathBuf], library: &Path) -> Result<Vec<Place>> {
    let name = args.name.unwrap_or(Name::Elastane);
    if name == Name::Efa && !args.force && has_efa_device() {
        bail!("this host has an EFA device, whose provider would be hidden: --force does it");
    }
    let bytes = fs::read(library)
        .with_context(|| format!("cannot read the library {}", library.display()))?;
    let mut places = Vec::new();
    for folder in folders {
        let path = folder.join(name.file());
        let step = plan(&path, &bytes, args.force)?;
        places.push(Place { path, step });
    }
    if places.iter().all(|place| place.step == Step::NotWritable) {
        let list: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        bail!("cannot write in {}: run it as root, or give --prefix DIR", list.join(", "));
    }
    if !args.dry_run {
        let wanted = |place: &&Place| matches!(place.step, Step::Installed | Step::Replaced);
        for Place { path, .. } in places.iter().filter(wanted) {
            put(path, &bytes).with_context(|| format!("cannot install {}", path.display()))?;
        }
    }
    Ok(places)
}

/// What installing at `path` comes to.
fn plan(path: &Path, library: &[u8], force: bool) -> Result<Step> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let present = match fs::read(path) {
        Ok(bytes) if bytes == library => return Ok(Step::Unchanged),
        Ok(_) => true,
        Err(_) => path.is_symlink(),
    };
    // A dangling link is nobody's provider.
    if path.exists() && !force && !provider::is_ours(path)? {
        bail!(
            "{} is another provider, perhaps that of an EFA device: --force replaces it",
            path.display()
        );
    }
    Ok(match (is_writable(folder), present) {
        (false, _) => Step::NotWritable,
        (true, true) => Step::Replaced,
        (true, false) => Step::Installed,
    })
}

/// Whether this user can make files in a folder, or make the folder.
fn is_writable(folder: &Path) -> bool {
    let there = folder.ancestors().find(|ancestor| ancestor.exists());
    // The empty path is the folder this process is in.
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    there.is_dir() && access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Puts the library at `path` in one step. Its name until then is none that libfabric takes.
fn put(path: &Path, library: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".elastane-").tempfile_in(folder)?;
    file.write_all(library)?;
    // Whatever the umask: other users' programs load it.
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn uninstall(args: &InstallArgs, folders: &[PathBuf]) -> Result<Vec<Place>> {
    let files = args.name.map_or(FILES.to_vec(), |name| vec![name.file()]);
    let paths = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file)));
    let mut places = Vec::new();
    for path in paths.filter(|path| path.exists()) {
        let step = if !provider::is_ours(&path)? {
            Step::Left
        } else if path.parent().is_some_and(is_writable) {
            Step::Removed
        } else {
            Step::NotWritable
        };
        places.push(Place { path, step });
    }
    let ours: Vec<_> = places.iter().filter(|place| place.step != Step::Left).collect();
    if let Some(first) = ours.first()
        && ours.iter().all(|place| place.step == Step::NotWritable)
    {
        bail!("cannot remove {}: run it as root", first.path.display());
    }
    for Place { path, step } in &places {
        if *step == Step::Removed && !args.dry_run {
            remove(path)?;
        }
    }
    Ok(places)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        // Another process did.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn report(args: &InstallArgs, places: &[Place]) -> Result<()> {
    if args.json {
        return output::print(&(serde_json::to_string_pretty(places)? + "\n"));
    }
    if places.is_empty() {
        return output::print("it is installed nowhere\n");
    }
    let lines = places
        .iter()
        .map(|Place { path, step }| format!("{}: {}\n", path.display(), step.words(args.dry_run)));
    output::print(&lines.collect::<String>())
}

/// Says how a folder of the user's choice is found.
fn advise(prefix: &Path) {
    let real = prefix.canonicalize().unwrap_or_else(|_| prefix.to_owned());
    let looked = libfabric::copies().into_iter().filter_map(|copy| copy.providers);
    if !looked.into_iter().any(|folder| folder.canonicalize().is_ok_and(|path| path == real)) {
        output::say(&format!(
            "elastane: libfabric does not look there by itself: set FI_PROVIDER_PATH={}",
            real.display()
        ));
    }
}

/// Whether a network device of this host is driven by Linux's `efa`.
fn has_efa_device() -> bool {
    let devices = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
    devices
        .filter_map(|device| fs::read_link(device.path().join("device/driver")).ok())
        .any(|driver| driver.file_name().is_some_and(|name| name == "efa"))
}
