//! The same scenario is the same run, to the last packet.

use elastane_sim::{Pattern, Scenario, Topology, Workload, simulate};

#[test]
fn a_scenario_leaves_the_same_trace_every_time() {
    for seed in [3, 17, 40, 77, 123, 204] {
        let scenario = Scenario::random(seed);
        let (first, second) = (simulate(&scenario), simulate(&scenario));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.to_string(), second.to_string(), "seed {seed}");
    }
}

#[test]
fn seeds_leave_different_traces() {
    let workload = Workload { pattern: Pattern::Random, bytes: 10_000, messages: 20 };
    let trace = |seed| simulate(&Scenario::new(seed, Topology::Link, workload)).trace;
    assert_ne!(trace(1), trace(2));
}
