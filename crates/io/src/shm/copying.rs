//! What copies cost in this process, and whether it may copy from others at all.

use std::{fs, hint::black_box, sync::OnceLock, time::Duration};

use wire::Time;

use super::loan::{OtherProcess, Unreadable};

/// What is copied once to measure: as much as lies in a ring between two processes.
const SAMPLE: usize = 256 << 10;
/// How often; the fastest counts, since others use the machine too.
const TRIES: usize = 3;
/// A ring's records have this size.
const RECORD: usize = 32 << 10;

/// What copies cost, as measured once in each process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyCosts {
    /// Copying [`Self::SAMPLE`] bytes into records.
    pub records: Duration,
    /// Copying them from a process's memory to another's by one system call.
    pub cross_memory: Duration,
    /// Copying one byte that way: what the call itself costs.
    pub call: Duration,
}

impl CopyCosts {
    /// Bytes that the measured copies copy.
    pub const SAMPLE: usize = SAMPLE;

    /// The bytes from which on it is faster to copy from the other process's memory than to have
    /// it copy them into records meanwhile; `None` if it never is. Where the other process does
    /// other things meanwhile it is faster in any case.
    #[must_use]
    pub fn worth_from(&self) -> Option<usize> {
        let cross = self.cross_memory.saturating_sub(self.call);
        let saved = self.records.checked_sub(cross).filter(|saved| !saved.is_zero())?;
        // Until its price is made good.
        let bytes = (SAMPLE as u128 * self.call.as_nanos()).div_ceil(saved.as_nanos());
        usize::try_from(bytes).ok()
    }

    /// The costs in this process, by the clock `now`. Measured by the first call, which takes less
    /// than a millisecond where nothing else runs.
    ///
    /// # Errors
    /// If this process may not even copy from its own memory.
    pub fn measured(now: impl Fn() -> Time) -> Result<Self, Unreadable> {
        static COSTS: OnceLock<Result<CopyCosts, Unreadable>> = OnceLock::new();
        *COSTS.get_or_init(|| measure(now))
    }
}

fn measure(now: impl Fn() -> Time) -> Result<CopyCosts, Unreadable> {
    let from = vec![1; SAMPLE];
    let mut to = vec![2; SAMPLE];
    let this = OtherProcess::this();
    let mut costs =
        CopyCosts { records: Duration::MAX, cross_memory: Duration::MAX, call: Duration::MAX };
    for _ in 0..TRIES {
        let began = now();
        for (to, from) in to.chunks_exact_mut(RECORD).zip(from.chunks_exact(RECORD)) {
            to.copy_from_slice(black_box(from));
        }
        black_box(&mut to);
        costs.records = costs.records.min(now().since(began));
        let began = now();
        this.copy_own(&from, &mut to)?;
        costs.cross_memory = costs.cross_memory.min(now().since(began));
        let began = now();
        this.copy_own(&from[..1], &mut to[..1])?;
        costs.call = costs.call.min(now().since(began));
    }
    Ok(costs)
}

/// What yama's `ptrace_scope` asks of a process that reads another's memory.
const SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// The number of the capability that lifts it (capabilities(7)).
const CAP_SYS_PTRACE: u32 = 19;

/// What stands in the way of copying from the memory of other processes of this user, whoever
/// they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrossMemoryOff {
    /// Not even this process's own memory can be copied.
    #[error(transparent)]
    Call(#[from] Unreadable),
    /// Only memory of processes that have declared it readable, or that this one has started.
    #[error("{SCOPE} is 1: only memory of processes that declare it can be read")]
    Declared,
    /// None without `CAP_SYS_PTRACE`.
    #[error("{SCOPE} is {0}: reading other processes needs CAP_SYS_PTRACE")]
    Privileged(u8),
}

/// Whether this process may copy from the memory of others of its user, as far as can be told
/// without another: the call is tried on this process's own memory, and yama's ptrace protection is
/// looked up. A link tries it on its peer.
///
/// # Errors
/// With what stands in the way.
pub fn cross_memory() -> Result<(), CrossMemoryOff> {
    let mut to = [0; 8];
    OtherProcess::this().copy_own(&[1; 8], &mut to)?;
    scope(
        fs::read_to_string(SCOPE).ok().as_deref(),
        fs::read_to_string("/proc/self/status").ok().as_deref(),
    )
}

/// What yama says, given the text of its setting and of this process's status.
fn scope(setting: Option<&str>, status: Option<&str>) -> Result<(), CrossMemoryOff> {
    let scope = setting.and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0);
    let capabilities = status
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("CapEff:")))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    let is_privileged = capabilities >> CAP_SYS_PTRACE & 1 == 1;
    match scope {
        0 => Ok(()),
        3.. => Err(CrossMemoryOff::Privileged(scope)),
        _ if is_privileged => Ok(()),
        1 => Err(CrossMemoryOff::Declared),
        _ => Err(CrossMemoryOff::Privileged(scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_where_the_price_of_a_call_is_made_good() {
        let micros = Duration::from_micros;
        let costs = |records, cross_memory| CopyCosts {
            records: micros(records),
            cross_memory: micros(cross_memory),
            call: micros(2),
        };
        assert_eq!(costs(30, 12).worth_from(), Some((2 * SAMPLE).div_ceil(20)));
        assert_eq!(costs(30, 32).worth_from(), None);
        assert_eq!(costs(7, 18).worth_from(), None);
    }

    #[test]
    fn costs_are_measured_once_by_the_clock_that_is_given() {
        let ticks = std::cell::Cell::new(0);
        let clock = || {
            ticks.set(ticks.get() + 1);
            Time::ZERO + Duration::from_micros(ticks.get())
        };
        // Where even this process's own memory cannot be copied there is nothing to measure.
        let Ok(costs) = CopyCosts::measured(clock) else { return };
        let micro = Duration::from_micros(1);
        assert_eq!(costs, CopyCosts { records: micro, cross_memory: micro, call: micro });
        let looked = ticks.get();
        assert_eq!(CopyCosts::measured(clock), Ok(costs));
        assert_eq!(ticks.get(), looked);
    }

    #[test]
    fn ptrace_scope_and_capability_are_read_as_yama_means_them() {
        let privileged = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        let plain = "CapEff:\t0000000000000000\n";
        assert_eq!(scope(None, None), Ok(()));
        assert_eq!(scope(Some("0\n"), Some(plain)), Ok(()));
        assert_eq!(scope(Some("1\n"), Some(plain)), Err(CrossMemoryOff::Declared));
        assert_eq!(scope(Some("1\n"), Some(privileged)), Ok(()));
        assert_eq!(scope(Some("2\n"), Some(plain)), Err(CrossMemoryOff::Privileged(2)));
        assert_eq!(scope(Some("2\n"), Some(privileged)), Ok(()));
        assert_eq!(scope(Some("3\n"), Some(privileged)), Err(CrossMemoryOff::Privileged(3)));
    }
}
