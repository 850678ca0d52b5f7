//! What an endpoint publishes of itself, and how often.

use std::{env, net::SocketAddr, time::Duration};

use inspect::{
    Port, Publisher,
    live::{self, Counters, MAX_PEERS, PathState},
};
use io::PacketIo;
use message::{OperationCounters, Tally};
use srd::{PathHealth, PathReport};
use wire::{PeerId, Time};

use crate::{Error, METRICS_VARIABLE, Metrics, PeerRoute, engine::Layer, local::Locals};

/// The shortest time between two snapshots.
const INTERVAL: Duration = Duration::from_millis(100);
/// Where snapshots take long, as with very many peers, they are taken so much more rarely that
/// they cost no more than one part in this many.
const SHARE: u32 = 50;

/// An endpoint's place behind the metrics port of its process.
#[derive(Debug)]
pub(crate) struct Published {
    publisher: Publisher,
    due: Time,
    /// Something happened since the last snapshot.
    stale: bool,
}

impl Published {
    /// The place, if metrics are on.
    pub(crate) fn open(metrics: Metrics) -> Result<Option<Box<Self>>, Error> {
        let Some(port) = port(metrics)? else { return Ok(None) };
        let publisher = Publisher::open(port)?;
        Ok(Some(Box::new(Self { publisher, due: Time::ZERO, stale: true })))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.publisher.address()
    }

    /// Whether a snapshot is to be taken now, after a call that `worked` or found nothing to do.
    pub(crate) fn is_due(&mut self, now: Time, worked: bool) -> bool {
        self.stale |= worked;
        self.stale && now >= self.due
    }

    /// When the next snapshot is to be taken even if nothing more happens.
    pub(crate) fn wanted_at(&self) -> Option<Time> {
        self.stale.then_some(self.due)
    }

    /// A snapshot was taken between `began` and `ended`.
    pub(crate) fn rest(&mut self, began: Time, ended: Time) {
        self.stale = false;
        self.due = began + INTERVAL.max(ended.since(began) * SHARE);
    }

    /// Puts up a snapshot.
    pub(crate) fn put<D: PacketIo, L: Layer>(
        &self,
        now: Time,
        device: &D,
        transport: &srd::Endpoint,
        layer: &L,
        locals: &Locals,
    ) {
        let busiest = busiest(transport, layer, locals);
        let peers = busiest.into_iter().map(|peer| describe(transport, layer, locals, peer));
        self.publisher.publish(live::Endpoint {
            kind: layer.kind().to_owned(),
            address: device.local_address(),
            uptime_seconds: now.since(Time::ZERO).as_secs_f64(),
            age_seconds: 0.0,
            device: named(&device.counters()),
            transport: named(transport.counters()),
            messages: layer.counters(),
            operations: layer.operations(),
            shared_memory: named(&locals.counters()),
            queues: layer.queues(),
            peers_known: transport.peer_count() as u64,
            peers: peers.collect(),
        });
    }
}

fn port(metrics: Metrics) -> Result<Option<Port>, Error> {
    match metrics {
        Metrics::Off => Ok(None),
        Metrics::On(port) => Ok(Some(port)),
        Metrics::FromEnvironment => match env::var_os(METRICS_VARIABLE) {
            None => Ok(None),
            Some(value) => port_of(&value.to_string_lossy()),
        },
    }
}

fn port_of(text: &str) -> Result<Option<Port>, Error> {
    match text {
        "" | "off" => Ok(None),
        text => text.parse().map(Some).map_err(Error::MetricsVariable),
    }
}

/// Counters by the names of their fields.
pub(crate) fn named(counters: &impl serde::Serialize) -> Counters {
    match serde_json::to_value(counters) {
        Ok(serde_json::Value::Object(fields)) => {
            fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
        }
        other => unreachable!("counters are a structure of numbers: {other:?}"),
    }
}

/// The operations of each kind that completed and that failed.
pub(crate) fn tallies(operations: &OperationCounters) -> Counters {
    let OperationCounters { sends, receives, writes, reads, .. } = *operations;
    let atomics = operations.all_atomics();
    let kinds = [
        ("sends", sends),
        ("receives", receives),
        ("writes", writes),
        ("reads", reads),
        ("atomics", atomics),
    ];
    let pair = |(kind, tally): (&str, Tally)| {
        [(format!("{kind}_completed"), tally.completed), (format!("{kind}_failed"), tally.failed)]
    };
    kinds.into_iter().flat_map(pair).collect()
}

