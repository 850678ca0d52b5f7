//! Messages of several datagrams: sizes around every threshold, grants, truncation, abort.

use std::collections::BTreeMap;

use bytes::Bytes;
use elastane_message::{Config, Event, OperationError, Rdm, SendRequest, TagMatch};
use rand::RngExt;
use srd::{Delivery, Upper};
use wire::{Frame, MessageSeq, Train};

use crate::network::{ANY_TAG, NOW, Network, exactly, pattern, peer};

const MIB: usize = 1 << 20;

#[test]
fn messages_of_every_size_arrive_whole_whether_or_not_they_are_expected() {
    let sizes = [
        0,
        1,
        8,
        430,
        460,
        484,
        485,
        500,
        1023,
        1024,
        1025,
        4000,
        8000,
        8983,
        8984,
        8985,
        9000,
        20_000,
        65_535,
        65_536,
        65_537,
        100_000,
        300_000,
        MIB,
        MIB + 1,
        5 * MIB,
    ];
    for seed in 0..6 {
        let mut network = Network::new(2, &Config::default(), seed);
        let mut receives = Vec::new();
        for (id, size) in (0..).zip(sizes) {
            if network.rng.random_bool(0.5) {
                receives.push(network.receive(1, None, exactly(id), size));
                network.send(0, 1, pattern(u32::try_from(id).unwrap(), size), Some(id));
            } else {
                network.send(0, 1, pattern(u32::try_from(id).unwrap(), size), Some(id));
                network.some_steps(60);
                receives.push(network.receive(1, None, exactly(id), size));
            }
        }
        network.run();
        for ((id, size), op) in (0..).zip(sizes).zip(receives) {
            assert!(network.received(1, op) == pattern(id, size), "message of {size} bytes");
        }
        network.assert_clean();
    }
}

#[test]
fn lone_message_of_a_mebibyte_takes_one_grant() {
    let mut network = Network::new(2, &Config::default(), 1).with_room(8925);
    let op = network.receive(1, None, ANY_TAG, MIB);
    network.send(0, 1, pattern(1, MIB), Some(1));
    network.run();
    assert_eq!(network.received(1, op), pattern(1, MIB));
    assert_eq!(network.nodes[1].counters().grants, 1);
    network.assert_clean();
}

#[test]
fn first_grant_to_a_sender_is_modest_and_the_next_ones_grow() {
    let config = Config { first_grant: 128 << 10, ..Config::default() };
    let mut network = Network::with_first_grant(2, &config, 1).with_room(8925);
    let op = network.receive(1, None, ANY_TAG, MIB);
    network.send(0, 1, pattern(1, MIB), Some(1));
    network.run();
    assert_eq!(network.received(1, op), pattern(1, MIB));
    let grants = network.nodes[1].counters().grants;
    assert!((2..=16).contains(&grants), "{grants}");
    network.assert_clean();
}

#[test]
fn message_without_a_receive_sends_only_its_unscheduled_part() {
    let mut network = Network::new(2, &Config::default(), 2);
    let send = network.send(0, 1, pattern(1, MIB), None);
    network.run();
    let sent = MIB as u64 - network.nodes[0].queued_bytes(peer(1));
    assert!((50_000..=65_536).contains(&sent), "{sent}");
    assert!(network.nodes[0].is_owed(peer(1)), "the sender waits for a grant");
    assert!(network.nodes[1].is_owed(peer(0)), "a message that was begun must go on");
    assert!(!network.is_complete(0, send));
    let op = network.receive(1, None, TagMatch::Untagged, MIB);
    assert!(network.nodes[1].is_owed(peer(0)));
    network.run();
    assert_eq!(network.received(1, op), pattern(1, MIB));
    assert_eq!(network.result(0, send), Ok(()));
    network.assert_clean();
}

#[test]
fn messages_behind_a_large_one_that_waits_for_its_grant_go_on() {
    let mut network = Network::new(2, &Config::default(), 3);
    network.send(0, 1, pattern(1, MIB), Some(1));
    for id in 2..30 {
        network.send(0, 1, pattern(id, 10_000), Some(u64::from(id)));
    }
    network.run();
    for id in 2..30 {
        let op = network.receive(1, None, exactly(u64::from(id)), 10_000);
        assert_eq!(network.received(1, op), pattern(id, 10_000));
    }
    let op = network.receive(1, None, ANY_TAG, MIB);
    network.run();
    assert_eq!(network.received(1, op), pattern(1, MIB));
    network.assert_clean();
}

