//! The bare endpoints: one datagram a message.

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Duration};

use bytes::Bytes;
use inspect::live::Queues;
use io::{PacketIo, SendError, UdpDevice};
use memory::Buffer;
use message::{Bare, Busy, Completion, DatagramQueue, OpId};
use srd::{Delivery, Filled, PeerError, Upper};
use wire::{HEADER_LEN, PeerId, Time, Token, Train};

use crate::{
    Error, Options, ReceiveRefused,
    engine::{Engine, Layer},
};

impl Layer for Bare {
    fn poll_wake(&mut self) -> Option<PeerId> {
        Self::poll_wake(self)
    }

    fn has_wakes(&self) -> bool {
        Self::has_wakes(self)
    }

    fn has_completions(&self) -> bool {
        Self::has_completions(self)
    }

    fn queued_bytes(&self, peer: PeerId) -> u64 {
        Self::queued_bytes(self, peer)
    }

    fn sends_outstanding(&self) -> usize {
        Self::sends_outstanding(self)
    }

    fn kind(&self) -> &'static str {
        "srd"
    }

    fn queues(&self) -> Queues {
        Queues {
            sends: self.sends_outstanding() as u64,
            receives: self.receives_posted() as u64,
            completions: self.completions() as u64,
            stored_bytes: 0,
        }
    }
}

/// A bare SRD endpoint, as `efa-direct` offers it: reliable messages of at most one datagram,
/// delivered in any order. A message that finds no receive posted comes back to its sender as
/// receiver-not-ready after the configured retries ([`srd::Config::rnr_retries`]).
#[derive(Debug)]
pub struct SrdEndpoint<D: PacketIo = UdpDevice> {
    engine: Engine<D, Bare>,
}

impl SrdEndpoint {
    /// Opens an endpoint on a UDP device of its own.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let device = UdpDevice::open(options.listen, &options.device)?;
        Self::on_device(device, options)
    }
}

impl<D: PacketIo> SrdEndpoint<D> {
    /// Opens an endpoint on `device`.
    pub fn on_device(device: D, options: &Options) -> Result<Self, Error> {
        let layer = Bare::new(options.messages.max_operations);
        Ok(Self { engine: Engine::new(device, options, layer)? })
    }

    /// Where peers reach this endpoint.
    pub fn address(&self) -> SocketAddr {
        self.engine.device.local_address()
    }

    /// Where the endpoint's metrics are to be had, if [`Options::metrics`] asks for them.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.engine.metrics_address()
    }

    /// The transport's state.
    pub fn transport(&self) -> &srd::Endpoint {
        &self.engine.transport
    }

    /// The peer that listens at `address`.
    pub fn peer(&mut self, address: SocketAddr) -> Result<PeerId, Error> {
        self.engine.connect(address)
    }

    /// The longest message that fits a datagram to `peer`, in bytes.
    pub fn max_message(&self, peer: PeerId) -> usize {
        self.engine.transport.datagram_bytes(peer) - HEADER_LEN
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn send(&mut self, to: PeerId, data: Bytes, context: u64) -> Result<OpId, Busy> {
        let op = self.engine.layer.post_send(to, data, context, true)?;
        self.engine.kick(to);
        Ok(op)
    }

    /// Posts a receive for one message from anybody.
    ///
    /// # Errors
    /// [`ReceiveRefused`], with the buffer.
    pub fn receive(&mut self, buffer: Buffer, context: u64) -> Result<OpId, ReceiveRefused> {
        let posted = self.engine.layer.post_receive(buffer, context);
        posted.map_err(|(busy, buffer)| ReceiveRefused { busy, buffer })
    }

    /// Cancels an operation that has not begun.
    pub fn cancel(&mut self, op: OpId) -> bool {
        self.engine.layer.cancel(op)
    }

    /// The next completion if there is one; makes progress.
    pub fn poll(&mut self) -> Result<Option<Completion>, Error> {
        if let Some(completion) = self.engine.layer.poll_completion() {
            return Ok(Some(completion));
        }
        self.engine.progress()?;
        Ok(self.engine.layer.poll_completion())
    }

    /// Closes the endpoint, after at most `linger` for what is in flight.
    pub fn close(mut self, linger: Duration) -> Result<(), Error> {
        self.engine.close(linger)
    }
}

/// The layer of an endpoint without reliability: nothing is sent through the transport.
#[derive(Debug)]
struct Unreliable(DatagramQueue);

impl Upper for Unreliable {
    fn fill(&mut self, _: Time, _: PeerId, _: usize, _: &mut Train) -> Option<Filled> {
        None
    }

    fn next_is_bulk(&self, _: PeerId) -> bool {
        false
    }

    fn refill(&mut self, _: PeerId, _: Token, _: &mut Train) -> Bytes {
        Bytes::new()
    }

    fn acked(&mut self, _: Time, _: PeerId, _: Token) {}

    fn refused(&mut self, _: Time, _: PeerId, _: Token) {}

