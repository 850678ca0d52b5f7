//! The one place with a clock: waits for a condition, within a bound, and measures.

use std::time::{Duration, Instant};

/// How long anything may take that has to happen at all.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// Fails unless `condition` comes true within the bound.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + BOUND;
    while !condition() {
        assert!(now() < deadline, "not within {BOUND:?}: {what}");
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        rustix::event::poll(&mut [], Some(&pause)).ok();
    }
}

/// How long `work` takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let before = now();
    work();
    now() - before
}

#[expect(clippy::disallowed_methods, reason = "real processes and links take real time")]
fn now() -> Instant {
    Instant::now()
}
