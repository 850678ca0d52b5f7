//! Multi-receives: messages packed one behind another, the buffer released once.

use bytes::Bytes;
use elastane_message::{
    Completion, Config, Event, MultiReceiveRequest, OpId, OperationError, Rdm, TagMatch,
};
use memory::Buffer;
use srd::{Delivery, PeerError, Upper};
use wire::{Frame, MessageSeq};

use crate::network::{ANY_TAG, NOW, Network, pattern, peer};

impl Network {
    fn multi(&mut self, at: usize, length: usize, least: usize, tag: TagMatch) -> OpId {
        self.multi_from(at, None, length, least, tag)
    }

    fn multi_from(
        &mut self,
        at: usize,
        from: Option<usize>,
        length: usize,
        least: usize,
        tag: TagMatch,
    ) -> OpId {
        let buffer = Buffer::zeroed(length);
        let from = from.map(peer);
        let request = MultiReceiveRequest { buffer, least, from, tag, context: 9 };
        let op = self.nodes[at].post_multi_receive(request).expect("below the limit");
        self.drain();
        op
    }

    fn send_pattern(&mut self, id: u32, length: usize, tag: Option<u64>) {
        self.send(0, 1, pattern(id, length), tag);
    }

    /// All completions of `op` at node 1 so far, in order.
    fn completions_of(&mut self, op: OpId) -> Vec<Completion> {
        let (of_op, others) = std::mem::take(&mut self.completions)
            .into_iter()
            .partition(|(at, completion)| *at == 1 && completion.op == op);
        self.completions = others;
        of_op.into_iter().map(|(_, completion)| completion).collect()
    }
}

/// Offset, length and bytes of a message that was received whole.
fn received(completion: Completion) -> (u64, u64, Bytes) {
    assert_eq!((completion.result, completion.context), (Ok(()), 9));
    let Event::Received { offset, length, buffer, .. } = completion.event else {
        panic!("a receive")
    };
    (offset, length, buffer.into_vec().into())
}

/// How many bytes were left at the release.
fn released(completion: Completion) -> (usize, Result<(), OperationError>) {
    let Event::Released { rest } = completion.event else { panic!("a release") };
    (rest.len(), completion.result)
}

#[test]
fn messages_fill_the_buffer_without_gaps_until_too_little_is_left() {
    for (tag, class) in [(None, TagMatch::Untagged), (Some(5), ANY_TAG)] {
        let mut network = Network::new(2, &Config::default(), 1);
        let op = network.multi(1, 1_000, 100, class);
        for id in 0..9 {
            network.send_pattern(id, 101, tag);
        }
        network.run();
        let mut completions = network.completions_of(op);
        let last = completions.pop().expect("a release");
        assert_eq!(completions.len(), 9, "nine leave 91 bytes, fewer than 100");
        for (id, completion) in (0..).zip(completions) {
            let wanted = (u64::from(id) * 101, 101, pattern(id, 101));
            assert_eq!(received(completion), wanted);
        }
        assert_eq!(released(last), (91, Ok(())));
        assert_eq!(network.nodes[1].outstanding(), 0);
    }
}

#[test]
fn message_that_does_not_fit_the_rest_goes_to_the_next_receive_and_releases_the_first() {
    let mut network = Network::new(2, &Config::default(), 2);
    let first = network.multi(1, 1_000, 1, TagMatch::Untagged);
    let second = network.multi(1, 1_000, 1, TagMatch::Untagged);
    for (id, length) in [(0, 700), (1, 400), (2, 0), (3, 2_000)] {
        network.send_pattern(id, length, None);
    }
    network.run();
    let mut of_first = network.completions_of(first).into_iter();
    assert_eq!(received(of_first.next().unwrap()), (0, 700, pattern(0, 700)));
    assert_eq!(released(of_first.next().unwrap()), (300, Ok(())));
    let mut of_second = network.completions_of(second).into_iter();
    assert_eq!(received(of_second.next().unwrap()), (0, 400, pattern(1, 400)));
    assert_eq!(received(of_second.next().unwrap()), (400, 0, Bytes::new()));
    assert_eq!(released(of_second.next().unwrap()), (600, Ok(())));
    assert_eq!(network.nodes[1].peek(None, TagMatch::Untagged).unwrap().length, 2_000);
    // Into an empty buffer it goes, as far as it fits.
    let third = network.multi(1, 1_500, 1, TagMatch::Untagged);
    let mut of_third = network.completions_of(third).into_iter();
    let truncated = of_third.next().unwrap();
    assert_eq!(truncated.result, Err(OperationError::Truncated { message_length: 2_000 }));
    assert_eq!(released(of_third.next().unwrap()), (0, Ok(())));
    assert_eq!(network.nodes[1].outstanding(), 0);
}

