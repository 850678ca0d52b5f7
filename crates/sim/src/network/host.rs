//! A host: its software, its clock, its receive buffer and its processor.

use std::{collections::VecDeque, time::Duration};

use rand::RngExt;
use wire::Time;

use crate::{
    Arrival, Node,
    clock::HostClock,
    network::{Event, Network, NetworkSpec, Observer},
};

/// Packets handled before the software looks at anything else.
const BATCH: usize = 64;
/// Bytes a network interface takes before the socket's send buffer is full.
const INTERFACE_QUEUE: usize = 128 << 10;
/// Timers fire at multiples of this, in nanoseconds.
const TIMER_GRAIN: u64 = 1_000;

pub(super) struct Host<N> {
    pub(super) node: Option<N>,
    pub(super) clock: HostClock,
    pub(super) input: VecDeque<u32>,
    pub(super) input_bytes: usize,
    pub(super) receive_buffer: usize,
    packet_cost: Duration,
    paused: bool,
    busy_until: Time,
    wake_at: Option<Time>,
    timer_at: Option<Time>,
    transmit_at: Option<Time>,
}

impl<N> Host<N> {
    pub(super) fn new(clock: HostClock, spec: &NetworkSpec) -> Self {
        Self {
            node: None,
            clock,
            input: VecDeque::new(),
            input_bytes: 0,
            receive_buffer: spec.receive_buffer,
            packet_cost: Duration::from_nanos(spec.packet_cost_ns),
            paused: false,
            busy_until: Time::ZERO,
            wake_at: None,
            timer_at: None,
            transmit_at: None,
        }
    }
}

impl<N: Node> Network<N> {
    /// Starts `node` on `host`, which was down.
    pub fn start(&mut self, host: usize, node: N, observer: &mut impl Observer<N::Event>) {
        self.hosts[host].node = Some(node);
        self.settle(host, observer);
    }

    /// The software of `host` is gone at once, and what waited for it.
    pub fn kill(&mut self, host: usize) -> Option<N> {
        let slot = &mut self.hosts[host];
        slot.input_bytes = 0;
        slot.paused = false;
        slot.wake_at = None;
        slot.timer_at = None;
        slot.transmit_at = None;
        let waiting: Vec<u32> = slot.input.drain(..).collect();
        self.traffic.drops.host_down += waiting.len() as u64;
        for packet in waiting {
            self.free(packet as usize);
        }
        self.hosts[host].node.take()
    }

    /// The software of `host` stands still (SIGSTOP) until [`Network::resume`]; its receive
    /// buffer goes on filling.
    pub fn pause(&mut self, host: usize) {
        self.hosts[host].paused = true;
    }

    /// Ends a pause.
    pub fn resume(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        if std::mem::take(&mut self.hosts[host].paused) {
            self.wake(host, observer);
            self.timer(host, observer);
            self.settle(host, observer);
        }
    }

    /// Gives `host` another receive buffer and processor.
    pub fn set_receiver(&mut self, host: usize, receive_buffer: usize, packet_cost: Duration) {
        self.hosts[host].receive_buffer = receive_buffer;
        self.hosts[host].packet_cost = packet_cost;
    }

    /// A packet reached the receive buffer: it is handled now, or when the processor is free.
    pub(super) fn notify(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        let slot = &mut self.hosts[host];
        if slot.wake_at.is_some() || slot.paused {
            return;
        }
        if slot.busy_until > self.now {
            slot.wake_at = Some(slot.busy_until);
            self.events.schedule(slot.busy_until, Event::Wake(number(host)));
        } else {
            self.handle_input(host, observer);
        }
    }

    pub(super) fn wake(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        if self.hosts[host].wake_at.is_some_and(|at| at <= self.now) {
            self.hosts[host].wake_at = None;
        }
        if !self.hosts[host].input.is_empty() {
            self.notify(host, observer);
        }
    }

    pub(super) fn timer(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        let local = self.local_now(host);
        let slot = &mut self.hosts[host];
        if slot.timer_at.is_some_and(|at| at <= self.now) {
            slot.timer_at = None;
        }
        if slot.paused {
            return;
        }
        let Some(node) = &mut slot.node else { return };
        if node.poll_timeout().is_some_and(|deadline| deadline <= local) {
            node.handle_timeout(local);
            self.settle(host, observer);
        } else {
            self.arm(host);
        }
    }

