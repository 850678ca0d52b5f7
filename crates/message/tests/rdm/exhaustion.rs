//! Stores at their limits: back-pressure, then progress.

use elastane_message::{Config, Event, OperationError, TagMatch};
use rand::{Rng, RngExt};
use srd::{Delivery, Upper};
use wire::{Frame, MessageSeq};

use crate::network::{ANY_TAG, NOW, Network, exactly, pattern, peer};

#[test]
fn full_unexpected_store_turns_datagrams_away_until_receives_make_room() {
    for seed in 0..20 {
        let config = Config { unexpected_bytes: 20_000, ahead_bytes: 10_000, ..Config::default() };
        let mut network = Network::new(2, &config, seed);
        for id in 0..200 {
            network.send(0, 1, pattern(id, 500), Some(u64::from(id)));
        }
        network.run();
        assert!(network.nodes[1].counters().not_ready > 0);
        assert!(!network.flying.is_empty(), "what has no room stays with the sender");
        assert!(network.nodes[1].stored_bytes() <= 30_000);
        for id in 0..200 {
            let op = network.receive(1, None, ANY_TAG, 500);
            network.run();
            assert_eq!(network.received(1, op), pattern(id, 500));
        }
        network.assert_clean();
    }
}

#[test]
fn message_turned_away_with_others_before_it_is_not_received_twice() {
    let config = Config { unexpected_bytes: 3_500, ..Config::default() };
    let mut network = Network::new(2, &config, 1).with_room(8_925);
    for id in 0..10 {
        network.send(0, 1, pattern(id, 700), Some(u64::from(id)));
    }
    network.fill(0, 1);
    assert_eq!(network.flying.len(), 1, "all of them share a datagram");
    for _ in 0..5 {
        assert!(!network.deliver(0), "not all of them have room");
    }
    assert_eq!(network.nodes[1].counters().unexpected_messages, 3);
    for id in (0..10).rev() {
        if id < 3 {
            continue;
        }
        network.receive(1, None, exactly(id), 700);
    }
    assert!(network.deliver(0));
    network.run();
    for id in (0..3).rev() {
        let op = network.receive(1, None, exactly(id), 700);
        assert_eq!(network.received(1, op), pattern(u32::try_from(id).unwrap(), 700));
    }
    assert_eq!(network.completions.len(), 10 + 7);
    network.assert_clean();
}

#[test]
fn grant_arrives_though_the_messages_in_its_datagram_have_no_room() {
    let config = Config { unexpected_bytes: 200, ..Config::default() };
    let mut network = Network::new(2, &config, 2).with_room(8_925);
    // Node 0 waits for its large send before it receives anything.
    let large = network.send(0, 1, pattern(1, 1 << 20), Some(1));
    network.send(1, 0, pattern(2, 500), Some(2));
    network.run();
    network.receive(1, None, exactly(1), 1 << 20);
    network.send(1, 0, pattern(3, 500), Some(3));
    network.run();
    assert!(network.nodes[0].counters().not_ready > 0, "the small message has no room");
    assert_eq!(network.result(0, large), Ok(()));
    for (tag, id) in [(2, 2), (3, 3)] {
        let op = network.receive(0, None, exactly(tag), 500);
        network.run();
        assert_eq!(network.received(0, op), pattern(id, 500));
    }
    network.assert_clean();
}

#[test]
fn what_is_ahead_is_turned_away_at_its_limit_but_never_what_is_next() {
    let config = Config { ahead_bytes: 2_000, ..Config::default() };
    let mut network = Network::new(2, &config, 3).with_room(600);
    let receives: Vec<_> = (0..20).map(|_| network.receive(1, None, ANY_TAG, 500)).collect();
    for id in 0..20 {
        network.send(0, 1, pattern(id, 500), Some(0));
        network.fill(0, 1);
    }
    let accepted = (1..20).rev().filter(|&index| network.deliver(index)).count();
    assert_eq!(accepted, 2, "the limit holds two of them");
    assert!(network.nodes[1].stored_bytes() <= 2_000);
    assert!(network.deliver(0), "the next one needs no room ahead");
    network.run();
    for (id, op) in (0..).zip(receives) {
        assert_eq!(network.received(1, op), pattern(id, 500));
    }
    network.assert_clean();
}

