//! One-sided operations: placed exactly once, executed exactly once, refused without a trace.

use bytes::Bytes;
use elastane_message::{
    AtomicRefused, AtomicRequest, Busy, Config, Event, OpId, OperationError, ReadRequest,
    WriteRequest,
};
use memory::{Access, Atomic, Buffer, Datatype, Operator, Region};
use rand::RngExt;
use srd::PeerError;
use wire::{RKey, RefusalCause, RemotePlace};

use crate::network::{Network, pattern, peer};

const ADD: Atomic = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };

impl Network {
    fn write(&mut self, from: usize, to: usize, place: RemotePlace, data: Bytes) -> OpId {
        let request = WriteRequest { data, place, complete: true, ..WriteRequest::default() };
        self.post_write(from, to, request)
    }

    fn post_write(&mut self, from: usize, to: usize, request: WriteRequest) -> OpId {
        let op = self.nodes[from].post_write(peer(to), request).expect("below the limit");
        self.drain();
        op
    }

    fn read(&mut self, from: usize, to: usize, place: RemotePlace, length: usize) -> OpId {
        let request = ReadRequest { buffer: Buffer::zeroed(length), place, context: 0 };
        let op = self.nodes[from].post_read(peer(to), request).expect("below the limit");
        self.drain();
        op
    }

    fn atomic(
        &mut self,
        from: usize,
        to: usize,
        place: RemotePlace,
        atomic: Atomic,
        operands: &[u8],
    ) -> OpId {
        let operands = Bytes::copy_from_slice(operands);
        let request = AtomicRequest {
            atomic,
            place,
            count: 1,
            operands,
            fetch: true,
            context: 0,
            complete: true,
        };
        let op = self.nodes[from].post_atomic(peer(to), request).expect("below the limit");
        self.drain();
        op
    }

    pub(crate) fn add(&mut self, from: usize, to: usize, place: RemotePlace, value: u64) -> OpId {
        self.atomic(from, to, place, ADD, &value.to_le_bytes())
    }

    fn read_bytes(&mut self, at: usize, op: OpId) -> Vec<u8> {
        let completion = self.take(at, op);
        assert_eq!(completion.result, Ok(()));
        let Event::Read { buffer } = completion.event else { panic!("a read") };
        buffer.into_vec()
    }

    fn old_value(&mut self, at: usize, op: OpId) -> u64 {
        let completion = self.take(at, op);
        assert_eq!(completion.result, Ok(()));
        let Event::Atomic { old } = completion.event else { panic!("an atomic") };
        u64::from_le_bytes(old.try_into().expect("eight bytes"))
    }
}

