//! Short messages that leave at the moment they are posted, over a link that keeps what it is given
//! until the peer has dealt with it.
//!
//! A message that waits for its turn is an operation in a queue, and then a datagram of which is
//! remembered what is in it. One that leaves at once needs neither: the link has its bytes and says
//! what became of them. Only when the peer turns it away does it become an operation like others.

use bytes::Bytes;
use wire::{Frame, MessageSeq, PeerId, Tag, Token};

use super::{
    Rdm, SendRequest,
    records::{Content, Part},
    send::Kind,
    sequel::OperationClass,
};
use crate::{Completion, Event, OpId, OperationError, numbers::key};

/// The most bytes of a message that leaves at once.
pub const MAX_BRIEF: usize = 4096;

/// A message that is to leave at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct BriefRequest<'a> {
    /// The message, of at most [`MAX_BRIEF`] bytes.
    pub data: &'a [u8],
    /// Its tag; `None` for an untagged message.
    pub tag: Option<Tag>,
    /// Data for the receiver's completion.
    pub remote_data: Option<u64>,
    /// Comes back in the completion.
    pub context: u64,
    /// Whether success is reported. Failure always is.
    pub complete: bool,
}

/// A message that has left at once and of which nobody knows yet what became of it. Its end is
/// told by [`Rdm::brief_taken`], [`Rdm::brief_refused`] or [`Rdm::brief_lost`].
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    serial: u32,
    complete: bool,
    context: u64,
}

impl Brief {
    /// The operation's name.
    pub const fn op(&self) -> OpId {
        OpId::brief(self.serial)
    }

    /// What is told of it.
    pub(super) const fn completion(
        &self,
        peer: PeerId,
        result: Result<(), OperationError>,
    ) -> Completion {
        let (op, context) = (self.op(), self.context);
        Completion { op, context, peer: Some(peer), event: Event::Sent, result }
    }
}

impl Rdm {
    /// Begins a message that leaves now, in a datagram that begins with what is written to `head`
    /// and ends with its bytes. `None`, and nothing has changed, if it has to be posted: it is too
    /// long, something must leave before it or with it, or there is no room for one more
    /// operation.
    pub fn leave_at_once(
        &mut self,
        peer: PeerId,
        request: &BriefRequest<'_>,
        head: &mut Vec<u8>,
    ) -> Option<Brief> {
        let &BriefRequest { data: bytes, tag, remote_data: data, context, complete } = request;
        let length = u16::try_from(bytes.len()).ok()?;
        if bytes.len() > MAX_BRIEF || self.admit(0).is_err() {
            return None;
        }
        let order = self.config.order;
        if self.peers.active(peer).is_some_and(|active| active.is_before_a_message(order)) {
            return None;
        }
        let serial = self.next_serial();
        self.briefs += 1;
        let state = self.peers.peer_mut(peer);
        let seq = state.number(&Kind::Message, MessageSeq::default());
        let active = self.peers.activate(peer);
        active.unfinished.begin(OperationClass::Send);
        active.in_flight += 1;
        Frame::Message { seq, tag, data, length }.emit(head);
        Some(Brief { serial, complete, context })
    }

    /// The peer has taken it.
    pub fn brief_taken(&mut self, peer: PeerId, brief: Brief) {
        self.landed_at_peer(peer);
        self.end_brief(peer, brief, Ok(()));
        self.finished(peer, OperationClass::Send);
        self.peers.settle(peer);
    }

    /// The peer has turned it away, a datagram of these bytes: it is an operation like others from
    /// now on, and the datagram has a token. `None` if the bytes are not those of a message.
    pub fn brief_refused(&mut self, peer: PeerId, brief: Brief, datagram: &[u8]) -> Option<Token> {
        let frame = Frame::parse(datagram).ok()?;
        let Frame::Message { seq, tag, data: remote_data, length } = frame else { return None };
        let payload = datagram.get(frame.head_len()..)?;
        if payload.len() != usize::from(length) {
            return None;
        }
        let Brief { serial, complete, context } = brief;
        let data = Bytes::copy_from_slice(payload);
        let request = SendRequest { data, tag, remote_data, context, complete };
        let at = self.insert_send(peer, Kind::Message, seq, request);
        let send = &mut self.sends[at];
        send.begin(seq);
        send.sent = send.end;
        send.limit = send.end;
        send.in_flight = 1;
        send.serial = serial;
        send.was_brief = true;
        self.briefs -= 1;
        let mut parts = self.records.parts();
        parts.push(Part::Message(key(at)));
        Some(self.records.insert(peer, Content::Bundle { parts, tail: false }))
    }

