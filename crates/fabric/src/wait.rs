//! A descriptor to sleep on: readable when something arrived or is due.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

/// The device's descriptor and a timer, as one.
#[derive(Debug)]
pub(crate) struct WaitObject {
    epoll: Epoll,
    timer: TimerFd,
}

impl WaitObject {
    pub(crate) fn new(device: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        epoll.add(device, readable)?;
        epoll.add(&timer, readable)?;
        Ok(Self { epoll, timer })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Becomes readable after `delay`, which also ends an earlier one; never if it is `None`.
    pub(crate) fn set_delay(&self, delay: Option<Duration>) -> io::Result<()> {
        let Some(delay) = delay else { return Ok(self.timer.unset()?) };
        // Zero would stop the timer.
        let delay = TimeSpec::from(delay.max(Duration::from_nanos(1)));
        let flags = TimerSetTimeFlags::empty();
        Ok(self.timer.set(Expiration::OneShot(delay), flags)?)
    }
}
