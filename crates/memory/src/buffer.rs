//! Receive buffers.

/// A receive buffer. While a receive is posted the endpoint owns it; the completion gives it
/// back.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// A zeroed buffer of `length` bytes.
    pub fn zeroed(length: usize) -> Self {
        Self { bytes: vec![0; length] }
    }

    /// The most bytes a message may have to fit.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether only empty messages fit.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies `from` to `offset`; what would lie past the end is left out.
    pub fn write_at(&mut self, offset: usize, from: &[u8]) {
        if let Some(room) = self.bytes.get_mut(offset..) {
            let length = room.len().min(from.len());
            room[..length].copy_from_slice(&from[..length]);
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, for a device to place data in.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes themselves.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

impl From<Vec<u8>> for Buffer {
    /// Takes the vector as it is: its length, not its capacity, is the room for a message.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}
