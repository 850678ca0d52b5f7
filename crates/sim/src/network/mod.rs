//! The simulated network: hosts, packets on their way, and the loop that moves virtual time.

mod counters;
mod host;
mod transit;

use std::{net::SocketAddr, time::Duration};

pub(crate) use counters::Trace;
pub use counters::{Drops, Traffic};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use slab::Slab;
use wire::{Time, Train};

use crate::{
    Node,
    clock::HostClock,
    event::EventQueue,
    fault::{Rule, Weather},
    network::{host::Host, transit::Packet},
    port::LinkSpec,
    seed::{Purpose, mix, stream},
    topology::{Switching, Topology, address_of},
};

/// A network as it was built, before anything goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its shape.
    pub topology: Topology,
    /// Bits per second of a link.
    pub rate: u64,
    /// Nanoseconds from one end of a link to the other, the switch included.
    pub delay_ns: u64,
    /// Bytes a switch port holds.
    pub queue: usize,
    /// Bytes in a switch port from which ECN-capable packets are marked.
    pub mark: usize,
    /// The largest IP packet.
    pub mtu: usize,
    /// IPv6 addresses instead of IPv4.
    pub ipv6: bool,
    /// Bytes a host's kernel holds for its software before it drops.
    pub receive_buffer: usize,
    /// Nanoseconds a host's processor spends on each packet it receives.
    pub packet_cost_ns: u64,
}

impl NetworkSpec {
    /// 10 Gb/s links of 1 µs, jumbo frames, 1 MiB per switch port.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            rate: 10_000_000_000,
            delay_ns: 1_000,
            queue: 1 << 20,
            mark: 200_000,
            mtu: 9_001,
            ipv6: false,
            receive_buffer: 8 << 20,
            packet_cost_ns: 200,
        }
    }

    /// The largest UDP payload of one packet.
    pub const fn datagram_bytes(&self) -> usize {
        self.mtu - if self.ipv6 { 40 } else { 20 } - 8
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> SocketAddr {
        address_of(host, self.ipv6)
    }

    pub(crate) fn link(&self) -> LinkSpec {
        LinkSpec {
            rate: self.rate,
            delay: Duration::from_nanos(self.delay_ns),
            queue: self.queue,
            mark: self.mark,
        }
    }
}

/// A train that no device would have taken: the protocol broke the contract of [`Train`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrain {
    /// Nothing to send.
    #[error("a train without datagrams")]
    Empty,
    /// A datagram that does not fit the network interface.
    #[error("a datagram of {0} bytes, more than the link carries")]
    TooLarge(usize),
    /// Datagrams of different lengths before the last, or a longer last one.
    #[error("datagrams of {0} and {1} bytes in one train")]
    Uneven(usize, usize),
    /// More than one system call can carry.
    #[error("{0} bytes in one train")]
    TooLong(usize),
}

/// The kind of thing that comes next. The number is a host's or a packet's.
#[derive(Clone, Copy, Debug)]
enum Event {
    Hop(u32),
    Wake(u32),
    Timer(u32),
    Transmit(u32),
}

/// Watches what happens at the hosts; returns whether the simulation should go on.
pub trait Observer<E> {
    /// `event` happened at `host`.
    fn observe(&mut self, now: Time, host: usize, event: E) -> bool;
}

impl<E, F: FnMut(Time, usize, E) -> bool> Observer<E> for F {
    fn observe(&mut self, now: Time, host: usize, event: E) -> bool {
        self(now, host, event)
    }
}

/// Why [`Network::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Virtual time reached the limit.
    Limit,
    /// Nothing is left to happen.
    Quiet,
    /// The observer asked for it.
    Observer,
    /// The events of one virtual millisecond passed any sensible number: the software of some
    /// host goes round in circles.
    Livelock,
}

/// Hosts that run `N`, and everything between them.
pub struct Network<N> {
    spec: NetworkSpec,
    now: Time,
    events: EventQueue<Event>,
    switching: Switching,
    hosts: Vec<Host<N>>,
    packets: Slab<Packet>,
    buffers: Vec<Vec<u8>>,
    weather: Weather,
    healthy: bool,
    late_timers: Duration,
    rng: Xoshiro256PlusPlus,
    port_salt: u64,
    captured: Vec<Packet>,
    traffic: Traffic,
    trace: Trace,
    bad_train: Option<BadTrain>,
    reflected: transit::Reflected,
    train: Train,
    stop: bool,
    livelock: Livelock,
}

/// Events since a moment, to notice when time stands still.
#[derive(Clone, Copy, Debug, Default)]
struct Livelock {
    since: Time,
    events: u64,
}

const LIVELOCK_WINDOW: Duration = Duration::from_millis(1);
/// Per host and millisecond: at 100 Gb/s a host sees 8,000 full packets in that time.
const LIVELOCK_EVENTS: u64 = 200_000;