#[test]
fn small_message_overtakes_a_large_one_under_way() {
    let mut network = Network::new(2, &Config::default(), 4).with_room(1400);
    network.receive(1, None, exactly(1), MIB);
    network.send(0, 1, pattern(1, MIB), Some(1));
    network.run_until(|network| network.nodes[0].queued_bytes(peer(1)) < 500_000);
    network.send(0, 1, pattern(2, 8), Some(2));
    for _ in 0..17 {
        network.fill(0, 1);
    }
    let is_small = |frame: &Frame| matches!(frame, Frame::Message { .. });
    assert!(network.flying.iter().any(|flying| flying.frames().iter().any(is_small)));
    assert!(network.nodes[0].queued_bytes(peer(1)) > 400_000);
}

/// What the receiver allowed and has not received, from the frames alone.
#[derive(Default)]
struct Ledger {
    messages: BTreeMap<(usize, u32), (u64, u64)>,
}

impl Ledger {
    fn grant(&mut self, from: usize, seq: MessageSeq, up_to: u64) {
        let message = self.messages.entry((from, seq.0)).or_default();
        message.0 = message.0.max(up_to);
    }

    fn received(&mut self, from: usize, seq: MessageSeq, bytes: u16) {
        self.messages.entry((from, seq.0)).or_default().1 += u64::from(bytes);
    }

    fn outstanding(&self) -> u64 {
        self.messages.values().map(|(granted, received)| granted.saturating_sub(*received)).sum()
    }
}

#[test]
fn grants_to_many_senders_stay_within_the_budget_and_every_message_arrives() {
    let senders = 8;
    let config = Config { grant_budget: MIB, unscheduled_bytes: 20_000, ..Config::default() };
    let mut network = Network::new(senders + 1, &config, 5).with_room(8925);
    let receives: Vec<_> = (0..3 * senders)
        .map(|i| network.receive(senders, Some(i % senders), ANY_TAG, MIB))
        .collect();
    for i in 0..3 * senders {
        network.send(i % senders, senders, pattern(u32::try_from(i).unwrap(), MIB), Some(0));
    }
    let mut ledger = Ledger::default();
    let mut most = 0;
    loop {
        let before: Vec<_> = network.flying.iter().map(|f| (f.from, f.token)).collect();
        let arrives: Vec<_> = network.flying.iter().map(|f| (f.from, f.to, f.frames())).collect();
        if !network.step() && network.flying.is_empty() {
            break;
        }
        let after: Vec<_> = network.flying.iter().map(|f| (f.from, f.token)).collect();
        for (flying, (from, to, frames)) in before.iter().zip(&arrives) {
            if after.contains(flying) || *to != senders {
                continue;
            }
            for frame in frames {
                if let Frame::Start { seq, length, .. } | Frame::Segment { seq, length, .. } = frame
                {
                    ledger.received(*from, *seq, *length);
                }
            }
        }
        if let Some(grants) = network.flying.last().filter(|f| f.from == senders) {
            for frame in grants.frames() {
                let Frame::Grant { seq, up_to } = frame else { panic!("only grants go back") };
                ledger.grant(grants.to, seq, up_to);
            }
        }
        most = most.max(ledger.outstanding());
    }
    for (i, op) in (0..).zip(receives) {
        assert!(network.received(senders, op) == pattern(i, MIB));
    }
    let least_grants = senders as u64 * (64 << 10);
    assert!(most <= MIB as u64 + least_grants, "{most} bytes were granted at once");
    assert!(most >= MIB as u64 / 2, "the budget is used: {most}");
    network.assert_clean();
}

#[test]
fn sender_that_keeps_its_grant_unused_does_not_stop_the_others() {
    let config = Config { grant_budget: 256 << 10, ..Config::default() };
    let mut network = Network::new(3, &config, 6);
    network.receive(2, Some(0), ANY_TAG, MIB);
    network.send(0, 2, pattern(1, MIB), Some(0));
    // The whole budget is granted to node 0, whose application then computes.
    network.run_until(|network| network.nodes[2].counters().grants > 0);
    let other = network.receive(2, Some(1), ANY_TAG, MIB);
    network.send(1, 2, pattern(2, MIB), Some(0));
    network.run_without(0, |network| network.is_complete(2, other));
    assert_eq!(network.received(2, other), pattern(2, MIB));
}

