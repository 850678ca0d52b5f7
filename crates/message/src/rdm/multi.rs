//! Multi-receives: one buffer that takes many messages, one right behind another (P§8.12).

use memory::Buffer;
use wire::PeerId;

use super::{
    Rdm,
    matching::{Receive, TagMatch},
    unexpected::Envelope,
};
use crate::{
    Busy, Completion, Event, OpId, OperationError,
    numbers::{clamp, key},
};

/// A receive to post that takes many messages (`FI_MULTI_RECV`).
#[derive(Debug)]
pub struct MultiReceiveRequest {
    /// Where the messages go, one right behind another.
    pub buffer: Buffer,
    /// Once fewer bytes than this are left, and at least one, no further message is taken
    /// (`FI_OPT_MIN_MULTI_RECV`).
    pub least: usize,
    /// Whose messages are accepted; `None` for anybody's.
    pub from: Option<PeerId>,
    /// Which of their messages are accepted.
    pub tag: TagMatch,
    /// Comes back in each completion.
    pub context: u64,
}

/// A buffer that takes many messages.
#[derive(Debug)]
pub(super) struct Multi {
    op: OpId,
    context: u64,
    from: Option<PeerId>,
    tag: TagMatch,
    /// What no message has taken.
    rest: Buffer,
    /// Bytes that messages have taken.
    taken: usize,
    least: usize,
    /// Messages that have met it and are not complete.
    pending: usize,
    /// It takes no more; how it ends.
    end: Option<Result<(), OperationError>>,
}

/// Which part of which multi-receive a receive is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    multi: u32,
    /// Where in the buffer it begins.
    pub(super) offset: usize,
}

impl Rdm {
    /// Posts a receive for as many messages as fit. Each completes as [`Event::Received`] with
    /// its part of the buffer; [`Event::Released`] is the last completion, and the only one of a
    /// multi-receive that met no message. A message that does not fit what is left releases the
    /// buffer and goes to the next receive; only one that is longer than a buffer in which
    /// nothing is yet is truncated.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit, with the buffer.
    pub fn post_multi_receive(
        &mut self,
        request: MultiReceiveRequest,
    ) -> Result<OpId, (Busy, Buffer)> {
        let MultiReceiveRequest { buffer, least, from, tag, context } = request;
        if self.receives_waiting() >= self.config.max_operations {
            return Err((Busy, buffer));
        }
        let serial = self.next_serial();
        let op = self.posted.next_op(serial);
        let multi = self.multis.vacant_key();
        let piece = Some(Piece { multi: key(multi), offset: 0 });
        let posted = Receive { op, context, from, tag, buffer: Buffer::default(), piece };
        self.posted.insert(posted);
        let (rest, least) = (buffer, least.max(1));
        let (taken, pending, end) = (0, 0, None);
        self.multis.insert(Multi { op, context, from, tag, rest, taken, least, pending, end });
        while let Some(at) = self.unexpected.find(from, tag) {
            let total = self.unexpected.get(at).envelope.total;
            let Some(receive) = self.take_piece(op.index(), key(multi), total) else { break };
            let is_last = receive.ends_multi(&self.multis);
            self.receive_unexpected(receive, at);
            if is_last {
                break;
            }
        }
        Ok(op)
    }

    /// Removes the receive that a message meets, or takes a part of one that goes on.
    pub(super) fn meet(&mut self, message: &Envelope) -> Option<Receive> {
        let Envelope { peer, tag, total, .. } = *message;
        if self.multis.is_empty() {
            return self.posted.take(peer, tag);
        }
        loop {
            let at = self.posted.find(peer, tag)?;
            let Some(piece) = self.posted.piece(at) else { return Some(self.posted.remove(at)) };
            if let Some(receive) = self.take_piece(at, piece.multi, total) {
                return Some(receive);
            }
        }
    }

    /// The part of a multi-receive, posted at `at`, for a message of `total` bytes. `None` if it
    /// does not fit: then the multi-receive takes no more.
    fn take_piece(&mut self, at: usize, multi: u32, total: u64) -> Option<Receive> {
        let state = &mut self.multis[multi as usize];
        if total > state.rest.len() as u64 && state.taken > 0 {
            self.posted.remove(at);
            self.end_multi(multi, Ok(()));
            return None;
        }
        let length = clamp(total, state.rest.len());
        let piece = Some(Piece { multi, offset: state.taken });
        let buffer = state.rest.split_front(length);
        state.taken += length;
        state.pending += 1;
        let &mut Multi { op, context, from, tag, .. } = state;
        if state.rest.len() < state.least {
            self.posted.remove(at);
            self.end_multi(multi, Ok(()));
        }
        Some(Receive { op, context, from, tag, buffer, piece })
    }

    /// A multi-receive takes no more messages.
    fn end_multi(&mut self, multi: u32, end: Result<(), OperationError>) {
        let state = &mut self.multis[multi as usize];
        state.end.get_or_insert(end);
        if state.pending == 0 {
            self.release_multi(multi);
        }
    }

    /// A message is complete, one way or the other.
    pub(super) fn piece_over(&mut self, piece: Option<Piece>) {
        let Some(Piece { multi, .. }) = piece else { return };
        let state = &mut self.multis[multi as usize];
        state.pending -= 1;
        if state.pending == 0 && state.end.is_some() {
            self.release_multi(multi);
        }
    }

    fn release_multi(&mut self, multi: u32) {
        let Multi { op, context, from: peer, rest, end, .. } = self.multis.remove(multi as usize);
        let (event, result) = (Event::Released { rest }, end.unwrap_or(Ok(())));
        if result.is_err() {
            self.operations.receives.count(false);
        }
        self.completions.push_back(Completion { op, context, peer, event, result });
    }

    /// A posted receive ends without a message.
    pub(super) fn fail_posted(&mut self, receive: Receive, error: OperationError) {
        match receive.piece {
            Some(piece) => self.end_multi(piece.multi, Err(error)),
            None => {
                let from = receive.from;
                self.fail_receive(receive, from, None, error);
            }
        }
    }

    /// Whether what is met now could complete beyond all limits: a multi-receive has room for any
    /// number of empty messages.
    pub(super) fn is_overfull(&self) -> bool {
        !self.multis.is_empty() && self.completions.len() >= self.config.max_operations
    }
}

impl Receive {
    /// Whether it is a part of a multi-receive that takes no more.
    fn ends_multi(&self, multis: &slab::Slab<Multi>) -> bool {
        self.piece.is_some_and(|piece| multis[piece.multi as usize].end.is_some())
    }
}
