//! The files and mounts an instance sees before its first process runs.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::pivot_root,
};

use super::{Boot, volume::Root};

/// The folder libfabric is told of, where EFA is.
const PROVIDERS: &str = "/run/elastane/libfabric";
/// The name under which libfabric takes EFA's provider.
const PROVIDER: &str = "libefa-fi.so";
/// What the first process is told.
const TOLD: &str = "/run/elastane/boot";
/// Whose first boot the root has seen.
const SEEN: &str = "/var/lib/elastane/instance";
/// Where cloud images keep what the instance was started with.
const USER_DATA: &str = "/var/lib/cloud/instance";

/// Character devices that programs count on: name, major and minor number.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// Mounts the overlay, unless it is since an earlier boot. Run it in the enclave's own mounts.
pub(super) fn mount_overlay(root: &Root) -> io::Result<()> {
    let device = |path: &Path| Ok::<_, io::Error>(nix::sys::stat::stat(path)?.st_dev);
    if device(&root.path)? != device(root.path.parent().unwrap_or(&root.path))? {
        return Ok(());
    }
    let options = Some(root.options.as_str());
    Ok(mount(Some("elastane"), &root.path, Some("overlay"), MsFlags::empty(), options)?)
}

/// Makes the root that of the calling thread, with everything that is mounted in it. The thread
/// has mounts of its own.
pub(super) fn enter(root: &Root, boot: &Boot) -> io::Result<()> {
    // What is mounted here stays here.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    std::env::set_current_dir("/")?;
    let at = |path: &str| root.path.join(path);
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    make_tmpfs(&at("dev"), MsFlags::MS_NOSUID, "mode=755,size=1m")?;
    for (name, major, minor) in DEVICES {
        let path = at("dev").join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor))?;
        // Whatever the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (target, link) in LINKS {
        symlink(target, at(link))?;
    }
    fs::create_dir(at("dev/pts"))?;
    let options = Some("newinstance,ptmxmode=666,mode=620,gid=5");
    mount(Some("devpts"), &at("dev/pts"), Some("devpts"), MsFlags::MS_NOSUID, options)?;
    fs::create_dir(at("dev/shm"))?;
    make_tmpfs(&at("dev/shm"), quiet, "mode=1777")?;
    make_tmpfs(&at("run"), quiet, "mode=755")?;
    make_tmpfs(&at("tmp"), quiet, "mode=1777")?;
    mount(Some("sysfs"), &at("sys"), Some("sysfs"), quiet, None::<&str>)?;
    for hidden in &boot.hidden {
        let path = inside(&root.path, hidden)?;
        if path.is_dir() {
            make_tmpfs(&path, quiet | MsFlags::MS_RDONLY, "mode=000,size=4k")?;
        }
    }
    for shared in &boot.mounts {
        bind(&shared.source, &inside(&root.path, &shared.target)?)?;
    }
    if let Some(library) = &boot.provider {
        bind(library, &at(&format!("{}/{PROVIDER}", &PROVIDERS[1..])))?;
    }
    // One call for both: the old root ends up on top of the new one, and is let go.
    std::env::set_current_dir(&root.path)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

/// Writes what an instance finds in its files, from inside of its root, so that links in it lead
/// nowhere else.
pub(super) fn write_files(root: &Root, boot: &Boot) -> io::Result<()> {
    let first = fs::read_to_string(SEEN).ok().as_deref() != Some(boot.id.as_str());
    fs::create_dir_all(TOLD)?;
    let tell = |name: &str, value: &str| fs::write(Path::new(TOLD).join(name), value);
    tell("id", &format!("{}\n", boot.id))?;
    tell("user", &format!("{}\n", boot.user))?;
    if let Some(key) = &boot.authorized_key {
        tell("authorized_key", &format!("{}\n", key.trim_end()))?;
    }
    let provider = boot.provider.as_ref().map(|_| ("FI_PROVIDER_PATH", PROVIDERS));
    let variables = boot.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<_> = variables.chain(provider).collect();
    write_environment(&variables)?;
    for setting in boot.settings.iter().filter(|setting| setting.file.exists()) {
        end_with(&setting.file, &setting.lines)?;
    }
    if first {
        tell("first", "")?;
        write_identity(root, boot)?;
        fs::create_dir_all("/var/lib/elastane")?;
        fs::write(SEEN, &boot.id)?;
    }
    Ok(())
}

