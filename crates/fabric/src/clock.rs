//! The one clock: everything below gets time as an argument.

use std::time::Instant;

use wire::Time;

/// A monotonic clock whose origin is its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock the lint points to")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since the start.
    #[inline]
    pub fn now(&self) -> Time {
        // A little ahead of the origin, so that no time is before the first.
        Time::from_nanos(1_000 + u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(0))
    }
}

/// Ticks for which a time that was read is good enough: two tenths of a microsecond on the
/// processors of today, less than anything waits for.
const FRESH: u64 = 500;

/// A clock that is asked again and again in a loop: asking the kernel's takes as long as the rest
/// of a loop that waits for a peer of this host.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Clock,
    now: Time,
    ticks: Option<u64>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let clock = Clock::start();
        Self { now: clock.now(), clock, ticks: None }
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    /// The time that was read last.
    #[inline]
    pub(crate) const fn last(&self) -> Time {
        self.now
    }

    /// What the processor counts `ticks` after the time was read, if it counts.
    #[inline]
    pub(crate) fn ticks_in(&self, ticks: u64) -> Option<u64> {
        self.ticks.map(|read| read.wrapping_add(ticks))
    }

    /// The time, which may have been read a moment ago.
    #[inline]
    pub(crate) fn now(&mut self) -> Time {
        let ticks = io::shm::ticks();
        if let (Some(ticks), Some(then)) = (ticks, self.ticks)
            && ticks.wrapping_sub(then) < FRESH
        {
            return self.now;
        }
        self.ticks = ticks;
        self.now = self.clock.now();
        self.now
    }
}
