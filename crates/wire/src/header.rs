//! The header every datagram begins with (P§2).
//!
//! ```text
//!  0                                   4        5        6                 8
//! +-----------------------------------+--------+--------+-----------------+
//! | CRC32C                            |ver|kind| flags  | listening port  |
//! +-----------------------------------+--------+--------+-----------------+
//! | source connid                     | destination connid (0: unknown)   |
//! +-----------------------------------+-----------------------------------+
//! | PSN                               | path sequence                     |
//! +-----------------------------------+--------+--------+-----------------+
//! | stamp                             |entropy | ack/4  | covered bytes   |
//! +-----------------------------------+--------+--------+-----------------+
//! ```

use crate::{
    Entropy, Malformed, Stamp,
    bytes_at::{u16_at, u32_at},
};

/// Bytes of the header; an acknowledgement block, if any, follows it.
pub const HEADER_LEN: usize = 32;

const VERSION: u8 = 1;
const FLAG_ACK_REQUESTED: u8 = 1 << 0;
const FLAG_HOLLOW: u8 = 1 << 1;
const KNOWN_FLAGS: u8 = FLAG_ACK_REQUESTED | FLAG_HOLLOW;
/// Where what the checksum covers begins: right after it.
const CHECKED_AT: usize = 4;
const FLAGS_AT: usize = 5;
const COVERED_AT: usize = 30;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A reliable datagram: it has a PSN and is acknowledged.
    Data,
    /// Only an acknowledgement block.
    Ack,
    /// Asks for an acknowledgement: tests a path, or whether a peer that owes something lives.
    Probe,
    /// "I am not the incarnation you addressed": the source connid is the living one.
    Reset,
    /// The datagram with this PSN arrived and was put back: its receiver had no room.
    NotReady,
    /// The sender's endpoint is closing and will answer no more.
    Close,
    /// An unreliable datagram (DGRAM endpoints).
    Unreliable,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Ack => 2,
            Self::Probe => 3,
            Self::Reset => 4,
            Self::NotReady => 5,
            Self::Close => 6,
            Self::Unreliable => 7,
        }
    }

    const fn from_code(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            1 => Self::Data,
            2 => Self::Ack,
            3 => Self::Probe,
            4 => Self::Reset,
            5 => Self::NotReady,
            6 => Self::Close,
            7 => Self::Unreliable,
            _ => return Err(Malformed::Kind),
        })
    }
}

/// The meaning of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the datagram is for.
    pub kind: Kind,
    /// The sender wants an acknowledgement without delay.
    pub ack_requested: bool,
    /// The datagram stands for one that its sender gave up: nothing is delivered for it.
    pub hollow: bool,
    /// The UDP port the sender listens on; with the IP source address, where answers go.
    pub port: u16,
    /// The sender's incarnation.
    pub source: u32,
    /// The incarnation addressed; 0 until the sender has learnt it.
    pub destination: u32,
    /// Low half of the packet sequence number; 0 for kinds without one.
    pub psn: u32,
    /// Low half of the position among the datagrams of this path; 0 for kinds without one.
    pub path_seq: u32,
    /// When the datagram was sent, on the sender's clock.
    pub stamp: Stamp,
    /// The source port the datagram left from.
    pub entropy: Entropy,
    /// Bytes of acknowledgement block after the header; a multiple of four.
    pub ack_len: usize,
    /// Bytes from the start of the datagram that the checksum covers.
    pub covered: usize,
}

