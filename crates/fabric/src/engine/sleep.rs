//! Sleeping until there is something to do: in a call, or on a descriptor.

use std::time::Duration;

use io::PacketIo;
use wire::Time;

use super::{Engine, Layer};
use crate::{Error, wait::WaitObject};

impl<D: PacketIo, L: Layer> Engine<D, L> {
    /// Sleeps until something arrives or is due, at most `timeout`.
    pub(crate) fn sleep(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let now = self.watch.now();
        let due = self.due_at().map(|at| at.since(now));
        let timeout = match (timeout, due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let Some(longest) = self.locals.announce_sleep(now) else { return Ok(()) };
        let timeout = timeout.map_or(longest, |timeout| timeout.min(longest));
        let slept = self.device.wait((timeout != Duration::MAX).then_some(timeout));
        self.end_sleep();
        self.emptied_at = self.watch.now();
        Ok(slept?)
    }

    /// When something has to be done though nothing arrives.
    fn due_at(&self) -> Option<Time> {
        // What happened last is put up before a long sleep.
        let publish = self.published.as_ref().and_then(|published| published.wanted_at());
        self.transport.poll_timeout().into_iter().chain(publish).min()
    }

    pub(super) fn end_sleep(&mut self) {
        self.locals.end_sleep();
        // What has woken this endpoint may be on the device.
        self.looked_at = Time::ZERO;
    }

    /// The descriptor that [`Self::may_sleep`] is about.
    pub(crate) fn wait_object(&mut self) -> Result<&WaitObject, Error> {
        let made = match self.wait_object.take() {
            Some(made) => made,
            None => WaitObject::new(self.device.descriptor())?,
        };
        Ok(self.wait_object.insert(made))
    }

    /// Does all that can be done now; then, unless the application has something to take, sets
    /// the wait object so that it tells when there is more to do. Returns whether the application
    /// may sleep on it.
    pub(crate) fn may_sleep(&mut self) -> Result<bool, Error> {
        while !self.layer.has_completions() {
            if self.look_at_everything()? {
                continue;
            }
            // What a wrapped device holds back is let go, and what it has fetched is seen.
            self.device.wait(Some(Duration::ZERO))?;
            // With links to peers of this host the look could be put off otherwise.
            self.looked_at = Time::ZERO;
            if self.look_at_everything()? {
                continue;
            }
            let now = self.watch.now();
            // After this, peers of this host know that they have to wake the sleeper.
            let Some(longest) = self.locals.announce_sleep(now) else { continue };
            let due = self.due_at().unwrap_or(Time::NEVER);
            let bound = if longest == Duration::MAX { Time::NEVER } else { now + longest };
            self.wake_at(now, due.min(bound))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn wake_at(&mut self, now: Time, due: Time) -> Result<(), Error> {
        let delay = (due != Time::NEVER).then(|| due.since(now));
        self.wait_object()?.set_delay(delay)?;
        self.wakes_at = Some(due);
        self.glances = None;
        Ok(())
    }

    /// Something was posted while another thread may sleep: it must not sleep over what follows.
    pub(super) fn wake_earlier(&mut self, now: Time) {
        let due = self.transport.poll_timeout();
        if let (Some(set), Some(due)) = (self.wakes_at, due)
            && due < set
        {
            // Without a timer the sleeper's own bound has to do.
            self.wake_at(now, due).ok();
        }
    }
}
