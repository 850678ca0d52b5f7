//! The clock of a host: it starts anywhere, runs a little fast or slow, and may jump ahead.

use wire::Time;

/// How a host's clock relates to the simulation's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostClock {
    /// What the clock shows when the simulation starts, in nanoseconds.
    pub offset: u64,
    /// Parts per million by which the clock runs fast; negative when slow.
    pub drift_ppm: i64,
    /// A moment of true time, in nanoseconds, and by how much the clock jumps ahead then.
    pub jump: Option<(u64, u64)>,
}

impl HostClock {
    /// What the clock shows at the true time `now`.
    pub fn local(&self, now: Time) -> Time {
        let jumped = match self.jump {
            Some((at, by)) if now.as_nanos() >= at => by,
            _ => 0,
        };
        Time::from_nanos(self.smooth(now.as_nanos()) + jumped)
    }

    /// The earliest true time at which the clock shows `local` or later.
    pub fn true_time(&self, local: Time) -> Time {
        if local == Time::NEVER {
            return Time::NEVER;
        }
        let target = local.as_nanos();
        let Some((at, by)) = self.jump else {
            return Time::from_nanos(self.smooth_inverse(target));
        };
        if at > 0 && target <= self.smooth(at - 1) {
            return Time::from_nanos(self.smooth_inverse(target));
        }
        Time::from_nanos(self.smooth_inverse(target.saturating_sub(by)).max(at))
    }

    /// The clock without its jump.
    fn smooth(&self, now: u64) -> u64 {
        let drift = now.cast_signed() / 1000 * self.drift_ppm / 1000;
        (self.offset + now).saturating_add_signed(drift)
    }

    /// The earliest time at which [`HostClock::smooth`] reaches `target`.
    fn smooth_inverse(&self, target: u64) -> u64 {
        let elapsed = target.saturating_sub(self.offset);
        let drift = i128::from(elapsed) * i128::from(self.drift_ppm)
            / i128::from(1_000_000 + self.drift_ppm);
        // Rounding in both directions leaves the guess off by a little.
        let guess = u64::try_from(i128::from(elapsed) - drift).unwrap_or(0);
        let (mut low, mut high) = (guess.saturating_sub(SLACK), guess + SLACK);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.smooth(middle) >= target {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// More than the rounding error of one conversion, in nanoseconds.
const SLACK: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_time_is_the_first_moment_the_clock_reaches_a_deadline() {
        for drift_ppm in [-500, -1, 0, 3, 500] {
            for jump in [None, Some((5_000_000, 7_000_000_000))] {
                let clock = HostClock { offset: 123_456_789, drift_ppm, jump };
                for now in [1, 999, 4_999_999, 5_000_000, 9_876_543_210, 86_400_000_000_000] {
                    let local = clock.local(Time::from_nanos(now));
                    let found = clock.true_time(local);
                    assert!(clock.local(found) >= local);
                    let before = Time::from_nanos(found.as_nanos().saturating_sub(1));
                    assert!(clock.local(before) < local, "{drift_ppm} {jump:?} {now}");
                }
            }
        }
    }

    #[test]
    fn a_deadline_inside_a_jump_is_reached_at_the_jump() {
        let clock = HostClock { offset: 0, drift_ppm: 0, jump: Some((1_000, 50_000)) };
        assert_eq!(clock.true_time(Time::from_nanos(30_000)), Time::from_nanos(1_000));
    }
}
