//! Messages that are taken out of matching before they are received.

use elastane_message::{Config, Event, OperationError, PeekInfo, TagMatch};
use memory::Buffer;
use srd::PeerError;
use wire::Tag;

use crate::network::{ANY_TAG, Network, exactly, pattern, peer};

const LOST: PeerError = PeerError::Restarted;
const SIZES: [usize; 4] = [0, 500, 40_000, 1 << 20];

fn pair(seed: u64) -> Network {
    Network::new(2, &Config::default(), seed)
}

#[test]
fn claimed_message_is_met_by_its_own_receive_only() {
    for seed in 0..50 {
        let mut network = pair(seed);
        for (id, size) in (0..).zip(SIZES) {
            network.send(0, 1, pattern(id, size), Some(7));
        }
        network.run();
        let node = &mut network.nodes[1];
        let claims: Vec<_> = SIZES.iter().map(|_| node.claim(Some(peer(0)), exactly(7))).collect();
        assert_eq!(node.claim(None, ANY_TAG), None);
        assert_eq!(node.peek(None, ANY_TAG), None);
        let other = network.receive(1, None, ANY_TAG, 8);
        network.send(0, 1, pattern(9, 8), Some(7));
        network.run();
        assert_eq!(network.received(1, other), pattern(9, 8));
        for ((id, size), claim) in (0..4).zip(SIZES).zip(claims).rev() {
            let (claim, info) = claim.expect("a message waits");
            let (tag, length) = (Some(Tag(7)), size as u64);
            assert_eq!(info, PeekInfo { peer: peer(0), tag, remote_data: None, length });
            let op = network.receive_claimed(1, claim, size);
            network.run();
            assert!(network.received(1, op) == pattern(id, size));
        }
        network.assert_clean();
    }
}

#[test]
fn claimed_message_that_is_too_long_is_truncated() {
    for size in [500, 40_000, 1 << 20] {
        let mut network = pair(1);
        let send = network.send(0, 1, pattern(3, size), None);
        network.run();
        let (claim, _) = network.nodes[1].claim(None, TagMatch::Untagged).expect("it waits");
        let op = network.nodes[1].receive_claimed(claim, Buffer::zeroed(99), 5).expect("room");
        network.drain();
        network.run();
        let completion = network.take(1, op);
        let message_length = size as u64;
        assert_eq!(completion.result, Err(OperationError::Truncated { message_length }));
        assert_eq!(completion.context, 5);
        let Event::Received { buffer, .. } = completion.event else { panic!("a receive") };
        assert_eq!(*buffer.as_slice(), pattern(3, size)[..99]);
        assert_eq!(network.result(0, send), Ok(()));
        network.assert_clean();
    }
}

#[test]
fn discarded_message_leaves_nothing_and_its_send_succeeds_however_much_has_arrived() {
    for seed in 0..100 {
        for (id, size) in (0..).zip(SIZES) {
            let mut network = pair(seed);
            let send = network.send(0, 1, pattern(id, size), None);
            network.run_until(|network| network.nodes[1].peek(None, TagMatch::Untagged).is_some());
            network.some_steps(20);
            let (claim, _) = network.nodes[1].claim(None, TagMatch::Untagged).expect("it waits");
            network.some_steps(20);
            network.nodes[1].discard_claimed(claim);
            assert_eq!(network.nodes[1].stored_bytes(), 0);
            network.drain();
            network.run();
            assert_eq!(network.result(0, send), Ok(()));
            assert!(network.payload_filled <= (256 << 10) + size / 4, "the rest stays where it is");
            assert_eq!(network.nodes[1].counters().discarded_messages, 1);
            assert!(network.completions.is_empty(), "a discarded message completes nothing");
            let op = network.receive(1, None, TagMatch::Untagged, 10);
            network.send(0, 1, pattern(9, 10), None);
            network.run();
            assert_eq!(network.received(1, op), pattern(9, 10));
            network.assert_clean();
        }
    }
}

