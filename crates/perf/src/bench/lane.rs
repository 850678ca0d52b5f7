//! One endpoint of one side: what the measuring loops post to and take from.

use std::time::Duration;

use fabric::{Bytes, Completion, RdmEndpoint};
use serde::{Deserialize, Serialize};

use super::BenchError;
use crate::load::LoadError;

/// What happened on a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Operations of this side that are complete.
    pub completed: u64,
    /// Messages of the other side that arrived.
    pub arrived: u64,
}

/// What a row asks of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Bytes of a message.
    pub bytes: usize,
    /// Messages that will arrive; `None` if that is not known.
    pub arrivals: Option<u64>,
    /// Operations of this side; `None` if that is not known.
    pub posts: Option<u64>,
    /// Receives to keep posted.
    pub depth: usize,
}

/// A verb on one endpoint. Loops are made for each implementation: nothing is looked up while they
/// run.
pub(super) trait Lane {
    /// Prepares for a row; nothing has been posted yet on either side.
    fn begin(&mut self, share: Share) -> Result<(), BenchError>;

    /// Begins `count` operations, together if the transport can.
    fn post(&mut self, count: u64) -> Result<(), BenchError>;

    /// Looks once.
    fn poll(&mut self) -> Result<Progress, BenchError>;

    /// Looks, and waits in the kernel if nothing is there.
    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError>;

    /// Ends a row: both sides have all they wait for. The other side posted so many operations.
    fn end(&mut self, peer_posted: u64) -> Result<(), BenchError>;
}

/// A lane of the fabric's reliable endpoint: it takes completions one by one, and all that are
/// there.
pub(super) trait Reaping {
    /// Where the completions are.
    fn endpoint(&mut self) -> &mut RdmEndpoint;

    /// Takes one, and counts it.
    fn take(&mut self, completion: Completion, so_far: &mut Progress) -> Result<(), BenchError>;

    /// Makes progress, and takes all that are there then.
    fn poll_all(&mut self) -> Result<Progress, BenchError> {
        let first = self.endpoint().poll().map_err(LoadError::fabric)?;
        self.take_all(first)
    }

    /// The same, but waits in the kernel if there is none.
    fn wait_all(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        let first = self.endpoint().wait(Some(at_most)).map_err(LoadError::fabric)?;
        self.take_all(first)
    }

    /// Takes `first`, and all that are there.
    fn take_all(&mut self, first: Option<Completion>) -> Result<Progress, BenchError> {
        let mut progress = Progress::default();
        let mut next = first;
        while let Some(completion) = next {
            self.take(completion, &mut progress)?;
            next = self.endpoint().take_completion();
        }
        Ok(progress)
    }
}

/// Where a lane is, as the other side needs to know it and as perftest shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its address.
    pub address: std::net::SocketAddr,
    /// A number that the host has given it: the port.
    pub number: u32,
    /// A number it drew by lot.
    pub first_psn: u32,
    /// The key of its memory, where the other side works on it.
    pub key: Option<u64>,
}

/// The bytes of every message: a message is a piece of these, the next message another, so that
/// one that is lost, doubled or out of order shows.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    bytes: Bytes,
}

impl Pattern {
    const STEP: usize = 64;
    const PIECES: u64 = 64;

    /// Bytes that all messages of so many bytes are pieces of.
    pub(super) fn length(bytes: usize) -> usize {
        bytes.saturating_add(Self::STEP * usize::try_from(Self::PIECES).unwrap_or(0))
    }

    /// For messages of up to `largest` bytes.
    pub(super) fn new(largest: usize) -> Self {
        let length = Self::length(largest);
        // Xorshift (Marsaglia 2003): any bytes that do not repeat within the pattern would do.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let bytes: Vec<u8> = words.flatten().take(length).collect();
        Self { bytes: bytes.into() }
    }

    /// The message with this number, of so many bytes.
    pub(super) fn message(&self, number: u64, bytes: usize) -> Bytes {
        let at = Self::offset(number);
        self.bytes.slice(at..at + bytes)
    }

    /// Fails if `found`, from `offset` of the message, is not what was sent.
    pub(super) fn check(
        &self,
        number: u64,
        bytes: usize,
        offset: usize,
        found: &[u8],
    ) -> Result<(), BenchError> {
        let at = Self::offset(number) + offset;
        let expected = &self.bytes[at..at + found.len()];
        if expected == found {
            return Ok(());
        }
        let whole = offset == 0 && found.len() == bytes;
        let after = number + 1..number + Self::PIECES;
        let other = after.into_iter().find(|&n| whole && self.message(n, bytes) == found);
        if let Some(other) = other {
            return Err(BenchError::OutOfOrder { expected: number, found: other });
        }
        let differs = expected.iter().zip(found).position(|(a, b)| a != b).unwrap_or(0);
        Err(BenchError::Corrupt { message: number, bytes, at: offset + differs })
    }

    /// The number of the message that `found` is, which is `number` or one of those soon after it;
    /// fails if it is none of them.
    pub(super) fn find(&self, number: u64, found: &[u8]) -> Result<u64, BenchError> {
        let length = found.len();
        (number..number + Self::PIECES)
            .find(|&number| self.message(number, length) == found)
            .map_or_else(|| self.check(number, length, 0, found).map(|()| number), Ok)
    }

    /// All messages of so many bytes: each is there at its offset.
    pub(super) fn all(&self, bytes: usize) -> Bytes {
        self.bytes.slice(..Self::length(bytes))
    }

    /// All bytes that messages are pieces of.
    pub(super) fn pieces(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in them the message with this number begins.
    pub(super) fn offset(number: u64) -> usize {
        usize::try_from(number % Self::PIECES).unwrap_or(0) * Self::STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_doubled_and_swapped_messages_are_found() {
        let pattern = Pattern::new(100);
        let first = pattern.message(0, 100).to_vec();
        pattern.check(0, 100, 0, &first).expect("as sent");
        pattern.check(0, 100, 40, &first[40..]).expect("a part of it");
        let error = pattern.check(1, 100, 0, &pattern.message(3, 100)).expect_err("another");
        assert!(matches!(error, BenchError::OutOfOrder { expected: 1, found: 3 }), "{error}");
        let mut changed = first;
        let third = pattern.message(2, 100);
        assert_eq!(pattern.find(0, &third).expect("it comes soon"), 2);
        changed[77] ^= 1;
        assert!(pattern.find(0, &changed).is_err(), "it is none");
        let error = pattern.check(0, 100, 0, &changed).expect_err("a bit is wrong");
        assert!(matches!(error, BenchError::Corrupt { message: 0, bytes: 100, at: 77 }));
    }
}
