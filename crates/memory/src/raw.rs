//! Memory of somebody else, reached by address. The only unsafe code of the crate.

use std::ptr::NonNull;

use bytes::Bytes;

use crate::{Buffer, Region};

/// Bytes at an address. Whoever made it vouches for them.
#[derive(Debug)]
pub(crate) struct RawBytes {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the maker promised that the bytes may be accessed from any thread; the address itself
// is only a number.
unsafe impl Send for RawBytes {}

impl RawBytes {
    /// # Safety
    /// Until the value is dropped, the `length` bytes at `start` must be allocated, readable and
    /// writable from any thread, and no Rust reference to them may exist while they are accessed
    /// through it.
    pub(crate) const unsafe fn new(start: NonNull<u8>, length: usize) -> Self {
        Self { start, length }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let length = into.len();
        self.assert_inside(offset, length);
        // SAFETY: `offset` is at most the length, so the address is inside the allocation or one
        // past its end.
        let from = unsafe { self.start.add(offset) };
        // SAFETY: the bytes are inside the memory vouched for; `into` is an exclusive reference
        // and so no part of it.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(into).cast(), length) };
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn copy_in(&self, offset: usize, from: &[u8]) {
        self.assert_inside(offset, from.len());
        // SAFETY: as above.
        let into = unsafe { self.start.add(offset) };
        // SAFETY: the bytes are inside the memory vouched for, which no reference covers; so
        // `from` is no part of it.
        unsafe { into.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
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
    /// readable and writable from any thread, and no Rust reference to them may exist. What else
    /// accesses them meanwhile sees bytes change at any time.
    pub unsafe fn from_raw(start: NonNull<u8>, length: usize) -> Self {
        // SAFETY: the caller promised it.
        let raw = unsafe { RawBytes::new(start, length) };
        Self::from_bytes_at(raw, length)
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
