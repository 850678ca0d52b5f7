//! The report as one page that needs nothing else: no script, no font, no request.

mod bars;
mod charts;

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    checks::{Check, FOUR_PATHS, MIB, SMALL, STALL_BYTES},
    report::{Metric, Network, Report, Transport},
    table::{ON_ONE_HOST, advantage, figure, title},
    units,
};
use bars::{Bar, Mark, Scale, bars};
use charts::{Axis, Line, lines};

use Metric::{
    Bandwidth, BidirectionalBandwidth, CpuPerGb, LatencyP50, LatencyP99, LatencyP99_9,
    LongestStall, MessageRate,
};
use Transport::{Elastane, Libfabric, Tcp, UdpRaw};

/// The page.
pub fn render(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Elastane and TCP on the same wire" }
                style { (PreEscaped(include_str!("html/page.css"))) }
            }
            body {
                header {
                    h1 { "Elastane and TCP on the same wire" }
                    p { (setting(report)) }
                }
                main {
                    (tiles(report))
                    div.charts {
                        (bandwidth(report))
                        (latency(report))
                        (message_rate(report))
                        (cpu(report))
                        (multipath(report))
                        (stalls(report))
                        (loss(report))
                        (shared(report))
                        (one_host(report))
                        (both_ways(report))
                    }
                    (promises(&report.checks))
                    (method(report))
                    (all_figures(report))
                }
            }
        }
    };
    page.into_string()
}

/// Where and on what, in a sentence.
fn setting(report: &Report) -> String {
    let machine = &report.machine;
    let is_one_host = report.results.iter().all(|row| row.network == Network::OneHost);
    let place = match &report.server {
        _ if is_one_host => format!("Measured between two processes of {}", machine.host),
        Some(server) => format!("Measured between {} and {}", machine.host, server.host),
        None => format!("Measured between two hosts on one machine ({})", machine.host),
    };
    let emulated = if report.emulated.is_empty() {
        "nothing was emulated"
    } else {
        "hosts and networks were emulated in the kernel, the traffic is real"
    };
    format!(
        "{place}, {} CPUs, Linux {}, MTU {}, {}; {emulated}.",
        machine.cpus, machine.kernel, machine.mtu, report.started
    )
}

/// The answer in a few large numbers.
fn tiles(report: &Report) -> Markup {
    let compare = |network, metric, bytes, more: &str, less: &str| {
        let ours = report.value(network, Elastane, metric, bytes)?;
        let theirs = report.value(network, Tcp, metric, bytes)?;
        let times = advantage(metric, ours, theirs)?;
        let is_better = times >= 1.0;
        let (times, words) = if is_better { (times, more) } else { (1.0 / times, less) };
        let detail = format!("{} against {}", figure(metric, ours), figure(metric, theirs));
        Some((is_better, units::ratio(times), words.to_owned(), detail))
    };
    let mut tiles = vec![
        compare(
            Network::Flat,
            Bandwidth,
            MIB,
            "the bandwidth of the best TCP stream",
            "less bandwidth than the best TCP stream",
        ),
        compare(
            Network::Multipath,
            Bandwidth,
            MIB,
            "TCP's bandwidth over four paths",
            "less bandwidth than TCP over four paths",
        ),
        compare(Network::Flat, LatencyP50, SMALL, "faster one way, 64 B", "slower one way, 64 B"),
        compare(
            Network::Flat,
            MessageRate,
            SMALL,
            "TCP's rate of 64 B messages",
            "fewer 64 B messages than TCP",
        ),
        compare(
            Network::PathCut,
            LongestStall,
            STALL_BYTES,
            "shorter stall when a path is cut",
            "longer stall when a path is cut",
        ),
        compare(Network::Flat, CpuPerGb, MIB, "less CPU per byte", "more CPU per byte"),
    ];
    tiles.retain(Option::is_some);
    html! {
        section.tiles {
            @for (is_better, number, words, detail) in tiles.into_iter().flatten() {
                div.tile.worse[!is_better] {
                    strong { (number) }
                    span { (words) }
                    small { (detail) }
                }
            }
        }
    }
}

fn bandwidth(report: &Report) -> Markup {
    by_size(
        report,
        Bandwidth,
        "Bandwidth by message size",
        "How much arrives per second when one side sends messages of a size as fast as it can. \
         Higher is better. Raw UDP loses what it likes: it is this machine's ceiling, no \
         alternative.",
    )
}

fn both_ways(report: &Report) -> Markup {
    by_size(
        report,
        BidirectionalBandwidth,
        "Bandwidth both ways",
        "Both sides send at once; the sum of what arrives. Higher is better.",
    )
}

