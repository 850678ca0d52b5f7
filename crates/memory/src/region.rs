//! Regions: memory that peers reach.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::{ArcRwLockReadGuard, RawRwLock, RwLock};

use crate::{atomic::Atomic, raw::RawBytes};

/// Up to so many bytes are copied rather than lent: that is cheaper.
const COPY_BYTES: usize = 1024;

/// Memory that peers may be allowed to reach. Clones share it, so an application keeps one and
/// hands the other to an endpoint.
///
/// Each call that changes bytes, of this process or on behalf of a peer, has the region to itself
/// while it copies or computes; so atomics of peers, whichever way they come, and of local callers
/// are atomic towards each other. Those that read share it. A write or read of a peer that takes
/// several datagrams is several such calls; while a train of datagrams leaves the bytes in it are
/// lent, and who wants to change the region waits for that.
/// Regions over memory by address may overlap: there, each element is changed atomically, see
/// [`Region::from_raw`].
///
/// ```
/// use elastane_memory::{Atomic, Datatype, Operator, Region};
///
/// let region = Region::zeroed(8);
/// let sum = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };
/// let mut old = Vec::new();
/// region.atomic(0, sum, 1, &5_u64.to_le_bytes(), &mut old)?;
/// assert_eq!(old, [0; 8]);
/// assert_eq!(region.to_vec(), 5_u64.to_le_bytes());
/// # Ok::<(), elastane_memory::OutOfRange>(())
/// ```
#[derive(Clone, Debug)]
pub struct Region {
    memory: Arc<RwLock<Memory>>,
    length: usize,
}

#[derive(Debug)]
enum Memory {
    Owned(Box<[u8]>),
    Raw(RawBytes),
}

/// Bytes outside a region were named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "out of range: {length} bytes from {offset} on are not all inside a region of {region} bytes"
)]
pub struct OutOfRange {
    /// Where the bytes begin.
    pub offset: usize,
    /// How many they are.
    pub length: usize,
    /// Bytes of the region.
    pub region: usize,
}

impl Region {
    /// A region of `length` zero bytes.
    pub fn zeroed(length: usize) -> Self {
        Self::from(vec![0; length])
    }

    pub(crate) fn from_bytes_at(raw: RawBytes, length: usize) -> Self {
        Self { memory: Arc::new(RwLock::new(Memory::Raw(raw))), length }
    }

    /// Whether both are clones of one region.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// Bytes.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is not a byte.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies bytes from `offset` on into `into`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing was copied.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, into.len())?;
        self.memory.read().copy_out(offset, into);
        Ok(())
    }

    /// Copies `from` to `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing was copied.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        self.memory.write().copy_in(offset, from);
        Ok(())
    }

    /// `length` bytes from `offset` on, to be sent. They are lent where they are many and nobody
    /// waits to change the region, else copied.
    ///
    /// As long as something is lent nothing of the region is changed: [`Region::write`],
    /// [`Region::atomic`] and [`Regions::revoke`](crate::Regions::revoke) wait. So what holds the
    /// bytes must drop them before the thread that asked for them can come to any of these.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn lend(&self, offset: usize, length: usize) -> Result<Bytes, OutOfRange> {
        self.check(offset, length)?;
        let place = offset..offset + length;
        if length > COPY_BYTES
            && let Some(memory) = self.memory.try_read_arc()
        {
            return Ok(Bytes::from_owner(Loan { memory, place }));
        }
        // Who waits to change the region may wait for what the caller was lent before, and so must
        // not be waited for.
        Ok(self.memory.read_recursive().copied(place).into())
    }

    /// Returns once nothing is lent.
    pub(crate) fn wait_for_loans(&self) {
        drop(self.memory.write());
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.memory.read().copy_out(0, &mut bytes);
        bytes
    }

    /// Executes `atomic` on `count` elements from `offset` on and appends their old values to
    /// `old`. `operands` holds an operand for each element, then, if the operator compares, what
    /// to compare each with; elements are little-endian.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing was changed.
    ///
    /// # Panics
    /// If `operands` has another length than [`Atomic::operand_bytes`] says, or the operator does
    /// not exist for the type.
    pub fn atomic(
        &self,
        offset: usize,
        atomic: Atomic,
        count: usize,
        operands: &[u8],
        old: &mut Vec<u8>,
    ) -> Result<(), OutOfRange> {
        let length = count.saturating_mul(atomic.datatype.size());
        self.check(offset, length)?;
        assert_eq!(operands.len(), atomic.operand_bytes(count), "operands for {count} elements");
        let mut memory = self.memory.write();
        let begin = old.len();
        match &mut *memory {
            Memory::Owned(bytes) => {
                let target = &mut bytes[offset..offset + length];
                old.extend_from_slice(target);
                atomic.apply(target, operands);
            }
            Memory::Raw(raw) => {
                old.resize(begin + length, 0);
                let size = atomic.datatype.size();
                for (index, old) in old[begin..].chunks_exact_mut(size).enumerate() {
                    let mut own = [0; 64];
                    let own = atomic.operands_of(index, count, operands, &mut own);
                    let change = |element: &mut [u8]| atomic.apply(element, own);
                    raw.update(offset + index * size, old, change);
                }
            }
        }
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), OutOfRange> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(OutOfRange { offset, length, region: self.length }),
        }
    }
}

