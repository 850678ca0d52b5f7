//! Bandwidth: many operations at a time on every lane.

use std::time::Duration;

use wire::Time;

use super::{
    BenchError,
    figures::{BandwidthFigures, SideFigures, peak_rate},
    lane::Lane,
    setup::{Length, Local, Waiting},
    watch::{Watch, Word},
};
use crate::cpu::Idle;

/// A side that sleeps looks at its clock this often.
const NAP: Duration = Duration::from_millis(1);
/// One that has several lanes sleeps on each for no longer than this.
const SHORT_NAP: Duration = Duration::from_micros(100);

/// What this side does in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Bytes of a message.
    pub bytes: usize,
    /// This side posts operations.
    pub sends: bool,
    /// Messages of the other side arrive.
    pub receives: bool,
    /// When it is over.
    pub length: Length,
    /// How this side does it.
    pub local: Local,
}

/// Counts of one lane.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    posted: u64,
    completed: u64,
    arrived: u64,
}

/// Runs a row on all lanes.
pub(super) fn run<L: Lane>(
    lanes: &mut [L],
    task: Task,
    watch: &mut Watch<'_>,
) -> Result<SideFigures, BenchError> {
    let mut flow = Flow::new(task, lanes.len(), watch.clock.now());
    let mut idle = Idle::new();
    let mut turn = 0;
    loop {
        let now = watch.clock.now();
        let mut worked = false;
        for (lane, counts) in lanes.iter_mut().zip(&mut flow.counts) {
            worked |= flow.timing.post(&task, lane, counts, watch)?;
            let progress = lane.poll()?;
            counts.completed += progress.completed;
            counts.arrived += progress.arrived;
            if progress.completed > 0 {
                flow.timing.completed(progress.completed, watch.clock.now());
            }
            if progress.arrived > 0 {
                flow.arrivals.arrived(progress.arrived, watch.clock.now());
            }
            worked |= progress.completed + progress.arrived > 0;
        }
        flow.timing.window(now);
        if flow.has_sent(now) && !flow.told {
            watch.tell(&Word::Sent(flow.counts.iter().map(|counts| counts.posted).collect()))?;
            flow.told = true;
        }
        if flow.told && flow.has_received(watch.peer_sent()) {
            return Ok(flow.figures());
        }
        watch.look(now)?;
        if worked {
            idle.worked();
            continue;
        }
        if task.local.waiting == Waiting::Sleep || idle.spin(now) {
            // Sleeping on one of several lanes misses the others: it is short, and in turns.
            let nap = if lanes.len() > 1 { SHORT_NAP } else { NAP };
            turn = (turn + 1) % lanes.len();
            flow.take_waiting(turn, &mut lanes[turn], nap, watch)?;
        }
    }
}

struct Flow {
    task: Task,
    counts: Vec<Counts>,
    timing: Timing,
    arrivals: Arrivals,
    /// The other side was told that all was sent.
    told: bool,
}

impl Flow {
    fn new(task: Task, lanes: usize, began: Time) -> Self {
        Self {
            task,
            counts: vec![Counts::default(); lanes],
            timing: Timing::new(&task, lanes as u64, began),
            arrivals: Arrivals::default(),
            told: false,
        }
    }

    fn take_waiting<L: Lane>(
        &mut self,
        at: usize,
        lane: &mut L,
        nap: Duration,
        watch: &Watch<'_>,
    ) -> Result<(), BenchError> {
        let progress = lane.wait(nap)?;
        self.counts[at].completed += progress.completed;
        self.counts[at].arrived += progress.arrived;
        if progress.completed > 0 {
            self.timing.completed(progress.completed, watch.clock.now());
        }
        if progress.arrived > 0 {
            self.arrivals.arrived(progress.arrived, watch.clock.now());
        }
        Ok(())
    }

    fn has_sent(&self, now: Time) -> bool {
        let all_complete = self.counts.iter().all(|counts| counts.completed == counts.posted);
        !self.task.sends
            || all_complete
                && match self.task.length {
                    Length::Iterations(count) => self.counts.iter().all(|c| c.posted == count),
                    Length::Time { .. } => now >= self.timing.over,
                }
    }

