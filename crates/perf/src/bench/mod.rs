//! One test between two processes, as perftest runs it: a verb, its bandwidth or its latency, for a
//! number of iterations or of seconds.
//!
//! Both sides are given the same [`Setup`] and meet over one TCP connection, on which they compare
//! it, exchange where their endpoints are, and tell each other when they are done. What is measured
//! is a `Lane` for each endpoint: a verb is one implementation of that trait, and the
//! loops that measure know nothing else of it.

mod datagram_lane;
pub mod document;
mod fabric_lane;
pub mod figures;
mod flow;
mod lane;
mod lanes;
pub mod libfabric;
pub mod pair;
pub mod perftest;
mod ping;
mod remote_lane;
pub mod setup;
pub mod table;
mod tcp_lane;
mod timing;
mod watch;

pub use document::Document;
pub use figures::{BandwidthFigures, LatencyFigures, Row};
pub use pair::{Listener, Pair};
pub use setup::{AtomicKind, Goal, Length, Local, Pace, Rate, Setup, Verb, Waiting, Wire};

use std::{io, net::SocketAddr};

use libfabric_sys::{Unusable, client::ClientError};

use crate::{control::ControlError, load::LoadError, server::ServeError, session::SessionError};

/// Why a test has no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nobody can be waited for.
    #[error(transparent)]
    Listen(#[from] ServeError),
    /// Nobody answers.
    #[error("nothing listens on {0}; start the same command without a host there first")]
    Refused(SocketAddr),
    /// The host cannot be reached.
    #[error("cannot reach {address}: {error}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The other side is lost.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The two sides were given different options.
    #[error("the two sides differ in {0}; give both the same options")]
    Differs(String),
    /// The transport failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no libfabric.
    #[error(transparent)]
    Libfabric(#[from] Unusable),
    /// The provider is none, lacks something, or failed.
    #[error(transparent)]
    Provider(#[from] ClientError),
    /// The other side failed.
    #[error("on the other side: {0}")]
    There(String),
    /// A message is longer than the transport's longest, which may be a datagram's.
    #[error("-s {bytes}: a message to this host holds {longest} bytes; give -s {longest} or less")]
    TooLong {
        /// What was asked for, in bytes.
        bytes: u64,
        /// The most that fits on the way to the other side and back, in bytes.
        longest: u64,
    },
    /// A datagram that a side waits for is lost.
    #[error(
        "no answer within {0:?}: a datagram is lost, and latency is not measured without; \
         measure again, or over the reliable transport"
    )]
    Lost(std::time::Duration),
    /// A message came in the place of another.
    #[error("message {found} arrived in the place of message {expected}")]
    OutOfOrder {
        /// The number of the message that was due, counted from 0 on its endpoint.
        expected: u64,
        /// The number of the first one after it that has the bytes that came.
        found: u64,
    },
    /// A message is not what was sent.
    #[error("message {message} of {bytes} bytes arrived changed: first at byte {at}")]
    Corrupt {
        /// Which, counted from 0 on its endpoint.
        message: u64,
        /// Its size in bytes.
        bytes: usize,
        /// The first byte that differs.
        at: usize,
    },
}

impl From<SessionError> for BenchError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(address) => Self::Refused(address),
            SessionError::Unreachable { address, error } => Self::Unreachable { address, error },
            SessionError::Control(error) => Self::Control(error),
        }
    }
}
