//! One-sided operations beside messages, between two hosts of a network on this machine: how long
//! a write of 64 bytes takes over how long a send takes, and the bandwidth of reads of 1 MiB over
//! that of sends. Both sides are bound to a processor of their own, and the tests take turns.
//!
//! `cargo run --release -p elastane-perf --example one_sided -- [--quick] FILE`
//!
//! Writes the figures of every round and the medians of their ratios to FILE, as JSON. Needs what
//! `elastane compare` needs to make networks.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use elastane_perf::{
    bench::{AtomicKind, Goal, Length, Listener, Local, Pair, Setup, Verb, Waiting, Wire},
    cpu::{self, Side},
};
use hosts::Network;
use serde::Serialize;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;

#[derive(Clone, Copy)]
struct Test {
    verb: Verb,
    goal: Goal,
    bytes: u64,
    count: u64,
}

/// What a round consists of, in this order.
const TESTS: [Test; 4] = [
    Test { verb: Verb::Send, goal: Goal::Latency, bytes: 64, count: 20_000 },
    Test { verb: Verb::Write, goal: Goal::Latency, bytes: 64, count: 20_000 },
    Test { verb: Verb::Send, goal: Goal::Bandwidth, bytes: 1 << 20, count: 2_000 },
    Test { verb: Verb::Read, goal: Goal::Bandwidth, bytes: 1 << 20, count: 2_000 },
];

#[derive(Serialize)]
struct Round {
    /// Microseconds, half of a round trip.
    send_latency: f64,
    write_latency: f64,
    /// Bytes per second.
    send_bandwidth: f64,
    read_bandwidth: f64,
}

#[derive(Serialize)]
struct Document {
    format: &'static str,
    version: u32,
    /// Medians over all rounds of the ratio within a round.
    write_latency_over_send: f64,
    read_bandwidth_over_send: f64,
    rounds: Vec<Round>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["server", test, at] => serve(test.parse()?, at.parse()?),
        ["client", test, address] => connect(test.parse()?, address.parse()?),
        [file, "--quick"] | ["--quick", file] => measure(file, QUICK_ROUNDS),
        [file] if !file.starts_with('-') => measure(file, ROUNDS),
        _ => Err("usage: one_sided [--quick] FILE".into()),
    }
}

fn measure(file: &str, count: usize) -> Result<(), Failure> {
    let network = Network::builder().build()?;
    let mut rounds = Vec::new();
    for round in 1..=count {
        eprintln!("round {round} of {count}");
        let [send_latency, write_latency, send_bandwidth, read_bandwidth] =
            [0, 1, 2, 3].map(|test| run(&network, test));
        rounds.push(Round {
            send_latency: send_latency?,
            write_latency: write_latency?,
            send_bandwidth: send_bandwidth?,
            read_bandwidth: read_bandwidth?,
        });
    }
    let median = |of: fn(&Round) -> f64| {
        let mut ratios: Vec<_> = rounds.iter().map(of).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    let document = Document {
        format: "elastane-one-sided",
        version: 1,
        write_latency_over_send: median(|round| round.write_latency / round.send_latency),
        read_bandwidth_over_send: median(|round| round.read_bandwidth / round.send_bandwidth),
        rounds,
    };
    fs::write(file, serde_json::to_string_pretty(&document)?)?;
    println!("64 B write latency over send's {:.2}", document.write_latency_over_send);
    println!("1 MiB read bandwidth over send's {:.2}", document.read_bandwidth_over_send);
    Ok(())
}

/// One test, between two processes in two hosts.
fn run(network: &Network, test: usize) -> Result<f64, Failure> {
    let [near, far] = network.hosts() else { return Err("a network of two hosts".into()) };
    let this = env::current_exe()?;
    let test = test.to_string();
    let at = SocketAddr::new(far.address(), 0).to_string();
    let mut server = far
        .command(&this)
        .args(["server", &test, &at])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let client = near.command(&this).args(["client", &test, address.trim()]).output()?;
    let served = server.wait()?;
    if !client.status.success() || !served.success() {
        let said = String::from_utf8_lossy(&client.stderr);
        return Err(format!("test {test}: {} and {served}: {said}", client.status).into());
    }
    Ok(String::from_utf8(client.stdout)?.trim().parse()?)
}

fn setup(test: usize) -> Result<(Setup, Local, Test), Failure> {
    let test = *TESTS.get(test).ok_or("there is no such test")?;
    let setup = Setup {
        verb: test.verb,
        atomic: AtomicKind::default(),
        goal: test.goal,
        wire: Wire::Fabric,
        provider: None,
        sizes: vec![test.bytes],
        length: Length::Iterations(test.count),
        endpoints: 1,
        bidirectional: false,
        reversed: false,
        warm_up: test.count / 10,
        verify: false,
        remote_data: false,
        gap: Duration::ZERO,
        endless: false,
        fits: false,
        longest: None,
    };
    let local = Local {
        tx_depth: 32,
        rx_depth: 64,
        post_list: 1,
        waiting: Waiting::Spin,
        peak: false,
        pace: None,
    };
    Ok((setup, local, test))
}

fn serve(test: usize, at: SocketAddr) -> Result<(), Failure> {
    cpu::pin(Side::Server)?;
    let (setup, local, test) = setup(test)?;
    let listener = Listener::open(at)?;
    println!("{}", listener.address()?);
    std::io::stdout().flush()?;
    let mut pair = listener.accept(setup, local)?;
    pair.measure(test.bytes)?;
    pair.close();
    Ok(())
}

fn connect(test: usize, address: SocketAddr) -> Result<(), Failure> {
    cpu::pin(Side::Client)?;
    let (setup, local, test) = setup(test)?;
    let mut pair = Pair::connect(address, setup, local)?;
    let row = pair.measure(test.bytes)?;
    pair.close();
    let figure = match test.goal {
        Goal::Latency => row.here.latency.ok_or("no latency")?.median,
        Goal::Bandwidth => {
            // Who gets the bytes says how fast they came.
            let got = row.there.received.or(row.here.sent);
            got.ok_or("no bandwidth")?.average()
        }
    };
    println!("{figure}");
    Ok(())
}
