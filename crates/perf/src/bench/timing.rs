//! When operations of a row were posted and completed, and when messages arrived.

use std::time::Duration;

use wire::Time;

use super::{
    BenchError,
    figures::{BandwidthFigures, peak_rate},
    flow::{Counts, Task},
    lane::Lane,
    setup::{Length, Local, Pace},
    watch::Watch,
};

/// The part of a row that is measured where the row is bounded by time: what was counted when it
/// opened and when it closed.
#[derive(Default)]
struct Window {
    bounds: Option<(Time, Time)>,
    opened: Option<(Time, u64)>,
    closed: Option<(Time, u64)>,
}

impl Window {
    fn new(length: Length, began: Time) -> Self {
        let bounds = match length {
            Length::Iterations(_) => None,
            Length::Time { whole, margin } => Some((began + margin, began + (whole - margin))),
        };
        Self { bounds, opened: None, closed: None }
    }

    fn look(&mut self, now: Time, count: u64) {
        let Some((opens, closes)) = self.bounds else { return };
        if now >= opens {
            self.opened.get_or_insert((now, count));
        }
        if now >= closes {
            self.closed.get_or_insert((now, count));
        }
    }

    /// Closes it at `now` at the latest.
    fn close(&mut self, now: Time) {
        self.bounds = self.bounds.map(|(opens, closes)| (opens, closes.min(now)));
    }

    /// What was counted within. A row that ended before the window closed ended with `last`.
    fn figures(&self, bytes: u64, last: (Time, u64)) -> Option<BandwidthFigures> {
        let (from, before) = self.opened?;
        let (to, after) = self.closed.unwrap_or(last);
        let (messages, elapsed) = (after.saturating_sub(before), to.since(from));
        Some(BandwidthFigures { messages, elapsed, bytes, peak_rate: None })
    }
}

/// Bursts, and the pauses between them.
struct Bursts {
    burst: u64,
    interval: Duration,
    left: u64,
    next: Time,
}

impl Bursts {
    fn new(pace: Pace, bytes: usize, began: Time) -> Self {
        Self { burst: pace.burst, interval: pace.interval(bytes as u64), left: 0, next: began }
    }

    /// How many messages may be posted now.
    fn room(&mut self, now: Time) -> u64 {
        if self.left == 0 && now >= self.next {
            self.left = self.burst;
            // A burst that was late does not delay the next, but lost time is not made up for.
            self.next = (self.next + self.interval).max(now);
        }
        self.left
    }
}

/// When operations were posted and completed.
pub(super) struct Timing {
    began: Time,
    first_post: Option<Time>,
    last_completion: Time,
    completed: u64,
    /// Of each message, in nanoseconds; empty if the peak is not looked for.
    posts: Vec<u64>,
    completions: Vec<u64>,
    with_peak: bool,
    over: Time,
    window: Window,
    bursts: Option<Bursts>,
}

impl Timing {
    pub(super) fn new(task: &Task, lanes: u64, began: Time) -> Self {
        let (with_peak, over) = match task.length {
            Length::Iterations(count) => {
                let few = count.saturating_mul(lanes) <= Local::PEAK_MESSAGES;
                (task.local.peak && few, began)
            }
            Length::Time { whole, .. } => (false, began + whole),
        };
        Self {
            began,
            first_post: None,
            last_completion: began,
            completed: 0,
            posts: Vec::new(),
            completions: Vec::new(),
            with_peak,
            over,
            window: Window::new(task.length, began),
            bursts: task.local.pace.map(|pace| Bursts::new(pace, task.bytes, began)),
        }
    }

    /// When a row that is bounded by time ends.
    pub(super) const fn over(&self) -> Time {
        self.over
    }

    /// A row that is bounded by time ends now.
    pub(super) fn stop(&mut self, now: Time) {
        self.over = self.over.min(now);
        self.window.close(now);
    }

    /// Posts what may be posted on a lane. Returns whether anything was.
    pub(super) fn post<L: Lane>(
        &mut self,
        task: &Task,
        lane: &mut L,
        counts: &mut Counts,
        watch: &Watch<'_>,
    ) -> Result<bool, BenchError> {
        if !task.sends {
            return Ok(false);
        }
        let mut posted = false;
        loop {
            let mut left = match task.length {
                Length::Iterations(count) => count - counts.posted,
                Length::Time { .. } if watch.clock.now() < self.over => u64::MAX,
                Length::Time { .. } => 0,
            };
            if let Some(bursts) = &mut self.bursts {
                left = left.min(bursts.room(watch.clock.now()));
            }
            let list = task.local.post_list.min(left);
            let outstanding = counts.posted - counts.completed;
            if list == 0 || outstanding + list > task.local.tx_depth {
                return Ok(posted);
            }
            if self.with_peak || self.first_post.is_none() {
                let now = watch.clock.now();
                self.first_post.get_or_insert(now);
                if self.with_peak {
                    self.posts.extend((0..list).map(|_| now.as_nanos()));
                }
            }
            lane.post(list)?;
            counts.posted += list;
            if let Some(bursts) = &mut self.bursts {
                bursts.left -= list;
            }
            posted = true;
        }
    }

