//! Datagrams that the way to the peer no longer takes: their content goes into smaller ones.
//!
//! The large datagram may have arrived all the same. What it carried may therefore come twice:
//! bytes of a message at their offsets, messages and operations under their numbers, so that the
//! receiver notices (P§8.6).

use srd::Filled;
use wire::{PeerId, Token, Train};

use super::{
    Rdm,
    fill::{emit_part, segment_frame, start_frame, whole_frame, whole_len},
    records::{Content, Part},
    send::Kind,
};
use crate::numbers::short;

/// What is to be sent again. Each stands for one datagram its send counts as in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Redo {
    /// A message from its beginning up to `end`.
    Beginning { op: u32, end: usize },
    /// Bytes of a message.
    Bytes { op: u32, from: usize, end: usize },
}

impl Rdm {
    /// Takes back the content of a datagram.
    pub(super) fn datagram_reclaimed(&mut self, peer: PeerId, token: Token) {
        self.landed_at_peer(peer);
        match self.records.remove(token).content {
            Content::Start { op, length } => {
                self.redo(peer, Redo::Beginning { op, end: usize::from(length) });
            }
            Content::Segment { op, offset, length } => {
                self.redo(
                    peer,
                    Redo::Bytes { op, from: offset, end: offset + usize::from(length) },
                );
            }
            Content::Bundle { parts, .. } => {
                for part in &parts {
                    if let Part::Message(op) = *part {
                        let end = self.sends[op as usize].data.len();
                        self.redo(peer, Redo::Beginning { op, end });
                    } else {
                        self.control_again(peer, *part);
                    }
                }
                self.records.recycle(parts);
            }
        }
        self.peers.announce(peer);
    }

    pub(super) fn redo(&mut self, peer: PeerId, redo: Redo) {
        self.peers.activate(peer).redo.push_back(redo);
    }

    /// Fills a datagram with what was taken back, if there is any.
    pub(super) fn fill_redo(
        &mut self,
        peer: PeerId,
        room: usize,
        train: &mut Train,
    ) -> Option<Filled> {
        loop {
            let active = self.peers.active_mut(peer)?;
            let redo = active.redo.pop_front()?;
            let (Redo::Beginning { op, .. } | Redo::Bytes { op, .. }) = redo;
            if self.sends[op as usize].is_wanted() {
                return Some(self.fill_again(peer, redo, room, train));
            }
            self.part_acked(op);
        }
    }

    fn fill_again(&mut self, peer: PeerId, redo: Redo, room: usize, train: &mut Train) -> Filled {
        match redo {
            Redo::Beginning { op, end } => {
                let send = &mut self.sends[op as usize];
                if end == send.data.len() && send.unscheduled == 0 && whole_len(send) <= room {
                    return self.fill_message_again(peer, op, train);
                }
                if !matches!(send.kind, Kind::Message) {
                    return self.fill_again(peer, Redo::Bytes { op, from: 0, end }, room, train);
                }
                if send.unscheduled == 0 {
                    // It was to travel whole; now it takes several datagrams, all at once.
                    send.unscheduled = u32::try_from(send.data.len()).unwrap_or(u32::MAX);
                }
                let length = short(end.min(room - start_frame(send, 0).head_len()));
                start_frame(send, length).emit(train.heads());
                let tail = send.data.slice(..usize::from(length));
                self.put_back(peer, op, usize::from(length), end);
                self.filled(peer, Content::Start { op, length }, tail, 0)
            }
            Redo::Bytes { op, from, end } => {
                let send = &self.sends[op as usize];
                let length =
                    short((end - from).min(room - segment_frame(send, from, 0).head_len()));
                let upto = from + usize::from(length);
                let tail = emit_part(send, from, length, train.heads(), &self.regions);
                self.put_back(peer, op, upto, end);
                self.filled(peer, Content::Segment { op, offset: from, length }, tail, 0)
            }
        }
    }

    fn fill_message_again(&mut self, peer: PeerId, op: u32, train: &mut Train) -> Filled {
        let send = &self.sends[op as usize];
        whole_frame(send).emit(train.heads());
        let tail = send.data.clone();
        let mut parts = self.records.parts();
        parts.push(Part::Message(op));
        self.filled(peer, Content::Bundle { parts, tail: true }, tail, 0)
    }

    /// What did not fit comes next, in a datagram of its own.
    fn put_back(&mut self, peer: PeerId, op: u32, from: usize, end: usize) {
        if from < end {
            self.sends[op as usize].in_flight += 1;
            self.peers.activate(peer).redo.push_front(Redo::Bytes { op, from, end });
        }
    }
}
