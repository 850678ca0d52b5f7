//! Networks that really exist: traffic over them, faults in them, and what is left of them.
//!
//! These tests need network namespaces, as root or through user namespaces. Where there are none
//! they fail and say why.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod faults;
mod lifetime;
mod sockets;
mod traffic;
mod unprivileged;
mod waiting;

use elastane_hosts::{Host, Network, NetworkBuilder};

/// Builds a network, or fails with the reason.
fn build(builder: NetworkBuilder) -> Network {
    builder.build().unwrap_or_else(|error| panic!("no network to test with: {error}"))
}

/// The two hosts of a network of two.
fn two(network: &Network) -> (&Host, &Host) {
    let [one, other] = network.hosts() else { panic!("not two hosts: {}", network.describe()) };
    (one, other)
}
