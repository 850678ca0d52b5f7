//! Fault injection: a device that loses, doubles, reorders and damages what another carries.

mod spec;

use std::{collections::VecDeque, io, net::SocketAddr, os::fd::BorrowedFd, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{Entropy, EntropySet, HEADER_LEN, Train};

pub use spec::{FaultSide, FaultSpec, FaultSpecError};

use crate::{Arrival, DeviceCounters, Landing, Layout, Limits, PacketIo, Scratch, SendError};

/// Empty receives in a row after which held-back datagrams go: a caller that only polls has
/// stopped sending, and nothing is left to overtake them.
const IDLE_RECEIVES: u32 = 1000;

/// What befalls one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
    Duplicate,
    HoldBack,
    /// This bit of the header flips. A flip elsewhere never reaches a receiver on a real network,
    /// because the UDP checksum covers it; the header is where the protocol claims to see it.
    Corrupt(usize),
}

/// How often each fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Datagrams that passed or met a fault, both sides together.
    pub datagrams: u64,
    /// Datagrams lost, those of lost trains not counted.
    pub dropped: u64,
    /// Datagrams doubled.
    pub duplicated: u64,
    /// Datagrams held back so that others overtake them.
    pub reordered: u64,
    /// Datagrams with a flipped bit.
    pub corrupted: u64,
    /// Whole trains lost.
    pub trains_dropped: u64,
}

/// A device that injects faults into another.
///
/// Faults on the receiving side take away the landing: every arrival is contiguous.
#[derive(Debug)]
pub struct FaultDevice<D> {
    inner: D,
    spec: FaultSpec,
    random: Xoshiro256PlusPlus,
    counters: FaultCounters,
    fates: Vec<Fate>,
    kept: Train,
    /// Trains sent: what datagrams held back on the sending side wait for.
    sent: u64,
    /// Trains received, likewise.
    arrived: u64,
    held_sends: VecDeque<(u64, Train)>,
    held_arrivals: VecDeque<(u64, Copied)>,
    /// Arrivals beside those of the device: duplicates.
    extra_arrivals: VecDeque<Copied>,
    empty_receives: u32,
}

/// One datagram, taken out of its train.
#[derive(Clone, Debug)]
struct Copied {
    arrival: Arrival,
    bytes: Box<[u8]>,
}

impl<D> FaultDevice<D> {
    /// Wraps `inner`.
    pub fn new(inner: D, spec: FaultSpec) -> Self {
        Self {
            inner,
            random: Xoshiro256PlusPlus::seed_from_u64(spec.seed),
            spec,
            counters: FaultCounters::default(),
            fates: Vec::new(),
            kept: Train::default(),
            sent: 0,
            arrived: 0,
            held_sends: VecDeque::new(),
            held_arrivals: VecDeque::new(),
            extra_arrivals: VecDeque::new(),
            empty_receives: 0,
        }
    }

    /// How often each fault was injected so far.
    pub fn faults(&self) -> FaultCounters {
        self.counters
    }

    fn train_is_lost(&mut self) -> bool {
        let lost = self.spec.train > 0.0 && self.random.random_bool(self.spec.train);
        self.counters.trains_dropped += u64::from(lost);
        lost
    }

    /// Draws what befalls each datagram of a train. Returns whether anything does.
    fn draw(&mut self, datagrams: usize) -> bool {
        self.fates.clear();
        for _ in 0..datagrams {
            let fate = self.draw_one();
            self.fates.push(fate);
        }
        self.fates.iter().any(|&fate| fate != Fate::Pass)
    }

