//! What the sentinel runs: system calls only, no allocation, no lock, no panic, because it is a
//! fork of a process that may have had other threads (`sys::fork_child`).

use std::{
    ffi::CStr,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, RawDir, openat},
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType,
    },
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};

use super::{Reply, Request, Standing, Step};
use crate::sys;

/// Settings of every namespace; one that this kernel does not have is left out.
const SETTINGS: [(&CStr, &[u8]); 8] = [
    // Spread flows over equal-cost paths by their ports, not only by their addresses.
    (c"/proc/sys/net/ipv4/fib_multipath_hash_policy", b"1"),
    (c"/proc/sys/net/ipv6/fib_multipath_hash_policy", b"1"),
    // Arrivals may take another path than the answer would.
    (c"/proc/sys/net/ipv4/conf/all/rp_filter", b"0"),
    (c"/proc/sys/net/ipv4/conf/default/rp_filter", b"0"),
    (c"/proc/sys/net/ipv6/conf/all/disable_ipv6", b"0"),
    (c"/proc/sys/net/ipv6/conf/default/disable_ipv6", b"0"),
    // Addresses are usable at once: nobody else can have them.
    (c"/proc/sys/net/ipv6/conf/all/accept_dad", b"0"),
    (c"/proc/sys/net/ipv6/conf/default/accept_dad", b"0"),
];

/// Processes are killed in rounds, because they may fork meanwhile. A round that finds none is
/// the last.
const KILL_ROUNDS: u32 = 1000;

/// How long one killed process may take to go. It is longer only for one stuck in the kernel.
const KILL_WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A step that failed.
struct Failure {
    step: Step,
    errno: i32,
}

/// All the memory the sentinel needs, made before the fork.
pub(super) struct Keeper {
    standing: Standing,
    uid_map: String,
    gid_map: String,
    count: usize,
    namespaces: Vec<OwnedFd>,
    identities: Vec<(u64, u64)>,
}

