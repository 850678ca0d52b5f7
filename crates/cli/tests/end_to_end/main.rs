//! The command as its users run it: by arguments, output, exit status and what it leaves behind.
//!
//! To be run one test at a time, as `cargo xtask test --only end-to-end` does: two comparisons on
//! the same CPUs wait for each other.

mod arguments;
mod compare;
mod ending;
mod guide;
mod info;
mod links;
mod mpi;
mod perf_command;
mod perftest;
mod perftest_options;
#[expect(dead_code, reason = "other tests use more of it")]
mod provider_library;
mod providers;
mod real_hosts;
mod running;
mod simulate;
mod top;
