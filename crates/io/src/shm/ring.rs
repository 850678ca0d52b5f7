//! A ring of records from one producer to one consumer, over memory that two processes share.
//!
//! ```text
//! byte 0     consumed, refusals          written by the consumer
//! byte 128   one verdict per slot        written by the consumer
//! then       slots of 128 bytes          written by the producer
//! then       data, in lines of 64 bytes  written by the producer
//! ```
//!
//! A slot is a word and room for a short record; the word is stored last, with release order, so
//! that a short record costs its receiver one cache line and no other. A longer record lies in the
//! data, where the word says. A word holds the low half of the record's number, so that one of an
//! earlier lap is not taken for new.
//!
//! Whatever is read from the memory is a claim: a word that cannot be true ends the ring with
//! [`Corrupt`], and no claim leads out of it. What cannot be proved is that the other side leaves a
//! record alone once published; both sides are processes of one user, who may write to each
//! other's memory anyway.

/// Bytes of a slot: two lines, fetched together.
const SLOT: usize = 128;
/// The longest record that lies in its slot, after the word.
pub(crate) const INLINE: usize = SLOT - 8;
/// Data is given out in lines of this many bytes.
const LINE: usize = 64;
/// What stands in place of a line in the word of a note, which lies in its slot.
const NOTE: usize = 1;

/// So far ahead of the next slot a line is fetched for writing, so that several are on their way at
/// a time: a record waits for its line otherwise, and each record for the one before it.
const SLOTS_AHEAD: u64 = 3;

const CONSUMED: usize = 0;
const REFUSALS: usize = 8;
const VERDICTS: usize = 128;

const LENGTH_BITS: u32 = 17;
const LINE_BITS: u32 = 15;

/// Memory that both sides of a ring see. Words are atomic and named by their byte offset.
pub(crate) trait Shared {
    /// Reads a word, with acquire order.
    fn load(&self, at: usize) -> u64;

    /// Writes a word, with release order.
    fn store(&self, at: usize, value: u64);

    /// Writes a word and returns what it was.
    fn swap(&self, at: usize, value: u64) -> u64;

    /// A sequentially consistent fence.
    fn fence(&self);

    /// The word will be written soon: the processor may fetch its line for that.
    fn expect_store(&self, _at: usize) {}

    /// Writes bytes.
    ///
    /// # Safety
    /// Nobody else may access them until a word stored later says that they are there.
    unsafe fn write(&self, at: usize, bytes: &[u8]);

    /// Reads bytes in place.
    ///
    /// # Safety
    /// A word that was loaded before must have said that they are there, and nobody may write them
    /// before a word stored later says that they are free.
    unsafe fn read<R>(&self, at: usize, length: usize, take: impl FnOnce(&[u8]) -> R) -> R;
}

/// The memory of a ring holds what no producer or consumer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared memory holds what no peer writes")]
pub struct Corrupt;

/// What a record is to whoever receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A datagram of the layer above.
    Datagram,
    /// A word between the two ends of a link, of at most [`INLINE`] bytes.
    Note,
}

/// The sizes of a ring. Both sides must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Records that may be published and not released; a power of two.
    pub(crate) slots: usize,
    /// Bytes for records that are longer than [`INLINE`]; a multiple of a line, at most 2 MiB, at
    /// least two records.
    pub(crate) data: usize,
    /// Bytes of the longest record.
    pub(crate) record: usize,
}

impl Geometry {
    const fn slots_at(&self) -> usize {
        VERDICTS + (self.slots * 8).next_multiple_of(SLOT)
    }

    const fn data_at(&self) -> usize {
        self.slots_at() + self.slots * SLOT
    }

    /// Bytes of the ring's memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.data_at() + self.data
    }

    /// The sizes as one word, for comparing.
    pub(crate) const fn fingerprint(&self) -> u64 {
        ((self.slots as u64) << 48) | ((self.data as u64) << 20) | self.record as u64
    }

    const fn assert_sound(&self) {
        assert!(self.slots.is_power_of_two());
        assert!(self.data.is_multiple_of(LINE) && self.data / LINE <= 1 << LINE_BITS);
        assert!(self.record < 1 << LENGTH_BITS && self.record >= INLINE);
        assert!(self.data >= 2 * self.record.next_multiple_of(LINE));
    }

    fn slot(&self, number: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
        let low = number as usize;
        low & (self.slots - 1)
    }
}

/// The word of the record with this number.
fn word(number: u64, length: usize, line: usize) -> u64 {
    let stamp = number.wrapping_add(1) << (LENGTH_BITS + LINE_BITS);
    stamp | (length as u64) << LINE_BITS | line as u64
}

/// Whether `word` is that of the record with this number; if so, its length and line.
fn read_word(word: u64, number: u64) -> Option<(usize, usize)> {
    if word >> (LENGTH_BITS + LINE_BITS) != number.wrapping_add(1) & u64::from(u32::MAX) {
        return None;
    }
    let field = |value: u64, bits: u32| usize::try_from(value & ((1 << bits) - 1)).ok();
    Some((field(word >> LINE_BITS, LENGTH_BITS)?, field(word, LINE_BITS)?))
}