impl Keeper {
    pub(super) fn new(standing: Standing, count: usize) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self {
            standing,
            uid_map: format!("0 {} 1", uid.as_raw()),
            gid_map: format!("0 {} 1", gid.as_raw()),
            count,
            namespaces: Vec::with_capacity(count),
            identities: Vec::with_capacity(count),
        }
    }

    /// The life of the sentinel; returns its exit status.
    pub(super) fn run(mut self, link: BorrowedFd<'_>) -> u8 {
        let status = match self.set_up(link) {
            Ok(()) => {
                self.serve(link);
                self.kill_all();
                0
            }
            // Where even this cannot be sent, the parent sees the link close.
            Err(Failure { step, errno }) => u8::from(reply(link, step, errno, None).is_err()) + 1,
        };
        // Freeing takes the allocator's locks; the process ends here anyway.
        std::mem::forget(self);
        status
    }

    fn set_up(&mut self, link: BorrowedFd<'_>) -> Result<(), Failure> {
        detach(link).map_err(|errno| at(Step::Detach, errno))?;
        if self.standing == Standing::UserNamespace {
            let user = self.make_user_namespace()?;
            reply(link, Step::Made, 0, Some(user.as_fd())).map_err(|e| at(Step::Detach, e))?;
        }
        for _ in 0..self.count {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| at(Step::NetworkNamespace, from_nix(errno)))?;
            for (path, value) in SETTINGS {
                match write(path, value) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(at(Step::Settings, errno)),
                }
            }
            self.keep_own_namespace(link).map_err(|errno| at(Step::NetworkNamespace, errno))?;
        }
        Ok(())
    }

    fn make_user_namespace(&self) -> Result<OwnedFd, Failure> {
        unshare(CloneFlags::CLONE_NEWUSER)
            .map_err(|errno| at(Step::UserNamespace, from_nix(errno)))?;
        let map = || {
            // Without privileges outside, a process may map its group only once it has given up
            // changing its list of groups.
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", self.uid_map.as_bytes())?;
            write(c"/proc/self/gid_map", self.gid_map.as_bytes())?;
            open(c"/proc/self/ns/user", OFlags::RDONLY)
        };
        map().map_err(|errno| at(Step::UserMap, errno))
    }

    fn keep_own_namespace(&mut self, link: BorrowedFd<'_>) -> Result<(), Errno> {
        let namespace = open(c"/proc/self/ns/net", OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&namespace)?;
        reply(link, Step::Made, 0, Some(namespace.as_fd()))?;
        // Within the capacity that was made before the fork.
        self.identities.push((stat.st_dev, stat.st_ino));
        self.namespaces.push(namespace);
        Ok(())
    }

    /// Answers requests until the parent is gone.
    fn serve(&self, link: BorrowedFd<'_>) {
        loop {
            let mut bytes = [0; Request::LEN];
            let request = match rustix::net::recv(link, &mut bytes, RecvFlags::empty()) {
                Ok((_, Request::LEN)) => Request::from_bytes(bytes),
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => return,
            };
            let answered = match self.socket(request) {
                Ok(socket) => reply(link, Step::Made, 0, Some(socket.as_fd())),
                Err(errno) => reply(link, Step::Made, errno.raw_os_error(), None),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    fn socket(&self, request: Request) -> Result<OwnedFd, Errno> {
        let index = usize::try_from(request.namespace).map_err(|_| Errno::INVAL)?;
        let namespace = self.namespaces.get(index).ok_or(Errno::INVAL)?;
        let domain = u16::try_from(request.domain).map_err(|_| Errno::AFNOSUPPORT)?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(from_nix)?;
        rustix::net::socket_with(
            AddressFamily::from_raw(domain),
            SocketType::from_raw(request.kind),
            SocketFlags::CLOEXEC,
            std::num::NonZeroU32::new(request.protocol).map(Protocol::from_raw),
        )
    }

    fn kill_all(&self) {
        for _ in 0..KILL_ROUNDS {
            if self.kill_round() == Ok(0) {
                return;
            }
        }
    }

    /// Kills the processes that are in one of the namespaces now, and says how many there were.
    fn kill_round(&self) -> Result<u32, Errno> {
        let mut killed = 0;
        let processes = open(c"/proc", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(processes.as_fd(), &mut entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = process_id(name).filter(|pid| *pid != getpid()) else { continue };
            // In this order: what the descriptor stands for cannot become another process
            // between the look at its namespace and the signal.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.holds(processes.as_fd(), name)
                && pidfd_send_signal(&process, Signal::KILL).is_ok()
            {
                killed += 1;
                // If the wait fails or runs out, the next round finds the process again.
                let mut gone = [PollFd::new(&process, PollFlags::IN)];
                poll(&mut gone, Some(&KILL_WAIT)).ok();
            }
        }
        Ok(killed)
    }

    fn holds(&self, processes: BorrowedFd<'_>, process: &CStr) -> bool {
        let mut path = [0; 32];
        let parts = [process.to_bytes(), b"/ns/net"];
        let mut used = 0;
        for part in parts {
            let Some(slot) = path.get_mut(used..used + part.len()) else { return false };
            slot.copy_from_slice(part);
            used += part.len();
        }
        let Ok(path) = CStr::from_bytes_until_nul(&path) else { return false };
        // A process that has just ended has no namespace to look at.
        rustix::fs::statat(processes, path, rustix::fs::AtFlags::empty())
            .is_ok_and(|stat| self.identities.contains(&(stat.st_dev, stat.st_ino)))
    }
}

/// Lets go of everything of the parent: signals to its terminal, its pipes, its directory.
fn detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    rustix::thread::set_name(c"elastane-hosts")?;
    let null = open(c"/dev/null", OFlags::RDWR)?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    sys::close_inherited(link).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::BADF))
}

fn reply(
    link: BorrowedFd<'_>,
    step: Step,
    errno: i32,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let bytes = Reply { step, errno }.to_bytes();
    rustix::net::sendmsg(link, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        .map(|_sent| ())
}

fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
}

fn write(path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = open(path, OFlags::WRONLY)?;
    let written = rustix::io::write(&file, value)?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

fn process_id(name: &CStr) -> Option<Pid> {
    let digits = std::str::from_utf8(name.to_bytes()).ok()?;
    Pid::from_raw(digits.parse().ok()?)
}

fn at(step: Step, errno: Errno) -> Failure {
    Failure { step, errno: errno.raw_os_error() }
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
