//! The one document everything shown is made from: table, `--json` and `--html`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    checks::{self, Check},
    machine::Machine,
    stats,
};

/// The network a figure was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Network {
    /// One link, no limits.
    #[serde(rename = "flat")]
    Flat,
    /// Several parallel paths, each limited to a rate.
    #[serde(rename = "multipath")]
    Multipath,
    /// The same, with one path after the other cut in mid-transfer.
    #[serde(rename = "path-cut")]
    PathCut,
    /// One link that loses one packet in a thousand.
    #[serde(rename = "loss-0.1%")]
    Loss01,
    /// One link that loses one packet in a hundred.
    #[serde(rename = "loss-1%")]
    Loss1,
    /// One limited link, shared with one TCP flow.
    #[serde(rename = "shared-link")]
    SharedLink,
    /// No network: two processes of one host.
    #[serde(rename = "one-host")]
    OneHost,
}

impl Network {
    /// All, in the order they are measured and shown.
    pub const ALL: [Self; 7] = [
        Self::Flat,
        Self::Multipath,
        Self::PathCut,
        Self::Loss01,
        Self::Loss1,
        Self::SharedLink,
        Self::OneHost,
    ];

    /// As in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Multipath => "multipath",
            Self::PathCut => "path-cut",
            Self::Loss01 => "loss-0.1%",
            Self::Loss1 => "loss-1%",
            Self::SharedLink => "shared-link",
            Self::OneHost => "one-host",
        }
    }
}

/// What carried the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// This fabric.
    Elastane,
    /// The best of what one TCP stream can be set to.
    Tcp,
    /// One TCP stream as the system sets it up.
    TcpDefault,
    /// Four TCP streams.
    #[serde(rename = "tcp-4")]
    Tcp4,
    /// A provider of libfabric's, which [`Report::provider`] names.
    Libfabric,
    /// UDP without a protocol: unreliable, a ceiling and no alternative.
    UdpRaw,
}

impl Transport {
    /// All, in the order they are shown.
    pub const ALL: [Self; 6] =
        [Self::Elastane, Self::Tcp, Self::TcpDefault, Self::Tcp4, Self::Libfabric, Self::UdpRaw];

    /// As in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elastane => "elastane",
            Self::Tcp => "tcp",
            Self::TcpDefault => "tcp-default",
            Self::Tcp4 => "tcp-4",
            Self::Libfabric => "libfabric",
            Self::UdpRaw => "udp-raw",
        }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Payload bytes per second, one way.
    Bandwidth,
    /// Payload bytes per second, the sum of both directions at once.
    BidirectionalBandwidth,
    /// One-way latency, median.
    LatencyP50,
    /// One-way latency, one in a hundred is longer.
    LatencyP99,
    /// One-way latency, one in a thousand is longer.
    #[serde(rename = "latency-p99.9")]
    LatencyP99_9,
    /// Messages per second, in windows of 64.
    MessageRate,
    /// CPU seconds of both sides per 10^9 bytes.
    CpuPerGb,
    /// The longest time in which no message was completed.
    LongestStall,
}

impl Metric {
    /// All, in the order they are shown.
    pub const ALL: [Self; 8] = [
        Self::Bandwidth,
        Self::BidirectionalBandwidth,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::LatencyP99_9,
        Self::MessageRate,
        Self::CpuPerGb,
        Self::LongestStall,
    ];

    /// As in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::BidirectionalBandwidth => "bidirectional-bandwidth",
            Self::LatencyP50 => "latency-p50",
            Self::LatencyP99 => "latency-p99",
            Self::LatencyP99_9 => "latency-p99.9",
            Self::MessageRate => "message-rate",
            Self::CpuPerGb => "cpu-per-gb",
            Self::LongestStall => "longest-stall",
        }
    }

    /// Its unit.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Bandwidth | Self::BidirectionalBandwidth => Unit::BytesPerSecond,
            Self::MessageRate => Unit::PerSecond,
            Self::LatencyP50
            | Self::LatencyP99
            | Self::LatencyP99_9
            | Self::CpuPerGb
            | Self::LongestStall => Unit::Seconds,
        }
    }

    /// Whether more is better.
    pub const fn more_is_better(self) -> bool {
        matches!(self.unit(), Unit::BytesPerSecond | Unit::PerSecond)
    }

    /// One value for several samples: the median; of stalls, which are rare by nature, the longest.
    pub fn of_samples(self, samples: &[f64]) -> Option<f64> {
        match self {
            Self::LongestStall => stats::largest(samples),
            _ => stats::median(samples),
        }
    }
}

/// Units of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Bytes per second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A ratio of two figures of the same unit.
    #[serde(rename = "x")]
    Ratio,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Measured on this network.
    pub network: Network,
    /// Carried by this transport.
    pub transport: Transport,
    /// This was measured.
    pub metric: Metric,
    /// Bytes of a message.
    pub bytes: u64,
    /// The figure: [`Metric::of_samples`] of the samples.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// One per round.
    pub samples: Vec<f64>,
    /// With the median latency: the shortest of all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<f64>,
    /// Under loss: the same on the same wire without loss, measured in turn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undisturbed: Option<f64>,
}

/// The figure of another tool, measured in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The tool, with its version and setting.
    pub tool: String,
    /// Measured on this network.
    pub network: Network,
    /// This was measured.
    pub metric: Metric,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

