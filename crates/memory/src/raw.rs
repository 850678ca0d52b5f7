//! Memory of somebody else, reached by address. The only unsafe code of the crate.

use std::ptr::NonNull;

use crate::Region;

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
}
