//! The order of a sender's messages: each comes up when all before it have. What arrives ahead
//! of its turn is held (P§8.2).

use std::collections::hash_map::Entry;

use srd::Delivery;
use wire::{MessageSeq, PeerId};

use super::{
    Rdm,
    stored::{MESSAGE_CHARGE, Stored},
    unexpected::Envelope,
};

/// What arrived of a message whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What its first frame said, once that is here.
    first: Option<Envelope>,
    stored: Stored,
    /// The sender gave it up: its turn is skipped.
    aborted: bool,
}

impl Rdm {
    /// A message that has a datagram for itself.
    pub(super) fn whole_arrived(&mut self, message: Envelope, payload: &[u8]) -> Delivery {
        let state = self.peers.peer_mut(message.peer);
        let is_in_turn = state.next_receive == message.seq && state.holds_nothing();
        if is_in_turn
            && self.multis.is_empty()
            && let Some(at) = self.posted.receive(&message, payload)
        {
            state.next_receive = message.seq.next();
            self.counters.expected_messages += 1;
            self.operations.receives.count(true);
            self.completions.push_received(at, &message);
            return Delivery::Accepted;
        }
        let delivery = self.first_arrived(message, payload);
        self.counters.not_ready += u64::from(delivery == Delivery::NotReady);
        self.peers.settle(message.peer);
        delivery
    }

    /// The first frame of a message, with its payload.
    pub(super) fn first_arrived(&mut self, first: Envelope, payload: &[u8]) -> Delivery {
        let Envelope { peer, seq, .. } = first;
        let turn = self.peers.peer_mut(peer).next_receive;
        match seq.distance(turn) {
            0 => {}
            ..0 => {
                self.counters.repeated += 1;
                return Delivery::Accepted;
            }
            _ => return self.hold(peer, seq, Some(first), 0, payload),
        }
        if self.is_overfull() {
            return Delivery::NotReady;
        }
        let receive = self.meet(&first);
        if receive.is_none()
            && !self.unexpected.has_room(payload.len(), self.config.unexpected_bytes)
        {
            return Delivery::NotReady;
        }
        let state = self.peers.peer_mut(peer);
        state.next_receive = seq.next();
        let nothing_held = state.holds_nothing();
        let early = if nothing_held { None } else { self.release(peer, seq) };
        let early = early.map(|held| held.stored);
        match receive {
            Some(receive) => {
                self.counters.expected_messages += 1;
                self.receive_arrived(receive, first, payload, early);
            }
            None => {
                let mut stored = early.unwrap_or_default();
                stored.add(0, payload, &mut self.pool);
                self.store_unexpected(first, stored);
            }
        }
        if !nothing_held {
            self.release_in_turn(peer);
        }
        Delivery::Accepted
    }