    fn draw_one(&mut self) -> Fate {
        let FaultSpec { drop, duplicate, reorder, corrupt, .. } = self.spec;
        let rates = [
            (drop, Fate::Drop),
            (duplicate, Fate::Duplicate),
            (reorder, Fate::HoldBack),
            (corrupt, Fate::Corrupt(0)),
        ];
        let mut at: f64 = self.random.random();
        for (rate, fate) in rates {
            if at < rate {
                return match fate {
                    Fate::Corrupt(_) => Fate::Corrupt(self.random.random_range(0..8 * HEADER_LEN)),
                    fate => fate,
                };
            }
            at -= rate;
        }
        Fate::Pass
    }

    fn count(&mut self) {
        for fate in &self.fates {
            self.counters.datagrams += 1;
            match fate {
                Fate::Pass => {}
                Fate::Drop => self.counters.dropped += 1,
                Fate::Duplicate => self.counters.duplicated += 1,
                Fate::HoldBack => self.counters.reordered += 1,
                Fate::Corrupt(_) => self.counters.corrupted += 1,
            }
        }
    }
}

impl<D: PacketIo> FaultDevice<D> {
    fn send_with_faults(&mut self, train: &Train) -> Result<(), SendError> {
        if self.train_is_lost() {
            return Ok(());
        }
        if !self.draw(train.len()) {
            self.inner.send(train)?;
            self.count();
            return Ok(());
        }
        let Self { kept, fates, .. } = self;
        empty_like(kept, train);
        for ((head, tail), fate) in train.datagrams().zip(fates.iter()) {
            match fate {
                Fate::Drop | Fate::HoldBack => {}
                Fate::Pass | Fate::Duplicate => append(kept, head, tail, None),
                Fate::Corrupt(bit) => append(kept, head, tail, Some(*bit)),
            }
        }
        if !kept.is_empty() {
            self.inner.send(kept)?;
        }
        self.count();
        // Only now: a train refused by the device is sent again, with fates of its own.
        let due = self.sent + u64::from(self.spec.depth);
        for ((head, tail), fate) in train.datagrams().zip(&self.fates) {
            match fate {
                Fate::Pass | Fate::Drop | Fate::Corrupt(_) => {}
                Fate::Duplicate => self.held_sends.push_back((0, alone(train, head, tail))),
                Fate::HoldBack => self.held_sends.push_back((due, alone(train, head, tail))),
            }
        }
        Ok(())
    }

    /// Sends what was held back until now. What the device refuses then is lost.
    fn release_sends(&mut self, now: u64) {
        if self.held_sends.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.held_sends);
        held.retain(|(due, train)| {
            if *due <= now && self.inner.send(train).is_err() {
                self.counters.dropped += 1;
            }
            *due > now
        });
        self.held_sends = held;
    }

    fn release_arrivals(&mut self, now: u64) {
        while self.held_arrivals.front().is_some_and(|(due, _)| *due <= now) {
            self.extra_arrivals.extend(self.held_arrivals.pop_front().map(|(_, copied)| copied));
        }
    }

    /// Applies the faults to a contiguous arrival. `None` when nothing of it is left.
    fn receive_with_faults(&mut self, scratch: &mut Scratch, arrival: Arrival) -> Option<Arrival> {
        if self.train_is_lost() {
            return None;
        }
        let harmed = self.draw(arrival.datagrams());
        self.count();
        if !harmed {
            return Some(arrival);
        }
        let due = self.arrived + u64::from(self.spec.depth);
        let mut kept = 0;
        let mut from = 0;
        for (index, fate) in self.fates.iter().enumerate() {
            let len = arrival.datagram_bytes(index);
            let bytes = &mut scratch.bytes[from..from + len];
            if let Fate::Corrupt(bit) = fate {
                flip(bytes, *bit);
            }
            let copied = || Copied {
                arrival: Arrival { bytes: len, stride: len.max(1), ..arrival },
                bytes: Box::from(&*bytes),
            };
            match fate {
                Fate::Pass | Fate::Drop | Fate::Corrupt(_) => {}
                Fate::Duplicate => self.extra_arrivals.push_back(copied()),
                Fate::HoldBack => self.held_arrivals.push_back((due, copied())),
            }
            if !matches!(fate, Fate::Drop | Fate::HoldBack) {
                scratch.bytes.copy_within(from..from + len, kept);
                kept += len;
            }
            from += len;
        }
        let stride = arrival.stride.min(kept).max(1);
        (kept > 0).then_some(Arrival { bytes: kept, stride, ..arrival })
    }

    fn take_extra(&mut self, scratch: &mut Scratch) -> Option<Arrival> {
        let Copied { arrival, bytes } = self.extra_arrivals.pop_front()?;
        scratch.bytes[..bytes.len()].copy_from_slice(&bytes);
        Some(Arrival { layout: Layout::Contiguous, ..arrival })
    }

    fn note_empty_receive(&mut self) {
        self.empty_receives += 1;
        if self.empty_receives >= IDLE_RECEIVES {
            self.empty_receives = 0;
            self.release_all();
        }
    }

    fn release_all(&mut self) {
        self.release_sends(u64::MAX);
        self.release_arrivals(u64::MAX);
    }
}

