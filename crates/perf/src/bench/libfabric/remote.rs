//! One-sided operations over a provider.

use std::time::Duration;

use libfabric_sys::client::{Event, Place, Room};

use super::{DATA, channel::Channel, fitting, most_bytes, pattern_bytes, room_for, stride, tells};
use crate::bench::{
    BenchError,
    lane::{Lane, Pattern, Progress, Share},
    setup::{Local, Setup, Verb},
};

/// Operations go to so many places in turn, fewer where messages are large.
const MOST_SLOTS: u64 = 64;
/// Bytes of an atomic operation's element.
const ELEMENT: usize = 8;

/// The memory of an endpoint: what the other side works on, then the pattern (or the number that is
/// added), then what is read.
pub(super) fn room(setup: &Setup, local: Local) -> Room {
    let answers = match setup.verb {
        Verb::Read | Verb::Atomic => most_bytes(setup, |bytes| local.answers(bytes)),
        Verb::Send | Verb::Write => 0,
    };
    let bytes = target_bytes(setup) + pattern_bytes(setup) + answers;
    room_for(bytes, [local.tx_depth, 0])
}

fn target_bytes(setup: &Setup) -> usize {
    most_bytes(setup, slots)
}

fn slots(bytes: usize) -> usize {
    fitting(bytes, MOST_SLOTS)
}

/// An endpoint, its peer, and memory on both sides.
pub(in crate::bench) struct RemoteLane {
    channel: Channel,
    pattern: Pattern,
    verb: Verb,
    verify: bool,
    tells: bool,
    /// Where the pattern is in the memory, and where the answers are.
    source: usize,
    answers: usize,
    share: Share,
    local: Local,
    sent: u64,
    /// Places of answers that nothing is on its way to.
    spare: Vec<usize>,
    /// The operation that each place of an answer is for.
    numbers: Vec<u64>,
    found: Vec<u8>,
}

impl RemoteLane {
    pub(in crate::bench) fn new(
        channel: Channel,
        pattern: Pattern,
        setup: &Setup,
        local: Local,
    ) -> Self {
        let source = target_bytes(setup);
        let one = 1_u64.to_ne_bytes();
        let sent = if setup.verb == Verb::Atomic { &one[..] } else { pattern.pieces() };
        channel.endpoint.write_memory(source, sent);
        Self {
            channel,
            verb: setup.verb,
            verify: setup.verify,
            tells: tells(setup),
            source,
            answers: source + pattern_bytes(setup),
            share: Share { bytes: 0, arrivals: None, posts: None, depth: 0 },
            sent: 0,
            spare: Vec::new(),
            numbers: Vec::new(),
            local,
            found: Vec::new(),
            pattern,
        }
    }

    /// The message that the operation with this number moves, and where it is on the other side.
    fn target(&self, number: u64) -> (u64, usize) {
        let slot = number % slots(self.share.bytes) as u64;
        let index = usize::try_from(slot).unwrap_or(0);
        (slot, index * stride(self.share.bytes))
    }

    fn answer(&self, place: usize) -> Place {
        let offset = self.answers + place * stride(self.share.bytes);
        Place { offset, bytes: self.share.bytes }
    }

    fn post_one(&mut self) -> Result<(), BenchError> {
        let number = self.sent;
        let (message, target) = self.target(number);
        let target = target as u64;
        match self.verb {
            Verb::Send | Verb::Write => {
                let offset = self.source + Pattern::offset(message);
                let from = Place { offset, bytes: self.share.bytes };
                let data = self.tells.then_some(number & DATA);
                self.channel.post(|end| end.write(from, target, data, 0))?;
            }
            Verb::Read => {
                let place = self.place_for(number)?;
                let into = self.answer(place);
                self.channel.post(|end| end.read(into, target, place as u64))?;
            }
            Verb::Atomic => {
                let place = self.place_for(number)?;
                let (addend, result) = (self.source, self.answer(place).offset);
                self.channel.post(|end| end.fetch_add(addend, result, 0, place as u64))?;
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// A place for the answer of the operation with this number. There is one: no more operations
    /// are on their way than there are places.
    fn place_for(&mut self, number: u64) -> Result<usize, BenchError> {
        let place =
            self.spare.pop().ok_or(BenchError::OutOfOrder { expected: number, found: 0 })?;
        self.numbers[place] = number;
        Ok(place)
    }

    fn check(&mut self, place: usize) -> Result<(), BenchError> {
        let number = self.numbers[place];
        self.found.resize(self.share.bytes, 0);
        self.channel.endpoint.read_memory(self.answer(place).offset, &mut self.found);
        if self.verb == Verb::Read {
            let (message, _) = self.target(number);
            return self.pattern.check(message, self.share.bytes, 0, &self.found);
        }
        let old = self.found.as_slice().try_into().map_or(u64::MAX, u64::from_ne_bytes);
        // They may be carried out in another order.
        if old < self.sent {
            return Ok(());
        }
        Err(BenchError::Corrupt { message: number, bytes: ELEMENT, at: 0 })
    }

    fn take(&mut self, events: Vec<Event>) -> Result<Progress, BenchError> {
        let mut progress = Progress::default();
        for event in &events {
            match *event {
                Event::Done(cookie) => {
                    progress.completed += 1;
                    if matches!(self.verb, Verb::Read | Verb::Atomic) {
                        let place = usize::try_from(cookie).unwrap_or(usize::MAX);
                        if self.verify {
                            self.check(place)?;
                        }
                        self.spare.push(place);
                    }
                }
                Event::Written(_) => progress.arrived += 1,
                // The lane posts no receives.
                Event::Received { .. } | Event::Cancelled(_) => {}
            }
        }
        self.channel.reuse(events);
        Ok(progress)
    }

    /// Compares what the other side left with what it was to leave.
    fn check_target(&mut self, operations: u64) -> Result<(), BenchError> {
        let bytes = self.share.bytes;
        self.found.resize(bytes, 0);
        if self.verb == Verb::Atomic {
            self.channel.endpoint.read_memory(0, &mut self.found);
            let sum = self.found.as_slice().try_into().map_or(u64::MAX, u64::from_ne_bytes);
            let same = sum == operations;
            return if same {
                Ok(())
            } else {
                Err(BenchError::Corrupt { message: operations, bytes, at: 0 })
            };
        }
        for number in 0..operations.min(slots(bytes) as u64) {
            let (message, offset) = self.target(number);
            self.channel.endpoint.read_memory(offset, &mut self.found);
            self.pattern.check(message, bytes, 0, &self.found)?;
        }
        Ok(())
    }
}

impl Lane for RemoteLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.share = share;
        self.sent = 0;
        self.spare = (0..self.local.answers(share.bytes)).collect();
        self.numbers = vec![0; self.spare.len()];
        for slot in 0..slots(share.bytes) as u64 {
            let (message, offset) = self.target(slot);
            let content = match self.verb {
                Verb::Read => self.pattern.message(message, share.bytes),
                Verb::Send | Verb::Write | Verb::Atomic => vec![0; share.bytes].into(),
            };
            self.channel.endpoint.write_memory(offset, &content);
        }
        Ok(())
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        (0..count).try_for_each(|_| self.post_one())
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        let events = self.channel.poll()?;
        self.take(events)
    }

    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        let events = self.channel.wait(at_most)?;
        self.take(events)
    }

    fn end(&mut self, peer_posted: u64) -> Result<(), BenchError> {
        if self.verify && matches!(self.verb, Verb::Write | Verb::Atomic) {
            self.check_target(peer_posted)?;
        }
        Ok(())
    }
}
