//! What the simulated network asks of a host's software.

use std::net::SocketAddr;

use wire::{Ecn, Time, Train};

/// A datagram that reached its host.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The address and UDP port it came from.
    pub source: SocketAddr,
    /// The UDP port it was sent to.
    pub port: u16,
    /// Its ECN field, perhaps marked on the way.
    pub ecn: Ecn,
    /// The UDP payload.
    pub bytes: &'a [u8],
}

/// The software of a host: protocol and application together, without input or output of its
/// own. Every call passes the host's own clock, which never runs backwards.
///
/// After each `handle_*` the network calls `poll_transmit` while the network interface has room
/// and `poll_event` until it is empty, then asks for the next timeout.
pub trait Node {
    /// What happened at this host that an observer of the simulation should know.
    type Event;

    /// A datagram arrived.
    fn handle_datagram(&mut self, now: Time, arrival: Arrival<'_>);

    /// The time of the last [`Node::poll_timeout`] has come, or passed.
    fn handle_timeout(&mut self, now: Time);

    /// Puts the next train, if there is one, into the empty `train`.
    fn poll_transmit(&mut self, now: Time, train: &mut Train) -> bool;

    /// When [`Node::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<Time>;

    /// The next thing that happened here.
    fn poll_event(&mut self) -> Option<Self::Event>;
}
