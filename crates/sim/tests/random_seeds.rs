//! Random scenarios, each from its seed, and those that once broke a promise.

use std::sync::atomic::{AtomicU64, Ordering};

use elastane_sim::{Outcome, Scenario, simulate};

/// Seeds that every run of the tests tries. Others: `elastane simulate --seed N`.
const SEEDS: u64 = 1_500;
const THREADS: usize = 2;

/// Simulates all `seeds`; the outcomes of those that broke a promise.
fn failures(seeds: &[u64]) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let work = || {
        let position = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok();
        std::iter::from_fn(|| seeds.get(position()?).copied())
            .map(|seed| simulate(&Scenario::random(seed)))
            .filter(|outcome| !outcome.is_clean())
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run panicked")).collect()
    })
}

fn assert_clean(seeds: &[u64]) {
    let failures = failures(seeds);
    let told: String = failures.iter().map(|outcome| format!("{outcome}\n")).collect();
    assert!(failures.is_empty(), "{} of {} seeds failed\n{told}", failures.len(), seeds.len());
}

#[test]
fn random_scenarios_keep_every_promise() {
    assert_clean(&Vec::from_iter(0..SEEDS));
}

#[test]
fn scenarios_that_once_failed_keep_every_promise() {
    let lines = include_str!("fixed_seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines
        .map(|line| line.split_once(' ').expect("a seed and a reason").0)
        .map(|seed| seed.parse().expect("a number"))
        .collect();
    assert!(!seeds.is_empty());
    assert_clean(&seeds);
}
