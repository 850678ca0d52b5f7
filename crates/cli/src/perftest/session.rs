//! A test by one of perftest's names, from the first line to the last.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow};
use perf::bench::{
    AtomicKind, Goal, Length, Listener, Pair, Row, Verb, Wire,
    perftest::{self as layout, BandwidthRow, Heading, LatencyRow, RESULT_LINE},
};
use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use super::{
    Tool,
    document::document,
    options::{Options, Output},
};
use crate::{
    address::HostPort,
    output::{self, Destination},
    perf_command,
};

/// The name of the only device.
const DEVICE: &str = "elastane0";

/// Runs it. Returns whether every limit was kept.
pub(super) fn run(tool: Tool, options: &Options) -> Result<bool> {
    if let Some(path) = &options.json {
        Destination::File(path.clone()).check("--out_json_file")?;
    }
    perf_command::bind(options.own_cpu)?;
    let is_full = options.output == Output::Full;
    if options.peak_lost && is_full {
        output::print(layout::NO_PEAK)?;
    }
    let mut pair = match &options.host {
        Some(host) => connect(host, options)?,
        None => accept(options)?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    if options.setup.endless {
        stop_on_interrupt(&stop)?;
        pair.stop_on(Arc::clone(&stop));
    }
    let mut test =
        Test { tool, options, heading: heading(options, &pair), pair, stop, rows: Vec::new() };
    let passed = test.run()?;
    test.pair.close();
    if let Some(path) = &options.json {
        let document = document(&test.heading, test.rows);
        let text = serde_json::to_string_pretty(&document)? + "\n";
        Destination::File(path.clone()).write(&text)?;
    }
    Ok(passed)
}

/// `stop` comes true on Ctrl-C; a second one ends the process at once.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))
            .and_then(|_| flag::register(signal, Arc::clone(stop)))
            .context("cannot listen for signals")?;
    }
    Ok(())
}

fn connect(host: &str, options: &Options) -> Result<Pair> {
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    };
    let host: HostPort =
        format!("{host}:{}", options.port).parse().map_err(|why| anyhow!("{why}"))?;
    perf_command::connect(&host, &options.setup, options.local)
}

fn accept(options: &Options) -> Result<Pair> {
    let port = options.port;
    let address: SocketAddr = match (&options.listen, options.ipv6) {
        (Some(ip), _) => {
            let ip = ip.parse();
            SocketAddr::new(ip.with_context(|| "--bind_source_ip takes an address")?, port)
        }
        (None, true) => (Ipv6Addr::UNSPECIFIED, port).into(),
        (None, false) => (Ipv4Addr::UNSPECIFIED, port).into(),
    };
    let listener = Listener::open(address).context("see -p")?;
    if options.output == Output::Full {
        output::print(layout::WAITING)?;
    }
    Ok(listener.accept(options.setup.clone(), options.local)?)
}

fn heading(options: &Options, pair: &Pair) -> Heading {
    let setup = &options.setup;
    let sends = setup.goal == Goal::Latency || pair.leads() || setup.bidirectional;
    let receives = setup.goal == Goal::Latency || !pair.leads() || setup.bidirectional;
    Heading {
        verb: setup.verb,
        goal: setup.goal,
        bidirectional: setup.bidirectional,
        post_list: options.local.post_list,
        events: options.local.waiting == perf::bench::Waiting::Sleep,
        compare_and_swap: setup.atomic == AtomicKind::CompareAndSwap,
        device: DEVICE.to_owned(),
        connection: match setup.wire {
            Wire::Fabric | Wire::Libfabric => "SRD",
            Wire::Tcp => "TCP",
            Wire::Datagram => "UD",
        },
        endpoints: setup.endpoints,
        // perftest's latency clients show the one and servers the other.
        tx_depth: (sends && (setup.goal == Goal::Bandwidth || pair.is_client()))
            .then_some(options.local.tx_depth),
        rx_depth: (receives
            && setup.verb == Verb::Send
            && (setup.goal == Goal::Bandwidth || !pair.is_client()))
        .then_some(options.local.rx_depth),
        mtu: pair.machines().0.mtu,
    }
}

struct Test<'a> {
    tool: Tool,
    options: &'a Options,
    pair: Pair,
    heading: Heading,
    /// Ends rows without end: somebody interrupted, or nobody reads them.
    stop: Arc<AtomicBool>,
    /// What came out, for the JSON document.
    rows: Vec<Value>,
}