impl<D: PacketIo> PacketIo for FaultDevice<D> {
    fn local_address(&self) -> SocketAddr {
        self.inner.local_address()
    }

    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr> {
        self.inner.source_address(entropy)
    }

    fn retire_sources(&mut self, in_use: &EntropySet) {
        self.inner.retire_sources(in_use);
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        self.inner.path_datagram_bytes(destination)
    }

    fn send(&mut self, train: &Train) -> Result<(), SendError> {
        if !self.spec.on.sends() {
            return self.inner.send(train);
        }
        let sent = self.send_with_faults(train);
        self.sent += 1;
        self.release_sends(self.sent);
        sent
    }

    fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>> {
        if !self.spec.on.receives() {
            let arrival = self.inner.receive(scratch, landing)?;
            match arrival {
                Some(_) => self.empty_receives = 0,
                None => self.note_empty_receive(),
            }
            return Ok(arrival);
        }
        loop {
            if let Some(extra) = self.take_extra(scratch) {
                return Ok(Some(extra));
            }
            let Some(arrival) = self.inner.receive(scratch, None)? else {
                self.note_empty_receive();
                return Ok(self.take_extra(scratch));
            };
            self.empty_receives = 0;
            let left = self.receive_with_faults(scratch, arrival);
            self.arrived += 1;
            self.release_arrivals(self.arrived);
            // An arrival of which nothing is left must not look like an empty queue.
            if left.is_some() {
                return Ok(left);
            }
        }
    }

    fn take_unreachable(&mut self) -> Option<SocketAddr> {
        self.inner.take_unreachable()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.release_all();
        if self.extra_arrivals.is_empty() { self.inner.wait(timeout) } else { Ok(()) }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&self) -> DeviceCounters {
        self.inner.counters()
    }
}

fn empty_like(train: &mut Train, like: &Train) {
    train.clear();
    train.destination = like.destination;
    train.entropy = like.entropy;
    train.ecn = like.ecn;
}

fn append(train: &mut Train, head: &[u8], tail: &[u8], corrupt: Option<usize>) {
    let at = train.open_at();
    train.heads().extend_from_slice(head);
    if let Some(bit) = corrupt {
        // In the head alone: the tail belongs to the application.
        flip(&mut train.heads()[at..], bit);
    }
    train.close(Bytes::copy_from_slice(tail));
}

/// A datagram of `like` as a train of its own.
fn alone(like: &Train, head: &[u8], tail: &[u8]) -> Train {
    let mut train = Train::default();
    empty_like(&mut train, like);
    append(&mut train, head, tail, None);
    train
}

/// Flips a bit; where there are fewer bytes, one of those there are.
fn flip(bytes: &mut [u8], bit: usize) {
    if !bytes.is_empty() {
        bytes[bit / 8 % bytes.len()] ^= 1 << (bit % 8);
    }
}
