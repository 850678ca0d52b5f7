//! The deterministic network simulator.
//!
//! [`simulate`] runs a [`Scenario`]: hosts with the real transport and message layer on a
//! virtual [`Network`], under faults, with oracles that watch every operation. One seed decides
//! everything; the same scenario gives the same [`Outcome`] on any machine.
//!
//! The network knows nothing of the protocol: whatever is a [`Node`] can live on it.
//!
//! ```
//! use elastane_sim::{Pattern, Scenario, Topology, Workload, simulate};
//!
//! let workload = Workload { pattern: Pattern::Stream, bytes: 1 << 20, messages: 4 };
//! let outcome = simulate(&Scenario::new(1, Topology::MultiPath { paths: 4 }, workload));
//! assert!(outcome.is_clean(), "{outcome}");
//! assert_eq!(outcome.completion.messages, 4);
//! ```
#![forbid(unsafe_code)]

mod application;
mod clock;
mod event;
mod fault;
mod host;
mod hostile;
mod network;
mod node;
mod oracle;
mod outcome;
mod port;
mod remote;
mod run;
mod scenario;
mod seed;
mod topology;
mod workload;

pub use clock::HostClock;
pub use fault::{Control, Effect, Rule, Schedule, Selector};
pub use network::{BadTrain, Drops, Network, NetworkSpec, Observer, Stop, Traffic};
pub use node::{Arrival, Node};
pub use oracle::Violation;
pub use outcome::{Completion, Outcome, Transport};
pub use run::simulate;
pub use scenario::Scenario;
pub use topology::{LISTENING_PORT, Topology, UnknownTopology};
pub use workload::{Pattern, UnknownPattern, Workload};
