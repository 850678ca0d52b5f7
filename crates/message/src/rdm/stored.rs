//! Copies of payloads that have no buffer to go to yet.

use smallvec::SmallVec;

use super::ranges::Ranges;
use crate::numbers::clamp;

/// What a stored message counts for beside its payload, so that empty messages are bounded too.
pub(super) const MESSAGE_CHARGE: usize = 256;
const CHUNK_CHARGE: usize = 64;
const MAX_SPARE: usize = 512;
const MAX_SPARE_BYTES: usize = 16 << 10;

/// Part of a message.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// The parts of one message that are stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) chunks: SmallVec<[Chunk; 1]>,
    /// Payload bytes in the chunks.
    bytes: usize,
    /// Which bytes of the message they are.
    ranges: Ranges,
    covered: usize,
}

impl Stored {
    /// What storing a part of `length` bytes costs at most.
    pub(super) const fn charge_of(length: usize) -> usize {
        if length == 0 { 0 } else { CHUNK_CHARGE + length }
    }

    /// What this counts for against a limit, its message included.
    pub(super) fn charge(&self) -> usize {
        MESSAGE_CHARGE + CHUNK_CHARGE * self.chunks.len() + self.bytes
    }

    /// Whether all of a message of `total` bytes is here.
    pub(super) fn is_complete(&self, total: u64) -> bool {
        self.covered as u64 >= total
    }

    /// Stores a part, unless it is here already. Returns what that costs.
    pub(super) fn add(&mut self, offset: u64, payload: &[u8], pool: &mut Pool) -> usize {
        let start = clamp(offset, usize::MAX - payload.len());
        let added = self.ranges.insert(start..start + payload.len());
        if added == 0 {
            return 0;
        }
        self.covered += added;
        self.bytes += payload.len();
        self.chunks.push(Chunk { offset, bytes: pool.copy(payload) });
        Self::charge_of(payload.len())
    }

    /// The whole message of `total` bytes, if it is in one piece.
    pub(super) fn whole(&self, total: u64) -> Option<&[u8]> {
        match self.chunks.as_slice() {
            [] if total == 0 => Some(&[]),
            [chunk] if chunk.offset == 0 && chunk.bytes.len() as u64 == total => Some(&chunk.bytes),
            _ => None,
        }
    }
}

/// Memory of payloads that left a store, for those that enter it.
#[derive(Debug, Default)]
pub(super) struct Pool {
    spare: Vec<Vec<u8>>,
}

impl Pool {
    fn copy(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(payload);
        bytes
    }

    pub(super) fn recycle(&mut self, stored: Stored) {
        for Chunk { mut bytes, .. } in stored.chunks {
            if self.spare.len() < MAX_SPARE && bytes.capacity() <= MAX_SPARE_BYTES {
                bytes.clear();
                self.spare.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_that_comes_twice_is_stored_and_charged_once() {
        let (mut stored, mut pool) = (Stored::default(), Pool::default());
        assert_eq!(stored.add(0, &[1; 100], &mut pool), Stored::charge_of(100));
        assert_eq!(stored.add(50, &[1; 50], &mut pool), 0);
        assert_eq!(stored.charge(), MESSAGE_CHARGE + Stored::charge_of(100));
        assert!(!stored.is_complete(150));
        stored.add(90, &[2; 60], &mut pool);
        assert!(stored.is_complete(150));
    }
}
