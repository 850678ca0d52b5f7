//! What becomes of operations.

use memory::Buffer;
use srd::PeerError;
use wire::{PeerId, RefusalCause, RemotePlace, Tag};

const RECEIVE: u64 = 1 << 31;
const INDEX: u64 = RECEIVE - 1;

/// Names a posted operation until its completion was polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpId(u64);

impl OpId {
    pub(crate) fn send(index: usize, serial: u32) -> Self {
        Self(u64::from(serial) << 32 | index as u64 & INDEX)
    }

    pub(crate) fn receive(index: usize, serial: u32) -> Self {
        Self(u64::from(serial) << 32 | RECEIVE | index as u64 & INDEX)
    }

    /// A receive that is matched at once and so never waits in a table.
    pub(crate) fn matched_receive(serial: u32) -> Self {
        Self(u64::from(serial) << 32 | RECEIVE | INDEX)
    }

    /// A message that left when it was posted and never waits in a table.
    pub(crate) const fn brief(serial: u32) -> Self {
        Self((serial as u64) << 32 | INDEX)
    }

    /// What the peer did of its own accord: nobody posted it here.
    pub(crate) const fn remote() -> Self {
        Self(u64::MAX)
    }

    pub(crate) const fn is_receive(self) -> bool {
        self.0 & RECEIVE != 0
    }

    pub(crate) const fn index(self) -> usize {
        (self.0 & INDEX) as usize
    }

    pub(crate) const fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// An operation that is over. Each posted operation completes exactly once, except a send posted
/// with `complete: false`, which completes only if it fails, and a multi-receive, which completes
/// once for each message and once more when it is released.
#[derive(Debug)]
pub struct Completion {
    /// The operation; of [`Event::RemoteWrite`], a name that no operation has.
    pub op: OpId,
    /// The context given when it was posted.
    pub context: u64,
    /// The other side. `None` for an any-source receive that met no message.
    pub peer: Option<PeerId>,
    /// What kind of operation it was, and what it returns.
    pub event: Event,
    /// Whether it succeeded.
    pub result: Result<(), OperationError>,
}

/// The kinds of operation.
#[derive(Debug)]
pub enum Event {
    /// A send: on success, the peer has all of the message.
    Sent,
    /// A receive.
    Received {
        /// The message's tag; `None` if it was untagged or no message was met.
        tag: Option<Tag>,
        /// Remote completion data that came with the message.
        remote_data: Option<u64>,
        /// Message bytes in `buffer`.
        length: u64,
        /// Bytes of the whole message, more than `length` if it was truncated.
        message_length: u64,
        /// Where in the buffer of a multi-receive the message begins; else 0.
        offset: u64,
        /// The buffer the receive was posted with, also after an error; of a multi-receive, the
        /// part that the message took.
        buffer: Buffer,
    },
    /// A multi-receive takes no more messages, and all that it took have completed. An error
    /// says that it was cancelled, or that the peer it was directed at is lost.
    Released {
        /// The end of its buffer, which no message took.
        rest: Buffer,
    },
    /// A write: on success, all of it is in the peer's memory.
    Written,
    /// A read.
    Read {
        /// The buffer the read was posted with. After an error some of its bytes may have
        /// changed.
        buffer: Buffer,
    },
    /// An atomic operation.
    Atomic {
        /// The old values of the elements, if they were wanted.
        old: Vec<u8>,
    },
    /// The peer wrote into memory of this endpoint and wants it known
    /// (`FI_REMOTE_WRITE` with `FI_REMOTE_CQ_DATA`). No operation of this side belongs to it.
    RemoteWrite {
        /// The data that came with the write.
        data: u64,
        /// Where its bytes are.
        place: RemotePlace,
        /// How many.
        length: u64,
    },
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The message was longer than the buffer, which holds its first part.
    #[error("truncated: the message has {message_length} bytes, post a buffer that holds them")]
    Truncated {
        /// Bytes of the whole message.
        message_length: u64,
    },
    /// The operation was cancelled.
    #[error("cancelled")]
    Canceled,
    /// The peer was given up.
    #[error("peer {0}")]
    Peer(PeerError),
    /// The peer cancelled the send that this receive had matched.
    #[error("the peer cancelled its send")]
    PeerAborted,
    /// The peer had no receive posted, and the configured retries are used up.
    #[error("receiver not ready: the peer has no receive posted")]
    ReceiverNotReady,
    /// The peer turned a one-sided operation away.
    #[error("refused by the peer: {0}")]
    Refused(RefusalCause),
    /// The peer's answer to an atomic operation has the wrong length.
    #[error("the peer's result does not fit the atomic operation")]
    BadResult,
    /// The message does not fit a datagram and this endpoint does not divide messages.
    #[error("message too long: a datagram to this peer carries {limit} bytes")]
    TooLong {
        /// The most a message to this peer may have, in bytes.
        limit: usize,
    },
}

/// No operation can be posted now: as many as configured wait for completion or to be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation limit reached: poll completions, then post again")]
pub struct Busy;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is longer is moved by calls, and a completion is moved more than once.
    #[test]
    fn completion_is_no_longer_than_what_is_moved_in_place() {
        assert!(size_of::<Completion>() <= 128, "{} bytes", size_of::<Completion>());
    }

    #[test]
    fn operation_ids_give_back_kind_index_and_serial() {
        let send = OpId::send(77, u32::MAX);
        assert_eq!((send.is_receive(), send.index(), send.serial()), (false, 77, u32::MAX));
        let receive = OpId::receive(77, 5);
        assert_eq!((receive.is_receive(), receive.index(), receive.serial()), (true, 77, 5));
    }
}
