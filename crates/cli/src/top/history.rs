//! Documents one after the other, and what changed between them.

use std::{collections::VecDeque, net::SocketAddr};

use inspect::live::{Counters, Document, Endpoint};

/// Rates kept for the charts.
const KEPT: usize = 256;

/// The last two documents, and the rates of endpoints before.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<Document>,
    latest: Option<Document>,
    tracks: Vec<(SocketAddr, Track)>,
}

/// The rates of one endpoint, oldest first, in bytes per second.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub tx: VecDeque<u64>,
    pub rx: VecDeque<u64>,
}

impl History {
    /// The next document.
    pub(super) fn push(&mut self, document: Document) {
        self.before = self.latest.replace(document);
        let Some(latest) = &self.latest else { return };
        let is_there = |address| latest.endpoints.iter().any(|found| found.address == address);
        self.tracks.retain(|(address, _)| is_there(*address));
        let mut rates = Vec::new();
        for endpoint in &latest.endpoints {
            let change = self.change(endpoint);
            rates.push((endpoint.address, change.rate("tx_bytes"), change.rate("rx_bytes")));
        }
        for (address, tx, rx) in rates {
            let (Some(tx), Some(rx)) = (tx, rx) else { continue };
            let known = self.tracks.iter().position(|(of, _)| *of == address);
            let at = known.unwrap_or_else(|| {
                self.tracks.push((address, Track::default()));
                self.tracks.len() - 1
            });
            let track = &mut self.tracks[at].1;
            for (kept, rate) in [(&mut track.tx, tx), (&mut track.rx, rx)] {
                kept.push_back(whole(rate));
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        }
    }

    /// The latest document.
    pub(super) fn latest(&self) -> Option<&Document> {
        self.latest.as_ref()
    }

    /// The rates of an endpoint so far; none before there are two documents.
    pub(super) fn track(&self, endpoint: &Endpoint) -> Option<&Track> {
        self.tracks.iter().find(|(of, _)| *of == endpoint.address).map(|(_, track)| track)
    }

    /// What changed of an endpoint of the latest document since the one before.
    pub(super) fn change<'a>(&'a self, endpoint: &'a Endpoint) -> Change<'a> {
        let same = |other: &&Endpoint| {
            // An endpoint that was opened anew on the same port counts from nothing.
            other.address == endpoint.address && other.uptime_seconds <= endpoint.uptime_seconds
        };
        let before = self.before.as_ref().and_then(|before| before.endpoints.iter().find(same));
        Change { before, endpoint }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for a chart")]
fn whole(rate: f64) -> u64 {
    rate.max(0.0) as u64
}

/// One endpoint at two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    before: Option<&'a Endpoint>,
    endpoint: &'a Endpoint,
}

impl Change<'_> {
    /// A device counter's rise per second; none while there is nothing to compare with.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        self.rate_of(name, |endpoint| &endpoint.device)
    }

    /// A transport counter's rise per second.
    pub(super) fn transport_rate(&self, name: &str) -> Option<f64> {
        self.rate_of(name, |endpoint| &endpoint.transport)
    }

    /// The rise per second of a counter of shared memory.
    pub(super) fn shared_rate(&self, name: &str) -> Option<f64> {
        self.rate_of(name, |endpoint| &endpoint.shared_memory)
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn rate_of(&self, name: &str, group: fn(&Endpoint) -> &Counters) -> Option<f64> {
        let before = self.before?;
        let value = |endpoint| group(endpoint).get(name).copied();
        let rise = value(self.endpoint)?.saturating_sub(value(before)?);
        let time = self.endpoint.uptime_seconds - before.uptime_seconds;
        // The same snapshot twice: nothing happened in between.
        Some(if time > 0.0 { rise as f64 / time } else { 0.0 })
    }
}

#[cfg(test)]
pub(super) mod sample {
    use inspect::live::{Path, PathState, Peer, Queues};

    use super::*;

