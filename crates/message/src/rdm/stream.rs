//! Bytes that come in many datagrams, and what names them between two endpoints.

use wire::MessageSeq;

/// What a run of segments is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    /// A message; the sender numbers it.
    Message(MessageSeq),
    /// What a read asked for; the reader numbers it.
    Read(MessageSeq),
}
