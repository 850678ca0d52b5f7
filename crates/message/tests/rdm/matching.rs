//! Which receive meets which message.

use bytes::Bytes;
use elastane_message::{
    Config, Event, OperationError, PeekInfo, ReceiveRequest, SendRequest, TagMatch,
};
use memory::Buffer;
use wire::Tag;

use crate::network::{ANY_TAG, Network, exactly, pattern, peer};

fn pair(seed: u64) -> Network {
    Network::new(2, &Config::default(), seed)
}

#[test]
fn messages_delivered_in_any_order_meet_receives_in_the_order_sent() {
    for seed in 0..50 {
        let mut network = pair(seed);
        let receives: Vec<_> = (0..40).map(|_| network.receive(1, None, ANY_TAG, 400)).collect();
        for id in 0..40 {
            network.send(0, 1, pattern(id, 400), Some(u64::from(id)));
        }
        network.run();
        for (id, op) in (0..).zip(receives) {
            assert_eq!(network.received(1, op), pattern(id, 400));
        }
        network.assert_clean();
    }
}

#[test]
fn unexpected_messages_are_met_in_the_order_sent() {
    for seed in 0..50 {
        let mut network = pair(seed);
        for id in 0..20 {
            network.send(0, 1, pattern(id, 300), Some(7));
        }
        network.run();
        assert!(network.nodes[1].stored_bytes() >= 20 * 300);
        for id in 0..20 {
            let op = network.receive(1, Some(0), exactly(7), 300);
            assert_eq!(network.received(1, op), pattern(id, 300));
        }
        network.assert_clean();
    }
}

#[test]
fn oldest_receive_that_accepts_is_met_whether_directed_or_not() {
    let mut network = Network::new(3, &Config::default(), 1);
    let any = network.receive(2, None, exactly(5), 8);
    let directed = network.receive(2, Some(0), exactly(5), 8);
    let masked = network.receive(2, None, TagMatch::Tagged { tag: Tag(4), ignore: 1 }, 8);
    network.send(1, 2, pattern(1, 8), Some(5));
    network.run();
    network.send(1, 2, pattern(2, 8), Some(5));
    network.run();
    network.send(0, 2, pattern(3, 8), Some(5));
    network.run();
    assert_eq!(network.received(2, any), pattern(1, 8));
    assert_eq!(network.received(2, masked), pattern(2, 8));
    assert_eq!(network.received(2, directed), pattern(3, 8));
    network.assert_clean();
}

#[test]
fn tagged_and_untagged_messages_do_not_meet_each_others_receives() {
    let mut network = pair(2);
    let tagged = network.receive(1, None, ANY_TAG, 8);
    let untagged = network.receive(1, None, TagMatch::Untagged, 8);
    network.send(0, 1, pattern(1, 8), None);
    network.send(0, 1, pattern(2, 8), Some(0));
    network.run();
    assert_eq!(network.received(1, untagged), pattern(1, 8));
    assert_eq!(network.received(1, tagged), pattern(2, 8));
}

#[test]
fn ignored_bits_of_the_tag_may_differ_and_no_others() {
    let mut network = pair(3);
    let op = network.receive(1, None, TagMatch::Tagged { tag: Tag(0xa0), ignore: 0x0f }, 8);
    network.send(0, 1, pattern(1, 8), Some(0xb5));
    network.run();
    assert!(!network.is_complete(1, op));
    network.send(0, 1, pattern(2, 8), Some(0xa5));
    network.run();
    let completion = network.take(1, op);
    let Event::Received { tag, .. } = completion.event else { panic!("a receive") };
    assert_eq!((tag, completion.peer), (Some(Tag(0xa5)), Some(peer(0))));
}

#[test]
fn empty_message_with_remote_data_is_received_as_one() {
    let mut network = pair(4);
    let op = network.receive(1, Some(0), TagMatch::Untagged, 0);
    let remote_data = Some(u64::MAX);
    network.post_send(0, 1, SendRequest { remote_data, ..SendRequest::default() });
    network.run();
    let completion = network.take(1, op);
    assert_eq!(completion.result, Ok(()));
    let Event::Received { remote_data: data, length, message_length, tag, .. } = completion.event
    else {
        panic!("a receive");
    };
    assert_eq!((data, length, message_length, tag), (remote_data, 0, 0, None));
    assert!(network.completions.is_empty(), "an injected send reports no success");
    network.assert_clean();
}

#[test]
fn peek_tells_what_a_receive_would_meet_and_takes_nothing() {
    let mut network = pair(5);
    assert_eq!(network.nodes[1].peek(None, ANY_TAG), None);
    network.send(0, 1, pattern(1, 1 << 20), Some(9));
    network.send(0, 1, pattern(2, 5), Some(8));
    network.run();
    let info = |tag, length| {
        Some(PeekInfo { peer: peer(0), tag: Some(Tag(tag)), remote_data: None, length })
    };
    for _ in 0..2 {
        assert_eq!(network.nodes[1].peek(None, ANY_TAG), info(9, 1 << 20));
        assert_eq!(network.nodes[1].peek(Some(peer(0)), exactly(8)), info(8, 5));
        assert_eq!(network.nodes[1].peek(Some(peer(7)), exactly(8)), None);
        assert_eq!(network.nodes[1].peek(None, TagMatch::Untagged), None);
    }
    let small = network.receive(1, None, exactly(8), 5);
    let large = network.receive(1, None, exactly(9), 1 << 20);
    network.run();
    assert_eq!(network.received(1, small), pattern(2, 5));
    assert_eq!(network.received(1, large), pattern(1, 1 << 20));
    network.assert_clean();
}

#[test]
fn cancelled_receive_gives_its_buffer_back_and_meets_nothing() {
    let mut network = pair(6);
    let op = network.receive(1, None, TagMatch::Untagged, 33);
    let next = network.receive(1, None, TagMatch::Untagged, 33);
    assert!(network.cancel(1, op));
    assert!(!network.cancel(1, op));
    let completion = network.take(1, op);
    assert_eq!(completion.result, Err(OperationError::Canceled));
    let Event::Received { buffer, .. } = completion.event else { panic!("a receive") };
    assert_eq!(buffer.len(), 33);
    network.send(0, 1, pattern(1, 33), None);
    network.run();
    assert_eq!(network.received(1, next), pattern(1, 33));
    network.assert_clean();
}

#[test]
fn operations_beyond_the_limit_are_busy_and_give_the_buffer_back() {
    let config = Config { max_operations: 2, ..Config::default() };
    let mut network = Network::new(2, &config, 8);
    for _ in 0..2 {
        network.send(0, 1, Bytes::new(), None);
        network.receive(0, None, TagMatch::Untagged, 1);
    }
    assert!(network.nodes[0].post_send(peer(1), SendRequest::default()).is_err());
    let request = ReceiveRequest {
        buffer: Buffer::zeroed(77),
        from: None,
        tag: TagMatch::Untagged,
        context: 0,
    };
    let (_, buffer) = network.nodes[0].post_receive(request).unwrap_err();
    assert_eq!(buffer.len(), 77);
    network.run();
    network.send(0, 1, Bytes::new(), None);
}