/// A line per transport over the message sizes; bars if there is only one size.
fn by_size(report: &Report, metric: Metric, title: &str, sentence: &str) -> Markup {
    let network = Network::Flat;
    let sizes = report.sizes(network, metric);
    let transports = report.transports(network, metric);
    let chart = if let [only] = sizes.as_slice() {
        bars(&measured(report, network, metric, *only), Scale::Linear, &[])
    } else {
        let line = |&transport: &Transport| Line {
            transport,
            dashed: transport == UdpRaw,
            points: points(report, network, transport, metric, &sizes),
        };
        let all: Vec<_> = transports.iter().map(line).collect();
        html! { (legend(report, &transports)) (lines(&all, Axis::Linear, metric, title)) }
    };
    figure_of(report, network, title, sentence, !sizes.is_empty(), &chart)
}

fn latency(report: &Report) -> Markup {
    let network = Network::Flat;
    let mut all = Vec::new();
    for (name, metric) in [("p50", LatencyP50), ("p99", LatencyP99), ("p99.9", LatencyP99_9)] {
        for transport in [Elastane, Tcp, Libfabric, UdpRaw] {
            let lead = transport == Elastane && metric != LatencyP50;
            all.extend(report.value(network, transport, metric, SMALL).map(|value| Bar {
                label: format!("{name} {}", report.label(transport)),
                transport,
                value,
                text: figure(metric, value),
                lead,
            }));
        }
    }
    let sizes = report.sizes(network, LatencyP50);
    let mut over_sizes = Vec::new();
    for transport in [Elastane, Tcp] {
        for (metric, dashed) in [(LatencyP50, false), (LatencyP99_9, true)] {
            let points = points(report, network, transport, metric, &sizes);
            over_sizes.push(Line { transport, dashed, points });
        }
    }
    let chart = html! {
        (bars(&all, Scale::Linear, &[]))
        @if sizes.len() > 2 {
            p.sub { "By message size: median solid, p99.9 dashed. Both axes are logarithmic." }
            (legend(report, &[Elastane, Tcp]))
            (lines(&over_sizes, Axis::Logarithmic, LatencyP50, "Latency by message size"))
        }
    };
    figure_of(
        report,
        network,
        "Latency",
        "How long a 64-byte message takes one way (half of a round trip). Half of all take at \
         most p50, one in a hundred longer than p99, one in a thousand longer than p99.9. Lower \
         is better. TCP blocks or busy-polls, whichever is faster.",
        !all.is_empty(),
        &chart,
    )
}

fn message_rate(report: &Report) -> Markup {
    let all = measured(report, Network::Flat, MessageRate, SMALL);
    figure_of(
        report,
        Network::Flat,
        "Small messages per second",
        "Messages of 64 bytes, 64 of them before a reply. Higher is better. TCP makes one system \
         call for each message.",
        !all.is_empty(),
        &bars(&all, Scale::Linear, &[]),
    )
}

fn cpu(report: &Report) -> Markup {
    let all = measured(report, Network::Flat, CpuPerGb, MIB);
    figure_of(
        report,
        Network::Flat,
        "CPU time per gigabyte",
        "CPU seconds both sides together spend to move 10⁹ bytes in messages of 1 MiB. Lower is \
         better.",
        !all.is_empty(),
        &bars(&all, Scale::Linear, &[]),
    )
}

fn multipath(report: &Report) -> Markup {
    let all = measured(report, Network::Multipath, Bandwidth, MIB);
    figure_of(
        report,
        Network::Multipath,
        "Four paths of 1 Gb/s",
        "The network routes each flow over one of four paths. A TCP stream is one flow and gets \
         one path; four streams may meet on one. The line marks what all paths carry together. \
         Higher is better.",
        !all.is_empty(),
        &bars(&all, Scale::Linear, &Mark::goal(FOUR_PATHS, "4 Gb/s")),
    )
}

fn stalls(report: &Report) -> Markup {
    const SHORTEST_STALL: f64 = 1e-4;
    let all = measured(report, Network::PathCut, LongestStall, STALL_BYTES);
    let longest = all.iter().map(|bar| bar.value).fold(SHORTEST_STALL, f64::max);
    let decades: Vec<_> = [0.001, 0.01, 0.1, 1.0, 10.0]
        .into_iter()
        .filter(|decade| *decade < longest * 3.0)
        .map(|value| Mark { value, name: units::mark(value, LongestStall.unit()), faint: true })
        .collect();
    figure_of(
        report,
        Network::PathCut,
        "When a path is cut",
        "Each of the four paths is silently cut in turn while messages of 64 KiB flow: the \
         longest time in which none arrived. Lower is better. The scale is logarithmic: from \
         line to line it is ten times as long.",
        !all.is_empty(),
        &bars(&all, Scale::Logarithmic { from: SHORTEST_STALL }, &decades),
    )
}

