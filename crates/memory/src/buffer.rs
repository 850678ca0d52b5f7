//! Receive buffers.

use bytes::{Bytes, BytesMut};

use crate::raw::RawBuffer;

/// A receive buffer. While a receive is posted the endpoint owns it; the completion gives it
/// back.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Owned(Vec<u8>),
    /// Part of an allocation that other buffers have parts of. Boxed, since it is rare: it would
    /// make every buffer longer, and every completion that holds one.
    Shared(Box<BytesMut>),
    Raw(RawBuffer),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl Buffer {
    /// A zeroed buffer of `length` bytes.
    pub fn zeroed(length: usize) -> Self {
        Self::from(vec![0; length])
    }

    pub(crate) const fn from_raw_buffer(raw: RawBuffer) -> Self {
        Self { memory: Memory::Raw(raw) }
    }

    /// The most bytes a message may have to fit.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether only empty messages fit.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `from` to `offset`; what would lie past the end is left out.
    pub fn write_at(&mut self, offset: usize, from: &[u8]) {
        if let Some(room) = self.as_mut_slice().get_mut(offset..) {
            let length = room.len().min(from.len());
            room[..length].copy_from_slice(&from[..length]);
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Owned(bytes) => bytes,
            Memory::Shared(bytes) => bytes,
            Memory::Raw(raw) => raw.as_slice(),
        }
    }

    /// The bytes, for a device to place data in.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Owned(bytes) => bytes,
            Memory::Shared(bytes) => bytes,
            Memory::Raw(raw) => raw.as_mut_slice(),
        }
    }

    /// Takes the first `length` bytes off, as a buffer of their own. Nothing is copied.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn split_front(&mut self, length: usize) -> Self {
        assert!(length <= self.len(), "{length} bytes of a buffer of {}", self.len());
        if let Memory::Owned(bytes) = &mut self.memory {
            let bytes = BytesMut::from(Bytes::from(std::mem::take(bytes)));
            self.memory = Memory::Shared(Box::new(bytes));
        }
        let memory = match &mut self.memory {
            Memory::Shared(bytes) => Memory::Shared(Box::new(bytes.split_to(length))),
            Memory::Raw(raw) => Memory::Raw(raw.split_front(length)),
            Memory::Owned(_) => Memory::default(),
        };
        Self { memory }
    }

    /// Appends `next`. If it is what [`Self::split_front`] left behind this buffer nothing is
    /// copied, else all is.
    pub fn join(&mut self, next: Self) {
        self.memory = match (std::mem::take(&mut self.memory), next.memory) {
            (Memory::Shared(mut bytes), Memory::Shared(next)) => {
                bytes.unsplit(*next);
                Memory::Shared(bytes)
            }
            (Memory::Raw(raw), Memory::Raw(next)) if raw.is_before(&next) => {
                Memory::Raw(raw.joined(next))
            }
            (memory, next) => {
                let mut bytes = Self { memory }.into_vec();
                bytes.extend_from_slice(Self { memory: next }.as_slice());
                Memory::Owned(bytes)
            }
        };
    }

    /// The bytes themselves; a copy if they are part of a larger allocation, or of somebody
    /// else's memory.
    pub fn into_vec(self) -> Vec<u8> {
        match self.memory {
            Memory::Owned(bytes) => bytes,
            Memory::Shared(bytes) => (*bytes).into(),
            Memory::Raw(raw) => raw.as_slice().to_vec(),
        }
    }
}

impl From<Vec<u8>> for Buffer {
    /// Takes the vector as it is: its length, not its capacity, is the room for a message.
    fn from(bytes: Vec<u8>) -> Self {
        Self { memory: Memory::Owned(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_buffer_join_to_the_same_memory() {
        let mut rest = Buffer::from((0..10).collect::<Vec<u8>>());
        let start = rest.as_slice().as_ptr();
        let mut first = rest.split_front(3);
        let mut second = rest.split_front(0);
        let third = rest.split_front(4);
        assert_eq!((first.len(), second.len(), third.len(), rest.len()), (3, 0, 4, 3));
        first.as_mut_slice()[0] = 77;
        second.join(third);
        assert_eq!(second.as_slice(), [3, 4, 5, 6]);
        first.join(second);
        first.join(rest);
        assert_eq!(first.as_slice(), [77, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(first.as_slice().as_ptr(), start);
    }

    #[test]
    fn what_was_not_one_buffer_joins_by_a_copy() {
        let mut one = Buffer::from(vec![1, 2]);
        one.join(Buffer::from(vec![3]));
        assert_eq!(one.into_vec(), [1, 2, 3]);
    }
}
