//! The one clock of the measurements.

use std::time::{Duration, Instant, SystemTime};

use wire::Time;

/// A monotonic clock. Cheap to copy; copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    #[expect(clippy::disallowed_methods, reason = "measurements need a real clock: this one")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since the clock was started.
    #[expect(clippy::cast_possible_truncation, reason = "2^64 ns is 584 years")]
    pub fn now(&self) -> Time {
        Time::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }
}

/// The time since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "captures carry the time of day")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The date and time, as RFC 3339 to the second.
#[expect(clippy::disallowed_methods, reason = "a report names the day it was made")]
pub fn date_and_time() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
