//! Memory of somebody else, reached by address. The only unsafe code of the crate.

use std::{
    ops::Range,
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::{Buffer, Region};

/// Bytes at an address. Whoever made it vouches for them.
#[derive(Debug)]
pub(crate) struct RawBytes {
    /// Null where offsets are addresses.
    start: *mut u8,
    length: usize,
}

/// Bytes of the widest element.
const WIDEST: usize = 32;
/// Bytes of memory that share a lock.
const LOCK_BYTES: usize = 64;
/// Elements that the processor does not change at once take turns here, by address: regions may
/// overlap without knowing it.
static LOCKS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// The locks of all bytes of an element, which are at most two.
fn lock(bytes: Range<usize>) -> [Option<MutexGuard<'static, ()>>; 2] {
    let of = |address: usize| address / LOCK_BYTES % LOCKS.len();
    let (first, last) = (of(bytes.start), of(bytes.end.saturating_sub(1).max(bytes.start)));
    // All take the lower first, so that nobody waits in a circle.
    let [low, high] = [first.min(last), first.max(last)];
    let take = |at: usize| Some(LOCKS[at].lock().unwrap_or_else(PoisonError::into_inner));
    [take(low), if low == high { None } else { take(high) }]
}

// SAFETY: the maker promised that the bytes may be accessed from any thread; the address itself
// is only a number.
unsafe impl Send for RawBytes {}

// SAFETY: as above; through a shared reference they are only read.
unsafe impl Sync for RawBytes {}

impl RawBytes {
    /// # Safety
    /// Until the value is dropped, the `length` bytes at `start` must be allocated, readable and
    /// writable from any thread, and no Rust reference to them may exist while they are accessed
    /// through it.
    pub(crate) const unsafe fn new(start: NonNull<u8>, length: usize) -> Self {
        Self { start: start.as_ptr(), length }
    }

    /// The address of a byte, or of the end.
    const fn at(&self, offset: usize) -> NonNull<u8> {
        match NonNull::new(self.start.wrapping_add(offset)) {
            Some(address) => address,
            // Nothing is there, and nothing more is promised of that place.
            None => NonNull::dangling(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_test(start: NonNull<u8>, length: usize) -> Self {
        // SAFETY: tests keep the memory for as long.
        unsafe { Self::new(start, length) }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let length = into.len();
        self.assert_inside(offset, length);
        let from = self.at(offset);
        // SAFETY: the bytes are inside the memory vouched for; `into` is an exclusive reference
        // and so no part of it.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(into).cast(), length) };
    }

    /// Bytes to be handed on as they are: to the operating system, or to whatever copies them.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn as_slice(&self, place: Range<usize>) -> &[u8] {
        self.assert_inside(place.start, place.len());
        let start = self.at(place.start);
        // SAFETY: the bytes are inside the memory vouched for, initialised, and nothing changes
        // them through this value as long as the reference is there. Somebody else may, as the
        // maker was told: then what is handed on is some mixture, as it would be of a copy.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), place.len()) }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn copy_in(&mut self, offset: usize, from: &[u8]) {
        self.assert_inside(offset, from.len());
        let into = self.at(offset);
        // SAFETY: the bytes are inside the memory vouched for, which no reference covers; so
        // `from` is no part of it.
        unsafe { into.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
    }

    /// Replaces the bytes of one element by what `change` makes of them, atomically; `old` gets
    /// what was there. Elements of 1, 2, 4 or 8 bytes in their natural places are changed by the
    /// processor's own atomic operations, so atomically towards anybody else's of the same size;
    /// others under locks that all callers share.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn update(&mut self, offset: usize, old: &mut [u8], change: impl Fn(&mut [u8])) {
        self.assert_inside(offset, old.len());
        let start = self.at(offset);
        let address = start.addr().get();
        if !address.is_multiple_of(old.len().max(1)) {
            return self.update_locked(offset, address, old, change);
        }
        macro_rules! update {
            ($atomic:ty, $word:ty) => {{
                // SAFETY: the word is inside the memory vouched for and in its natural place;
                // whatever accesses it meanwhile does so as the region's maker promised.
                let word = unsafe { <$atomic>::from_ptr(start.cast().as_ptr()) };
                let changed = |value: $word| {
                    let mut bytes = value.to_ne_bytes();
                    change(&mut bytes);
                    let new = <$word>::from_ne_bytes(bytes);
                    (new != value).then_some(new)
                };
                let was = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
                old.copy_from_slice(&was.unwrap_or_else(|same| same).to_ne_bytes());
            }};
        }
        match old.len() {
            1 => update!(AtomicU8, u8),
            2 => update!(AtomicU16, u16),
            4 => update!(AtomicU32, u32),
            8 => update!(AtomicU64, u64),
            _ => self.update_locked(offset, address, old, change),
        }
    }

    fn update_locked(
        &mut self,
        offset: usize,
        address: usize,
        old: &mut [u8],
        change: impl Fn(&mut [u8]),
    ) {
        let turn = lock(address..address + old.len());
        self.copy_out(offset, old);
        let mut new = [0; WIDEST];
        let new = &mut new[..old.len()];
        new.copy_from_slice(old);
        change(new);
        self.copy_in(offset, new);
        drop(turn);
    }

    fn assert_inside(&self, offset: usize, length: usize) {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(inside, "the region checks every access before it is made");
    }
}

/// A receive buffer at an address. Whoever made it vouches for it.
#[derive(Debug)]
pub(crate) struct RawBuffer {
    start: NonNull<u8>,
    length: usize,
    /// Where the memory that was vouched for begins: parts of it may be joined again.
    origin: NonNull<u8>,
}

// SAFETY: the maker promised that nobody else accesses the bytes; so it does not matter which
// thread does.
unsafe impl Send for RawBuffer {}

// SAFETY: as above; through a shared reference they are only read.
unsafe impl Sync for RawBuffer {}

impl RawBuffer {
    pub(crate) const fn as_slice(&self) -> &[u8] {
        // SAFETY: the bytes are allocated and initialised, and nobody changes them but through an
        // exclusive reference to this value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the exclusive reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// # Panics
    /// If there are fewer than `length` bytes.
    pub(crate) fn split_front(&mut self, length: usize) -> Self {
        assert!(length <= self.length, "the buffer checks every split before it is made");
        let front = Self { length, ..*self };
        // SAFETY: at most the length, so the address is inside the allocation or one past its end.
        self.start = unsafe { self.start.add(length) };
        self.length -= length;
        front
    }

    /// Whether `next` begins where this ends, and they were one.
    pub(crate) fn is_before(&self, next: &Self) -> bool {
        self.origin == next.origin
            && self.start.addr().get() + self.length == next.start.addr().get()
    }

    /// Both as one; `next` begins where this ends.
    pub(crate) const fn joined(self, next: Self) -> Self {
        Self { length: self.length + next.length, ..self }
    }
}

/// Bytes to be sent, at an address.
struct RawSlice {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the maker promised that nobody writes the bytes, so any thread may read them.
unsafe impl Send for RawSlice {}

impl AsRef<[u8]> for RawSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the maker promised that the bytes stay readable and are not written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

/// Bytes that belong to somebody else, to be sent without a copy, for callers that speak C.
///
/// # Safety
/// The `length` bytes at `start` must be allocated, initialised and not written to until the last
/// clone and slice is dropped. An endpoint reads them no more once the operation has completed.
pub unsafe fn borrowed_bytes(start: NonNull<u8>, length: usize) -> Bytes {
    Bytes::from_owner(RawSlice { start, length })
}

impl Buffer {
    /// A receive buffer over memory that belongs to somebody else, for callers that speak C.
    ///
    /// # Safety
    /// Until the buffer and all that was split off it are dropped, the `length` bytes at `start`
    /// must be allocated and initialised, and nobody may access them in another way.
    pub unsafe fn from_raw(start: NonNull<u8>, length: usize) -> Self {
        Self::from_raw_buffer(RawBuffer { start, length, origin: start })
    }
}

impl Region {
    /// A region over memory that belongs to somebody else, for callers that speak C.
    ///
    /// # Safety
    /// Until the last clone is dropped, the `length` bytes at `start` must stay allocated,
    /// readable and writable from any thread, and no Rust reference to them may exist, but for
    /// those to atomic integers. What else accesses them meanwhile sees bytes change at any time,
    /// and what it changes while a peer reads them may reach the peer or not, byte by byte;
    /// the processor's atomic operations of 1, 2, 4 and 8 bytes in their natural places are
    /// atomic towards [`Region::atomic`] and operations of peers on elements of the same size.
    pub unsafe fn from_raw(start: NonNull<u8>, length: usize) -> Self {
        // SAFETY: the caller promised it.
        let raw = unsafe { RawBytes::new(start, length) };
        Self::from_bytes_at(raw, length)
    }

    /// The first `length` bytes of the process's address space: offsets are addresses. It is what
    /// `fi_mr_reg` of nothing asks for, for windows whose memory comes and goes.
    ///
    /// # Safety
    /// As [`Region::from_raw`], of all bytes that peers with the region's key name; one that names
    /// an address where nothing is ends the process.
    pub unsafe fn of_process(length: usize) -> Self {
        let start = std::ptr::with_exposed_provenance_mut(0);
        Self::from_bytes_at(RawBytes { start, length }, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Atomic, Datatype, Operator};

    #[test]
    fn memory_by_address_reads_writes_and_counts_like_owned_memory() {
        let mut memory = vec![7_u8; 32];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the vector outlives the region and is not looked at before its end.
        let region = unsafe { Region::from_raw(start, memory.len()) };
        region.write(8, &[0; 8]).unwrap();
        let sum = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };
        let mut old = Vec::new();
        region.atomic(8, sum, 1, &3_u64.to_le_bytes(), &mut old).unwrap();
        region.atomic(8, sum, 1, &4_u64.to_le_bytes(), &mut old).unwrap();
        assert_eq!(old, [0_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat());
        drop(region);
        assert_eq!(memory[8..16], 7_u64.to_le_bytes());
        assert_eq!(memory[..8], [7; 8]);
    }

    const THREADS: usize = 3;
    const ROUNDS: u64 = 2_000;

    /// Adds 1 to the element at `offset` from many threads, through two regions over the same
    /// memory, and calls `local` from another thread as often. Returns the memory.
    fn add_from_all_sides(
        datatype: Datatype,
        one: &[u8],
        offset: usize,
        local: impl Fn(NonNull<u8>) + Sync,
    ) -> Vec<u64> {
        let mut memory = vec![0_u64; 8];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap().cast::<u8>();
        // SAFETY: the vector outlives the regions and is not looked at before their end.
        let regions = [(); 2].map(|()| unsafe { Region::from_raw(start, 64) });
        let sum = Atomic { operator: Operator::Sum, datatype };
        // SAFETY: `offset` is inside the vector.
        let element = unsafe { start.add(offset) };
        let address = element.expose_provenance().get();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let region = &regions[thread % 2];
                scope.spawn(move || {
                    let mut old = Vec::new();
                    for _ in 0..ROUNDS {
                        old.clear();
                        region.atomic(offset, sum, 1, one, &mut old).unwrap();
                    }
                });
            }
            let local = &local;
            scope.spawn(move || {
                let address = std::num::NonZero::new(address).expect("of an element");
                (0..ROUNDS).for_each(|_| local(NonNull::with_exposed_provenance(address)));
            });
        });
        drop(regions);
        memory
    }

    #[test]
    fn processor_atomics_and_those_of_overlapping_regions_add_up() {
        let memory = add_from_all_sides(Datatype::U64, &1_u64.to_ne_bytes(), 16, |element| {
            // SAFETY: eight bytes in their natural place, inside the vector of the test.
            let word = unsafe { AtomicU64::from_ptr(element.cast().as_ptr()) };
            word.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(memory[2], ROUNDS * (THREADS as u64 + 1));
        let memory = add_from_all_sides(Datatype::U16, &1_u16.to_ne_bytes(), 18, |element| {
            // SAFETY: two bytes in their natural place, inside the vector of the test.
            let word = unsafe { AtomicU16::from_ptr(element.cast().as_ptr()) };
            word.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(memory[2], (ROUNDS * (THREADS as u64 + 1)) << 16);
    }

    #[test]
    fn wide_and_misplaced_elements_of_overlapping_regions_add_up() {
        let one = [1.0_f64.to_ne_bytes(), 2.0_f64.to_ne_bytes()].concat();
        let memory = add_from_all_sides(Datatype::ComplexF64, &one, 56 - 8, |_| {});
        let parts = [memory[6], memory[7]].map(f64::from_bits);
        let count = (ROUNDS * THREADS as u64) as f64;
        assert_eq!(parts, [count, 2.0 * count]);
        let memory = add_from_all_sides(Datatype::U64, &1_u64.to_ne_bytes(), 3, |_| {});
        let bytes: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let sum = u64::from_ne_bytes(std::array::from_fn(|at| bytes[3 + at]));
        assert_eq!(sum, ROUNDS * THREADS as u64);
    }

    #[test]
    fn buffer_by_address_splits_and_joins_in_place() {
        let mut memory = vec![0_u8; 16];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the vector outlives the buffer and is not looked at before its end.
        let mut rest = unsafe { Buffer::from_raw(start, memory.len()) };
        let mut front = rest.split_front(6);
        front.write_at(0, &[1; 6]);
        rest.write_at(0, &[2; 10]);
        front.join(rest);
        assert_eq!(front.len(), 16);
        front.write_at(15, &[3]);
        drop(front);
        assert_eq!(memory, [[1; 6].as_slice(), &[2; 9], &[3]].concat());
    }

    #[test]
    fn borrowed_bytes_are_those_of_their_owner() {
        let memory = vec![1_u8, 2, 3];
        let start = NonNull::from(memory.as_slice()).cast();
        // SAFETY: the vector outlives the bytes and is not written.
        let bytes = unsafe { borrowed_bytes(start, memory.len()) };
        assert_eq!(bytes.slice(1..).as_ptr(), &raw const memory[1]);
        assert_eq!(bytes, memory);
    }
}
