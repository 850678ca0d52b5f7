//! Messages on their way into the buffer of the receive they met.

use srd::Delivery;
use wire::PeerId;

use super::{
    Rdm, matching::Receive, peers::Control, ranges::Ranges, stored::Stored, stream::Stream,
    unexpected::Envelope,
};
use crate::{
    Completion, Event, OperationError,
    numbers::{clamp, key},
};

/// Where a message that has begun and is not complete is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arriving {
    /// In the unexpected store.
    Unexpected(usize),
    /// A receive waits for it.
    Placing(usize),
}

/// A receive and the message that it met, whose bytes are arriving.
#[derive(Debug)]
pub(super) struct Placing {
    pub(super) receive: Receive,
    pub(super) stream: Stream,
    pub(super) envelope: Envelope,
    /// Bytes of the message that fit the buffer; the rest is not waited for.
    pub(super) needed: usize,
    pub(super) received: usize,
    pub(super) ranges: Ranges,
    /// The sender may send up to here.
    pub(super) authorised: usize,
    /// All that is needed from here on is there, or the sender may send it.
    pub(super) tail: usize,
    /// Bytes of it were copied out of the sender's memory.
    pub(super) is_copied: bool,
    /// Bytes of this message that count against the grant budget.
    pub(super) granted: usize,
    /// It counts among its sender's messages that need grants.
    pub(super) scheduled: bool,
    /// A grant waits to be sent.
    pub(super) grant_queued: bool,
    /// A segment arrived. Only then is it certain that a reader's grants will be understood.
    pub(super) heard: bool,
    /// Payload bytes of its full segments; 0 until one was seen.
    pub(super) body: usize,
    /// Where a train was predicted that turned out to be something else.
    pub(super) missed_at: Option<usize>,
}

impl Rdm {
    /// Stores a message that no receive accepts.
    pub(super) fn store_unexpected(&mut self, envelope: Envelope, stored: Stored) {
        self.counters.unexpected_messages += 1;
        let complete = stored.is_complete(envelope.total);
        let at = self.unexpected.insert(envelope, stored);
        if !complete {
            self.arriving.insert((envelope.peer, envelope.stream()), Arriving::Unexpected(at));
            self.peers.activate(envelope.peer).arriving += 1;
        }
    }

    /// A receive met a message all of whose arrived parts are stored.
    pub(super) fn receive_stored(
        &mut self,
        mut receive: Receive,
        envelope: Envelope,
        stored: Stored,
    ) {
        match stored.whole(envelope.total) {
            Some(message) => {
                receive.buffer.write_at(0, message);
                self.complete_receive(receive, envelope);
                self.pool.recycle(stored);
            }
            None => self.begin_placing(receive, envelope, &[], stored),
        }
    }

    /// A receive met a message whose first part just arrived; `early` came before it.
    pub(super) fn receive_arrived(
        &mut self,
        mut receive: Receive,
        envelope: Envelope,
        payload: &[u8],
        early: Option<Stored>,
    ) {
        if payload.len() as u64 == envelope.total {
            receive.buffer.write_at(0, payload);
            self.complete_receive(receive, envelope);
            if let Some(early) = early {
                self.pool.recycle(early);
            }
        } else {
            self.begin_placing(receive, envelope, payload, early.unwrap_or_default());
        }
    }

    fn begin_placing(
        &mut self,
        receive: Receive,
        envelope: Envelope,
        payload: &[u8],
        early: Stored,
    ) {
        let at = self.expect_stream(receive, envelope, envelope.stream());
        self.place_copy(at, 0, payload);
        for chunk in &early.chunks {
            self.place_copy(at, chunk.offset, &chunk.bytes);
        }
        self.pool.recycle(early);
        if !self.finish_if_complete(at) {
            self.open_grants(at);
        }
    }

    /// Enters a receive, or a read, whose bytes will come in segments.
    pub(super) fn expect_stream(
        &mut self,
        receive: Receive,
        envelope: Envelope,
        stream: Stream,
    ) -> usize {
        let peer = envelope.peer;
        let needed = clamp(envelope.total, receive.buffer.len());
        let at = self.placing.insert(Placing {
            receive,
            stream,
            envelope,
            needed,
            received: 0,
            ranges: Ranges::default(),
            authorised: clamp(envelope.unscheduled, needed),
            tail: needed,
            is_copied: false,
            granted: 0,
            scheduled: false,
            grant_queued: false,
            heard: false,
            body: 0,
            missed_at: None,
        });
        self.arriving.insert((peer, stream), Arriving::Placing(at));
        let active = self.peers.activate(peer);
        active.arriving += 1;
        active.placing += 1;
        at
    }

    /// A further part of a message.
    pub(super) fn segment_arrived(
        &mut self,
        peer: PeerId,
        stream: Stream,
        offset: u64,
        payload: &[u8],
    ) -> Delivery {
        match (self.arriving.get(&(peer, stream)), stream) {
            (Some(&Arriving::Placing(at)), _) => {
                self.place_copy(at, offset, payload);
                self.placed_segment(at, offset, payload.len());
                Delivery::Accepted
            }
            (Some(&Arriving::Unexpected(at)), _) => self.add_unexpected(at, offset, payload),
            (None, Stream::Message(seq))
                if seq.distance(self.peers.peer_mut(peer).next_receive) >= 0 =>
            {
                self.hold(peer, seq, None, offset, payload)
            }
            (None, _) => {
                self.counters.late_segments += 1;
                Delivery::Accepted
            }
        }
    }

