//! Messages that their receivers copy, wholly or in part, out of the senders' memory.

use std::ops::Range;

use elastane_message::{Config, LoanUse, OpId, OperationError};
use rand::RngExt;
use wire::MessageSeq;

use crate::network::{ANY_TAG, Network, exactly, pattern, peer};

const MIB: usize = 1 << 20;

/// A network whose node 0 has lent a message to node 1, which has not met a receive.
fn lend(network: &mut Network, size: usize) -> OpId {
    let send = network.send(0, 1, pattern(1, size), Some(1));
    assert!(network.fill(0, 1));
    let token = network.flying.last().and_then(|flying| flying.token).expect("it flies");
    let lent = network.nodes[0].lend(token, 5).expect("it is long");
    assert_eq!((lent.seq, lent.length), (MessageSeq(1), size as u64));
    send
}

/// What node 1 makes of the loan; `most` bytes are copied if there are bytes to be copied.
fn copy(network: &mut Network, size: usize, most: usize, valid: bool) -> Option<Range<usize>> {
    match network.nodes[1].use_loan(peer(0), MessageSeq(1), size as u64, most) {
        LoanUse::Copy(mut copying) => {
            let range = copying.range.clone();
            assert!(!range.is_empty() && range.len() <= most);
            let bytes = pattern(1, size);
            let into = &mut copying.buffer.as_mut_slice()[range.clone()];
            if valid {
                into.copy_from_slice(&bytes[range.clone()]);
            } else {
                into.fill(0xee);
            }
            network.nodes[1].copied(copying, valid);
            network.drain();
            Some(range)
        }
        LoanUse::Wait | LoanUse::Over => None,
    }
}

fn is_over(network: &mut Network, size: usize) -> bool {
    let used = network.nodes[1].use_loan(peer(0), MessageSeq(1), size as u64, 1);
    matches!(used, LoanUse::Over)
}

#[test]
fn message_is_copied_from_its_end_on_while_its_sender_does_nothing() {
    let mut network = Network::new(2, &Config::default(), 1).with_room(8925);
    let send = lend(&mut network, MIB);
    assert_eq!(copy(&mut network, MIB, MIB, true), None, "it did not arrive yet");
    network.deliver(0);
    assert_eq!(copy(&mut network, MIB, MIB, true), None, "no receive met it");
    let receive = network.receive(1, None, ANY_TAG, MIB);
    // All of it is granted, and nothing of that comes.
    let mut end = MIB;
    while let Some(range) = copy(&mut network, MIB, 100_000, true) {
        assert_eq!(range.end, end);
        end = range.start;
    }
    assert_eq!(network.received(1, receive), pattern(1, MIB));
    assert!(is_over(&mut network, MIB));
    let counters = network.nodes[1].counters();
    assert_eq!((counters.copied_messages, counters.copied_bytes), (1, (MIB - end) as u64));
    // The sender learns of it when it looks, and sends nothing that it has not begun.
    assert!(!network.is_complete(0, send));
    while network.fill(1, 0) {}
    while !network.flying.is_empty() {
        network.deliver(0);
    }
    assert!(!network.fill(0, 1));
    network.run();
    assert_eq!(network.result(0, send), Ok(()));
    network.assert_clean();
}

#[test]
fn copied_and_sent_parts_make_the_message_whatever_the_order() {
    for seed in 0..300 {
        let config = Config { grant_budget: 128 << 10, ..Config::default() };
        let mut network = Network::with_first_grant(2, &config, seed);
        let size = network.rng.random_range(80_000..MIB);
        let room = network.rng.random_range(size / 2..size + 1000);
        let send = lend(&mut network, size);
        network.some_steps(40);
        let receive = network.receive(1, None, exactly(1), room);
        let other = network.receive(1, None, exactly(2), 300_000);
        network.send(0, 1, pattern(2, 300_000), Some(2));
        let rarely = network.rng.random_range(0.0..0.5);
        while !network.is_complete(1, receive) {
            // Some copies fail: what was read then is not what was lent.
            let valid = network.rng.random_bool(0.8);
            if network.rng.random_bool(rarely) {
                let most = network.rng.random_range(1..200_000);
                copy(&mut network, size, most, valid);
            }
            network.some_steps(20);
        }
        network.run();
        let taken = network.take(1, receive);
        let elastane_message::Event::Received { buffer, length, .. } = taken.event else {
            panic!("a receive completes as one");
        };
        let whole = size.min(room);
        assert_eq!(length, whole as u64);
        assert!(buffer.as_slice()[..whole] == pattern(1, size)[..whole], "seed {seed}");
        let truncated = OperationError::Truncated { message_length: size as u64 };
        assert_eq!(taken.result, if room < size { Err(truncated) } else { Ok(()) });
        assert_eq!(network.received(1, other), pattern(2, 300_000));
        assert_eq!(network.result(0, send), Ok(()));
        network.completions.clear();
        network.assert_clean();
    }
}