fn loss(report: &Report) -> Markup {
    let mut all = Vec::new();
    for (network, label) in [(Network::Loss01, "0.1%"), (Network::Loss1, "1%")] {
        for transport in report.transports(network, Bandwidth) {
            let row = report.row(network, transport, Bandwidth, MIB);
            all.extend(row.and_then(|row| {
                let kept = row.value / row.undisturbed?;
                Some(Bar {
                    label: format!("{label} {}", transport.name()),
                    transport,
                    value: kept,
                    text: format!("{:.0}% · {}", kept * 100.0, figure(Bandwidth, row.value)),
                    lead: network == Network::Loss1 && transport == Elastane,
                })
            }));
        }
    }
    figure_of(
        report,
        Network::Loss1,
        "When packets are lost",
        "How much of its own bandwidth a transport keeps when one packet in a thousand, or one in \
         a hundred, is lost at random. Higher is better; the line marks 100%.",
        !all.is_empty(),
        &bars(&all, Scale::Linear, &Mark::goal(1.0, "100%")),
    )
}

fn shared(report: &Report) -> Markup {
    let all = measured(report, Network::SharedLink, Bandwidth, MIB);
    figure_of(
        report,
        Network::SharedLink,
        "Sharing a link with TCP",
        "Elastane and one cubic TCP stream send at once over one link of 1 Gb/s. Neither should \
         starve the other.",
        !all.is_empty(),
        &bars(&all, Scale::Linear, &[]),
    )
}

/// How many times better than TCP, as the figures themselves have different units.
fn one_host(report: &Report) -> Markup {
    let network = Network::OneHost;
    let bar = |&(metric, bytes): &(Metric, u64)| {
        let ours = report.value(network, Elastane, metric, bytes)?;
        let theirs = report.value(network, Tcp, metric, bytes)?;
        let times = advantage(metric, ours, theirs)?;
        Some(Bar {
            label: format!("{} {}", title(metric), units::size(bytes)),
            transport: Elastane,
            value: times,
            text: format!("{} · {}", units::ratio(times), figure(metric, ours)),
            lead: bytes == 8 && metric != LatencyP50 || bytes == 64 << 10,
        })
    };
    let all: Vec<_> = ON_ONE_HOST.iter().filter_map(bar).collect();
    figure_of(
        report,
        network,
        "Inside one host",
        "Two processes of one host: Elastane through shared memory against TCP over loopback, as \
         how many times better, and Elastane's own figure. The line marks TCP; what reaches beyond \
         is better, in latency shorter. The scale is logarithmic.",
        !all.is_empty(),
        &bars(&all, Scale::Logarithmic { from: 0.1 }, &Mark::goal(1.0, "TCP")),
    )
}

/// A chart with what it shows and what of it was emulated; nothing if nothing was measured.
fn figure_of(
    report: &Report,
    network: Network,
    title: &str,
    sentence: &str,
    measured: bool,
    chart: &Markup,
) -> Markup {
    let emulated = report.emulated.get(&network);
    html! {
        @if measured {
            figure {
                h2 { (title) }
                p { (sentence) }
                (chart)
                @if let Some(emulated) = emulated {
                    figcaption { "Emulated: " (emulated) "." }
                }
            }
        }
    }
}

fn legend(report: &Report, transports: &[Transport]) -> Markup {
    html! {
        ul.legend {
            @for transport in transports {
                li {
                    span class={ "chip " (transport.name()) } {}
                    (report.label(*transport))
                }
            }
        }
    }
}

fn measured(report: &Report, network: Network, metric: Metric, bytes: u64) -> Vec<Bar> {
    let bar = |transport: Transport| {
        let value = report.value(network, transport, metric, bytes)?;
        let label = report.label(transport);
        Some(Bar { label, transport, value, text: figure(metric, value), lead: false })
    };
    report.transports(network, metric).into_iter().filter_map(bar).collect()
}

fn points(
    report: &Report,
    network: Network,
    transport: Transport,
    metric: Metric,
    sizes: &[u64],
) -> Vec<(u64, f64)> {
    let point = |&bytes| Some((bytes, report.value(network, transport, metric, bytes)?));
    sizes.iter().filter_map(point).collect()
}