impl From<Vec<u8>> for Region {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { memory: Arc::new(RwLock::new(Memory::Owned(bytes.into()))), length }
    }
}

/// Bytes of a region that are being sent. Nothing changes it meanwhile.
struct Loan {
    memory: ArcRwLockReadGuard<RawRwLock, Memory>,
    place: Range<usize>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        match &*self.memory {
            Memory::Owned(bytes) => &bytes[self.place.clone()],
            Memory::Raw(raw) => raw.as_slice(self.place.clone()),
        }
    }
}

impl Memory {
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        match self {
            Self::Owned(bytes) => into.copy_from_slice(&bytes[offset..offset + into.len()]),
            Self::Raw(raw) => raw.copy_out(offset, into),
        }
    }

    fn copy_in(&mut self, offset: usize, from: &[u8]) {
        match self {
            Self::Owned(bytes) => bytes[offset..offset + from.len()].copy_from_slice(from),
            Self::Raw(raw) => raw.copy_in(offset, from),
        }
    }

    fn copied(&self, place: Range<usize>) -> Vec<u8> {
        match self {
            Self::Owned(bytes) => bytes[place].to_vec(),
            Self::Raw(raw) => {
                let mut bytes = vec![0; place.len()];
                raw.copy_out(place.start, &mut bytes);
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Datatype, Operator};

    #[test]
    fn access_past_the_end_is_refused_and_touches_nothing() {
        let region = Region::zeroed(16);
        for (offset, length) in [(16, 1), (9, 8), (usize::MAX, 2), (0, 17)] {
            assert!(region.write(offset, &vec![1; length]).is_err());
            assert!(region.read(offset, &mut vec![0; length]).is_err());
        }
        assert_eq!(region.to_vec(), [0; 16]);
        assert_eq!(region.write(16, &[]), Ok(()));
    }

    #[test]
    fn lent_bytes_are_the_regions_and_hold_changes_up_until_they_are_dropped() {
        let mut memory = vec![5_u8; 3 * COPY_BYTES];
        let start = std::ptr::NonNull::new(memory.as_mut_ptr()).unwrap();
        let address = start.addr().get();
        let raw = Region::from_bytes_at(RawBytes::of_test(start, memory.len()), memory.len());
        for (region, at) in [(Region::from(vec![5; 3 * COPY_BYTES]), None), (raw, Some(address))] {
            let lent = region.lend(10, 2 * COPY_BYTES).unwrap();
            let more = region.lend(0, COPY_BYTES + 1).unwrap();
            let short = region.lend(0, COPY_BYTES).unwrap();
            if let Some(at) = at {
                assert_eq!(lent.as_ptr().addr(), at + 10);
            }
            assert_eq!(lent.as_ptr().addr(), more.as_ptr().addr() + 10);
            assert_ne!(short.as_ptr().addr(), more.as_ptr().addr());
            assert!(region.lend(2 * COPY_BYTES, COPY_BYTES + 1).is_err());
            std::thread::scope(|scope| {
                let change = scope.spawn(|| region.write(0, &vec![6; 3 * COPY_BYTES]));
                // From the moment that somebody waits on, nothing more is lent.
                while region.lend(0, COPY_BYTES + 1).unwrap().as_ptr() == more.as_ptr() {
                    std::thread::yield_now();
                }
                assert_eq!(lent, vec![5; 2 * COPY_BYTES]);
                assert!(!change.is_finished());
                drop((lent, more));
                change.join().unwrap().unwrap();
            });
            assert_eq!(region.to_vec(), vec![6; 3 * COPY_BYTES]);
        }
    }

    #[test]
    fn atomics_of_many_threads_add_up() {
        let region = Region::zeroed(8);
        let sum = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut old = Vec::new();
                    for _ in 0..1_000 {
                        region.atomic(0, sum, 1, &1_u64.to_le_bytes(), &mut old).unwrap();
                    }
                });
            }
        });
        assert_eq!(region.to_vec(), 4_000_u64.to_le_bytes());
    }
}
