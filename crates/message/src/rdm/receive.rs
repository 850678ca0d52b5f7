//! Datagrams that arrive, and receives that are posted.

use memory::Buffer;
use srd::Delivery;
use wire::{Frame, FrameIter, MessageSeq, PeerId, Tag, WholeMessage};

use super::{
    Rdm,
    matching::{Receive, TagMatch},
    placing::Arriving,
    stream::Stream,
    unexpected::Envelope,
};
use crate::{Busy, OpId, OperationError};

/// A receive to post.
#[derive(Debug)]
pub struct ReceiveRequest {
    /// Where the message goes. Its length is the room for the message.
    pub buffer: Buffer,
    /// Whose messages are accepted; `None` for anybody's.
    pub from: Option<PeerId>,
    /// Which of their messages are accepted.
    pub tag: TagMatch,
    /// Comes back in the completion.
    pub context: u64,
}

/// What is known of a message that waits for a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekInfo {
    /// Its sender.
    pub peer: PeerId,
    /// Its tag; `None` if it is untagged.
    pub tag: Option<Tag>,
    /// Remote completion data that comes with it.
    pub remote_data: Option<u64>,
    /// Bytes of the whole message, whether or not they are all here.
    pub length: u64,
}

impl Envelope {
    pub(super) const fn info(&self) -> PeekInfo {
        let &Self { peer, tag, remote_data, total: length, .. } = self;
        PeekInfo { peer, tag, remote_data, length }
    }
}

impl Rdm {
    /// Posts a receive. It meets the oldest stored message it accepts, else the first to arrive.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit, with the buffer.
    pub fn post_receive(&mut self, request: ReceiveRequest) -> Result<OpId, (Busy, Buffer)> {
        let ReceiveRequest { buffer, from, tag, context } = request;
        if self.receives_waiting() >= self.config.max_operations {
            return Err((Busy, buffer));
        }
        let serial = self.next_serial();
        let Some(at) = self.unexpected.find(from, tag) else {
            let op = self.posted.next_op(serial);
            return Ok(self.posted.insert(Receive { op, context, from, tag, buffer, piece: None }));
        };
        let op = OpId::matched_receive(serial);
        self.receive_unexpected(Receive { op, context, from, tag, buffer, piece: None }, at);
        Ok(op)
    }

    /// Receives that wait for messages or to be polled.
    pub(super) fn receives_waiting(&self) -> usize {
        self.posted.len() + self.placing.len() + self.completions.len()
    }

    /// A receive meets the stored message at `at`.
    pub(super) fn receive_unexpected(&mut self, receive: Receive, at: usize) {
        let message = self.unexpected.remove(at);
        let peer = message.envelope.peer;
        self.arrived(peer, message.envelope.stream());
        self.receive_stored(receive, message.envelope, message.stored);
        self.peers.settle(peer);
    }

    /// The oldest stored message that a receive would meet. It stays stored.
    pub fn peek(&self, from: Option<PeerId>, tag: TagMatch) -> Option<PeekInfo> {
        let at = self.unexpected.find(from, tag)?;
        Some(self.unexpected.get(at).envelope.info())
    }

    /// A datagram arrived. If one of its frames has no room the datagram comes again, and what
    /// was taken of it is recognised: messages by their number, the other frames say the same
    /// twice. So a frame about a message gets through even when messages do not, and neither
    /// side can wait for the other's stores.
    pub(super) fn datagram_arrived(&mut self, peer: PeerId, datagram: &[u8]) -> Delivery {
        if let Some((message, payload)) = WholeMessage::parse(datagram) {
            let WholeMessage { seq, tag, data: remote_data } = message;
            let total = payload.len() as u64;
            let envelope = Envelope { peer, seq, tag, remote_data, total, unscheduled: total };
            return self.whole_arrived(envelope, payload);
        }
        let mut delivery = Delivery::Accepted;
        for item in FrameIter::new(datagram) {
            let Ok((frame, payload)) = item else {
                self.counters.malformed += 1;
                break;
            };
            let outcome = match frame {
                Frame::Grant { seq, up_to } => {
                    self.granted(peer, Stream::Message(seq), up_to);
                    Delivery::Accepted
                }
                Frame::Stop { seq } => {
                    self.stopped(peer, seq);
                    Delivery::Accepted
                }
                Frame::Abort { seq } => self.aborted(peer, seq),
                Frame::Message { .. } | Frame::Start { .. } | Frame::Segment { .. }
                    if delivery == Delivery::NotReady =>
                {
                    Delivery::NotReady
                }
                Frame::Message { seq, tag, data: remote_data, length } => {
                    let total = u64::from(length);
                    let envelope =
                        Envelope { peer, seq, tag, remote_data, total, unscheduled: total };
                    self.first_arrived(envelope, payload)
                }
                Frame::Start { seq, tag, data: remote_data, total, unscheduled, .. } => {
                    let unscheduled = u64::from(unscheduled);
                    let envelope = Envelope { peer, seq, tag, remote_data, total, unscheduled };
                    self.first_arrived(envelope, payload)
                }
                Frame::Segment { seq, offset, .. } => {
                    self.segment_arrived(peer, Stream::Message(seq), offset, payload)
                }
                Frame::OneSided(frame) => self.one_sided_arrived(peer, frame, payload),
            };
            if outcome == Delivery::NotReady {
                delivery = Delivery::NotReady;
            }
        }
        self.counters.not_ready += u64::from(delivery == Delivery::NotReady);
        self.peers.settle(peer);
        delivery
    }

    /// The sender gave a message up.
    fn aborted(&mut self, peer: PeerId, seq: MessageSeq) -> Delivery {
        match self.arriving.get(&(peer, Stream::Message(seq))) {
            Some(&Arriving::Placing(at)) => {
                let placing = self.end_placing(at);
                let error = OperationError::PeerAborted;
                self.fail_receive(placing.receive, Some(peer), Some(placing.envelope), error);
                self.issue_grants();
                Delivery::Accepted
            }
            Some(&Arriving::Unexpected(at)) => {
                self.arrived(peer, Stream::Message(seq));
                let stored = self.unexpected.lose(at, OperationError::PeerAborted);
                self.pool.recycle(stored);
                Delivery::Accepted
            }
            None => self.skip(peer, seq),
        }
    }
}
