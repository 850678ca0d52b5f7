//! What the network counted.

use serde::{Deserialize, Serialize};

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets hosts sent.
    pub sent: u64,
    /// Their UDP payload, in bytes.
    pub sent_bytes: u64,
    /// Trains hosts sent.
    pub trains: u64,
    /// Packets given to a host's software.
    pub delivered: u64,
    /// Packets that a fault sent a second time.
    pub duplicated: u64,
    /// Packets whose bytes a fault damaged.
    pub damaged: u64,
    /// Packets marked with congestion, by queues and faults.
    pub marked: u64,
    /// Packets dropped, by cause.
    pub drops: Drops,
    /// The most bytes that waited in a switch port.
    pub queue_peak: u64,
    /// Events the simulation processed.
    pub events: u64,
}

/// Packets dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// The queue of a port was full.
    pub queue: u64,
    /// A fault took it.
    pub fault: u64,
    /// The receive buffer of a host was full.
    pub receive_buffer: u64,
    /// The host was down.
    pub host_down: u64,
    /// There is no host at the address.
    pub no_host: u64,
}

impl Drops {
    /// All of them.
    pub const fn total(&self) -> u64 {
        let Self { queue, fault, receive_buffer, host_down, no_host } = self;
        *queue + *fault + *receive_buffer + *host_down + *no_host
    }
}

/// A fingerprint of everything that happened, to tell whether two runs were the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds the first bytes, where headers are, and the length.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for word in bytes[..bytes.len().min(64)].chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.add(u64::from_le_bytes(padded));
        }
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}
