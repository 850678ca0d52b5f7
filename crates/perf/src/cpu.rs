//! CPU time, and where a side runs.

use std::{io, sync::OnceLock, time::Duration};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield},
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeVal,
    unistd::Pid,
};

use wire::Time;

use crate::machine::online_cpus;

/// User and system time this process used so far. Each side is a process of its own, so this is
/// what its side of a transfer costs; interrupts the kernel serves in its context are in it.
pub fn process_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

/// Which end of a test a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Says what is tested, and sends.
    Client,
    /// Does as told, and receives.
    Server,
}

/// Binds the calling thread, and those it starts later, to one CPU: the client to the first this
/// process may use and the server to the last, so that the scheduler never puts both on one. With
/// a single CPU there is nothing to choose. Returns the CPU.
pub fn pin(side: Side) -> io::Result<Option<usize>> {
    let cpu = match (side, usable()?.as_slice()) {
        (_, [] | [_]) => return Ok(None),
        (Side::Client, [first, ..]) => *first,
        (Side::Server, [.., last]) => *last,
    };
    pin_to(cpu)?;
    Ok(Some(cpu))
}

/// Binds the calling thread, and those it starts later, to this CPU.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut chosen = CpuSet::new();
    chosen.set(cpu)?;
    Ok(sched_setaffinity(THIS_THREAD, &chosen)?)
}

/// The CPUs on which the calling thread may run.
pub fn usable() -> io::Result<Vec<usize>> {
    let usable = sched_getaffinity(THIS_THREAD)?;
    Ok((0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false)).collect())
}

/// The CPU to which the calling thread is bound, if it is one only.
pub fn bound_to() -> Option<usize> {
    match usable().ok()?.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The clock of the first CPU in MHz, as the kernel tells it; `None` if it does not.
pub fn megahertz() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    line.split_once(':')?.1.trim().parse().ok().filter(|clock| *clock > 0.0)
}

const THIS_THREAD: Pid = Pid::from_raw(0);

/// How a busy-polling loop passes the time until the next poll.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    /// Go on at once: the peer runs on another CPU.
    Spin,
    /// Let others run first: the peer may need this CPU.
    Yield,
}

impl Pause {
    /// The right one for this machine.
    pub fn for_this_machine() -> Self {
        // Asked before every wait of a polling loop, and reading /proc takes longer than the wait.
        static CHOSEN: OnceLock<Pause> = OnceLock::new();
        *CHOSEN.get_or_init(|| if online_cpus() > 1 { Self::Spin } else { Self::Yield })
    }

    /// Passes the time.
    #[inline]
    pub fn pause(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield => sched_yield().expect("sched_yield does not fail on Linux"),
        }
    }
}

/// How a loop passes the time while nothing is there: it spins, and when that has lasted it lets
/// others have the CPU, for the one that is waited for may be among them.
#[derive(Debug)]
pub struct Idle {
    pause: Pause,
    since: Option<Time>,
}

impl Idle {
    /// Longer than any round trip on a network that does not fail.
    const SPIN: Duration = Duration::from_micros(50);

    /// Something is there.
    pub fn new() -> Self {
        Self { pause: Pause::for_this_machine(), since: None }
    }

    /// Something was there again.
    pub fn worked(&mut self) {
        self.since = None;
    }

    /// Spins, unless that has lasted. Then it returns true, and the caller is to wait otherwise.
    pub fn spin(&mut self, now: Time) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.since(since) < Self::SPIN {
            self.pause.pause();
            return false;
        }
        true
    }

    /// Spins, and lets others have the CPU when that has lasted.
    pub fn spin_or_yield(&mut self, now: Time) {
        if self.spin(now) {
            Pause::Yield.pause();
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

fn duration(time: TimeVal) -> Duration {
    let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn busy_process_uses_cpu_time() {
        let before = process_time().expect("getrusage works");
        let clock = Clock::start();
        let enough = before + Duration::from_millis(20);
        while process_time().expect("getrusage works") < enough {
            assert!(
                clock.now().as_nanos() < 60_000_000_000,
                "a minute of work must use 20 ms of CPU"
            );
        }
    }

    #[test]
    fn pinned_thread_runs_only_where_it_was_pinned() {
        let outcome = std::thread::spawn(|| {
            let pinned = pin(Side::Server).expect("a thread may narrow its own CPU set");
            (pinned, usable().expect("the CPU set is readable"), bound_to())
        });
        let (pinned, left, bound) = outcome.join().expect("no panic");
        if let Some(cpu) = pinned {
            assert_eq!((left, bound), (vec![cpu], Some(cpu)));
        }
    }
}
