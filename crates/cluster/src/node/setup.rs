//! What the nodes of a cluster have in common: the same key, the same files, the same names.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, User, sethostname};

use super::{
    NodeError,
    supervise::{Plan, Service},
};
use crate::{clock, journal::Journal, paths, store::replace};

/// Where an instance of the local cloud finds its own id.
const INSTANCE_ID: &str = "/run/elastane/boot/id";

/// Where munge listens.
const MUNGE_SOCKET: &str = "/run/munge/munge.socket.2";

/// Waits until munge listens.
pub(crate) fn wait_munge(patience: Duration) -> Result<(), NodeError> {
    wait("munge's socket", patience, || Path::new(MUNGE_SOCKET).exists())
}

/// This instance's id.
pub(crate) fn instance_id() -> Result<String, NodeError> {
    let id = fs::read_to_string(INSTANCE_ID).map_err(NodeError::file("tell this instance's id"))?;
    Ok(id.trim().to_owned())
}

/// A user of the system's.
pub(crate) fn user(user: &'static str, package: &'static str) -> Result<(Uid, Gid), NodeError> {
    match User::from_name(user) {
        Ok(Some(found)) => Ok((found.uid, found.gid)),
        Ok(None) | Err(_) => Err(NodeError::NoUser { user, package }),
    }
}

/// Takes a name: Slurm knows nodes by the names of their hosts.
pub(crate) fn take_name(name: &str) -> Result<(), NodeError> {
    let what = || NodeError::file(format!("take the host name {name}"));
    sethostname(name).map_err(|errno| what()(errno.into()))?;
    fs::write("/etc/hostname", format!("{name}\n")).map_err(what())
}

/// Lets a path lead to what all nodes share.
pub(crate) fn lead(path: &str, to: &str) -> Result<(), NodeError> {
    let path = Path::new(path);
    let make = || -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path)?,
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        symlink(to, path)
    };
    make().map_err(NodeError::file(format!("let {} lead to {to}", path.display())))
}

/// A folder that belongs to a user.
pub(crate) fn folder(path: &str, owner: Option<(Uid, Gid)>, mode: u32) -> Result<(), NodeError> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        match owner {
            Some((user, group)) => chown(path, Some(user.as_raw()), Some(group.as_raw())),
            None => Ok(()),
        }
    };
    make().map_err(NodeError::file(format!("make the folder {path}")))
}

/// Starts munge with the cluster's key.
pub(crate) fn start_munge(journal: &Journal) -> Result<Service, NodeError> {
    let (uid, gid) = user("munge", "munge")?;
    let owner = Some((uid, gid));
    folder("/etc/munge", owner, 0o700)?;
    folder("/run/munge", owner, 0o755)?;
    folder("/var/lib/munge", owner, 0o711)?;
    folder("/var/log/munge", owner, 0o700)?;
    // Of a munged that was killed: whoever waits for the socket waits for the new one.
    fs::remove_file(MUNGE_SOCKET).ok();
    let key = "/etc/munge/munge.key";
    let install = || -> io::Result<()> {
        replace(Path::new(key), &fs::read(paths::MUNGE_KEY)?, 0o400)?;
        chown(key, Some(uid.as_raw()), Some(gid.as_raw()))
    };
    install().map_err(NodeError::file("install munge's key"))?;
    let plan = Plan {
        name: "munged",
        arguments: vec!["--foreground".to_owned(), "--force".to_owned()],
        user: owner,
        log: journal.folder().join("munged.log"),
    };
    start(plan, journal)
}

/// Starts a service.
pub(crate) fn start(plan: Plan, journal: &Journal) -> Result<Service, NodeError> {
    let what = format!("start {}", plan.name);
    let log = plan.log.clone();
    fs::write(&log, b"").map_err(NodeError::file(format!("write {}", log.display())))?;
    Service::start(plan, journal.clone()).map_err(NodeError::file(what))
}

/// What every job and every login has.
pub(crate) fn write_profile() -> Result<(), NodeError> {
    let text = include_str!("profile.sh");
    if Path::new("/etc/profile.d").is_dir() {
        let path = "/etc/profile.d/parallelcluster.sh";
        fs::write(path, text).map_err(NodeError::file(format!("write {path}")))?;
    }
    Ok(())
}

/// Waits until something is so, looking often at first.
pub(crate) fn wait(
    what: &str,
    patience: Duration,
    mut is_so: impl FnMut() -> bool,
) -> Result<(), NodeError> {
    let begin: Instant = clock::instant();
    let mut pause = Duration::from_millis(2);
    while !is_so() {
        if begin.elapsed() > patience {
            return Err(NodeError::Late { what: what.to_owned(), seconds: patience.as_secs() });
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}
