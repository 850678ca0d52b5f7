//! One-sided operations: each worker has a part of each other worker's memory to itself. There it
//! counts, writes, and reads back both, again and again.

use elastane_fabric::{
    Access, Atomic, AtomicRequest, Buffer, Bytes, Completion, Datatype, Event, OperationError,
    Operator, PacketIo, RKey, RdmEndpoint, Region, RemotePlace,
};
use rand::{Rng, RngExt};

use crate::{
    Failure,
    message::{self, Life},
    worker::Tally,
};

/// What everybody's memory is registered as.
const KEY: RKey = RKey(0x50a4);
/// The longest write.
const LONGEST: usize = 128 << 10;
/// Bytes of the word that counts.
const WORD: usize = 8;
/// Bytes of one worker's part: the word, then what it writes.
const PART: usize = WORD + LONGEST;
const COUNT: Atomic = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };

/// Registers the memory that `workers` use. The upper half of each word is random and thereby
/// tells one life of its owner from the next.
pub(crate) fn register<D: PacketIo>(
    endpoint: &mut RdmEndpoint<D>,
    workers: usize,
    rng: &mut impl Rng,
) -> Result<(), Failure> {
    let region = Region::zeroed(workers * PART);
    let life = u64::from(rng.random::<u32>()) << 32;
    for worker in 0..workers {
        region.write(worker * PART, &life.to_le_bytes())?;
    }
    Ok(endpoint.register_as(KEY, region, Access::ALL)?)
}

/// What is under way at one peer.
#[derive(Clone, Copy, Debug)]
enum Step {
    Counting,
    /// The word before it was counted up.
    Writing(u64),
    Reading(u64),
}

/// One worker's part of one peer's memory.
#[derive(Debug)]
pub(crate) struct Part {
    offset: u64,
    step: Option<Step>,
    /// The word after the last operation that counted.
    word: Option<u64>,
    /// Counts since then of which nobody knows whether they were made.
    unknown: u64,
    /// The number and length of what is written.
    number: u64,
    length: usize,
}

impl Part {
    /// The part of the worker `index`.
    pub(crate) fn new(index: usize) -> Self {
        let offset = (index * PART) as u64;
        Self { offset, step: None, word: None, unknown: 0, number: 0, length: 0 }
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.step.is_none()
    }

    const fn place(&self, at: usize) -> RemotePlace {
        RemotePlace { key: KEY, offset: self.offset + at as u64 }
    }

    /// Counts up.
    pub(crate) fn begin<D: PacketIo>(
        &mut self,
        endpoint: &mut RdmEndpoint<D>,
        at: elastane_fabric::PeerId,
    ) -> Result<(), Failure> {
        let request = AtomicRequest {
            atomic: COUNT,
            place: self.place(0),
            count: 1,
            operands: Bytes::copy_from_slice(&1_u64.to_le_bytes()),
            fetch: true,
            context: 0,
            complete: true,
        };
        endpoint.atomic(at, request)?;
        self.step = Some(Step::Counting);
        Ok(())
    }

    /// Takes the end of one operation, checks it and begins the next. An error is a broken promise.
    pub(crate) fn complete<D: PacketIo>(
        &mut self,
        endpoint: &mut RdmEndpoint<D>,
        life: Life,
        rng: &mut impl Rng,
        completion: Completion,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let step = self.step.take().ok_or("a one-sided operation completed twice")?;
        let peer = completion.peer.ok_or("a one-sided operation without a peer")?;
        match completion.result {
            Ok(()) => {}
            Err(OperationError::Peer(error)) => {
                self.unknown += u64::from(matches!(step, Step::Counting));
                tally.fail(error);
                return Ok(());
            }
            Err(error) => return Err(format!("a one-sided operation failed: {error}").into()),
        }
        match (step, completion.event) {
            (Step::Counting, Event::Atomic { old }) => {
                tally.add("atomics", 1);
                let before = u64::from_le_bytes(old[..].try_into()?);
                self.check_count(before)?;
                let order = rng.random_range(5.0..17.0f64).exp2();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2^17")]
                let length = (order as usize).min(LONGEST);
                self.number += 1;
                let data = message::write(life, self.number, length);
                self.length = data.len();
                endpoint.write(peer, self.place(WORD), data.into(), 0)?;
                self.step = Some(Step::Writing(before));
            }
            (Step::Writing(before), Event::Written) => {
                tally.add("writes", 1);
                tally.add("one-sided-bytes", self.length as u64);
                let buffer = Buffer::zeroed(WORD + self.length);
                endpoint.read(peer, self.place(0), buffer, 0)?;
                self.step = Some(Step::Reading(before));
            }
            (Step::Reading(before), Event::Read { buffer }) => {
                tally.add("reads", 1);
                tally.add("one-sided-bytes", buffer.as_slice().len() as u64);
                self.check_read(life, before, buffer.as_slice())?;
            }
            (step, event) => return Err(format!("{event:?} while {step:?}").into()),
        }
        Ok(())
    }

    /// The word as it was before it was counted up: as it was left, unless its owner has begun a
    /// new life.
    fn check_count(&mut self, before: u64) -> Result<(), Failure> {
        if let Some(word) = self.word
            && word >> 32 == before >> 32
            && !(word..=word + self.unknown).contains(&before)
        {
            let Self { unknown, .. } = self;
            return Err(format!("counted from {before:#x}, not {word:#x} (+{unknown})").into());
        }
        self.word = Some(before + 1);
        self.unknown = 0;
        Ok(())
    }

    /// What was read: the word once more, and what was written.
    fn check_read(&self, life: Life, before: u64, read: &[u8]) -> Result<(), Failure> {
        let (word, written) = read.split_at(WORD);
        let word = u64::from_le_bytes(word.try_into()?);
        if word >> 32 != before >> 32 {
            // Its owner has begun a new life since.
            return Ok(());
        }
        if word != before + 1 {
            return Err(format!("read a count of {word:#x} after {before:#x}").into());
        }
        match message::read(written) {
            Ok(found) if found == (life, self.number) => Ok(()),
            Ok(found) => Err(format!("read {found:?}, not number {}", self.number).into()),
            Err(error) => Err(format!("read back: {error}").into()),
        }
    }
}
