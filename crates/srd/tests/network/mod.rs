//! Two endpoints on a virtual wire of several paths, for scenarios about the transport alone.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use srd::{Config, Delivery, Endpoint, Filled, Handled, Incoming, PeerError, TrainLimits, Upper};
use wire::{Ecn, PeerId, Time, Token, Train};

pub(crate) const DATAGRAM: usize = 2_000;

/// Sends numbered datagrams and remembers what it received.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) queue: VecDeque<u32>,
    /// Whom they are for.
    to: Option<PeerId>,
    open: BTreeMap<u32, u32>,
    next_token: u32,
    pub(crate) acked: Vec<u32>,
    pub(crate) refused: Vec<u32>,
    pub(crate) received: Vec<u32>,
    pub(crate) failures: Vec<PeerError>,
    /// Datagrams that may still be taken; then the receiver is not ready.
    pub(crate) room: Option<usize>,
    pub(crate) owed: bool,
}

impl Numbers {
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    fn write(number: u32, train: &mut Train) -> Bytes {
        train.heads().extend_from_slice(&number.to_le_bytes());
        Bytes::from_static(&[7; DATAGRAM - wire::HEADER_LEN - 4])
    }
}

impl Upper for Numbers {
    fn fill(&mut self, _: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        if self.to != Some(peer) {
            return None;
        }
        let number = self.queue.pop_front()?;
        self.next_token += 1;
        self.open.insert(self.next_token, number);
        let mut tail = Self::write(number, train);
        tail.truncate(room - 4);
        let token = Token(self.next_token);
        let more = !self.queue.is_empty();
        Some(Filled { token, tail, solicit: !more, ends_train: false, more })
    }

    fn next_is_bulk(&self, _: PeerId) -> bool {
        self.queue.len() > 1
    }

    fn refill(&mut self, _: PeerId, token: Token, train: &mut Train) -> Bytes {
        Self::write(self.open[&token.0], train)
    }

    fn acked(&mut self, _: Time, _: PeerId, token: Token) {
        let number = self.open.remove(&token.0).expect("a token is acknowledged once");
        self.acked.push(number);
    }

    fn refused(&mut self, _: Time, _: PeerId, token: Token) {
        let number = self.open.remove(&token.0).expect("a token is refused once");
        self.refused.push(number);
    }

    fn reclaim(&mut self, _: Time, _: PeerId, token: Token) {
        let number = self.open.remove(&token.0).expect("a token is reclaimed once");
        self.queue.push_front(number);
    }

    fn deliver(&mut self, _: Time, _: PeerId, head: &[u8], _: usize) -> Delivery {
        match &mut self.room {
            Some(0) => return Delivery::NotReady,
            Some(room) => *room -= 1,
            None => {}
        }
        // What was forged may be shorter than a number.
        self.received.extend(head.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)));
        Delivery::Accepted
    }

    fn peer_failed(&mut self, _: Time, peer: PeerId, error: PeerError) {
        if self.to == Some(peer) {
            self.open.clear();
            self.queue.clear();
        }
        self.failures.push(error);
    }

    fn is_owed(&self, _: PeerId) -> bool {
        self.owed
    }
}

pub(crate) struct Side {
    pub(crate) endpoint: Endpoint,
    pub(crate) numbers: Numbers,
    pub(crate) address: SocketAddr,
    /// Answers nothing and sends nothing.
    pub(crate) dead: bool,
}

/// A datagram on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct InTransit {
    at: Time,
    order: u64,
    to: usize,
    source: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) sides: [Side; 2],
    pub(crate) paths: usize,
    pub(crate) cut: Vec<usize>,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay: Duration,
    pub(crate) corrupt: f64,
    /// Longer datagrams vanish.
    pub(crate) mtu: usize,
    /// Bytes sent to addresses where nobody is.
    pub(crate) astray: BTreeMap<SocketAddr, usize>,
    rng: Xoshiro256PlusPlus,
    /// When each path, per direction, has carried what it was given.
    free: [[Time; 4]; 2],
    transit: BinaryHeap<Reverse<InTransit>>,
    order: u64,
    train: Train,
}

pub(crate) fn endpoint(config: &Config, port: u16, seed: u64) -> Endpoint {
    let limits = TrainLimits { datagrams: 16, bytes: 16 * DATAGRAM, datagram_bytes: DATAGRAM };
    Endpoint::new(config.clone(), port, limits, seed)
}

impl Network {
    pub(crate) fn new(seed: u64, config: &Config) -> Self {
        let side = |host: u8| {
            let address = SocketAddr::from(([10, 0, 0, host], 7000));
            let endpoint = endpoint(config, 7000, seed * 2 + u64::from(host));
            Side { endpoint, numbers: Numbers::default(), address, dead: false }
        };
        Self {
            now: Time::from_nanos(1_000_000),
            sides: [side(1), side(2)],
            paths: 4,
            cut: Vec::new(),
            loss: 0.0,
            duplicate: 0.0,
            delay: Duration::from_micros(20),
            corrupt: 0.0,
            mtu: usize::MAX,
            astray: BTreeMap::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            free: [[Time::ZERO; 4]; 2],
            transit: BinaryHeap::new(),
            order: 0,
            train: Train::default(),
        }
    }