/// The peers with a context or a link, the busiest of them if there are too many to list; in the
/// order in which they became known.
fn busiest<L: Layer>(transport: &srd::Endpoint, layer: &L, locals: &Locals) -> Vec<PeerId> {
    let all = (0..transport.peer_count()).filter_map(|index| u32::try_from(index).ok());
    let mut active: Vec<(u64, PeerId)> = all
        .map(PeerId)
        .filter_map(|peer| {
            let (in_flight, window) = transport.window_use(peer);
            let is_active = window > 0 || locals.is_up(peer);
            is_active.then(|| (u64::from(in_flight) + layer.queued_bytes(peer), peer))
        })
        .collect();
    if active.len() > MAX_PEERS {
        active.select_nth_unstable_by(MAX_PEERS, |(one, _), (other, _)| other.cmp(one));
        active.truncate(MAX_PEERS);
    }
    let mut peers: Vec<_> = active.into_iter().map(|(_, peer)| peer).collect();
    peers.sort_unstable();
    peers
}

fn describe<L: Layer>(
    transport: &srd::Endpoint,
    layer: &L,
    locals: &Locals,
    peer: PeerId,
) -> live::Peer {
    let link = locals.describe(peer);
    let why_udp = match locals.route(peer) {
        PeerRoute::SharedMemory => None,
        PeerRoute::Udp(reason) => Some(reason.to_string()),
    };
    let (in_flight, window) = match &link {
        Some(link) => (link.waiting_bytes, link.most_bytes),
        None => {
            let (in_flight, window) = transport.window_use(peer);
            (in_flight.into(), window.into())
        }
    };
    // A context that is left over from before the link carries nothing any more.
    let reports = if link.is_some() { Vec::new() } else { transport.path_reports(peer) };
    live::Peer {
        address: transport.peer_address(peer),
        transport: if link.is_some() { live::SHARED_MEMORY } else { live::UDP }.to_owned(),
        why_udp,
        rtt_seconds: known(transport.round_trip(peer)).filter(|_| link.is_none()),
        in_flight_bytes: in_flight,
        window_bytes: window,
        queued_bytes: layer.queued_bytes(peer),
        datagram_bytes: match link {
            Some(_) => io::shm::Link::MAX_RECORD as u64,
            None => transport.datagram_bytes(peer) as u64,
        },
        link,
        paths: reports.iter().map(path).collect(),
    }
}

fn path(report: &PathReport) -> live::Path {
    let PathReport { entropy, health, rtt, loss, in_flight } = *report;
    live::Path {
        entropy: entropy.0,
        state: match health {
            PathHealth::Good => PathState::Good,
            PathHealth::Quarantined => PathState::Quarantined,
        },
        rtt_seconds: known(rtt),
        loss,
        in_flight_bytes: in_flight.into(),
    }
}

/// The transport says zero for a round trip it has not measured.
fn known(rtt: Duration) -> Option<f64> {
    (!rtt.is_zero()).then_some(rtt.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_by_their_fields() {
        let counters = srd::Counters { retrans_pkts: 7, ..srd::Counters::default() };
        let named = named(&counters);
        assert_eq!(named.get("retrans_pkts"), Some(&7));
        assert_eq!(named.get("rx_malformed"), Some(&0));
    }

    #[test]
    fn variable_is_a_port_or_off() {
        assert_eq!(port_of("off").unwrap(), None);
        assert_eq!(port_of("").unwrap(), None);
        assert_eq!(port_of("auto").unwrap(), Some(Port::Auto));
        assert_eq!(port_of("9400").unwrap(), Some(Port::Number(9400)));
        let error = port_of("no").unwrap_err().to_string();
        let expected = "ELASTANE_METRICS: `no` is no metrics port; write auto, or a number from 1 \
                        to 65535";
        assert_eq!(error, expected);
    }

    #[test]
    fn snapshots_are_taken_after_work_and_never_too_often() {
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let publisher = Publisher::open(Port::Auto).unwrap();
        let mut published = Published { publisher, due: Time::ZERO, stale: true };
        assert!(published.is_due(at(1), false));
        published.rest(at(1), at(1));
        assert_eq!(published.wanted_at(), None);
        assert!(!published.is_due(at(500), false), "nothing happened");
        assert!(published.is_due(at(500), true));
        published.rest(at(500), at(500));
        assert!(!published.is_due(at(510), true), "too soon");
        assert_eq!(published.wanted_at(), Some(at(600)));
        assert!(published.is_due(at(600), false));
        // A snapshot that takes 10 ms is worth one in 500.
        published.rest(at(600), at(610));
        assert!(!published.is_due(at(1_099), true));
        assert!(published.is_due(at(1_100), true));
    }
}
