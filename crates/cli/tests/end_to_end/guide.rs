//! The commands of docs/guides/perftest.md, each run as it is written there.

use std::{collections::BTreeSet, process::Command, process::Stdio};

use crate::{
    links::{Links, free_port, rows},
    running::{Finished, Running},
};

const GUIDE: &str = include_str!("../../../../docs/guides/perftest.md");
/// The server of the guide.
const SERVER: &str = "172.31.94.37";
/// A million round trips take minutes where others use the CPUs: the test does fewer of them.
const SHORTER: (&str, &str) = ("-n 1000000", "-n 20000");

/// The commands in the page: lines of code, and code in tables.
fn commands() -> BTreeSet<&'static str> {
    let lines = GUIDE.lines().map(str::trim).filter(|line| line.starts_with("ib_"));
    let cells = GUIDE.split('`').filter(|text| text.starts_with("ib_") && text.contains(' '));
    let commands = lines.chain(cells).map(|command| match command.split_once('#') {
        Some((command, _)) => command.trim(),
        None => command.trim(),
    });
    // What a tool says of itself, prints, or does in a loop (see below) is not of two sides.
    let alone = |command: &&str| {
        !command.contains(" -V") && !command.contains(['$', ':']) && !command.contains("--help")
    };
    commands.filter(alone).collect()
}

#[test]
fn each_command_runs_as_written_and_the_usual_awk_finds_its_figures() {
    let links = Links::install();
    let commands = commands();
    let clients = || commands.iter().filter_map(|command| command.strip_suffix(SERVER));
    assert!(clients().count() >= 20, "{commands:?}");
    for server in commands.iter().filter(|command| !command.ends_with(SERVER)) {
        assert!(clients().any(|client| client.trim() == *server), "{server} has no client");
    }
    for line in clients() {
        let line = line.trim().replace(SHORTER.0, SHORTER.1);
        let (client, server) = links.measure(&line);
        if line.contains("_lat") {
            [&client, &server].into_iter().for_each(|side| check_latency(&line, side));
        } else {
            check_bandwidth(&line, &client);
            assert_eq!(rows(server.success()).len(), 1, "{line}: {server:?}");
        }
        assert_eq!(line.contains("-d "), client.stderr.contains("software device"), "{client:?}");
        assert_eq!(line.contains("-T"), client.stderr.contains("not TCP"), "{client:?}");
    }
}

#[track_caller]
fn check_bandwidth(line: &str, client: &Finished) {
    let found = rows(client.success());
    assert_eq!(found.len(), 1, "{line}: {client:?}");
    let [bytes, _, peak, average, rate] = found[0][..] else { panic!("{client:?}") };
    let has_peak = peak > 0.0;
    assert_eq!(has_peak, !client.stdout.contains("peak won't be measured"), "{client:?}");
    assert!((!has_peak || peak * 1.01 >= average) && average > 0.0, "{line}: {client:?}");
    // Both are rounded, the message rate to 6 digits after the point.
    let product = rate * 1e6 * bytes / 1_048_576.0;
    let rounding = 0.01 + 1e-6 * bytes;
    assert!((product - average).abs() <= rounding + average * 0.01, "{line}: {client:?}");
}

#[track_caller]
fn check_latency(line: &str, side: &Finished) {
    let found = rows(side.success());
    let [_, count, min, max, typical, _, _, p99, p99_9] = found[0][..] else { panic!("{side:?}") };
    assert_eq!(count, if line.contains("-n 20000") { 20_000.0 } else { 1000.0 }, "{line}");
    assert!([min, typical, p99, p99_9, max].is_sorted(), "{side:?}");
}

/// A block of shell code that has this in it, for a port of its own and this host.
fn script(with: &str, port: u16) -> String {
    let blocks = GUIDE.split("```").filter_map(|block| block.strip_prefix("bash\n"));
    let block = blocks.into_iter().find(|block| block.contains(with)).expect("it is in the page");
    block.replace("ib_send_bw ", &format!("ib_send_bw -p {port} ")).replace(SERVER, "127.0.0.1")
}

fn start(links: &Links, script: &str) -> Running {
    let path = std::env::var("PATH").expect("it is set");
    let mut command = Command::new("bash");
    command.args(["-euc", script]).env("PATH", format!("{}:{path}", links.folder().display()));
    command.current_dir(links.folder()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(command)
}

#[test]
fn loops_over_sizes_fill_their_tables() {
    for (server, client, table) in [
        ("--transport tcp\ndone", "awk -v", "client"),
        ("bandwidth_results.csv", "for tos in", "server"),
    ] {
        let links = Links::install();
        let port = free_port();
        let server = start(&links, &script(server, port));
        let client = start(&links, &script(client, port)).finish();
        let server = server.finish();
        assert_eq!((client.status, server.status), (0, 0), "{client:?}\n{server:?}");
        let written = links.folder().join("bandwidth_results.csv");
        let lines = match table {
            "client" => client.stdout,
            _ => std::fs::read_to_string(written).expect("it is written"),
        };
        let lines: Vec<Vec<f64>> = lines
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .map(|line| line.split(',').map(|word| word.parse().expect(line)).collect())
            .collect();
        let sizes: Vec<f64> = lines.iter().map(|line| line[0]).collect();
        assert_eq!(sizes, [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0]);
        assert!(lines.iter().all(|l| l.len() == 3 && l[1] > 0.0 && l[2] > 0.0), "{lines:?}");
    }
}
