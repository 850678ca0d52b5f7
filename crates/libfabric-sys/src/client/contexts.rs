//! What operations on their way are known by.

use std::ffi::c_void;

use super::memory::Memory;
use crate::fi_context2;

/// Room for the provider's own notes ([`fi_context2`]) for each operation on its way, and the
/// number that the caller gave it.
#[derive(Debug)]
pub(super) struct Contexts {
    notes: Memory,
    cookies: Vec<Option<u64>>,
    free: Vec<usize>,
}

const EACH: usize = size_of::<fi_context2>();

impl Contexts {
    /// For so many operations; `None` where memory is out.
    pub(super) fn new(operations: usize) -> Option<Self> {
        let notes = Memory::new(operations.checked_mul(EACH)?)?;
        let free = (0..operations).rev().collect();
        Some(Self { notes, cookies: vec![None; operations], free })
    }

    /// A context for an operation; `None` while as many as there are room for are on their way.
    pub(super) fn take(&mut self, cookie: u64) -> Option<*mut c_void> {
        let index = self.free.pop()?;
        self.cookies[index] = Some(cookie);
        Some(self.notes.at(index * EACH, EACH).cast())
    }

    /// The number of the operation that has this context and ends now.
    pub(super) fn give_back(&mut self, context: *mut c_void) -> Option<u64> {
        let offset = context.addr().checked_sub(self.notes.start().addr())?;
        if !offset.is_multiple_of(EACH) {
            return None;
        }
        let cookie = self.cookies.get_mut(offset / EACH)?.take()?;
        self.free.push(offset / EACH);
        Some(cookie)
    }

    /// The contexts of the operations on their way whose numbers are `wanted`.
    pub(super) fn matching(&self, wanted: impl Fn(u64) -> bool) -> Vec<*mut c_void> {
        let all = self.cookies.iter().enumerate();
        all.filter(|(_, cookie)| cookie.is_some_and(&wanted))
            .map(|(index, _)| self.notes.at(index * EACH, EACH).cast())
            .collect()
    }

    pub(super) fn leak(self) {
        self.notes.leak();
    }
}