/// What the slot of the record with this number says: its kind, and where its bytes lie. `None` if
/// it is another record's.
fn locate(
    memory: &impl Shared,
    geometry: &Geometry,
    number: u64,
) -> Result<Option<(Kind, usize, usize)>, Corrupt> {
    let slot_at = geometry.slots_at() + geometry.slot(number) * SLOT;
    let Some((length, line)) = read_word(memory.load(slot_at), number) else { return Ok(None) };
    if length <= INLINE {
        let kind = if line == NOTE { Kind::Note } else { Kind::Datagram };
        return Ok(Some((kind, slot_at + 8, length)));
    }
    if length > geometry.record || line * LINE + length > geometry.data {
        return Err(Corrupt);
    }
    Ok(Some((Kind::Datagram, geometry.data_at() + line * LINE, length)))
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer<M> {
    memory: M,
    geometry: Geometry,
    /// The number of the next record.
    next: u64,
    /// Records before this number were released, and the caller knows.
    passed: u64,
    /// Bytes of data given out and taken back since the beginning.
    data_next: u64,
    data_free: u64,
    /// Per slot, `data_next` after its record.
    ends: Box<[u64]>,
    refusals: u64,
    /// Bytes of all records published.
    bytes: u64,
}

impl<M: Shared> Producer<M> {
    /// The producer of a ring in fresh memory, all zeros.
    pub(crate) fn new(memory: M, geometry: Geometry) -> Self {
        geometry.assert_sound();
        Self {
            memory,
            geometry,
            next: 0,
            passed: 0,
            data_next: 0,
            data_free: 0,
            ends: vec![0; geometry.slots].into_boxed_slice(),
            refusals: 0,
            bytes: 0,
        }
    }

    /// Whether a record of any permitted length can be published now.
    pub(crate) fn has_room(&self) -> bool {
        self.next - self.passed < self.geometry.slots as u64
            && self.place(self.geometry.record).is_some()
    }

    /// Whether less than half of it is in use, as far as the producer knows.
    pub(crate) fn has_plenty_of_room(&self) -> bool {
        self.next - self.passed < self.geometry.slots as u64 / 2
            && self.data_next - self.data_free < self.geometry.data as u64 / 2
    }

    /// Where in the data `length` bytes can go, and where the data given out ends then.
    fn place(&self, length: usize) -> Option<(usize, u64)> {
        let size = self.geometry.data as u64;
        let at = self.data_next % size;
        let length = length.next_multiple_of(LINE) as u64;
        // A record does not wrap: what is left at the end is passed over.
        let (at, end) = if at + length <= size {
            (at, self.data_next + length)
        } else {
            (0, self.data_next + (size - at) + length)
        };
        (end - self.data_free <= size).then_some((usize::try_from(at).ok()?, end))
    }

    /// Publishes `head` and `tail` as one record; `false` if there is no room.
    ///
    /// # Panics
    /// If the record is longer than the geometry permits.
    pub(crate) fn publish(&mut self, head: &[u8], tail: &[u8]) -> bool {
        self.publish_as(0, head, tail)
    }

    /// Publishes a note; `false` if there is no room.
    ///
    /// # Panics
    /// If it is longer than [`INLINE`].
    pub(crate) fn publish_note(&mut self, note: &[u8]) -> bool {
        assert!(note.len() <= INLINE, "a note lies in its slot");
        self.publish_as(NOTE, note, &[])
    }

    /// `mark`: what stands for a line in the word of a record that lies in its slot.
    fn publish_as(&mut self, mark: usize, head: &[u8], tail: &[u8]) -> bool {
        let length = head.len() + tail.len();
        assert!(length <= self.geometry.record, "a record longer than the ring takes");
        if self.next - self.passed >= self.geometry.slots as u64 {
            return false;
        }
        let slot = self.geometry.slot(self.next);
        let slot_at = self.geometry.slots_at() + slot * SLOT;
        let (at, line) = if length <= INLINE {
            (slot_at + 8, mark)
        } else {
            let Some((at, end)) = self.place(length) else { return false };
            self.data_next = end;
            (self.geometry.data_at() + at, at / LINE)
        };
        // SAFETY: the bytes are free: the consumer released the records that were there before, or
        // there were none, and it does not look at them before the word below is stored.
        unsafe { self.memory.write(at, head) };
        // SAFETY: as above.
        unsafe { self.memory.write(at + head.len(), tail) };
        self.ends[slot] = self.data_next;
        self.memory.store(slot_at, word(self.next, length, line));
        self.next += 1;
        self.bytes += length as u64;
        // The consumer's processor has the line of the next slot, where it looks for a record, and
        // those of the slots behind it from the lap before.
        let ahead = self.geometry.slot(self.next + SLOTS_AHEAD);
        self.memory.expect_store(self.geometry.slots_at() + ahead * SLOT);
        true
    }

    /// What went through, as far as the producer knows.
    pub(crate) const fn traffic(&self) -> Traffic {
        Traffic { records: self.next, bytes: self.bytes, refused: self.refusals }
    }

    /// Records that were not released, and the bytes of data they take.
    pub(crate) const fn in_use(&self) -> (u64, u64) {
        (self.next - self.passed, self.data_next - self.data_free)
    }

    /// Calls `each`, in order, for every record that was released since the last call, with its
    /// bytes if the consumer refused it. Returns how many there were.
    pub(crate) fn collect(
        &mut self,
        mut each: impl FnMut(Option<&[u8]>),
    ) -> Result<usize, Corrupt> {
        let consumed = self.memory.load(CONSUMED);
        if consumed == self.passed {
            return Ok(0);
        }
        if consumed < self.passed || consumed > self.next {
            return Err(Corrupt);
        }
        let refusals = self.memory.load(REFUSALS);
        let mut count = 0;
        while self.passed < consumed {
            let slot = self.geometry.slot(self.passed);
            // The verdicts are looked at only if there is one that is not known yet.
            let refused = self.refusals != refusals
                && self.memory.load(VERDICTS + slot * 8) == self.passed + 1;
            if refused {
                self.refusals = self.refusals.wrapping_add(1);
                let found = locate(&self.memory, &self.geometry, self.passed)?;
                let (_, at, length) = found.ok_or(Corrupt)?;
                // SAFETY: the consumer has given the record back, and only this end writes there.
                unsafe { self.memory.read(at, length, |bytes| each(Some(bytes))) };
            } else {
                each(None);
            }
            self.data_free = self.ends[slot];
            self.passed += 1;
            count += 1;
        }
        Ok(count)
    }

    /// Whether [`Self::collect`] has something.
    pub(crate) fn has_news(&self) -> bool {
        self.memory.load(CONSUMED) != self.passed
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer<M> {
    memory: M,
    geometry: Geometry,
    /// The number of the next record.
    next: u64,
    /// Records before this number were released.
    released: u64,
    refusals: u64,
    /// Bytes of all records received.
    bytes: u64,
}

/// What went through a ring since it was made, as one end has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records, also those that were refused.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that the receiver refused.
    pub refused: u64,
}

impl<M: Shared> Consumer<M> {
    /// The consumer of a ring in fresh memory, all zeros.
    pub(crate) fn new(memory: M, geometry: Geometry) -> Self {
        geometry.assert_sound();
        Self { memory, geometry, next: 0, released: 0, refusals: 0, bytes: 0 }
    }

    /// What went through.
    pub(crate) const fn traffic(&self) -> Traffic {
        Traffic { records: self.next, bytes: self.bytes, refused: self.refusals }
    }

    /// Whether a record waits.
    pub(crate) fn has_news(&self) -> bool {
        !matches!(locate(&self.memory, &self.geometry, self.next), Ok(None))
    }

    /// Hands the next record to `take`, which says whether it took or refused it. Returns whether
    /// there was one.
    pub(crate) fn receive(
        &mut self,
        take: impl FnOnce(Kind, &[u8]) -> bool,
    ) -> Result<bool, Corrupt> {
        let found = locate(&self.memory, &self.geometry, self.next)?;
        let Some((kind, at, length)) = found else { return Ok(false) };
        // SAFETY: the word that was loaded says that the bytes are there, and the producer leaves
        // them alone until they are released.
        let taken = unsafe { self.memory.read(at, length, |bytes| take(kind, bytes)) };
        self.next += 1;
        self.bytes += length as u64;
        if !taken {
            self.refusals = self.refusals.wrapping_add(1);
            let slot = self.geometry.slot(self.next - 1);
            self.memory.store(VERDICTS + slot * 8, self.next);
            self.memory.store(REFUSALS, self.refusals);
        }
        // In batches, but before the producer has to wait.
        if self.next - self.released >= self.geometry.slots as u64 / 4 {
            self.release();
        }
        Ok(true)
    }

    /// Gives the memory of the records received back to the producer. Returns whether there was
    /// something to give.
    pub(crate) fn release(&mut self) -> bool {
        let any = self.released != self.next;
        if any {
            self.memory.store(CONSUMED, self.next);
            self.released = self.next;
        }
        any
    }
}

/// Says, in the word at `flag`, that its owner is about to sleep. The owner must look for news
/// after this and before it sleeps.
pub(crate) fn announce_sleep(memory: &impl Shared, flag: usize) {
    memory.store(flag, 1);
    memory.fence();
}

/// Whether the owner of the word at `flag` sleeps and must be woken, after something was published
/// for it. Of several calls only one is told so.
pub(crate) fn must_wake(memory: &impl Shared, flag: usize) -> bool {
    memory.fence();
    memory.load(flag) != 0 && memory.swap(flag, 0) != 0
}

#[cfg(test)]
mod tests;
