//! Frames: what the message layer puts into reliable datagrams (P§8). A datagram holds any
//! number of frames; a frame is a head and, for some types, payload bytes right after it.

use crate::{
    Malformed, MessageSeq, OneSided, Tag,
    bytes_at::{u16_at, u32_at, u64_at},
};

/// The longest head of any frame.
pub const MAX_FRAME_HEAD: usize = crate::onesided::MAX_ONE_SIDED_HEAD;

const TYPE_MESSAGE: u8 = 1;
const TYPE_START: u8 = 2;
const TYPE_SEGMENT: u8 = 3;
const TYPE_GRANT: u8 = 4;
const TYPE_STOP: u8 = 5;
const TYPE_ABORT: u8 = 6;

const FLAG_TAGGED: u8 = 1 << 0;
const FLAG_DATA: u8 = 1 << 1;

/// The meaning of a frame's head. `length` is the number of payload bytes after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message {
        /// The message's position in the sender's order.
        seq: MessageSeq,
        /// `None` for an untagged message.
        tag: Option<Tag>,
        /// Remote completion data (`FI_REMOTE_CQ_DATA`).
        data: Option<u64>,
        /// Payload bytes.
        length: u16,
    },
    /// The first bytes of a message that takes several datagrams.
    Start {
        /// The message's position in the sender's order.
        seq: MessageSeq,
        /// `None` for an untagged message.
        tag: Option<Tag>,
        /// Remote completion data.
        data: Option<u64>,
        /// Bytes of the whole message.
        total: u64,
        /// Bytes the sender sends without waiting for a grant.
        unscheduled: u32,
        /// Payload bytes in this frame, from offset 0.
        length: u16,
    },
    /// Further bytes of a message.
    Segment {
        /// The message.
        seq: MessageSeq,
        /// Where the payload belongs in the message.
        offset: u64,
        /// Payload bytes.
        length: u16,
    },
    /// The receiver allows the sender to send up to (not including) an offset.
    Grant {
        /// The sender's message.
        seq: MessageSeq,
        /// The first offset not granted.
        up_to: u64,
    },
    /// The receiver wants no more of a message (it was longer than the buffer, or its receive
    /// was cancelled). What was not sent yet is not sent.
    Stop {
        /// The sender's message.
        seq: MessageSeq,
    },
    /// The sender gives a message up (its send was cancelled). The order skips it.
    Abort {
        /// The sender's message.
        seq: MessageSeq,
    },
    /// Part of a one-sided operation.
    OneSided(OneSided),
}

impl Frame {
    /// Payload bytes after the head.
    pub const fn payload_len(&self) -> usize {
        match *self {
            Self::OneSided(ref frame) => frame.payload_len(),
            Self::Message { length, .. }
            | Self::Start { length, .. }
            | Self::Segment { length, .. } => length as usize,
            Self::Grant { .. } | Self::Stop { .. } | Self::Abort { .. } => 0,
        }
    }

    /// Bytes of the head.
    pub const fn head_len(&self) -> usize {
        match self {
            Self::Message { data: Some(_), .. } => 24,
            Self::Start { .. } => 40,
            Self::OneSided(frame) => frame.head_len(),
            _ => 16,
        }
    }

