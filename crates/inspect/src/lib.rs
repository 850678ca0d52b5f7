//! Seeing inside: what a host offers, and what a live endpoint does.
//!
//! - [`host`] reads the facts about this machine that decide how an endpoint behaves.
//! - [`live`] is the document that a process with endpoints publishes. A [`Publisher`] puts one
//!   endpoint's part of it up; [`serve`](server) hands it out on a loopback port, as that document
//!   and as Prometheus text ([`exposition`]); [`announce`] makes the port known to whoever has
//!   the process id; [`watch`] fetches the document.
//!
//! Nothing here knows the protocol: whoever has an endpoint fills in a [`live::Endpoint`].
#![forbid(unsafe_code)]

pub mod announce;
pub mod exposition;
pub mod host;
pub mod live;
mod process;
pub mod server;
pub mod watch;

pub use server::{Port, PortError, PublishError, Publisher};
