//! Packet and header formats, the numbers they carry, and the vocabulary for datagrams on
//! their way to and from a device.
//!
//! Every format has two levels. A *view* reads fields out of bytes and cannot panic once its
//! length was checked; a *meaning* (`Header`, `Ack`, `Frame`) cannot hold nonsense and knows how
//! to `parse` and `emit` itself. All integers are little-endian. `docs/protocol.md` is the
//! normative text; its section numbers are cited as `P§n`.
#![forbid(unsafe_code)]

mod ack;
mod bytes_at;
mod datagram;
mod frame;
mod header;
mod ids;
mod onesided;
mod sequence;
mod time;

pub use ack::{Ack, MAX_ECHOES, MAX_SACK_WORDS, PathEcho};
pub use datagram::{Ecn, Entropy, EntropySet, SMALLEST_DATAGRAM, Train};
pub use frame::{Frame, FrameIter, MAX_FRAME_HEAD, WholeMessage};
pub use header::{HEADER_LEN, Header, Kind};
pub use ids::{ConnId, MessageSeq, PeerId, RKey, Tag, Token};
pub use onesided::{OneSided, OneSidedKind, RefusalCause, RemotePlace};
pub use sequence::{PathSeq, Psn};
pub use time::{Stamp, Time};

/// Why bytes are not what they claim to be. Every variant is counted and the bytes dropped;
/// none is answered (P§2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the format needs.
    #[error("truncated")]
    Truncated,
    /// A version this implementation does not speak.
    #[error("unknown version")]
    Version,
    /// A kind or frame type outside the format.
    #[error("unknown kind")]
    Kind,
    /// The header's CRC32C does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// A field outside its range, or a length that overruns the datagram.
    #[error("field out of range")]
    Range,
}
