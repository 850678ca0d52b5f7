//! Whatever arrives, an endpoint does not panic; what was not forged does not disturb a transfer;
//! and no stranger is sent more than it sent.
#![forbid(unsafe_code)]

extern crate elastane_srd as srd;

mod network;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bolero::{TypeGenerator, check};
use network::Network;
use srd::Config;
use wire::{Ack, Entropy, HEADER_LEN, Header, Kind, PathEcho, Stamp};

const KINDS: [Kind; 7] = [
    Kind::Data,
    Kind::Ack,
    Kind::Probe,
    Kind::Reset,
    Kind::NotReady,
    Kind::Close,
    Kind::Unreliable,
];
const NUMBERS: u32 = 40;
/// How long the transfer goes on between two attacks.
const PAUSE: Duration = Duration::from_micros(15);
/// Datagrams kept to be used again.
const KEPT: usize = 64;

/// What anybody on the way can do without knowing the protocol.
#[derive(Clone, Debug, TypeGenerator)]
enum Nuisance {
    Noise { bytes: Vec<u8> },
    Replay { which: u8, times: u8 },
    Truncate { which: u8, to: u16 },
    Flip { which: u8, bits: Vec<u16> },
}

/// A datagram that was seen, with other contents and a checksum that fits them.
#[derive(Clone, Debug, TypeGenerator)]
struct Forgery {
    which: u8,
    changes: Vec<Change>,
    ack: Option<AnyAck>,
    payload: Option<Vec<u8>>,
    flips: Vec<u16>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Kind(u8),
    AckRequested(bool),
    Port(u16),
    Source(u32),
    Destination(u32),
    Psn(u32),
    /// By a little: values nearby do more harm than any.
    PsnBy(i16),
    PathSeqBy(i16),
    PathSeq(u32),
    StampBy(i32),
    Entropy(u8),
}

#[derive(Clone, Debug, TypeGenerator)]
struct AnyAck {
    cumulative_by: Option<i16>,
    cumulative: u32,
    window: u32,
    sack: Vec<u64>,
    echoes: Vec<(u8, u8, u16, u16, u32)>,
}

impl AnyAck {
    /// As if said about a sender that is about at `psn`, and `stamp`.
    fn bytes(&self, psn: u32, stamp: Stamp) -> Vec<u8> {
        let cumulative =
            self.cumulative_by.map_or(self.cumulative, |by| psn.wrapping_add_signed(by.into()));
        let echoes = self.echoes.iter().map(|&(entropy, marked, path_seq, delay, ago)| PathEcho {
            entropy: Entropy(entropy % 20),
            marked,
            path_seq: path_seq.into(),
            stamp: Stamp(stamp.0.wrapping_sub(ago)),
            delay: delay.into(),
        });
        let ack = Ack {
            cumulative,
            window: self.window,
            sack: self.sack.iter().take(10).copied().collect(),
            echoes: echoes.take(30).collect(),
        };
        let mut bytes = Vec::new();
        ack.emit(&mut bytes);
        bytes
    }
}

impl Change {
    fn make(&self, header: &mut Header) {
        let near = |value: u32, by: i16| value.wrapping_add_signed(by.into());
        match *self {
            Self::Kind(kind) => header.kind = KINDS[usize::from(kind) % KINDS.len()],
            Self::AckRequested(requested) => header.ack_requested = requested,
            Self::Port(port) => header.port = port,
            Self::Source(source) => header.source = source,
            Self::Destination(destination) => header.destination = destination,
            Self::Psn(psn) => header.psn = psn,
            Self::PsnBy(by) => header.psn = near(header.psn, by),
            Self::PathSeqBy(by) => header.path_seq = near(header.path_seq, by),
            Self::PathSeq(seq) => header.path_seq = seq,
            Self::StampBy(by) => header.stamp.0 = header.stamp.0.wrapping_add_signed(by),
            Self::Entropy(entropy) => header.entropy = Entropy(entropy),
        }
    }
}

