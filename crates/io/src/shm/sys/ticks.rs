/// The processor's own count of time, where reading it costs next to nothing: a rate of some
/// nanoseconds a tick, that need not be the same on all processors. `None` where there is none.
#[inline]
pub fn ticks() -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        // SAFETY: every processor of this architecture has the instruction, and Linux lets
        // programs use it; one that is forbidden it by prctl(2) PR_SET_TSC could not read the
        // kernel's clock without a system call either, and does not do that by accident.
        Some(unsafe { core::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    None
}
