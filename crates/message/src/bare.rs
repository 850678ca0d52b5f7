//! Bare reliable datagrams: one message each, in no order, to receives in the order posted. The
//! upper layer of an endpoint that wants SRD as it is.

use std::collections::VecDeque;

use bytes::Bytes;
use memory::Buffer;
use slab::Slab;
use srd::{Delivery, Filled, PeerError, Upper};
use wire::{PeerId, Time, Token, Train};

use crate::{
    Busy, Completion, DatagramQueue, OpId, OperationError,
    chain::{Chain, Link, Linked},
    numbers::key,
};

/// Messages up to this many bytes are copied into the datagram: cheaper than a reference to them.
const COPY_BYTES: usize = 1024;

#[derive(Debug)]
struct BareSend {
    op: OpId,
    peer: PeerId,
    data: Bytes,
    context: u64,
    complete: bool,
    in_flight: bool,
    link: Link,
}

impl Linked for BareSend {
    fn link(&self, _lane: usize) -> &Link {
        &self.link
    }

    fn link_mut(&mut self, _lane: usize) -> &mut Link {
        &mut self.link
    }
}

#[derive(Debug, Default)]
struct BarePeer {
    queue: Chain,
    queued_bytes: u64,
    in_flight: u32,
    announced: bool,
}

/// One datagram per message: reliable, unordered, turned away when no receive is posted.
#[derive(Debug)]
pub struct Bare {
    peers: Vec<BarePeer>,
    wakes: VecDeque<PeerId>,
    sends: Slab<BareSend>,
    datagrams: DatagramQueue,
    max_operations: usize,
}

impl Bare {
    /// A layer in which up to `max_operations` sends, and as many receives, may be posted or wait
    /// to be polled.
    pub fn new(max_operations: usize) -> Self {
        Self {
            peers: Vec::new(),
            wakes: VecDeque::new(),
            sends: Slab::new(),
            datagrams: DatagramQueue::new(max_operations),
            max_operations,
        }
    }

    /// Posts a message to `peer`. Success is reported if `complete`, failure always.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit.
    pub fn post_send(
        &mut self,
        peer: PeerId,
        data: Bytes,
        context: u64,
        complete: bool,
    ) -> Result<OpId, Busy> {
        if self.sends.len() + self.datagrams.completions() >= self.max_operations {
            return Err(Busy);
        }
        let serial = self.datagrams.next_serial();
        let length = data.len() as u64;
        let entry = self.sends.vacant_entry();
        let at = entry.key();
        let op = OpId::send(at, serial);
        let link = Link::default();
        entry.insert(BareSend { op, peer, data, context, complete, in_flight: false, link });
        if peer.index() >= self.peers.len() {
            self.peers.resize_with(peer.index() + 1, BarePeer::default);
        }
        let state = &mut self.peers[peer.index()];
        state.queue.push_back(&mut self.sends, 0, at);
        state.queued_bytes += length;
        if !state.announced {
            state.announced = true;
            self.wakes.push_back(peer);
        }
        Ok(op)
    }

    /// Posts a receive for one message from anybody.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit, with the buffer.
    pub fn post_receive(&mut self, buffer: Buffer, context: u64) -> Result<OpId, (Busy, Buffer)> {
        self.datagrams.post_receive(buffer, context)
    }

    /// Cancels an operation that has not begun; it completes in error. Returns whether it did.
    pub fn cancel(&mut self, op: OpId) -> bool {
        if op.is_receive() {
            return self.datagrams.cancel(op);
        }
        let at = op.index();
        let waits = self.sends.get(at).is_some_and(|send| send.op == op && !send.in_flight);
        if waits {
            self.unqueue(at);
            self.end(at, Err(OperationError::Canceled));
        }
        waits
    }

    /// Receives posted that no message has met.
    pub fn receives_posted(&self) -> usize {
        self.datagrams.outstanding()
    }

    /// Completions that wait to be polled.
    pub fn completions(&self) -> usize {
        self.datagrams.completions()
    }

