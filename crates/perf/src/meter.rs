//! The receiver's meter: every transport's bandwidth, message rate and stalls are read from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::Time;

use crate::load::{LoadError, Test};

/// What a receiver saw of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Bytes that arrived in the measured time.
    pub bytes: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// Bytes that arrived at all: what the CPU time of the whole test was spent on.
    pub total_bytes: u64,
    /// The longest time in which no message was completed.
    pub longest_gap: Duration,
}

impl Flow {
    /// Bytes per second.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    pub fn bandwidth(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// Several flows that ran side by side as one. Its longest gap is the longest of any of them:
    /// whoever spreads a message over all waits for the slowest.
    pub fn together(flows: &[Self]) -> Option<Self> {
        let elapsed = flows.iter().map(|flow| flow.elapsed).max()?;
        let rate: f64 = flows.iter().map(Self::bandwidth).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of byte counts is neither negative nor beyond 2^63"
        )]
        let bytes = (rate * elapsed.as_secs_f64()).round() as u64;
        Some(Self {
            bytes,
            elapsed,
            total_bytes: flows.iter().map(|flow| flow.total_bytes).sum(),
            longest_gap: flows.iter().map(|flow| flow.longest_gap).max().unwrap_or_default(),
        })
    }
}

/// Measures a flow where it arrives. The measured time opens with the first arrival after the
/// warm-up and closes with the first arrival after the duration, so that whole intervals between
/// arrivals are counted; if nothing arrives any more it closes by the clock.
#[derive(Debug)]
pub struct Meter {
    message_bytes: u64,
    warm_up: Duration,
    duration: Duration,
    grace: Duration,
    first: Option<Time>,
    opened: Option<Time>,
    last: Time,
    bytes: u64,
    total_bytes: u64,
    messages: u64,
    last_message: Time,
    longest_gap: Duration,
    closed: bool,
}

impl Meter {
    /// A meter for the receiver of `test`.
    pub fn new(test: &Test) -> Self {
        Self {
            message_bytes: test.bytes.max(1),
            warm_up: test.warm_up,
            duration: test.duration,
            grace: test.tail(),
            first: None,
            opened: None,
            last: Time::ZERO,
            bytes: 0,
            total_bytes: 0,
            messages: 0,
            last_message: Time::ZERO,
            longest_gap: Duration::ZERO,
            closed: false,
        }
    }

    /// Counts `bytes` that arrived at `now`.
    #[inline]
    pub fn arrived(&mut self, now: Time, bytes: u64) {
        self.total_bytes += bytes;
        if self.closed {
            return;
        }
        let first = *self.first.get_or_insert(now);
        let Some(opened) = self.opened else {
            if now.since(first) >= self.warm_up {
                self.opened = Some(now);
                self.last = now;
                self.last_message = now;
                self.messages = self.total_bytes / self.message_bytes;
            }
            return;
        };
        self.bytes += bytes;
        self.last = now;
        let messages = self.total_bytes / self.message_bytes;
        if messages > self.messages {
            self.messages = messages;
            self.longest_gap = self.longest_gap.max(now.since(self.last_message));
            self.last_message = now;
        }
        self.closed = now.since(opened) >= self.duration;
    }

    /// Whether the measured time is over.
    #[inline]
    pub fn is_over(&self, now: Time) -> bool {
        self.closed
            || self
                .first
                .is_some_and(|first| now.since(first) >= self.warm_up + self.duration + self.grace)
    }

