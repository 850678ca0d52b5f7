//! The document that a process with live endpoints publishes.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// The value of [`Document::format`].
pub const FORMAT: &str = "elastane-metrics";
/// The version of the document this code writes; readers refuse others.
pub const VERSION: u32 = 1;
/// The most peers an endpoint lists one by one; [`Endpoint::peers_known`] counts all.
pub const MAX_PEERS: usize = 64;

/// Totals by name. The names are those of the fields that count.
pub type Counters = BTreeMap<String, u64>;

/// Everything one process publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the program's Elastane.
    pub elastane: String,
    /// The process.
    pub pid: u32,
    /// What it was started as.
    pub program: String,
    /// Its endpoints, in the order they were opened.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `rdm`, `srd` or `dgram`.
    pub kind: String,
    /// Where peers reach it.
    pub address: SocketAddr,
    /// Seconds between the endpoint's opening and this moment, by its own clock.
    pub uptime_seconds: f64,
    /// Seconds between this moment and the answer to whoever asked. Grows while the application
    /// makes no progress, or sleeps in it because nothing happens.
    #[serde(default)]
    pub age_seconds: f64,
    /// What the device counted.
    pub device: Counters,
    /// What the transport counted; names as the EFA device's where it has the same counter.
    pub transport: Counters,
    /// What the message layer counted; empty for endpoints that count nothing there.
    pub messages: Counters,
    /// How the operations posted here ended, by kind; empty for endpoints that count none.
    #[serde(default)]
    pub operations: Counters,
    /// What went through shared memory, to and from all peers there ever were.
    #[serde(default)]
    pub shared_memory: Counters,
    /// How much waits where.
    pub queues: Queues,
    /// Peers known.
    pub peers_known: u64,
    /// Peers with work now or a moment ago, the busiest [`MAX_PEERS`] of them.
    pub peers: Vec<Peer>,
}

/// How much waits in an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// Sends that are not complete.
    pub sends: u64,
    /// Receives posted that no message has met.
    pub receives: u64,
    /// Completions the application has not polled.
    pub completions: u64,
    /// Bytes stored of messages without a receive, or ahead of their turn.
    pub stored_bytes: u64,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What carries messages to it: [`UDP`] or [`SHARED_MEMORY`].
    pub transport: String,
    /// Why it is not shared memory.
    #[serde(default)]
    pub why_udp: Option<String>,
    /// The link, where it is shared memory: in flight is then what the ring holds.
    #[serde(default)]
    pub link: Option<Link>,
    /// Smoothed round trip in seconds; none while unknown.
    pub rtt_seconds: Option<f64>,
    /// Bytes in flight to it.
    pub in_flight_bytes: u64,
    /// The most that may be.
    pub window_bytes: u64,
    /// Message bytes for it that are not in a datagram yet.
    pub queued_bytes: u64,
    /// Bytes of the largest datagram on the way to it, UDP payload.
    pub datagram_bytes: u64,
    /// The ways to it.
    pub paths: Vec<Path>,
}

/// What [`Peer::transport`] says of UDP.
pub const UDP: &str = "udp";
/// What it says of shared memory.
pub const SHARED_MEMORY: &str = "shared-memory";

/// A link through shared memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it carried; names as in [`Endpoint::shared_memory`].
    pub counters: Counters,
    /// Records to the peer that it has not dealt with.
    pub waiting_records: u64,
    /// As many as there may be.
    pub most_records: u64,
    /// Bytes of the ring's data that are in use towards the peer.
    pub waiting_bytes: u64,
    /// As many as there are.
    pub most_bytes: u64,
    /// Records that the peer refused and that wait to be sent again.
    pub refused_records: u64,
    /// The peer sleeps.
    pub peer_sleeps: bool,
}

/// One path to a peer: a source port, and where the network leads it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The number of the source port, 0 to 255.
    pub entropy: u8,
    /// Whether it carries data.
    pub state: PathState,
    /// Smoothed round trip in seconds; none while unknown.
    pub rtt_seconds: Option<f64>,
    /// Share of recent datagrams lost, 0 to 1.
    pub loss: f64,
    /// Bytes in flight.
    pub in_flight_bytes: u64,
}

/// Whether a path carries data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// In use.
    Good,
    /// Out of use until a probe is answered.
    Quarantined,
}

impl PathState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Quarantined => "quarantined",
        }
    }
}

impl Endpoint {
    /// The sum over all peers listed.
    pub fn in_flight_bytes(&self) -> u64 {
        self.peers.iter().map(|peer| peer.in_flight_bytes).sum()
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    pub(crate) fn endpoint() -> Endpoint {
        let counters = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let path = |entropy, state| Path {
            entropy,
            state,
            rtt_seconds: (state == PathState::Good).then_some(2.5e-5),
            loss: 0.25,
            in_flight_bytes: 9_000,
        };
        Endpoint {
            kind: "rdm".to_owned(),
            address: "127.0.0.1:4000".parse().unwrap(),
            uptime_seconds: 12.5,
            age_seconds: 0.0,
            device: counters(&[("tx_bytes", 1_000_000), ("rx_drops", 3)]),
            transport: counters(&[("tx_pkts", 100), ("retrans_pkts", 7)]),
            messages: counters(&[("unexpected_messages", 2)]),
            operations: counters(&[("writes_completed", 8)]),
            shared_memory: counters(&[("tx_records", 11)]),
            queues: Queues { sends: 4, receives: 5, completions: 6, stored_bytes: 70 },
            peers_known: 3,
            peers: vec![
                neighbour(),
                Peer {
                    address: "10.0.0.2:7000".parse().unwrap(),
                    transport: UDP.to_owned(),
                    why_udp: Some("its address is not one of this host".to_owned()),
                    link: None,
                    rtt_seconds: Some(3.0e-5),
                    in_flight_bytes: 18_000,
                    window_bytes: 131_072,
                    queued_bytes: 5_000,
                    datagram_bytes: 8_973,
                    paths: vec![path(0, PathState::Good), path(9, PathState::Quarantined)],
                },
            ],
        }
    }

    fn neighbour() -> Peer {
        Peer {
            address: "127.0.0.1:4001".parse().unwrap(),
            transport: SHARED_MEMORY.to_owned(),
            why_udp: None,
            link: Some(Link {
                counters: [("tx_records".to_owned(), 11)].into(),
                waiting_records: 3,
                most_records: 256,
                waiting_bytes: 640,
                most_bytes: 524_288,
                refused_records: 1,
                peer_sleeps: true,
            }),
            rtt_seconds: None,
            in_flight_bytes: 640,
            window_bytes: 524_288,
            queued_bytes: 0,
            datagram_bytes: 32_832,
            paths: Vec::new(),
        }
    }

    pub(crate) fn document() -> Document {
        Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            elastane: "0.1.0".to_owned(),
            pid: 42,
            program: "a\"b".to_owned(),
            endpoints: vec![endpoint()],
        }
    }
}
