//! The result of a run.

use std::fmt;

use serde::Serialize;

use crate::{Scenario, Traffic, Violation, oracle::Flow};

/// What a run brought to light.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The run.
    pub scenario: Scenario,
    /// The command that repeats it.
    pub command: String,
    /// The faults that struck, one per line.
    pub faults: String,
    /// Seconds of virtual time until everything was over.
    pub elapsed_s: f64,
    /// How long messages took.
    pub completion: Completion,
    /// Jain's index over the throughput of senders: 1 when all got the same, 1/n when one got
    /// everything.
    pub fairness: f64,
    /// What the network counted.
    pub traffic: Traffic,
    /// What the transports counted together.
    pub transport: Transport,
    /// The most bytes any host stored for messages without a receive, or ahead of their turn.
    pub stored_peak: usize,
    /// A fingerprint of the run: the same scenario has the same, always.
    pub trace: String,
    /// The promises that were broken.
    pub violations: Vec<String>,
}

/// Message completion times, from the posting of the send to the end of the receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Completion {
    /// Messages delivered.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Median, in seconds.
    pub p50_s: f64,
    /// 90th percentile, in seconds.
    pub p90_s: f64,
    /// 99th percentile, in seconds.
    pub p99_s: f64,
    /// 99.9th percentile, in seconds.
    pub p999_s: f64,
    /// The longest, in seconds.
    pub max_s: f64,
    /// The longest time in which none was delivered, from the first delivery to the last, in
    /// seconds.
    pub longest_gap_s: f64,
    /// When the last message was delivered, in seconds.
    pub last_s: f64,
    /// When it could have been at best: the bytes of the busiest host at the rate of its link,
    /// and one empty round trip.
    pub ideal_s: f64,
    /// Bytes delivered per second until the last.
    pub throughput: f64,
}

/// What the transports of all hosts counted together; see `srd::Counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transport {
    /// Datagrams sent for the first time.
    pub tx_pkts: u64,
    /// Datagrams sent again.
    pub retrans_pkts: u64,
    /// Retransmissions that turned out unneeded.
    pub spurious_retrans: u64,
    /// Times a whole context was silent past its timeout.
    pub retrans_timeout_events: u64,
    /// Datagrams that had arrived before.
    pub rx_duplicates: u64,
    /// Acknowledgements in a datagram of their own.
    pub tx_acks: u64,
    /// Notices that a receiver had no room.
    pub rx_not_ready: u64,
    /// Paths taken out of use.
    pub path_quarantines: u64,
    /// Datagrams dropped as malformed, stale, foreign or out of the window.
    pub rx_rejected: u64,
}

impl Transport {
    pub(crate) fn add(&mut self, counters: &srd::Counters) {
        self.tx_pkts += counters.tx_pkts;
        self.retrans_pkts += counters.retrans_pkts;
        self.spurious_retrans += counters.spurious_retrans;
        self.retrans_timeout_events += counters.retrans_timeout_events;
        self.rx_duplicates += counters.rx_duplicates;
        self.tx_acks += counters.tx_acks;
        self.rx_not_ready += counters.rx_not_ready;
        self.path_quarantines += counters.path_quarantines;
        self.rx_rejected += counters.rx_malformed
            + counters.rx_stale
            + counters.rx_foreign
            + counters.rx_out_of_window;
    }
}

impl Completion {
    /// Statistics of `flows`.
    pub(crate) fn of(flows: &[Flow], ideal_s: f64) -> Self {
        let mut times: Vec<_> =
            flows.iter().map(|flow| flow.delivered.since(flow.posted)).collect();
        times.sort_unstable();
        let at = |per_mille: usize| {
            let position = (times.len() * per_mille).div_ceil(1_000).max(1) - 1;
            times.get(position).map_or(0.0, std::time::Duration::as_secs_f64)
        };
        let bytes = flows.iter().map(|flow| flow.bytes as u64).sum();
        let mut deliveries: Vec<_> = flows.iter().map(|flow| flow.delivered).collect();
        deliveries.sort_unstable();
        let gaps = deliveries.windows(2).map(|pair| pair[1].since(pair[0]));
        let longest_gap_s = gaps.max().unwrap_or_default().as_secs_f64();
        let last_s = seconds(deliveries.last().copied().unwrap_or_default());
        Self {
            messages: flows.len() as u64,
            bytes,
            p50_s: at(500),
            p90_s: at(900),
            p99_s: at(990),
            p999_s: at(999),
            max_s: at(1_000),
            longest_gap_s,
            last_s,
            ideal_s,
            throughput: if last_s > 0.0 { bytes as f64 / last_s } else { 0.0 },
        }
    }
}

/// Jain's index over the throughput of senders.
pub(crate) fn fairness(flows: &[Flow], hosts: usize) -> f64 {
    let mut senders = vec![(0_u64, f64::MAX, 0.0_f64); hosts];
    for flow in flows {
        let (bytes, first, last) = &mut senders[flow.from as usize];
        *bytes += flow.bytes as u64;
        *first = first.min(seconds(flow.posted));
        *last = last.max(seconds(flow.delivered));
    }
    let rates = senders.iter().filter(|(bytes, ..)| *bytes > 0);
    let rates: Vec<f64> =
        rates.map(|(bytes, first, last)| *bytes as f64 / (last - first)).collect();
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(s, q), rate| (s + rate, q + rate * rate));
    if squares > 0.0 { sum * sum / (rates.len() as f64 * squares) } else { 1.0 }
}

