//! Where the files of instances and images are.
//!
//! A root is an overlay: what the instance writes, over the layers of its image, over this
//! machine's root. The kernel refuses an overlay whose upper directory is on the file system of a
//! lower one and below it, so that the files are on a file system of their own: that of the given
//! directory where it differs from the root's, else one in a sparse file.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Enclave;
use crate::error::HostsError;

/// The most bytes the sparse file may grow to.
const LARGEST: u64 = 64 << 30;
/// Below this a file system is of no use for instances.
const SMALLEST: u64 = 256 << 20;
/// Characters that separate an overlay's options.
const SEPARATORS: [char; 3] = [',', ':', '\\'];

/// Where roots and images are kept: a directory, which in the enclave may be a file system.
///
/// ```text
/// instances/ID/{upper,work,root,image}    what it wrote; where its root is mounted; its image
/// images/ID/{layer,below,dropped}         what it adds; to which image; nobody may start from it
/// ```
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Opens that of `directory`, or begins it there.
    pub fn open(enclave: &Enclave, directory: &Path) -> Result<Self, HostsError> {
        let attempt = |action: &'static str| {
            move |error| failed(&format!("{action} in {}", directory.display()), error)
        };
        let shown = directory.to_string_lossy();
        if !directory.is_absolute() || shown.contains(SEPARATORS) {
            let error = io::Error::other("it must be absolute and without `,`, `:` and `\\`");
            return Err(attempt("keep roots")(error));
        }
        let path = directory.join("volume");
        fs::create_dir_all(&path).map_err(attempt("make the volume"))?;
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        let same = device(&path).and_then(|own| Ok(own == device(Path::new("/"))?));
        if same.map_err(attempt("look at the volume"))? {
            let image = directory.join("volume.img");
            if !image.exists() {
                make_file_system(&image).map_err(attempt("make a file system"))?;
            }
            let mount = || mount_file(&image, &path);
            enclave.run(mount).flatten().map_err(attempt("mount the file system"))?;
        }
        let volume = Self { path };
        let clear = || volume.clear_unfinished();
        enclave.run(clear).flatten().map_err(attempt("remove unfinished images"))?;
        Ok(volume)
    }

    /// Makes the directories of an instance's root, and says what to mount there. Run it in the
    /// enclave. `first` is whether there was none yet.
    pub(super) fn prepare(&self, id: &str, image: Option<&str>) -> io::Result<Root> {
        let home = self.instance(id);
        let record = home.join("image");
        let first = !record.exists();
        let image = if first { image.unwrap_or("").to_owned() } else { read(&record)? };
        let layers = self.layers(&image)?;
        for directory in ["upper", "work", "root"] {
            fs::create_dir_all(home.join(directory))?;
        }
        if first {
            fs::write(&record, &image)?;
        }
        let mut lower: Vec<String> =
            layers.iter().map(|layer| layer.to_string_lossy().into_owned()).collect();
        lower.push("/".to_owned());
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            home.join("upper").display(),
            home.join("work").display()
        );
        Ok(Root { path: home.join("root"), options, bare: image.is_empty() })
    }

    /// Where the console of an instance is written; its directory is made by the first boot.
    pub(super) fn console(&self, id: &str) -> PathBuf {
        self.instance(id).join("console")
    }

    /// The end of what an instance has written to its console, `limit` bytes at most; `None`
    /// where there is no such instance.
    pub fn read_console(
        &self,
        enclave: &Enclave,
        id: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, HostsError> {
        let end = || -> io::Result<Vec<u8>> {
            let file = File::open(self.console(id))?;
            let mut bytes = Vec::new();
            let at = file.metadata()?.len().saturating_sub(limit);
            let mut file = file;
            io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
            io::Read::read_to_end(&mut io::Read::take(&file, limit), &mut bytes)?;
            Ok(bytes)
        };
        match enclave.run(end).flatten() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&format!("read the console of {id}"), error)),
        }
    }

    /// Whether there is a root of that instance.
    pub fn has(&self, enclave: &Enclave, id: &str) -> Result<bool, HostsError> {
        let there = || self.instance(id).join("image").exists();
        enclave.run(there).map_err(|error| failed("look at the volume", error))
    }

    /// Removes the root of an instance that does not run, and images that only it needed.
    pub fn remove(&self, enclave: &Enclave, id: &str) -> Result<(), HostsError> {
        let remove = || -> io::Result<()> {
            let home = self.instance(id);
            match nix::mount::umount2(&home.join("root"), nix::mount::MntFlags::MNT_DETACH) {
                // Not mounted, or never there.
                Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            remove_tree(&home)?;
            self.sweep()
        };
        let outcome = enclave.run(remove).flatten();
        outcome.map_err(|error| failed(&format!("remove the root of {id}"), error))
    }

    /// Keeps what an instance has written as an image over its own image.
    pub fn keep(&self, enclave: &Enclave, id: &str, image: &str) -> Result<(), HostsError> {
        let keep = || -> io::Result<()> {
            let (from, to) = (self.instance(id), self.image(image));
            let below = read(&from.join("image"))?;
            let fresh = self.unfinished(image);
            remove_tree(&fresh)?;
            fs::create_dir_all(&fresh)?;
            // With owners, extended attributes and the nodes that stand for what was removed.
            let mut copy = Command::new("cp");
            copy.args(["--archive", "--reflink=auto", "--"])
                .args([from.join("upper"), fresh.join("layer")]);
            let copied = said(&mut copy).and_then(|()| fs::write(fresh.join("below"), &below));
            if let Err(error) = copied.and_then(|()| fs::rename(&fresh, &to)) {
                remove_tree(&fresh)?;
                return Err(error);
            }
            Ok(())
        };
        let outcome = enclave.run(keep).flatten();
        outcome.map_err(|error| failed(&format!("keep {id} as {image}"), error))
    }

    /// Removes an image; what of it others need stays as long as they need it.
    pub fn drop_image(&self, enclave: &Enclave, image: &str) -> Result<(), HostsError> {
        let drop = || -> io::Result<()> {
            if self.image(image).exists() {
                fs::write(self.image(image).join("dropped"), "")?;
            }
            self.sweep()
        };
        let outcome = enclave.run(drop).flatten();
        outcome.map_err(|error| failed(&format!("remove image {image}"), error))
    }

    /// Whether instances can be started from that image.
    pub fn has_image(&self, enclave: &Enclave, image: &str) -> Result<bool, HostsError> {
        let home = self.image(image);
        let there = || home.exists() && !home.join("dropped").exists();
        enclave.run(there).map_err(|error| failed("look at the volume", error))
    }

    /// Removes dropped images that no instance and no other image needs.
    fn sweep(&self) -> io::Result<()> {
        let mut needed = Vec::new();
        for instance in entries(&self.path.join("instances"))? {
            if let Ok(image) = read(&instance.join("image")) {
                needed.extend(self.layers(&image)?);
            }
        }
        let images = entries(&self.path.join("images"))?;
        for image in &images {
            if let (Some(name), false) = (image.file_name(), image.join("dropped").exists()) {
                needed.extend(self.layers(&name.to_string_lossy())?);
            }
        }
        let unneeded = |image: &&PathBuf| !needed.contains(&image.join("layer"));
        for image in images.iter().filter(unneeded) {
            // Half of an image could pass for one.
            let name = image.file_name().unwrap_or_default().to_string_lossy();
            fs::rename(image, self.unfinished(&name))?;
        }
        self.clear_unfinished()
    }

    /// Removes images that were being made or removed when their process was killed.
    fn clear_unfinished(&self) -> io::Result<()> {
        for image in entries(&self.path.join("images"))? {
            if image.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                remove_tree(&image)?;
            }
        }
        Ok(())
    }

    /// Where an image is while it is none yet, or none any more.
    fn unfinished(&self, image: &str) -> PathBuf {
        self.path.join("images").join(format!(".{image}"))
    }

    /// The layers of an image, the uppermost first; the empty name is that of no image.
    fn layers(&self, image: &str) -> io::Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        let mut name = image.to_owned();
        while !name.is_empty() {
            let home = self.image(&name);
            layers.push(home.join("layer"));
            name = read(&home.join("below"))?;
        }
        Ok(layers)
    }

    fn instance(&self, id: &str) -> PathBuf {
        self.path.join("instances").join(id)
    }

    fn image(&self, id: &str) -> PathBuf {
        self.path.join("images").join(id)
    }
}

