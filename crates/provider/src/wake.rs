//! What a waiting call sleeps on, and how it is woken: `FI_WAIT_FD` of fi_cq(3) and fi_eq(3).

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use fabric::Clock;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    eventfd::{EfdFlags, EventFd},
};

/// When a waiting call is to return at the latest.
#[derive(Debug)]
pub(crate) struct Deadline {
    clock: Clock,
    /// None: never.
    timeout: Option<Duration>,
}

impl Deadline {
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self { clock: Clock::start(), timeout }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.timeout.is_some() && self.left().is_zero()
    }

    /// How long it may still wait.
    pub(crate) fn left(&self) -> Duration {
        let gone = Duration::from_nanos(self.clock.now().as_nanos());
        self.timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(gone))
    }
}

/// Whoever sleeps until there is something new in a queue or a counter.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    /// Present where calls may wait.
    pub(crate) wake: Option<Arc<Wake>>,
    /// Somebody sleeps, or is about to.
    pub(crate) is_there: bool,
}

impl Sleeper {
    /// Of what has this wait object, or none.
    pub(crate) fn of(wake: Option<Arc<Wake>>) -> Self {
        Self { wake, is_there: false }
    }

    /// There is something new: another thread's progress may have brought it, and with it what
    /// would wake the sleeper.
    pub(crate) fn rouse(&mut self) {
        if std::mem::take(&mut self.is_there)
            && let Some(wake) = &self.wake
        {
            wake.signal();
        }
    }

    /// Takes signals back.
    pub(crate) fn clear(&self) {
        if let Some(wake) = &self.wake {
            wake.clear();
        }
    }
}

/// A descriptor that is readable when one of those it watches is, or a signal was given.
#[derive(Debug)]
pub(crate) struct Wake {
    epoll: Epoll,
    signal: EventFd,
}

impl Wake {
    pub(crate) fn new() -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let signal = EventFd::from_value_and_flags(0, flags)?;
        epoll.add(&signal, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self { epoll, signal })
    }

    /// Watches a descriptor, until that is closed.
    pub(crate) fn watch(&self, descriptor: BorrowedFd<'_>) {
        // Watched already: an endpoint may report here twice.
        self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 1)).ok();
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        // It can only fail when it is readable in any case.
        self.signal.write(1).ok();
    }

    /// Takes signals back.
    pub(crate) fn clear(&self) {
        // There may be none.
        self.signal.read().ok();
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