/// What is an instance's own, and another's if it came from an image.
fn write_identity(root: &Root, boot: &Boot) -> io::Result<()> {
    replace("/etc/hostname", &format!("{}\n", boot.hostname))?;
    let hosts = format!(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {}\n",
        boot.address, boot.hostname
    );
    replace("/etc/hosts", &hosts)?;
    // This machine's servers cannot be reached: each look-up would take their time limit.
    let resolver = boot.resolver.as_ref().map(|(server, domain)| {
        format!("nameserver {server}\nsearch {domain}\noptions timeout:1 attempts:2\n")
    });
    replace("/etc/resolv.conf", &resolver.unwrap_or_default())?;
    if root.bare {
        // This machine's own keys and friends are not the instance's.
        remove_tree(&Path::new("/root").join(".ssh"))?;
    }
    remove_tree(Path::new(USER_DATA))?;
    let Some(data) = &boot.user_data else { return Ok(()) };
    let scripts = Path::new(USER_DATA).join("scripts");
    fs::create_dir_all(&scripts)?;
    let kept = Path::new(USER_DATA).join("user-data.txt");
    fs::write(&kept, data)?;
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600))?;
    if data.starts_with(b"#!") {
        let script = scripts.join("part-001");
        fs::write(&script, data)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The same variables for every way of logging in: `sshd` reads its own configuration, `sudo` and
/// `su` the list in `/etc`, shells that ask for a login their profile.
fn write_environment(variables: &[(&str, &str)]) -> io::Result<()> {
    let lines = |prefix: &str| -> Vec<String> {
        variables.iter().map(|(name, value)| format!("{prefix}{name}={value}")).collect()
    };
    end_with(Path::new("/etc/environment"), &lines(""))?;
    if Path::new("/etc/profile.d").is_dir() {
        end_with(Path::new("/etc/profile.d/elastane.sh"), &lines("export "))?;
    }
    let mut configuration = include_str!("sshd_config").to_owned();
    if !variables.is_empty() {
        configuration += &format!("SetEnv {}\n", lines("").join(" "));
    }
    fs::write("/run/elastane/sshd_config", configuration)
}

/// Makes these the last lines of a file, in place of those of an earlier boot.
fn end_with(path: &Path, lines: &[String]) -> io::Result<()> {
    const BEGIN: &str = "# Set by elastane at each boot; what follows is not kept\n";
    let old = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| named(path, error))?,
    };
    let own = old.split_once(BEGIN).map_or(old.as_str(), |(own, _)| own);
    let line = |line: &String| format!("{line}\n");
    let block = lines.iter().map(line).collect::<String>();
    let text = if block.is_empty() { own.to_owned() } else { format!("{own}{BEGIN}{block}") };
    if text == old { Ok(()) } else { replace(path, &text) }
}

/// Puts a file in place of what is there, be it a link.
fn replace(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::write(path, text)
}

fn make_tmpfs(path: &Path, flags: MsFlags, options: &str) -> io::Result<()> {
    let mounted = mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options));
    mounted.map_err(|errno| named(path, errno.into()))
}

/// Shows `source`, a file or a directory, at `target`, which is made if need be.
fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let make = || {
        let kind = fs::metadata(source).map_err(|error| named(source, error))?.file_type();
        if kind.is_dir() {
            return fs::create_dir_all(target);
        }
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        fs::OpenOptions::new().create(true).append(true).open(target).map(drop)
    };
    make().map_err(|error| named(target, error))?;
    let bound = mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    bound.map_err(|errno| named(target, errno.into()))
}

/// The path in a root that is not the caller's. Links on the way would lead out of it.
fn inside(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut found = root.to_owned();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => found.push(name),
            _ => return Err(named(path, ErrorKind::InvalidInput.into())),
        }
        if found.is_symlink() {
            let error = io::Error::other("a symbolic link of the instance is in the way");
            return Err(named(path, error));
        }
    }
    Ok(found)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