    /// Holds part of a message that is not known yet or whose turn has not come.
    pub(super) fn hold(
        &mut self,
        peer: PeerId,
        seq: MessageSeq,
        first: Option<Envelope>,
        offset: u64,
        payload: &[u8],
    ) -> Delivery {
        let charge = Stored::charge_of(payload.len());
        if !self.has_room_ahead(charge) {
            return Delivery::NotReady;
        }
        let held = match self.peers.activate(peer).held.entry(seq) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => {
                self.ahead += MESSAGE_CHARGE;
                place.insert(Held::default())
            }
        };
        if held.aborted || first.is_some() && held.first.is_some() {
            self.counters.repeated += 1;
            return Delivery::Accepted;
        }
        held.first = held.first.or(first);
        self.ahead += held.stored.add(offset, payload, &mut self.pool);
        self.counters.ahead_parts += 1;
        Delivery::Accepted
    }

    /// The sender gave up a message that has not begun here.
    pub(super) fn skip(&mut self, peer: PeerId, seq: MessageSeq) -> Delivery {
        let turn = self.peers.peer_mut(peer).next_receive;
        match seq.distance(turn) {
            ..0 => Delivery::Accepted,
            0 => {
                self.peers.peer_mut(peer).next_receive = seq.next();
                if let Some(held) = self.release(peer, seq) {
                    self.pool.recycle(held.stored);
                }
                self.release_in_turn(peer);
                Delivery::Accepted
            }
            _ => {
                let held = self.release(peer, seq);
                if held.is_none() && !self.has_room_ahead(0) {
                    return Delivery::NotReady;
                }
                if let Some(held) = held {
                    self.pool.recycle(held.stored);
                }
                self.ahead += MESSAGE_CHARGE;
                let held = Held { aborted: true, ..Held::default() };
                self.peers.activate(peer).held.insert(seq, held);
                Delivery::Accepted
            }
        }
    }

    /// Lets the held messages come up whose turn it is.
    fn release_in_turn(&mut self, peer: PeerId) {
        loop {
            let state = self.peers.peer_mut(peer);
            let seq = state.next_receive;
            let in_turn = state
                .active()
                .and_then(|active| active.held.get(&seq))
                .is_some_and(|held| held.aborted || held.first.is_some());
            if !in_turn {
                return;
            }
            state.next_receive = seq.next();
            let Some(Held { first, stored, .. }) = self.release(peer, seq) else { return };
            match first {
                None => self.pool.recycle(stored),
                Some(first) => match self.meet(&first) {
                    Some(receive) => {
                        self.counters.expected_messages += 1;
                        self.receive_stored(receive, first, stored);
                    }
                    None => self.store_unexpected(first, stored),
                },
            }
        }
    }

    pub(super) fn has_room_ahead(&self, charge: usize) -> bool {
        let overflow = self.unexpected.charge().saturating_sub(self.config.unexpected_bytes);
        self.ahead + overflow + MESSAGE_CHARGE + charge <= self.config.ahead_bytes
    }

    fn release(&mut self, peer: PeerId, seq: MessageSeq) -> Option<Held> {
        let held = self.peers.active_mut(peer)?.held.remove(&seq)?;
        self.ahead -= held.stored.charge();
        Some(held)
    }

    /// Forgets everything held of `peer`.
    pub(super) fn drop_held(&mut self, peer: PeerId) {
        let Some(active) = self.peers.active_mut(peer) else { return };
        for (_, held) in active.held.drain() {
            self.ahead -= held.stored.charge();
            self.pool.recycle(held.stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use memory::Buffer;
    use srd::Upper;
    use wire::{Time, Train};

    use super::*;
    use crate::{Config, Event, ReceiveRequest, SendRequest, TagMatch};

    #[test]
    fn order_holds_across_the_wrap_of_message_numbers() {
        let (mut here, mut there) = (Rdm::new(Config::default()), Rdm::new(Config::default()));
        let peer = PeerId(0);
        here.peers.peer_mut(peer).next_send = MessageSeq(u32::MAX - 2);
        there.peers.peer_mut(peer).next_receive = MessageSeq(u32::MAX - 2);
        let mut datagrams = Vec::new();
        for id in 0..6_u8 {
            let data = Bytes::from(vec![id; 700]);
            here.post_send(peer, SendRequest { data, ..SendRequest::default() }).unwrap();
            let mut train = Train::default();
            let filled = here.fill(Time::ZERO, peer, 800, &mut train).unwrap();
            train.close(filled.tail);
            datagrams.push(train.heads().clone());
            let (buffer, from, tag) = (Buffer::zeroed(700), None, TagMatch::Untagged);
            there.post_receive(ReceiveRequest { buffer, from, tag, context: 0 }).unwrap();
        }
        for datagram in datagrams.iter().rev() {
            assert_eq!(there.deliver(Time::ZERO, peer, datagram, 0), Delivery::Accepted);
        }
        for id in 0..6_u8 {
            let Event::Received { buffer, .. } = there.poll_completion().unwrap().event else {
                panic!("a receive completes as one");
            };
            assert_eq!(buffer.as_slice(), [id; 700]);
        }
        assert_eq!(there.stored_bytes(), 0);
    }
}
