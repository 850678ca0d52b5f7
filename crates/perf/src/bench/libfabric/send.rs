//! Messages over a provider.

use std::time::Duration;

use libfabric_sys::client::{Event, Place, Room};

use super::{DATA, channel::Channel, fitting, most_bytes, pattern_bytes, room_for, stride};
use crate::bench::{
    BenchError,
    lane::{Lane, Pattern, Progress, Share},
    setup::{Goal, Length, Local, Setup},
};

/// Tags of messages, and of what the receiver of a known number says when it has them all.
const MESSAGE: u64 = 1;
const RECEIPT: u64 = 2;

/// Numbers of operations that are no receive of a message; those have the numbers of their slots.
const SENT: u64 = u64::MAX;
const RECEIPT_SENT: u64 = u64::MAX - 1;
const RECEIPT_CAME: u64 = u64::MAX - 2;
const FIRST_OTHER: u64 = RECEIPT_CAME;

/// The memory of an endpoint: the pattern, then the receipt, then the receives.
pub(super) fn room(setup: &Setup, local: Local) -> Room {
    let receives = most_bytes(setup, |bytes| fitting(bytes, local.rx_depth));
    let bytes = pattern_bytes(setup) + stride(1) + receives;
    room_for(bytes, [local.tx_depth, local.rx_depth])
}

/// An endpoint and its peer.
pub(in crate::bench) struct SendLane {
    channel: Channel,
    pattern: Pattern,
    verify: bool,
    remote_data: bool,
    /// The last message of a row is complete when the other side says that it has all: a provider
    /// may call complete what only left.
    with_receipt: bool,
    share: Share,
    sent: u64,
    arrived: u64,
    /// Receives that were posted, which are matched in this order.
    receives: u64,
    /// The message that each slot is for.
    numbers: Vec<u64>,
    found: Vec<u8>,
}

impl SendLane {
    pub(in crate::bench) fn new(channel: Channel, pattern: Pattern, setup: &Setup) -> Self {
        channel.endpoint.write_memory(0, pattern.pieces());
        let counted = matches!(setup.length, Length::Iterations(_));
        Self {
            channel,
            pattern,
            verify: setup.verify,
            remote_data: setup.remote_data,
            with_receipt: counted && setup.goal == Goal::Bandwidth,
            share: Share { bytes: 0, arrivals: None, posts: None, depth: 0 },
            sent: 0,
            arrived: 0,
            receives: 0,
            numbers: Vec::new(),
            found: Vec::new(),
        }
    }

    fn receipt(&self) -> Place {
        Place { offset: stride(self.pattern.pieces().len()), bytes: 1 }
    }

    fn slot(&self, slot: usize) -> Place {
        let first = stride(self.pattern.pieces().len()) + stride(1);
        Place { offset: first + slot * stride(self.share.bytes), bytes: self.share.bytes }
    }

    fn receive(&mut self, slot: usize) -> Result<(), BenchError> {
        if self.share.arrivals.is_some_and(|all| self.receives >= all) {
            return Ok(());
        }
        self.numbers[slot] = self.receives;
        self.receives += 1;
        let place = self.slot(slot);
        self.channel.post(|end| end.receive(place, MESSAGE, slot as u64))
    }

    fn check(&mut self, slot: usize, bytes: usize, data: Option<u64>) -> Result<(), BenchError> {
        let number = self.numbers[slot];
        let Place { offset, .. } = self.slot(slot);
        self.found.resize(bytes.min(self.share.bytes), 0);
        self.channel.endpoint.read_memory(offset, &mut self.found);
        self.pattern.check(number, self.share.bytes, 0, &self.found)?;
        let is_short = bytes < self.share.bytes;
        if is_short || self.remote_data && data != Some(number & DATA) {
            return Err(BenchError::Corrupt {
                message: number,
                bytes: self.share.bytes,
                at: bytes,
            });
        }
        Ok(())
    }

    fn take(&mut self, events: Vec<Event>) -> Result<Progress, BenchError> {
        let mut progress = Progress::default();
        for event in &events {
            match *event {
                Event::Done(SENT) => progress.completed += 1,
                Event::Received { cookie: RECEIPT_CAME, .. } => progress.completed += 1,
                Event::Received { cookie, bytes, data } => {
                    let slot = usize::try_from(cookie).unwrap_or(usize::MAX);
                    progress.arrived += 1;
                    if self.verify {
                        self.check(slot, bytes, data)?;
                    }
                    self.receive(slot)?;
                }
                // The lane's own receipts, and what it posts not.
                Event::Done(_) | Event::Written(_) | Event::Cancelled(_) => {}
            }
        }
        self.channel.reuse(events);
        self.arrived += progress.arrived;
        let all = self.with_receipt && progress.arrived > 0 && self.arrived > 0;
        if all && self.share.arrivals == Some(self.arrived) {
            let place = self.receipt();
            self.channel.post(|end| end.send(place, RECEIPT, None, RECEIPT_SENT))?;
        }
        Ok(progress)
    }

    /// Whether the receipt stands for the completion of this message.
    fn is_last(&self, number: u64) -> bool {
        self.with_receipt && self.share.posts == Some(number + 1)
    }
}

impl Lane for SendLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.channel.cancel(|cookie| cookie < FIRST_OTHER)?;
        self.share = share;
        (self.sent, self.arrived, self.receives) = (0, 0, 0);
        if self.with_receipt && share.posts.is_some_and(|posts| posts > 0) {
            let place = self.receipt();
            self.channel.post(|end| end.receive(place, RECEIPT, RECEIPT_CAME))?;
        }
        if share.arrivals == Some(0) {
            return Ok(());
        }
        let slots = fitting(share.bytes, share.depth as u64);
        self.numbers = vec![0; slots];
        (0..slots).try_for_each(|slot| self.receive(slot))
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        for _ in 0..count {
            let number = self.sent;
            let from = Place { offset: Pattern::offset(number), bytes: self.share.bytes };
            let data = self.remote_data.then_some(number & DATA);
            let cookie = if self.is_last(number) { RECEIPT_SENT } else { SENT };
            self.channel.post(|end| end.send(from, MESSAGE, data, cookie))?;
            self.sent += 1;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        let events = self.channel.poll()?;
        self.take(events)
    }

    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        let events = self.channel.wait(at_most)?;
        self.take(events)
    }

    fn end(&mut self, _peer_posted: u64) -> Result<(), BenchError> {
        Ok(())
    }
}