    pub(super) fn room_to_transmit(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        if self.hosts[host].transmit_at.is_some_and(|at| at <= self.now) {
            self.hosts[host].transmit_at = None;
            self.settle(host, observer);
        }
    }

    /// Takes everything out of the software of `host` that a call may have brought about.
    pub(super) fn settle(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        if self.hosts[host].paused || self.hosts[host].node.is_none() {
            return;
        }
        self.transmit(host);
        let now = self.now;
        while let Some(event) = self.hosts[host].node.as_mut().and_then(Node::poll_event) {
            self.stop |= !observer.observe(now, host, event);
        }
        self.arm(host);
    }

    fn handle_input(&mut self, host: usize, observer: &mut impl Observer<N::Event>) {
        let local = self.local_now(host);
        let slot = &mut self.hosts[host];
        let Some(node) = &mut slot.node else { return };
        let mut handled = 0;
        while handled < BATCH
            && let Some(index) = slot.input.pop_front()
        {
            let packet = self.packets.remove(index as usize);
            slot.input_bytes -= packet.bytes.len();
            self.trace.add(self.now.as_nanos());
            self.trace.add(host as u64);
            self.trace.add_bytes(&packet.bytes);
            let arrival = Arrival {
                source: packet.source,
                port: packet.port,
                ecn: packet.ecn,
                bytes: &packet.bytes,
            };
            node.handle_datagram(local, arrival);
            self.buffers.push(packet.bytes);
            handled += 1;
        }
        self.traffic.delivered += handled as u64;
        slot.busy_until = self.now + slot.packet_cost * u32::try_from(handled).unwrap_or(u32::MAX);
        if !slot.input.is_empty() {
            slot.wake_at = Some(slot.busy_until);
            self.events.schedule(slot.busy_until, Event::Wake(number(host)));
        }
        self.settle(host, observer);
    }

    /// Sends trains while the interface has room.
    fn transmit(&mut self, host: usize) {
        let local = self.local_now(host);
        let mut train = std::mem::take(&mut self.train);
        loop {
            let interface = &self.switching.ports[host];
            if interface.backlog(self.now) >= INTERFACE_QUEUE {
                let at = interface.drained_to(INTERFACE_QUEUE / 2);
                if self.hosts[host].transmit_at.is_none() {
                    self.hosts[host].transmit_at = Some(at);
                    self.events.schedule(at, Event::Transmit(number(host)));
                }
                break;
            }
            let Some(node) = &mut self.hosts[host].node else { break };
            if !node.poll_transmit(local, &mut train) {
                break;
            }
            let emitted = self.emit(host, &train);
            // Bytes of regions are lent no longer than this.
            train.clear();
            if let Err(bad) = emitted {
                self.bad_train.get_or_insert(bad);
                self.stop = true;
                break;
            }
        }
        self.train = train;
    }

    /// Makes sure that a timer event comes no later than the software wants it.
    fn arm(&mut self, host: usize) {
        let slot = &mut self.hosts[host];
        let Some(deadline) = slot.node.as_ref().and_then(Node::poll_timeout) else { return };
        if deadline == Time::NEVER {
            return;
        }
        let mut at = slot.clock.true_time(deadline).max(self.now + Duration::from_nanos(1));
        if !self.late_timers.is_zero() {
            let most = u64::try_from(self.late_timers.as_nanos()).unwrap_or(u64::MAX);
            at = at + Duration::from_nanos(self.rng.random_range(0..=most));
        }
        let at = Time::from_nanos(at.as_nanos().next_multiple_of(TIMER_GRAIN));
        if slot.timer_at.is_none_or(|armed| at < armed) {
            slot.timer_at = Some(at);
            self.events.schedule(at, Event::Timer(number(host)));
        }
    }
}

/// A host's number in an event.
#[expect(clippy::cast_possible_truncation, reason = "a network has at most 65,536 hosts")]
const fn number(host: usize) -> u32 {
    host as u32
}
