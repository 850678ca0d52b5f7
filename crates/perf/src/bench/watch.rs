//! What the two sides of a row tell each other while it runs.

use std::{
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use wire::Time;

use super::{
    figures::SideFigures,
    lane::{Lane, Progress},
};
use crate::{
    bench::BenchError,
    clock::Clock,
    control::{Control, ControlError},
    cpu::Idle,
};

/// A message of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// Receives are posted: begin.
    Ready,
    /// So many operations were posted on each endpoint, and no more will be.
    Sent(Vec<u64>),
    /// All that was expected is here, and this came out of it.
    Over(Box<SideFigures>),
    /// Nothing is posted any more: this side stands no loss if the other leaves.
    Ended {
        /// This side was told to stop: no row follows.
        stopped: bool,
    },
    /// This side was told to stop: the row ends now.
    Stop,
    /// This side failed; why.
    Failed(String),
}

/// How often the connection is looked at while data flows.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The other side may take so long to get ready, to finish a row, or to say why not.
const PATIENCE: Duration = Duration::from_secs(30);

/// The control connection during a row.
pub(super) struct Watch<'a> {
    control: &'a mut Control,
    pub(super) clock: Clock,
    next_look: Time,
    sent: Option<Vec<u64>>,
    over: Option<SideFigures>,
    /// Comes true when this side is told to stop.
    stop: Option<&'a AtomicBool>,
    stopped: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        control: &'a mut Control,
        clock: Clock,
        stop: Option<&'a AtomicBool>,
    ) -> Self {
        let next_look = clock.now();
        Self { control, clock, next_look, sent: None, over: None, stop, stopped: false }
    }

    /// Whether either side was told to stop.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn is_told_to_stop(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Waits until both sides are ready.
    pub(super) fn meet(&mut self) -> Result<(), BenchError> {
        self.control.send(&Word::Ready)?;
        match self.control.receive(Some(PATIENCE))? {
            Word::Ready => Ok(()),
            other => Err(self.wrong(other)),
        }
    }

    /// Waits until both sides have ended the row. Returns whether either was told to stop.
    pub(super) fn part(self) -> Result<bool, BenchError> {
        let here = self.stopped || self.is_told_to_stop();
        self.control.send(&Word::Ended { stopped: here })?;
        loop {
            match self.control.receive(Some(PATIENCE))? {
                Word::Ended { stopped } => return Ok(here || stopped),
                Word::Stop => {}
                other => return Err(self.wrong(other)),
            }
        }
    }

    pub(super) fn tell(&mut self, word: &Word) -> Result<(), BenchError> {
        Ok(self.control.send(word)?)
    }

    /// What the other side said of its operations, if it has ended them.
    pub(super) fn peer_sent(&self) -> Option<&[u64]> {
        self.sent.as_deref()
    }

    /// Looks whether the other side said something, if it is time again.
    pub(super) fn look(&mut self, now: Time) -> Result<(), BenchError> {
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK_EVERY;
        if !self.stopped && self.is_told_to_stop() {
            self.stopped = true;
            self.control.send(&Word::Stop)?;
        }
        while self.is_readable()? {
            match self.control.receive(Some(PATIENCE))? {
                Word::Sent(counts) => self.sent = Some(counts),
                Word::Over(figures) => self.over = Some(*figures),
                Word::Stop => self.stopped = true,
                other => return Err(self.wrong(other)),
            }
            if self.over.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Operations that the other side posted on a lane, by what it said.
    pub(super) fn peer_posted(&self, lane: usize) -> u64 {
        self.peer_sent().and_then(|sent| sent.get(lane).copied()).unwrap_or(0)
    }

    /// Serves the lanes until the other side has finished too. Returns what it found out.
    pub(super) fn until_over<L: Lane>(
        &mut self,
        lanes: &mut [L],
    ) -> Result<SideFigures, BenchError> {
        let mut idle = Idle::new();
        loop {
            let now = self.clock.now();
            self.look(now)?;
            if let Some(figures) = self.over.take() {
                return Ok(figures);
            }
            let mut worked = false;
            for lane in &mut *lanes {
                worked |= lane.poll()? != Progress::default();
            }
            if worked { idle.worked() } else { idle.spin_or_yield(now) }
        }
    }

    fn is_readable(&self) -> Result<bool, BenchError> {
        let mut waiting = [PollFd::new(self.control.stream().as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::ZERO) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => {
                Err(ControlError::Os { peer: self.control.peer(), error: error.into() }.into())
            }
        }
    }

    fn wrong(&self, word: Word) -> BenchError {
        match word {
            Word::Failed(why) => BenchError::There(why),
            other => self.control.unexpected(format!("{other:?}")).into(),
        }
    }
}