    pub(crate) fn send(&mut self, from: usize, numbers: impl IntoIterator<Item = u32>) {
        let address = self.sides[1 - from].address;
        let now = self.now;
        let side = &mut self.sides[from];
        let peer = side.endpoint.connect(address).expect("there is room for a peer");
        side.numbers.to = Some(peer);
        side.numbers.queue.extend(numbers);
        side.endpoint.wake(now, peer);
        self.flush(from);
    }

    pub(crate) fn flush(&mut self, from: usize) {
        let mut train = std::mem::take(&mut self.train);
        loop {
            let side = &mut self.sides[from];
            if side.dead || !side.endpoint.poll_transmit(self.now, &mut train, &mut side.numbers) {
                break;
            }
            self.carry(from, &train);
        }
        self.train = train;
    }

    fn carry(&mut self, from: usize, train: &Train) {
        let path = (usize::from(train.entropy.0) * 7 + from * 3) % self.paths;
        let source =
            SocketAddr::new(self.sides[from].address.ip(), 40_000 + u16::from(train.entropy.0));
        if train.destination != self.sides[1 - from].address {
            *self.astray.entry(train.destination).or_default() += train.total_bytes();
            return;
        }
        for (head, tail) in train.datagrams() {
            assert!(head.len() + tail.len() <= DATAGRAM);
            let copies = 1 + usize::from(self.rng.random_bool(self.duplicate));
            for _ in 0..copies {
                let too_long = head.len() + tail.len() > self.mtu;
                if too_long || self.cut.contains(&path) || self.rng.random_bool(self.loss) {
                    continue;
                }
                let mut bytes = [head, tail].concat();
                if self.rng.random_bool(self.corrupt) {
                    let bit = self.rng.random_range(0..head.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                // Each path has its own delay, so order holds on a path and not across.
                let delay = self.delay * (10 + u32::try_from(path).expect("paths are few")) / 10;
                let free = &mut self.free[from][path];
                *free = (self.now + delay).max(*free + Duration::from_nanos(100));
                let at = *free;
                self.order += 1;
                self.transit.push(Reverse(InTransit {
                    at,
                    order: self.order,
                    to: 1 - from,
                    source,
                    bytes,
                }));
            }
        }
    }

    /// Puts bytes on the wire towards `to` as if they came from `source`.
    pub(crate) fn inject(&mut self, to: usize, source: SocketAddr, bytes: Vec<u8>) {
        self.order += 1;
        self.transit.push(Reverse(InTransit {
            at: self.now,
            order: self.order,
            to,
            source,
            bytes,
        }));
    }

    /// The bytes now on the wire towards `to`.
    pub(crate) fn on_the_wire(&self, to: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let towards = self.transit.iter().filter(|Reverse(t)| t.to == to);
        towards.map(|Reverse(t)| (t.source, t.bytes.clone())).collect()
    }

    /// Lets one event happen; `false` if nothing is left to happen before `until`.
    fn step(&mut self, until: Time) -> bool {
        let arrival = self.transit.peek().map_or(Time::NEVER, |Reverse(t)| t.at);
        let timer = |side: &Side| {
            if side.dead {
                Time::NEVER
            } else {
                side.endpoint.poll_timeout().unwrap_or(Time::NEVER)
            }
        };
        let timers = [timer(&self.sides[0]), timer(&self.sides[1])];
        let at = arrival.min(timers[0]).min(timers[1]);
        if at > until {
            self.now = until;
            return false;
        }
        self.now = self.now.max(at);
        if at == arrival {
            let Reverse(datagram) = self.transit.pop().expect("it was just peeked at");
            let side = &mut self.sides[datagram.to];
            if !side.dead {
                let incoming = Incoming {
                    source: datagram.source,
                    ecn: Ecn::NotCapable,
                    bytes: &datagram.bytes,
                    landed: 0,
                };
                let handled = side.endpoint.handle_datagram(self.now, incoming, &mut side.numbers);
                if let Handled::Unreliable(_, payload_at) = handled {
                    assert!(payload_at <= datagram.bytes.len(), "a payload outside its datagram");
                }
            }
            self.flush(datagram.to);
        } else {
            let who = usize::from(timers[0] > timers[1]);
            let side = &mut self.sides[who];
            side.endpoint.handle_timeout(self.now, &mut side.numbers);
            self.flush(who);
        }
        true
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs until `done` holds; panics if it does not within `bound` of virtual time.
    pub(crate) fn run_until(&mut self, bound: Duration, done: impl Fn(&[Side; 2]) -> bool) {
        let until = self.now + bound;
        while !done(&self.sides) {
            assert!(self.step(until), "not done after {bound:?}");
        }
    }
}
