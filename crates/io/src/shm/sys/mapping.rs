use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use crate::shm::ring::Shared;

/// A file mapped into memory, shared with whoever else maps it. Begins at a page, and is unmapped
/// when dropped.
#[derive(Debug)]
pub(in crate::shm) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to no thread, and every access is atomic or by the rules of `Shared`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must be that long and stay so.
    pub(in crate::shm) fn of(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(libc::MAP_SHARED, file.as_raw_fd(), len)
    }

    /// Memory that only this process sees.
    #[cfg(test)]
    pub(in crate::shm) fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, len)
    }

    fn map(flags: libc::c_int, file: libc::c_int, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes touches no memory in use.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }

    /// The word at byte `at`.
    ///
    /// # Panics
    /// If it is not inside, or not at a multiple of 8.
    pub(in crate::shm) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.len && self.len - at >= 8);
        // SAFETY: inside the mapping, as just checked.
        let word = unsafe { self.start.add(at) };
        // SAFETY: aligned, since the mapping begins at a page; mapped while `self` lives; words are
        // never accessed but atomically, by this process or others.
        unsafe { AtomicU64::from_ptr(word.as_ptr().cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Part of a mapping.
#[derive(Clone, Debug)]
pub(in crate::shm) struct Window {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl Window {
    /// `len` bytes of `mapping` from byte `start` on.
    ///
    /// # Panics
    /// If they are not inside, or `start` is not a multiple of 8.
    pub(in crate::shm) fn new(mapping: Arc<Mapping>, start: usize, len: usize) -> Self {
        assert!(start.is_multiple_of(8) && start <= mapping.len && len <= mapping.len - start);
        Self { mapping, start, len }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < self.len);
        self.mapping.word(self.start + at)
    }

    /// The address of `length` bytes at `at`.
    fn bytes(&self, at: usize, length: usize) -> *mut u8 {
        assert!(at <= self.len && length <= self.len - at);
        // SAFETY: inside the window, as just checked, and the window is inside the mapping.
        unsafe { self.mapping.start.as_ptr().add(self.start + at) }
    }
}

impl Shared for Window {
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }

    fn swap(&self, at: usize, value: u64) -> u64 {
        self.word(at).swap(value, Ordering::AcqRel)
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.bytes(at, bytes.len());
        // SAFETY: `to` is that much mapped memory, which the caller promises is nobody else's now.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    unsafe fn read<R>(&self, at: usize, length: usize, take: impl FnOnce(&[u8]) -> R) -> R {
        let from = self.bytes(at, length);
        // SAFETY: `from` is that much mapped memory, which the caller promises nobody writes.
        take(unsafe { std::slice::from_raw_parts(from, length) })
    }
}
