//! The acknowledgement block (P§4): what arrived, how much more may come, and when.

use crate::{
    Entropy, Malformed, PathSeq, Psn, Stamp,
    bytes_at::{u16_at, u32_at, u64_at},
};

/// The most 64-bit words of selective acknowledgement in one block: 2,048 PSNs.
pub const MAX_SACK_WORDS: usize = 32;
/// The most path echoes in one block.
pub const MAX_ECHOES: usize = 32;

const FIXED_LEN: usize = 8;
const WORD_LEN: usize = 8;
const ECHO_LEN: usize = 12;
/// One unit of the window field, in bytes.
const WINDOW_UNIT: u32 = 1024;
/// One unit of the delay field, in nanoseconds; the field saturates at 16.7 ms.
const DELAY_UNIT: u64 = 256;
const MOST_UNITS: u64 = u16::MAX as u64;

/// What a receiver tells about one path: enough for a round-trip time without ambiguity, even
/// when the datagram was a retransmission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathEcho {
    /// The path.
    pub entropy: Entropy,
    /// Datagrams of this path that arrived with a congestion mark since the last block;
    /// saturates at 255.
    pub marked: u8,
    /// Low half of the highest path sequence number that arrived.
    pub path_seq: u32,
    /// The stamp of that datagram.
    pub stamp: Stamp,
    /// Nanoseconds that datagram waited at the receiver before this block; saturates, and then
    /// says that it was longer than can be told, or is not known.
    pub delay: u64,
}

impl PathEcho {
    /// Whether the delay is longer than can be told: there is no round trip to be had from it.
    pub const fn is_delay_untold(&self) -> bool {
        self.delay >= MOST_UNITS * DELAY_UNIT
    }

    /// The full path sequence number, given one that is close.
    pub fn path_seq_near(&self, near: PathSeq) -> Option<PathSeq> {
        PathSeq::expand(self.path_seq, near)
    }
}

/// The meaning of an acknowledgement block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Low half of the PSN up to which everything arrived.
    pub cumulative: u32,
    /// Bytes the receiver allows in flight towards it, rounded down to 1 KiB; saturates near
    /// 64 MiB.
    pub window: u32,
    /// Bit `i` of word `j` is set when PSN `cumulative + 1 + 64 j + i` arrived.
    pub sack: Vec<u64>,
    /// One entry per path that brought something since the last block.
    pub echoes: Vec<PathEcho>,
}

impl Ack {
    /// Bytes this block takes.
    pub fn len(&self) -> usize {
        FIXED_LEN + self.sack.len() * WORD_LEN + self.echoes.len() * ECHO_LEN
    }

    /// Whether nothing beyond the cumulative PSN is told.
    pub fn is_empty(&self) -> bool {
        self.sack.is_empty() && self.echoes.is_empty()
    }

    /// Reads the block in `bytes`, which must be exactly as long as the header says, into `self`
    /// (so that its memory is used again).
    pub fn parse_into(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.len() < FIXED_LEN {
            return Err(Malformed::Truncated);
        }
        let words = usize::from(bytes[6]);
        let echoes = usize::from(bytes[7]);
        if words > MAX_SACK_WORDS || echoes > MAX_ECHOES {
            return Err(Malformed::Range);
        }
        if bytes.len() != FIXED_LEN + words * WORD_LEN + echoes * ECHO_LEN {
            return Err(Malformed::Range);
        }
        self.cumulative = u32_at(bytes, 0);
        self.window = u32::from(u16_at(bytes, 4)) * WINDOW_UNIT;
        let (sack, rest) = bytes[FIXED_LEN..].split_at(words * WORD_LEN);
        self.sack.clear();
        self.sack.extend(sack.chunks_exact(WORD_LEN).map(|word| u64_at(word, 0)));
        self.echoes.clear();
        self.echoes.extend(rest.chunks_exact(ECHO_LEN).map(|echo| PathEcho {
            entropy: Entropy(echo[0]),
            marked: echo[1],
            delay: u64::from(u16_at(echo, 2)) * DELAY_UNIT,
            path_seq: u32_at(echo, 4),
            stamp: Stamp(u32_at(echo, 8)),
        }));
        Ok(())
    }

    /// Appends the block.
    ///
    /// # Panics
    /// If there are more words or echoes than a block holds.
    #[expect(clippy::cast_possible_truncation, reason = "counts are asserted, values saturated")]
    pub fn emit(&self, out: &mut Vec<u8>) {
        assert!(self.sack.len() <= MAX_SACK_WORDS && self.echoes.len() <= MAX_ECHOES);
        out.extend_from_slice(&self.cumulative.to_le_bytes());
        let window = (self.window / WINDOW_UNIT).min(u32::from(u16::MAX)) as u16;
        out.extend_from_slice(&window.to_le_bytes());
        out.push(self.sack.len() as u8);
        out.push(self.echoes.len() as u8);
        for word in &self.sack {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for echo in &self.echoes {
            let delay = (echo.delay / DELAY_UNIT).min(MOST_UNITS) as u16;
            out.push(echo.entropy.0);
            out.push(echo.marked);
            out.extend_from_slice(&delay.to_le_bytes());
            out.extend_from_slice(&echo.path_seq.to_le_bytes());
            out.extend_from_slice(&echo.stamp.0.to_le_bytes());
        }
    }

    /// The PSNs acknowledged beyond the cumulative one, as full numbers near `near`.
    pub fn selected(&self, near: Psn) -> impl Iterator<Item = Psn> {
        let base = Psn::expand(self.cumulative, near).map_or(0, |psn| psn.0) + 1;
        self.sack.iter().zip(0u64..).flat_map(move |(&word, j)| {
            (0..64).filter(move |i| word >> i & 1 == 1).map(move |i| Psn(base + 64 * j + i))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_that_does_not_fit_is_untold() {
        for (delay, untold) in [(0, false), (16_000_000, false), (17_000_000, true)] {
            let echoes = vec![PathEcho { delay, ..PathEcho::default() }];
            let mut bytes = Vec::new();
            Ack { echoes, ..Ack::default() }.emit(&mut bytes);
            let mut read = Ack::default();
            read.parse_into(&bytes).unwrap();
            assert_eq!(read.echoes[0].is_delay_untold(), untold, "{delay}");
        }
    }

    fn sample() -> Ack {
        Ack {
            cumulative: 41,
            window: 3 * 1024,
            sack: vec![0b110, 1 << 63],
            echoes: vec![PathEcho {
                entropy: Entropy(3),
                marked: 2,
                path_seq: 17,
                stamp: Stamp(1234),
                delay: 512,
            }],
        }
    }

    #[test]
    fn ack_survives_a_round_trip() {
        let mut bytes = Vec::new();
        sample().emit(&mut bytes);
        assert_eq!(bytes.len(), sample().len());
        let mut read = Ack::default();
        read.parse_into(&bytes).unwrap();
        assert_eq!(read, sample());
    }

    #[test]
    fn selected_names_the_psns_of_the_set_bits() {
        let psns: Vec<_> = sample().selected(Psn(40)).collect();
        assert_eq!(psns, [Psn(43), Psn(44), Psn(42 + 127)]);
    }

    #[test]
    fn counts_that_disagree_with_the_length_are_rejected() {
        let mut bytes = Vec::new();
        sample().emit(&mut bytes);
        bytes[6] = 1;
        assert_eq!(Ack::default().parse_into(&bytes), Err(Malformed::Range));
        bytes[6] = 200;
        assert_eq!(Ack::default().parse_into(&bytes), Err(Malformed::Range));
    }
}
