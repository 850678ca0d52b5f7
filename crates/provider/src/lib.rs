//! `libelastane-fi.so`: the fabric as a provider of libfabric, so that programs written for
//! libfabric, and every MPI among them, run on it unmodified. See fi_provider(7).
//!
//! `fi` is the boundary: one file per manual page, and all the unsafe code there is. Behind it, in
//! safe code, are the endpoints, queues, counters and address vectors of a domain, under one lock.
//!
//! The library needs nothing but libc. The libfabric that loads it is found again for its log and
//! its parameters; none is linked, as each MPI brings a copy of its own.

mod counter;
mod domain;
mod endpoint;
mod errors;
mod fi;
mod log;
mod queue;
mod report;
mod vector;
mod wake;

pub use fi::provider::fi_prov_ini;
pub(crate) use fi::provider::name;
