//! Files of shared memory: made whole and locked before they have a name, gone with their owner.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, fallocate, fcntl},
    unistd::linkat,
};

use super::sys::Mapping;

/// A file that is at least as long as what is mapped of it.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    len: usize,
}

impl Segment {
    /// A new file without a name in `directory`, `len` bytes of zeros that are there for good, and
    /// locked at `lock`.
    pub(super) fn create(directory: &Path, len: usize, lock: u16) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(directory)?;
        let length = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        fallocate(&file, FallocateFlags::empty(), 0, length)?;
        let segment = Self { file, len };
        segment.lock(lock)?;
        Ok(segment)
    }

    /// Gives a new file its name.
    pub(super) fn name(&self, path: &Path) -> io::Result<()> {
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        Ok(linkat(AT_FDCWD, source.as_str(), AT_FDCWD, path, follow)?)
    }

    /// Opens the file at `path`. One of another user, or of another length, is refused.
    pub(super) fn open(path: &Path, len: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let about = file.metadata()?;
        if about.uid() != user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !about.is_file() || about.len() != len as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { file, len })
    }

    /// Maps it.
    pub(super) fn map(&self) -> io::Result<Mapping> {
        Mapping::of(self.file.as_fd(), self.len)
    }

    /// Takes the lock at byte `lock`, which lasts as long as this value and its copies in forked
    /// children, even when the process is killed.
    pub(super) fn lock(&self, lock: u16) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&exclusive(lock)))?;
        Ok(())
    }

    /// Whether somebody else holds the lock at byte `lock`. Locks of open files cross the
    /// boundaries of namespaces, which process numbers do not.
    pub(super) fn is_locked(&self, lock: u16) -> bool {
        is_locked(&self.file, lock).unwrap_or(false)
    }
}

/// Whether somebody else holds the lock at byte `lock` of `file`.
pub(super) fn is_locked(file: &File, lock: u16) -> Result<bool, Errno> {
    let mut found = exclusive(lock);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(libc::c_int::from(found.l_type) != libc::F_UNLCK)
}

#[expect(clippy::cast_possible_truncation, reason = "the constants are 0 and 1")]
fn exclusive(lock: u16) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(lock),
        l_len: 1,
        l_pid: 0,
    }
}

/// The user whose files are trusted.
pub(super) fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A lock that is held while this lives.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at byte `lock` of `file`, or fails if somebody else holds it.
    pub(super) fn take(file: File, lock: u16) -> io::Result<Self> {
        fcntl(&file, FcntlArg::F_OFD_SETLK(&exclusive(lock)))?;
        Ok(Self { _file: file })
    }
}