    fn add_unexpected(&mut self, at: usize, offset: u64, payload: &[u8]) -> Delivery {
        let entry = self.unexpected.get(at);
        let Envelope { peer, total, unscheduled, .. } = entry.envelope;
        let stream = entry.envelope.stream();
        // Without a receive nothing was granted: more than the unscheduled part is a breach.
        if offset + payload.len() as u64 > unscheduled.min(total) {
            self.counters.malformed += 1;
            return Delivery::Accepted;
        }
        if !self.unexpected.has_room(payload.len(), self.config.unexpected_bytes) {
            return Delivery::NotReady;
        }
        if self.unexpected.add(at, offset, payload, &mut self.pool) {
            self.arrived(peer, stream);
        }
        Delivery::Accepted
    }

    /// Forgets where a message is whose bytes are all here, or not wanted any more.
    pub(super) fn arrived(&mut self, peer: PeerId, stream: Stream) -> Option<Arriving> {
        let arriving = self.arriving.remove(&(peer, stream))?;
        if let Some(active) = self.peers.active_mut(peer) {
            active.arriving -= 1;
        }
        Some(arriving)
    }

    fn place_copy(&mut self, at: usize, offset: u64, payload: &[u8]) {
        let placing = &mut self.placing[at];
        let start = clamp(offset, placing.needed);
        let length = payload.len().min(placing.needed - start);
        placing.receive.buffer.write_at(start, &payload[..length]);
        self.mark(at, start, length);
    }

    /// Notes that `length` bytes from `start` on are in the buffer.
    pub(super) fn mark(&mut self, at: usize, start: usize, length: usize) {
        let placing = &mut self.placing[at];
        let added = placing.ranges.insert(start..start + length);
        placing.received += added;
        let paid = added.min(placing.granted);
        placing.granted -= paid;
        let peer = placing.envelope.peer;
        self.budget_returned(peer, paid);
    }

    /// What follows from a segment that was placed: a prediction, a completion, new grants.
    pub(super) fn placed_segment(&mut self, at: usize, offset: u64, length: usize) {
        let placing = &mut self.placing[at];
        if offset + length as u64 != placing.envelope.total {
            placing.body = length;
        }
        self.landing.latest = Some(at);
        let is_first = !std::mem::replace(&mut placing.heard, true);
        let told = placing.envelope.unscheduled;
        let is_read = matches!(placing.stream, Stream::Read(_));
        if is_first && is_read && !placing.grant_queued && placing.authorised as u64 > told {
            placing.grant_queued = true;
            let (peer, stream) = (placing.envelope.peer, placing.stream);
            self.control(peer, Control::Grant(stream));
        }
        if !self.finish_if_complete(at) {
            self.issue_grants_if_due();
        }
    }

    pub(super) fn finish_if_complete(&mut self, at: usize) -> bool {
        let placing = &self.placing[at];
        if placing.received < placing.needed {
            return false;
        }
        let Envelope { peer, seq, total, unscheduled, .. } = placing.envelope;
        let sender_waits = placing.is_copied || unscheduled.max(placing.authorised as u64) < total;
        let placing = self.end_placing(at);
        if sender_waits {
            self.peers.activate(peer).control.push_back(Control::Stop(seq));
            self.peers.announce(peer);
        }
        match placing.stream {
            Stream::Message(_) => self.complete_receive(placing.receive, placing.envelope),
            Stream::Read(_) => self.complete_read(placing, Ok(())),
        }
        self.issue_grants();
        true
    }

    /// Takes a message off all the books. The caller completes its receive.
    pub(super) fn end_placing(&mut self, at: usize) -> Placing {
        let placing = self.placing.remove(at);
        let peer = placing.envelope.peer;
        self.arrived(peer, placing.stream);
        if let Some(active) = self.peers.active_mut(peer) {
            active.placing -= 1;
        }
        self.close_grants(key(at), &placing);
        self.landing.forget(at);
        placing
    }

    fn complete_receive(&mut self, receive: Receive, envelope: Envelope) {
        let room = receive.buffer.len() as u64;
        let result = if envelope.total > room {
            self.counters.truncated += 1;
            Err(OperationError::Truncated { message_length: envelope.total })
        } else {
            Ok(())
        };
        self.operations.receives.count(result.is_ok());
        let piece = receive.piece;
        self.completions.push_back(Completion {
            op: receive.op,
            context: receive.context,
            peer: Some(envelope.peer),
            event: Event::Received {
                tag: envelope.tag,
                remote_data: envelope.remote_data,
                length: envelope.total.min(room),
                message_length: envelope.total,
                offset: piece.map_or(0, |piece| piece.offset as u64),
                buffer: receive.buffer,
            },
            result,
        });
        self.piece_over(piece);
    }

    /// Completes a receive that got no message, or only part of one, in error.
    pub(super) fn fail_receive(
        &mut self,
        receive: Receive,
        peer: Option<PeerId>,
        envelope: Option<Envelope>,
        error: OperationError,
    ) {
        self.operations.receives.count(false);
        let piece = receive.piece;
        self.completions.push_back(Completion {
            op: receive.op,
            context: receive.context,
            peer,
            event: Event::Received {
                tag: envelope.and_then(|envelope| envelope.tag),
                remote_data: envelope.and_then(|envelope| envelope.remote_data),
                length: 0,
                message_length: envelope.map_or(0, |envelope| envelope.total),
                offset: piece.map_or(0, |piece| piece.offset as u64),
                buffer: receive.buffer,
            },
            result: Err(error),
        });
        self.piece_over(piece);
    }
}
