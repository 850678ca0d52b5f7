//! Why a peer was given up.

use std::time::Duration;

/// Why operations on a peer fail. The variants tell apart what users asked to be told apart:
/// never answered, went silent, restarted, closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer has not answered once.
    #[error("unreachable: no answer to the first datagrams for {:.1} s", .0.as_secs_f64())]
    Unreachable(Duration),
    /// The peer answered earlier and stopped.
    #[error("unresponsive: was alive, then silent for {:.1} s", .0.as_secs_f64())]
    Unresponsive(Duration),
    /// Another endpoint answers at the peer's address: the peer restarted.
    #[error("restarted: a new endpoint answers at its address")]
    Restarted,
    /// The peer said it was closing.
    #[error("closed by the peer")]
    Closed,
    /// The peer's process on this host ended without closing, or has spoilt the memory it shares.
    /// Over a network nobody can tell; that is [`PeerError::Unresponsive`].
    #[error("exited: its process on this host ended without closing")]
    Exited,
}