    fn counters(pairs: &[(&str, u64)]) -> Counters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// An endpoint `seconds` after it was opened, which sends 125 MB a second.
    pub(crate) fn document(seconds: u32) -> Document {
        let sent = u64::from(seconds) * 125_000_000;
        let path = |entropy: u8| Path {
            entropy,
            state: if entropy == 3 { PathState::Quarantined } else { PathState::Good },
            rtt_seconds: Some(42e-6),
            loss: if entropy == 3 { 0.5 } else { 0.0 },
            in_flight_bytes: 9_000,
        };
        let peer = Peer {
            address: "10.0.0.2:7000".parse().unwrap(),
            transport: inspect::live::UDP.to_owned(),
            why_udp: Some("its address is not one of this host".to_owned()),
            link: None,
            rtt_seconds: Some(40e-6),
            in_flight_bytes: 1 << 20,
            window_bytes: 1 << 20,
            queued_bytes: 64 << 10,
            datagram_bytes: 8_973,
            paths: (0..16).map(path).collect(),
        };
        let endpoint = Endpoint {
            kind: "rdm".to_owned(),
            address: "10.0.0.1:7000".parse().unwrap(),
            uptime_seconds: f64::from(seconds),
            age_seconds: 0.05,
            device: counters(&[
                ("tx_bytes", sent),
                ("rx_bytes", sent / 100),
                ("tx_packets", sent / 8_973),
                ("rx_packets", 100),
                ("rx_drops", 5),
            ]),
            transport: counters(&[
                ("tx_pkts", 1000),
                ("retrans_pkts", 11),
                ("retrans_timeout_events", 2),
                ("path_quarantines", 1),
            ]),
            messages: counters(&[("unexpected_messages", 6)]),
            operations: Counters::new(),
            shared_memory: Counters::new(),
            queues: Queues { sends: 12, receives: 34, completions: 5, stored_bytes: 4096 },
            peers_known: 2,
            peers: vec![peer],
        };
        Document {
            format: inspect::live::FORMAT.to_owned(),
            version: inspect::live::VERSION,
            elastane: "0.1.0".to_owned(),
            pid: 4711,
            program: "train".to_owned(),
            endpoints: vec![endpoint],
        }
    }

    pub(crate) fn history(seconds: u32) -> History {
        let mut history = History::default();
        for second in 1..=seconds {
            history.push(document(second));
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_rise_by_the_endpoints_own_time() {
        let mut history = sample::history(1);
        let first = sample::document(1);
        assert_eq!(history.change(&first.endpoints[0]).rate("tx_bytes"), None);
        history.push(sample::document(3));
        let latest = history.latest().unwrap().endpoints[0].clone();
        assert_eq!(history.change(&latest).rate("tx_bytes"), Some(125e6));
        assert_eq!(history.change(&latest).transport_rate("retrans_pkts"), Some(0.0));
        assert_eq!(history.change(&latest).rate("no_such"), None);
        assert_eq!(history.track(&latest).unwrap().tx, [125_000_000]);
    }

    #[test]
    fn same_snapshot_twice_is_a_standstill() {
        let mut history = sample::history(2);
        history.push(sample::document(2));
        let latest = history.latest().unwrap().endpoints[0].clone();
        assert_eq!(history.change(&latest).rate("tx_bytes"), Some(0.0));
    }

    #[test]
    fn endpoint_opened_anew_on_the_same_port_counts_from_nothing() {
        let mut history = sample::history(5);
        history.push(sample::document(1));
        let latest = history.latest().unwrap().endpoints[0].clone();
        assert_eq!(history.change(&latest).rate("tx_bytes"), None);
    }

    #[test]
    fn tracks_are_bounded_and_end_with_their_endpoint() {
        let mut history = sample::history(u32::try_from(KEPT).unwrap() + 10);
        let endpoint = sample::document(1).endpoints.remove(0);
        assert_eq!(history.track(&endpoint).unwrap().tx.len(), KEPT);
        let mut empty = sample::document(1);
        empty.endpoints.clear();
        history.push(empty);
        assert!(history.track(&endpoint).is_none());
    }
}
