//! Latency: one operation at a time.

use std::time::Duration;

use hdrhistogram::Histogram;
use wire::Time;

use super::{
    BenchError,
    figures::{LatencyFigures, SideFigures},
    flow::{self, Task},
    lane::Lane,
    setup::{Length, Verb, Waiting},
    watch::{Watch, Word},
};
use crate::cpu::Idle;

/// A side that sleeps looks at the control connection this often.
const NAP: Duration = Duration::from_millis(1);
/// A datagram that was not answered after this time is lost.
const LOST: Duration = Duration::from_secs(1);

/// What this side does in a row of pings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinging {
    pub task: Task,
    pub verb: Verb,
    /// This side begins.
    pub leads: bool,
    /// Operations before the first that is measured.
    pub warm_up: u64,
    /// The time between an answer and the next post, which is not measured.
    pub gap: Duration,
}

/// Runs a row on one lane.
pub(super) fn run<L: Lane>(
    lane: &mut L,
    pinging: Pinging,
    watch: &mut Watch<'_>,
) -> Result<SideFigures, BenchError> {
    let is_passive = !pinging.leads && !pinging.verb.is_answered();
    if is_passive {
        let task = Task { sends: false, receives: false, ..pinging.task };
        return flow::run(std::slice::from_mut(lane), task, watch);
    }
    let mut row = Row {
        lane,
        pinging,
        record: Record::new(&pinging, watch.clock.now()),
        posted: 0,
        completed: 0,
        arrived: 0,
    };
    if pinging.leads {
        row.lead(watch)?
    } else {
        row.follow(watch)?
    }
    watch.tell(&Word::Sent(vec![row.posted]))?;
    Ok(row.record.figures(pinging.verb))
}

struct Row<'a, L> {
    lane: &'a mut L,
    pinging: Pinging,
    record: Record,
    posted: u64,
    completed: u64,
    arrived: u64,
}

