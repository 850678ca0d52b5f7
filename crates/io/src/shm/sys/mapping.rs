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

    /// All of it.
    pub(in crate::shm) fn window(self) -> Window {
        let len = self.len;
        Window::new(Arc::new(self), 0, len)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The most bytes that are written word by word.
const SHORT: usize = 32;

/// Part of a mapping.
#[derive(Clone, Debug)]
pub(in crate::shm) struct Window {
    /// Inside the mapping, at a multiple of 8.
    start: NonNull<u8>,
    /// Bytes from there on, all inside the mapping.
    len: usize,
    /// Keeps the memory mapped.
    _mapping: Arc<Mapping>,
}

// SAFETY: as of the mapping.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// `len` bytes of `mapping` from byte `start` on.
    ///
    /// # Panics
    /// If they are not inside, or `start` is not a multiple of 8.
    pub(in crate::shm) fn new(mapping: Arc<Mapping>, start: usize, len: usize) -> Self {
        assert!(start.is_multiple_of(8) && start <= mapping.len && len <= mapping.len - start);
        // SAFETY: inside the mapping, as just checked.
        Self { start: unsafe { mapping.start.add(start) }, len, _mapping: mapping }
    }

    /// The word at byte `at`.
    ///
    /// # Panics
    /// If it is not inside, or not at a multiple of 8.
    #[inline]
    pub(in crate::shm) fn word(&self, at: usize) -> &AtomicU64 {
        let word = self.bytes(at, 8);
        assert!(at.is_multiple_of(8));
        // SAFETY: aligned, since the window begins at a multiple of 8 of a page; mapped while
        // `self` lives; words are never accessed but atomically, by this process or others.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    /// The address of `length` bytes at `at`.
    ///
    /// # Panics
    /// If they are not inside.
    #[inline]
    fn bytes(&self, at: usize, length: usize) -> *mut u8 {
        assert!(at <= self.len && length <= self.len - at);
        // SAFETY: inside the window, as just checked.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Shared for Window {
    #[inline]
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }

    fn swap(&self, at: usize, value: u64) -> u64 {
        self.word(at).swap(value, Ordering::AcqRel)
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    fn expect_store(&self, at: usize) {
        let word = self.word(at).as_ptr();
        // SAFETY: it changes nothing, and processors that do not know it do nothing.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) word, options(nostack, preserves_flags));
        }
    }

    #[inline]
    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let mut to = self.bytes(at, bytes.len());
        // In words: that is what short records are made of, and the processor hands on what was
        // written a moment ago only to a read of the same width.
        let (words, rest) = if bytes.len() > SHORT { (&[][..], bytes) } else { bytes.as_chunks() };
        for word in words {
            // SAFETY: `to` is mapped memory for what is left of the bytes, which the caller
            // promises is nobody else's now.
            unsafe { to.cast::<[u8; 8]>().write(*word) };
            // SAFETY: as above.
            to = unsafe { to.add(word.len()) };
        }
        if !rest.is_empty() {
            // SAFETY: as above.
            unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), to, rest.len()) };
        }
    }

    #[inline]
    unsafe fn read<R>(&self, at: usize, length: usize, take: impl FnOnce(&[u8]) -> R) -> R {
        let from = self.bytes(at, length);
        // SAFETY: `from` is that much mapped memory, which the caller promises nobody writes.
        take(unsafe { std::slice::from_raw_parts(from, length) })
    }
}
