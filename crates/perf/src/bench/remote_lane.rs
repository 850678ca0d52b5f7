//! One-sided operations on the fabric: writes into memory of the other side, reads of it, and
//! atomic operations on it.

use std::time::Duration;

use fabric::{
    Access, Atomic, AtomicRequest, Buffer, Bytes, Completion, Datatype, Event, Operator, PeerId,
    RKey, RdmEndpoint, Region, RemotePlace, WriteRequest,
};

use super::{
    BenchError,
    lane::{Lane, Pattern, Progress, Reaping, Share},
    setup::{AtomicKind, Goal, Local, Verb},
};
use crate::load::LoadError;

/// Operations go to so many places in turn, fewer where messages are large.
const MOST_SLOTS: usize = 64;
/// Bytes of an atomic operation's element.
const ELEMENT: usize = 8;

/// What a lane of one-sided operations does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub verb: Verb,
    pub goal: Goal,
    pub atomic: AtomicKind,
    pub verify: bool,
    /// A write tells the other side's program of itself.
    pub remote_data: bool,
}

/// An endpoint, its peer, and memory on both sides.
pub(super) struct RemoteLane {
    endpoint: RdmEndpoint,
    peer: PeerId,
    operation: Operation,
    pattern: Pattern,
    /// The other side's memory.
    key: RKey,
    /// What the other side works on.
    region: Region,
    share: Share,
    sent: u64,
    spare: Vec<Buffer>,
}

/// Bytes of the region that rows of these sizes need.
pub(super) fn region_bytes(sizes: &[u64]) -> usize {
    let needs = sizes.iter().map(|&bytes| {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        bytes.saturating_mul(slots(bytes))
    });
    needs.max().unwrap_or(ELEMENT).max(ELEMENT)
}

fn slots(bytes: usize) -> usize {
    let fitting = (Local::RECEIVE_BYTES / bytes.max(1)).clamp(1, MOST_SLOTS);
    1 << fitting.ilog2()
}

impl RemoteLane {
    /// Lets the other side work on `region`. Returns the key that it needs for that.
    pub(super) fn register(endpoint: &mut RdmEndpoint, region: &Region) -> u64 {
        endpoint.register(region.clone(), Access::ALL).0
    }

    pub(super) fn new(
        endpoint: RdmEndpoint,
        peer: PeerId,
        operation: Operation,
        pattern: Pattern,
        region: Region,
        key: u64,
    ) -> Self {
        let share = Share { bytes: 0, arrivals: None, posts: None, depth: 0 };
        Self {
            endpoint,
            peer,
            operation,
            pattern,
            key: RKey(key),
            region,
            share,
            sent: 0,
            spare: Vec::new(),
        }
    }

    /// The endpoint, to be closed.
    pub(super) fn into_endpoint(self) -> RdmEndpoint {
        self.endpoint
    }

    /// The place of the operation with this number, and the number of the message that is there.
    fn slot(&self, number: u64) -> (u64, u64) {
        let slot = number % slots(self.share.bytes) as u64;
        (slot, slot * self.share.bytes as u64)
    }

    fn post_one(&mut self) -> Result<(), BenchError> {
        let (message, offset) = self.slot(self.sent);
        let place = RemotePlace { key: self.key, offset };
        let posted = match self.operation.verb {
            Verb::Send | Verb::Write => {
                let data = self.pattern.message(message, self.share.bytes);
                // Bytes of one write may come in any order: the last one there does not tell that
                // all are, a notice does.
                let tells = self.operation.remote_data || self.operation.goal == Goal::Latency;
                let remote_data = tells.then_some(self.sent);
                let request = WriteRequest { data, place, remote_data, context: 0, complete: true };
                self.endpoint.post_write(self.peer, request).map_err(LoadError::fabric)
            }
            Verb::Read => {
                let buffer = self.spare.pop();
                let buffer = buffer.unwrap_or_else(|| Buffer::zeroed(self.share.bytes));
                self.endpoint.read(self.peer, place, buffer, self.sent).map_err(LoadError::fabric)
            }
            Verb::Atomic => {
                let request = self.atomic();
                self.endpoint.atomic(self.peer, request).map_err(LoadError::fabric)
            }
        };
        posted?;
        self.sent += 1;
        Ok(())
    }

    /// Adds one, or exchanges if the element is what the last exchange made of it.
    fn atomic(&self) -> AtomicRequest {
        let (operator, operands) = match self.operation.atomic {
            AtomicKind::FetchAndAdd => {
                (Operator::Sum, Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0]))
            }
            AtomicKind::CompareAndSwap => {
                let mut operands = (self.sent + 1).to_le_bytes().to_vec();
                operands.extend(self.sent.to_le_bytes());
                (Operator::CswapEq, operands.into())
            }
        };
        AtomicRequest {
            atomic: Atomic { operator, datatype: Datatype::U64 },
            place: RemotePlace { key: self.key, offset: 0 },
            count: 1,
            operands,
            fetch: true,
            context: self.sent,
            complete: true,
        }
    }

    /// Compares what the other side wrote with what it was to write.
    fn check_written(&self, messages: u64) -> Result<(), BenchError> {
        let bytes = self.share.bytes;
        let mut found = vec![0; bytes];
        for number in 0..messages.min(slots(bytes) as u64) {
            let (message, offset) = self.slot(number);
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            self.region.read(offset, &mut found).map_err(LoadError::fabric)?;
            self.pattern.check(message, bytes, 0, &found)?;
        }
        Ok(())
    }
}

impl Reaping for RemoteLane {
    fn endpoint(&mut self) -> &mut RdmEndpoint {
        &mut self.endpoint
    }

    fn take(&mut self, completion: Completion, so_far: &mut Progress) -> Result<(), BenchError> {
        completion.result.map_err(LoadError::fabric)?;
        let number = completion.context;
        match completion.event {
            Event::Written | Event::Sent => so_far.completed += 1,
            Event::Read { buffer } => {
                so_far.completed += 1;
                if self.operation.verify {
                    let (message, _) = self.slot(number);
                    self.pattern.check(message, self.share.bytes, 0, buffer.as_slice())?;
                }
                self.spare.push(buffer);
            }
            Event::Atomic { old } => {
                so_far.completed += 1;
                if self.operation.verify && old != number.to_le_bytes() {
                    let (message, bytes) = (number, ELEMENT);
                    return Err(BenchError::Corrupt { message, bytes, at: 0 });
                }
            }
            Event::RemoteWrite { .. } => so_far.arrived += 1,
            Event::Received { .. } | Event::Released { .. } => {}
        }
        Ok(())
    }
}

impl Lane for RemoteLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.share = share;
        self.sent = 0;
        self.spare.clear();
        for slot in 0..slots(share.bytes) as u64 {
            let (message, offset) = self.slot(slot);
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let content = match self.operation.verb {
                Verb::Read => self.pattern.message(message, share.bytes),
                Verb::Send | Verb::Write | Verb::Atomic => vec![0; share.bytes].into(),
            };
            self.region.write(offset, &content).map_err(LoadError::fabric)?;
        }
        Ok(())
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        (0..count).try_for_each(|_| self.post_one())
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        self.poll_all()
    }

    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        self.wait_all(at_most)
    }

    fn end(&mut self, peer_posted: u64) -> Result<(), BenchError> {
        if self.operation.verify && self.operation.verb == Verb::Write {
            self.check_written(peer_posted)?;
        }
        Ok(())
    }
}
