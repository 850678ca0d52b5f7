//! The one clock: everything below gets time as an argument.

use std::time::Instant;

use wire::Time;

/// A monotonic clock whose origin is its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock the lint points to")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since the start.
    #[inline]
    pub fn now(&self) -> Time {
        // A little ahead of the origin, so that no time is before the first.
        Time::from_nanos(1_000 + u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(0))
    }
}