#[test]
fn message_longer_than_the_buffer_fills_it_and_stops_the_sender() {
    for (size, room) in [(100, 99), (100, 0), (9_500, 3_000), (60_000, 0), (60_000, 59_999)] {
        truncated(size, room, 1);
    }
    for room in [0, 1, 8_000, 65_536, 70_000, 999_999] {
        let sent = truncated(MIB, room, 2);
        assert!(sent <= room.max(65_536), "{sent} bytes sent to a buffer for {room}");
    }
}

fn truncated(size: usize, room: usize, seed: u64) -> usize {
    let mut network = Network::new(2, &Config::default(), seed);
    let send = network.send(0, 1, pattern(1, size), Some(4));
    let op = network.receive(1, None, ANY_TAG, room);
    let next = network.receive(1, None, ANY_TAG, 10);
    network.run();
    let sent = network.payload_filled;
    assert_eq!(network.result(0, send), Ok(()), "the sender has done its part");
    let completion = network.take(1, op);
    let message_length = size as u64;
    assert_eq!(completion.result, Err(OperationError::Truncated { message_length }));
    let Event::Received { buffer, length, .. } = completion.event else { panic!("a receive") };
    assert_eq!(length, room as u64);
    assert_eq!(buffer.as_slice(), &pattern(1, size)[..room]);
    network.send(0, 1, pattern(2, 10), Some(5));
    network.run();
    assert_eq!(network.received(1, next), pattern(2, 10));
    network.assert_clean();
    sent
}

#[test]
fn length_beyond_four_gibibytes_is_truncated_without_allocating_it() {
    let mut network = Network::new(2, &Config::default(), 1);
    let op = network.receive(1, None, ANY_TAG, 100);
    let total = 1 << 33;
    let mut datagram = Vec::new();
    Frame::Start {
        seq: MessageSeq(1),
        tag: Some(wire::Tag(3)),
        data: None,
        total,
        unscheduled: 60,
        length: 60,
    }
    .emit(&mut datagram);
    datagram.extend_from_slice(&[1; 60]);
    assert_eq!(network.nodes[1].deliver(NOW, peer(0), &datagram, 0), Delivery::Accepted);
    network.drain();
    assert!(!network.is_complete(1, op));
    network.fill(1, 0);
    let grant = network.flying.pop().unwrap();
    assert_eq!(grant.frames(), [Frame::Grant { seq: MessageSeq(1), up_to: 100 }]);
    let mut segment = Vec::new();
    Frame::Segment { seq: MessageSeq(1), offset: 60, length: 50 }.emit(&mut segment);
    segment.extend_from_slice(&[2; 50]);
    assert_eq!(network.nodes[1].deliver(NOW, peer(0), &segment, 0), Delivery::Accepted);
    network.drain();
    let completion = network.take(1, op);
    assert_eq!(completion.result, Err(OperationError::Truncated { message_length: total }));
    network.fill(1, 0);
    assert_eq!(network.flying[0].frames(), [Frame::Stop { seq: MessageSeq(1) }]);
    // Far segments of it are late, not an allocation.
    let mut segment = Vec::new();
    Frame::Segment { seq: MessageSeq(1), offset: total - 5, length: 5 }.emit(&mut segment);
    segment.extend_from_slice(&[3; 5]);
    assert_eq!(network.nodes[1].deliver(NOW, peer(0), &segment, 0), Delivery::Accepted);
    assert_eq!(network.nodes[1].counters().late_segments, 1);
    assert_eq!(network.nodes[1].stored_bytes(), 0);
}

