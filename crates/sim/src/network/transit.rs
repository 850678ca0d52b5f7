//! Packets on their way from one host to another.

use std::{net::SocketAddr, time::Duration};

use rand::RngExt;
use wire::{Ecn, Time, Train};

use crate::{
    Node,
    fault::{Damage, Subject},
    network::{BadTrain, Event, Network, Observer},
    seed::mix,
    topology::{FiveTuple, Route, host_at},
};

/// The most bytes of UDP payload one system call can send.
const TRAIN_BYTES: usize = 65_507;
/// One in this many packets is kept to be replayed.
const CAPTURE_ONE_IN: u32 = 16;
const CAPTURE_MOST: usize = 256;
const FIRST_EPHEMERAL_PORT: u64 = 32_768;
const EPHEMERAL_PORTS: u64 = 28_232;

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) source: SocketAddr,
    pub(super) port: u16,
    pub(super) ecn: Ecn,
    pub(super) bytes: Vec<u8>,
    to: usize,
    route: Route,
    hop: u8,
    /// How long a fault holds it up before it reaches its host.
    held: Duration,
}

/// Bytes from and to addresses that no host has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reflected {
    pub(super) brought: u64,
    pub(super) answered: u64,
}

impl<N: Node> Network<N> {
    /// A datagram from anywhere reaches `to`, as if the network had brought it.
    pub fn inject(&mut self, to: usize, source: SocketAddr, bytes: Vec<u8>) {
        if self.host_to_reach(to, source).is_none() {
            self.reflected.brought += bytes.len() as u64;
        }
        let port = self.spec.address(to).port();
        self.schedule_injected(Packet {
            source,
            port,
            ecn: Ecn::NotCapable,
            bytes,
            to,
            route: Route::default(),
            hop: 0,
            held: Duration::ZERO,
        });
    }

    /// A packet that was sent at some time in the past arrives once more.
    pub fn replay(&mut self) {
        if self.captured.is_empty() {
            return;
        }
        let old = self.captured[self.rng.random_range(0..self.captured.len())].clone();
        self.schedule_injected(Packet { route: Route::default(), hop: 0, ..old });
    }

    fn schedule_injected(&mut self, packet: Packet) {
        let index = self.packets.insert(packet);
        self.events.schedule(self.now, Event::Hop(index_number(index)));
    }

    /// Sends what the software of `host` handed over.
    pub(super) fn emit(&mut self, host: usize, train: &Train) -> Result<(), BadTrain> {
        check(train, self.spec.datagram_bytes())?;
        self.traffic.trains += 1;
        let address = train.destination;
        let Some(to) = self.host_to_reach(host, address) else {
            self.reflected.answered += train.total_bytes() as u64;
            self.traffic.sent += train.len() as u64;
            self.traffic.drops.no_host += train.len() as u64;
            return Ok(());
        };
        let source_port = self.source_port(host, train.entropy.0);
        let route = self.switching.route(FiveTuple {
            from: host,
            to,
            source_port,
            destination_port: address.port(),
        });
        let source = SocketAddr::new(self.spec.address(host).ip(), source_port);
        let lost = !self.healthy && self.weather.loses_train(self.now, route.path, host, to);
        for (head, tail) in train.datagrams() {
            let mut bytes = self.buffers.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(tail);
            self.traffic.sent += 1;
            self.traffic.sent_bytes += bytes.len() as u64;
            let mut ecn = train.ecn;
            let interface = &mut self.switching.ports[host];
            let Ok(at) = interface.enqueue(self.now, bytes.len(), &mut ecn) else { continue };
            let port = address.port();
            let held = Duration::ZERO;
            let packet = Packet { source, port, ecn, bytes, to, route, hop: 1, held };
            if lost {
                self.lose(packet);
            } else if self.healthy {
                self.launch(at, packet);
            } else {
                self.launch_into_weather(at, host, packet);
            }
        }
        Ok(())
    }

