//! Time as the protocol sees it: a number handed in by whoever owns the clock.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point on the owner's monotonic clock, in nanoseconds since an arbitrary origin.
///
/// The protocol never reads a clock: the fabric passes real time, the simulator virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The stamp a datagram sent now carries.
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half, by definition")]
    pub const fn stamp(self) -> Stamp {
        Stamp(self.0 as u32)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    #[expect(clippy::cast_possible_truncation, reason = "2^64 ns is 584 years")]
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_nanos() as u64))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    #[expect(clippy::cast_possible_truncation, reason = "2^64 ns is 584 years")]
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by.as_nanos() as u64))
    }
}

/// The low 32 bits of a [`Time`] in nanoseconds: what a datagram carries and its ack echoes.
/// Wraps every 4.29 s, so a difference is meaningful for round trips below that (P§5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp(pub u32);

impl Stamp {
    /// The time from this stamp to `now`, modulo the wrap.
    pub const fn elapsed(self, now: Time) -> Duration {
        Duration::from_nanos(now.stamp().0.wrapping_sub(self.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_elapsed_survives_the_wrap() {
        let sent = Time::from_nanos(u64::from(u32::MAX) - 5);
        let now = sent + Duration::from_nanos(20);
        assert_eq!(sent.stamp().elapsed(now), Duration::from_nanos(20));
    }

    #[test]
    fn since_saturates_when_the_clock_is_behind() {
        assert_eq!(Time::from_nanos(3).since(Time::from_nanos(9)), Duration::ZERO);
    }
}
