//! Operations that wait for others: order at the peer, fences, and cancelling what waits.

use elastane_message::{
    Config, Event, OperationClass, OperationError, Order, ReadRequest, TagMatch, WriteRequest,
};
use memory::{Access, Buffer, Region};
use rand::RngExt;
use wire::RemotePlace;

use crate::network::{Network, pattern, peer};

/// Bytes of a write that takes several datagrams.
const LONG: usize = 30_000;

/// A network of two, and memory of node 1 that node 0 reaches.
fn with_memory(order: Order, length: usize, seed: u64) -> (Network, Region, RemotePlace) {
    let mut network = Network::new(2, &Config { order, ..Config::default() }, seed);
    let region = Region::zeroed(length);
    let key = network.nodes[1].register(region.clone(), Access::ALL);
    (network, region, RemotePlace { key, offset: 0 })
}

fn write(network: &mut Network, place: RemotePlace, value: u8, length: usize) {
    let data = vec![value; length].into();
    let request = WriteRequest { data, place, complete: true, ..WriteRequest::default() };
    network.nodes[0].post_write(peer(1), request).expect("below the limit");
    network.drain();
}

#[test]
fn ordered_writes_of_any_length_take_effect_one_after_another() {
    let mut disorder = 0;
    for seed in 0..60 {
        for order in [Order::WRITE_AFTER_WRITE, Order::NONE] {
            let (mut network, region, place) = with_memory(order, LONG, seed);
            for value in 1..=12 {
                let length = if network.rng.random_bool(0.4) { LONG } else { 8 };
                write(&mut network, place, value, length);
            }
            let mut latest = 0;
            while network.step() {
                let seen = region.to_vec()[0];
                disorder += u32::from(order == Order::NONE && seen < latest);
                assert!(order == Order::NONE || seen >= latest, "seed {seed}: {seen} {latest}");
                latest = seen;
            }
            network.run();
            assert!(order == Order::NONE || region.to_vec()[0] == 12);
            network.assert_clean();
        }
    }
    assert!(disorder > 0, "without order the network mixes them up, or nothing was tested");
}

#[test]
fn ordered_reads_and_messages_see_the_writes_before_them() {
    for seed in 0..60 {
        let order = Order::READ_AFTER_WRITE | Order::SEND_AFTER_WRITE | Order::WRITE_AFTER_READ;
        let (mut network, region, place) =
            with_memory(order | Order::WRITE_AFTER_WRITE, LONG, seed);
        let mut reads = Vec::new();
        let mut receives = Vec::new();
        for value in 1..=6 {
            write(&mut network, place, value, LONG);
            let request = ReadRequest { buffer: Buffer::zeroed(LONG), place, context: 0 };
            let read = network.nodes[0].post_read(peer(1), request).expect("below the limit");
            reads.push((read, value));
            network.drain();
            network.send(0, 1, pattern(value.into(), 10), None);
            receives.push((network.receive(1, None, TagMatch::Untagged, 10), value));
        }
        let mut waiting = receives.into_iter().peekable();
        while network.step() {
            while let Some((_, value)) =
                waiting.next_if(|&(receive, _)| network.is_complete(1, receive))
            {
                let now = region.to_vec();
                assert!(now.iter().all(|&byte| byte >= value), "seed {seed}: write {value}");
            }
        }
        network.run();
        for (read, value) in reads {
            let Event::Read { buffer } = network.take(0, read).event else { panic!("a read") };
            assert!(buffer.as_slice().iter().all(|&byte| byte == value), "seed {seed}");
        }
    }
}

#[test]
fn fence_holds_back_what_is_posted_after_it_and_nothing_else() {
    let (mut network, region, place) = with_memory(Order::NONE, LONG, 1);
    let other = Region::zeroed(8);
    let back = network.nodes[0].register(other.clone(), Access::ALL);
    network.nodes[0].fence(peer(1));
    write(&mut network, place, 1, LONG);
    network.nodes[0].fence(peer(1));
    write(&mut network, place, 2, 8);
    // The first leaves at once, the second not before it is acknowledged.
    while network.fill(0, 1) {}
    let sent = network.payload_filled;
    assert_eq!(sent, LONG);
    assert!(network.nodes[0].queued_bytes(peer(1)) == 8 && !network.nodes[0].idle(peer(1)));
    // The peer's own operations are answered meanwhile.
    let place_back = RemotePlace { key: back, offset: 0 };
    let data = vec![7; 8].into();
    let request =
        WriteRequest { data, place: place_back, complete: true, ..WriteRequest::default() };
    let theirs = network.nodes[1].post_write(peer(0), request).expect("below the limit");
    network.drain();
    network.run();
    assert_eq!(network.result(1, theirs), Ok(()));
    assert_eq!((region.to_vec()[0], other.to_vec()[0]), (2, 7));
    network.assert_clean();
}

#[test]
fn results_pass_operations_that_wait_on_both_sides() {
    let everything = [OperationClass::Send, OperationClass::Atomic]
        .into_iter()
        .fold(Order::NONE, |order, earlier| order | Order::of(OperationClass::Send, earlier));
    for seed in 0..40 {
        let config = Config { order: everything, ..Config::default() };
        let mut network = Network::new(2, &config, seed);
        let region = Region::zeroed(8);
        for (from, to) in [(0, 1), (1, 0)] {
            let key = network.nodes[to].register(region.clone(), Access::ALL);
            for value in 1..4 {
                network.add(from, to, RemotePlace { key, offset: 0 }, value);
                network.send(from, to, pattern(0, 10), None);
                network.receive(to, None, TagMatch::Untagged, 10);
            }
        }
        network.run();
        assert_eq!(region.to_vec(), 12_u64.to_le_bytes());
        network.assert_clean();
    }
}

#[test]
fn one_sided_operations_that_have_not_left_are_cancelled_and_leave_no_gap() {
    let (mut network, region, place) = with_memory(Order::NONE, LONG, 3);
    let mut cancelled = Vec::new();
    let mut kept = Vec::new();
    for round in 0..12_u64 {
        let (data, read) = (vec![1; 8].into(), Buffer::zeroed(8));
        let request = WriteRequest { data, place, ..WriteRequest::default() };
        let node = &mut network.nodes[0];
        let write = node.post_write(peer(1), request).expect("below the limit");
        let read = ReadRequest { buffer: read, place, context: 0 };
        let read = node.post_read(peer(1), read).expect("below the limit");
        let count = network.add(0, 1, RemotePlace { offset: 8, ..place }, 1);
        if round % 3 == 0 { &mut kept } else { &mut cancelled }.extend([write, read, count]);
    }
    for &op in &cancelled {
        assert!(network.cancel(0, op));
        assert!(!network.cancel(0, op));
        assert_eq!(network.result(0, op), Err(OperationError::Canceled));
    }
    while network.fill(0, 1) {}
    for &op in &kept {
        assert!(!network.cancel(0, op), "it has left");
    }
    network.run();
    assert_eq!(region.to_vec()[8..16], 4_u64.to_le_bytes());
    let begun = network.nodes[1].counters();
    assert_eq!((begun.remote_writes, begun.remote_reads, begun.remote_atomics), (4, 4, 4));
    network.assert_clean();
}
