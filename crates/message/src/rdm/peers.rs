//! State per peer: two sequence numbers for a known one, the rest only while it is active.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use wire::{MessageSeq, PeerId};

use super::{
    order::Held,
    reclaim::Redo,
    records::Refusal,
    send::Kind,
    sequel::Unfinished,
    serve::{Begun, HeldAtomic},
    stream::Stream,
};
use crate::chain::Chain;

/// Full datagrams of large messages after which whatever waits in the queue gets a turn.
const SEGMENTS_PER_TURN: u32 = 16;
/// Memory of peers that fell idle, kept for those that become active.
const MAX_SPARE: usize = 64;
/// A spare list with room for more entries than this is not kept.
const MAX_SPARE_ENTRIES: usize = 1024;

/// A known peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// The next message to it gets this number.
    pub(super) next_send: MessageSeq,
    /// The number of the next message from it.
    pub(super) next_receive: MessageSeq,
    /// The next write or read of the peer's memory gets this number.
    pub(super) next_transfer: MessageSeq,
    /// The next atomic operation on it gets this one.
    pub(super) next_atomic: MessageSeq,
    /// All its transfers before this one are over.
    pub(super) served_transfers: MessageSeq,
    /// The atomic operation of the peer that is to be executed next.
    pub(super) served_atomics: MessageSeq,
    /// Room of the last datagram, for telling whether a message will fit one.
    pub(super) room: u16,
    active: Option<Box<Active>>,
}

impl Default for Peer {
    fn default() -> Self {
        let first = MessageSeq(1);
        Self {
            next_send: first,
            next_receive: first,
            next_transfer: first,
            next_atomic: first,
            served_transfers: first,
            served_atomics: first,
            room: 1_400,
            active: None,
        }
    }
}

impl Peer {
    /// The number of an operation that begins. What answers the peer has the peer's.
    pub(super) const fn number(&mut self, kind: &Kind, own: MessageSeq) -> MessageSeq {
        let next = match kind {
            Kind::Message => &mut self.next_send,
            Kind::Write { .. } | Kind::Read { .. } => &mut self.next_transfer,
            Kind::Atomic { .. } => &mut self.next_atomic,
            Kind::Data { .. } | Kind::Result => return own,
        };
        let number = *next;
        *next = number.next();
        number
    }

    pub(super) fn active(&self) -> Option<&Active> {
        self.active.as_deref()
    }

    /// Whether nothing of it is held that arrived ahead of its turn.
    pub(super) fn holds_nothing(&self) -> bool {
        self.active().is_none_or(|active| active.held.is_empty())
    }

    pub(super) fn active_mut(&mut self) -> Option<&mut Active> {
        self.active.as_deref_mut()
    }
}

/// A frame about a message that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// The grant is read off the message when the frame is written, so that it is never old.
    Grant(Stream),
    Stop(MessageSeq),
    Abort(MessageSeq),
    Refusal(Refusal),
}

/// What an active peer has beyond its sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) control: VecDeque<Control>,
    /// Content of datagrams that were too large, to be sent in smaller ones.
    pub(super) redo: VecDeque<Redo>,
    /// Sends that have not begun, in order.
    pub(super) queue: Chain,
    /// The first of them waits for operations that have begun.
    pub(super) is_kept: bool,
    /// The next operation posted waits for all before it.
    pub(super) fence: bool,
    pub(super) unfinished: Unfinished,
    /// Results of the peer's operations, which wait for nothing.
    pub(super) answers: Chain,
    /// Large sends that may go on, oldest first, each with its serial number.
    pub(super) ready: VecDeque<(u32, u32)>,
    /// Datagrams of large messages since the queue had a turn.
    pub(super) run: u32,
    /// Large sends that wait for a grant.
    pub(super) waiting: u32,
    /// Datagrams filled and not acknowledged.
    pub(super) in_flight: u32,
    /// Message bytes posted and not yet filled into a datagram.
    pub(super) queued_bytes: u64,
    /// A wake for this peer was reported and it has had something to send since.
    pub(super) announced: bool,
    /// Arrivals ahead of their turn, by message.
    pub(super) held: FxHashMap<MessageSeq, Held>,
    /// Large messages from the peer that have begun and are not complete.
    pub(super) arriving: u32,
    /// Those of them that a receive waits for.
    pub(super) placing: u32,
    /// Those of them that need grants.
    pub(super) scheduled: u32,
    /// Messages that want (more) grants, oldest first.
    pub(super) wants: VecDeque<u32>,
    /// Bytes the peer may send without further grants, not received yet.
    pub(super) granted: usize,
    /// Bytes of its messages that came as granted since it became active.
    pub(super) proved: usize,
    /// The peer's transfers from the first that is not over on.
    pub(super) begun: FxHashMap<MessageSeq, Begun>,
    /// Its atomic operations ahead of their turn.
    pub(super) held_atomics: FxHashMap<MessageSeq, HeldAtomic>,
    /// Atomic operations on its memory without a result.
    pub(super) awaited: u32,
}

impl Active {
    pub(super) fn has_work(&self) -> bool {
        !self.control.is_empty()
            || !self.redo.is_empty()
            || !self.answers.is_empty()
            || !(self.queue.is_empty() || self.is_kept)
            || !self.ready.is_empty()
    }

    /// Whether the next datagram is to come from the queue rather than from a large message
    /// that has begun: small messages overtake large ones, but do not starve them.
    pub(super) fn is_turn_of_queue(&self) -> bool {
        self.ready.is_empty() || self.run >= SEGMENTS_PER_TURN
    }