impl Header {
    /// Reads and verifies the header of `datagram`.
    ///
    /// `datagram` may stop short of the datagram's end, but must hold all bytes that the checksum
    /// covers.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if datagram[CHECKED_AT] >> 4 != VERSION {
            return Err(Malformed::Version);
        }
        let header = Self {
            kind: Kind::from_code(datagram[CHECKED_AT] & 0xf)?,
            ack_requested: datagram[FLAGS_AT] & FLAG_ACK_REQUESTED != 0,
            hollow: datagram[FLAGS_AT] & FLAG_HOLLOW != 0,
            port: u16_at(datagram, 6),
            source: u32_at(datagram, 8),
            destination: u32_at(datagram, 12),
            psn: u32_at(datagram, 16),
            path_seq: u32_at(datagram, 20),
            stamp: Stamp(u32_at(datagram, 24)),
            entropy: Entropy(datagram[28]),
            ack_len: usize::from(datagram[29]) * 4,
            covered: usize::from(u16_at(datagram, COVERED_AT)),
        };
        if datagram[FLAGS_AT] & !KNOWN_FLAGS != 0 || header.source == 0 || header.port == 0 {
            return Err(Malformed::Range);
        }
        if header.covered < HEADER_LEN + header.ack_len {
            return Err(Malformed::Range);
        }
        if header.covered > datagram.len() {
            return Err(Malformed::Truncated);
        }
        if crc32c::crc32c(&datagram[CHECKED_AT..header.covered]) != u32_at(datagram, 0) {
            return Err(Malformed::Checksum);
        }
        Ok(header)
    }

    /// Appends the header; `covered` and the checksum stay open until [`Header::seal`].
    #[expect(clippy::cast_possible_truncation, reason = "an ack block is at most 1,020 bytes")]
    pub fn emit(&self, out: &mut Vec<u8>) {
        debug_assert!(self.ack_len.is_multiple_of(4) && self.ack_len <= 255 * 4);
        let flags = if self.ack_requested { FLAG_ACK_REQUESTED } else { 0 }
            | if self.hollow { FLAG_HOLLOW } else { 0 };
        let mut bytes = [0; HEADER_LEN];
        bytes[CHECKED_AT] = VERSION << 4 | self.kind.code();
        bytes[FLAGS_AT] = flags;
        bytes[6..8].copy_from_slice(&self.port.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.source.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.destination.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.psn.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.path_seq.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.stamp.0.to_le_bytes());
        bytes[28] = self.entropy.0;
        bytes[29] = (self.ack_len / 4) as u8;
        out.extend_from_slice(&bytes);
    }

    /// Sets the flag that asks for an acknowledgement in an emitted header that is not sealed yet.
    pub fn request_ack(head: &mut [u8]) {
        head[FLAGS_AT] |= FLAG_ACK_REQUESTED;
    }

    /// Completes the datagram head that begins with an emitted header: all of `head` becomes
    /// covered by the checksum.
    ///
    /// # Panics
    /// If `head` is shorter than a header or longer than 65,535 bytes.
    pub fn seal(head: &mut [u8]) {
        let covered = u16::try_from(head.len()).expect("a datagram is below 64 KiB");
        head[COVERED_AT..HEADER_LEN].copy_from_slice(&covered.to_le_bytes());
        let crc = crc32c::crc32c(&head[CHECKED_AT..]);
        head[..CHECKED_AT].copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            kind: Kind::Data,
            ack_requested: true,
            hollow: false,
            port: 4791,
            source: 0xdead_beef,
            destination: 7,
            psn: 0x0102_0304,
            path_seq: 99,
            stamp: Stamp(0x5566_7788),
            entropy: Entropy(12),
            ack_len: 0,
            covered: HEADER_LEN + 3,
        }
    }

    fn sealed() -> Vec<u8> {
        let mut head = Vec::new();
        sample().emit(&mut head);
        head.extend_from_slice(b"abc");
        Header::seal(&mut head);
        head
    }

    #[test]
    fn header_survives_a_round_trip() {
        assert_eq!(Header::parse(&sealed()), Ok(sample()));
    }

    #[test]
    fn header_bytes_are_those_of_the_protocol_document() {
        let golden = [
            0x11, 0x01, 0xb7, 0x12, 0xef, 0xbe, 0xad, 0xde, 7, 0, 0, 0, 4, 3, 2, 1, 99, 0, 0, 0,
            0x88, 0x77, 0x66, 0x55, 12, 0, 35, 0,
        ];
        assert_eq!(sealed()[CHECKED_AT..HEADER_LEN], golden);
    }

    #[test]
    fn any_flipped_bit_in_the_covered_bytes_is_noticed() {
        for bit in 0..sealed().len() * 8 {
            let mut bytes = sealed();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_shorter_prefix_is_truncated() {
        let bytes = sealed();
        for length in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..length]), Err(Malformed::Truncated));
        }
    }
}