    /// The next completion.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.datagrams.poll_completion()
    }

    /// Whether [`Self::poll_completion`] has one.
    pub fn has_completions(&self) -> bool {
        self.datagrams.has_completions()
    }

    /// A peer for which [`Upper::fill`] has something again.
    pub fn poll_wake(&mut self) -> Option<PeerId> {
        self.wakes.pop_front()
    }

    /// Whether [`Self::poll_wake`] has one.
    pub fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }

    /// Message bytes for `peer` that were posted and not yet put into a datagram.
    pub fn queued_bytes(&self, peer: PeerId) -> u64 {
        self.peers.get(peer.index()).map_or(0, |state| state.queued_bytes)
    }

    /// Whether nothing is queued for `peer` or in flight to it.
    pub fn idle(&self, peer: PeerId) -> bool {
        let state = self.peers.get(peer.index());
        state.is_none_or(|state| state.queue.is_empty() && state.in_flight == 0)
    }

    /// Sends that are not complete.
    pub fn sends_outstanding(&self) -> usize {
        self.sends.len()
    }

    /// Operations that are not complete.
    pub fn outstanding(&self) -> usize {
        self.sends.len() + self.datagrams.outstanding()
    }

    fn unqueue(&mut self, at: usize) {
        let (peer, length) = (self.sends[at].peer, self.sends[at].data.len());
        let state = &mut self.peers[peer.index()];
        state.queue.remove(&mut self.sends, 0, at);
        state.queued_bytes -= length as u64;
    }

    fn end(&mut self, at: usize, result: Result<(), OperationError>) {
        let send = self.sends.remove(at);
        if send.in_flight {
            self.peers[send.peer.index()].in_flight -= 1;
        }
        if send.complete || result.is_err() {
            self.datagrams.report(send.op, send.peer, send.context, result);
        }
    }
}

impl Upper for Bare {
    fn fill(&mut self, _now: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        while let Some(at) = self.peers.get(peer.index())?.queue.front() {
            self.unqueue(at);
            let send = &mut self.sends[at];
            if send.data.len() > room {
                self.end(at, Err(OperationError::TooLong { limit: room }));
                continue;
            }
            send.in_flight = true;
            let token = Token(key(at));
            let tail = written(&send.data, train);
            let state = &mut self.peers[peer.index()];
            state.in_flight += 1;
            state.announced = !state.queue.is_empty();
            let more = state.announced;
            return Some(Filled { token, tail, solicit: !more, ends_train: false, more });
        }
        self.peers[peer.index()].announced = false;
        None
    }

    fn next_is_bulk(&self, _peer: PeerId) -> bool {
        false
    }

    fn refill(&mut self, _peer: PeerId, token: Token, train: &mut Train) -> Bytes {
        written(&self.sends[token.0 as usize].data, train)
    }

    fn acked(&mut self, _now: Time, _peer: PeerId, token: Token) {
        self.end(token.0 as usize, Ok(()));
    }

    fn refused(&mut self, _now: Time, _peer: PeerId, token: Token) {
        self.end(token.0 as usize, Err(OperationError::ReceiverNotReady));
    }

    /// A message cannot be divided here.
    fn reclaim(&mut self, _now: Time, _peer: PeerId, token: Token) {
        let limit = wire::SMALLEST_DATAGRAM - wire::HEADER_LEN;
        self.end(token.0 as usize, Err(OperationError::TooLong { limit }));
    }

    fn deliver(&mut self, _now: Time, peer: PeerId, head: &[u8], _landed: usize) -> Delivery {
        self.datagrams.deliver(peer, head)
    }

    fn peer_failed(&mut self, _now: Time, peer: PeerId, error: PeerError) {
        let lost = self.sends.iter().filter(|(_, send)| send.peer == peer);
        let lost: Vec<_> = lost.map(|(at, _)| at).collect();
        for at in lost {
            if !self.sends[at].in_flight {
                self.unqueue(at);
            }
            self.end(at, Err(OperationError::Peer(error)));
        }
        if let Some(state) = self.peers.get_mut(peer.index()) {
            *state = BarePeer::default();
        }
    }

    fn is_owed(&self, _peer: PeerId) -> bool {
        false
    }
}

/// Writes a message; what is not copied is returned.
fn written(data: &Bytes, train: &mut Train) -> Bytes {
    if data.len() > COPY_BYTES {
        return data.clone();
    }
    train.heads().extend_from_slice(data);
    Bytes::new()
}
