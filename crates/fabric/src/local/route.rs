//! Which way messages to a peer take, and why.

use io::shm::Unavailable;

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
