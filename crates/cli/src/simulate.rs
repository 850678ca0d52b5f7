//! `elastane simulate`: the fabric on a simulated network.

use std::time::Duration;

use anyhow::{Result, bail};
use sim::{NetworkSpec, Pattern, Scenario, Topology, Workload};

use crate::{
    Verdict,
    args::SimulateArgs,
    interrupt::Interrupts,
    output::{self, Destination},
    progress::Progress,
};

pub(crate) fn run(args: &SimulateArgs, interrupts: &Interrupts) -> Result<Verdict> {
    let scenario = scenario(args)?;
    if let Some(json) = &args.json {
        json.check("--json")?;
    }
    let mut progress = Progress::new(interrupts);
    let Workload { pattern, .. } = scenario.workload;
    progress.spinner(format!("{pattern} on {}", scenario.network.topology));
    let outcome = sim::simulate(&scenario);
    progress.finish();
    if let Some(json) = &args.json {
        json.write(&(serde_json::to_string_pretty(&outcome)? + "\n"))?;
    }
    if args.json != Some(Destination::Stdout) {
        output::print(&outcome.to_string())?;
    }
    if outcome.is_clean() {
        return Ok(Verdict::Passed);
    }
    if args.json == Some(Destination::Stdout) {
        output::say(&format!("elastane: promises broken; replay with: {}", outcome.command));
    }
    Ok(Verdict::Failed)
}

/// What the options describe; what they leave open is as usual for the rest.
fn scenario(args: &SimulateArgs) -> Result<Scenario> {
    let SimulateArgs { seed, topology, hosts, workload, incast, all_to_all, size, .. } = args;
    let star = |hosts| Topology::Star { hosts };
    let (topology, pattern) = match (incast, all_to_all) {
        (Some(senders), _) => (Some(star(senders + 1)), Some(Pattern::Incast)),
        (None, Some(hosts)) => (Some(star(*hosts)), Some(Pattern::AllToAll)),
        (None, None) => (topology.or_else(|| hosts.map(star)), *workload),
    };
    if topology.is_none() && pattern.is_none() && describes_nothing(args) {
        return Ok(Scenario::random(*seed));
    }
    let pattern = pattern.unwrap_or(Pattern::Random);
    let topology = topology.unwrap_or(match pattern {
        Pattern::PingPong | Pattern::Stream => Topology::Link,
        _ => star(USUAL_HOSTS),
    });
    let usual = match pattern {
        Pattern::Random => 100,
        _ => 1,
    };
    let messages = args.messages.unwrap_or(usual);
    let workload = Workload { pattern, bytes: size.unwrap_or(USUAL_BYTES), messages };
    let mut scenario = Scenario::new(*seed, topology, workload);
    let SimulateArgs { rate, delay, mtu, ipv6, faults, loss, bad_paths, cut, limit, .. } = args;
    if *bad_paths > topology.paths() {
        bail!("--bad-paths {bad_paths}: {topology} has {} paths", topology.paths());
    }
    let network: &mut NetworkSpec = &mut scenario.network;
    network.rate = rate.unwrap_or(network.rate);
    if let Some(delay) = delay {
        network.delay_ns = nanoseconds(delay);
    }
    network.mtu = mtu.map_or(network.mtu, |mtu| mtu as usize);
    network.ipv6 = *ipv6;
    scenario.faults = *faults;
    scenario.loss = *loss;
    scenario.bad_paths = *bad_paths;
    scenario.cut_ns = cut.as_ref().map_or(0, nanoseconds);
    scenario.limit_s = limit.unwrap_or(scenario.limit_s);
    Ok(scenario)
}

fn nanoseconds(time: &Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const USUAL_HOSTS: u32 = 8;
const USUAL_BYTES: usize = 64 << 10;

/// Whether nothing but a seed is given.
fn describes_nothing(args: &SimulateArgs) -> bool {
    let SimulateArgs {
        size, messages, rate, delay, mtu, ipv6, loss, bad_paths, cut, limit, ..
    } = args;
    size.is_none()
        && messages.is_none()
        && rate.is_none()
        && delay.is_none()
        && mtu.is_none()
        && limit.is_none()
        && cut.is_none()
        && !ipv6
        && *loss == 0.0
        && *bad_paths == 0
}
