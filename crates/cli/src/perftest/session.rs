//! A test by one of perftest's names, from the first line to the last.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, anyhow};
use perf::bench::{
    AtomicKind, Goal, Length, Listener, Pair, Row, Verb, Wire,
    perftest::{self as layout, BandwidthRow, Heading, LatencyRow, RESULT_LINE},
};
use serde_json::{Map, Value, json};

use super::{
    Tool,
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
    let is_full = options.output == Output::Full;
    if options.peak_lost && is_full {
        output::print(layout::NO_PEAK)?;
    }
    let pair = match &options.host {
        Some(host) => connect(host, options)?,
        None => accept(options)?,
    };
    let mut test = Test { tool, options, heading: heading(options, &pair), pair, rows: Vec::new() };
    let passed = test.run()?;
    test.write_json()?;
    test.pair.close();
    Ok(passed)
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
        connection: if setup.wire == Wire::Tcp { "TCP" } else { "SRD" },
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
        let mut passed = true;
        for &bytes in &options.setup.sizes {
            let row = self.pair.measure(bytes)?;
            passed &= match self.tool.goal {
                Goal::Bandwidth => self.bandwidth(&row)?,
                Goal::Latency => self.latency(&row, &headings)?,
            };
        }
        if is_full {
            output::print(RESULT_LINE)?;
        }
        Ok(passed)
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
        output::print(&text)?;
        if self.options.both && *output == Output::Full {
            let headings = layout::headings(Goal::Bandwidth, false, *unit, self.options.cpu);
            let remote = there.map_or(own, BandwidthRow::from);
            for (side, row) in [("Local", own), ("Remote", remote)] {
                output::print(&format!("{RESULT_LINE}\n {side} results: \n{headings}"))?;
                output::print(&row.render(*unit, cpu))?;
            }
        }
        self.rows.push(json!({
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
        if !setup.verb.is_answered() && !self.pair.leads() {
            // Only the side that asks can tell.
            return Ok(true);
        }
        let cpu = self.cpu(row);
        let Length::Iterations(iterations) = setup.length else {
            let latency = row.here.latency.context("no round trip fitted in the time")?;
            output::print(&match output {
                Output::Full => layout::timed_latency(row.bytes, &row.here, cpu),
                _ => format!("{:.6}\n", latency.mean),
            })?;
            self.rows.push(json!({
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
        let latencies = latencies.context("too few round trips; give a larger -n")?;
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
        self.rows.push(json!({
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

    /// Writes what perftest writes with `--out_json`, all sizes of it: an object for one size, a
    /// list of them for several.
    fn write_json(&mut self) -> Result<()> {
        let Some(path) = &self.options.json else { return Ok(()) };
        let mut rows = std::mem::take(&mut self.rows);
        let results = if rows.len() == 1 { rows.remove(0) } else { Value::Array(rows) };
        let document = json!({ "test_info": self.test_info(), "results": results });
        let text = serde_json::to_string_pretty(&document)? + "\n";
        Destination::File(path.clone()).write(&text)
    }

    fn test_info(&self) -> Value {
        let Heading { tx_depth, rx_depth, post_list, mtu, connection, endpoints, .. } =
            &self.heading;
        let title = self.heading.title();
        let mut info = Map::new();
        let mut put = |name: &str, value: Value| {
            info.insert(name.to_owned(), value);
        };
        put("test", json!(format!("{title}Test")));
        put("Dual_port", json!("OFF"));
        put("Device", json!(DEVICE));
        put("Number_of_qps", json!(endpoints));
        put("Transport_type", json!("IB"));
        put("Connection_type", json!(connection));
        put("Using_SRQ", json!("OFF"));
        put("PCIe_relax_order", json!("OFF"));
        put("ibv_wr_API", json!("OFF"));
        if let Some(depth) = tx_depth {
            put("TX_depth", json!(depth));
        }
        if *post_list > 1 {
            put("Post_List", json!(post_list));
        }
        if let Some(depth) = rx_depth {
            put("RX_depth", json!(depth));
        }
        if self.tool.goal == Goal::Bandwidth {
            put("CQ_Moderation", json!(1));
        }
        put("Mtu", json!(mtu));
        put("Link_type", json!("Ethernet"));
        put("GID_index", json!(0));
        match self.tool.verb {
            Verb::Send | Verb::Write => put("Max_inline_data", json!(0)),
            Verb::Read | Verb::Atomic => put("Outstand_reads", json!(0)),
        }
        put("rdma_cm_QPs", json!("OFF"));
        put("Data_ex_method", json!("Ethernet"));
        Value::Object(info)
    }
}

/// A figure with as many decimals as perftest prints.
fn rounded(figure: f64, parts: f64) -> Value {
    json!((figure * parts).round() / parts)
}