    fn reclaim(&mut self, _: Time, _: PeerId, _: Token) {}

    fn deliver(&mut self, _: Time, _: PeerId, _: &[u8], _: usize) -> Delivery {
        Delivery::NotReady
    }

    fn peer_failed(&mut self, _: Time, _: PeerId, _: PeerError) {}

    fn is_owed(&self, _: PeerId) -> bool {
        false
    }
}

impl Layer for Unreliable {
    fn poll_wake(&mut self) -> Option<PeerId> {
        None
    }

    fn has_wakes(&self) -> bool {
        false
    }

    fn has_completions(&self) -> bool {
        self.0.has_completions()
    }

    fn queued_bytes(&self, _: PeerId) -> u64 {
        0
    }

    fn sends_outstanding(&self) -> usize {
        0
    }

    fn kind(&self) -> &'static str {
        "dgram"
    }

    fn queues(&self) -> Queues {
        Queues {
            receives: self.0.outstanding() as u64,
            completions: self.0.completions() as u64,
            ..Queues::default()
        }
    }

    fn deliver_unreliable(&mut self, peer: PeerId, payload: &[u8]) {
        // Without a receive posted the datagram is gone, as UDP would have it.
        let (Delivery::Accepted | Delivery::NotReady) = self.0.deliver(peer, payload);
    }
}

/// An unreliable datagram endpoint (`FI_EP_DGRAM`): a message is one datagram, which may be lost,
/// doubled or overtaken.
#[derive(Debug)]
pub struct DatagramEndpoint<D: PacketIo = UdpDevice> {
    engine: Engine<D, Unreliable>,
}

impl DatagramEndpoint {
    /// Opens an endpoint on a UDP device of its own.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let device = UdpDevice::open(options.listen, &options.device)?;
        Self::on_device(device, options)
    }
}

impl<D: PacketIo> DatagramEndpoint<D> {
    /// Opens an endpoint on `device`.
    pub fn on_device(device: D, options: &Options) -> Result<Self, Error> {
        let layer = Unreliable(DatagramQueue::new(options.messages.max_operations));
        Ok(Self { engine: Engine::new(device, options, layer)? })
    }

    /// Where peers reach this endpoint.
    pub fn address(&self) -> SocketAddr {
        self.engine.device.local_address()
    }

    /// Where the endpoint's metrics are to be had, if [`Options::metrics`] asks for them.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.engine.metrics_address()
    }

    /// The peer that listens at `address`.
    pub fn peer(&mut self, address: SocketAddr) -> Result<PeerId, Error> {
        self.engine.connect(address)
    }

    /// The longest message to `peer`, in bytes.
    pub fn max_message(&self, peer: PeerId) -> usize {
        self.engine.transport.datagram_bytes(peer) - HEADER_LEN
    }

    /// Sends a datagram; it completes at once.
    ///
    /// # Errors
    /// What the device says: [`SendError::Full`] is worth trying again.
    pub fn send(&mut self, to: PeerId, data: Bytes, context: u64) -> Result<OpId, SendError> {
        self.engine.send_unreliable(to, data)?;
        Ok(self.engine.layer.0.complete_send(to, context))
    }

    /// Posts a receive for one datagram from anybody.
    ///
    /// # Errors
    /// [`ReceiveRefused`], with the buffer.
    pub fn receive(&mut self, buffer: Buffer, context: u64) -> Result<OpId, ReceiveRefused> {
        let posted = self.engine.layer.0.post_receive(buffer, context);
        posted.map_err(|(busy, buffer)| ReceiveRefused { busy, buffer })
    }

    /// The next completion if there is one; makes no progress.
    pub fn take_completion(&mut self) -> Option<Completion> {
        self.engine.layer.0.poll_completion()
    }

    /// Where `peer` listens.
    pub fn peer_address(&self, peer: PeerId) -> SocketAddr {
        self.engine.transport.peer_address(peer)
    }

    /// Receives and does what is due, without waiting. Returns whether anything happened.
    pub fn progress(&mut self) -> Result<bool, Error> {
        self.engine.progress()
    }

    /// A descriptor to sleep on, as [`crate::RdmEndpoint::descriptor`].
    ///
    /// # Errors
    /// [`Error::Device`] if the process has no descriptors left.
    pub fn descriptor(&mut self) -> Result<BorrowedFd<'_>, Error> {
        Ok(self.engine.wait_object()?.descriptor())
    }

    /// Whether the caller may sleep on it, as [`crate::RdmEndpoint::may_sleep`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or the process has no descriptors left.
    pub fn may_sleep(&mut self) -> Result<bool, Error> {
        self.engine.may_sleep()
    }

    /// The next completion if there is one; makes progress.
    pub fn poll(&mut self) -> Result<Option<Completion>, Error> {
        if let Some(completion) = self.engine.layer.0.poll_completion() {
            return Ok(Some(completion));
        }
        self.engine.progress()?;
        Ok(self.engine.layer.0.poll_completion())
    }
}