    /// Reads the head at the start of `bytes`. The payload may lie elsewhere.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() < 16 {
            return Err(Malformed::Truncated);
        }
        if bytes[0] > TYPE_ABORT {
            return OneSided::parse(bytes).map(Self::OneSided);
        }
        let flags = bytes[1];
        let length = u16_at(bytes, 2);
        let seq = MessageSeq(u32_at(bytes, 4));
        let word = u64_at(bytes, 8);
        let with_match = matches!(bytes[0], TYPE_MESSAGE | TYPE_START);
        let known_flags = if with_match { FLAG_TAGGED | FLAG_DATA } else { 0 };
        if flags & !known_flags != 0 {
            return Err(Malformed::Range);
        }
        let tag = (flags & FLAG_TAGGED != 0).then_some(Tag(word));
        let has_data = flags & FLAG_DATA != 0;
        Ok(match bytes[0] {
            TYPE_MESSAGE => {
                if has_data && bytes.len() < 24 {
                    return Err(Malformed::Truncated);
                }
                Self::Message { seq, tag, data: has_data.then(|| u64_at(bytes, 16)), length }
            }
            TYPE_START => {
                if bytes.len() < 40 {
                    return Err(Malformed::Truncated);
                }
                let total = u64_at(bytes, 16);
                if u64::from(length) > total {
                    return Err(Malformed::Range);
                }
                Self::Start {
                    seq,
                    tag,
                    data: has_data.then(|| u64_at(bytes, 32)),
                    total,
                    unscheduled: u32_at(bytes, 24),
                    length,
                }
            }
            TYPE_SEGMENT => {
                if word.checked_add(u64::from(length)).is_none() {
                    return Err(Malformed::Range);
                }
                Self::Segment { seq, offset: word, length }
            }
            TYPE_GRANT => Self::Grant { seq, up_to: word },
            TYPE_STOP => Self::Stop { seq },
            TYPE_ABORT => Self::Abort { seq },
            _ => return Err(Malformed::Kind),
        })
    }

    /// Appends the head.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (kind, seq, tag, data, word) = match *self {
            Self::OneSided(frame) => return frame.emit(out),
            Self::Message { seq, tag, data, .. } => (TYPE_MESSAGE, seq, tag, data, 0),
            Self::Start { seq, tag, data, .. } => (TYPE_START, seq, tag, data, 0),
            Self::Segment { seq, offset, .. } => (TYPE_SEGMENT, seq, None, None, offset),
            Self::Grant { seq, up_to } => (TYPE_GRANT, seq, None, None, up_to),
            Self::Stop { seq } => (TYPE_STOP, seq, None, None, 0),
            Self::Abort { seq } => (TYPE_ABORT, seq, None, None, 0),
        };
        let length = self.payload_len() as u64 & 0xffff;
        let flags = if tag.is_some() { FLAG_TAGGED } else { 0 }
            | if data.is_some() { FLAG_DATA } else { 0 };
        let first = u64::from(kind) | u64::from(flags) << 8 | length << 16 | u64::from(seq.0) << 32;
        let second = tag.map_or(word, |tag| tag.0);
        out.extend_from_slice(&(u128::from(first) | u128::from(second) << 64).to_le_bytes());
        match *self {
            Self::Start { total, unscheduled, .. } => {
                out.extend_from_slice(&total.to_le_bytes());
                out.extend_from_slice(&unscheduled.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&data.unwrap_or(0).to_le_bytes());
            }
            Self::Message { data: Some(data), .. } => out.extend_from_slice(&data.to_le_bytes()),
            _ => {}
        }
    }
}

/// The head of a whole message that is alone in its datagram, as most are that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeMessage {
    /// The message's position in the sender's order.
    pub seq: MessageSeq,
    /// `None` for an untagged message.
    pub tag: Option<Tag>,
    /// Remote completion data.
    pub data: Option<u64>,
}

impl WholeMessage {
    /// The only frame of `datagram`, and its payload, if that is a [`Frame::Message`]. Says what
    /// [`FrameIter`] says, in less time.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = datagram.split_first_chunk::<16>()?;
        let flags = head[1];
        if head[0] != TYPE_MESSAGE || flags & !(FLAG_TAGGED | FLAG_DATA) != 0 {
            return None;
        }
        let (data, payload) = if flags & FLAG_DATA == 0 {
            (None, rest)
        } else {
            let (data, payload) = rest.split_first_chunk()?;
            (Some(u64::from_le_bytes(*data)), payload)
        };
        if payload.len() != usize::from(u16_at(head, 2)) {
            return None;
        }
        let tag = (flags & FLAG_TAGGED != 0).then_some(Tag(u64_at(head, 8)));
        Some((Self { seq: MessageSeq(u32_at(head, 4)), tag, data }, payload))
    }
}

/// The frames of one datagram's payload, each with its payload bytes. Ends after the first
/// malformed frame.
#[derive(Clone, Debug)]
pub struct FrameIter<'a> {
    rest: &'a [u8],
}

