//! The cloud as its users run it: what it leaves, what it survives, and the guide of EFA and MPI.
//!
//! To be run as root and one test at a time, as `cargo xtask test --only end-to-end` does.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[path = "../end_to_end/provider_library.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod provider_library;

mod efa_mpi;
mod ending;
mod refusals;
mod site;
