//! Which way messages to a peer take, and why.

use std::{fmt, time::Duration};

use io::shm::{Unavailable, Unreadable};

/// Whether endpoints of one host use shared memory with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedMemory {
    /// With every peer where it works, found out peer by peer.
    #[default]
    Automatic,
    /// Not at all: this host's peers are reached by UDP like all others.
    Never,
}

/// The way that messages to a peer take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRoute {
    /// Shared memory: the peer is on this host.
    SharedMemory,
    /// UDP.
    Udp(UdpReason),
}

/// Whether large messages between endpoints of one host may be copied straight out of the sender's
/// memory (process_vm_readv(2)), which needs the right to trace the sender (ptrace(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossMemory {
    /// Where the kernel permits it as things are.
    #[default]
    WherePermitted,
    /// Also where yama's `ptrace_scope` is 1: the process declares itself traceable by every
    /// process of its user, until it ends.
    Declared,
    /// No: neither is a peer's memory read nor anything lent to a peer.
    Never,
}

/// How large messages come from a peer that is reached through shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCopies {
    /// Through the rings while the peer sends; out of its memory while it does other things.
    CrossMemory {
        /// Messages of this many bytes or more are copied out of its memory even while it sends,
        /// since that was measured to be faster. `None`: it is not.
        at_once_from: Option<usize>,
        /// Others are when nothing came from it for this long.
        silence: Duration,
    },
    /// Through the rings only, for this reason; without one it is switched off
    /// ([`CrossMemory::Never`]).
    Rings(Option<Unreadable>),
}

impl fmt::Display for PeerCopies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrossMemory { at_once_from, silence } => {
                write!(f, "large messages out of its memory after {silence:?} of silence")?;
                match at_once_from {
                    Some(bytes) => write!(f, ", from {bytes} bytes on at once"),
                    None => Ok(()),
                }
            }
            Self::Rings(None) => write!(f, "large messages through the rings: switched off"),
            Self::Rings(Some(reason)) => write!(f, "large messages through the rings: {reason}"),
        }
    }
}

/// Why a peer is reached by UDP and not through shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpReason {
    /// [`SharedMemory::Never`], or an endpoint on a device of its owner's choice.
    #[error("shared memory is switched off")]
    Off,
    /// This endpoint could not announce itself to others on its host.
    #[error("this endpoint could not be announced to others on its host: {0}")]
    NotPresent(LocalError),
    /// Nothing was sent to the peer yet.
    #[error("nothing was sent to it yet")]
    Untried,
    /// The peer has not looked at the link that was offered: it does so when it makes progress.
    #[error("it has not answered the offer of shared memory yet")]
    Asked,
    /// There is a cause.
    #[error("{0}")]
    Unavailable(LocalError),
    /// The peer turned the link down.
    #[error("it turned shared memory down")]
    Refused,
    /// As many peers as permitted have links.
    #[error("{} peers use shared memory already", super::MAX_LINKS)]
    TooMany,
}

/// What stands in the way of shared memory: [`Unavailable`], to be kept and copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// The address is not one of this host.
    #[error("its address is not one of this host")]
    OtherHost,
    /// No endpoint is announced there.
    #[error("no endpoint is announced there in this user's /dev/shm and network namespace")]
    NotAnnounced,
    /// There is no room.
    #[error("/dev/shm is full; make it larger or remove files")]
    Full,
    /// The operating system refused.
    #[error("{step}: {kind}")]
    Os {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
}

impl From<Unavailable> for LocalError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::OtherHost => Self::OtherHost,
            Unavailable::NotAnnounced => Self::NotAnnounced,
            Unavailable::Full => Self::Full,
            Unavailable::Os { step, source } => Self::Os { step, kind: source.kind() },
        }
    }
}
