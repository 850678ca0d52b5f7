//! An endpoint whose operations wait for room.

use std::time::Duration;

use libfabric_sys::client::{ClientError, Done, Endpoint, Event};

use crate::{bench::BenchError, clock::Clock, cpu::Pause, load::LoadError};

/// An operation finds room within this time, or the other side is gone.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::bench) struct Channel {
    pub(super) endpoint: Endpoint,
    /// What became complete while operations waited for room.
    early: Done,
}

impl Channel {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, early: Vec::new() }
    }

    /// Posts by `post`, which says whether there was room.
    pub(super) fn post(
        &mut self,
        mut post: impl FnMut(&mut Endpoint) -> Result<bool, ClientError>,
    ) -> Result<(), BenchError> {
        if post(&mut self.endpoint)? {
            return Ok(());
        }
        let clock = Clock::start();
        loop {
            self.endpoint.poll(&mut self.early)?;
            if post(&mut self.endpoint)? {
                return Ok(());
            }
            if clock.now().as_nanos() > u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX) {
                return Err(LoadError::NothingArrived(PATIENCE).into());
            }
            Pause::for_this_machine().pause();
        }
    }

    /// All that is complete.
    pub(super) fn poll(&mut self) -> Result<Done, BenchError> {
        let mut done = std::mem::take(&mut self.early);
        self.endpoint.poll(&mut done)?;
        Ok(done)
    }

    /// The same, but sleeps if nothing is, and lets others run if it cannot sleep.
    pub(super) fn wait(&mut self, at_most: Duration) -> Result<Done, BenchError> {
        let mut done = std::mem::take(&mut self.early);
        if done.is_empty() {
            self.endpoint.wait(at_most, &mut done)?;
        }
        if done.is_empty() {
            Pause::Yield.pause();
        }
        Ok(done)
    }

    /// Gives a list back that [`poll`](Self::poll) or [`wait`](Self::wait) made.
    pub(super) fn reuse(&mut self, mut done: Done) {
        done.clear();
        if self.early.is_empty() {
            self.early = done;
        }
    }

    /// Ends the receives whose numbers are `wanted`.
    pub(super) fn cancel(&mut self, wanted: impl Fn(u64) -> bool) -> Result<(), BenchError> {
        let mut left = self.endpoint.cancel(&wanted)?;
        let clock = Clock::start();
        while left > 0 {
            for event in self.poll()? {
                if let Event::Cancelled(cookie) | Event::Received { cookie, .. } = event {
                    left -= usize::from(wanted(cookie));
                }
            }
            if clock.now().as_nanos() > u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX) {
                return Err(LoadError::NothingArrived(PATIENCE).into());
            }
        }
        Ok(())
    }
}