#[test]
fn copy_that_fails_leaves_the_message_to_its_sender() {
    let mut network = Network::new(2, &Config::default(), 3);
    let send = lend(&mut network, MIB);
    let receive = network.receive(1, None, ANY_TAG, MIB);
    network.deliver(0);
    assert!(copy(&mut network, MIB, MIB, false).is_some());
    network.run();
    assert_eq!(network.received(1, receive), pattern(1, MIB));
    assert_eq!(network.nodes[1].counters().copied_bytes, 0);
    assert_eq!(network.result(0, send), Ok(()));
    network.assert_clean();
}

#[test]
fn loan_is_a_claim() {
    let mut network = Network::new(2, &Config::default(), 4);
    lend(&mut network, MIB);
    let receive = network.receive(1, None, ANY_TAG, MIB);
    network.deliver(0);
    for length in [0, 1, MIB as u64 - 1, MIB as u64 + 1, u64::MAX] {
        let used = network.nodes[1].use_loan(peer(0), MessageSeq(1), length, MIB);
        assert!(matches!(used, LoanUse::Over), "another length than the message has");
    }
    assert_eq!(network.nodes[1].counters().malformed, 5);
    // Of a message that is over long since, and of one that is to come.
    let mut used = |seq| network.nodes[1].use_loan(peer(0), MessageSeq(seq), MIB as u64, MIB);
    assert!(matches!(used(0), LoanUse::Over));
    assert!(matches!(used(2), LoanUse::Wait));
    network.run();
    assert_eq!(network.received(1, receive), pattern(1, MIB));
}

#[test]
fn short_message_is_not_lent_and_cancelled_one_is_aborted() {
    let mut network = Network::new(2, &Config::default(), 5);
    network.receive(1, None, exactly(9), 64 << 10);
    network.send(0, 1, pattern(9, 64 << 10), Some(9));
    assert!(network.fill(0, 1));
    let token = network.flying[0].token.expect("it flies");
    assert_eq!(network.nodes[0].lend(token, 5), None, "all of it may be sent");
    network.run();
    let mut network = Network::new(2, &Config::default(), 5);
    let send = lend(&mut network, MIB);
    let receive = network.receive(1, None, exactly(1), MIB);
    network.deliver(0);
    assert!(copy(&mut network, MIB, 1000, true).is_some());
    assert!(network.cancel(0, send));
    network.run();
    assert_eq!(network.result(0, send), Err(OperationError::Canceled));
    assert_eq!(network.result(1, receive), Err(OperationError::PeerAborted));
    assert!(is_over(&mut network, MIB));
    network.assert_clean();
}

#[test]
fn what_was_copied_is_not_granted() {
    let config = Config { grant_budget: 64 << 10, ..Config::default() };
    let mut network = Network::with_first_grant(2, &config, 6).with_room(8925);
    let send = lend(&mut network, MIB);
    let receive = network.receive(1, None, ANY_TAG, MIB);
    network.deliver(0);
    let range = copy(&mut network, MIB, MIB, true).expect("nearly all of it");
    network.run();
    assert_eq!(network.received(1, receive), pattern(1, MIB));
    assert_eq!(network.result(0, send), Ok(()));
    assert!(range.len() > MIB / 2);
    let sent = network.payload_filled;
    assert!(sent <= range.start + 8925, "{sent} bytes were sent, {range:?} copied");
}
