//! The network alone, with two tiny protocols on it: one that recovers from everything by
//! patience, one that never waits.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use elastane_sim::{
    Arrival, BadTrain, Effect, HostClock, Network, NetworkSpec, Node, Rule, Selector, Stop,
    Topology,
};
use wire::{Ecn, Entropy, Time, Train};

const PATIENCE: Duration = Duration::from_millis(1);

/// Sends numbered datagrams one at a time, each again and again until it is answered.
struct StopAndWait {
    peer: SocketAddr,
    /// The number being sent, and how many there are.
    next: u64,
    count: u64,
    send_at: Option<Time>,
    expected: u64,
    answer: Option<u64>,
    delivered: Vec<u64>,
}

impl StopAndWait {
    fn new(peer: SocketAddr, count: u64) -> Self {
        let send_at = (count > 0).then_some(Time::ZERO);
        let (next, expected, answer, delivered) = (0, 0, None, Vec::new());
        Self { peer, next, count, send_at, expected, answer, delivered }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn datagram(kind: u64, number: u64) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.resize(200, 0xaa);
    let sum = checksum(&bytes).to_le_bytes();
    bytes.extend_from_slice(&sum);
    bytes
}

fn read(bytes: &[u8]) -> Option<(u64, u64)> {
    let (content, sum) = bytes.split_last_chunk::<8>()?;
    let word = |at: usize| {
        content.get(at..at + 8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
    };
    (checksum(content) == u64::from_le_bytes(*sum)).then_some((word(0)?, word(8)?))
}

impl Node for StopAndWait {
    type Event = u64;

    fn handle_datagram(&mut self, now: Time, arrival: Arrival<'_>) {
        match read(arrival.bytes) {
            Some((0, number)) if number <= self.expected => {
                if number == self.expected {
                    self.delivered.push(number);
                    self.expected += 1;
                }
                self.answer = Some(number);
            }
            Some((1, number)) if number == self.next => {
                self.next += 1;
                self.send_at = (self.next < self.count).then_some(now);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _now: Time) {}

    fn poll_transmit(&mut self, now: Time, train: &mut Train) -> bool {
        train.destination = self.peer;
        let bytes = if let Some(number) = self.answer.take() {
            datagram(1, number)
        } else if self.send_at.is_some_and(|at| at <= now) {
            self.send_at = Some(now + PATIENCE);
            datagram(0, self.next)
        } else {
            return false;
        };
        train.heads().extend_from_slice(&bytes);
        train.close(Bytes::new());
        true
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.send_at
    }

    fn poll_event(&mut self) -> Option<u64> {
        self.delivered.pop()
    }
}

struct Run {
    delivered: Vec<u64>,
    trace: u64,
    ended: Time,
}

fn stop_and_wait(seed: u64, rules: &[Rule], clocks: &[HostClock], late: Duration) -> Run {
    let spec = NetworkSpec::new(Topology::MultiPath { paths: 2 });
    let (a, b) = (spec.address(0), spec.address(1));
    let mut network = Network::new(spec, seed, rules, clocks);
    network.make_timers_late(late);
    let mut delivered = Vec::new();
    let mut observer = |_: Time, host: usize, number: u64| {
        assert_eq!(host, 1);
        delivered.push(number);
        number < 199
    };
    network.start(1, StopAndWait::new(a, 0), &mut observer);
    network.start(0, StopAndWait::new(b, 200), &mut observer);
    network.run(Time::from_nanos(100_000_000_000), &mut observer);
    Run { delivered, trace: network.trace(), ended: network.now() }
}

#[test]
fn a_patient_protocol_survives_every_packet_fault() {
    let us = Duration::from_micros;
    let selector = Selector { acks_only: false, from: Some(1), ..Selector::default() };
    let until = Time::from_nanos(3_000_000_000);
    for effects in [
        vec![Effect::Lose(0.3)],
        vec![Effect::Burst { enter: 0.1, leave: 0.2 }],
        vec![Effect::LoseTrains(0.3)],
        vec![Effect::Duplicate { rate: 0.5, after: us(5_000_000) }, Effect::Jitter(us(900))],
        vec![Effect::Flip(0.3), Effect::Truncate(0.3)],
        vec![Effect::Mark(0.5), Effect::Lose(0.1), Effect::Duplicate { rate: 0.2, after: us(50) }],
    ] {
        let mut rules: Vec<_> = effects.iter().map(|&effect| Rule::always(effect)).collect();
        rules.push(Rule { from: Time::ZERO, until, selector, effect: Effect::Cut });
        let run = stop_and_wait(1, &rules, &[], Duration::ZERO);
        assert_eq!(run.delivered, Vec::from_iter(0..200), "{effects:?}");
        assert!(run.ended > until, "{effects:?}");
    }
}

#[test]
fn a_seed_repeats_its_run_and_another_does_not() {
    let rules = [Rule::always(Effect::Lose(0.2)), Rule::always(Effect::Jitter(PATIENCE))];
    let trace = |seed| stop_and_wait(seed, &rules, &[], PATIENCE).trace;
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

#[test]
fn timeouts_follow_the_clock_of_the_host() {
    let rules = [Rule::always(Effect::Lose(0.5))];
    let ended = |clock| stop_and_wait(5, &rules, &[clock], Duration::ZERO).ended;
    let truth = ended(HostClock::default()).as_nanos();
    let fast = ended(HostClock { offset: 1 << 40, drift_ppm: 500_000, jump: None }).as_nanos();
    assert!(fast * 4 < truth * 3, "{fast} against {truth}");
}

#[test]
fn a_stopped_host_delivers_nothing_until_it_goes_on() {
    let spec = NetworkSpec::new(Topology::Link);
    let (a, b) = (spec.address(0), spec.address(1));
    let mut network = Network::new(spec, 1, &[], &[]);
    let mut last = Time::ZERO;
    let mut observer = |now: Time, _: usize, number: u64| {
        last = now;
        number < 99
    };
    network.start(1, StopAndWait::new(a, 0), &mut observer);
    network.start(0, StopAndWait::new(b, 100), &mut observer);
    network.run(Time::from_nanos(50_000), &mut observer);
    network.pause(1);
    assert_eq!(network.run(Time::from_nanos(1_000_000_000), &mut observer), Stop::Limit);
    network.resume(1, &mut observer);
    assert_eq!(network.run(Time::NEVER, &mut observer), Stop::Observer);
    assert!(last >= Time::from_nanos(1_000_000_000));
}

#[test]
fn packets_for_a_dead_host_are_counted_and_gone() {
    let spec = NetworkSpec::new(Topology::Link);
    let (a, b) = (spec.address(0), spec.address(1));
    let mut network = Network::new(spec, 1, &[], &[]);
    let mut observer = |_: Time, _: usize, _: u64| true;
    network.start(1, StopAndWait::new(a, 0), &mut observer);
    network.start(0, StopAndWait::new(b, 100), &mut observer);
    network.run(Time::from_nanos(50_000), &mut observer);
    assert!(network.kill(1).is_some_and(|node| node.expected > 0));
    network.run(Time::from_nanos(10_000_000), &mut observer);
    assert!(network.traffic().drops.host_down >= 8);
}

/// Sends datagrams of one size in trains, without waiting for anything.
struct Blast {
    peer: SocketAddr,
    left: usize,
    size: usize,
    marks: Vec<Ecn>,
}

impl Node for Blast {
    type Event = Ecn;

    fn handle_datagram(&mut self, _now: Time, arrival: Arrival<'_>) {
        self.marks.push(arrival.ecn);
    }

    fn handle_timeout(&mut self, _now: Time) {}

    fn poll_transmit(&mut self, _now: Time, train: &mut Train) -> bool {
        train.destination = self.peer;
        train.ecn = Ecn::Capable;
        train.entropy = Entropy(self.left.to_le_bytes()[0]);
        for _ in 0..self.left.min(7) {
            train.close(Bytes::from(vec![1; self.size]));
            self.left -= 1;
        }
        !train.is_empty()
    }

    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    fn poll_event(&mut self) -> Option<Ecn> {
        self.marks.pop()
    }
}

fn blast(
    spec: NetworkSpec,
    senders: usize,
    each: usize,
    size: usize,
) -> (Network<Blast>, Vec<Ecn>) {
    let target = spec.address(0);
    let mut network = Network::new(spec, 9, &[], &[]);
    let mut marks = Vec::new();
    let mut observer = |_: Time, _: usize, ecn| {
        marks.push(ecn);
        true
    };
    for host in 0..=senders {
        let left = if host == 0 { 0 } else { each };
        network.start(host, Blast { peer: target, left, size, marks: Vec::new() }, &mut observer);
    }
    assert_eq!(network.run(Time::NEVER, &mut observer), Stop::Quiet);
    (network, marks)
}

#[test]
fn one_sender_fills_its_link_and_no_queue() {
    let spec = NetworkSpec::new(Topology::Star { hosts: 2 });
    let (network, received) = blast(spec, 1, 1_000, 8_900);
    assert_eq!(received.len(), 1_000);
    let nanos = network.now().as_nanos();
    let ideal = 1_000 * 8_900 * 8 / 10;
    assert!((ideal..ideal * 102 / 100).contains(&nanos), "{nanos}");
    assert!(network.traffic().queue_peak < 20_000);
}

#[test]
fn incast_fills_the_last_queue_which_marks_and_then_drops() {
    let spec = NetworkSpec::new(Topology::Star { hosts: 9 });
    let queue = spec.queue as u64;
    let (network, received) = blast(spec, 8, 100, 8_900);
    let traffic = network.traffic();
    assert!(traffic.drops.queue > 300);
    assert_eq!(traffic.drops.queue + traffic.delivered, 800);
    assert!(traffic.queue_peak > queue * 9 / 10 && traffic.queue_peak <= queue);
    assert!(received.iter().filter(|&&ecn| ecn == Ecn::CongestionExperienced).count() > 50);
}

#[test]
fn many_source_ports_use_the_rate_of_all_paths() {
    let nanos = |paths| {
        let (network, received) = blast(
            NetworkSpec { queue: 64 << 20, ..NetworkSpec::new(Topology::MultiPath { paths }) },
            1,
            2_000,
            8_900,
        );
        assert_eq!(received.len(), 2_000);
        network.now().as_nanos()
    };
    assert!(nanos(4) * 3 < nanos(1), "{} {}", nanos(4), nanos(1));
}

#[test]
fn a_datagram_above_the_mtu_is_refused_at_the_interface() {
    let (network, received) =
        blast(NetworkSpec { mtu: 1_500, ..NetworkSpec::new(Topology::Link) }, 1, 1, 1_473);
    assert_eq!(network.bad_train(), Some(BadTrain::TooLarge(1_473)));
    assert!(received.is_empty());
}

#[test]
fn a_full_receive_buffer_drops_what_the_processor_cannot_take() {
    let spec = NetworkSpec {
        receive_buffer: 64 << 10,
        packet_cost_ns: 20_000,
        ..NetworkSpec::new(Topology::Link)
    };
    let (network, received) = blast(spec, 1, 1_000, 8_900);
    assert!(network.traffic().drops.receive_buffer > 500);
    assert!(received.len() > 300);
}
