//! The report as text.

use std::fmt::Write as _;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle,
};

use crate::{
    checks::{Check, MIB, SMALL, STALL_BYTES},
    plan::{ONE_HOST_LARGE, ONE_HOST_SMALL},
    report::{Metric, Network, Report, Transport},
    units,
};

use Metric::{Bandwidth, CpuPerGb, LatencyP50, LatencyP99_9, LongestStall, MessageRate};
use Transport::{Elastane, Tcp};

/// How the text is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns there are; no line is longer.
    pub width: u16,
    /// Whether colours may be used: a terminal, and `NO_COLOR` not set.
    pub colour: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 80, colour: false }
    }
}

/// All of it: the answer first, then every figure.
pub fn render(report: &Report, style: Style) -> String {
    let mut text = String::new();
    section(&mut text, "", &summary(report, style).to_string());
    for network in Network::ALL {
        for metric in Metric::ALL {
            if let Some(table) = by_size(report, network, metric, style) {
                let title = format!("{}, {}", network.name(), title(metric));
                section(&mut text, &title, &table.to_string());
            }
        }
    }
    for beside in &report.beside {
        let figure = units::figure(beside.value, beside.unit);
        let line = format!("{} says {figure} on {}.", beside.tool, beside.network.name());
        section(&mut text, "", &wrap(&line, style.width, 0));
    }
    if !report.checks.is_empty() {
        section(&mut text, "promises", &promises(&report.checks, style).to_string());
    }
    section(&mut text, "", &conditions(report, style));
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if body.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if !title.is_empty() {
        text.push_str(title);
        text.push('\n');
    }
    for line in body.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The lines of the summary for a network.
const BETWEEN_HOSTS: [(Metric, u64); 6] = [
    (Bandwidth, MIB),
    (LatencyP50, SMALL),
    (LatencyP99_9, SMALL),
    (MessageRate, SMALL),
    (CpuPerGb, MIB),
    (LongestStall, STALL_BYTES),
];
/// The same for two processes of one host, of which the page has a bar each.
pub(crate) const ON_ONE_HOST: [(Metric, u64); 7] = [
    (LatencyP50, ONE_HOST_SMALL[0]),
    (LatencyP50, ONE_HOST_SMALL[1]),
    (MessageRate, ONE_HOST_SMALL[0]),
    (MessageRate, ONE_HOST_SMALL[1]),
    (Bandwidth, ONE_HOST_LARGE[0]),
    (Bandwidth, ONE_HOST_LARGE[1]),
    (Bandwidth, ONE_HOST_LARGE[2]),
];

/// What people look for: elastane beside the best single TCP stream, one line each.
///
/// "Better by" is oriented so that more than 1x is good, whether more or less of a metric is.
fn summary(report: &Report, style: Style) -> Table {
    let mut table = table(style, &["network", "", "elastane", "tcp", "better by"]);
    for network in Network::ALL {
        let lines = match network {
            Network::OneHost => &ON_ONE_HOST[..],
            _ => &BETWEEN_HOSTS[..],
        };
        for &(metric, bytes) in lines {
            let ours = report.value(network, Elastane, metric, bytes);
            let theirs = report.value(network, Tcp, metric, bytes);
            if ours.is_none() && theirs.is_none() {
                continue;
            }
            let what = format!("{} {}", title(metric), units::size(bytes));
            table.add_row([
                Cell::new(network.name()),
                Cell::new(what),
                number(metric, ours),
                number(metric, theirs),
                better_by(metric, ours, theirs, style),
            ]);
        }
    }
    table
}

/// A row per size, a column per transport, and how elastane compares to the best single TCP stream.
fn by_size(report: &Report, network: Network, metric: Metric, style: Style) -> Option<Table> {
    let transports = report.transports(network, metric);
    if transports.is_empty() {
        return None;
    }
    let compared = transports.contains(&Elastane) && transports.contains(&Tcp);
    let shortest = metric == LatencyP50 && transports.contains(&Elastane);
    let labels: Vec<String> = transports.iter().map(|&t| report.label(t)).collect();
    let mut headings = vec!["bytes"];
    headings.extend(labels.iter().map(String::as_str));
    if shortest {
        headings.push("min");
    }
    if compared {
        headings.push("better by");
    }
    let mut table = table(style, &headings);
    for bytes in report.sizes(network, metric) {
        let row = |transport| report.row(network, transport, metric, bytes);
        let value = |transport| row(transport).map(|row| row.value);
        let undisturbed = |transport| row(transport).and_then(|row| row.undisturbed);
        let mut cells = vec![right(bytes.to_string())];
        cells.extend(transports.iter().map(|&transport| number(metric, value(transport))));
        if shortest {
            cells.push(number(metric, row(Elastane).and_then(|row| row.min)));
        }
        if compared {
            cells.push(better_by(metric, value(Elastane), value(Tcp), style));
        }
        table.add_row(cells);
        if transports.iter().any(|&transport| undisturbed(transport).is_some()) {
            let mut cells = vec![right("no loss".to_owned())];
            let without = |&transport| number(metric, undisturbed(transport));
            cells.extend(transports.iter().map(without));
            if compared {
                cells.push(better_by(metric, undisturbed(Elastane), undisturbed(Tcp), style));
            }
            table.add_row(cells);
        }
    }
    Some(table)
}

fn promises(checks: &[Check], style: Style) -> Table {
    let mut table = table(style, &["promise", "wanted", "measured", ""]);
    for check in checks {
        let verdict = if check.met { ("kept", Color::Green) } else { ("MISSED", Color::Red) };
        table.add_row([
            Cell::new(format!("{}: {}", check.network.name(), check.name)),
            right(check.wanted_text()),
            right(check.measured_text()),
            coloured(Cell::new(verdict.0), verdict.1, style),
        ]);
    }
    table
}

/// What the figures were measured on.
fn conditions(report: &Report, style: Style) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} CPUs ({}), Linux {}, MTU {}, load {:.1}; began {}.\n",
        machine.host,
        machine.cpus,
        machine.cpu_model,
        machine.kernel,
        machine.mtu,
        machine.load,
        report.started
    );
    match &report.server {
        Some(server) => {
            writeln!(
                text,
                "The other side: {}, {} CPUs ({}), Linux {}, MTU {}.",
                server.host, server.cpus, server.cpu_model, server.kernel, server.mtu
            )
        }
        None => writeln!(text, "Both sides ran on this machine, each bound to one CPU."),
    }
    .expect("writing to a string");
    if report.emulated.is_empty() {
        text.push_str("Nothing was emulated.\n");
    }
    for (network, what) in &report.emulated {
        writeln!(text, "Emulated, {}: {what}.", network.name()).expect("writing to a string");
    }
    for note in &report.notes {
        writeln!(text, "Note, {note}.").expect("writing to a string");
    }
    text.lines().map(|line| wrap(line, style.width, 2)).collect()
}

