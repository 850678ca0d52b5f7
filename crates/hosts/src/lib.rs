//! Hosts on one machine: network namespaces joined by links that can be shaped, cut and made to
//! lose packets while traffic runs.
//!
//! A [`Network`] owns its hosts. Nothing it makes has a name in the file system: the namespaces
//! are held by file descriptors and by one child process, the *sentinel*, which notices when this
//! process goes away, however it goes (drop, panic, Ctrl-C, `kill -9`), and then kills every
//! process that runs in a host. The kernel removes the namespaces, and the links in them, with
//! their last user.
//!
//! ```no_run
//! use elastane_hosts::{Multipath, Network};
//!
//! let network = Network::builder().multipath(Multipath::default()).build()?;
//! let [client, server] = network.hosts() else { unreachable!("two hosts by default") };
//! let mut listener = server.command("iperf3").args(["-s", "-1"]).spawn()?;
//! client.command("iperf3").args(["-c", &server.address().to_string()]).status()?;
//! listener.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **As an ordinary user** the namespaces belong to a user namespace in which the user is root.
//! Commands run there with uid 0, which outside is the user. [`Host::run_in`] needs root, because
//! the kernel does not let one thread change its user namespace; [`Host::socket`] works for both.
//!
//! **Architecture invariant:** this crate knows nothing of the fabric. It makes hosts, links and
//! faults, and says what it made ([`Network::describe`]).
#![deny(unsafe_code)]

mod availability;
mod error;
mod filter;
mod host;
pub mod instance;
mod netlink;
mod network;
mod plan;
mod qdisc;
mod quantity;
mod sentinel;
#[expect(unsafe_code, reason = "fork, exec hooks and closing inherited descriptors live here")]
mod sys;

pub use availability::{Availability, available};
pub use error::{HostsError, Unavailable};
pub use host::Host;
pub use network::{Network, NetworkBuilder};
pub use plan::{Bottleneck, Flat, Multipath, Segmentation};
pub use quantity::{Loss, Rate};
