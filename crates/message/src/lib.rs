//! Sans-IO messages over reliable datagrams (P§8).
//!
//! [`Rdm`] sends and receives messages of any size, matched in the sender's order, and writes,
//! reads and changes registered memory of peers (P§8.11); [`Bare`] is
//! one datagram per message, unordered. Both are [`srd::Upper`]s: the transport asks them for
//! datagrams and hands them those that arrive. [`DatagramQueue`] holds the receives of an
//! endpoint whose datagrams need no layer at all.
//!
//! The owner calls commands (`post_send`, `post_receive`, `post_write`, `cancel` and so on) and,
//! after each of them and after each call the transport makes, drains `poll_wake` and
//! `poll_completion`. There is no clock, no randomness and no I/O here: the same calls give the
//! same results.
#![forbid(unsafe_code)]

mod bare;
mod chain;
mod completion;
mod datagrams;
mod numbers;
mod rdm;

pub use bare::Bare;
pub use completion::{Busy, Completion, Event, OpId, OperationError};
pub use datagrams::DatagramQueue;
pub use rdm::{
    AtomicRefused, AtomicRequest, Brief, BriefRequest, Claim, ClaimRefused, Config, Copying,
    Counters, Landed, LandingOffer, Lent, LoanUse, MAX_ATOMIC_BYTES, MAX_BRIEF,
    MultiReceiveRequest, OperationClass, OperationCounters, Order, PeekInfo, Rdm, ReadRequest,
    ReceiveRequest, SendRequest, Served, TagMatch, Tally, WriteRequest,
};
