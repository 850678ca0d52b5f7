//! What `-h` and `-V` print.

use std::fmt::Write as _;

use super::{
    Tool,
    flags::{FLAGS, Treatment},
};

/// The version of perftest whose options and output these are. Scripts read the number after the
/// colon; others may be glad to know whom they talk to.
pub(super) const VERSION: &str =
    concat!("Version: 6.29 (elastane ", env!("CARGO_PKG_VERSION"), ")\n");

/// The help of a tool.
pub(super) fn text(tool: Tool) -> String {
    let name = tool.name();
    let mut text = format!(
        "Usage:\n  {name}            start a server and wait for connection\n  \
         {name} <host>     connect to server at <host>\n\n\
         This is elastane: perftest's options, over a software fabric or TCP.\n\
         `elastane perf --help` has the same tests with a table for people.\n\nOptions:\n"
    );
    for (title, wanted) in [("", Treatment::Do), ("\nTaken without effect:\n", Treatment::Pass)] {
        text.push_str(title);
        for flag in FLAGS.iter().filter(|flag| flag.treatment == wanted) {
            let value = if flag.takes { "=<value>" } else { "" };
            let line = match flag.short {
                ' ' => format!("      --{}{value}", flag.long),
                short => format!("  -{short}, --{}{value}", flag.long),
            };
            writeln!(text, "{line}{}", explained(flag.long)).expect("a string takes everything");
        }
    }
    text
}

fn explained(long: &str) -> String {
    let what = match long {
        "port" => "TCP port to meet on (18515)",
        "ib-dev" => "any name; there is one device",
        "size" => "bytes of a message; K and M may follow",
        "iters" => "exchanges on each QP (1000; write_bw 5000)",
        "tx-depth" => "operations on their way at any time (128)",
        "rx-depth" => "receives posted at any time (512)",
        "all" => "sizes from 2 to 2^23",
        "connection" => "SRD, or UD for unreliable datagrams of one packet",
        "qp" => "QPs, each with one on the other side",
        "events" => "sleep on completions",
        "bidirectional" => "both sides send",
        "noPeak" => "do not look for the peak",
        "post_list" => "operations posted together",
        "duration" => "seconds to run instead of -n",
        "margin" => "seconds left out at each end (a quarter of -D)",
        "limit_bw" => "fail below this average",
        "limit_msgrate" => "fail below this message rate",
        "transport" => "fabric or tcp",
        "report_gbits" => "Gb/s instead of MiB/s",
        "report-both" => "the two directions of -b apart, too",
        "output" => "print only bandwidth, message_rate or latency",
        "cpu_util" => "user and system time of this process",
        "out_json" => "write perftest_out.json, or --out_json_file",
        "data_validation" => "compare every byte that arrives",
        "reversed" => "the server sends",
        "report-cycles" => "latencies in cycles, of the clock that /proc/cpuinfo names",
        "run_infinitely" => "a row every -D seconds (5) until Ctrl-C",
        "rate_limit" => "post no more than this: Gb/s, or in --rate_units",
        "rate_units" => "g for Gb/s, M for MiB/s, p for messages per second",
        "rate_limit_type" => "SW: this program limits itself",
        "burst_size" => "messages of --rate_limit that are posted at once (TX depth)",
        "latency_gap" => "microseconds between an answer and the next post",
        "write_with_imm" => "writes carry data for the server's completion",
        "send_with_imm" => "sends carry data beside their bytes",
        "on_cpu" => "bind this side to this CPU; not of perftest",
        "strict" => "refuse what perftest would with SRD; not of perftest",
        "report-histogrm" => "print all latencies, sorted",
        "report-unsorted" => "print all latencies",
        "bind_source_ip" => "the address a server listens on (all)",
        _ => return String::new(),
    };
    format!("  {what}")
}