/// The root of an instance, before it is mounted.
#[derive(Debug)]
pub(super) struct Root {
    /// Where it is mounted in the enclave.
    pub path: PathBuf,
    /// The options of its overlay.
    pub options: String,
    /// Whether it lies over this machine's root and nothing else.
    pub bare: bool,
}

/// Makes a file system in a sparse file, whole or not at all.
fn make_file_system(image: &Path) -> io::Result<()> {
    let fresh = image.with_extension("new");
    let free = nix::sys::statvfs::statvfs(image.parent().unwrap_or(Path::new("/")))?;
    let free = free.blocks_available() * free.fragment_size();
    // A file system that is promised more than there is fails late and badly.
    let size = (free / 10 * 9).min(LARGEST);
    if size < SMALLEST {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "less than 300 MB are free"));
    }
    File::create(&fresh)?.set_len(size)?;
    said(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-J", "size=16", "-L", "elastane"])
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
            .arg(&fresh),
    )?;
    fs::rename(&fresh, image)
}

/// Mounts a file system that is in a file. The loop device goes with its last mount.
fn mount_file(image: &Path, target: &Path) -> io::Result<()> {
    said(Command::new("mount").args(["-o", "loop,discard,noatime"]).arg(image).arg(target))
}

/// Runs a program whose failure is what it says.
fn said(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("cannot run {program}: {error}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn read(file: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(file)?.trim_end().to_owned())
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(action: &str, error: io::Error) -> HostsError {
    HostsError::Configure { action: action.to_owned(), host: "the enclave".to_owned(), error }
}
