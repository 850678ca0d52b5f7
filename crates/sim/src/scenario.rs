//! Scenarios: everything that defines a run.

use std::fmt;

use rand::{RngExt, seq::IndexedRandom};
use serde::{Deserialize, Serialize};
use wire::Time;

use crate::{
    NetworkSpec, Pattern, Topology, Workload,
    fault::{Effect, Rule, Schedule, Selector, log_uniform},
    seed::{Purpose, stream},
};

/// A run, completely defined: the same scenario gives the same run on any machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// The network as it was built.
    pub network: NetworkSpec,
    /// What the applications do.
    pub workload: Workload,
    /// Whether faults of every kind strike, as the seed draws them.
    pub faults: bool,
    /// The probability that a packet is lost, from beginning to end.
    pub loss: f64,
    /// How many of the parallel paths lose 30% of their packets, from beginning to end.
    pub bad_paths: u16,
    /// Nanoseconds for which each of the parallel paths is cut in turn, after a pause of the same
    /// length; 0 for no cuts.
    pub cut_ns: u64,
    /// Seconds of virtual time, after all is healed, within which everything has to be over.
    pub limit_s: u64,
}

/// The loss on a bad path.
const BAD_PATH_LOSS: f64 = 0.3;
const LIMIT_S: u64 = 120;

impl Scenario {
    /// A scenario without faults on a network of the usual kind.
    pub fn new(seed: u64, topology: Topology, workload: Workload) -> Self {
        Self {
            seed,
            network: NetworkSpec::new(topology),
            workload,
            faults: false,
            loss: 0.0,
            bad_paths: 0,
            cut_ns: 0,
            limit_s: LIMIT_S,
        }
    }

    /// The scenario that `seed` draws: a small network of any shape, a random workload, and
    /// faults of every kind.
    pub fn random(seed: u64) -> Self {
        let rng = &mut stream(seed, Purpose::Scenario);
        let topology = match rng.random_range(0..10) {
            0 => Topology::Link,
            1..4 => Topology::MultiPath { paths: rng.random_range(2..=8) },
            4..7 => Topology::Star { hosts: rng.random_range(2..=8) },
            _ => Topology::Clos {
                leaves: rng.random_range(2..=3),
                spines: rng.random_range(1..=4),
                hosts_per_leaf: rng.random_range(1..=3),
            },
        };
        let pattern = match rng.random_range(0..10) {
            0 => Pattern::AllToAll,
            1 => Pattern::Incast,
            2 => Pattern::Permutation,
            3 => Pattern::PingPong,
            _ => Pattern::Random,
        };
        let (bytes, messages) = match pattern {
            Pattern::Random => (log_whole(rng, 1e3, 2e6), rng.random_range(10..150)),
            _ => (log_whole(rng, 10.0, 5e5), rng.random_range(1..6)),
        };
        let network = NetworkSpec {
            rate: *[1, 10, 25].choose(rng).unwrap_or(&10) * 1_000_000_000,
            delay_ns: log_whole(rng, 500.0, 5e4) as u64,
            queue: log_whole(rng, 1e5, 4e6),
            mark: *[50_000, 200_000, usize::MAX].choose(rng).unwrap_or(&200_000),
            mtu: *[1_500, 9_001].choose(rng).unwrap_or(&9_001),
            ipv6: rng.random_bool(0.3),
            ..NetworkSpec::new(topology)
        };
        let workload = Workload { pattern, bytes, messages };
        Self { network, faults: true, ..Self::new(seed, topology, workload) }
    }

    /// The faults of the run.
    pub fn schedule(&self) -> Schedule {
        let mut schedule =
            if self.faults { Schedule::swarm(self.seed, &self.network) } else { Schedule::none() };
        if self.loss > 0.0 {
            schedule.rules.push(Rule::always(Effect::Lose(self.loss)));
        }
        for path in 0..self.bad_paths {
            let selector = Selector { path: Some(path), ..Selector::default() };
            schedule.rules.push(Rule { selector, ..Rule::always(Effect::Lose(BAD_PATH_LOSS)) });
        }
        let cuts = if self.cut_ns > 0 { self.network.topology.paths() } else { 0 };
        for path in 0..cuts {
            let selector = Selector { path: Some(path), ..Selector::default() };
            let from = (2 * u64::from(path) + 1) * self.cut_ns;
            let [from, until] = [from, from + self.cut_ns].map(Time::from_nanos);
            schedule.rules.push(Rule { from, until, selector, effect: Effect::Cut });
        }
        schedule
    }

    /// The command that repeats the run.
    pub fn command(&self) -> impl fmt::Display {
        Command(self.clone())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds are positive")]
fn log_whole(rng: &mut impl rand::Rng, low: f64, high: f64) -> usize {
    log_uniform(rng, low, high) as usize
}

struct Command(Scenario);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { seed, network, workload, faults, loss, bad_paths, cut_ns, limit_s } =
            &self.0;
        write!(f, "elastane simulate --seed {seed}")?;
        if self.0 == Scenario::random(*seed) {
            return Ok(());
        }
        let Workload { pattern, bytes, messages } = workload;
        write!(f, " --topology {} --workload {pattern}", network.topology)?;
        write!(f, " --bytes {bytes} --messages {messages}")?;
        let usual = NetworkSpec::new(network.topology);
        if network.rate != usual.rate {
            write!(f, " --rate {}", network.rate)?;
        }
        if network.delay_ns != usual.delay_ns {
            write!(f, " --delay {}ns", network.delay_ns)?;
        }
        if network.mtu != usual.mtu {
            write!(f, " --mtu {}", network.mtu)?;
        }
        if network.ipv6 {
            write!(f, " --ipv6")?;
        }
        if *faults {
            write!(f, " --faults")?;
        }
        if *loss > 0.0 {
            write!(f, " --loss {loss}")?;
        }
        if *bad_paths > 0 {
            write!(f, " --bad-paths {bad_paths}")?;
        }
        if *cut_ns > 0 {
            write!(f, " --cut {cut_ns}ns")?;
        }
        if *limit_s != LIMIT_S {
            write!(f, " --limit {limit_s}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_scenario_is_replayed_by_its_seed_and_another_by_its_options() {
        assert_eq!(Scenario::random(7).command().to_string(), "elastane simulate --seed 7");
        let workload = Workload { pattern: Pattern::Incast, bytes: 1 << 20, messages: 1 };
        let scenario =
            Scenario { loss: 0.01, ..Scenario::new(3, Topology::Star { hosts: 65 }, workload) };
        assert_eq!(
            scenario.command().to_string(),
            "elastane simulate --seed 3 --topology star:65 --workload incast --bytes 1048576 \
             --messages 1 --loss 0.01"
        );
    }

    #[test]
    fn seeds_draw_different_networks() {
        let drawn: Vec<_> = (0..50).map(|seed| Scenario::random(seed).network).collect();
        let differ = |field: fn(&NetworkSpec) -> u64| {
            drawn.iter().any(|network| field(network) != field(&drawn[0]))
        };
        assert!(differ(|network| network.mtu as u64));
        assert!(differ(|network| network.rate));
        assert!(differ(|network| network.topology.hosts() as u64));
    }
}