/// A metric in words.
pub(crate) const fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Bandwidth => "bandwidth",
        Metric::BidirectionalBandwidth => "both-ways bandwidth",
        Metric::LatencyP50 => "latency p50",
        Metric::LatencyP99 => "latency p99",
        Metric::LatencyP99_9 => "latency p99.9",
        Metric::MessageRate => "message rate",
        Metric::CpuPerGb => "CPU per GB",
        Metric::LongestStall => "longest stall",
    }
}

/// A figure of this metric in words.
pub(crate) fn figure(metric: Metric, value: f64) -> String {
    match metric {
        Metric::CpuPerGb => units::cpu_per_gb(value),
        _ => units::figure(value, metric.unit()),
    }
}

/// A rule under the headings, and otherwise space.
const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

pub(crate) fn table(style: Style, headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(RULED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width);
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| {
        let cell = Cell::new(heading);
        if style.colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn number(metric: Metric, value: Option<f64>) -> Cell {
    right(value.map_or("-".to_owned(), |value| figure(metric, value)))
}

/// How many times better ours is; less than once is worse.
pub(crate) fn advantage(metric: Metric, ours: f64, theirs: f64) -> Option<f64> {
    let (more, less) = if metric.more_is_better() { (ours, theirs) } else { (theirs, ours) };
    (less > 0.0).then(|| more / less)
}

fn better_by(metric: Metric, ours: Option<f64>, theirs: Option<f64>, style: Style) -> Cell {
    let both = ours.zip(theirs);
    let Some(times) = both.and_then(|(ours, theirs)| advantage(metric, ours, theirs)) else {
        return right("-".to_owned());
    };
    let colour = if times >= 1.0 { Color::Green } else { Color::Red };
    coloured(right(units::ratio(times)), colour, style)
}

fn coloured(cell: Cell, colour: Color, style: Style) -> Cell {
    if style.colour { cell.fg(colour) } else { cell }
}

/// Breaks a line between words; what follows the first is indented.
fn wrap(line: &str, width: u16, indent: usize) -> String {
    let width = usize::from(width);
    let mut text = String::new();
    let mut column = 0;
    for word in line.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn summary_compares_with_tcp_line_by_line() {
        let text = render(&sample::report(), Style::default());
        let summary: Vec<_> = text.lines().take(7).collect();
        let expected = [
            " network                            elastane   tcp        better by",
            "─────────────────────────────────────────────────────────────────────",
            " flat         bandwidth 1 MiB       40.0 Gb/s  20.0 Gb/s      2.00x",
            " flat         latency p50 64 B        6.01 µs    12.0 µs      2.00x",
            " flat         latency p99.9 64 B      18.0 µs    36.1 µs      2.00x",
            " flat         message rate 64 B      2.50 M/s    625 k/s      4.00x",
            " flat         CPU per GB 1 MiB      0.32 s/GB  0.64 s/GB      2.00x",
        ];
        assert_eq!(summary, expected);
    }

    #[test]
    fn lossy_network_shows_the_same_without_loss() {
        let text = render(&sample::report(), Style::default());
        let lossy = text.split("loss-1%, bandwidth\n").nth(1).expect("it was measured");
        let lines: Vec<_> = lossy.lines().take(4).collect();
        let expected = [
            " bytes    elastane   tcp        tcp-default  better by",
            "────────────────────────────────────────────────────────",
            " 1048576  14.4 Gb/s  3.24 Gb/s    2.52 Gb/s      4.44x",
            " no loss  16.0 Gb/s  12.0 Gb/s    11.2 Gb/s      1.33x",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn text_keeps_to_its_width_and_has_no_escapes_without_colour() {
        let report = sample::report();
        for width in [80, 100] {
            let text = render(&report, Style { width, colour: false });
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(usize::from(width)), "{longest:?} columns");
            assert!(!text.contains('\u{1b}'), "an escape sequence");
        }
        assert!(render(&report, Style { width: 80, colour: true }).contains('\u{1b}'));
    }

    #[test]
    fn promises_that_were_not_measured_are_missed() {
        let mut report = sample::report();
        report.results.retain(|row| row.transport != Elastane || row.metric != MessageRate);
        report.checks = crate::checks::of(&report);
        let text = render(&report, Style::default());
        let line = text.lines().find(|line| line.contains("not measured")).expect("one such");
        assert!(line.contains("MISSED"), "{line}");
    }
}