#[test]
fn datagrams_too_large_for_the_way_go_again_in_smaller_ones() {
    for seed in 0..60 {
        let mut network = Network::new(2, &Config::default(), seed);
        let sizes = [10, 800, 5_000, 8_000, 30_000, 200_000];
        let mut receives = Vec::new();
        for (id, size) in (0..).zip(sizes) {
            network.send(0, 1, pattern(id, size), Some(u64::from(id)));
            if network.rng.random_bool(0.5) {
                receives.push((id, size, network.receive(1, None, exactly(u64::from(id)), size)));
            }
        }
        network.some_steps(60);
        network.shrink(0, 1);
        network.run();
        for (id, size) in (0..).zip(sizes) {
            if network.nodes[1].peek(None, exactly(u64::from(id))).is_some() {
                receives.push((id, size, network.receive(1, None, exactly(u64::from(id)), size)));
                network.run();
            }
        }
        assert_eq!(receives.len(), sizes.len());
        for (id, size, op) in receives {
            assert!(network.received(1, op) == pattern(id, size), "message of {size} bytes");
        }
        network.completions.clear();
        network.assert_clean();
    }
}

#[test]
fn cancelled_large_send_ends_the_receive_it_met_and_the_order_skips_it() {
    for seed in 0..200 {
        let mut network = Network::new(2, &Config::default(), seed);
        let expected = network.rng.random_bool(0.5);
        let receive = expected.then(|| network.receive(1, None, exactly(1), MIB));
        let send = network.send(0, 1, pattern(1, MIB), Some(1));
        network.some_steps(120);
        let begun = network.nodes[0].queued_bytes(peer(1)) < MIB as u64;
        let cancelled = network.cancel(0, send);
        network.send(0, 1, pattern(2, 10), Some(2));
        network.run();
        let next = network.receive(1, None, exactly(2), 10);
        assert_eq!(network.received(1, next), pattern(2, 10));
        if !cancelled {
            assert_eq!(network.result(0, send), Ok(()));
            continue;
        }
        assert_eq!(network.result(0, send), Err(OperationError::Canceled));
        if let Some(op) = receive {
            if network.is_complete(1, op) {
                assert!(begun, "a send that never began is never seen");
                assert_eq!(network.result(1, op), Err(OperationError::PeerAborted));
            } else {
                // The abort came before the first frame: the receive met nothing.
                network.cancel(1, op);
            }
        }
        assert!(network.nodes[1].peek(None, ANY_TAG).is_none());
        network.assert_clean();
    }
}

#[test]
fn queued_small_send_is_cancelled_and_a_sent_one_is_not() {
    let mut network = Network::new(2, &Config::default(), 1);
    let sent = network.send(0, 1, Bytes::from_static(b"sent"), None);
    network.fill(0, 1);
    let queued = network.send(0, 1, Bytes::from_static(b"queued"), None);
    assert!(!network.cancel(0, sent));
    assert!(network.cancel(0, queued));
    network.may_be_empty = false;
    let op = network.receive(1, None, TagMatch::Untagged, 8);
    network.run();
    assert_eq!(network.received(1, op), b"sent");
    assert_eq!(network.result(0, queued), Err(OperationError::Canceled));
    network.assert_clean();
}

#[test]
fn send_is_over_once_its_receiver_has_all_whatever_is_on_its_way() {
    let mut here = Rdm::default();
    let data = Bytes::from(vec![7; 1 << 20]);
    let request = SendRequest { data, complete: true, ..SendRequest::default() };
    here.post_send(peer(0), request).unwrap();
    let mut fill = || {
        let mut train = Train::default();
        here.fill(NOW, peer(0), 8_900, &mut train).expect("more of it").token
    };
    let tokens = [fill(), fill(), fill()];
    let mut stop = Vec::new();
    Frame::Stop { seq: MessageSeq(1) }.emit(&mut stop);
    assert_eq!(here.deliver(NOW, peer(0), &stop, 0), Delivery::Accepted);
    assert!(here.poll_completion().is_some_and(|sent| sent.result.is_ok()));
    assert_eq!((here.sends_outstanding(), here.outstanding()), (0, 1));
    // Nothing of it is sent any more, and what was sent is not sent again.
    let mut train = Train::default();
    assert!(here.fill(NOW, peer(0), 8_900, &mut train).is_none());
    assert!(here.refill(peer(0), tokens[1], &mut train).is_empty());
    for token in tokens {
        here.acked(NOW, peer(0), token);
    }
    assert!(here.poll_completion().is_none());
    assert_eq!(here.outstanding(), 0);
}
