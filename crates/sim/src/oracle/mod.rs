//! Oracles: what has to be true of every run, whatever happens to the network.

mod ledger;
mod reference;
mod remote;
mod violation;

pub(crate) use ledger::{Flow, Ledger};
pub(crate) use remote::RemoteEnded;
pub use violation::Violation;
