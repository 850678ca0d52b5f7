//! What comes out of a row.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One size, measured: what both sides found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Bytes of a message.
    pub bytes: u64,
    /// What this side measured of the operations it posted or of the messages it got.
    pub here: SideFigures,
    /// The same of the other side.
    pub there: SideFigures,
}

/// What one side found out in a row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SideFigures {
    /// Operations it posted.
    pub sent: Option<BandwidthFigures>,
    /// Messages that arrived at it, timed from the first.
    pub received: Option<BandwidthFigures>,
    /// Its round trips.
    pub latency: Option<LatencyFigures>,
    /// Every round trip in order, in nanoseconds; only where they were counted, and on this side.
    #[serde(skip)]
    pub samples: Vec<u64>,
    /// User and system time of its process during the row.
    pub cpu: Duration,
    /// How long the row took it.
    pub wall: Duration,
    /// Bytes it compared with what was sent.
    pub verified: u64,
    /// Messages of the other side that never arrived; only unreliable datagrams may be lost.
    pub lost: u64,
    /// The CPU it ran on, if it was bound to one.
    pub on_cpu: Option<usize>,
}

impl SideFigures {
    /// The share of one CPU that its process used; above 1 with several threads.
    pub fn cpu_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// How fast messages flowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BandwidthFigures {
    /// Messages that were counted.
    pub messages: u64,
    /// From the first that was posted to the last that completed.
    pub elapsed: Duration,
    /// Bytes of a message.
    pub bytes: u64,
    /// The fastest stretch of messages, in messages per second; `None` if it was not looked for.
    pub peak_rate: Option<f64>,
}

impl BandwidthFigures {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        as_f64(self.messages) / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Bytes per second.
    pub fn average(&self) -> f64 {
        self.rate() * as_f64(self.bytes)
    }

    /// Bytes per second in the fastest stretch.
    pub fn peak(&self) -> Option<f64> {
        self.peak_rate.map(|rate| rate * as_f64(self.bytes))
    }
}

/// The fastest stretch of messages, in messages per second: the most messages from a post to a
/// completion for the time between. Of `posted` and `completed`, both in nanoseconds, the entry N
/// is of the same message.
pub(super) fn peak_rate(posted: &[u64], completed: &[u64]) -> Option<f64> {
    let mut best = None;
    for (first, began) in posted.iter().enumerate() {
        for (count, ended) in (1u32..).zip(completed.get(first..)?) {
            let each = ended.saturating_sub(*began).max(1) / u64::from(count);
            if best.is_none_or(|best| each < best) {
                best = Some(each);
            }
        }
    }
    best.map(|nanos| 1e9 / as_f64(nanos.max(1)))
}

/// Latencies in microseconds: half of a round trip where the other side answers, all of it where
/// an operation needs no answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// The median.
    pub median: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// Nine of ten were not longer.
    pub p90: f64,
    /// 99 of 100 were not longer.
    pub p99: f64,
    /// 999 of 1000 were not longer.
    pub p99_9: f64,
    /// Operations per second.
    pub rate: f64,
}

impl LatencyFigures {
    /// Of counted round trips in nanoseconds, each divided by `parts`. `None` without any.
    pub(super) fn of_samples(samples: &[u64], parts: u32, elapsed: Duration) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let (&first, &last) = (sorted.first()?, sorted.last()?);
        let micros = |nanos: f64| nanos / 1e3 / f64::from(parts);
        let count = as_f64(sorted.len() as u64);
        let mean = sorted.iter().map(|&nanos| as_f64(nanos)).sum::<f64>() / count;
        let squares = sorted.iter().map(|&nanos| (as_f64(nanos) - mean).powi(2)).sum::<f64>();
        let at = |thousandths: usize| {
            let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
            micros(as_f64(sorted[rank - 1]))
        };
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(as_f64(sorted[middle - 1]), as_f64(sorted[middle])),
            _ => as_f64(sorted[middle]),
        };
        Some(Self {
            count: sorted.len() as u64,
            min: micros(as_f64(first)),
            max: micros(as_f64(last)),
            median: micros(median),
            mean: micros(mean),
            deviation: micros((squares / count).sqrt()),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
            rate: count / elapsed.as_secs_f64().max(1e-9),
        })
    }

    /// Of a histogram of round trips in nanoseconds: exact to three digits.
    pub(super) fn of_histogram(
        histogram: &Histogram<u64>,
        parts: u32,
        elapsed: Duration,
    ) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let micros = |nanos: f64| nanos / 1e3 / f64::from(parts);
        let at = |quantile| micros(as_f64(histogram.value_at_quantile(quantile)));
        Some(Self {
            count: histogram.len(),
            min: micros(as_f64(histogram.min())),
            max: micros(as_f64(histogram.max())),
            median: at(0.5),
            mean: micros(histogram.mean()),
            deviation: micros(histogram.stdev()),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            rate: as_f64(histogram.len()) / elapsed.as_secs_f64().max(1e-9),
        })
    }
}

/// A count or a size as a figure; above 2^53 rounded, which no test reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement stay below 2^53")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_round_trips() {
        let samples: Vec<u64> = (1..=1000).rev().map(|n| n * 2000).collect();
        let figures = LatencyFigures::of_samples(&samples, 2, Duration::from_secs(1))
            .expect("there are some");
        let expected = LatencyFigures {
            count: 1000,
            min: 1.0,
            max: 1000.0,
            median: 500.5,
            mean: 500.5,
            deviation: 288.675,
            p90: 900.0,
            p99: 990.0,
            p99_9: 999.0,
            rate: 1000.0,
        };
        assert!((figures.deviation - expected.deviation).abs() < 0.001, "{figures:?}");
        assert_eq!(LatencyFigures { deviation: expected.deviation, ..figures }, expected);
        assert_eq!(LatencyFigures::of_samples(&[], 2, Duration::ZERO), None);
    }

    #[test]
    fn peak_is_the_fastest_stretch() {
        // 100 ns each, but the third and fourth together took 60.
        let posted = [0, 100, 200, 230];
        let completed = [100, 200, 230, 260];
        let peak = peak_rate(&posted, &completed).expect("there are messages");
        assert!((peak - 1e9 / 30.0).abs() < 1.0, "{peak}");
        assert_eq!(peak_rate(&[], &[]), None);
    }
}
