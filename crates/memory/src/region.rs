//! Regions: memory that peers reach.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{atomic::Atomic, raw::RawBytes};

/// Memory that peers may be allowed to reach. Clones share it, so an application keeps one and
/// hands the other to an endpoint.
///
/// Each call, of this process or on behalf of a peer, has the region to itself while it copies or
/// computes; so atomics of peers, whichever way they come, and of local callers are atomic towards
/// each other. A write or read of a peer that takes several datagrams is several such calls.
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
    memory: Arc<Mutex<Memory>>,
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
        Self { memory: Arc::new(Mutex::new(Memory::Raw(raw))), length }
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
        self.lock().copy_out(offset, into);
        Ok(())
    }

    /// Copies `from` to `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing was copied.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        self.lock().copy_in(offset, from);
        Ok(())
    }

    /// A copy of `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn copy(&self, offset: usize, length: usize) -> Result<Vec<u8>, OutOfRange> {
        self.check(offset, length)?;
        Ok(match &*self.lock() {
            Memory::Owned(bytes) => bytes[offset..offset + length].to_vec(),
            Memory::Raw(raw) => {
                let mut bytes = vec![0; length];
                raw.copy_out(offset, &mut bytes);
                bytes
            }
        })
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.lock().copy_out(0, &mut bytes);
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
        let mut memory = self.lock();
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

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A caller that panicked left bytes behind, and any bytes are fine.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Vec<u8>> for Region {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { memory: Arc::new(Mutex::new(Memory::Owned(bytes.into()))), length }
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