/// What was measured on one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectionReport {
    /// The network.
    pub network: Network,
    /// The client's machine.
    pub machine: Machine,
    /// The server's.
    pub server: Machine,
    /// The figures.
    pub results: Vec<Row>,
    /// Other tools' figures.
    pub beside: Vec<Beside>,
    /// What a reader should know: settings chosen, tests that failed.
    pub notes: Vec<String>,
}

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`Report::FORMAT`].
    pub format: String,
    /// [`Report::VERSION`].
    pub version: u32,
    /// When the measurement began, RFC 3339.
    pub started: String,
    /// The client's machine; both sides' where they share one.
    pub machine: Machine,
    /// The server's machine, where it is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<Machine>,
    /// What was emulated, by network. Nothing, if empty: those are real machines on a real wire.
    pub emulated: BTreeMap<Network, String>,
    /// The provider of libfabric's that was measured beside, if one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// The figures.
    pub results: Vec<Row>,
    /// Other tools' figures.
    pub beside: Vec<Beside>,
    /// What this fabric promises, and whether this run kept it.
    pub checks: Vec<Check>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// Names the kind of document.
    pub const FORMAT: &str = "elastane-compare";
    /// Incremented when a field changes its meaning or goes.
    pub const VERSION: u32 = 1;

    /// Puts sections together. `started` is the time the first began; `emulated` says what of each
    /// network was no real hardware. `None` without sections.
    pub fn assemble(
        started: String,
        emulated: BTreeMap<Network, String>,
        sections: Vec<SectionReport>,
    ) -> Option<Self> {
        let SectionReport { machine, server, .. } = sections.first()?;
        let machine = machine.clone();
        let server = (server.host != machine.host).then(|| server.clone());
        let mut report = Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            started,
            machine,
            server,
            emulated,
            provider: None,
            results: Vec::new(),
            beside: Vec::new(),
            checks: Vec::new(),
            notes: Vec::new(),
        };
        for section in sections {
            let SectionReport { network, results, beside, notes, machine: _, server: _ } = section;
            report.results.extend(results);
            report.beside.extend(beside);
            report.notes.extend(notes.iter().map(|note| format!("{}: {note}", network.name())));
        }
        report.checks = checks::of(&report);
        Some(report)
    }

    /// What a transport is called beside the others.
    pub fn label(&self, transport: Transport) -> String {
        match (transport, &self.provider) {
            (Transport::Libfabric, Some(provider)) => format!("libfabric {provider}"),
            _ => transport.name().to_owned(),
        }
    }

    /// A row, if it was measured.
    pub fn row(
        &self,
        network: Network,
        transport: Transport,
        metric: Metric,
        bytes: u64,
    ) -> Option<&Row> {
        self.results.iter().find(|row| {
            row.network == network
                && row.transport == transport
                && row.metric == metric
                && row.bytes == bytes
        })
    }

    /// A figure, if it was measured.
    pub fn value(
        &self,
        network: Network,
        transport: Transport,
        metric: Metric,
        bytes: u64,
    ) -> Option<f64> {
        self.row(network, transport, metric, bytes).map(|row| row.value)
    }

    /// The sizes at which something was measured, ascending.
    pub fn sizes(&self, network: Network, metric: Metric) -> Vec<u64> {
        let mut sizes: Vec<u64> = self
            .results
            .iter()
            .filter(|row| row.network == network && row.metric == metric)
            .map(|row| row.bytes)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The transports of which something was measured, in the order they are shown.
    pub fn transports(&self, network: Network, metric: Metric) -> Vec<Transport> {
        let measured = |transport: &Transport| {
            self.results.iter().any(|row| {
                row.network == network && row.metric == metric && row.transport == *transport
            })
        };
        Transport::ALL.into_iter().filter(measured).collect()
    }

    /// The document as text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain data");
        text.push('\n');
        text
    }
}

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_document_are_those_shown() {
        for network in Network::ALL {
            assert_eq!(serde_json::json!(network), network.name());
        }
        for transport in Transport::ALL {
            assert_eq!(serde_json::json!(transport), transport.name());
        }
        for metric in Metric::ALL {
            assert_eq!(serde_json::json!(metric), metric.name());
        }
        assert_eq!(serde_json::json!(Metric::Bandwidth.unit()), "B/s");
        assert_eq!(serde_json::json!(Metric::CpuPerGb.unit()), "s");
        assert_eq!(serde_json::json!(Metric::MessageRate.unit()), "1/s");
    }

    #[test]
    fn document_has_the_promised_fields() {
        let report = sample::report();
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
        assert_eq!(json["format"], "elastane-compare");
        assert_eq!(json["version"], 1);
        let row = json["results"].as_array().expect("an array").iter().find(|row| {
            row["network"] == "flat"
                && row["transport"] == "elastane"
                && row["metric"] == "latency-p50"
                && row["bytes"] == 64
        });
        let row = row.expect("it was measured");
        assert_eq!(row["unit"], "s");
        assert!(row["value"].is_f64() && row["min"].is_f64() && row["samples"].is_array());
        let check = &json["checks"][0];
        for field in ["name", "measured", "wanted", "met", "unit"] {
            assert!(!check[field].is_null(), "{field} of {check}");
        }
        for field in ["cpus", "kernel", "mtu"] {
            assert!(!json["machine"][field].is_null(), "{field}");
        }
        assert!(json["emulated"]["multipath"].is_string());
    }

    #[test]
    fn document_read_back_is_the_same() {
        let report = sample::report();
        let again: Report = serde_json::from_str(&report.to_json()).expect("our own document");
        assert_eq!(again, report);
    }

    #[test]
    fn value_is_the_median_but_of_stalls_the_longest() {
        let samples = [1.0, 9.0, 2.0];
        assert_eq!(Metric::Bandwidth.of_samples(&samples), Some(2.0));
        assert_eq!(Metric::LongestStall.of_samples(&samples), Some(9.0));
    }
}