    /// The peer was lost before it said what became of it.
    pub fn brief_lost(&mut self, peer: PeerId, brief: Brief, error: srd::PeerError) {
        self.end_brief(peer, brief, Err(OperationError::Peer(error)));
    }

    fn end_brief(&mut self, peer: PeerId, brief: Brief, result: Result<(), OperationError>) {
        self.briefs -= 1;
        self.operations.sends.count(result.is_ok());
        match result {
            Ok(()) if brief.complete => self.completions.push_sent(peer, brief),
            Ok(()) => {}
            Err(_) => self.completions.push_back(brief.completion(peer, result)),
        }
    }
}

#[cfg(test)]
mod tests {

    use srd::{Delivery, PeerError, Upper as _};
    use wire::{RKey, RemotePlace, Time, Train};

    use super::{super::peers::Control, *};
    use crate::{Config, Order, TagMatch, WriteRequest};

    const PEER: PeerId = PeerId(0);

    fn request(context: u64) -> BriefRequest<'static> {
        BriefRequest {
            data: b"short",
            tag: Some(Tag(7)),
            context,
            complete: true,
            remote_data: Some(9),
        }
    }

    /// What leaves at once, as the peer gets it.
    fn leave(here: &mut Rdm, request: &BriefRequest<'_>) -> (Brief, Vec<u8>) {
        let mut datagram = Vec::new();
        let brief = here.leave_at_once(PEER, request, &mut datagram).expect("nothing is before it");
        datagram.extend_from_slice(request.data);
        (brief, datagram)
    }

    fn is_over(here: &mut Rdm) -> bool {
        here.outstanding() == 0 && here.idle(PEER) && here.poll_completion().is_none()
    }

    #[test]
    fn message_taken_completes_once_and_leaves_nothing() {
        let (mut here, mut there) = (Rdm::default(), Rdm::default());
        let (brief, datagram) = leave(&mut here, &request(3));
        assert_eq!((here.outstanding(), here.idle(PEER)), (1, false));
        assert_eq!(there.deliver(Time::ZERO, PEER, &datagram, 0), Delivery::Accepted);
        let found = there.peek(None, TagMatch::Tagged { tag: Tag(7), ignore: 0 }).unwrap();
        assert_eq!((found.length, found.remote_data), (5, Some(9)));
        here.brief_taken(PEER, brief);
        let done = here.poll_completion().unwrap();
        assert_eq!((done.op, done.context, done.result), (brief.op(), 3, Ok(())));
        assert!(is_over(&mut here));
        assert_eq!(here.operations().sends.completed, 1);
        assert!(!here.cancel(brief.op()));
    }

    #[test]
    fn message_refused_comes_again_as_it_was_under_the_same_name() {
        let mut here = Rdm::default();
        let (brief, datagram) = leave(&mut here, &request(3));
        let token = here.brief_refused(PEER, brief, &datagram).expect("it is a message");
        let mut train = Train::default();
        let tail = here.refill(PEER, token, &mut train);
        assert_eq!([train.heads().as_slice(), &tail].concat(), datagram);
        here.acked(Time::ZERO, PEER, token);
        let done = here.poll_completion().unwrap();
        assert_eq!((done.op, done.context, done.result), (brief.op(), 3, Ok(())));
        assert!(is_over(&mut here));
    }

    #[test]
    fn message_refused_for_good_fails_once() {
        let mut here = Rdm::default();
        let (brief, datagram) = leave(&mut here, &request(3));
        let token = here.brief_refused(PEER, brief, &datagram).expect("it is a message");
        here.refused(Time::ZERO, PEER, token);
        let done = here.poll_completion().unwrap();
        assert_eq!(done.result, Err(OperationError::ReceiverNotReady));
        assert_eq!((here.outstanding(), here.operations().sends.failed), (0, 1));
    }

    #[test]
    fn bytes_that_are_no_message_are_not_sent_again() {
        let mut here = Rdm::default();
        let (brief, mut datagram) = leave(&mut here, &request(3));
        assert!(here.brief_refused(PEER, brief, &datagram[..20]).is_none());
        datagram.push(0);
        assert!(here.brief_refused(PEER, brief, &datagram).is_none());
        here.brief_lost(PEER, brief, PeerError::Exited);
        assert!(here.poll_completion().is_some_and(|done| done.result.is_err()));
    }

    #[test]
    fn messages_of_a_lost_peer_fail_once_each() {
        let mut here = Rdm::default();
        let (brief, _) = leave(&mut here, &BriefRequest { complete: false, ..request(3) });
        here.brief_lost(PEER, brief, PeerError::Exited);
        here.peer_failed(Time::ZERO, PEER, PeerError::Exited);
        let done = here.poll_completion().unwrap();
        assert_eq!((done.op, done.context), (brief.op(), 3));
        assert_eq!(done.result, Err(OperationError::Peer(PeerError::Exited)));
        assert!(is_over(&mut here));
    }

    #[test]
    fn message_does_not_overtake_what_must_be_before_it() {
        let mut here = Rdm::default();
        let data = Bytes::from_static(b"queued");
        here.post_send(PEER, SendRequest { data, ..SendRequest::default() }).unwrap();
        assert!(here.leave_at_once(PEER, &request(0), &mut Vec::new()).is_none());
        let mut train = Train::default();
        assert!(here.fill(Time::ZERO, PEER, 8_900, &mut train).is_some());
        assert!(here.leave_at_once(PEER, &request(0), &mut Vec::new()).is_some());
        here.fence(PEER);
        assert!(here.leave_at_once(PEER, &request(0), &mut Vec::new()).is_none());
    }

    #[test]
    fn message_leaves_with_what_waits_to_be_said_about_others() {
        let mut here = Rdm::default();
        here.control(PEER, Control::Stop(MessageSeq(1)));
        assert!(here.leave_at_once(PEER, &request(0), &mut Vec::new()).is_none());
        let data = Bytes::from_static(b"short");
        here.post_send(PEER, SendRequest { data, ..SendRequest::default() }).unwrap();
        let mut train = Train::default();
        here.fill(Time::ZERO, PEER, 8_900, &mut train).unwrap();
        let kinds: Vec<_> = wire::FrameIter::new(train.heads()).flatten().map(|f| f.0).collect();
        assert!(matches!(kinds[..], [Frame::Stop { .. }, Frame::Message { .. }]), "{kinds:?}");
    }

    #[test]
    fn what_must_be_after_it_waits() {
        let config = Config { order: Order::WRITE_AFTER_SEND, ..Config::default() };
        let mut here = Rdm::new(config);
        let (brief, _) = leave(&mut here, &request(0));
        let place = RemotePlace { key: RKey(1), offset: 0 };
        let write = WriteRequest { place, ..WriteRequest::default() };
        here.post_write(PEER, write).unwrap();
        assert!(here.poll_wake().is_none());
        here.brief_taken(PEER, brief);
        assert_eq!(here.poll_wake(), Some(PEER));
    }

    #[test]
    fn long_messages_and_those_beyond_the_limit_are_posted() {
        let mut here = Rdm::new(Config { max_operations: 1, ..Config::default() });
        let long = [0; MAX_BRIEF + 1];
        let too_long = BriefRequest { data: &long, ..BriefRequest::default() };
        assert!(here.leave_at_once(PEER, &too_long, &mut Vec::new()).is_none());
        assert!(here.idle(PEER));
        leave(&mut here, &BriefRequest { data: &long[1..], ..BriefRequest::default() });
        assert!(here.leave_at_once(PEER, &request(0), &mut Vec::new()).is_none());
    }
}
