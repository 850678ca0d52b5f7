//! The result of a test: the one structure that the table, the JSON document and the CSV are made
//! from.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    figures::{LatencyFigures, Row, SideFigures},
    libfabric::Provider,
    pair::Pair,
    setup::{Setup, Wire},
};
use crate::machine::Machine;

/// What was measured, on what, and what came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// The version of this form.
    pub version: u32,
    /// The date and time, as RFC 3339.
    pub date: String,
    /// `send-bw` and the like.
    pub test: String,
    /// What both sides were given.
    pub setup: Setup,
    /// The provider of libfabric's that the client opened, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The machine of the side that was given an address.
    pub client: Machine,
    /// The machine of the side that waited.
    pub server: Machine,
    /// A row for each size, in the order they were measured.
    pub rows: Vec<Line>,
}

/// One size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Bytes of a message.
    pub bytes: u64,
    /// Messages or round trips that were measured, both directions together.
    pub messages: u64,
    /// Bytes per second, both directions together; absent in tests of latency.
    pub bandwidth: Option<f64>,
    /// The same in the fastest stretch of messages; absent where it was not looked for.
    pub peak_bandwidth: Option<f64>,
    /// Messages per second, both directions together.
    pub message_rate: f64,
    /// Latencies in microseconds; absent in tests of bandwidth.
    pub latency_us: Option<LatencyFigures>,
    /// User and system time of the client's process over the time the row took: 1 is one CPU.
    pub client_cpu: f64,
    /// The same of the server's.
    pub server_cpu: f64,
    /// Bytes that were compared with what was sent, on both sides.
    pub verified_bytes: u64,
    /// Messages that did not arrive; only unreliable datagrams may be lost. The figures above are
    /// of those that did.
    pub lost: u64,
    /// The CPU to which the client was bound; absent if it was bound to none.
    pub client_on_cpu: Option<usize>,
    /// The same of the server.
    pub server_on_cpu: Option<usize>,
}

impl Document {
    /// The version of the form.
    pub const VERSION: u32 = 1;

    /// A document without rows.
    pub fn new(pair: &Pair) -> Self {
        let (here, there) = pair.machines();
        let (client, server) = if pair.is_client() { (here, there) } else { (there, here) };
        Self {
            version: Self::VERSION,
            date: crate::clock::date_and_time(),
            test: pair.setup().name(),
            setup: pair.setup().clone(),
            provider: pair.ends().provider.clone(),
            client: client.clone(),
            server: server.clone(),
            rows: Vec::new(),
        }
    }

    /// Adds a row that `pair` measured.
    pub fn add(&mut self, pair: &Pair, row: &Row) {
        let (client, server) =
            if pair.is_client() { (&row.here, &row.there) } else { (&row.there, &row.here) };
        self.rows.push(Line::new(row.bytes, client, server, pair.setup()));
    }

    /// The rows as comma-separated values, with a line of headings.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "test,transport,bytes,messages,bandwidth_bytes_per_s,peak_bandwidth_bytes_per_s,\
             messages_per_s,min_us,median_us,mean_us,deviation_us,p90_us,p99_us,p99_9_us,max_us,\
             client_cpu,server_cpu,verified_bytes,lost,client_on_cpu,server_on_cpu\n",
        );
        let wire = match &self.setup.provider {
            Some(provider) => format!("libfabric:{provider}"),
            None => self.setup.wire.name().to_owned(),
        };
        for line in &self.rows {
            text.push_str(&self.test);
            let figure = |figure: Option<f64>| figure.map_or(String::new(), |f| format!("{f:.3}"));
            write!(
                text,
                ",{wire},{},{},{},{},{:.3}",
                line.bytes,
                line.messages,
                figure(line.bandwidth),
                figure(line.peak_bandwidth),
                line.message_rate,
            )
            .expect("a string takes everything");
            let latencies = line.latency_us.map(|l| {
                [l.min, l.median, l.mean, l.deviation, l.p90, l.p99, l.p99_9, l.max].map(Some)
            });
            for latency in latencies.unwrap_or([None; 8]) {
                text.push(',');
                text.push_str(&figure(latency));
            }
            let Line { client_cpu, server_cpu, verified_bytes, lost, .. } = line;
            let number = |cpu: Option<usize>| cpu.map_or(String::new(), |cpu| cpu.to_string());
            let (client_on, server_on) = (number(line.client_on_cpu), number(line.server_on_cpu));
            writeln!(
                text,
                ",{client_cpu:.3},{server_cpu:.3},{verified_bytes},{lost},{client_on},{server_on}"
            )
            .expect("a string takes everything");
        }
        text
    }
}

impl Line {
    fn new(bytes: u64, client: &SideFigures, server: &SideFigures, setup: &Setup) -> Self {
        // What was sent is what arrived, but for datagrams.
        let flows = match setup.wire {
            Wire::Fabric | Wire::Tcp | Wire::Libfabric => [client.sent, server.sent],
            Wire::Datagram => [client.received, server.received],
        };
        let flows = || flows.iter().flatten();
        let latency_us = if setup.reversed { server.latency } else { client.latency };
        let peaks: Option<Vec<f64>> = flows().map(|flow| flow.peak()).collect();
        let is_flow = latency_us.is_none();
        Self {
            bytes,
            messages: latency_us
                .map_or_else(|| flows().map(|flow| flow.messages).sum(), |latency| latency.count),
            bandwidth: is_flow.then(|| flows().map(|flow| flow.average()).sum()),
            peak_bandwidth: peaks
                .filter(|peaks| is_flow && !peaks.is_empty())
                .map(|peaks| peaks.iter().sum()),
            message_rate: latency_us
                .map_or_else(|| flows().map(|flow| flow.rate()).sum(), |latency| latency.rate),
            latency_us,
            client_cpu: client.cpu_share(),
            server_cpu: server.cpu_share(),
            verified_bytes: client.verified + server.verified,
            lost: client.lost + server.lost,
            client_on_cpu: client.on_cpu,
            server_on_cpu: server.on_cpu,
        }
    }
}
