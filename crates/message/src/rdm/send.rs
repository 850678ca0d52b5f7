//! Sends: from being posted until the last datagram is acknowledged.

use bytes::Bytes;
use wire::{MessageSeq, PeerId, Tag, Token};

use super::{
    Rdm,
    peers::Control,
    records::{Content, Part},
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
    pub(super) data: Bytes,
    pub(super) tag: Option<Tag>,
    pub(super) remote_data: Option<u64>,
    /// Meaningful once it has begun.
    pub(super) seq: MessageSeq,
    /// Bytes put into datagrams so far.
    pub(super) sent: usize,
    /// Bytes that may be sent.
    pub(super) limit: usize,
    /// Bytes that will be sent, if the limit allows: all, unless the receiver wants no more.
    end: usize,
    /// What the first frame announced as coming without a grant.
    pub(super) unscheduled: u32,
    pub(super) in_flight: u32,
    serial: u32,
    context: u64,
    complete: bool,
    stage: Stage,
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

impl SendOp {
    /// Gives the message its number. It counts as sent up to nothing.
    pub(super) fn begin(&mut self, seq: MessageSeq) {
        self.seq = seq;
        self.stage = Stage::Begun;
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
        self.unscheduled > 0
    }
}

impl Rdm {
    /// Posts a send to `peer`.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit.
    pub fn post_send(&mut self, peer: PeerId, request: SendRequest) -> Result<OpId, Busy> {
        if self.sends.len() + self.completions.len() >= self.config.max_operations {
            return Err(Busy);
        }
        let SendRequest { data, tag, remote_data, context, complete } = request;
        let serial = self.next_serial();
        let end = data.len();
        let at = self.sends.insert(SendOp {
            peer,
            data,
            tag,
            remote_data,
            seq: MessageSeq::default(),
            sent: 0,
            limit: 0,
            end,
            unscheduled: 0,
            in_flight: 0,
            serial,
            context,
            complete,
            stage: Stage::Queued,
            link: Link::default(),
        });
        let active = self.peers.activate(peer);
        active.queue.push_back(&mut self.sends, 0, at);
        active.queued_bytes += end as u64;
        self.peers.announce(peer);
        Ok(OpId::send(at, serial))
    }

    /// The receiver grants more of a message.
    pub(super) fn granted(&mut self, peer: PeerId, seq: MessageSeq, up_to: u64) {
        let Some(&at) = self.open.get(&(peer, seq)) else { return };
        let send = &mut self.sends[at];
        let up_to = clamp(up_to, send.end);
        if up_to <= send.limit {
            return;
        }
        let waited = send.waits_for_grant();
        send.limit = up_to;
        if waited {
            let active = self.peers.activate(peer);
            active.waiting -= 1;
            active.make_ready(seq, key(at));
            self.peers.announce(peer);
        }
    }

    /// The receiver wants no more of a message: it counts as sent.
    pub(super) fn stopped(&mut self, peer: PeerId, seq: MessageSeq) {
        if let Some(&at) = self.open.get(&(peer, seq)) {
            self.cut(at);
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
                    if let Part::Message(op) = *part {
                        self.part_acked(op);
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
            Content::Start { op, .. } | Content::Segment { op, .. } => self.part_refused(op),
            Content::Bundle { parts, .. } => {
                for part in &parts {
                    match *part {
                        Part::Message(op) => self.part_refused(op),
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

    fn control(&mut self, peer: PeerId, control: Control) {
        self.peers.activate(peer).control.push_back(control);
        self.peers.announce(peer);
    }

    /// Sends a frame about a message once more.
    pub(super) fn control_again(&mut self, peer: PeerId, part: Part) {
        match part {
            Part::Grant(seq, _) => self.regrant(peer, seq),
            Part::Stop(seq) => self.control(peer, Control::Stop(seq)),
            Part::Abort(seq) => self.control(peer, Control::Abort(seq)),
            Part::Message(_) => {}
        }
    }

    fn regrant(&mut self, peer: PeerId, seq: MessageSeq) {
        // A second grant for the same message finds the first one's flag cleared: harmless.
        self.control(peer, Control::Grant(seq));
    }

    /// Cancels a send: one that has not begun vanishes, a large one of which part was not sent is
    /// given up. Returns whether it was cancelled.
    pub(super) fn cancel_send(&mut self, op: OpId) -> bool {
        let at = op.index();
        let Some(send) = self.sends.get(at) else { return false };
        if send.serial != op.serial() {
            return false;
        }
        let (peer, seq) = (send.peer, send.seq);
        match send.stage {
            Stage::Queued => {
                let length = send.end as u64;
                let active = self.peers.activate(peer);
                active.queue.remove(&mut self.sends, 0, at);
                active.queued_bytes -= length;
                self.report_send(at, Err(OperationError::Canceled));
                self.sends.remove(at);
                self.peers.settle(peer);
                true
            }
            Stage::Begun if !send.is_sent() => {
                self.cut(at);
                self.report_send(at, Err(OperationError::Canceled));
                self.control(peer, Control::Abort(seq));
                self.remove_if_over(at);
                true
            }
            Stage::Begun | Stage::Reported => false,
        }
    }

    /// Sends nothing more of a large message.
    fn cut(&mut self, at: usize) {
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
        self.open.remove(&(send.peer, send.seq));
    }

    fn report_send(&mut self, at: usize, result: Result<(), OperationError>) {
        let send = &mut self.sends[at];
        send.stage = Stage::Reported;
        send.data = Bytes::new();
        if result.is_err() || send.complete {
            self.completions.push_back(Completion {
                op: OpId::send(at, send.serial),
                context: send.context,
                peer: Some(send.peer),
                event: Event::Sent,
                result,
            });
        }
    }

    /// Completes and removes a send all of whose datagrams are acknowledged.
    fn remove_if_over(&mut self, at: usize) {
        let send = &self.sends[at];
        if send.in_flight > 0 || !send.is_sent() {
            return;
        }
        if send.is_large() {
            self.open.remove(&(send.peer, send.seq));
        }
        if send.stage == Stage::Begun {
            self.report_send(at, Ok(()));
        }
        self.sends.remove(at);
    }

    /// Every send to a lost peer fails, oldest first.
    pub(super) fn fail_sends(&mut self, peer: PeerId, error: OperationError) {
        let newest = self.serial;
        let lost = self.sends.iter().filter(|(_, send)| send.peer == peer);
        let mut lost: Vec<_> =
            lost.map(|(at, send)| (newest.wrapping_sub(send.serial), at)).collect();
        lost.sort_unstable_by(|one, other| other.cmp(one));
        for (_, at) in lost {
            let send = &self.sends[at];
            if send.is_large() {
                self.open.remove(&(peer, send.seq));
            }
            if send.stage != Stage::Reported {
                self.report_send(at, Err(error));
            }
            self.sends.remove(at);
        }
    }
}
