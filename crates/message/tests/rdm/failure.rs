//! Peers that are lost, and datagrams that are refused.

use std::collections::BTreeMap;

use elastane_message::{Config, OperationError, TagMatch};
use rand::RngExt;
use srd::{PeerError, Silence};
use wire::Frame;

use crate::network::{ANY_TAG, Network, exactly, pattern};

const LOST: PeerError = PeerError::Unresponsive(Silence::from_millis(1_000));

#[test]
fn lost_peer_completes_each_operation_on_it_once_and_leaves_nothing() {
    for seed in 0..200 {
        let mut network = Network::new(3, &Config::default(), seed);
        let mut on_lost = Vec::new();
        for id in 0..12 {
            let size = [0, 100, 9_000, 60_000, 300_000][network.rng.random_range(0..5)];
            let tag = Some(u64::from(id) % 3);
            on_lost.push((0, network.send(0, 1, pattern(id, size), tag)));
            network.send(1, 0, pattern(id, size), tag);
            if network.rng.random_bool(0.5) {
                on_lost.push((0, network.receive(0, Some(1), exactly(7), size)));
                network.receive(0, Some(1), exactly(u64::from(id) % 3), size);
                network.receive(1, Some(0), exactly(u64::from(id) % 3), size);
            }
        }
        let any = network.receive(0, None, exactly(99), 10);
        network.some_steps(400);
        network.fail(0, 1, LOST);
        network.fail(1, 0, PeerError::Restarted);
        let mut count = BTreeMap::new();
        for (node, completion) in &network.completions {
            *count.entry((*node, format!("{:?}", completion.op))).or_insert(0) += 1;
        }
        for (node, op) in on_lost {
            assert_eq!(count.get(&(node, format!("{op:?}"))), Some(&1));
        }
        assert!(count.values().all(|&times| times == 1));
        assert_eq!(network.nodes[0].outstanding(), 1, "the any-source receive stays");
        assert_eq!(network.nodes[1].outstanding(), 0);
        network.discard_stored(0);
        network.discard_stored(1);
        network.send(2, 0, pattern(5, 10), Some(99));
        network.run();
        assert_eq!(network.received(0, any), pattern(5, 10));
        network.completions.clear();
        network.assert_clean();
    }
}

#[test]
fn restarted_peer_is_talked_to_from_the_first_number_on() {
    for seed in 0..50 {
        let mut network = Network::new(2, &Config::default(), seed);
        for id in 0..20 {
            network.send(0, 1, pattern(id, 2_000), None);
        }
        network.steps(40);
        network.fail(0, 1, PeerError::Restarted);
        network.fail(1, 0, PeerError::Restarted);
        network.completions.clear();
        network.discard_stored(1);
        let op = network.receive(1, Some(0), TagMatch::Untagged, 2_000);
        network.send(0, 1, pattern(77, 2_000), None);
        network.run();
        assert_eq!(network.received(1, op), pattern(77, 2_000));
        network.assert_clean();
    }
}

#[test]
fn messages_that_came_whole_outlive_their_sender() {
    for error in [PeerError::Closed, PeerError::Exited, LOST] {
        let mut network = Network::new(2, &Config::default(), 5);
        let sizes = [12, 0, 9_000, 1 << 20, 64];
        for (id, size) in (0..).zip(sizes) {
            network.send(0, 1, pattern(id, size), Some(id.into()));
        }
        network.run();
        network.fail(1, 0, error);
        network.fail(0, 1, error);
        network.completions.clear();
        for (id, size) in (0..).zip(sizes).filter(|(_, size)| *size < 1 << 20) {
            let from = (id % 2 == 0).then_some(0);
            let op = network.receive(1, from, exactly(id.into()), size);
            assert!(network.received(1, op) == pattern(id, size));
        }
        assert!(network.nodes[1].peek(None, ANY_TAG).is_none(), "a message without its end");
        network.completions.clear();
        network.assert_clean();
    }
}

#[test]
fn failure_names_the_peer_and_the_cause() {
    let mut network = Network::new(2, &Config::default(), 1);
    let send = network.send(0, 1, pattern(1, 10), None);
    network.fail(0, 1, LOST);
    let completion = network.take(0, send);
    assert_eq!(completion.peer, Some(crate::network::peer(1)));
    assert_eq!(completion.result, Err(OperationError::Peer(LOST)));
    let message = completion.result.unwrap_err().to_string();
    assert_eq!(message, "peer unresponsive: was alive, then silent for 1.0 s");
}

#[test]
fn injected_send_reports_its_failure() {
    let mut network = Network::new(2, &Config::default(), 1);
    let op = network.post_send(0, 1, elastane_message::SendRequest::default());
    network.fail(0, 1, LOST);
    assert_eq!(network.result(0, op), Err(OperationError::Peer(LOST)));
}

#[test]
fn lost_sender_frees_the_grants_of_the_others() {
    let config = Config { grant_budget: 64 << 10, ..Config::default() };
    let mut network = Network::new(4, &config, 2);
    let receives: Vec<_> =
        (0..3).map(|from| network.receive(3, Some(from), ANY_TAG, 1 << 20)).collect();
    for from in 0..3_u32 {
        network.send(from as usize, 3, pattern(from, 1 << 20), Some(0));
    }
    network.run_until(|network| network.nodes[3].counters().grants > 2);
    network.fail(3, 1, LOST);
    network.fail(1, 3, LOST);
    network.run();
    assert_eq!(network.result(3, receives[1]), Err(OperationError::Peer(LOST)));
    for from in [0, 2] {
        let id = u32::try_from(from).unwrap();
        assert!(network.received(3, receives[from]) == pattern(id, 1 << 20));
    }
    network.completions.clear();
    network.assert_clean();
}

#[test]
fn refused_messages_fail_and_the_order_goes_on_without_them() {
    for seed in 0..100 {
        let mut network = Network::new(2, &Config::default(), seed);
        let sends: Vec<_> = (0..10)
            .map(|id| {
                let size = [10, 3_000, 40_000, 200_000][network.rng.random_range(0..4)];
                network.send(0, 1, pattern(id, size), Some(u64::from(id)))
            })
            .collect();
        network.some_steps(30);
        let refused = network.flying.iter().position(|flying| {
            let first = |f: &Frame| matches!(f, Frame::Message { .. } | Frame::Start { .. });
            flying.from == 0 && flying.frames().iter().any(first)
        });
        let Some(refused) = refused else { continue };
        network.may_be_empty = true;
        network.refuse(refused);
        let last = network.send(0, 1, pattern(99, 10), Some(99));
        network.run();
        assert_eq!(network.result(0, last), Ok(()));
        let failed: Vec<_> = sends
            .iter()
            .filter(|&&op| {
                network.is_complete(0, op)
                    && network.result(0, op) == Err(OperationError::ReceiverNotReady)
            })
            .collect();
        assert!(!failed.is_empty());
        let op = network.receive(1, None, exactly(99), 10);
        assert_eq!(network.received(1, op), pattern(99, 10));
        while network.nodes[1].peek(None, ANY_TAG).is_some() {
            network.receive(1, None, ANY_TAG, 200_000);
            network.run();
        }
        network.completions.clear();
        network.assert_clean();
    }
}