impl<L: Lane> Row<'_, L> {
    fn lead(&mut self, watch: &mut Watch<'_>) -> Result<(), BenchError> {
        loop {
            let now = watch.clock.now();
            self.record.posted(now);
            if self.is_enough(now) {
                break;
            }
            self.pause(now, watch)?;
            self.post()?;
            let wanted = self.posted;
            if self.pinging.verb.is_answered() {
                self.until(watch, |row| row.arrived >= wanted)?;
            } else {
                self.until(watch, |row| row.completed >= wanted)?;
            }
        }
        let wanted = self.posted;
        self.until(watch, |row| row.completed >= wanted)?;
        Ok(())
    }

    fn follow(&mut self, watch: &mut Watch<'_>) -> Result<(), BenchError> {
        loop {
            let wanted = self.posted + 1;
            if !self.until(watch, |row| row.arrived >= wanted)? {
                break;
            }
            let now = watch.clock.now();
            self.record.posted(now);
            self.post()?;
            if self.is_enough_to_follow() {
                break;
            }
        }
        let wanted = self.posted;
        while self.completed < wanted {
            self.look_once(watch)?;
        }
        Ok(())
    }

    /// Passes the time between an answer and the next post.
    fn pause(&mut self, now: Time, watch: &Watch<'_>) -> Result<(), BenchError> {
        if self.pinging.gap.is_zero() {
            return Ok(());
        }
        let over = now + self.pinging.gap;
        let mut idle = Idle::new();
        loop {
            let now = watch.clock.now();
            if now >= over {
                self.record.resume(now);
                return Ok(());
            }
            self.look()?;
            idle.spin_or_yield(now);
        }
    }

    fn post(&mut self) -> Result<(), BenchError> {
        self.lane.post(1)?;
        self.posted += 1;
        Ok(())
    }

    fn is_enough(&self, now: Time) -> bool {
        match self.pinging.task.length {
            Length::Iterations(count) => self.posted == count + self.pinging.warm_up,
            Length::Time { whole, .. } => now >= self.record.began + whole,
        }
    }

    fn is_enough_to_follow(&self) -> bool {
        match self.pinging.task.length {
            Length::Iterations(count) => self.posted == count + self.pinging.warm_up,
            Length::Time { .. } => false,
        }
    }

    /// Looks until `there`. False if the other side has ended before.
    fn until(
        &mut self,
        watch: &mut Watch<'_>,
        there: impl Fn(&Self) -> bool,
    ) -> Result<bool, BenchError> {
        let mut turns = 0u32;
        let mut idle = Idle::new();
        let mut lost_at = None;
        while !there(self) {
            if self.look()? {
                continue;
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(64) || self.pinging.task.local.waiting == Waiting::Sleep {
                let now = watch.clock.now();
                watch.look(now)?;
                idle.spin_or_yield(now);
                if self.pinging.task.lossy
                    && self.pinging.leads
                    && now >= *lost_at.get_or_insert(now + LOST)
                {
                    return Err(BenchError::Lost(LOST));
                }
                let ended = watch.peer_sent().and_then(|sent| sent.first().copied());
                if !self.pinging.leads && ended.is_some_and(|sent| sent <= self.arrived) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn look_once(&mut self, watch: &mut Watch<'_>) -> Result<(), BenchError> {
        if !self.look()? {
            watch.look(watch.clock.now())?;
        }
        Ok(())
    }

    /// Takes what is there. Returns whether anything was.
    fn look(&mut self) -> Result<bool, BenchError> {
        let progress = match self.pinging.task.local.waiting {
            Waiting::Spin => self.lane.poll()?,
            Waiting::Sleep => self.lane.wait(NAP)?,
        };
        self.completed += progress.completed;
        self.arrived += progress.arrived;
        Ok(progress.completed + progress.arrived > 0)
    }
}

/// The times between one post and the next.
struct Record {
    began: Time,
    skip: u64,
    bounds: Option<(Time, Time)>,
    last: Option<Time>,
    first: Option<Time>,
    gap: Duration,
    times: Times,
}

enum Times {
    /// Each, in nanoseconds.
    Counted(Vec<u64>),
    /// For rows that are bounded by time, whose number is not known before.
    Histogram(Box<Histogram<u64>>),
}

impl Record {
    fn new(pinging: &Pinging, began: Time) -> Self {
        let (bounds, times) = match pinging.task.length {
            Length::Iterations(count) => {
                let count = usize::try_from(count).unwrap_or(0);
                (None, Times::Counted(Vec::with_capacity(count)))
            }
            Length::Time { whole, margin } => {
                let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)
                    .expect("constant bounds within what the histogram supports");
                let bounds = (began + margin, began + (whole - margin));
                (Some(bounds), Times::Histogram(Box::new(histogram)))
            }
        };
        let Pinging { warm_up: skip, gap, .. } = *pinging;
        Self { began, skip, bounds, last: None, first: None, gap, times }
    }

    fn posted(&mut self, now: Time) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let before = self.last.replace(now);
        let Some(before) = before else {
            self.first = Some(now);
            return;
        };
        let nanos = u64::try_from(now.since(before).as_nanos()).unwrap_or(u64::MAX);
        match (&mut self.times, self.bounds) {
            (Times::Counted(times), _) => times.push(nanos),
            (Times::Histogram(histogram), Some((opens, closes)))
                if before >= opens && now <= closes =>
            {
                histogram.saturating_record(nanos.max(1));
            }
            (Times::Histogram(_), _) => {}
        }
    }

    /// The next interval begins now.
    fn resume(&mut self, now: Time) {
        if let Some(last) = &mut self.last {
            *last = now;
        }
    }

    fn figures(self, verb: Verb) -> SideFigures {
        let parts = if verb.is_answered() { 2 } else { 1 };
        let elapsed = match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        };
        match self.times {
            Times::Counted(samples) => SideFigures {
                latency: LatencyFigures::of_samples(&samples, parts, elapsed),
                samples,
                ..SideFigures::default()
            },
            Times::Histogram(histogram) => {
                // With the gaps between them the round trips are the time.
                let count = super::figures::as_f64(histogram.len());
                let each = histogram.mean() / 1e9 + self.gap.as_secs_f64();
                let elapsed = Duration::from_secs_f64(each * count);
                SideFigures {
                    latency: LatencyFigures::of_histogram(&histogram, parts, elapsed),
                    ..SideFigures::default()
                }
            }
        }
    }
}