/// A complete datagram.
fn sealed(header: Header, ack: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { ack_len: ack.len(), ..header }.emit(&mut bytes);
    bytes.extend_from_slice(ack);
    bytes.extend_from_slice(payload);
    Header::seal(&mut bytes);
    bytes
}

impl Forgery {
    fn forge(&self, seen: &[u8]) -> Vec<u8> {
        let mut header = Header::parse(seen).expect("only valid datagrams are kept");
        let (seen_ack, seen_payload) = seen[HEADER_LEN..].split_at(header.ack_len);
        for change in &self.changes {
            change.make(&mut header);
        }
        let ack = self.ack.as_ref().map(|ack| ack.bytes(header.psn, header.stamp));
        let ack = ack.as_deref().unwrap_or(seen_ack);
        let payload = self.payload.as_deref().unwrap_or(seen_payload);
        let mut bytes = sealed(header, ack, payload);
        for &bit in &self.flips {
            flip(&mut bytes, bit);
        }
        Header::seal(&mut bytes);
        bytes
    }
}

fn flip(bytes: &mut [u8], bit: u16) {
    let at = usize::from(bit / 8) % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}

/// The datagrams of a running transfer, as somebody on the way sees them.
#[derive(Default)]
struct Eavesdropper {
    kept: Vec<(usize, SocketAddr, Vec<u8>)>,
}

impl Eavesdropper {
    fn listen(&mut self, network: &Network) {
        for to in [0, 1] {
            for (source, bytes) in network.on_the_wire(to) {
                if self.kept.len() < KEPT && Header::parse(&bytes).is_ok() {
                    self.kept.push((to, source, bytes));
                }
            }
        }
    }

    fn pick(&self, which: u8) -> &(usize, SocketAddr, Vec<u8>) {
        &self.kept[usize::from(which) % self.kept.len()]
    }
}

impl Nuisance {
    /// Puts it on the wire. Returns how many datagrams nobody can take for valid.
    fn strike(&self, network: &mut Network, seen: &Eavesdropper) -> u64 {
        let (to, source, bytes) = match self {
            Self::Noise { bytes } => {
                let (to, source, _) = seen.pick(bytes.len().to_le_bytes()[0]);
                (*to, *source, bytes.clone())
            }
            Self::Replay { which, times } => {
                let (to, source, bytes) = seen.pick(*which);
                for _ in 0..times % 4 {
                    network.inject(*to, *source, bytes.clone());
                }
                (*to, *source, bytes.clone())
            }
            Self::Truncate { which, to: length } => {
                let (to, source, bytes) = seen.pick(*which);
                (*to, *source, bytes[..usize::from(*length) % bytes.len()].to_vec())
            }
            Self::Flip { which, bits } => {
                let (to, source, mut bytes) = seen.pick(*which).clone();
                bits.iter().for_each(|&bit| flip(&mut bytes, bit));
                (to, source, bytes)
            }
        };
        let malformed = Header::parse(&bytes).is_err();
        network.inject(to, source, bytes);
        malformed.into()
    }
}

fn malformed(network: &Network) -> u64 {
    network.sides.iter().map(|side| side.endpoint.counters().rx_malformed).sum()
}

#[test]
fn noise_replays_and_damage_during_a_transfer_are_counted_and_change_nothing() {
    check!().with_type::<(u16, Vec<Nuisance>)>().for_each(|(seed, nuisances)| {
        let mut network = Network::new((*seed).into(), &Config::default());
        let mut seen = Eavesdropper::default();
        network.send(0, 0..NUMBERS / 2);
        let mut struck = 0;
        for (index, nuisance) in nuisances.iter().enumerate() {
            seen.listen(&network);
            struck += nuisance.strike(&mut network, &seen);
            network.run_for(PAUSE);
            if index == 5 {
                network.send(1, 1000..1010);
            }
        }
        network.send(0, NUMBERS / 2..NUMBERS);
        let count = NUMBERS as usize;
        network.run_until(Duration::from_secs(10), |sides| sides[0].numbers.acked.len() == count);
        network.run_for(Duration::from_millis(10));
        let mut received = network.sides[1].numbers.received.clone();
        received.sort_unstable();
        assert_eq!(received, (0..NUMBERS).collect::<Vec<_>>());
        assert_eq!(network.sides[0].numbers.acked.len(), count);
        assert!(network.sides.iter().all(|side| side.numbers.open() == 0));
        assert!(network.sides.iter().all(|side| side.numbers.failures.is_empty()));
        assert_eq!(malformed(&network), struck);
    });
}