pub(crate) fn seconds(time: wire::Time) -> f64 {
    time.since(wire::Time::ZERO).as_secs_f64()
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn note(&mut self, violations: &[Violation]) {
        self.violations = violations.iter().map(ToString::to_string).collect();
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { seed, network, workload, .. } = &self.scenario;
        let Completion { messages, bytes, last_s, ideal_s, throughput, .. } = self.completion;
        writeln!(f, "seed {seed}: {} on {}", workload.pattern, network.topology)?;
        writeln!(
            f,
            "  {} hosts, {} Gb/s links, MTU {}, {} path{}",
            network.topology.hosts(),
            network.rate as f64 / 1e9,
            network.mtu,
            network.topology.paths(),
            if network.topology.paths() == 1 { "" } else { "s" },
        )?;
        if !self.faults.is_empty() {
            writeln!(f, "faults\n{}", self.faults)?;
        }
        writeln!(f, "message completion")?;
        writeln!(
            f,
            "  {:>10} {:>14} {:>10} {:>10} {:>10}",
            "#messages", "#bytes", "last", "ideal", "x ideal"
        )?;
        let ratio = if ideal_s > 0.0 { last_s / ideal_s } else { 0.0 };
        writeln!(
            f,
            "  {messages:>10} {bytes:>14} {:>10} {:>10} {ratio:>10.2}",
            Span(last_s),
            Span(ideal_s)
        )?;
        let Completion { p50_s, p90_s, p99_s, p999_s, max_s, .. } = self.completion;
        writeln!(f, "  {:>10} {:>10} {:>10} {:>10} {:>10}", "50%", "90%", "99%", "99.9%", "max")?;
        let [p50, p90, p99, p999, max] = [p50_s, p90_s, p99_s, p999_s, max_s].map(Span);
        writeln!(f, "  {p50:>10} {p90:>10} {p99:>10} {p999:>10} {max:>10}")?;
        let (fairness, gap) = (self.fairness, Span(self.completion.longest_gap_s));
        let rate = throughput * 8e-9;
        writeln!(f, "  {rate:.3} Gb/s together, longest gap {gap}, Jain fairness {fairness:.3}")?;
        self.fmt_counters(f)?;
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        if !self.is_clean() {
            writeln!(f, "replay with: {}", self.command)?;
        }
        Ok(())
    }
}

impl Outcome {
    fn fmt_counters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { sent, trains, drops, marked, queue_peak, events, .. } = self.traffic;
        let Transport { tx_pkts, retrans_pkts, retrans_timeout_events, tx_acks, .. } =
            self.transport;
        writeln!(f, "network")?;
        writeln!(
            f,
            "  {sent} packets in {trains} trains, {marked} marked, {} dropped",
            drops.total()
        )?;
        if drops.total() > 0 {
            writeln!(
                f,
                "  dropped by queues {}, faults {}, receive buffers {}, dead hosts {}",
                drops.queue, drops.fault, drops.receive_buffer, drops.host_down
            )?;
        }
        writeln!(f, "  longest queue {queue_peak} bytes, {events} events")?;
        writeln!(f, "transport")?;
        writeln!(
            f,
            "  {tx_pkts} datagrams, {retrans_pkts} sent again ({} needlessly), \
             {retrans_timeout_events} timeouts, {tx_acks} acknowledgements",
            self.transport.spurious_retrans
        )?;
        writeln!(f, "  at most {} bytes stored at a host", self.stored_peak)?;
        writeln!(f, "trace {}", self.trace)
    }
}

/// Seconds as people read them.
struct Span(f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        let text = if seconds < 1e-3 {
            format!("{:.1} us", seconds * 1e6)
        } else if seconds < 1.0 {
            format!("{:.2} ms", seconds * 1e3)
        } else {
            format!("{seconds:.2} s")
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use wire::Time;

    use super::*;

    fn flow(from: u32, bytes: usize, delivered: u64) -> Flow {
        Flow { from, bytes, posted: Time::ZERO, delivered: Time::from_nanos(delivered) }
    }

    #[test]
    fn fairness_is_one_among_equals_and_one_nth_for_a_tyrant() {
        let equals: Vec<_> = (0..4).map(|from| flow(from, 1_000, 5)).collect();
        assert!((fairness(&equals, 4) - 1.0).abs() < 1e-9);
        let tyrant = [flow(0, 1_000_000_000, 1), flow(1, 1, 1), flow(2, 1, 1), flow(3, 1, 1)];
        assert!((fairness(&tyrant, 4) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let flows: Vec<_> = (1..=1_000).rev().map(|n| flow(0, 8, n * 1_000)).collect();
        let completion = Completion::of(&flows, 1.0);
        let Completion { p50_s, p90_s, p99_s, p999_s, max_s, .. } = completion;
        let micros = [p50_s, p90_s, p99_s, p999_s, max_s].map(|seconds| (seconds * 1e6).round());
        assert_eq!(micros, [500.0, 900.0, 990.0, 999.0, 1_000.0]);
        assert_eq!((completion.messages, completion.bytes), (1_000, 8_000));
    }
}
