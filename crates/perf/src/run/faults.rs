//! Disturbing the network while a test runs on it.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// What can be done to an emulated network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Path `i`, counted from 0, swallows everything from now on.
    CutPath(usize),
    /// It carries again.
    RestorePath(usize),
    /// So many of a hundred packets are lost; 0 ends it.
    Loss(f64),
}

/// Whoever holds the network. It may live in another process ([`crate::relay`]).
pub trait FaultControl {
    /// Does it, and returns when it is done.
    fn apply(&mut self, fault: Fault) -> Result<(), FaultError>;
}

/// Why a fault could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply {fault:?}: {why}")]
pub struct FaultError {
    /// The fault.
    pub fault: Fault,
    /// The reason, in the words of whoever holds the network.
    pub why: String,
}

/// Control of a real network: there is none.
#[derive(Clone, Copy, Debug)]
pub struct NoFaults;

impl FaultControl for NoFaults {
    fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
        Err(FaultError { fault, why: "a real network is not disturbed".to_owned() })
    }
}

/// Cuts path after path, each for `cut`, with all of them `whole` in between, beginning after
/// `lead`. The times are from the beginning of the test.
pub(super) fn cut_each_path(
    paths: usize,
    cut: Duration,
    whole: Duration,
    lead: Duration,
) -> Vec<(Duration, Fault)> {
    let mut at = lead + whole / 2;
    let mut schedule = Vec::new();
    for path in 0..paths {
        schedule.push((at, Fault::CutPath(path)));
        schedule.push((at + cut, Fault::RestorePath(path)));
        at += cut + whole;
    }
    schedule
}

/// Runs `test` and meanwhile applies the schedule. Whatever comes of the test, each path that was
/// cut is restored.
pub(super) fn during<R>(
    control: &mut (dyn FaultControl + Send),
    schedule: &[(Duration, Fault)],
    test: impl FnOnce() -> R,
) -> Result<R, FaultError> {
    let (ended, until_ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let clock = Clock::start();
        let applying = scope.spawn(move || {
            let mut over = false;
            for &(at, fault) in schedule {
                let left = at.saturating_sub(Duration::from_nanos(clock.now().as_nanos()));
                over =
                    over || until_ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected);
                if !over || matches!(fault, Fault::RestorePath(_)) {
                    control.apply(fault)?;
                }
            }
            Ok(())
        });
        let result = test();
        drop(ended);
        applying.join().expect("applying faults does not panic").map(|()| result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what it was told.
    #[derive(Default)]
    struct Witness(Vec<Fault>);

    impl FaultControl for Witness {
        fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
            self.0.push(fault);
            Ok(())
        }
    }

    #[test]
    fn each_path_is_cut_alone() {
        let millis = Duration::from_millis;
        let schedule = cut_each_path(4, millis(500), millis(300), millis(1000));
        assert_eq!(schedule[0], (millis(1150), Fault::CutPath(0)));
        assert_eq!(schedule[1], (millis(1650), Fault::RestorePath(0)));
        assert_eq!(schedule[6], (millis(3550), Fault::CutPath(3)));
        assert!(schedule.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn test_that_ends_early_leaves_every_path_restored() {
        let mut witness = Witness::default();
        let schedule = cut_each_path(2, Duration::from_secs(60), Duration::ZERO, Duration::ZERO);
        let result = during(&mut witness, &schedule, || 7).expect("the witness accepts all");
        assert_eq!(result, 7);
        let Witness(told) = witness;
        let restored = |path| told.contains(&Fault::RestorePath(path));
        assert!(restored(0) && restored(1), "{told:?}");
        assert!(!told.contains(&Fault::CutPath(1)), "{told:?}");
    }

    /// Says that it was asked, and refuses.
    struct Refusing(mpsc::Sender<()>);

    impl FaultControl for Refusing {
        fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
            self.0.send(()).expect("the test waits for this");
            NoFaults.apply(fault)
        }
    }

    #[test]
    fn fault_that_cannot_be_applied_is_reported() {
        let (asked, wait) = mpsc::channel();
        let schedule = [(Duration::ZERO, Fault::CutPath(0))];
        let error = during(&mut Refusing(asked), &schedule, || wait.recv());
        let error = error.expect_err("a real network");
        assert!(error.to_string().starts_with("cannot apply CutPath(0)"), "{error}");
    }
}
