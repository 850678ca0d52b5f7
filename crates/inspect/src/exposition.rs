//! The document as Prometheus text, in the OpenMetrics form.

use std::{collections::BTreeSet, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::live::{Counters, Document, Endpoint, PathState, Peer, SHARED_MEMORY};

/// The media type of [`text()`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The document in the OpenMetrics text format.
///
/// # Errors
/// If the text cannot be made, which a [`String`] never causes.
pub fn text(document: Document) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("elastane");
    registry.register_collector(Box::new(Exposition(Arc::new(document))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition(Arc<Document>);

type Labels = Vec<(&'static str, String)>;
type Group = (&'static str, fn(&Endpoint) -> &Counters);

const GROUPS: [Group; 5] = [
    ("device", |endpoint| &endpoint.device),
    ("transport", |endpoint| &endpoint.transport),
    ("messages", |endpoint| &endpoint.messages),
    ("operations", |endpoint| &endpoint.operations),
    ("shared_memory", |endpoint| &endpoint.shared_memory),
];

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let document = &self.0;
        self.encode_identity(&mut encoder)?;
        for (group, counters) in GROUPS {
            encode_counters(&mut encoder, group, document, counters)?;
        }
        for gauge in ENDPOINT_GAUGES {
            let mut family = gauge.describe(&mut encoder)?;
            for endpoint in &document.endpoints {
                gauge.put(&mut family, labels(endpoint), (gauge.value)(endpoint))?;
            }
        }
        for gauge in PEER_GAUGES {
            let mut family = gauge.describe(&mut encoder)?;
            for endpoint in &document.endpoints {
                for peer in &endpoint.peers {
                    gauge.put(&mut family, peer_labels(endpoint, peer), (gauge.value)(peer))?;
                }
            }
        }
        encode_links(&mut encoder, document)?;
        for gauge in PATH_GAUGES {
            let mut family = gauge.describe(&mut encoder)?;
            for endpoint in &document.endpoints {
                for peer in &endpoint.peers {
                    for path in &peer.paths {
                        let mut labels = peer_labels(endpoint, peer);
                        labels.push(("path", path.entropy.to_string()));
                        gauge.put(&mut family, labels, (gauge.value)(path))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Exposition {
    fn encode_identity(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let document = &self.0;
        let labels: Labels = vec![
            ("version", document.elastane.clone()),
            ("pid", document.pid.to_string()),
            ("program", document.program.clone()),
        ];
        encoder
            .encode_descriptor("process", "The process that publishes", None, MetricType::Info)?
            .encode_info(&labels)
    }
}

fn encode_counters(
    encoder: &mut DescriptorEncoder<'_>,
    group: &str,
    document: &Document,
    counters: fn(&Endpoint) -> &Counters,
) -> fmt::Result {
    let mut names: Vec<&String> =
        document.endpoints.iter().flat_map(|endpoint| counters(endpoint).keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let full = format!("{group}_{name}");
        let help = help(group, name);
        let mut family = encoder.encode_descriptor(&full, &help, None, MetricType::Counter)?;
        for endpoint in &document.endpoints {
            if let Some(value) = counters(endpoint).get(name) {
                let labels = labels(endpoint);
                ConstCounter::new(*value).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// Counters of each link through shared memory.
fn encode_links(encoder: &mut DescriptorEncoder<'_>, document: &Document) -> fmt::Result {
    let peers = || document.endpoints.iter().flat_map(|e| e.peers.iter().map(move |p| (e, p)));
    let links = || peers().filter_map(|(e, peer)| Some((e, peer, peer.link.as_ref()?)));
    let names: BTreeSet<&String> = links().flat_map(|(.., link)| link.counters.keys()).collect();
    for name in names {
        let help = format!("{}, of one peer", help("shared_memory", name));
        let full = format!("link_{name}");
        let mut family = encoder.encode_descriptor(&full, &help, None, MetricType::Counter)?;
        for (endpoint, peer, link) in links() {
            let Some(value) = link.counters.get(name) else { continue };
            let labels = peer_labels(endpoint, peer);
            ConstCounter::new(*value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn labels(endpoint: &Endpoint) -> Labels {
    vec![("endpoint", endpoint.address.to_string()), ("kind", endpoint.kind.clone())]
}

fn peer_labels(endpoint: &Endpoint, peer: &Peer) -> Labels {
    let mut labels = labels(endpoint);
    labels.push(("peer", peer.address.to_string()));
    labels
}

/// A gauge of something that an endpoint has one or many of.
struct Gauge<T> {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
}

impl<T> Gauge<T> {
    fn describe<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
    ) -> Result<prometheus_client::encoding::MetricEncoder<'a>, fmt::Error> {
        encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)
    }

    fn put(
        &self,
        family: &mut prometheus_client::encoding::MetricEncoder<'_>,
        labels: Labels,
        value: Option<f64>,
    ) -> fmt::Result {
        // What is not known has no sample rather than a wrong one.
        let Some(value) = value else { return Ok(()) };
        ConstGauge::new(value).encode(family.encode_family(&labels)?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 bytes are not queued")]
fn float(value: u64) -> Option<f64> {
    Some(value as f64)
}

const ENDPOINT_GAUGES: &[Gauge<Endpoint>] = &[
    Gauge {
        name: "endpoint_uptime",
        unit: Some(Unit::Seconds),
        help: "Time since the endpoint was opened",
        value: |endpoint| Some(endpoint.uptime_seconds),
    },
    Gauge {
        name: "endpoint_snapshot_age",
        unit: Some(Unit::Seconds),
        help: "Time since these figures were taken, which happens inside progress",
        value: |endpoint| Some(endpoint.age_seconds),
    },
    Gauge {
        name: "endpoint_sends",
        unit: None,
        help: "Sends that are not complete",
        value: |endpoint| float(endpoint.queues.sends),
    },
    Gauge {
        name: "endpoint_receives",
        unit: None,
        help: "Receives posted that no message has met",
        value: |endpoint| float(endpoint.queues.receives),
    },
    Gauge {
        name: "endpoint_completions",
        unit: None,
        help: "Completions not polled",
        value: |endpoint| float(endpoint.queues.completions),
    },
    Gauge {
        name: "endpoint_stored",
        unit: Some(Unit::Bytes),
        help: "Stored of messages without a receive or ahead of their turn",
        value: |endpoint| float(endpoint.queues.stored_bytes),
    },
    Gauge {
        name: "endpoint_peers",
        unit: None,
        help: "Peers known",
        value: |endpoint| float(endpoint.peers_known),
    },
];

const PEER_GAUGES: &[Gauge<Peer>] = &[
    Gauge {
        name: "peer_rtt",
        unit: Some(Unit::Seconds),
        help: "Smoothed round trip to the peer",
        value: |peer| peer.rtt_seconds,
    },
    Gauge {
        name: "peer_in_flight",
        unit: Some(Unit::Bytes),
        help: "In flight to the peer",
        value: |peer| float(peer.in_flight_bytes),
    },
    Gauge {
        name: "peer_window",
        unit: Some(Unit::Bytes),
        help: "The most that may be in flight to the peer",
        value: |peer| float(peer.window_bytes),
    },
    Gauge {
        name: "peer_queued",
        unit: Some(Unit::Bytes),
        help: "For the peer and not in a datagram yet",
        value: |peer| float(peer.queued_bytes),
    },
    Gauge {
        name: "peer_shared_memory",
        unit: None,
        help: "1 if messages to the peer go through shared memory, 0 if by UDP",
        value: |peer| Some(if peer.transport == SHARED_MEMORY { 1.0 } else { 0.0 }),
    },
    Gauge {
        name: "link_waiting_records",
        unit: None,
        help: "Records to the peer that it has not dealt with",
        value: |peer| float(peer.link.as_ref()?.waiting_records),
    },
    Gauge {
        name: "link_refused_records",
        unit: None,
        help: "Records the peer refused that wait to be sent again",
        value: |peer| float(peer.link.as_ref()?.refused_records),
    },
    Gauge {
        name: "link_peer_sleeps",
        unit: None,
        help: "1 if the peer sleeps until it is woken",
        value: |peer| float(peer.link.as_ref()?.peer_sleeps.into()),
    },
];

const PATH_GAUGES: &[Gauge<crate::live::Path>] = &[
    Gauge {
        name: "path_good",
        unit: None,
        help: "1 if the path carries data, 0 if it is quarantined",
        value: |path| Some(if path.state == PathState::Good { 1.0 } else { 0.0 }),
    },
    Gauge {
        name: "path_rtt",
        unit: Some(Unit::Seconds),
        help: "Smoothed round trip of the path",
        value: |path| path.rtt_seconds,
    },
    Gauge {
        name: "path_loss_ratio",
        unit: None,
        help: "Share of recent datagrams lost on the path",
        value: |path| Some(path.loss),
    },
    Gauge {
        name: "path_in_flight",
        unit: Some(Unit::Bytes),
        help: "In flight on the path",
        value: |path| float(path.in_flight_bytes),
    },
];

/// What a counter counts, in a few words; its name where there are none.
fn help(group: &str, name: &str) -> String {
    let known = HELP.iter().find(|(g, n, _)| *g == group && *n == name);
    known.map_or_else(|| format!("{name} of the {group}"), |(_, _, help)| (*help).to_owned())
}

const HELP: &[(&str, &str, &str)] = &[
    ("device", "tx_trains", "Trains of datagrams sent"),
    ("device", "tx_packets", "Datagrams sent"),
    ("device", "tx_bytes", "UDP payload bytes sent"),
    ("device", "rx_trains", "Trains of datagrams received"),
    ("device", "rx_packets", "Datagrams received"),
    ("device", "rx_bytes", "UDP payload bytes received"),
    ("device", "rx_drops", "Datagrams the kernel dropped as the receive buffer was full"),
    ("device", "gso_fallbacks", "Trains sent datagram by datagram as segmentation failed"),
    ("device", "rx_empty", "Receive calls that found nothing"),
    ("transport", "tx_pkts", "Reliable datagrams sent the first time"),
    ("transport", "tx_bytes", "Payload bytes of datagrams sent the first time"),
    ("transport", "rx_pkts", "Reliable datagrams delivered"),
    ("transport", "rx_bytes", "Payload bytes delivered"),
    ("transport", "retrans_pkts", "Datagrams sent again"),
    ("transport", "retrans_bytes", "Payload bytes sent again"),
    ("transport", "retrans_timeout_events", "Silences past the retransmission timeout"),
    ("transport", "spurious_retrans", "Retransmissions that turned out unneeded"),
    ("transport", "unresponsive_remote_events", "Peers given up as unresponsive"),
    ("transport", "unreachable_remote_events", "Peers given up as unreachable"),
    ("transport", "restarted_remote_events", "Peers found restarted"),
    ("transport", "path_quarantines", "Paths taken out of use"),
    ("transport", "path_redraws", "Source ports exchanged for new ones"),
    ("transport", "tx_acks", "Acknowledgements sent in a datagram of their own"),
    ("transport", "tx_probes", "Probes sent"),
    ("transport", "tx_not_ready", "Datagrams put back for lack of room"),
    ("transport", "rx_not_ready", "Notices from peers that they had no room"),
    ("transport", "rx_duplicates", "Datagrams that had arrived before"),
    ("transport", "rx_malformed", "Datagrams dropped as malformed"),
    ("transport", "rx_stale", "Datagrams dropped as of another incarnation"),
    ("transport", "rx_foreign", "Datagrams dropped as not from their claimed sender"),
    ("transport", "rx_out_of_window", "Datagrams dropped as outside the receive window"),
    ("transport", "rx_no_room_for_peer", "Datagrams dropped as no more peers can be known"),
    ("messages", "expected_messages", "Messages that met a posted receive"),
    ("messages", "unexpected_messages", "Messages stored as no receive accepted them"),
    ("messages", "discarded_messages", "Messages claimed and dropped"),
    ("messages", "ahead_parts", "Datagram parts stored as an earlier message was missing"),
    ("messages", "truncated", "Messages longer than their buffer"),
    ("messages", "not_ready", "Datagrams turned away as a store was full"),
    ("messages", "malformed", "Frames that broke the format"),
    ("messages", "repeated", "First frames that had been taken before"),
    ("messages", "late_segments", "Segments of messages that were over"),
    ("messages", "grants", "Grants issued for large messages"),
    ("messages", "landing_hits", "Trains the device placed where they belonged"),
    ("messages", "landing_misses", "Trains that were not what was predicted"),
    ("messages", "remote_writes", "Writes of peers placed here"),
    ("messages", "remote_reads", "Reads of peers begun here"),
    ("messages", "remote_atomics", "Atomic operations of peers executed here"),
    ("messages", "remote_refused", "One-sided operations of peers turned away"),
    ("operations", "sends_completed", "Sends that succeeded"),
    ("operations", "sends_failed", "Sends that failed"),
    ("operations", "receives_completed", "Receives that succeeded"),
    ("operations", "receives_failed", "Receives that failed"),
    ("operations", "writes_completed", "Writes of peers' memory that succeeded"),
    ("operations", "writes_failed", "Writes of peers' memory that failed"),
    ("operations", "reads_completed", "Reads of peers' memory that succeeded"),
    ("operations", "reads_failed", "Reads of peers' memory that failed"),
    ("operations", "atomics_completed", "Atomic operations on peers' memory that succeeded"),
    ("operations", "atomics_failed", "Atomic operations on peers' memory that failed"),
    ("shared_memory", "links", "Links made with peers of this host"),
    ("shared_memory", "tx_records", "Records sent through shared memory"),
    ("shared_memory", "tx_bytes", "Bytes of records sent through shared memory"),
    ("shared_memory", "tx_refused", "Records sent that the peer refused"),
    ("shared_memory", "rx_records", "Records received through shared memory"),
    ("shared_memory", "rx_bytes", "Bytes of records received through shared memory"),
    ("shared_memory", "rx_refused", "Records received that were refused here"),
    ("shared_memory", "wakes", "Sleeping peers woken"),
    (
        "messages",
        "copied_messages",
        "Messages of which bytes were copied out of the sender's memory",
    ),
    ("messages", "copied_bytes", "Bytes copied out of the sender's memory"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    #[test]
    fn samples_carry_name_labels_and_value() {
        let text = text(sample::document()).unwrap();
        let ours = r#"endpoint="127.0.0.1:4000",kind="rdm""#;
        let peer = r#"peer="10.0.0.2:7000""#;
        let neighbour = r#"peer="127.0.0.1:4001""#;
        for line in [
            "# TYPE elastane_transport_retrans_pkts counter".to_owned(),
            "# HELP elastane_transport_retrans_pkts Datagrams sent again".to_owned(),
            format!("elastane_transport_retrans_pkts_total{{{ours}}} 7"),
            format!("elastane_device_rx_drops_total{{{ours}}} 3"),
            format!("elastane_messages_unexpected_messages_total{{{ours}}} 2"),
            format!("elastane_endpoint_sends{{{ours}}} 4.0"),
            format!("elastane_endpoint_stored_bytes{{{ours}}} 70.0"),
            format!("elastane_peer_in_flight_bytes{{{ours},{peer}}} 18000.0"),
            format!("elastane_operations_writes_completed_total{{{ours}}} 8"),
            format!("elastane_shared_memory_tx_records_total{{{ours}}} 11"),
            format!("elastane_link_tx_records_total{{{ours},{neighbour}}} 11"),
            format!("elastane_link_waiting_records{{{ours},{neighbour}}} 3.0"),
            format!("elastane_link_peer_sleeps{{{ours},{neighbour}}} 1.0"),
            format!("elastane_peer_shared_memory{{{ours},{peer}}} 0.0"),
            format!("elastane_path_good{{{ours},{peer},path=\"9\"}} 0.0"),
            format!("elastane_path_loss_ratio{{{ours},{peer},path=\"0\"}} 0.25"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_unknown_has_no_sample() {
        let text = text(sample::document()).unwrap();
        let with_rtt = text.lines().filter(|line| line.starts_with("elastane_path_rtt_seconds{"));
        assert_eq!(with_rtt.count(), 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let text = text(sample::document()).unwrap();
        assert!(text.contains(r#"program="a\"b""#), "{text}");
    }
}
