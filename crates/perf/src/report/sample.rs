//! A report of the right shape, with figures that are easy to check, for the tests of all that
//! is made from it.

use std::collections::BTreeMap;

use super::{Beside, Metric, Network, Report, Row, SectionReport, Transport};
use crate::machine::Machine;

use Metric::{
    Bandwidth, BidirectionalBandwidth, CpuPerGb, LatencyP50, LatencyP99, LatencyP99_9,
    LongestStall, MessageRate,
};
use Transport::{Elastane, Tcp, Tcp4, TcpDefault, UdpRaw};

/// Powers of four, 1 B to 4 MiB.
pub(crate) const SIZES: [u64; 12] =
    [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];

/// A full run of made-up figures.
pub(crate) fn report() -> Report {
    let sections = vec![
        flat(),
        multipath(),
        path_cut(),
        loss(Network::Loss01, 0.98),
        loss(Network::Loss1, 0.9),
        shared(),
        one_host(),
    ];
    let emulated: BTreeMap<_, _> = [
        (Network::Flat, "two hosts on one machine, one virtual link, MTU 9001"),
        (Network::Multipath, "two hosts on one machine, 4 virtual links of 1 Gb/s each, MTU 9001"),
        (Network::PathCut, "the same, each of the 4 links silently cut in turn"),
        (Network::Loss01, "one virtual link that drops 0.1% of packets at random"),
        (Network::Loss1, "one virtual link that drops 1% of packets at random"),
        (Network::SharedLink, "one virtual link of 1 Gb/s"),
    ]
    .into_iter()
    .map(|(network, text)| (network, text.to_owned()))
    .collect();
    Report::assemble("2026-01-31T12:00:00Z".to_owned(), emulated, sections)
        .expect("there are sections")
}

fn machine() -> Machine {
    Machine {
        host: "testbed".to_owned(),
        cpus: 2,
        cpu_model: "Some CPU @ 3.0 GHz".to_owned(),
        kernel: "6.12.0".to_owned(),
        mtu: 9001,
        tcp_default: "cubic".to_owned(),
        load: 0.1,
        cpu: Some(0),
    }
}

fn section(network: Network, results: Vec<Row>) -> SectionReport {
    SectionReport {
        network,
        machine: machine(),
        server: machine(),
        results,
        beside: Vec::new(),
        notes: vec!["tcp is cubic, autotuned buffers, blocking".to_owned()],
    }
}

fn row(network: Network, transport: Transport, metric: Metric, bytes: u64, value: f64) -> Row {
    let samples = vec![value * 0.95, value, value * 1.05];
    Row {
        network,
        transport,
        metric,
        bytes,
        value,
        unit: metric.unit(),
        samples,
        min: (metric == LatencyP50).then_some(value * 0.9),
        undisturbed: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "small powers of two are exact")]
fn flat() -> SectionReport {
    let mut rows = Vec::new();
    let mut add = |transport, metric, bytes, value| {
        rows.push(row(Network::Flat, transport, metric, bytes, value));
    };
    for bytes in SIZES {
        let size = bytes as f64;
        for (transport, per_message, peak) in [
            (Elastane, 0.4e-6, 5e9),
            (Tcp, 1.6e-6, 2.5e9),
            (TcpDefault, 1.8e-6, 2.2e9),
            (Tcp4, 1.7e-6, 2.4e9),
            (UdpRaw, 0.2e-6, 7e9),
        ] {
            let rate = 1.0 / (per_message + size / peak);
            let bandwidth = if bytes == 1 << 20 { peak } else { rate * size };
            add(transport, Bandwidth, bytes, bandwidth);
            add(transport, CpuPerGb, bytes, 1.6e9 / bandwidth);
            if transport != UdpRaw {
                add(transport, BidirectionalBandwidth, bytes, bandwidth * 1.3);
            }
            if transport != Tcp4 && (transport != UdpRaw || bytes < 8192) {
                let base = per_message * 5.0 + 4e-6 + size / peak;
                add(transport, LatencyP50, bytes, base);
                add(transport, LatencyP99, bytes, base * 1.5);
                add(transport, LatencyP99_9, bytes, base * 3.0);
                add(
                    transport,
                    MessageRate,
                    bytes,
                    if bytes == 64 { 1.0 / per_message } else { rate },
                );
            }
        }
    }
    let mut section = section(Network::Flat, rows);
    section.beside.push(Beside {
        tool: "iperf 3.12, cubic".to_owned(),
        network: Network::Flat,
        metric: Bandwidth,
        value: 2.45e9,
        unit: Bandwidth.unit(),
    });
    section
}

fn multipath() -> SectionReport {
    let mut rows = Vec::new();
    for bytes in [65_536, 1 << 20, 4 << 20] {
        for (transport, value) in
            [(Elastane, 4.7e8), (Tcp, 1.19e8), (TcpDefault, 1.18e8), (Tcp4, 2.4e8)]
        {
            rows.push(row(Network::Multipath, transport, Bandwidth, bytes, value));
        }
    }
    section(Network::Multipath, rows)
}

fn path_cut() -> SectionReport {
    let stalls = [(Elastane, 0.004), (Tcp, 0.83), (Tcp4, 0.85)];
    let rows = stalls
        .map(|(transport, value)| row(Network::PathCut, transport, LongestStall, 65_536, value));
    section(Network::PathCut, rows.to_vec())
}

fn loss(network: Network, kept: f64) -> SectionReport {
    let mut rows = Vec::new();
    for (transport, undisturbed, kept) in
        [(Elastane, 2e9, kept), (Tcp, 1.5e9, kept * kept / 3.0), (TcpDefault, 1.4e9, kept / 4.0)]
    {
        let mut with_loss = row(network, transport, Bandwidth, 1 << 20, undisturbed * kept);
        with_loss.undisturbed = Some(undisturbed);
        rows.push(with_loss);
    }
    section(network, rows)
}

fn shared() -> SectionReport {
    let shares = [(Elastane, 5.5e7), (Tcp, 6.3e7)];
    let rows = shares
        .map(|(transport, value)| row(Network::SharedLink, transport, Bandwidth, 1 << 20, value));
    section(Network::SharedLink, rows.to_vec())
}

fn one_host() -> SectionReport {
    let mut rows = Vec::new();
    let both = |rows: &mut Vec<Row>, metric, bytes, ours, theirs| {
        rows.push(row(Network::OneHost, Elastane, metric, bytes, ours));
        rows.push(row(Network::OneHost, Tcp, metric, bytes, theirs));
    };
    for bytes in [8, 64] {
        both(&mut rows, LatencyP50, bytes, 0.3e-6, 6e-6);
        both(&mut rows, MessageRate, bytes, 1e7, 1e6);
    }
    for bytes in [65_536, 1 << 20, 4 << 20] {
        both(&mut rows, Bandwidth, bytes, 8e9, 4e9);
    }
    section(Network::OneHost, rows)
}