    /// What was measured, as of `now`.
    pub fn finish(mut self, now: Time) -> Result<Flow, LoadError> {
        let Some(first) = self.first else {
            return Err(LoadError::NothingArrived(self.warm_up + self.duration));
        };
        let ended = if self.closed { self.last } else { now };
        // A flow may stall from the warm-up to the end, or almost: then all of that is a gap, and
        // the measured time begins with it.
        let due = first + self.warm_up;
        let resumed = self.opened.unwrap_or(due);
        let is_late = now.since(resumed) < self.duration / 2 && self.is_over(now);
        let opened = if is_late { due } else { resumed };
        self.longest_gap = self.longest_gap.max(resumed.since(opened));
        self.last_message = self.last_message.max(opened);
        let elapsed = ended.since(opened);
        if elapsed < self.duration / 2 {
            return Err(LoadError::EndedEarly { measured: elapsed, wanted: self.duration });
        }
        Ok(Flow {
            bytes: self.bytes,
            elapsed,
            total_bytes: self.total_bytes,
            longest_gap: self.longest_gap.max(ended.since(self.last_message)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shape;

    const fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn test() -> Test {
        Test {
            warm_up: Duration::from_millis(100),
            ..Test::new(Shape::OneWay, 1000, Duration::from_millis(400))
        }
    }

    #[test]
    fn steady_flow_is_measured_after_the_warm_up_only() {
        let mut meter = Meter::new(&test());
        for millis in (1000..=1600).step_by(10) {
            if !meter.is_over(at(millis)) {
                meter.arrived(at(millis), 1000);
            }
        }
        let flow = meter.finish(at(1600)).expect("a full measurement");
        assert_eq!(flow.elapsed, Duration::from_millis(400));
        assert_eq!(flow.bytes, 40_000);
        assert_eq!(flow.total_bytes, 51_000);
        assert_eq!(flow.longest_gap, Duration::from_millis(10));
        assert!((flow.bandwidth() - 100_000.0).abs() < 1e-6);
    }

    #[test]
    fn gap_counts_completed_messages_not_bytes() {
        let mut meter = Meter::new(&test());
        for (millis, bytes) in [(0, 1000), (100, 1000), (150, 1000), (200, 999), (350, 1)] {
            meter.arrived(at(millis), bytes);
        }
        meter.arrived(at(500), 1000);
        let flow = meter.finish(at(500)).expect("a full measurement");
        assert_eq!(flow.longest_gap, Duration::from_millis(200));
    }

    #[test]
    fn flow_that_never_resumes_stalls_until_the_end() {
        let mut meter = Meter::new(&test());
        for millis in (0..=150).step_by(10) {
            meter.arrived(at(millis), 1000);
        }
        assert!(!meter.is_over(at(450)));
        assert!(meter.is_over(at(530)));
        let flow = meter.finish(at(530)).expect("the clock closed it");
        assert_eq!(flow.longest_gap, Duration::from_millis(380));
    }

    #[test]
    fn flow_that_resumes_just_before_the_end_stalled_until_then() {
        let mut meter = Meter::new(&test());
        for millis in (0..100).step_by(10).chain((480..=530).step_by(10)) {
            meter.arrived(at(millis), 1000);
        }
        let flow = meter.finish(at(530)).expect("the clock closed it");
        assert_eq!(flow.elapsed, Duration::from_millis(430));
        assert_eq!(flow.longest_gap, Duration::from_millis(380));
        assert_eq!(flow.bytes, 5000);
    }

    #[test]
    fn sender_that_leaves_is_reported_not_measured() {
        let mut meter = Meter::new(&test());
        meter.arrived(at(0), 1000);
        meter.arrived(at(110), 1000);
        let error = meter.finish(at(150)).expect_err("40 of 400 ms is no measurement");
        assert!(matches!(error, LoadError::EndedEarly { .. }), "{error}");
        let nothing = Meter::new(&test()).finish(at(1)).expect_err("nothing arrived");
        assert!(matches!(nothing, LoadError::NothingArrived(_)), "{nothing}");
    }

    #[test]
    fn flows_side_by_side_add_up() {
        let flow = |bytes, millis| Flow {
            bytes,
            elapsed: Duration::from_millis(millis),
            total_bytes: bytes,
            longest_gap: Duration::from_millis(millis / 10),
        };
        let sum = Flow::together(&[flow(1000, 100), flow(4000, 200)]).expect("two flows");
        assert!((sum.bandwidth() - 30_000.0).abs() < 1e-6);
        assert_eq!(sum.total_bytes, 5000);
        assert_eq!(sum.longest_gap, Duration::from_millis(20));
        assert_eq!(Flow::together(&[]), None);
    }
}
