//! The process that keeps the namespaces, and clears them.
//!
//! The sentinel is a forked child. It makes the namespaces, sends their descriptors here, then
//! waits on a socket to this process. When that socket closes, because the [`Sentinel`] was
//! dropped or because this process is gone, it kills every process in its namespaces and ends.
//! It is the one way of cleaning up, so a crash leaves no more behind than a drop.
//!
//! Every request it serves is a thing that only a process in the user namespace may do and a
//! thread of ours may not: a socket made inside a host, which then works from here.

mod child;

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use nix::{sched::CloneFlags, sched::setns, unistd::Pid};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketFlags, SocketType,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{error::Unavailable, sys};

/// The first descriptor above standard input, output and error.
const FIRST_OWN_DESCRIPTOR: i32 = 3;

/// How the namespaces were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// With the privileges this process has.
    Direct,
    /// In a user namespace of their own.
    UserNamespace,
}

/// The sentinel as seen from the process that started it, and the namespaces it keeps.
#[derive(Debug)]
pub(crate) struct Sentinel {
    link: Mutex<OwnedFd>,
    pid: Pid,
    user_namespace: Option<OwnedFd>,
    namespaces: Vec<OwnedFd>,
}

impl Sentinel {
    /// Makes `count` network namespaces, in a user namespace where that is needed.
    pub(crate) fn start(count: usize) -> Result<Self, Unavailable> {
        match Self::start_as(Standing::Direct, count) {
            Err(Unavailable::NetworkNamespace(error)) if is_refusal(&error) => {
                Self::start_as(Standing::UserNamespace, count)
            }
            outcome => outcome,
        }
    }

    /// How the namespaces were made.
    pub(crate) fn standing(&self) -> Standing {
        match self.user_namespace {
            Some(_) => Standing::UserNamespace,
            None => Standing::Direct,
        }
    }

    /// The network namespace of that index.
    pub(crate) fn namespace(&self, index: usize) -> &OwnedFd {
        &self.namespaces[index]
    }

    /// Moves the calling thread into a network namespace; in a user namespace only the sole
    /// thread of a process can do so.
    pub(crate) fn enter(&self, index: usize) -> io::Result<()> {
        if let Some(user) = &self.user_namespace {
            setns(user, CloneFlags::CLONE_NEWUSER)?;
        }
        Ok(setns(&self.namespaces[index], CloneFlags::CLONE_NEWNET)?)
    }

    /// A socket made in a namespace. It stays there, whoever uses it.
    pub(crate) fn socket(
        &self,
        index: usize,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        let request = Request {
            namespace: u32::try_from(index).map_err(io::Error::other)?,
            domain: i32::from(domain).unsigned_abs(),
            kind: i32::from(kind).unsigned_abs(),
            protocol: protocol.map_or(0, |protocol| i32::from(protocol).unsigned_abs()),
        };
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::net::send(&*link, &request.to_bytes(), SendFlags::NOSIGNAL)?;
        match receive(&link)? {
            (Reply { errno: 0, .. }, Some(socket)) => Ok(Socket::from(socket)),
            (Reply { errno, .. }, _) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn start_as(standing: Standing, count: usize) -> Result<Self, Unavailable> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        // The sentinel puts other things where standard input and output are.
        .and_then(|(ours, theirs)| Ok((ours, fcntl_dupfd_cloexec(theirs, FIRST_OWN_DESCRIPTOR)?)))
        .map_err(|errno| Unavailable::Sentinel(errno.into()))?;
        let keeper = child::Keeper::new(standing, count);
        let pid = sys::fork_child(|| keeper.run(theirs.as_fd())).map_err(Unavailable::Sentinel)?;
        drop(theirs);
        let mut sentinel = Self {
            link: Mutex::new(ours),
            pid,
            user_namespace: None,
            namespaces: Vec::with_capacity(count),
        };
        sentinel.receive_namespaces(standing, count)?;
        Ok(sentinel)
    }

    fn receive_namespaces(&mut self, standing: Standing, count: usize) -> Result<(), Unavailable> {
        let link = self.link.get_mut().unwrap_or_else(PoisonError::into_inner);
        if standing == Standing::UserNamespace {
            self.user_namespace = Some(receive_namespace(link)?);
        }
        for _ in 0..count {
            self.namespaces.push(receive_namespace(link)?);
        }
        Ok(())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let link = self.link.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Shut down rather than closed: another thread's child may hold a copy until it executes.
        // It fails only where the sentinel is gone already, and then nothing is to be told.
        rustix::net::shutdown(&*link, rustix::net::Shutdown::Both).ok();
        // The sentinel bounds its own work. It may have been reaped by a wait for any child.
        while nix::sys::wait::waitpid(self.pid, None) == Err(nix::errno::Errno::EINTR) {}
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn receive_namespace(link: &OwnedFd) -> Result<OwnedFd, Unavailable> {
    let (Reply { step, errno }, descriptor) = receive(link).map_err(Unavailable::Sentinel)?;
    let error = io::Error::from_raw_os_error(errno);
    match (step, descriptor) {
        (Step::Made, Some(descriptor)) => Ok(descriptor),
        (Step::UserNamespace, _) => Err(Unavailable::UserNamespace(error)),
        (Step::UserMap, _) => Err(Unavailable::UserMap(error)),
        (Step::NetworkNamespace, _) => Err(Unavailable::NetworkNamespace(error)),
        (Step::Settings, _) => Err(Unavailable::Settings(error)),
        (Step::Made | Step::Detach, _) => Err(Unavailable::Sentinel(error)),
    }
}

/// Receives a reply and the descriptor that came with it, if any.
fn receive(link: &OwnedFd) -> io::Result<(Reply, Option<OwnedFd>)> {
    let mut bytes = [0; Reply::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(link, buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => break outcome?,
        }
    };
    if received.bytes != Reply::LEN {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sentinel has died"));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((Reply::from_bytes(bytes), descriptor))
}

/// A request for a socket, as it crosses to the sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    namespace: u32,
    domain: u32,
    kind: u32,
    protocol: u32,
}

impl Request {
    const LEN: usize = 16;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let fields = [self.namespace, self.domain, self.kind, self.protocol];
        for (slot, field) in bytes.chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let field = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self { namespace: field(0), domain: field(4), kind: field(8), protocol: field(12) }
    }
}

/// What the sentinel was doing when it replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing failed: a descriptor comes with the reply.
    Made,
    /// Leaving the session, the descriptors and the working directory of its parent.
    Detach,
    UserNamespace,
    UserMap,
    NetworkNamespace,
    Settings,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Made,
        Self::Detach,
        Self::UserNamespace,
        Self::UserMap,
        Self::NetworkNamespace,
        Self::Settings,
    ];
}

/// The sentinel's answer. `errno` is 0 where nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply {
    step: Step,
    errno: i32,
}

impl Reply {
    const LEN: usize = 5;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    fn from_bytes([step, errno @ ..]: [u8; Self::LEN]) -> Self {
        let step = Step::ALL.into_iter().find(|known| *known as u8 == step);
        Self { step: step.unwrap_or(Step::Detach), errno: i32::from_ne_bytes(errno) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_survives_the_crossing() {
        for step in Step::ALL {
            let reply = Reply { step, errno: libc::EPERM };
            assert_eq!(Reply::from_bytes(reply.to_bytes()), reply);
        }
    }

    #[test]
    fn a_request_survives_the_crossing() {
        let request = Request { namespace: 1, domain: 2, kind: 0x80000, protocol: u32::MAX };
        assert_eq!(Request::from_bytes(request.to_bytes()), request);
    }
}