#[test]
fn forged_datagrams_during_a_transfer_do_not_panic() {
    check!().with_type::<(u16, Vec<Forgery>)>().for_each(|(seed, forgeries)| {
        let mut network = Network::new((*seed).into(), &Config::default());
        let mut seen = Eavesdropper::default();
        network.send(0, 0..NUMBERS);
        network.send(1, 0..NUMBERS / 4);
        for forgery in forgeries {
            seen.listen(&network);
            let (to, source, bytes) = seen.pick(forgery.which);
            network.inject(*to, *source, forgery.forge(bytes));
            network.run_for(PAUSE);
        }
        network.run_for(Duration::from_secs(2));
    });
}

/// A datagram from somebody who saw nothing of what others sent.
#[derive(Clone, Debug, TypeGenerator)]
struct Strange {
    who: u8,
    kind: u8,
    ack_requested: bool,
    /// An incarnation to address; mostly none, as a first datagram should.
    destination: Option<u32>,
    /// It talks to the endpoint under its own address as well, and uses what it learnt there.
    has_another_address: bool,
    source: bool,
    psn: u8,
    path_seq: u8,
    stamp: u32,
    entropy: u8,
    ack: Option<AnyAck>,
    payload: Vec<u8>,
    pause_us: u16,
}

impl Strange {
    fn address(&self) -> SocketAddr {
        let host = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + self.who % 3));
        SocketAddr::new(host, 7000)
    }

    /// What it may be sent at this address does not grow by what it knows from `elsewhere`.
    fn datagram(&self, ours: u32, elsewhere: u32) -> Vec<u8> {
        let guess = if self.has_another_address { Some(elsewhere) } else { self.destination };
        let header = Header {
            kind: KINDS[usize::from(self.kind) % KINDS.len()],
            ack_requested: self.ack_requested,
            hollow: false,
            port: self.address().port(),
            source: 1 + u32::from(self.source),
            destination: guess.filter(|guess| *guess != ours).unwrap_or(0),
            psn: self.psn.into(),
            path_seq: self.path_seq.into(),
            stamp: Stamp(self.stamp),
            entropy: Entropy(self.entropy),
            ack_len: 0,
            covered: 0,
        };
        let ack = self.ack.as_ref().map(|ack| ack.bytes(header.psn, header.stamp));
        sealed(header, &ack.unwrap_or_default(), &self.payload)
    }
}

#[test]
fn strangers_are_never_sent_more_than_they_sent() {
    check!().with_type::<(u16, bool, Vec<Strange>)>().for_each(|(seed, room, strangers)| {
        let mut network = Network::new((*seed).into(), &Config::default());
        network.sides[1].numbers.room = if *room { None } else { Some(1) };
        let mut sent = BTreeMap::<SocketAddr, usize>::new();
        for strange in strangers {
            let endpoint = &network.sides[1].endpoint;
            let [ours, elsewhere] = [strange.address(), network.sides[0].address]
                .map(|address| endpoint.connid_towards(address).raw());
            let bytes = strange.datagram(ours, elsewhere);
            *sent.entry(strange.address()).or_default() += bytes.len();
            network.inject(1, strange.address(), bytes);
            network.run_for(Duration::from_micros(strange.pause_us.into()));
            check_answers(&network, &sent);
        }
        network.run_for(Duration::from_secs(60));
        check_answers(&network, &sent);
    });
}

fn check_answers(network: &Network, sent: &BTreeMap<SocketAddr, usize>) {
    for (address, answered) in &network.astray {
        let sent = sent.get(address).copied().unwrap_or(0);
        assert!(*answered <= sent, "{answered} bytes to {address}, which sent {sent}");
    }
}
