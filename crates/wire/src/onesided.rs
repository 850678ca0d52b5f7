//! Frames of one-sided operations (P§8.11): writes, reads and atomics on a region of the peer,
//! and what comes back of them.

use crate::{
    Malformed, MessageSeq, RKey,
    bytes_at::{u16_at, u32_at, u64_at},
};

/// The longest head of any one-sided frame.
pub(crate) const MAX_ONE_SIDED_HEAD: usize = 48;

const TYPE_WRITE: u8 = 7;
const TYPE_READ: u8 = 8;
const TYPE_DATA: u8 = 9;
const TYPE_ALLOW: u8 = 10;
const TYPE_ATOMIC: u8 = 11;
const TYPE_RESULT: u8 = 12;
const TYPE_REFUSAL: u8 = 13;

const FLAG_DATA: u8 = 1 << 1;
const FLAG_FETCH: u8 = 1 << 2;

/// A place in a region of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemotePlace {
    /// The region.
    pub key: RKey,
    /// Where in it, in bytes from its beginning.
    pub offset: u64,
}

/// Which numbers an operation belongs to: transfers and atomics are numbered apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OneSidedKind {
    /// A write or a read.
    Transfer,
    /// An atomic operation.
    Atomic,
}

/// Why the target turned an operation away, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusalCause {
    /// No region has this key.
    #[error("no region has this key, or it was revoked")]
    UnknownKey,
    /// The region does not allow this kind of access.
    #[error("the region is not registered for this kind of access")]
    Access,
    /// The bytes are not all inside the region.
    #[error("the bytes are not all inside the region")]
    Range,
    /// The target does not know this operation on this type.
    #[error("it does not know this atomic operation on this type")]
    Unsupported,
}

const CAUSES: [RefusalCause; 4] = [
    RefusalCause::UnknownKey,
    RefusalCause::Access,
    RefusalCause::Range,
    RefusalCause::Unsupported,
];

/// The meaning of a one-sided frame's head. `length` is the number of payload bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneSided {
    /// Bytes for a region. Each frame of a write says all of it.
    Write {
        /// The operation, among the initiator's transfers.
        seq: MessageSeq,
        /// Where the write begins.
        place: RemotePlace,
        /// Where in the write the payload belongs.
        offset: u64,
        /// Bytes of the whole write.
        total: u64,
        /// Data for a completion at the target (`FI_REMOTE_CQ_DATA`).
        data: Option<u64>,
        /// Payload bytes.
        length: u16,
    },
    /// Asks for bytes of a region.
    Read {
        /// The operation, among the initiator's transfers.
        seq: MessageSeq,
        /// Where the read begins.
        place: RemotePlace,
        /// Bytes wanted.
        total: u64,
        /// Bytes that may come without being allowed later.
        unscheduled: u32,
    },
    /// Bytes that were read.
    Data {
        /// The read.
        seq: MessageSeq,
        /// Where in the read the payload belongs.
        offset: u64,
        /// Payload bytes.
        length: u16,
    },
    /// The initiator allows the target to send up to (not including) an offset of what it reads.
    Allow {
        /// The read.
        seq: MessageSeq,
        /// The first offset not allowed.
        up_to: u64,
    },
    /// An atomic operation; its operands are the payload.
    Atomic {
        /// The operation, among the initiator's atomics.
        seq: MessageSeq,
        /// The first element.
        place: RemotePlace,
        /// What to do, as section 8.11 numbers it.
        operator: u8,
        /// The type of an element, as section 8.11 numbers it.
        datatype: u8,
        /// Whether the old values are wanted back.
        fetch: bool,
        /// Elements.
        count: u16,
        /// Payload bytes.
        length: u16,
    },
    /// An atomic operation was executed; the old values, if they were wanted, are the payload.
    Result {
        /// The atomic operation.
        seq: MessageSeq,
        /// Payload bytes.
        length: u16,
    },
    /// The target turned an operation away.
    Refusal {
        /// The operation.
        seq: MessageSeq,
        /// Which numbers it belongs to.
        kind: OneSidedKind,
        /// Why.
        cause: RefusalCause,
    },
}

impl OneSided {
    /// Payload bytes after the head.
    pub const fn payload_len(&self) -> usize {
        match *self {
            Self::Write { length, .. }
            | Self::Data { length, .. }
            | Self::Atomic { length, .. }
            | Self::Result { length, .. } => length as usize,
            Self::Read { .. } | Self::Allow { .. } | Self::Refusal { .. } => 0,
        }
    }

    /// Bytes of the head.
    pub const fn head_len(&self) -> usize {
        match self {
            Self::Write { data: Some(_), .. } => 48,
            Self::Write { data: None, .. } | Self::Read { .. } => 40,
            Self::Atomic { .. } => 32,
            Self::Data { .. } | Self::Allow { .. } | Self::Result { .. } | Self::Refusal { .. } => {
                16
            }
        }
    }