#[test]
fn claimed_messages_of_a_lost_peer_tell_its_error_unless_they_are_whole() {
    for seed in 0..50 {
        let mut network = pair(seed);
        for (id, size) in (0..).zip(SIZES) {
            network.send(0, 1, pattern(id, size), None);
        }
        network.run();
        let mut claim = || network.nodes[1].claim(None, TagMatch::Untagged).map(|(claim, _)| claim);
        let claims = [claim(), claim(), claim(), claim()];
        network.fail(1, 0, LOST);
        network.fail(0, 1, LOST);
        network.completions.clear();
        // The peer begins anew, with the numbers that the claimed messages have.
        for (id, size) in (10..).zip(SIZES) {
            network.send(0, 1, pattern(id, size), None);
        }
        network.run();
        for ((claim, size), id) in claims.into_iter().zip(SIZES).zip(0..) {
            let claim = claim.expect("it waited");
            if seed % 2 == 0 {
                network.nodes[1].discard_claimed(claim);
                continue;
            }
            let op = network.receive_claimed(1, claim, size);
            let completion = network.take(1, op);
            assert_eq!(completion.peer, Some(peer(0)));
            let Event::Received { buffer, .. } = completion.event else { panic!("a receive") };
            assert_eq!(buffer.len(), size);
            if size < 1 << 20 {
                assert_eq!(completion.result, Ok(()));
                assert!(buffer.as_slice() == pattern(id, size));
            } else {
                assert_eq!(completion.result, Err(OperationError::Peer(LOST)));
            }
        }
        for (id, size) in (10..).zip(SIZES) {
            let op = network.receive(1, None, TagMatch::Untagged, size);
            network.run();
            assert!(network.received(1, op) == pattern(id, size));
        }
        network.assert_clean();
    }
}

#[test]
fn claimed_message_that_its_sender_gives_up_tells_so() {
    let mut network = pair(3);
    let send = network.send(0, 1, pattern(1, 1 << 20), None);
    network.run();
    let (claim, _) = network.nodes[1].claim(None, TagMatch::Untagged).expect("it waits");
    assert!(network.cancel(0, send));
    network.run();
    let op = network.receive_claimed(1, claim, 1 << 20);
    assert_eq!(network.result(1, op), Err(OperationError::PeerAborted));
    assert_eq!(network.result(0, send), Err(OperationError::Canceled));
    network.assert_clean();
}

#[test]
fn store_full_of_claimed_messages_takes_another() {
    let config = Config { unexpected_bytes: 3_000, ahead_bytes: 3_000, ..Config::default() };
    let mut network = Network::new(2, &config, 4);
    let mut claims = Vec::new();
    for id in 0..8 {
        network.send(0, 1, pattern(id, 900), None);
    }
    network.run();
    while let Some((claim, _)) = network.nodes[1].claim(None, TagMatch::Untagged) {
        claims.push(claim);
        network.run();
    }
    assert_eq!(claims.len(), 8);
    for (id, claim) in (0..).zip(claims) {
        let op = network.receive_claimed(1, claim, 900);
        assert_eq!(network.received(1, op), pattern(id, 900));
    }
    network.run();
    network.assert_clean();
}

#[test]
fn claim_that_cannot_be_received_now_comes_back() {
    let config = Config { max_operations: 1, ..Config::default() };
    let mut network = Network::new(2, &config, 5);
    network.send(0, 1, pattern(1, 40), Some(1));
    network.run();
    let (claim, _) = network.nodes[1].claim(None, ANY_TAG).expect("it waits");
    let waiting = network.receive(1, None, TagMatch::Untagged, 1);
    let refused = network.nodes[1].receive_claimed(claim, Buffer::zeroed(40), 0).unwrap_err();
    assert_eq!(refused.buffer.len(), 40);
    assert!(network.cancel(1, waiting));
    let op = network.nodes[1].receive_claimed(refused.claim, refused.buffer, 0).expect("room");
    network.drain();
    assert_eq!(network.received(1, op), pattern(1, 40));
    network.assert_clean();
}