    /// What waits to be sent will not be.
    pub(super) fn forget_queues(&mut self) {
        (self.queue, self.answers, self.is_kept) = (Chain::default(), Chain::default(), false);
    }

    /// Inserts a large send by age.
    pub(super) fn make_ready(&mut self, serial: u32, op: u32) {
        let is_older = |other: u32| other.wrapping_sub(serial).cast_signed() < 0;
        let older = self.ready.iter().rposition(|&(other, _)| is_older(other));
        self.ready.insert(older.map_or(0, |at| at + 1), (serial, op));
    }

    fn is_idle(&self) -> bool {
        !self.has_work()
            && self.queue.is_empty()
            && self.in_flight == 0
            && self.waiting == 0
            && self.arriving == 0
            && self.held.is_empty()
            && self.begun.is_empty()
            && self.held_atomics.is_empty()
            && self.awaited == 0
    }

    /// Whether it holds more memory than is kept.
    fn is_bulky(&self) -> bool {
        let Self { control, redo, ready, held, wants, begun, held_atomics, .. } = self;
        let lists = [control.capacity(), redo.capacity(), ready.capacity(), wants.capacity()];
        let maps = [held.capacity(), begun.capacity(), held_atomics.capacity()];
        lists.iter().chain(&maps).any(|&capacity| capacity > MAX_SPARE_ENTRIES)
    }

    /// Forgets everything, keeping modest amounts of memory. In place, field by field: a peer that
    /// gets one message at a time falls idle after each.
    fn clear(&mut self) {
        if self.is_bulky() {
            *self = Self::default();
            return;
        }
        let Self {
            control,
            redo,
            ready,
            held,
            wants,
            begun,
            held_atomics,
            queue,
            is_kept,
            fence,
            unfinished,
            answers,
            run,
            waiting,
            in_flight,
            queued_bytes,
            announced,
            arriving,
            placing,
            scheduled,
            granted,
            proved,
            awaited,
        } = self;
        control.clear();
        redo.clear();
        ready.clear();
        held.clear();
        wants.clear();
        begun.clear();
        held_atomics.clear();
        (*queue, *answers, *unfinished) = Default::default();
        (*is_kept, *fence, *announced) = Default::default();
        (*run, *waiting, *in_flight, *queued_bytes) = Default::default();
        (*arriving, *placing, *scheduled, *granted) = Default::default();
        (*proved, *awaited) = Default::default();
    }
}

/// All peers, and which of them have something to send.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept for reuse")]
    spare: Vec<Box<Active>>,
    wakes: VecDeque<PeerId>,
}

impl Peers {
    pub(super) fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.index())
    }

    pub(super) fn peer_mut(&mut self, id: PeerId) -> &mut Peer {
        if id.index() >= self.peers.len() {
            self.peers.resize_with(id.index() + 1, Peer::default);
        }
        &mut self.peers[id.index()]
    }

    pub(super) fn active(&self, id: PeerId) -> Option<&Active> {
        self.peer(id)?.active()
    }

    pub(super) fn active_mut(&mut self, id: PeerId) -> Option<&mut Active> {
        self.peers.get_mut(id.index())?.active_mut()
    }

    /// The state of an active peer; an idle one becomes active.
    pub(super) fn activate(&mut self, id: PeerId) -> &mut Active {
        if id.index() >= self.peers.len() {
            self.peers.resize_with(id.index() + 1, Peer::default);
        }
        self.peers[id.index()].active.get_or_insert_with(|| self.spare.pop().unwrap_or_default())
    }

    /// Reports a wake if `id` has something to send and none was reported.
    pub(super) fn announce(&mut self, id: PeerId) {
        let Some(active) = self.peers.get_mut(id.index()).and_then(Peer::active_mut) else {
            return;
        };
        if !active.announced && active.has_work() {
            active.announced = true;
            self.wakes.push_back(id);
        }
    }

    pub(super) fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }

    pub(super) fn poll_wake(&mut self) -> Option<PeerId> {
        self.wakes.pop_front()
    }

    /// Drops the state of a peer that has become idle.
    pub(super) fn settle(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id.index()) else { return };
        if let Some(active) = peer.active.take_if(|active| active.is_idle()) {
            self.recycle(active);
        }
    }

    /// Makes `id` a peer that was never heard of.
    pub(super) fn reset(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id.index()) else { return };
        let peer = std::mem::take(peer);
        if let Some(active) = peer.active {
            self.recycle(active);
        }
    }

    fn recycle(&mut self, mut active: Box<Active>) {
        if self.spare.len() < MAX_SPARE {
            active.clear();
            self.spare.push(active);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_known_peer_takes_less_than_300_bytes() {
        assert!(size_of::<Peer>() <= 40);
    }

    #[test]
    fn large_sends_become_ready_in_the_order_they_were_posted_across_the_wrap() {
        let mut active = Active::default();
        for seq in [2, u32::MAX, 0, 1] {
            active.make_ready(seq, seq);
        }
        assert_eq!(
            active.ready.iter().map(|&(serial, _)| serial).collect::<Vec<_>>(),
            [u32::MAX, 0, 1, 2]
        );
    }

    #[test]
    fn peer_that_falls_idle_loses_its_state_but_keeps_its_numbers() {
        let mut peers = Peers::default();
        let id = PeerId(3);
        peers.activate(id).in_flight = 1;
        peers.peer_mut(id).next_send = MessageSeq(9);
        peers.settle(id);
        assert!(peers.active(id).is_some());
        peers.activate(id).in_flight = 0;
        peers.settle(id);
        assert!(peers.active(id).is_none());
        assert_eq!(peers.peer_mut(id).next_send, MessageSeq(9));
    }
}
