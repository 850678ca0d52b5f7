//! The only unsafe code: forking the sentinel, closing what it inherited, and entering a
//! namespace between fork and exec.

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::process::CommandExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
};

use nix::{
    sys::signal::{SigSet, SigmaskHow},
    unistd::{ForkResult, Pid, fork},
};

/// Forks a child that runs `body` with all signals blocked and ends with the status it returns.
///
/// `body` runs in a copy of one thread of a process that may have many, so it must neither
/// allocate nor take a lock that another thread could have held: system calls and memory made
/// before the fork only.
pub(crate) fn fork_child(body: impl FnOnce() -> u8) -> io::Result<Pid> {
    // A signal handler of the parent, run by the child, would act on descriptors that are no
    // longer what it thinks they are.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // SAFETY: the child runs only `body`, which keeps to the rule above, and never returns.
    let forked = unsafe { fork() };
    match forked {
        Ok(ForkResult::Child) => end_with(body),
        Ok(ForkResult::Parent { child }) => before.thread_set_mask().map(|()| child),
        Err(errno) => before.thread_set_mask().and(Err(errno)),
    }
    .map_err(Into::into)
}

fn end_with(body: impl FnOnce() -> u8) -> ! {
    // An unwinding child would return into the parent's stack frames.
    let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
    // SAFETY: no memory is involved; without exit handlers, which are the parent's.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Closes every descriptor above standard error but `kept`. For a forked child, which never
/// touches the descriptors it inherited again.
pub(crate) fn close_inherited(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().unsigned_abs();
    if kept > 3 {
        close_range(3, kept - 1)?;
    }
    close_range(kept.max(2) + 1, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: three integers, and no memory. Nothing uses the closed descriptors afterwards: the
    // caller is a child that runs none of the code that owns them, not even on its exit.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has `command` call `enter` in the new process, before it executes its program.
///
/// `enter` is under the rule of [`fork_child`].
pub(crate) fn before_exec(
    command: &mut Command,
    enter: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: `enter` keeps to system calls and memory made before the fork.
    unsafe { command.pre_exec(enter) };
}