#[test]
fn messages_that_came_before_the_buffer_are_in_it_at_once() {
    let mut network = Network::new(2, &Config::default(), 3);
    for id in 0..4 {
        network.send_pattern(id, 300, None);
    }
    network.run();
    let op = network.multi(1, 1_000, 50, TagMatch::Untagged);
    let mut completions = network.completions_of(op).into_iter();
    let mut whole = Buffer::default();
    for id in 0..3_u32 {
        let Some(completion) = completions.next() else { panic!("three fit") };
        let Event::Received { offset, buffer, .. } = completion.event else { panic!("a receive") };
        assert_eq!(offset, u64::from(id) * 300);
        whole.join(buffer);
    }
    let Some(Event::Released { rest }) = completions.next().map(|last| last.event) else {
        panic!("the fourth does not fit")
    };
    whole.join(rest);
    let wanted = [pattern(0, 300), pattern(1, 300), pattern(2, 300), vec![0; 100].into()].concat();
    assert_eq!(whole.as_slice(), wanted);
    assert!(network.nodes[1].peek(None, TagMatch::Untagged).is_some());
}

#[test]
fn buffer_is_released_only_when_its_large_messages_are_complete() {
    for cancel in [true, false] {
        let mut network = Network::new(2, &Config::default(), 4);
        let op = network.multi(1, 300_100, 200, TagMatch::Untagged);
        network.send_pattern(0, 300_000, None);
        network.fill(0, 1);
        network.deliver(0);
        if cancel {
            assert!(!network.cancel(1, op), "it takes no more anyway");
        }
        // The next finds no room.
        network.send_pattern(1, 50, None);
        assert!(network.completions_of(op).is_empty());
        network.run();
        let mut completions = network.completions_of(op).into_iter();
        assert_eq!(received(completions.next().unwrap()).1, 300_000);
        assert_eq!(released(completions.next().unwrap()), (100, Ok(())));
        assert!(network.nodes[1].peek(None, TagMatch::Untagged).is_some());
    }
}

#[test]
fn cancelled_buffer_keeps_what_it_took_and_is_released_last() {
    let mut network = Network::new(2, &Config::default(), 5);
    let op = network.multi(1, 400_000, 1, TagMatch::Untagged);
    network.send_pattern(0, 300_000, None);
    network.fill(0, 1);
    network.deliver(0);
    assert!(network.cancel(1, op));
    assert!(!network.cancel(1, op));
    assert!(network.completions_of(op).is_empty(), "bytes are still on their way into it");
    network.run();
    let mut completions = network.completions_of(op).into_iter();
    assert_eq!(received(completions.next().unwrap()).1, 300_000);
    let release = released(completions.next().unwrap());
    assert_eq!(release, (100_000, Err(OperationError::Canceled)));
    assert_eq!(completions.count(), 0);
}

#[test]
fn buffer_directed_at_a_lost_peer_fails_with_what_it_was_taking() {
    let mut network = Network::new(2, &Config::default(), 6);
    let directed = network.multi_from(1, Some(0), 400_000, 1, TagMatch::Untagged);
    let open = network.multi(1, 400_000, 1, TagMatch::Untagged);
    network.send_pattern(0, 300_000, None);
    network.fill(0, 1);
    network.deliver(0);
    network.fail(1, 0, PeerError::Closed);
    let lost = Err(OperationError::Peer(PeerError::Closed));
    let mut completions = network.completions_of(directed).into_iter();
    assert_eq!(completions.next().unwrap().result, lost);
    assert_eq!(released(completions.next().unwrap()), (100_000, lost));
    assert!(network.completions_of(open).is_empty());
    assert_eq!(network.nodes[1].outstanding(), 1);
}

#[test]
fn empty_messages_stop_at_the_operation_limit_until_completions_are_polled() {
    let config = Config { max_operations: 8, ..Config::default() };
    let mut rdm = Rdm::new(config);
    let buffer = Buffer::zeroed(10);
    let (from, tag, least, context) = (None, TagMatch::Untagged, 1, 9);
    let request = MultiReceiveRequest { buffer, least, from, tag, context };
    rdm.post_multi_receive(request).expect("below the limit");
    let empty = |seq| {
        let mut bytes = Vec::new();
        let seq = MessageSeq(seq);
        Frame::Message { seq, tag: None, data: None, length: 0 }.emit(&mut bytes);
        bytes
    };
    let mut next = 1;
    for _ in 0..2 {
        while rdm.deliver(NOW, peer(0), &empty(next), 0) == Delivery::Accepted {
            next += 1;
        }
        assert_eq!(rdm.completions(), 8);
        while rdm.poll_completion().is_some() {}
    }
    assert_eq!(next, 17);
}
