//! Bandwidth: many operations at a time on every lane.

use std::time::Duration;

use wire::Time;

use super::{
    BenchError,
    figures::SideFigures,
    lane::Lane,
    setup::{Length, Local, Waiting},
    timing::{Arrivals, Timing},
    watch::{Watch, Word},
};
use crate::cpu::Idle;

/// A side that sleeps looks at its clock this often.
const NAP: Duration = Duration::from_millis(1);
/// One that has several lanes sleeps on each for no longer than this.
const SHORT_NAP: Duration = Duration::from_micros(100);
/// Datagrams that have not come this long after the other side ended, and after the last that
/// came, are lost.
const QUIET: Duration = Duration::from_millis(100);

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
    /// Messages may be lost.
    pub lossy: bool,
}

/// Counts of one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub posted: u64,
    pub completed: u64,
    pub arrived: u64,
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
        let mut worked = false;
        // To read the clock costs as much as to pass a small message on: once a turn.
        let mut read = None;
        for (lane, counts) in lanes.iter_mut().zip(&mut flow.counts) {
            worked |= flow.timing.post(&task, lane, counts, watch)?;
            let progress = lane.poll()?;
            counts.completed += progress.completed;
            counts.arrived += progress.arrived;
            if progress.completed + progress.arrived > 0 {
                let now = *read.get_or_insert_with(|| watch.clock.now());
                flow.timing.completed(progress.completed, now);
                flow.arrivals.arrived(progress.arrived, now);
                worked = true;
            }
        }
        let now = read.unwrap_or_else(|| watch.clock.now());
        if watch.is_stopped() {
            flow.timing.stop(now);
        }
        flow.timing.window(now);
        flow.arrivals.window(now);
        if flow.has_sent(now) && !flow.told {
            watch.tell(&Word::Sent(flow.counts.iter().map(|counts| counts.posted).collect()))?;
            flow.told = true;
        }
        if flow.told && flow.has_received(now, watch.peer_sent()) {
            return Ok(flow.figures(watch.peer_sent()));
        }
        watch.look(now)?;
        if worked {
            idle.worked();
            continue;
        }
        if task.local.pace.is_some() {
            // A nap is longer than the pause between two bursts may be.
            idle.spin_or_yield(now);
        } else if task.local.waiting == Waiting::Sleep || idle.spin(now) {
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
    /// When it was seen that the other side has sent all.
    peer_done: Option<Time>,
}

impl Flow {
    fn new(task: Task, lanes: usize, began: Time) -> Self {
        Self {
            task,
            counts: vec![Counts::default(); lanes],
            timing: Timing::new(&task, lanes as u64, began),
            arrivals: Arrivals::new(&task, began),
            told: false,
            peer_done: None,
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
        let now = watch.clock.now();
        self.timing.completed(progress.completed, now);
        self.arrivals.arrived(progress.arrived, now);
        Ok(())
    }

    fn has_sent(&self, now: Time) -> bool {
        let all_complete = self.counts.iter().all(|counts| counts.completed == counts.posted);
        !self.task.sends
            || all_complete
                && match self.task.length {
                    Length::Iterations(count) => self.counts.iter().all(|c| c.posted == count),
                    Length::Time { .. } => now >= self.timing.over(),
                }
    }

    fn has_received(&mut self, now: Time, peer_sent: Option<&[u64]>) -> bool {
        if !self.task.receives {
            // A side that does nothing itself serves until the other is done.
            return self.task.sends || peer_sent.is_some();
        }
        if self.task.lossy && peer_sent.is_some() {
            let done = *self.peer_done.get_or_insert(now);
            let last = self.arrivals.last().map_or(done, |last| last.max(done));
            if now.since(last) >= QUIET {
                return true;
            }
        }
        match (self.task.length, peer_sent) {
            (Length::Iterations(count), _) => self.counts.iter().all(|c| c.arrived == count),
            (Length::Time { .. }, Some(sent)) => {
                self.counts.iter().zip(sent).all(|(counts, sent)| counts.arrived >= *sent)
            }
            (Length::Time { .. }, None) => false,
        }
    }

    fn figures(self, peer_sent: Option<&[u64]>) -> SideFigures {
        let bytes = self.task.bytes as u64;
        let of_peer = peer_sent.unwrap_or(&[]).iter().zip(&self.counts);
        let missing = of_peer.map(|(sent, counts)| sent.saturating_sub(counts.arrived));
        let lost = if self.task.lossy && self.task.receives { missing.sum() } else { 0 };
        SideFigures {
            lost,
            sent: self.task.sends.then(|| self.timing.figures(bytes)),
            received: self.task.receives.then(|| self.arrivals.figures(bytes)),
            ..SideFigures::default()
        }
    }
}
