//! Oracles: what has to be true of every run, whatever happens to the network.

mod ledger;
mod reference;
mod violation;

pub(crate) use ledger::{Flow, Ledger};
pub use violation::Violation;
