//! Why a peer was given up.

use std::{fmt, time::Duration};

/// Why operations on a peer fail. The variants tell apart what users asked to be told apart:
/// never answered, went silent, restarted, closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer has not answered once.
    #[error("unreachable: no answer to the first datagrams for {0}")]
    Unreachable(Silence),
    /// The peer answered earlier and stopped.
    #[error("unresponsive: was alive, then silent for {0}")]
    Unresponsive(Silence),
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

/// How long a peer has said nothing, in whole milliseconds. Shorter than a [`Duration`]: an error
/// is part of every completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Silence {
    millis: u32,
}

impl Silence {
    /// A silence of so many milliseconds.
    pub const fn from_millis(millis: u32) -> Self {
        Self { millis }
    }

    /// How long it is.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis as u64)
    }
}

impl From<Duration> for Silence {
    /// What is longer than 49 days is told as that.
    fn from(duration: Duration) -> Self {
        Self { millis: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.duration().as_secs_f64())
    }
}