impl<N: Node> Network<N> {
    /// A network of hosts that are all down. `clocks` are those of the hosts; true time where
    /// there are too few.
    pub fn new(spec: NetworkSpec, seed: u64, rules: &[Rule], clocks: &[HostClock]) -> Self {
        let mut ports_rng = stream(seed, Purpose::Ports);
        let hosts = (0..spec.topology.hosts())
            .map(|host| Host::new(clocks.get(host).cloned().unwrap_or_default(), &spec))
            .collect();
        Self {
            switching: Switching::new(spec.topology, spec.link(), ports_rng.random()),
            port_salt: ports_rng.random(),
            spec,
            now: Time::ZERO,
            events: EventQueue::default(),
            hosts,
            packets: Slab::new(),
            buffers: Vec::new(),
            weather: Weather::new(rules, stream(seed, Purpose::Packets)),
            healthy: rules.is_empty(),
            late_timers: Duration::ZERO,
            rng: stream(mix(seed), Purpose::Packets),
            captured: Vec::new(),
            traffic: Traffic::default(),
            trace: Trace::default(),
            bad_train: None,
            reflected: transit::Reflected::default(),
            train: Train::default(),
            stop: false,
            livelock: Livelock::default(),
        }
    }

    /// How the network was built.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What `host`'s clock shows.
    pub fn local_now(&self, host: usize) -> Time {
        self.hosts[host].clock.local(self.now)
    }

    /// What `host`'s clock showed when the simulation began.
    pub fn epoch(&self, host: usize) -> Time {
        self.hosts[host].clock.local(Time::ZERO)
    }

    /// The software of `host`, unless it is down.
    pub fn node(&self, host: usize) -> Option<&N> {
        self.hosts[host].node.as_ref()
    }

    /// What was counted so far.
    pub fn traffic(&self) -> Traffic {
        let ports = &self.switching.ports[self.hosts.len()..];
        let queue_peak = ports.iter().map(|port| port.peak as u64).max().unwrap_or(0);
        let marks: u64 = ports.iter().map(|port| port.marks).sum();
        Traffic { queue_peak, marked: self.traffic.marked + marks, ..self.traffic }
    }

    /// A fingerprint of everything that happened.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// The first train that broke the contract of devices, if any.
    pub fn bad_train(&self) -> Option<BadTrain> {
        self.bad_train
    }

    /// Bytes that came from, and were sent to, addresses where there is no host.
    pub fn reflected(&self) -> (u64, u64) {
        (self.reflected.brought, self.reflected.answered)
    }

    /// Lets time pass until `limit`, or until there is a reason to stop before.
    pub fn run(&mut self, limit: Time, observer: &mut impl Observer<N::Event>) -> Stop {
        self.stop = false;
        while let Some((at, event)) = self.events.pop_until(limit) {
            self.now = at;
            self.traffic.events += 1;
            if self.stands_still() {
                return Stop::Livelock;
            }
            self.process(event, observer);
            if self.stop {
                return Stop::Observer;
            }
        }
        if limit == Time::NEVER {
            return Stop::Quiet;
        }
        self.now = self.now.max(limit);
        Stop::Limit
    }

    /// Lets the software of `host` act on its own: `act` is a command of its application.
    pub fn command<R>(
        &mut self,
        host: usize,
        observer: &mut impl Observer<N::Event>,
        act: impl FnOnce(&mut N, Time) -> R,
    ) -> Option<R> {
        let local = self.local_now(host);
        let result = act(self.hosts[host].node.as_mut()?, local);
        self.settle(host, observer);
        Some(result)
    }

    /// Ends all rules, slow links and late timers.
    pub fn heal(&mut self) {
        self.weather.clear();
        self.healthy = true;
        self.late_timers = Duration::ZERO;
        for port in &mut self.switching.ports {
            port.slow_down(self.now, 1);
        }
    }

    /// Makes all links of one of the parallel paths `factor` times slower.
    pub fn slow_path(&mut self, path: u16, factor: u32) {
        for port in self.switching.ports_of_path(path) {
            self.switching.ports[port].slow_down(self.now, factor);
        }
    }

    /// Timers fire up to `most` late from now on.
    pub fn make_timers_late(&mut self, most: Duration) {
        self.late_timers = most;
    }

    fn process(&mut self, event: Event, observer: &mut impl Observer<N::Event>) {
        match event {
            Event::Hop(packet) => self.hop(packet as usize, observer),
            Event::Wake(host) => self.wake(host as usize, observer),
            Event::Timer(host) => self.timer(host as usize, observer),
            Event::Transmit(host) => self.room_to_transmit(host as usize, observer),
        }
    }

    fn stands_still(&mut self) -> bool {
        let Livelock { since, events } = self.livelock;
        if self.now.since(since) > LIVELOCK_WINDOW {
            self.livelock = Livelock { since: self.now, events: 0 };
            return false;
        }
        self.livelock.events = events + 1;
        events > LIVELOCK_EVENTS * self.hosts.len() as u64
    }
}