    fn has_received(&self, peer_sent: Option<&[u64]>) -> bool {
        if !self.task.receives {
            // A side that does nothing itself serves until the other is done.
            return self.task.sends || peer_sent.is_some();
        }
        match (self.task.length, peer_sent) {
            (Length::Iterations(count), _) => self.counts.iter().all(|c| c.arrived == count),
            (Length::Time { .. }, Some(sent)) => {
                self.counts.iter().zip(sent).all(|(counts, sent)| counts.arrived >= *sent)
            }
            (Length::Time { .. }, None) => false,
        }
    }

    fn figures(self) -> SideFigures {
        let bytes = self.task.bytes as u64;
        SideFigures {
            sent: self.task.sends.then(|| self.timing.figures(bytes)),
            received: self.task.receives.then(|| self.arrivals.figures(bytes)),
            ..SideFigures::default()
        }
    }
}

/// When operations were posted and completed.
struct Timing {
    began: Time,
    first_post: Option<Time>,
    last_completion: Time,
    completed: u64,
    /// Of each message, in nanoseconds; empty if the peak is not looked for.
    posts: Vec<u64>,
    completions: Vec<u64>,
    with_peak: bool,
    over: Time,
    /// What is measured of a row that is bounded by time: when it begins and ends, and what was
    /// complete then.
    bounds: Option<(Time, Time)>,
    opened: Option<(Time, u64)>,
    closed: Option<(Time, u64)>,
}

impl Timing {
    fn new(task: &Task, lanes: u64, began: Time) -> Self {
        let (with_peak, over, bounds) = match task.length {
            Length::Iterations(count) => {
                let few = count.saturating_mul(lanes) <= Local::PEAK_MESSAGES;
                (task.local.peak && few, began, None)
            }
            Length::Time { whole, margin } => {
                let over = began + whole;
                (false, over, Some((began + margin, began + (whole - margin))))
            }
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
            bounds,
            opened: None,
            closed: None,
        }
    }

    /// Posts what may be posted on a lane. Returns whether anything was.
    fn post<L: Lane>(
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
            let left = match task.length {
                Length::Iterations(count) => count - counts.posted,
                Length::Time { .. } if watch.clock.now() < self.over => u64::MAX,
                Length::Time { .. } => 0,
            };
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
            posted = true;
        }
    }

    fn completed(&mut self, count: u64, now: Time) {
        self.completed += count;
        self.last_completion = now;
        if self.with_peak {
            self.completions.extend((0..count).map(|_| now.as_nanos()));
        }
    }

    /// Opens and closes the window of a row that is bounded by time.
    fn window(&mut self, now: Time) {
        let Some((opens, closes)) = self.bounds else { return };
        if now >= opens {
            self.opened.get_or_insert((now, self.completed));
        }
        if now >= closes {
            self.closed.get_or_insert((now, self.completed));
        }
    }

    fn figures(&self, bytes: u64) -> BandwidthFigures {
        let peak_rate = match self.with_peak {
            true => peak_rate(&self.posts, &self.completions),
            false => None,
        };
        match (self.opened, self.closed) {
            (Some((from, before)), Some((to, after))) => BandwidthFigures {
                messages: after - before,
                elapsed: to.since(from),
                bytes,
                peak_rate: None,
            },
            _ => {
                let first = self.first_post.unwrap_or(self.began);
                let elapsed = self.last_completion.since(first);
                BandwidthFigures { messages: self.completed, elapsed, bytes, peak_rate }
            }
        }
    }
}

/// When messages arrived.
#[derive(Default)]
struct Arrivals {
    first: Option<Time>,
    last: Option<Time>,
    count: u64,
}

impl Arrivals {
    fn arrived(&mut self, count: u64, now: Time) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.count += count;
    }

    fn figures(&self, bytes: u64) -> BandwidthFigures {
        let elapsed = match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        };
        BandwidthFigures { messages: self.count, elapsed, bytes, peak_rate: None }
    }
}
