//! How a process makes its metrics port known: a file per process, in a folder of its user's.
//!
//! The folder is `$XDG_RUNTIME_DIR/elastane`, or `/tmp/elastane-UID` where there is none; it and
//! its files are for the user alone. A file whose process is gone is ignored, and removed by the
//! next that announces itself or looks.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::process;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The process, as its own PID namespace numbers it.
    pub pid: u32,
    /// The loopback port it answers on, in its own network namespace.
    pub port: u16,
    /// What it was started as.
    pub program: String,
    /// When it began, in ticks since boot: tells it from a later one of the same number.
    started: u64,
    /// Its PID namespace: numbers of others mean nothing here.
    pid_namespace: Option<PathBuf>,
}

impl Announcement {
    fn of_this_process(port: u16) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            port,
            program: process::program(pid),
            started: process::started(pid).unwrap_or(0),
            pid_namespace: process::namespace(pid, "pid"),
        }
    }

    fn is_ours_to_judge(&self) -> bool {
        self.pid_namespace == process::namespace(std::process::id(), "pid")
    }

    fn is_alive(&self) -> bool {
        process::started(self.pid) == Some(self.started)
    }

    /// Whether the process is in another network namespace than this one, where its loopback port
    /// cannot be reached from here.
    pub fn is_in_another_network(&self) -> bool {
        let theirs = process::namespace(self.pid, "net");
        theirs.is_some() && theirs != process::namespace(std::process::id(), "net")
    }
}

/// A file that announces this process while it exists.
#[derive(Debug)]
pub(crate) struct Announced {
    path: PathBuf,
    pid: u32,
}

impl Announced {
    /// Announces this process; sweeps what others left.
    pub(crate) fn write(port: u16) -> io::Result<Self> {
        let folder = folder_to_announce_in(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))?;
        Self::write_in(&folder, &Announcement::of_this_process(port))
    }

    fn write_in(folder: &Path, announcement: &Announcement) -> io::Result<Self> {
        in_folder(folder);
        // With the port in its name: when one server ends as the next begins, neither removes the
        // other's.
        let Announcement { pid, port, .. } = announcement;
        let path = folder.join(format!("{pid}-{port}.json"));
        // Born with mode 0600, and whole when it gets its name.
        let file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        serde_json::to_writer(&file, announcement)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(Self { path, pid: announcement.pid })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // A fork has a copy of this; the file is its parent's.
        if std::process::id() == self.pid {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The live processes of this user that announce themselves, by number.
pub fn list() -> Vec<Announcement> {
    let mut found: Vec<_> =
        folders_of(geteuid().as_raw()).iter().flat_map(|folder| in_folder(folder)).collect();
    found.sort_by_key(|announcement| announcement.pid);
    found.dedup();
    found
}

/// What a process announces: also one of another user, where this one may read it.
pub fn find(pid: u32) -> Option<Announcement> {
    let mut users = vec![geteuid().as_raw()];
    users.extend(process::owner(pid));
    let folders = users.into_iter().flat_map(folders_of);
    let mut found = folders.flat_map(|folder| in_folder(&folder));
    found.find(|announcement| announcement.pid == pid)
}

/// The live announcements in a folder. Those of processes that are gone are removed.
fn in_folder(folder: &Path) -> Vec<Announcement> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut found = Vec::new();
    for path in files {
        let text = fs::read(&path).unwrap_or_default();
        let Ok(announcement) = serde_json::from_slice::<Announcement>(&text) else { continue };
        if !announcement.is_ours_to_judge() {
            continue;
        }
        if announcement.is_alive() {
            found.push(announcement);
        } else {
            fs::remove_file(&path).ok();
        }
    }
    found
}

/// Where a user's announcements may be.
fn folders_of(user: u32) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if user == geteuid().as_raw() {
        folders.extend(env::var_os("XDG_RUNTIME_DIR").map(|base| Path::new(&base).join(NAME)));
    }
    folders.push(PathBuf::from(format!("/run/user/{user}/{NAME}")));
    folders.push(shared_folder(user));
    folders.dedup();
    // Whoever else made a folder of that name could put anything there.
    folders.retain(|folder| belongs_to(folder, user));
    folders
}

const NAME: &str = "elastane";

fn shared_folder(user: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/{NAME}-{user}"))
}

fn belongs_to(folder: &Path, user: u32) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0)
}

/// The folder for this process's file, made if it is not there.
fn folder_to_announce_in(runtime: Option<PathBuf>) -> io::Result<PathBuf> {
    let user = geteuid().as_raw();
    let runtime = runtime.filter(|base| belongs_to(base, user));
    let folder = runtime.map_or_else(|| shared_folder(user), |base| base.join(NAME));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !belongs_to(&folder, user) {
        let text = format!("{} is not a folder of this user's alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn announced_process_is_found_until_it_withdraws() {
        let folder = folder();
        let announced =
            Announced::write_in(folder.path(), &Announcement::of_this_process(9)).unwrap();
        let mode = fs::metadata(&announced.path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(in_folder(folder.path()), [Announcement::of_this_process(9)]);
        drop(announced);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn announcement_of_a_process_that_is_gone_is_removed() {
        let folder = folder();
        let mut gone = Announcement::of_this_process(9);
        // The same number, taken by a later process.
        gone.started += 1;
        let left_behind = Announced::write_in(folder.path(), &gone).unwrap();
        assert_eq!(in_folder(folder.path()), []);
        assert!(!left_behind.path.exists());
    }

    #[test]
    fn announcement_from_another_pid_namespace_is_left_alone() {
        let folder = folder();
        let mut foreign = Announcement::of_this_process(9);
        foreign.started += 1;
        foreign.pid_namespace = Some("pid:[1]".into());
        let file = Announced::write_in(folder.path(), &foreign).unwrap();
        assert_eq!(in_folder(folder.path()), []);
        assert!(file.path.exists());
    }

    #[test]
    fn file_that_is_no_announcement_is_ignored() {
        let folder = folder();
        fs::write(folder.path().join("1.json"), "{").unwrap();
        assert_eq!(in_folder(folder.path()), []);
    }

    #[test]
    fn folder_is_the_users_alone() {
        let base = folder();
        let made = folder_to_announce_in(Some(base.path().to_owned())).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o777)).unwrap();
        let error = folder_to_announce_in(Some(base.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains("not a folder of this user's alone"), "{error}");
    }
}