    /// Reads a head of at least 16 bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, flags) = (bytes[0], bytes[1]);
        let (head, known_flags) = match kind {
            TYPE_WRITE if flags & FLAG_DATA != 0 => (48, FLAG_DATA),
            TYPE_WRITE | TYPE_READ => (40, 0),
            TYPE_ATOMIC => (32, FLAG_FETCH),
            TYPE_DATA | TYPE_ALLOW | TYPE_RESULT | TYPE_REFUSAL => (16, 0),
            _ => return Err(Malformed::Kind),
        };
        if flags & !known_flags != 0 {
            return Err(Malformed::Range);
        }
        if bytes.len() < head {
            return Err(Malformed::Truncated);
        }
        let length = u16_at(bytes, 2);
        let seq = MessageSeq(u32_at(bytes, 4));
        let word = u64_at(bytes, 8);
        Ok(match kind {
            TYPE_WRITE => {
                let place = RemotePlace { key: RKey(u64_at(bytes, 16)), offset: u64_at(bytes, 24) };
                let total = u64_at(bytes, 32);
                within(word, length, total)?;
                let data = (flags & FLAG_DATA != 0).then(|| u64_at(bytes, 40));
                Self::Write { seq, place, offset: word, total, data, length }
            }
            TYPE_READ => {
                let place = RemotePlace { key: RKey(u64_at(bytes, 16)), offset: word };
                let unscheduled = u32_at(bytes, 32);
                Self::Read { seq, place, total: u64_at(bytes, 24), unscheduled }
            }
            TYPE_DATA => {
                within(word, length, u64::MAX)?;
                Self::Data { seq, offset: word, length }
            }
            TYPE_ALLOW => Self::Allow { seq, up_to: word },
            TYPE_ATOMIC => Self::Atomic {
                seq,
                place: RemotePlace { key: RKey(u64_at(bytes, 16)), offset: word },
                operator: bytes[24],
                datatype: bytes[25],
                fetch: flags & FLAG_FETCH != 0,
                count: u16_at(bytes, 26),
                length,
            },
            TYPE_RESULT => Self::Result { seq, length },
            _ => {
                let kind = match bytes[9] {
                    0 => OneSidedKind::Transfer,
                    1 => OneSidedKind::Atomic,
                    _ => return Err(Malformed::Range),
                };
                let cause = usize::from(bytes[8]).checked_sub(1).and_then(|at| CAUSES.get(at));
                Self::Refusal { seq, kind, cause: *cause.ok_or(Malformed::Range)? }
            }
        })
    }

    /// Appends the head.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        let (kind, flags, seq, word) = match *self {
            Self::Write { seq, offset, data, .. } => {
                (TYPE_WRITE, if data.is_some() { FLAG_DATA } else { 0 }, seq, offset)
            }
            Self::Read { seq, place, .. } => (TYPE_READ, 0, seq, place.offset),
            Self::Data { seq, offset, .. } => (TYPE_DATA, 0, seq, offset),
            Self::Allow { seq, up_to } => (TYPE_ALLOW, 0, seq, up_to),
            Self::Atomic { seq, place, fetch, .. } => {
                (TYPE_ATOMIC, if fetch { FLAG_FETCH } else { 0 }, seq, place.offset)
            }
            Self::Result { seq, .. } => (TYPE_RESULT, 0, seq, 0),
            Self::Refusal { seq, kind, cause } => {
                let code = CAUSES.iter().zip(1..).find(|(known, _)| **known == cause);
                let kind = u64::from(kind == OneSidedKind::Atomic);
                (TYPE_REFUSAL, 0, seq, kind << 8 | code.map_or(0, |(_, code)| code))
            }
        };
        // Every payload length fits: it was a `u16`.
        let length = self.payload_len().to_le_bytes();
        out.extend_from_slice(&[kind, flags, length[0], length[1]]);
        out.extend_from_slice(&seq.0.to_le_bytes());
        out.extend_from_slice(&word.to_le_bytes());
        let mut put = |value: u64| out.extend_from_slice(&value.to_le_bytes());
        match *self {
            Self::Write { place, total, data, .. } => {
                put(place.key.0);
                put(place.offset);
                put(total);
                if let Some(data) = data {
                    put(data);
                }
            }
            Self::Read { place, total, unscheduled, .. } => {
                put(place.key.0);
                put(total);
                put(unscheduled.into());
            }
            Self::Atomic { place, operator, datatype, count, .. } => {
                put(place.key.0);
                put(u64::from(operator) | u64::from(datatype) << 8 | u64::from(count) << 16);
            }
            Self::Data { .. } | Self::Allow { .. } | Self::Result { .. } | Self::Refusal { .. } => {
            }
        }
    }
}

/// A payload must lie inside what it is part of.
fn within(offset: u64, length: u16, total: u64) -> Result<(), Malformed> {
    match offset.checked_add(length.into()) {
        Some(end) if end <= total => Ok(()),
        _ => Err(Malformed::Range),
    }
}