    pub(super) fn completed(&mut self, count: u64, now: Time) {
        if count == 0 {
            return;
        }
        self.completed += count;
        self.last_completion = now;
        if self.with_peak {
            self.completions.extend((0..count).map(|_| now.as_nanos()));
        }
    }

    /// Opens and closes the window of a row that is bounded by time.
    pub(super) fn window(&mut self, now: Time) {
        self.window.look(now, self.completed);
    }

    pub(super) fn figures(&self, bytes: u64) -> BandwidthFigures {
        let last = (self.last_completion, self.completed);
        self.window.figures(bytes, last).unwrap_or_else(|| {
            let first = self.first_post.unwrap_or(self.began);
            let peak_rate =
                if self.with_peak { peak_rate(&self.posts, &self.completions) } else { None };
            let elapsed = self.last_completion.since(first);
            BandwidthFigures { messages: self.completed, elapsed, bytes, peak_rate }
        })
    }
}

/// When messages arrived.
pub(super) struct Arrivals {
    first: Option<Time>,
    last: Option<Time>,
    count: u64,
    window: Window,
}

impl Arrivals {
    pub(super) fn new(task: &Task, began: Time) -> Self {
        let window = Window::new(task.length, began);
        Self { first: None, last: None, count: 0, window }
    }

    pub(super) fn arrived(&mut self, count: u64, now: Time) {
        if count == 0 {
            return;
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.count += count;
    }

    /// When the last message came.
    pub(super) const fn last(&self) -> Option<Time> {
        self.last
    }

    /// Opens and closes the window of a row that is bounded by time.
    pub(super) fn window(&mut self, now: Time) {
        self.window.look(now, self.count);
    }

    pub(super) fn figures(&self, bytes: u64) -> BandwidthFigures {
        let (first, last) = (self.first.unwrap_or_default(), self.last.unwrap_or_default());
        self.window.figures(bytes, (last, self.count)).unwrap_or_else(|| {
            let elapsed = last.since(first);
            BandwidthFigures { messages: self.count, elapsed, bytes, peak_rate: None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Rate;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn timed(whole: u64, margin: u64) -> Length {
        let millis = Duration::from_millis;
        Length::Time { whole: millis(whole), margin: millis(margin) }
    }

    #[test]
    fn window_leaves_the_margins_out() {
        let mut window = Window::new(timed(100, 20), at(0));
        for (now, count) in [(0, 0), (10, 7), (20, 15), (50, 40), (80, 75), (100, 99)] {
            window.look(at(now), count);
        }
        let figures = window.figures(1, (at(100), 99)).expect("it opened");
        assert_eq!((figures.messages, figures.elapsed), (60, Duration::from_millis(60)));
    }

    #[test]
    fn stopped_window_closes_early_and_one_that_never_opened_has_no_figures() {
        let mut window = Window::new(timed(100, 20), at(0));
        window.look(at(30), 20);
        window.close(at(40));
        window.look(at(41), 50);
        let figures = window.figures(1, (at(90), 99)).expect("it opened");
        assert_eq!((figures.messages, figures.elapsed), (30, Duration::from_millis(11)));
        assert_eq!(Window::new(timed(100, 20), at(0)).figures(1, (at(5), 3)), None);
    }

    #[test]
    fn bursts_come_at_their_interval_and_lost_time_is_not_made_up_for() {
        let pace = Pace { rate: Rate::Messages(1000), burst: 10 };
        let mut bursts = Bursts::new(pace, 64, at(0));
        assert_eq!(bursts.room(at(0)), 10);
        bursts.left = 0;
        assert_eq!(bursts.room(at(9)), 0);
        assert_eq!(bursts.room(at(11)), 10);
        bursts.left = 0;
        assert_eq!(bursts.room(at(20)), 10, "it was late by 1 ms, the next is not");
        bursts.left = 0;
        assert_eq!(bursts.room(at(95)), 10);
        bursts.left = 0;
        assert_eq!(bursts.room(at(96)), 10, "one more after a long wait");
        bursts.left = 0;
        assert_eq!(bursts.room(at(97)), 0);
    }
}
