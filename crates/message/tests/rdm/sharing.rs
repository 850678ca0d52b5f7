//! What goes into a datagram.

use bytes::Bytes;
use elastane_message::{Config, Rdm, SendRequest, TagMatch};
use rand::RngExt;
use srd::Upper;
use wire::{Frame, Train};

use crate::network::{ANY_TAG, NOW, Network, exactly, pattern, peer};

fn network(room: usize) -> Network {
    Network::new(2, &Config::default(), 1).with_room(room)
}

#[test]
fn queued_small_messages_share_datagrams_that_are_filled_well() {
    let mut network = network(8_925);
    for _ in 0..64 {
        network.receive(1, None, TagMatch::Untagged, 64);
    }
    for id in 0..64 {
        network.send(0, 1, pattern(id, 64), None);
    }
    let mut datagrams = 0;
    while network.fill(0, 1) {
        datagrams += 1;
    }
    assert_eq!(datagrams, 1, "64 messages of 80 bytes fit one datagram");
    network.run();
    assert_eq!(network.completions.len(), 128);
    network.assert_clean();
}

#[test]
fn message_on_an_idle_queue_goes_at_once_and_alone() {
    let mut network = network(8_925);
    for id in 0..3 {
        network.send(0, 1, pattern(id, 64), None);
        assert!(network.fill(0, 1));
    }
    assert!(network.flying.iter().all(|flying| flying.frames().len() == 1));
}

#[test]
fn messages_of_mixed_sizes_share_datagrams_byte_for_byte() {
    for seed in 0..100 {
        let mut network = Network::new(2, &Config::default(), seed);
        let sizes: Vec<_> = (0..60)
            .map(|_| {
                let size = [10, 900, 1_500, 4_000][network.rng.random_range(0..4)];
                network.rng.random_range(0..size)
            })
            .collect();
        let receives: Vec<_> =
            sizes.iter().map(|&size| network.receive(1, None, ANY_TAG, size)).collect();
        for (id, &size) in (0..).zip(&sizes) {
            network.send(0, 1, pattern(id, size), Some(1));
        }
        network.run();
        for ((id, &size), op) in (0..).zip(&sizes).zip(receives) {
            assert_eq!(network.received(1, op), pattern(id, size));
        }
        network.assert_clean();
    }
}

#[test]
fn grant_goes_first_and_shares_its_datagram_with_small_messages() {
    let mut network = network(8_925);
    network.send(0, 1, pattern(1, 1 << 20), Some(1));
    network.run();
    network.send(1, 0, Bytes::from_static(b"small"), None);
    network.receive(1, None, exactly(1), 1 << 20);
    network.fill(1, 0);
    let frames = network.flying[0].frames();
    assert!(matches!(frames[..], [Frame::Grant { .. }, Frame::Message { length: 5, .. }]));
}

#[test]
fn bulk_datagrams_are_full_and_announced() {
    let mut network = network(8_925);
    network.receive(1, None, exactly(1), 1 << 20);
    network.send(0, 1, pattern(1, 1 << 20), Some(1));
    while network.fill(0, 1) {}
    while !network.flying.is_empty() {
        network.deliver(0);
    }
    network.fill(1, 0);
    network.deliver(0);
    let mut lengths = Vec::new();
    while network.nodes[0].next_is_bulk(peer(1)) {
        network.fill(0, 1);
        lengths.push(network.flying.last().unwrap().bytes.len());
    }
    assert!(!network.fill(0, 1), "what is announced is all there is");
    let (last, full) = lengths.split_last().unwrap();
    assert!(full.len() > 100 && full.iter().all(|&length| length == 8_925), "{lengths:?}");
    assert!(*last <= 8_925);
}

#[test]
fn acknowledgement_is_solicited_at_the_end_of_messages_and_of_the_queue() {
    let mut network = network(8_925);
    let node = &mut network.nodes[0];
    let request = |length| SendRequest { data: pattern(1, length), ..SendRequest::default() };
    let solicits = |node: &mut Rdm| {
        let mut train = Train::default();
        let filled = std::iter::from_fn(|| {
            let filled = node.fill(NOW, peer(1), 8_925, &mut train)?;
            train.close(filled.tail);
            Some(filled.solicit)
        });
        filled.collect::<Vec<_>>()
    };
    node.post_send(peer(1), request(20_000)).unwrap();
    node.post_send(peer(1), request(10_000)).unwrap();
    node.post_send(peer(1), request(5)).unwrap();
    assert_eq!(solicits(node), [false, false, true, false, true, true]);
    node.post_send(peer(1), request(5_000)).unwrap();
    node.post_send(peer(1), request(5_000)).unwrap();
    assert_eq!(solicits(node), [false, true]);
}

#[test]
fn wake_is_reported_once_until_the_queue_was_empty() {
    let mut network = network(8_925);
    let node = &mut network.nodes[0];
    let request = SendRequest::default;
    node.post_send(peer(1), request()).unwrap();
    node.post_send(peer(1), request()).unwrap();
    assert_eq!(node.poll_wake(), Some(peer(1)));
    assert_eq!(node.poll_wake(), None);
    node.post_send(peer(1), request()).unwrap();
    assert_eq!(node.poll_wake(), None);
    network.fill(0, 1);
    network.nodes[0].post_send(peer(1), request()).unwrap();
    assert_eq!(network.nodes[0].poll_wake(), Some(peer(1)));
}

#[test]
fn room_too_small_for_any_frame_fills_nothing() {
    let mut network = network(20);
    network.send(0, 1, pattern(1, 64), None);
    assert!(!network.fill(0, 1));
    assert_eq!(network.nodes[0].queued_bytes(peer(1)), 64);
}
