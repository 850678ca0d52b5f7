//! The shape of performance, as tables of text: any change to recovery or congestion control
//! shows as a readable difference. Set `UPDATE_SNAPSHOTS=1` to accept what is measured.

use std::{env, fmt::Write, fs, path::Path};

use elastane_sim::{Outcome, Pattern, Scenario, Topology, Workload, simulate};

const SEED: u64 = 1;
/// Paths of 1 Gb/s, so that one short transfer is many round trips.
const RATE: u64 = 1_000_000_000;

fn measure(scenario: &Scenario) -> Outcome {
    let outcome = simulate(scenario);
    assert!(outcome.is_clean(), "{outcome}");
    outcome
}

/// A stream of 1 MiB messages, 16 at a time.
fn stream(paths: u16) -> Scenario {
    let workload = Workload { pattern: Pattern::Stream, bytes: 1 << 20, messages: 48 };
    let mut scenario = Scenario::new(SEED, Topology::MultiPath { paths }, workload);
    scenario.network.rate = RATE;
    scenario
}

/// Throughput of a run, as a share of all its links in percent.
fn share(scenario: &Scenario) -> f64 {
    let links = RATE * u64::from(scenario.network.topology.paths());
    measure(scenario).completion.throughput * 8.0 / links as f64 * 100.0
}

fn assert_snapshot(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, table).expect("the snapshot can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == table,
        "{name} changed; if that is intended, run again with UPDATE_SNAPSHOTS=1\n\
         before:\n{expected}\nnow:\n{table}"
    );
}

#[test]
fn throughput_by_loss_and_paths_is_as_recorded() {
    let mut table = String::from("throughput, % of the links\nloss   1 path  4 paths  8 paths\n");
    for loss in [0.0, 0.001, 0.01, 0.05] {
        let share = |paths| share(&Scenario { loss, ..stream(paths) });
        let (one, four, eight) = (share(1), share(4), share(8));
        let percent = loss * 100.0;
        writeln!(table, "{percent:3.1}%  {one:7.0}  {four:7.0}  {eight:7.0}").expect("a string");
    }
    assert_snapshot("throughput_by_loss.txt", &table);
}

#[test]
fn longest_stall_when_paths_are_cut_is_as_recorded() {
    let mut table = String::from(
        "64 KiB messages over 4 paths, each cut for 200 ms in turn, seeds 1 to 20\n\
         longest stall, ms: median, worst\n",
    );
    let mut stalls: Vec<_> = (1..=20)
        .map(|seed| {
            let workload = Workload { pattern: Pattern::Stream, bytes: 64 << 10, messages: 13_000 };
            let mut scenario = Scenario::new(seed, Topology::MultiPath { paths: 4 }, workload);
            scenario.network.rate = RATE;
            scenario.cut_ns = 200_000_000;
            measure(&scenario).completion.longest_gap_s * 1e3
        })
        .collect();
    stalls.sort_by(f64::total_cmp);
    writeln!(table, "{:.1}  {:.1}", stalls[10], stalls[19]).expect("a string");
    assert_snapshot("stall_by_cut.txt", &table);
}

#[test]
fn throughput_by_bad_paths_is_as_recorded() {
    let mut table = String::from(
        "throughput with paths that lose 30%, % of all 8 links\nbad paths  throughput\n",
    );
    for bad_paths in 0..=4 {
        let share = share(&Scenario { bad_paths, ..stream(8) });
        writeln!(table, "{bad_paths:9}  {share:10.0}").expect("a string");
    }
    assert_snapshot("throughput_by_bad_paths.txt", &table);
}

#[test]
fn incast_fairness_is_as_recorded() {
    let mut table = String::from(
        "incast of 1 MiB each at 10 Gb/s\nsenders  last / ideal  Jain fairness  packets dropped\n",
    );
    for hosts in [5, 17, 65] {
        let workload = Workload { pattern: Pattern::Incast, bytes: 1 << 20, messages: 1 };
        let outcome = measure(&Scenario::new(SEED, Topology::Star { hosts }, workload));
        let (senders, fairness) = (hosts - 1, outcome.fairness);
        let ratio = outcome.completion.last_s / outcome.completion.ideal_s;
        let drops = outcome.traffic.drops.total();
        writeln!(table, "{senders:7}  {ratio:12.2}  {fairness:13.2}  {drops:15}")
            .expect("a string");
    }
    assert_snapshot("incast.txt", &table);
}
