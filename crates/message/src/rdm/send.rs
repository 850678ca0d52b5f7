//! Sends: from being posted until the last datagram is acknowledged.

use bytes::Bytes;
use memory::{Atomic, Buffer, Region, Visit};
use wire::{MessageSeq, PeerId, RemotePlace, Tag, Token};

use super::{
    Rdm,
    loan::Seal,
    peers::Control,
    reclaim::Redo,
    records::{Content, Part},
    sequel::{OperationClass, Predecessors},
    stream::Stream,
};
use crate::{
    Busy, Completion, Event, OpId, OperationError,
    chain::{Link, Linked},
    numbers::{clamp, key},
};

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct SendRequest {
    /// The message. It is referred to, not copied, until the send completes.
    pub data: Bytes,
    /// Its tag; `None` for an untagged message.
    pub tag: Option<Tag>,
    /// Data for the receiver's completion.
    pub remote_data: Option<u64>,
    /// Comes back in the completion.
    pub context: u64,
    /// Whether success is reported. Failure always is.
    pub complete: bool,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Kind {
    Message,
    /// Bytes for the peer's memory.
    Write {
        place: RemotePlace,
    },
    /// A request for bytes of it, which come as a stream.
    Read {
        place: RemotePlace,
        total: u64,
        unscheduled: u32,
        /// Where the bytes will go, until the read begins.
        buffer: Buffer,
    },
    /// An operation on it, whose result comes in a frame.
    Atomic {
        place: RemotePlace,
        atomic: Atomic,
        fetch: bool,
        count: u16,
    },
    /// What the peer reads: bytes of `region` from `begin` on.
    Data {
        region: Region,
        begin: usize,
        key: u64,
    },
    /// The result of the peer's atomic operation.
    Result,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was sent and the message has no number.
    Queued,
    Begun,
    /// Its completion was reported; only datagrams in flight keep it.
    Reported,
}

/// A posted send.
#[derive(Debug)]
pub(super) struct SendOp {
    pub(super) peer: PeerId,
    pub(super) kind: Kind,
    /// Goes before the data goes.
    pub(super) seal: Option<Seal>,
    pub(super) data: Bytes,
    pub(super) tag: Option<Tag>,
    pub(super) remote_data: Option<u64>,
    /// Of a message: meaningful once it has begun.
    pub(super) seq: MessageSeq,
    /// Bytes put into datagrams so far.
    pub(super) sent: usize,
    /// Bytes that may be sent.
    pub(super) limit: usize,
    /// Bytes that will be sent, if the limit allows: all, unless the receiver wants no more.
    pub(super) end: usize,
    /// What the first frame announced as coming without a grant.
    pub(super) unscheduled: u32,
    pub(super) in_flight: u32,
    pub(super) serial: u32,
    pub(super) context: u64,
    pub(super) complete: bool,
    /// What of earlier operations it waits for.
    pub(super) after: Predecessors,
    pub(super) stage: Stage,
    /// It left at once, and was turned away.
    pub(super) was_brief: bool,
    link: Link,
}

impl Linked for SendOp {
    fn link(&self, _lane: usize) -> &Link {
        &self.link
    }

    fn link_mut(&mut self, _lane: usize) -> &mut Link {
        &mut self.link
    }
}

impl Kind {
    /// What it is to those that wait for it; answers to the peer are nothing.
    pub(super) const fn class(&self) -> Option<OperationClass> {
        match self {
            Self::Message => Some(OperationClass::Send),
            Self::Write { .. } => Some(OperationClass::Write),
            Self::Read { .. } => Some(OperationClass::Read),
            Self::Atomic { .. } => Some(OperationClass::Atomic),
            Self::Data { .. } | Self::Result => None,
        }
    }
}

impl SendOp {
    /// Gives the message its number. It counts as sent up to nothing.
    pub(super) fn begin(&mut self, seq: MessageSeq) {
        self.seq = seq;
        self.stage = Stage::Begun;
    }

    /// The name of the operation, which is the one at `at`.
    fn name(&self, at: usize) -> OpId {
        if self.was_brief { OpId::brief(self.serial) } else { OpId::send(at, self.serial) }
    }

    /// Whether the datagrams that were filled may be written again.
    pub(super) fn is_wanted(&self) -> bool {
        self.stage == Stage::Begun
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.end
    }

    pub(super) fn waits_for_grant(&self) -> bool {
        self.stage == Stage::Begun && self.sent == self.limit && self.limit < self.end
    }

    fn is_large(&self) -> bool {
        self.unscheduled > 0 || matches!(self.kind, Kind::Data { .. })
    }

    /// Whether it was posted by the peer's operation rather than by the application.
    pub(super) const fn is_served(&self) -> bool {
        matches!(self.kind, Kind::Data { .. } | Kind::Result)
    }

    pub(super) const fn stream(&self) -> Stream {
        match self.kind {
            Kind::Data { .. } => Stream::Read(self.seq),
            _ => Stream::Message(self.seq),
        }
    }
}

impl Rdm {
    /// Posts a send to `peer`.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit.
    pub fn post_send(&mut self, peer: PeerId, request: SendRequest) -> Result<OpId, Busy> {
        self.admit(0)?;
        let seq = MessageSeq::default();
        Ok(self.enqueue(peer, Kind::Message, seq, request))
    }

    /// Whether one more operation may be posted; `waiting` count besides those to be sent.
    pub(super) fn admit(&self, waiting: usize) -> Result<(), Busy> {
        let posted = self.sends.len() - self.served + self.briefs + self.completions.len();
        if posted + waiting >= self.config.max_operations { Err(Busy) } else { Ok(()) }
    }

    /// Puts something into the queue of what is to be sent.
    pub(super) fn enqueue(
        &mut self,
        peer: PeerId,
        kind: Kind,
        seq: MessageSeq,
        request: SendRequest,
    ) -> OpId {
        let class = kind.class();
        let at = self.insert_send(peer, kind, seq, request);
        let after = class.map(|class| self.predecessors(peer, class));
        self.sends[at].after = after.unwrap_or_default();
        let SendOp { serial, end, ref kind, .. } = self.sends[at];
        self.ledger.post(serial, kind);
        let active = self.peers.activate(peer);
        let lane = if class.is_some() { &mut active.queue } else { &mut active.answers };
        lane.push_back(&mut self.sends, 0, at);
        active.queued_bytes += end as u64;
        active.look_at_front(&self.sends);
        self.peers.announce(peer);
        OpId::send(at, serial)
    }

    pub(super) fn insert_send(
        &mut self,
        peer: PeerId,
        kind: Kind,
        seq: MessageSeq,
        request: SendRequest,
    ) -> usize {
        let SendRequest { data, tag, remote_data, context, complete } = request;
        let serial = self.next_serial();
        let end = data.len();
        self.sends.insert(SendOp {
            peer,
            kind,
            seal: None,
            data,
            tag,
            remote_data,
            seq,
            sent: 0,
            limit: 0,
            end,
            unscheduled: 0,
            in_flight: 0,
            serial,
            context,
            complete,
            after: Predecessors::default(),
            stage: Stage::Queued,
            was_brief: false,
            link: Link::default(),
        })
    }

    /// The receiver grants more of a message, or the reader of what it reads.
    pub(super) fn granted(&mut self, peer: PeerId, stream: Stream, up_to: u64) {
        let Some(&at) = self.open.get(&(peer, stream)) else { return };
        let send = &mut self.sends[at];
        let up_to = clamp(up_to, send.end);
        if up_to <= send.limit {
            return;
        }
        let (waited, serial) = (send.waits_for_grant(), send.serial);
        send.limit = up_to;
        if waited {
            let active = self.peers.activate(peer);
            active.waiting -= 1;
            active.make_ready(serial, key(at));
            self.peers.announce(peer);
        }
    }

    /// The receiver wants no more of a message: it counts as sent. What is on its way need not be
    /// waited for: the receiver may look at it much later.
    pub(super) fn stopped(&mut self, peer: PeerId, seq: MessageSeq) {
        if let Some(&at) = self.open.get(&(peer, Stream::Message(seq))) {
            self.cut(at);
            if self.sends[at].stage == Stage::Begun {
                self.report_send(at, Ok(()));
            }
            self.remove_if_over(at);
        }
    }

    /// A datagram was acknowledged.
    pub(super) fn datagram_acked(&mut self, peer: PeerId, token: Token) {
        self.landed_at_peer(peer);
        match self.records.remove(token).content {
            Content::Start { op, .. } | Content::Segment { op, .. } => self.part_acked(op),
            Content::Bundle { parts, .. } => {
                for part in &parts {
                    match *part {
                        Part::Message(op) => self.part_acked(op),
                        Part::Refusal(refusal) => self.refusal_known(peer, refusal),
                        Part::Grant(..) | Part::Stop(_) | Part::Abort(_) => {}
                    }
                }
                self.records.recycle(parts);
            }
        }
        self.peers.settle(peer);
    }

    /// A datagram was turned away for good: its messages fail and the receiver's order skips
    /// them; frames about other messages must arrive nevertheless.
    pub(super) fn datagram_refused(&mut self, peer: PeerId, token: Token) {
        self.landed_at_peer(peer);
        match self.records.remove(token).content {
            Content::Start { op, .. } => self.part_refused(op),
            Content::Segment { op, offset, length } => {
                let end = offset + usize::from(length);
                self.segment_refused(peer, op, Redo::Bytes { op, from: offset, end });
            }
            Content::Bundle { parts, .. } => {
                for part in &parts {
                    match *part {
                        Part::Message(op) => {
                            let end = self.sends[op as usize].data.len();
                            self.segment_refused(peer, op, Redo::Beginning { op, end });
                        }
                        control => self.control_again(peer, control),
                    }
                }
                self.records.recycle(parts);
            }
        }
        self.peers.settle(peer);
    }

    pub(super) fn landed_at_peer(&mut self, peer: PeerId) {
        if let Some(active) = self.peers.active_mut(peer) {
            active.in_flight -= 1;
        }
    }

    pub(super) fn part_acked(&mut self, op: u32) {
        let at = op as usize;
        self.sends[at].in_flight -= 1;
        self.remove_if_over(at);
    }

    /// One-sided operations wait for no receive: they are sent again until they are taken.
    fn segment_refused(&mut self, peer: PeerId, op: u32, redo: Redo) {
        if matches!(self.sends[op as usize].kind, Kind::Message) {
            self.part_refused(op);
        } else {
            self.redo(peer, redo);
            self.peers.announce(peer);
        }
    }

    fn part_refused(&mut self, op: u32) {
        let at = op as usize;
        let send = &mut self.sends[at];
        send.in_flight -= 1;
        if send.stage == Stage::Begun {
            let (peer, seq) = (send.peer, send.seq);
            self.cut(at);
            self.report_send(at, Err(OperationError::ReceiverNotReady));
            self.control(peer, Control::Abort(seq));
        }
        self.remove_if_over(at);
    }

    pub(super) fn control(&mut self, peer: PeerId, control: Control) {
        self.peers.activate(peer).control.push_back(control);
        self.peers.announce(peer);
    }

    /// Sends a frame about a message once more.
    pub(super) fn control_again(&mut self, peer: PeerId, part: Part) {
        match part {
            // A second grant for the same bytes finds the first one's flag cleared: harmless.
            Part::Grant(stream, _) => self.control(peer, Control::Grant(stream)),
            Part::Refusal(refusal) => self.control(peer, Control::Refusal(refusal)),
            Part::Stop(seq) => self.control(peer, Control::Stop(seq)),
            Part::Abort(seq) => self.control(peer, Control::Abort(seq)),
            Part::Message(_) => {}
        }
    }

    /// Cancels a send or a one-sided operation: one that has not begun vanishes, a large message of
    /// which part was not sent is given up. Returns whether it was cancelled.
    pub(super) fn cancel_send(&mut self, op: OpId) -> bool {
        let at = op.index();
        let Some(send) = self.sends.get(at) else { return false };
        if send.serial != op.serial() || send.is_served() {
            return false;
        }
        let (peer, seq) = (send.peer, send.seq);
        match send.stage {
            Stage::Queued => {
                let length = send.end as u64;
                let active = self.peers.activate(peer);
                active.queue.remove(&mut self.sends, 0, at);
                active.queued_bytes -= length;
                active.look_at_front(&self.sends);
                self.report_send(at, Err(OperationError::Canceled));
                self.sends.remove(at);
                self.peers.announce(peer);
                self.peers.settle(peer);
                true
            }
            // What the peer has of a one-sided operation cannot be taken back.
            Stage::Begun if !send.is_sent() && matches!(send.kind, Kind::Message) => {
                self.cut(at);
                self.report_send(at, Err(OperationError::Canceled));
                self.control(peer, Control::Abort(seq));
                self.remove_if_over(at);
                true
            }
            Stage::Begun | Stage::Reported => false,
        }
    }

    /// Sends nothing more of a message or of a one-sided transfer.
    pub(super) fn cut(&mut self, at: usize) {
        let send = &mut self.sends[at];
        let active = self.peers.activate(send.peer);
        if send.waits_for_grant() {
            active.waiting -= 1;
        } else if !send.is_sent() {
            active.ready.retain(|&(_, op)| op as usize != at);
        }
        active.queued_bytes -= (send.end - send.sent) as u64;
        send.end = send.sent;
        send.limit = send.sent;
        if send.is_large() {
            self.open.remove(&(send.peer, send.stream()));
        }
    }

    pub(super) fn report_send(&mut self, at: usize, result: Result<(), OperationError>) {
        let send = &mut self.sends[at];
        let stage = std::mem::replace(&mut send.stage, Stage::Reported);
        send.seal = None;
        send.data = Bytes::new();
        let success = result.is_ok();
        let event = match &mut send.kind {
            Kind::Message => {
                self.operations.sends.count(success);
                Event::Sent
            }
            Kind::Write { .. } => {
                self.ledger.end(send.serial, success, &mut self.operations);
                Event::Written
            }
            Kind::Read { buffer, .. } if stage == Stage::Queued => {
                self.ledger.end(send.serial, success, &mut self.operations);
                Event::Read { buffer: std::mem::take(buffer) }
            }
            Kind::Atomic { .. } if stage == Stage::Queued => {
                self.ledger.end(send.serial, success, &mut self.operations);
                Event::Atomic { old: Vec::new() }
            }
            &mut Kind::Data { key, .. } => {
                if success {
                    self.has_served(key, Visit::Read);
                }
                return;
            }
            // What comes back completes them.
            Kind::Read { .. } | Kind::Atomic { .. } | Kind::Result => return,
        };
        let (peer, class) = (send.peer, send.kind.class());
        if !success || send.complete {
            self.completions.push_back(Completion {
                op: send.name(at),
                context: send.context,
                peer: Some(peer),
                event,
                result,
            });
        }
        if let Some(class) = class.filter(|_| stage == Stage::Begun) {
            self.finished(peer, class);
        }
    }

    /// Completes and removes a send all of whose datagrams are acknowledged.
    pub(super) fn remove_if_over(&mut self, at: usize) {
        let send = &self.sends[at];
        if send.in_flight > 0 || !send.is_sent() {
            return;
        }
        if send.is_large() {
            self.open.remove(&(send.peer, send.stream()));
        }
        self.served -= usize::from(send.is_served());
        if send.stage == Stage::Begun {
            self.report_send(at, Ok(()));
        }
        self.sends.remove(at);
    }

    /// Every send to a lost peer fails, oldest first.
    pub(super) fn fail_sends(&mut self, peer: PeerId, error: OperationError) {
        if let Some(active) = self.peers.active_mut(peer) {
            active.forget_queues();
        }
        let newest = self.serial;
        let lost = self.sends.iter().filter(|(_, send)| send.peer == peer);
        let mut lost: Vec<_> =
            lost.map(|(at, send)| (newest.wrapping_sub(send.serial), at)).collect();
        lost.sort_unstable_by(|one, other| other.cmp(one));
        for (_, at) in lost {
            let send = &self.sends[at];
            if send.is_large() {
                self.open.remove(&(peer, send.stream()));
            }
            self.served -= usize::from(send.is_served());
            if send.stage != Stage::Reported {
                self.report_send(at, Err(error));
            }
            self.sends.remove(at);
        }
    }
}