fn promises(checks: &[Check]) -> Markup {
    html! {
        @if !checks.is_empty() {
            section.wide {
                h2 { "What Elastane promises, and this run" }
                div.scroll {
                    table {
                        thead { tr { th { "promise" } th { "wanted" } th { "measured" } th {} } }
                        tbody {
                            @for check in checks {
                                tr {
                                    td { (check.network.name()) ": " (check.name) }
                                    td.number { (check.wanted_text()) }
                                    td.number { (check.measured_text()) }
                                    td class=(if check.met { "kept" } else { "missed" }) {
                                        (if check.met { "✓ kept" } else { "✗ missed" })
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How it was measured.
fn method(report: &Report) -> Markup {
    html! {
        section.wide {
            h2 { "How it was measured" }
            ul {
                li {
                    "Two processes, one on each host, each bound to one CPU. Transports take \
                     turns, round by round; a figure is the median of its rounds, of stalls the \
                     longest."
                }
                li {
                    "tcp is the best of several settings tried on each network first; tcp-default \
                     is what the system sets (" (report.machine.tcp_default) "); tcp-4 is four \
                     streams. All set TCP_NODELAY. udp-raw is UDP without any protocol above it."
                }
                @for beside in &report.beside {
                    li {
                        (beside.tool) " gave " (figure(beside.metric, beside.value)) " on "
                        (beside.network.name()) " in the same run."
                    }
                }
                @for (network, what) in &report.emulated {
                    li { "Emulated, " (network.name()) ": " (what) "." }
                }
                @for note in &report.notes { li { (note) "." } }
            }
        }
    }
}

/// Every figure, for whoever wants to check.
fn all_figures(report: &Report) -> Markup {
    html! {
        details.wide {
            summary { "All figures" }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "network" } th { "metric" } th { "bytes" } th { "transport" }
                            th { "value" } th { "samples" }
                        }
                    }
                    tbody {
                        @for row in &report.results {
                            tr {
                                td { (row.network.name()) }
                                td { (title(row.metric)) }
                                td.number { (row.bytes) }
                                td { (row.transport.name()) }
                                td.number { (figure(row.metric, row.value)) }
                                td.number { (samples(row.metric, &row.samples)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn samples(metric: Metric, samples: &[f64]) -> String {
    let mut text = String::new();
    for (index, sample) in samples.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(text, "{separator}{}", figure(metric, *sample)).expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn page_needs_nothing_from_elsewhere() {
        let page = render(&sample::report());
        let without_namespaces = page.replace("http://www.w3.org/2000/svg", "");
        for request in ["http://", "https://", "url(", "@import", "<script", "<link", "<img"] {
            assert!(!without_namespaces.contains(request), "the page contains {request}");
        }
    }

    #[test]
    fn page_has_the_ratios_and_every_chart() {
        let page = render(&sample::report());
        for expected in [
            "<strong>2.00x</strong><span>the bandwidth of the best TCP stream</span>",
            "<strong>3.95x</strong>",
            "Bandwidth by message size",
            "Four paths of 1 Gb/s",
            "When a path is cut",
            "When packets are lost",
            "CPU time per gigabyte",
            "20.0x · 300 ns",
            "✓ kept",
            "iperf 3.12, cubic gave 19.6 Gb/s on flat in the same run.",
        ] {
            assert!(page.contains(expected), "no {expected}");
        }
        assert_eq!(page.matches("<figure>").count(), 10);
    }

    #[test]
    fn figure_that_is_worse_says_so() {
        let mut report = sample::report();
        for row in &mut report.results {
            if row.transport == Elastane && row.metric == CpuPerGb {
                row.value *= 8.0;
            }
        }
        let page = render(&report);
        let worse =
            "<div class=\"tile worse\"><strong>4.00x</strong><span>more CPU per byte</span>";
        assert!(page.contains(worse));
        assert_eq!(page.matches("tile worse").count(), 1);
    }

    #[test]
    fn page_of_a_flat_network_only_leaves_the_other_charts_out() {
        let mut report = sample::report();
        report.results.retain(|row| row.network == Network::Flat);
        let page = render(&report);
        assert!(!page.contains("Four paths") && !page.contains("When a path is cut"));
        assert_eq!(page.matches("<figure>").count(), 5);
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let mut report = sample::report();
        report.notes.push("<b>bold</b>".to_owned());
        assert!(render(&report).contains("&lt;b&gt;bold&lt;/b&gt;"));
    }
}