impl Network {
    /// Posts a long write, a long read or a count, which it adds to `sum`.
    fn post_any(&mut self, from: usize, to: usize, key: RKey, sum: &mut u64) -> Result<OpId, Busy> {
        let choice = self.rng.random_range(0..3);
        let node = &mut self.nodes[from];
        match choice {
            0 => {
                let (data, place) = (pattern(7, 40_000), place(key, 8));
                let request = WriteRequest { data, place, complete: true, ..Default::default() };
                node.post_write(peer(to), request)
            }
            1 => {
                let (buffer, place) = (Buffer::zeroed(40_000), place(key, 0));
                let request = ReadRequest { buffer, place, context: 0 };
                node.post_read(peer(to), request).map_err(|(busy, _)| busy)
            }
            _ => {
                let request = AtomicRequest {
                    atomic: ADD,
                    place: place(key, 0),
                    count: 1,
                    operands: 1_u64.to_le_bytes().to_vec().into(),
                    fetch: true,
                    context: 0,
                    complete: true,
                };
                match node.post_atomic(peer(to), request) {
                    Ok(op) => {
                        *sum += 1;
                        Ok(op)
                    }
                    Err(AtomicRefused::Busy(busy)) => Err(busy),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

const fn place(key: RKey, offset: u64) -> RemotePlace {
    RemotePlace { key, offset }
}

/// A region of `length` zero bytes at `node`.
fn region(network: &mut Network, node: usize, length: usize, access: Access) -> (Region, RKey) {
    let region = Region::zeroed(length);
    let key = network.nodes[node].register(region.clone(), access);
    (region, key)
}

fn u64_of(region: &Region) -> u64 {
    u64::from_le_bytes(region.to_vec()[..8].try_into().expect("eight bytes"))
}

#[test]
fn writes_of_every_size_are_placed_byte_for_byte_and_nothing_else_is_touched() {
    for seed in 0..40 {
        let mut network = Network::new(2, &Config::default(), seed);
        let sizes = [0, 1, 7, 499, 1_200, 8_876, 8_925, 65_536, 300_000];
        let length: usize = sizes.iter().map(|size| size + 10).sum();
        let (memory, key) = region(&mut network, 1, length, Access::WRITE);
        let (mut at, mut wanted, mut ops) = (0, vec![0; length], Vec::new());
        for (id, size) in (0..).zip(sizes) {
            let data = pattern(id, size);
            wanted[at..at + size].copy_from_slice(&data);
            ops.push(network.write(0, 1, place(key, at as u64), data));
            at += size + 10;
        }
        if seed % 2 == 1 {
            network.some_steps(200);
            network.shrink(0, 1);
        }
        network.run();
        for op in ops {
            assert_eq!(network.result(0, op), Ok(()));
        }
        assert_eq!(memory.to_vec(), wanted, "seed {seed}");
        assert_eq!(network.nodes[1].counters().remote_writes, sizes.len() as u64);
        assert_eq!(network.nodes[0].operations().writes.completed, sizes.len() as u64);
        network.assert_clean();
    }
}

#[test]
fn reads_of_every_size_bring_what_the_region_holds() {
    for seed in 0..40 {
        let config = Config { grant_budget: 128 << 10, ..Config::default() };
        let mut network = Network::new(2, &config, seed);
        let content = pattern(1, 900_000);
        let memory = Region::from(content.to_vec());
        let key = network.nodes[1].register(memory, Access::READ);
        let sizes = [0, 1, 499, 8_925, 65_536, 65_537, 800_000];
        let ops: Vec<_> =
            sizes.map(|size| network.read(0, 1, place(key, 77), size)).into_iter().collect();
        if seed % 2 == 1 {
            network.some_steps(300);
            network.shrink(1, 0);
        }
        network.run();
        for (op, size) in ops.into_iter().zip(sizes) {
            assert!(network.read_bytes(0, op) == content[77..77 + size], "seed {seed}, {size}");
        }
        network.assert_clean();
    }
}

#[test]
fn many_long_reads_at_once_share_the_budget_and_all_end() {
    for seed in 0..10 {
        let mut network = Network::with_first_grant(3, &Config::default(), seed);
        let content = pattern(1, 1 << 20);
        let mut ops = Vec::new();
        for target in [1, 2] {
            let memory = Region::from(content.to_vec());
            let key = network.nodes[target].register(memory, Access::READ);
            for _ in 0..8 {
                ops.push(network.read(0, target, place(key, 0), content.len()));
                network.some_steps(20);
            }
        }
        network.run();
        for op in ops {
            assert!(network.read_bytes(0, op) == content, "seed {seed}");
        }
        network.assert_clean();
    }
}

#[test]
fn completion_of_a_write_means_that_it_is_placed() {
    let mut network = Network::new(2, &Config::default(), 5);
    let (memory, key) = region(&mut network, 1, 64, Access::WRITE);
    let op = network.write(0, 1, place(key, 3), pattern(9, 8));
    network.run_until(|network| network.is_complete(0, op));
    assert_eq!(memory.to_vec()[3..11], pattern(9, 8));
}

#[test]
fn write_with_remote_data_raises_one_event_at_the_peer_when_all_of_it_is_there() {
    for seed in 0..20 {
        let mut network = Network::new(2, &Config::default(), seed);
        let (memory, key) = region(&mut network, 1, 100_000, Access::WRITE);
        let data = pattern(2, 90_000);
        let request = WriteRequest {
            data: data.clone(),
            place: place(key, 10),
            remote_data: Some(42),
            ..WriteRequest::default()
        };
        network.post_write(0, 1, request);
        network.some_steps(30);
        network.shrink(0, 1);
        network.run();
        let [(1, completion)] = network.completions.as_slice() else {
            panic!("one event at the peer, none here: {:?}", network.completions)
        };
        let Event::RemoteWrite { data: label, place: at, length } = completion.event else {
            panic!("a remote write")
        };
        assert_eq!((label, at, length), (42, place(key, 10), 90_000));
        assert_eq!(memory.to_vec()[10..90_010], data);
    }
}

#[test]
fn atomics_of_many_peers_add_up_and_each_runs_once_in_its_initiators_order() {
    for seed in 0..30 {
        let mut network = Network::new(4, &Config::default(), seed).with_room(900);
        let (memory, key) = region(&mut network, 0, 8, Access::ATOMIC);
        let ops: Vec<_> = (0..150)
            .map(|number| {
                let from = 1 + number % 3;
                let op = network.add(from, 0, place(key, 0), 1);
                network.some_steps(4);
                if number == 90 {
                    (1..4).for_each(|from| network.shrink(from, 0));
                }
                (from, op)
            })
            .collect();
        network.run();
        let mut seen = Vec::new();
        let mut latest = [None; 4];
        for (from, op) in ops {
            let old = network.old_value(from, op);
            assert!(latest[from] < Some(old), "in order");
            latest[from] = Some(old);
            seen.push(old);
        }
        seen.sort_unstable();
        assert_eq!(seen, Vec::from_iter(0..150), "seed {seed}");
        assert_eq!(u64_of(&memory), 150);
        network.assert_clean();
    }
}

#[test]
fn local_callers_and_peers_share_one_counter() {
    let mut network = Network::new(2, &Config::default(), 1);
    let (memory, key) = region(&mut network, 1, 8, Access::ATOMIC);
    let mut old = Vec::new();
    for _ in 0..100 {
        network.add(0, 1, place(key, 0), 3);
        network.some_steps(5);
        memory.atomic(0, ADD, 1, &5_u64.to_le_bytes(), &mut old).unwrap();
    }
    network.run();
    assert_eq!(u64_of(&memory), 800);
}

#[test]
fn comparing_and_plain_atomics_answer_what_was_asked() {
    let mut network = Network::new(2, &Config::default(), 1);
    let (memory, key) = region(&mut network, 1, 8, Access::ATOMIC);
    memory.write(0, &7_u64.to_le_bytes()).unwrap();
    let swap = Atomic { operator: Operator::CswapEq, datatype: Datatype::U64 };
    let operands = |new: u64, expected: u64| [new.to_le_bytes(), expected.to_le_bytes()].concat();
    let hit = network.atomic(0, 1, place(key, 0), swap, &operands(9, 7));
    let miss = network.atomic(0, 1, place(key, 0), swap, &operands(1, 7));
    let read = Atomic { operator: Operator::Read, datatype: Datatype::U64 };
    let read = network.atomic(0, 1, place(key, 0), read, &[]);
    network.run();
    assert_eq!([hit, miss, read].map(|op| network.old_value(0, op)), [7, 9, 9]);
    let request = AtomicRequest {
        atomic: ADD,
        place: place(key, 0),
        count: 1,
        operands: 1_u64.to_le_bytes().to_vec().into(),
        fetch: false,
        context: 3,
        complete: true,
    };
    let op = network.nodes[0].post_atomic(peer(1), request).unwrap();
    network.drain();
    network.run();
    let completion = network.take(0, op);
    assert!(matches!(completion.event, Event::Atomic { old } if old.is_empty()));
    assert_eq!((completion.context, u64_of(&memory)), (3, 10));
}

#[test]
fn atomics_that_are_none_are_refused_where_they_are_posted() {
    let mut network = Network::new(2, &Config::default(), 1);
    let mut post = |operator, datatype, count, operands: usize| {
        let request = AtomicRequest {
            atomic: Atomic { operator, datatype },
            place: RemotePlace::default(),
            count,
            operands: vec![0; operands].into(),
            fetch: false,
            context: 0,
            complete: true,
        };
        network.nodes[0].post_atomic(peer(1), request).unwrap_err()
    };
    let long_double = post(Operator::Sum, Datatype::LongDouble, 1, 16);
    assert!(matches!(long_double, AtomicRefused::Unsupported(_)));
    let bits = post(Operator::Bor, Datatype::F32, 1, 4);
    assert!(matches!(bits, AtomicRefused::Unsupported(_)));
    let long = post(Operator::Sum, Datatype::U64, 65, 520);
    assert_eq!(long, AtomicRefused::TooLong { bytes: 520 });
    let few = post(Operator::Sum, Datatype::U64, 2, 8);
    assert_eq!(few, AtomicRefused::Operands { wanted: 16, given: 8 });
    network.assert_clean();
}

#[test]
fn bad_claims_fail_at_the_initiator_with_the_cause_and_touch_nothing() {
    for seed in 0..60 {
        let mut network = Network::new(2, &Config::default(), seed);
        network.may_be_empty = true;
        let (memory, key) = region(&mut network, 1, 1_000, Access::WRITE);
        let (_, readable) = region(&mut network, 1, 1_000, Access::READ);
        let big = pattern(1, 30_000);
        let good = network.write(0, 1, place(key, 0), Bytes::from_static(b"good"));
        let cases = [
            (RefusalCause::UnknownKey, network.write(0, 1, place(RKey(1), 0), pattern(1, 8))),
            (RefusalCause::UnknownKey, network.read(0, 1, place(RKey(1), 0), 8)),
            (RefusalCause::UnknownKey, network.add(0, 1, place(RKey(1), 0), 8)),
            (RefusalCause::Access, network.write(0, 1, place(readable, 0), pattern(1, 8))),
            (RefusalCause::Access, network.read(0, 1, place(key, 0), 8)),
            (RefusalCause::Access, network.add(0, 1, place(key, 0), 8)),
            (RefusalCause::Range, network.write(0, 1, place(key, 993), pattern(1, 8))),
            (RefusalCause::Range, network.write(0, 1, place(key, u64::MAX), pattern(1, 8))),
            (RefusalCause::Range, network.write(0, 1, place(key, 0), big)),
            (RefusalCause::Range, network.read(0, 1, place(readable, 1), 1_000)),
        ];
        let also_good = network.write(0, 1, place(key, 996), Bytes::from_static(b"ends"));
        let message = network.send(0, 1, Bytes::from_static(b"beside"), None);
        network.receive(1, None, elastane_message::TagMatch::Untagged, 10);
        if seed % 2 == 1 {
            network.some_steps(30);
            network.shrink(0, 1);
        }
        network.run();
        for (number, (cause, op)) in cases.into_iter().enumerate() {
            let result = network.result(0, op);
            assert_eq!(result, Err(OperationError::Refused(cause)), "case {number}, seed {seed}");
        }
        for op in [good, also_good, message] {
            assert_eq!(network.result(0, op), Ok(()));
        }
        let bytes = memory.to_vec();
        assert_eq!((&bytes[..4], &bytes[996..]), (&b"good"[..], &b"ends"[..]));
        assert!(bytes[4..996].iter().all(|&byte| byte == 0));
        // What follows is numbered after the refused ones and must not wait for them.
        let later = network.add(0, 1, place(key, 0), 1);
        network.run();
        let denied = Err(OperationError::Refused(RefusalCause::Access));
        assert_eq!(network.result(0, later), denied);
        network.completions.clear();
        network.assert_clean();
    }
}

#[test]
fn refused_write_leaves_the_message_of_the_same_number_alone() {
    for seed in 0..20 {
        let mut network = Network::new(2, &Config::default(), seed);
        network.may_be_empty = true;
        let data = pattern(5, 400_000);
        let send = network.send(0, 1, data.clone(), None);
        let write = network.write(0, 1, place(RKey(1), 0), pattern(1, 8));
        let (untagged, length) = (elastane_message::TagMatch::Untagged, data.len());
        let receive = network.receive(1, None, untagged, length);
        network.run();
        assert!(network.received(1, receive) == data);
        assert_eq!(network.result(0, send), Ok(()));
        let refused = Err(OperationError::Refused(RefusalCause::UnknownKey));
        assert_eq!(network.result(0, write), refused);
        network.assert_clean();
    }
}

#[test]
fn write_that_comes_twice_does_not_undo_what_followed_it() {
    let mut network = Network::new(2, &Config::default(), 3).with_room(1_400);
    let (memory, key) = region(&mut network, 1, 1_200, Access::WRITE);
    let op = network.write(0, 1, place(key, 0), pattern(1, 1_200));
    assert!(network.fill(0, 1));
    // The sender takes the datagram back, but it arrives.
    let token = network.flying[0].token.take().unwrap();
    srd::Upper::reclaim(&mut network.nodes[0], crate::network::NOW, peer(1), token);
    network.drain();
    assert!(network.deliver(0));
    assert_eq!(memory.to_vec(), pattern(1, 1_200));
    memory.write(0, &[9; 1_200]).unwrap();
    network.run();
    assert_eq!(network.result(0, op), Ok(()));
    assert_eq!(memory.to_vec(), [9; 1_200]);
    assert_eq!(network.nodes[1].counters().remote_writes, 1);
    network.assert_clean();
}

#[test]
fn revoked_region_fails_what_was_begun_and_is_not_touched_any_more() {
    for seed in 0..40 {
        let mut network = Network::new(2, &Config::default(), seed);
        network.may_be_empty = true;
        let (memory, key) = region(&mut network, 1, 500_000, Access::ALL);
        let read = network.read(0, 1, place(key, 0), 400_000);
        let write = network.write(0, 1, place(key, 0), pattern(1, 400_000));
        network.some_steps(60);
        let done = [read, write].map(|op| network.is_complete(0, op));
        assert!(network.nodes[1].revoke(key));
        assert!(!network.nodes[1].revoke(key));
        network.drain();
        let at_revocation = memory.to_vec();
        network.run();
        for (op, done) in [read, write].into_iter().zip(done) {
            let result = network.result(0, op);
            let refused = Err(OperationError::Refused(RefusalCause::UnknownKey));
            assert!(done || result == refused || result == Ok(()), "{result:?}");
        }
        assert!(memory.to_vec() == at_revocation);
        network.assert_clean();
    }
}

#[test]
fn lost_peer_fails_each_operation_once_and_numbers_begin_anew() {
    for seed in 0..40 {
        let mut network = Network::new(2, &Config::default(), seed);
        let (memory, key) = region(&mut network, 1, 200_000, Access::ALL);
        for round in 0..2 {
            let ops = [
                network.write(0, 1, place(key, 8), pattern(1, 150_000)),
                network.read(0, 1, place(key, 8), 150_000),
                network.add(0, 1, place(key, 0), 1),
                network.add(0, 1, place(key, 0), 1),
                network.write(0, 1, place(key, 8), pattern(2, 10)),
            ];
            if round == 0 {
                network.some_steps(80);
                network.fail(0, 1, PeerError::Restarted);
                network.fail(1, 0, PeerError::Restarted);
                for op in ops {
                    let result = network.result(0, op);
                    let lost = Err(OperationError::Peer(PeerError::Restarted));
                    assert!(result == lost || result == Ok(()), "{result:?}");
                }
                memory.write(0, &[0; 8]).unwrap();
            } else {
                network.run();
                assert!(ops.into_iter().all(|op| network.result(0, op) == Ok(())));
                assert_eq!(u64_of(&memory), 2);
            }
            assert!(network.completions.is_empty());
            network.assert_clean();
        }
    }
}

#[test]
fn small_limits_slow_operations_down_and_stop_none() {
    for seed in 0..30 {
        let config = Config {
            max_operations: 3,
            ahead_bytes: 2_000,
            unexpected_bytes: 2_000,
            unscheduled_bytes: 4 << 10,
            ..Config::default()
        };
        let mut network = Network::new(3, &config, seed).with_room(900);
        let nodes: Vec<_> =
            (0..3).map(|node| region(&mut network, node, 100_000, Access::ALL)).collect();
        let mut waiting = Vec::new();
        let (mut sums, mut posted) = ([0; 3], 0);
        while posted < 120 {
            let from = network.rng.random_range(0..3);
            let to = (from + network.rng.random_range(1..3)) % 3;
            let op = network.post_any(from, to, nodes[to].1, &mut sums[to]);
            network.drain();
            if let Ok(op) = op {
                waiting.push((from, op));
                posted += 1;
            } else {
                network.steps(20);
            }
        }
        network.run();
        for (from, op) in waiting {
            assert_eq!(network.result(from, op), Ok(()));
        }
        for ((memory, _), sum) in nodes.iter().zip(sums) {
            assert_eq!(u64_of(memory), sum, "seed {seed}");
        }
        network.assert_clean();
    }
}

#[test]
fn one_sided_datagram_that_was_turned_away_for_good_is_sent_again() {
    let mut network = Network::new(2, &Config::default(), 3);
    let (memory, key) = region(&mut network, 1, 16, Access::ALL);
    let write = network.write(0, 1, place(key, 8), Bytes::from_static(b"8 bytes."));
    let add = network.add(0, 1, place(key, 0), 5);
    assert!(network.fill(0, 1));
    network.refuse(0);
    network.run();
    assert_eq!(network.result(0, write), Ok(()));
    assert_eq!(network.old_value(0, add), 0);
    assert_eq!(memory.to_vec(), [&5_u64.to_le_bytes()[..], b"8 bytes."].concat());
    network.assert_clean();
}
