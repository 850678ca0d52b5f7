//! Shared memory between endpoints of one host: who is here ([`Presence`]), and rings of records
//! between two of them ([`Link`]). Large messages can stay where they are, lent to the peer
//! ([`Loan`]).
//!
//! A file of shared memory belongs to one user and is locked by whoever made it. It loses its name
//! as soon as both sides have mapped it, so that nothing is left when they are killed; what is left
//! of a process that was killed before that is removed by the next that announces itself.

mod copying;
mod link;
mod loan;
mod presence;
#[expect(unsafe_code, reason = "records are written and read in memory that others see")]
mod ring;
mod segment;
#[expect(unsafe_code, reason = "mapping memory")]
mod sys;
#[cfg(test)]
mod tests;

use std::io;

pub use copying::{CopyCosts, CrossMemoryOff, cross_memory};
pub use link::{Answer, Link, LinkUse, Offer, Received, Request};
pub use loan::{Loan, Unreadable};
pub use presence::Presence;
pub use ring::{Corrupt, Traffic};
pub use sys::ticks;

/// Why shared memory is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The address is not one of this host.
    #[error("the address is not one of this host")]
    OtherHost,
    /// No endpoint has announced itself for that address.
    #[error(
        "no endpoint there that this user, network namespace and {} share",
        presence::DIRECTORY
    )]
    NotAnnounced,
    /// The directory of shared memory is full.
    #[error("{} is full: a link takes {} KiB", presence::DIRECTORY, Link::BYTES >> 10)]
    Full,
    /// The operating system refused.
    #[error("{step}: {source}")]
    Os {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Declares this process's memory readable for all processes of its user, where yama's
/// `ptrace_scope` is 1 and forbids it without. Lasts as long as the process.
///
/// # Errors
/// If the kernel knows no such protection, and so needs no declaration.
pub fn declare_readable() -> io::Result<()> {
    sys::declare_readable()
}

impl Unavailable {
    fn os(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Os { step, source },
        }
    }
}