impl Test<'_> {
    fn run(&mut self) -> Result<bool> {
        let options = self.options;
        let is_full = options.output == Output::Full;
        let timed = matches!(options.setup.length, Length::Time { .. });
        let headings = layout::headings(self.tool.goal, timed, options.unit, options.cpu);
        if is_full {
            output::print(&self.heading.render())?;
            output::print(&layout::addresses(self.pair.ends(), self.tool.verb))?;
            output::print(&headings)?;
        }
        self.say_what_fits();
        let mut passed = true;
        for bytes in self.pair.setup().sizes.clone() {
            loop {
                let row = self.pair.measure(bytes)?;
                passed &= match self.tool.goal {
                    Goal::Bandwidth => self.bandwidth(&row)?,
                    Goal::Latency => self.latency(&row, &headings)?,
                };
                if row.here.lost > 0 {
                    let (tool, lost) = (self.tool.name(), row.here.lost);
                    output::say(&format!("{tool}: {lost} datagrams were sent and did not arrive"));
                }
                if !options.setup.endless || self.pair.is_stopped() {
                    break;
                }
            }
        }
        if is_full {
            output::print(RESULT_LINE)?;
        }
        Ok(passed)
    }

    /// Prints a row, for as long as somebody reads.
    fn print(&self, row: &str) -> Result<()> {
        if !output::print_while_read(row)? {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// In perftest's words, if the sizes are not what was asked for.
    fn say_what_fits(&self) {
        let (asked, sizes) = (&self.options.setup.sizes, &self.pair.setup().sizes);
        if asked != sizes {
            let longest = self.pair.longest().unwrap_or(0);
            output::say(&format!(" Max msg size in UD is MTU {longest}\n Changing to this MTU"));
        }
    }

    /// Keeps a row for the JSON document.
    fn keep(&mut self, row: Value) {
        if self.options.json.is_some() {
            self.rows.push(row);
        }
    }

    fn cpu(&self, row: &Row) -> Option<f64> {
        self.options.cpu.then(|| row.here.cpu_share() * 100.0)
    }

    fn bandwidth(&mut self, row: &Row) -> Result<bool> {
        let Options { unit, output, setup, .. } = self.options;
        // A server of sends times what arrives, others show what the client found out.
        let times_arrivals = setup.verb == Verb::Send && !setup.bidirectional;
        let here = row.here.sent.or(row.here.received.filter(|_| times_arrivals));
        let there = row.there.sent;
        let Some(own) = here.or(there).map(BandwidthRow::from) else {
            return Err(anyhow!("neither side measured anything"));
        };
        let shown = match (setup.bidirectional, there) {
            (true, Some(there)) => own.and(there.into()),
            _ => own,
        };
        let cpu = self.cpu(row);
        let text = match output {
            Output::Full => shown.render(*unit, cpu),
            Output::MessageRate => format!("{:.6}\n", shown.millions()),
            Output::Bandwidth | Output::Latency => format!("{:.6}\n", shown.average_in(*unit)),
        };
        self.print(&text)?;
        if self.options.both && *output == Output::Full {
            let headings = layout::headings(Goal::Bandwidth, false, *unit, self.options.cpu);
            let remote = there.map_or(own, BandwidthRow::from);
            for (side, row) in [("Local", own), ("Remote", remote)] {
                output::print(&format!("{RESULT_LINE}\n {side} results: \n{headings}"))?;
                output::print(&row.render(*unit, cpu))?;
            }
        }
        self.keep(json!({
            "MsgSize": shown.bytes,
            "n_iterations": shown.iterations,
            "BW_peak": rounded(shown.peak_in(*unit), 100.0),
            "BW_average": rounded(shown.average_in(*unit), 100.0),
            "MsgRate": rounded(shown.millions(), 1e6),
        }));
        self.add_cpu(cpu);
        Ok(self.is_within(&shown))
    }

    /// Says which limit is not kept, if any.
    fn is_within(&self, row: &BandwidthRow) -> bool {
        let Options { unit, least_bandwidth, least_rate, .. } = self.options;
        let slow = least_bandwidth.is_some_and(|least| row.average_in(*unit) < least);
        let few = least_rate.is_some_and(|least| row.millions() < least);
        if slow {
            output::say("Error: BW result is below bw limit");
        }
        if few {
            output::say("Error: Msg rate  is below msg_rate limit");
        }
        !slow && !few
    }

    fn latency(&mut self, row: &Row, headings: &str) -> Result<bool> {
        let Options { setup, output, .. } = self.options;
        if (!setup.verb.is_answered() || !setup.gap.is_zero()) && !self.pair.leads() {
            // Only the side that asks can tell what is the way and what the gap.
            return Ok(true);
        }
        let cpu = self.cpu(row);
        let Length::Iterations(iterations) = setup.length else {
            let latency = row.here.latency.context("no round trip fitted in the time")?;
            output::print(&match output {
                Output::Full => layout::timed_latency(row.bytes, &row.here, cpu),
                _ => format!("{:.6}\n", latency.mean),
            })?;
            self.keep(json!({
                "MsgSize": row.bytes,
                "n_iterations": latency.count,
                "t_avg": rounded(latency.mean, 100.0),
                "tps_average": rounded(latency.rate, 100.0),
            }));
            self.add_cpu(cpu);
            return Ok(true);
        };
        // Those before the first that counts are not among the samples.
        let latencies = LatencyRow::new(row.bytes, iterations, setup.verb, &row.here);
        let mut latencies = latencies.context("too few round trips; give a larger -n")?;
        if let Some(clock) = self.options.cycles {
            latencies = latencies.in_cycles(clock);
        }
        if self.options.unsorted {
            output::print(&LatencyRow::list(&latencies.unsorted))?;
        }
        if self.options.histogram {
            output::print(&LatencyRow::list(&latencies.sorted))?;
        }
        if (self.options.unsorted || self.options.histogram) && *output == Output::Full {
            output::print(headings)?;
        }
        output::print(&match output {
            Output::Full => latencies.render(cpu),
            _ => format!("{:.6}\n", latencies.average),
        })?;
        self.keep(json!({
            "MsgSize": row.bytes,
            "n_iterations": latencies.iterations,
            "t_min": rounded(latencies.min(), 100.0),
            "t_max": rounded(latencies.max, 100.0),
            "t_typical": rounded(latencies.typical, 100.0),
            "t_avg": rounded(latencies.average, 100.0),
            "t_stdev": rounded(latencies.deviation, 100.0),
            "percentile_99": rounded(latencies.p99, 100.0),
            "percentile_99.9": rounded(latencies.p99_9, 100.0),
        }));
        self.add_cpu(cpu);
        Ok(true)
    }

    fn add_cpu(&mut self, cpu: Option<f64>) {
        if let (Some(cpu), Some(Value::Object(row))) = (cpu, self.rows.last_mut()) {
            row.insert("CPU_util".to_owned(), rounded(cpu, 100.0));
        }
    }
}

/// A figure with as many decimals as perftest prints.
fn rounded(figure: f64, parts: f64) -> Value {
    json!((figure * parts).round() / parts)
}