#[test]
fn message_larger_than_the_whole_store_can_be_peeked_and_received() {
    let config = Config { unexpected_bytes: 1_000, ahead_bytes: 1_000, ..Config::default() };
    let mut network = Network::new(2, &config, 4);
    network.send(0, 1, pattern(1, 50_000), None);
    network.run();
    assert!(network.nodes[1].peek(None, TagMatch::Untagged).is_some());
    assert!(network.nodes[1].stored_bytes() < 12_000);
    let op = network.receive(1, None, TagMatch::Untagged, 50_000);
    network.run();
    assert_eq!(network.received(1, op), pattern(1, 50_000));
    network.assert_clean();
}

#[test]
fn empty_messages_fill_the_store_too() {
    let config = Config { unexpected_bytes: 10_000, ..Config::default() };
    let mut network = Network::new(2, &config, 5);
    for _ in 0..1_000 {
        network.send(0, 1, bytes::Bytes::new(), None);
    }
    network.run();
    assert!(network.nodes[1].counters().unexpected_messages < 100);
    let receives: Vec<_> =
        (0..1_000).map(|_| network.receive(1, None, TagMatch::Untagged, 0)).collect();
    network.run();
    for op in receives {
        assert_eq!(network.received(1, op), b"");
    }
    network.assert_clean();
}

#[test]
fn datagrams_of_random_frames_neither_panic_nor_exceed_the_limits() {
    let config = Config { unexpected_bytes: 50_000, ahead_bytes: 50_000, ..Config::default() };
    for seed in 0..300 {
        let mut network = Network::new(2, &config, seed);
        for tag in 0..4 {
            network.receive(1, None, exactly(tag), 3_000);
            network.send(1, 0, pattern(1, 100_000), Some(tag));
            network.fill(1, 0);
        }
        for _ in 0..300 {
            let datagram = random_datagram(&mut network);
            network.nodes[1].deliver(NOW, peer(0), &datagram, 0);
            network.drain();
            let landed = network.rng.random_range(1..100);
            let head = &datagram[..datagram.len().min(16)];
            assert_eq!(network.nodes[1].deliver(NOW, peer(0), head, landed), Delivery::NotReady);
            assert!(network.nodes[1].stored_bytes() <= 100_000);
        }
        network.flying.clear();
        while network.fill(1, 0) {}
        network.fail(1, 0, srd::PeerError::Restarted);
        for (_, completion) in &network.completions {
            if let Event::Received { length, buffer, .. } = &completion.event {
                assert!(*length <= buffer.len() as u64);
            }
        }
        network.discard_stored(1);
        assert_eq!(network.nodes[1].stored_bytes(), 0);
    }
}

fn random_datagram(network: &mut Network) -> Vec<u8> {
    let rng = &mut network.rng;
    let mut datagram = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let seq = MessageSeq(rng.random_range(0..12));
        let length = rng.random_range(0..1_000_u16);
        let tag = rng.random_bool(0.7).then(|| wire::Tag(rng.random_range(0..5)));
        let word = if rng.random_bool(0.5) { rng.random_range(0..5_000) } else { rng.next_u64() };
        let frame = match rng.random_range(0..6) {
            0 => Frame::Message { seq, tag, data: None, length },
            1 => Frame::Start {
                seq,
                tag,
                data: Some(1),
                total: word.max(u64::from(length)),
                unscheduled: rng.next_u32(),
                length,
            },
            2 => Frame::Segment { seq, offset: word.min(u64::MAX - 1_000), length },
            3 => Frame::Grant { seq, up_to: word },
            4 => Frame::Stop { seq },
            _ => Frame::Abort { seq },
        };
        frame.emit(&mut datagram);
        datagram.resize(datagram.len() + frame.payload_len(), 0xab);
    }
    if rng.random_bool(0.3) {
        let at = rng.random_range(0..datagram.len());
        datagram[at] = rng.random_range(0..=255);
    }
    let cut = if rng.random_bool(0.2) { rng.random_range(0..datagram.len()) } else { 0 };
    datagram.truncate(datagram.len() - cut);
    datagram
}

#[test]
fn receive_cancelled_while_the_store_is_full_completes_once() {
    let config = Config { unexpected_bytes: 1_000, ..Config::default() };
    let mut network = Network::new(2, &config, 6);
    for id in 0..20 {
        network.send(0, 1, pattern(id, 400), Some(1));
    }
    network.run();
    let op = network.receive(1, None, exactly(2), 400);
    assert!(network.cancel(1, op));
    assert_eq!(network.result(1, op), Err(OperationError::Canceled));
    for id in 0..20 {
        let op = network.receive(1, None, exactly(1), 400);
        network.run();
        assert_eq!(network.received(1, op), pattern(id, 400));
    }
    network.assert_clean();
}