impl<'a> FrameIter<'a> {
    /// Iterates over the frames in `payload`.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn split(&self) -> Result<(Frame, &'a [u8], &'a [u8]), Malformed> {
        let frame = Frame::parse(self.rest)?;
        let end = frame.head_len() + frame.payload_len();
        let payload = self.rest.get(frame.head_len()..end).ok_or(Malformed::Truncated)?;
        Ok((frame, payload, &self.rest[end..]))
    }
}

impl<'a> Iterator for FrameIter<'a> {
    type Item = Result<(Frame, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.split() {
            Ok((frame, payload, rest)) => {
                self.rest = rest;
                Ok((frame, payload))
            }
            Err(malformed) => {
                self.rest = &[];
                Err(malformed)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OneSidedKind, RKey, RefusalCause, RemotePlace};

    fn every_frame() -> Vec<Frame> {
        let seq = MessageSeq(0x0a0b_0c0d);
        let tag = Some(Tag(u64::MAX - 1));
        let place = RemotePlace { key: RKey(0x1122_3344_5566_7788), offset: 1 << 50 };
        vec![
            Frame::Message { seq, tag, data: None, length: 3 },
            Frame::Message { seq, tag: None, data: Some(5), length: 0 },
            Frame::Start {
                seq,
                tag,
                data: Some(9),
                total: 1 << 40,
                unscheduled: 65_536,
                length: 2,
            },
            Frame::Segment { seq, offset: 1 << 33, length: 1 },
            Frame::Grant { seq, up_to: 77 },
            Frame::Stop { seq },
            Frame::Abort { seq },
            Frame::OneSided(OneSided::Write {
                seq,
                place,
                offset: 7,
                total: 1 << 40,
                data: None,
                length: 9,
            }),
            Frame::OneSided(OneSided::Write {
                seq,
                place,
                offset: 0,
                total: 4,
                data: Some(6),
                length: 4,
            }),
            Frame::OneSided(OneSided::Read { seq, place, total: 1 << 41, unscheduled: 1 << 16 }),
            Frame::OneSided(OneSided::Data { seq, offset: 1 << 35, length: 5 }),
            Frame::OneSided(OneSided::Allow { seq, up_to: 99 }),
            Frame::OneSided(OneSided::Atomic {
                seq,
                place,
                operator: 3,
                datatype: 8,
                fetch: true,
                count: 1,
                length: 8,
            }),
            Frame::OneSided(OneSided::Result { seq, length: 8 }),
            Frame::OneSided(OneSided::Refusal {
                seq,
                kind: OneSidedKind::Atomic,
                cause: RefusalCause::Range,
            }),
        ]
    }

    #[test]
    fn frames_of_one_datagram_survive_a_round_trip() {
        let mut bytes = Vec::new();
        for frame in every_frame() {
            let before = bytes.len();
            frame.emit(&mut bytes);
            assert_eq!(bytes.len() - before, frame.head_len());
            bytes.resize(bytes.len() + frame.payload_len(), 0xee);
        }
        let read: Vec<_> = FrameIter::new(&bytes).map(|f| f.unwrap()).collect();
        assert_eq!(read.iter().map(|(f, _)| *f).collect::<Vec<_>>(), every_frame());
        assert!(read.iter().all(|(f, payload)| payload.len() == f.payload_len()));
    }

    #[test]
    fn every_cut_datagram_ends_in_one_error() {
        for frame in every_frame() {
            let mut bytes = Vec::new();
            frame.emit(&mut bytes);
            bytes.resize(bytes.len() + frame.payload_len(), 0);
            for length in 1..bytes.len() {
                let read: Vec<_> = FrameIter::new(&bytes[..length]).collect();
                assert_eq!(read.len(), 1);
                assert_eq!(read[0], Err(Malformed::Truncated));
            }
        }
    }

    #[test]
    fn segment_that_ends_past_u64_is_rejected() {
        let mut bytes = Vec::new();
        Frame::Segment { seq: MessageSeq(1), offset: u64::MAX, length: 1 }.emit(&mut bytes);
        assert_eq!(Frame::parse(&bytes), Err(Malformed::Range));
    }
}
