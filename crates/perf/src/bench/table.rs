//! The result of a test as a table for people.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::{
    document::{Document, Line},
    libfabric::Provider,
    setup::{Goal, Length, Wire},
};
use crate::{
    report::Unit,
    table::{Style, table},
    units,
};

/// The table, with what was measured above it and what the figures are below.
pub fn render(document: &Document, style: Style) -> String {
    let mut text = heading(document);
    text.push('\n');
    for line in rows(document, style).to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&footing(document));
    text
}

fn heading(document: &Document) -> String {
    let Document { test, setup, client, server, .. } = document;
    let wire = setup.transport();
    let length = match setup.length {
        Length::Iterations(count) => format!("{count} iterations"),
        Length::Time { whole, margin } => {
            format!("{} s less {} s at each end", whole.as_secs(), margin.as_secs_f64())
        }
    };
    let endpoints = match setup.endpoints {
        1 => "1 endpoint".to_owned(),
        count => format!("{count} endpoints"),
    };
    let cpu = |cpu: Option<usize>| cpu.map_or("not bound".to_owned(), |cpu| cpu.to_string());
    let cpus = document.rows.last().map_or(String::new(), |line| {
        format!("CPU client {}, server {}\n", cpu(line.client_on_cpu), cpu(line.server_on_cpu))
    });
    let provider = document.provider.as_ref().map_or(String::new(), |provider| {
        let Provider { name, fabric, domain, libfabric } = provider;
        format!("provider {name}, fabric {fabric}, domain {domain}, libfabric {libfabric}\n")
    });
    let both = if setup.bidirectional { ", both directions together" } else { "" };
    format!(
        "{test} over {wire}: {} to {}, {length}, {endpoints}{both}\n{provider}{cpus}",
        if setup.reversed { &server.host } else { &client.host },
        if setup.reversed { &client.host } else { &server.host },
    )
}

fn rows(document: &Document, style: Style) -> Table {
    let goal = document.setup.goal;
    let mut headings = match goal {
        Goal::Bandwidth => vec!["message", "count", "average", "peak", "messages"],
        Goal::Latency => {
            vec!["message", "count", "min", "median", "mean", "90%", "99%", "99.9%", "max"]
        }
    };
    headings.extend(["CPU client", "server"]);
    let mut table = table(style, &headings);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for line in &document.rows {
        table.add_row(cells(line, goal));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cells(line: &Line, goal: Goal) -> Vec<String> {
    let bandwidth = |value: Option<f64>| {
        value.map_or("-".to_owned(), |value| units::figure(value, Unit::BytesPerSecond))
    };
    let mut cells = vec![units::size(line.bytes), line.messages.to_string()];
    match (goal, line.latency_us) {
        (Goal::Bandwidth, _) => cells.extend([
            bandwidth(line.bandwidth),
            bandwidth(line.peak_bandwidth),
            units::figure(line.message_rate, Unit::PerSecond),
        ]),
        (Goal::Latency, Some(latency)) => cells.extend(
            [
                latency.min,
                latency.median,
                latency.mean,
                latency.p90,
                latency.p99,
                latency.p99_9,
                latency.max,
            ]
            .map(|micros| units::figure(micros / 1e6, Unit::Seconds)),
        ),
        (Goal::Latency, None) => cells.extend(std::iter::repeat_n("-".to_owned(), 7)),
    }
    let percent = |share: f64| format!("{:.0}%", share * 100.0);
    cells.extend([percent(line.client_cpu), percent(line.server_cpu)]);
    cells
}

fn footing(document: &Document) -> String {
    let setup = &document.setup;
    let mut lines = vec!["CPU: user and system time of each side's own process; 100% is one CPU."];
    match (setup.goal, setup.verb.is_answered()) {
        (Goal::Latency, true) => lines.push("Latency is half of a round trip."),
        (Goal::Latency, false) => lines.push("Latency is the whole of an operation."),
        (Goal::Bandwidth, _) => {}
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let lost: u64 = document.rows.iter().map(|line| line.lost).sum();
    if setup.wire == Wire::Datagram && setup.goal == Goal::Bandwidth {
        text.push_str(&format!(
            "Figures are of messages that arrived; {lost} were sent and did not.\n"
        ));
    }
    let verified: u64 = document.rows.iter().map(|line| line.verified_bytes).sum();
    if setup.verify {
        text.push_str(&format!("Verified: {verified} bytes arrived as they were sent.\n"));
    }
    text
}
