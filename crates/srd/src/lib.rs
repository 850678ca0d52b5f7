//! Scalable Reliable Datagram: the sans-IO transport.
//!
//! Reliable datagrams of at most one MTU, delivered at most once and in any order, sprayed over
//! many source ports. [`Endpoint`] holds the state, [`Upper`] is what it needs from the layer
//! above. `docs/protocol.md` is the normative text, cited as `P§n`.
//!
//! There is no clock, no randomness beyond a seed and no I/O in here: the same code runs under
//! the simulator and on a network.
#![forbid(unsafe_code)]

mod acknowledge;
mod arrive;
mod config;
mod congestion;
mod context;
mod counters;
mod endpoint;
mod error;
mod inbound;
mod outbound;
mod path;
mod peer;
mod rtt;
mod timeout;
mod transmit;
mod upper;

pub use arrive::{Handled, Incoming};
pub use config::Config;
pub use counters::Counters;
pub use endpoint::{Endpoint, TooManyPeers, TrainLimits};
pub use error::{PeerError, Silence};
pub use path::{PathHealth, PathReport};
pub use upper::{Delivery, Filled, Upper};