    /// A packet reached the end of a link.
    pub(super) fn hop(&mut self, index: usize, observer: &mut impl Observer<N::Event>) {
        let packet = &mut self.packets[index];
        if let Some(port) = packet.route.port(packet.hop) {
            packet.hop += 1;
            let size = packet.bytes.len();
            match self.switching.ports[port].enqueue(self.now, size, &mut packet.ecn) {
                Ok(at) => self.events.schedule(at, Event::Hop(index_number(index))),
                Err(_) => {
                    self.traffic.drops.queue += 1;
                    self.free(index);
                }
            }
        } else if !packet.held.is_zero() {
            let at = self.now + std::mem::take(&mut packet.held);
            self.events.schedule(at, Event::Hop(index_number(index)));
        } else {
            self.arrive(index, observer);
        }
    }

    /// Forgets a packet, keeping its memory.
    pub(super) fn free(&mut self, index: usize) {
        self.buffers.push(self.packets.remove(index).bytes);
    }

    fn arrive(&mut self, index: usize, observer: &mut impl Observer<N::Event>) {
        let packet = &self.packets[index];
        let (to, size) = (packet.to, packet.bytes.len());
        let host = &mut self.hosts[to];
        if host.node.is_none() {
            self.traffic.drops.host_down += 1;
            self.free(index);
        } else if host.input_bytes + size > host.receive_buffer {
            self.traffic.drops.receive_buffer += 1;
            self.free(index);
        } else {
            host.input_bytes += size;
            host.input.push_back(index_number(index));
            self.notify(to, observer);
        }
    }

    fn launch(&mut self, at: Time, packet: Packet) {
        let index = self.packets.insert(packet);
        self.events.schedule(at, Event::Hop(index_number(index)));
    }

    fn launch_into_weather(&mut self, at: Time, from: usize, mut packet: Packet) {
        let subject =
            Subject { path: packet.route.path, from, to: packet.to, bytes: &packet.bytes };
        let fate = self.weather.decide(self.now, subject);
        if self.captured.len() < CAPTURE_MOST && self.rng.random_ratio(1, CAPTURE_ONE_IN) {
            self.captured.push(packet.clone());
        }
        if fate.marked && packet.ecn == Ecn::Capable {
            packet.ecn = Ecn::CongestionExperienced;
            self.traffic.marked += 1;
        }
        if fate.lost {
            return self.lose(packet);
        }
        if let Some(after) = fate.again_after {
            self.traffic.duplicated += 1;
            self.launch(at, Packet { held: fate.delay + after, ..packet.clone() });
        }
        match fate.damage {
            Some(Damage::Flip(bit)) => packet.bytes[bit / 8] ^= 1 << (bit % 8),
            Some(Damage::Truncate(length)) => packet.bytes.truncate(length),
            None => {}
        }
        self.traffic.damaged += u64::from(fate.damage.is_some());
        packet.held = fate.delay;
        self.launch(at, packet);
    }

    fn lose(&mut self, packet: Packet) {
        self.traffic.drops.fault += 1;
        self.buffers.push(packet.bytes);
    }

    /// The host at `address`, if it is another than `host`.
    fn host_to_reach(&self, host: usize, address: SocketAddr) -> Option<usize> {
        host_at(address.ip()).filter(|&other| other < self.hosts.len() && other != host)
    }

    /// The UDP port that entropy index `entropy` of `host` stands for in this run.
    #[expect(clippy::cast_possible_truncation, reason = "a remainder is below its divisor")]
    fn source_port(&self, host: usize, entropy: u8) -> u16 {
        let drawn = mix(self.port_salt ^ (host as u64) << 8 ^ u64::from(entropy));
        (FIRST_EPHEMERAL_PORT + drawn % EPHEMERAL_PORTS) as u16
    }
}

fn check(train: &Train, datagram_bytes: usize) -> Result<(), BadTrain> {
    let size = train.segment_size();
    if train.is_empty() {
        return Err(BadTrain::Empty);
    }
    if size > datagram_bytes {
        return Err(BadTrain::TooLarge(size));
    }
    if train.total_bytes() > TRAIN_BYTES {
        return Err(BadTrain::TooLong(train.total_bytes()));
    }
    let last = train.len() - 1;
    for (position, (head, tail)) in train.datagrams().enumerate() {
        let length = head.len() + tail.len();
        if length > size || (length < size && position != last) {
            return Err(BadTrain::Uneven(size, length));
        }
    }
    Ok(())
}

/// A packet's number in an event.
#[expect(clippy::cast_possible_truncation, reason = "far fewer than 2^32 packets are on the way")]
const fn index_number(index: usize) -> u32 {
    index as u32
}
