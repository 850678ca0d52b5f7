//! Memory that others may write to at any time.

use std::{
    alloc::{self, Layout},
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

/// Bytes of a page; memory begins at one.
const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();

/// Bytes, zero at first. Nobody ever has a reference to them.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `None` where there is not so much.
    pub(super) fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE)?;
        let layout = Layout::from_size_align(bytes, PAGE).ok()?;
        // SAFETY: the layout has a size.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        Some(Self { start: NonNull::new(start)?, layout })
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.layout.size()
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Where `bytes` bytes from `offset` are.
    ///
    /// # Panics
    /// They are not within.
    pub(super) fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        let within = offset.checked_add(bytes).is_some_and(|end| end <= self.len());
        assert!(within, "{bytes} bytes at {offset} of memory of {} bytes", self.len());
        self.start().wrapping_add(offset)
    }

    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        if !offset.is_multiple_of(WORD) {
            self.read_bytes(offset, into);
            return;
        }
        let whole = into.len() / WORD * WORD;
        let (words, rest) = into.split_at_mut(whole);
        for (number, word) in words.chunks_exact_mut(WORD).enumerate() {
            let from = from.wrapping_add(number * WORD).cast::<u64>();
            // SAFETY: within, as `at` has checked; a multiple of 8 from the start of a page.
            let found = unsafe { AtomicU64::from_ptr(from) }.load(Ordering::Relaxed);
            word.copy_from_slice(&found.to_ne_bytes());
        }
        self.read_bytes(offset + whole, rest);
    }

    fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        for (number, byte) in into.iter_mut().enumerate() {
            // SAFETY: within, as `at` has checked.
            let found = unsafe { AtomicU8::from_ptr(from.wrapping_add(number)) };
            *byte = found.load(Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        let whole = if offset.is_multiple_of(WORD) { from.len() / WORD * WORD } else { 0 };
        let (words, rest) = from.split_at(whole);
        for (number, word) in words.as_chunks::<WORD>().0.iter().enumerate() {
            let to = to.wrapping_add(number * WORD).cast::<u64>();
            // SAFETY: within, as `at` has checked; a multiple of 8 from the start of a page.
            let place = unsafe { AtomicU64::from_ptr(to) };
            place.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        for (number, byte) in rest.iter().enumerate() {
            // SAFETY: within, as `at` has checked.
            let place = unsafe { AtomicU8::from_ptr(to.wrapping_add(whole + number)) };
            place.store(*byte, Ordering::Relaxed);
        }
    }

    /// Leaves it to those who may still write to it.
    pub(super) fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and whoever worked on it has ended.
        unsafe { alloc::dealloc(self.start(), self.layout) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("bytes", &self.len()).finish_non_exhaustive()
    }
}
