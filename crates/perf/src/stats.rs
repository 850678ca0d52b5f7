//! Medians and latency percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The median: the middle sample, or the mean of the two in the middle. `None` without samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The largest sample. `None` without samples.
pub fn largest(samples: &[f64]) -> Option<f64> {
    samples.iter().copied().max_by(f64::total_cmp)
}

/// One-way latencies, recorded one by one.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// Longer latencies count as this long.
    const LONGEST: Duration = Duration::from_secs(60);

    /// Nothing recorded yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, nanos(Self::LONGEST), 3)
            .expect("constant bounds within what the histogram supports");
        Self { histogram }
    }

    /// Records one round trip as two equal one-way latencies, as `osu_latency` and `ib_send_lat`
    /// do.
    pub fn round_trip(&mut self, took: Duration) {
        self.histogram.saturating_record(nanos(took / 2).max(1));
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The percentiles; `None` if nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        if self.histogram.is_empty() {
            return None;
        }
        let at = |quantile| Duration::from_nanos(self.histogram.value_at_quantile(quantile));
        Some(LatencySummary {
            min: Duration::from_nanos(self.histogram.min()),
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
            count: self.histogram.len(),
        })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Percentiles of one-way latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// The shortest.
    pub min: Duration,
    /// The median.
    pub p50: Duration,
    /// One in a hundred was longer.
    pub p99: Duration,
    /// One in a thousand was longer.
    pub p99_9: Duration,
    /// How many were recorded.
    pub count: u64,
}

#[expect(clippy::cast_possible_truncation, reason = "2^64 ns is 584 years")]
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_samples_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(largest(&[1.0, 9.0, 3.0]), Some(9.0));
    }

    #[test]
    fn latencies_of_a_known_distribution_have_its_percentiles() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), None);
        for micros in 1..=1000 {
            latencies.round_trip(Duration::from_micros(2 * micros));
        }
        let summary = latencies.summary().expect("a thousand were recorded");
        let close = |measured: Duration, micros: f64| {
            let error = (measured.as_secs_f64() * 1e6 / micros - 1.0).abs();
            assert!(error < 0.002, "{measured:?} is not {micros} us");
        };
        close(summary.min, 1.0);
        close(summary.p50, 500.0);
        close(summary.p99, 990.0);
        close(summary.p99_9, 999.0);
        assert_eq!(summary.count, 1000);
    }
}
