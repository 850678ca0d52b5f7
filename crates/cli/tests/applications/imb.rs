//! Intel's MPI benchmarks: each prints a table per benchmark, with a line for each size.
//!
//! The packaged programs are built without their check of data (they accept its option and ignore
//! it): what these tests hold is that every benchmark ends, with all its lines.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use hosts::{Flat, Loss, Multipath, Network, Segmentation};

use crate::job::{Job, Mpi, Over, TwoHosts};

fn job<'a>(ranks: u32, hosts: Option<&'a TwoHosts>) -> Job<'a> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Job { mpi: Mpi::Intel, over: Over::Elastane, ranks, hosts, folder, bound: 120 }
}

fn program(name: &str) -> PathBuf {
    Mpi::Intel.bin().join(name)
}

/// What a benchmark printed.
#[derive(Debug)]
struct Table<'a> {
    name: &'a str,
    /// Whether its lines begin with a size.
    sized: bool,
    /// The first figure of each line.
    first: Vec<u64>,
}

fn tables(printed: &str) -> Vec<Table<'_>> {
    let mut tables = Vec::<Table<'_>>::new();
    for line in printed.lines() {
        if let Some(name) = line.strip_prefix("# Benchmarking ") {
            // Some say how ranks are arranged: "Stencil2D (2 x 2)".
            let name = name.split_whitespace().next().unwrap_or_default();
            tables.push(Table { name, sized: false, first: Vec::new() });
        } else if let Some(table) = tables.last_mut() {
            let first = line.split_whitespace().next();
            table.sized |= first == Some("#bytes");
            table.first.extend(first.and_then(|word| word.parse::<u64>().ok()));
        }
    }
    tables
}

/// The benchmarks that the program says it will run.
fn announced(printed: &str) -> Vec<&str> {
    let (_, list) = printed.split_once("# List of Benchmarks to run:").expect("a list");
    // The list ends where the first table begins. Some names have a note below them.
    let lines = list.lines().take_while(|line| !line.starts_with("#--"));
    let names = lines.filter_map(|line| line.strip_prefix("# ")).map(str::trim_end);
    names.filter(|name| !name.is_empty() && !name.contains(' ')).collect()
}

/// Every benchmark has its table, up to the largest size.
#[track_caller]
fn is_complete(printed: &str, ranks: u32, largest: u64) {
    let names = announced(printed);
    assert!(!names.is_empty(), "{printed}");
    let tables = tables(printed);
    for name in names {
        // Grids of so few ranks do not exist.
        if printed.contains(&format!("Benchmark {name} is invalid for {ranks} processes")) {
            assert!(name.starts_with("Stencil"), "{name}: {printed}");
            continue;
        }
        let of_name: Vec<_> = tables.iter().filter(|table| table.name == name).collect();
        assert!(!of_name.is_empty(), "no table of {name}: {printed}");
        for table in of_name {
            let last = table.first.last();
            assert!(last.is_some(), "{table:?}: {printed}");
            // These two are of one datum each.
            let all_sizes = table.sized && !["Fetch_and_op", "Compare_and_swap"].contains(&name);
            assert!(!all_sizes || last == Some(&largest), "{table:?}: {printed}");
        }
    }
}

/// Every benchmark of the program, in one host, by two ranks and by four.
#[track_caller]
fn passes(name: &str) {
    for ranks in [2, 4] {
        let job = job(ranks, None);
        let finished = job.run(&program(name), &["-iter", "3", "-msglog", "13:15"]);
        finished.must_succeed(&job);
        is_complete(&finished.stdout, ranks, 1 << 15);
    }
}

#[test]
fn mpi1_in_one_host() {
    passes("IMB-MPI1");
}

#[test]
fn p2p_in_one_host() {
    passes("IMB-P2P");
}

#[test]
fn nbc_in_one_host() {
    passes("IMB-NBC");
}

#[test]
fn rma_in_one_host() {
    passes("IMB-RMA");
}

/// One benchmark by two ranks in all sizes up to 4 MiB, through the ring and out of the sender.
#[test]
fn every_size_in_one_host() {
    let job = job(2, None);
    let finished = job.run(&program("IMB-MPI1"), &["-iter", "5", "PingPong", "Exchange"]);
    finished.must_succeed(&job);
    is_complete(&finished.stdout, 2, 1 << 22);
}

#[test]
fn one_packet_in_a_hundred_is_lost() {
    let flat = Flat { segmentation: Segmentation::Off, ..Flat::default() };
    let network = Network::builder().flat(flat).build().expect("a network");
    network.set_loss(Loss::percent(1.0).expect("a share")).expect("packets can be lost");
    let hosts = TwoHosts::new(network);
    for (name, benchmarks) in [
        ("IMB-MPI1", &["PingPong", "Exchange", "Allreduce", "Alltoall"][..]),
        ("IMB-RMA", &["All_put_all", "Get_accumulate"]),
    ] {
        let job = job(4, Some(&hosts));
        let arguments = [&["-iter", "3", "-msglog", "10:17"], benchmarks].concat();
        let finished = job.run(&program(name), &arguments);
        finished.must_succeed(&job);
        is_complete(&finished.stdout, 4, 1 << 17);
    }
}

/// A path falls silent while messages are on it, and another one carries them.
#[test]
fn path_is_cut_while_messages_are_under_way() {
    let network = Network::builder().multipath(Multipath::default()).build().expect("a network");
    let hosts = TwoHosts::new(network);
    let job = job(2, Some(&hosts));
    let arguments = ["-iter", "5", "-iter_policy", "off", "-time", "60", "-msglog", "10:15"];
    let mut command =
        job.command(&program("IMB-MPI1"), &[&arguments[..], &["Exchange", "Alltoall"]].concat());
    let mut child = command.spawn().expect("the job starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut printed = String::new();
    // Most sizes of each benchmark follow this line.
    while !printed.lines().last().is_some_and(|line| line.trim_start().starts_with("1024 ")) {
        let read = lines.read_line(&mut printed).expect("the pipe works");
        assert!(read > 0, "{printed}");
    }
    hosts.network.cut_path(0).expect("the path can be cut");
    lines.read_to_string(&mut printed).expect("the pipe works");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{stderr}");
    assert!(stderr.contains("2 of 2 ranks used elastane"), "{stderr}");
    is_complete(&printed, 2, 1 << 15);
}
