//! What happened, in numbers.

/// Counts since the endpoint was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Messages that met a posted receive when their turn came.
    pub expected_messages: u64,
    /// Messages stored because no posted receive accepted them.
    pub unexpected_messages: u64,
    /// Datagram parts stored because an earlier message was still missing.
    pub ahead_parts: u64,
    /// Messages longer than the buffer they met.
    pub truncated: u64,
    /// Datagrams turned away because a store was full.
    pub not_ready: u64,
    /// Frames that broke the format or contradicted what was known of their message.
    pub malformed: u64,
    /// First frames that had been taken before: the rest of their datagram was turned away, or
    /// the sender took the datagram back and sent its content in smaller ones.
    pub repeated: u64,
    /// Segments of messages that were over (truncated, cancelled).
    pub late_segments: u64,
    /// Messages that were claimed and then dropped unreceived.
    pub discarded_messages: u64,
    /// Grants issued for large messages.
    pub grants: u64,
    /// Trains that the device placed where they belonged.
    pub landing_hits: u64,
    /// Trains that were something else than predicted.
    pub landing_misses: u64,
    /// Messages of which bytes were copied out of the sender's memory.
    pub copied_messages: u64,
    /// Those bytes.
    pub copied_bytes: u64,
    /// Writes of peers that were placed here.
    pub remote_writes: u64,
    /// Reads of peers that were begun here.
    pub remote_reads: u64,
    /// Atomic operations of peers that were executed here.
    pub remote_atomics: u64,
    /// One-sided operations of peers that were turned away.
    pub remote_refused: u64,
}

/// How operations of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With success, whether or not that was reported.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
}

impl Tally {
    pub(super) const fn count(&mut self, success: bool) {
        if success {
            self.completed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// How the operations posted here ended, by kind. One-sided ones count in the order they were
/// posted: one that is over counts once all that were posted before it are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCounters {
    /// Sends.
    pub sends: Tally,
    /// Receives.
    pub receives: Tally,
    /// Writes of peers' memory.
    pub writes: Tally,
    /// Reads of it.
    pub reads: Tally,
    /// Atomic operations on it that return nothing.
    pub atomics: Tally,
    /// Atomic operations on it that return the old values.
    pub fetches: Tally,
}

impl OperationCounters {
    /// Atomic operations of both kinds.
    pub const fn all_atomics(&self) -> Tally {
        Tally {
            completed: self.atomics.completed + self.fetches.completed,
            failed: self.atomics.failed + self.fetches.failed,
        }
    }
}

/// Operations of peers on memory here that are over (`FI_RMA_EVENT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Reads, and atomic operations that return the old values.
    pub reads: u64,
    /// Writes, and atomic operations that return nothing.
    pub writes: u64,
}
