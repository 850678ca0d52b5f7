//! Operations that are over, in the order in which they ended, until the application asks for them.
//!
//! A completion is long, and each time one that was just made is moved, the processor waits for
//! what made it. So those of short messages are made only when they are asked for: a receive stays
//! where it was posted until then.

use std::collections::VecDeque;

use wire::{PeerId, Tag};

use super::{Rdm, brief::Brief, matching::Receive, unexpected::Envelope};
use crate::{Completion, Event};

/// An operation that is over.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// The posted receive with this index got a message.
    Received(u32, Got),
    /// A message that left at once has arrived.
    Sent(PeerId, Brief),
    /// The next of the others.
    Other,
}

/// What a receive got, beside the bytes that are in its buffer.
#[derive(Clone, Copy, Debug)]
struct Got {
    peer: PeerId,
    tag: Option<Tag>,
    remote_data: Option<u64>,
    length: u64,
}

/// All operations that are over.
#[derive(Debug, Default)]
pub(super) struct Completions {
    order: VecDeque<Over>,
    others: VecDeque<Completion>,
}

impl Completions {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn push_back(&mut self, completion: Completion) {
        self.others.push_back(completion);
        self.order.push_back(Over::Other);
    }

    /// The posted receive at `at` has got all of `message`.
    pub(super) fn push_received(&mut self, at: u32, message: &Envelope) {
        let &Envelope { peer, tag, remote_data, total: length, .. } = message;
        self.order.push_back(Over::Received(at, Got { peer, tag, remote_data, length }));
    }

    /// `brief` has arrived at `peer`.
    pub(super) fn push_sent(&mut self, peer: PeerId, brief: Brief) {
        self.order.push_back(Over::Sent(peer, brief));
    }
}

impl Rdm {
    /// The next completion.
    #[inline]
    pub fn poll_completion(&mut self) -> Option<Completion> {
        // Read where it is: it was just written.
        let over = match *self.completions.order.front()? {
            Over::Received(at, Got { peer, tag, remote_data, length }) => {
                let Receive { op, context, buffer, .. } = self.posted.take_received(at);
                let event = Event::Received {
                    tag,
                    remote_data,
                    length,
                    message_length: length,
                    offset: 0,
                    buffer,
                };
                Some(Completion { op, context, peer: Some(peer), event, result: Ok(()) })
            }
            Over::Sent(peer, brief) => Some(brief.completion(peer, Ok(()))),
            Over::Other => self.completions.others.pop_front(),
        };
        self.completions.order.pop_front();
        over
    }
}

#[cfg(test)]
mod tests {
    use memory::Buffer;
    use srd::{Delivery, PeerError, Upper as _};
    use wire::Time;

    use super::*;
    use crate::{BriefRequest, Config, OperationError, ReceiveRequest, TagMatch};

    const PEER: PeerId = PeerId(0);

    fn post(here: &mut Rdm, length: usize, context: u64) -> crate::OpId {
        let tag = TagMatch::Tagged { tag: Tag(7), ignore: 0 };
        let buffer = Buffer::zeroed(length);
        let request = ReceiveRequest { buffer, from: Some(PEER), tag, context };
        here.post_receive(request).expect("there is room")
    }

    fn leave(there: &mut Rdm, data: &[u8]) -> (Brief, Vec<u8>) {
        let (tag, remote_data) = (Some(Tag(7)), Some(5));
        let request = BriefRequest { data, tag, remote_data, context: 1, complete: true };
        let mut datagram = Vec::new();
        let brief = there.leave_at_once(PEER, &request, &mut datagram).expect("nothing waits");
        datagram.extend_from_slice(data);
        (brief, datagram)
    }

    #[test]
    fn what_is_over_is_told_in_the_order_in_which_it_ended() {
        let (mut here, mut there) = (Rdm::new(Config::default()), Rdm::new(Config::default()));
        for (length, context) in [(8, 10), (2, 11), (8, 12)] {
            post(&mut here, length, context);
        }
        let (answer, _) = leave(&mut here, b"answer");
        // The second is too long for its buffer.
        for data in [b"first", b"again"] {
            let (_, datagram) = leave(&mut there, data);
            assert_eq!(here.deliver(Time::ZERO, PEER, &datagram, 0), Delivery::Accepted);
        }
        here.brief_taken(PEER, answer);
        here.peer_failed(Time::ZERO, PEER, PeerError::Exited);
        let told: Vec<_> = std::iter::from_fn(|| here.poll_completion())
            .map(|over| (over.context, over.result, over.event))
            .collect();
        let contexts: Vec<_> = told.iter().map(|&(context, result, _)| (context, result)).collect();
        let truncated = Err(OperationError::Truncated { message_length: 5 });
        let failed = Err(OperationError::Peer(PeerError::Exited));
        assert_eq!(contexts, [(10, Ok(())), (11, truncated), (1, Ok(())), (12, failed)]);
        let Event::Received { tag, remote_data, length, message_length, offset, ref buffer } =
            told[0].2
        else {
            panic!("a receive completes as one");
        };
        assert_eq!((tag, remote_data), (Some(Tag(7)), Some(5)));
        assert_eq!((length, message_length, offset), (5, 5, 0));
        assert_eq!(buffer.as_slice(), b"first\0\0\0");
    }

    #[test]
    fn receive_that_got_its_message_is_neither_posted_nor_cancelled_nor_lost() {
        let (mut here, mut there) = (Rdm::new(Config::default()), Rdm::new(Config::default()));
        let op = post(&mut here, 8, 10);
        let (_, datagram) = leave(&mut there, b"first");
        here.deliver(Time::ZERO, PEER, &datagram, 0);
        assert_eq!((here.receives_posted(), here.outstanding()), (0, 0));
        assert_eq!((here.completions(), here.has_completions()), (1, true));
        assert!(!here.cancel(op));
        here.peer_failed(Time::ZERO, PEER, PeerError::Exited);
        // Its place is not taken by another before it was polled.
        let other = post(&mut here, 8, 11);
        assert_eq!(here.receives_posted(), 1);
        let over = here.poll_completion().expect("it is over");
        assert_eq!((over.op, over.context, over.result), (op, 10, Ok(())));
        assert!(here.poll_completion().is_none());
        assert!(here.cancel(other));
    }
}
