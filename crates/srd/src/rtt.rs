//! Round-trip estimation, RFC 6298 in nanoseconds.

use std::time::Duration;

/// Smoothed round trip and its variation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rtt {
    smoothed: u64,
    variation: u64,
}

impl Rtt {
    pub(crate) fn on_sample(&mut self, sample: Duration) {
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX).max(1);
        if self.smoothed == 0 {
            self.smoothed = sample;
            self.variation = sample / 2;
        } else {
            self.variation = (3 * self.variation + self.smoothed.abs_diff(sample)) / 4;
            self.smoothed = (7 * self.smoothed + sample) / 8;
        }
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.smoothed != 0
    }

    /// The smoothed round trip; zero while unknown.
    pub(crate) const fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.smoothed)
    }

    /// The time after which an answer is overdue: smoothed + 4 x variation.
    pub(crate) const fn overdue(&self) -> Duration {
        Duration::from_nanos(self.smoothed + 4 * self.variation)
    }
}
