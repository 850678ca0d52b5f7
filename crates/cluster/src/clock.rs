//! The time of day, and how long something took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "records of a cluster hold the time of day")]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now, on a clock that never jumps.
#[expect(clippy::disallowed_methods, reason = "the waits of the cluster's processes are bounded")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// A time as `2022-02-15T19:54:42.460Z`.
pub fn shown(milliseconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
    humantime::format_rfc3339_millis(time).to_string()
}
