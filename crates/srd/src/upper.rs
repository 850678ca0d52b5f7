//! What the transport asks of the layer above it.

use bytes::Bytes;
use wire::{PeerId, Time, Token, Train};

use crate::PeerError;

/// One datagram's payload as the layer above hands it over: its head was appended to
/// [`Train::heads`], its tail is this reference.
#[derive(Clone, Debug)]
pub struct Filled {
    /// What the layer above calls this datagram from now on, until [`Upper::acked`],
    /// [`Upper::refused`] or [`Upper::peer_failed`].
    pub token: Token,
    /// The bytes after the head.
    pub tail: Bytes,
    /// Ask the peer to acknowledge at once (the end of a message, for example).
    pub solicit: bool,
    /// End the train with this datagram: what follows has another shape, and a receiver that
    /// expects it can place a train of one shape without copying.
    pub ends_train: bool,
    /// Something waits after this datagram. Without it the transport asks again only after
    /// [`crate::Endpoint::wake`].
    pub more: bool,
}

/// Whether a datagram found a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was taken and will be acknowledged.
    Accepted,
    /// There is no room; the peer will be told to try later (receiver not ready).
    NotReady,
}

/// The layer above the transport: it has datagrams to send when asked and takes those that
/// arrive, in any order, each at most once.
///
/// The transport pulls: it calls [`Upper::fill`] only when the congestion window, the peer's
/// window and pacing allow a datagram to leave now, so whatever waits can still be put together.
/// [`crate::Endpoint::wake`] tells the transport that `fill` has something for a peer again.
pub trait Upper {
    /// Appends the head of the next datagram for `peer` to `train.heads()` and returns the rest
    /// of it, at most `room` bytes together; `None` (and nothing appended) if nothing waits.
    ///
    /// Bulk data should use all of `room`: a train goes on only after a full datagram.
    fn fill(&mut self, now: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled>;

    /// Whether the next datagram for `peer` is part of a bulk transfer, whose datagrams carry no
    /// acknowledgement so that all are alike.
    fn next_is_bulk(&self, peer: PeerId) -> bool;

    /// Appends the same datagram again, byte for byte, for a retransmission; returns its tail. A
    /// datagram that is no longer wanted (its operation was cancelled) may become empty.
    fn refill(&mut self, peer: PeerId, token: Token, train: &mut Train) -> Bytes;

    /// `peer` has the datagram. The token is free.
    fn acked(&mut self, now: Time, peer: PeerId, token: Token);

    /// `peer` had no room for the datagram and the configured retries are used up; it is not
    /// sent again. The token is free.
    fn refused(&mut self, now: Time, peer: PeerId, token: Token);

    /// The datagram is too large for the way to `peer` as it is now: its content must go into
    /// smaller ones, which [`Upper::fill`] is asked for. The token is free.
    ///
    /// The datagram may have arrived all the same, so what it carried must be such that its
    /// receiver tolerates it twice.
    fn reclaim(&mut self, now: Time, peer: PeerId, token: Token);

    /// A datagram from `peer`: `head`, and after it `landed` more bytes that the device already
    /// placed where [`Upper`]'s owner told it to (0 unless the owner offers landings).
    fn deliver(&mut self, now: Time, peer: PeerId, head: &[u8], landed: usize) -> Delivery;

    /// `peer` is lost: every token of it is free, nothing of the past will be delivered or
    /// acknowledged. After [`PeerError::Restarted`] the peer is usable at once, as a new one.
    fn peer_failed(&mut self, now: Time, peer: PeerId, error: PeerError);

    /// Whether this endpoint waits for `peer` to act though nothing may be in flight to it (a
    /// grant is outstanding, say): only then is a silent peer probed.
    fn is_owed(&self, peer: PeerId) -> bool;
}
