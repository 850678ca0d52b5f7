//! Writes, reads and atomics on memory of a peer, over real sockets on the loopback device.
#![forbid(unsafe_code)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use elastane_fabric::{
    Access, Atomic, AtomicRequest, Buffer, Bytes, Clock, Completion, Datatype, Event, KeyTaken,
    OperationError, Operator, Options, Order, RKey, RdmEndpoint, RefusalCause, Region, RemotePlace,
    SharedMemory, TagMatch, WriteRequest, new_regions,
};

/// No test waits longer for one thing; each takes milliseconds unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const ADD: Atomic = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };

fn open() -> RdmEndpoint {
    open_with(SharedMemory::Automatic)
}

fn open_with(shared_memory: SharedMemory) -> RdmEndpoint {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options { shared_memory, ..Options::listen(here) };
    RdmEndpoint::open(&options).expect("the loopback device is there")
}

/// The next completion of `at`, while `other` makes progress as well.
fn completion(at: &mut RdmEndpoint, other: &mut RdmEndpoint) -> Completion {
    let clock = Clock::start();
    let began = clock.now();
    loop {
        other.progress().expect("the device works");
        if let Some(completion) = at.poll().expect("the device works") {
            return completion;
        }
        assert!(clock.now().since(began) < PATIENCE, "no completion within {PATIENCE:?}");
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

fn count(place: RemotePlace) -> AtomicRequest {
    AtomicRequest {
        atomic: ADD,
        place,
        count: 1,
        operands: Bytes::copy_from_slice(&1_u64.to_le_bytes()),
        fetch: true,
        context: 0,
        complete: true,
    }
}

#[test]
fn message_behind_ordered_writes_finds_them_placed_and_what_waits_can_be_cancelled() {
    for shared_memory in [SharedMemory::Automatic, SharedMemory::Never] {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut options = Options { shared_memory, ..Options::listen(here) };
        options.messages.order = Order::SEND_AFTER_WRITE;
        let mut near = RdmEndpoint::open(&options).expect("the loopback device is there");
        let mut far = open_with(shared_memory);
        let peer = near.peer(far.address()).expect("there is room");
        let memory = Region::zeroed(1 << 20);
        let place = RemotePlace { key: far.register(memory.clone(), Access::ALL), offset: 0 };
        for round in 1..=5_u8 {
            let data = Bytes::from(vec![round; 1 << 20]);
            near.write(peer, place, data.clone(), 0).expect("there is room");
            near.send(peer, Bytes::new(), 0).expect("there is room");
            let late = near.write(peer, place, Bytes::from(vec![99]), 0).expect("there is room");
            assert!(near.cancel(late), "it waits behind the message");
            let buffer = Buffer::zeroed(0);
            far.receive(buffer, None, TagMatch::Untagged, 0).expect("there is room");
            let heard = completion(&mut far, &mut near);
            assert!(matches!(heard.event, Event::Received { .. }));
            assert_eq!(memory.to_vec(), data);
            let mut ends: Vec<_> =
                (0..3).map(|_| completion(&mut near, &mut far).result.is_ok()).collect();
            ends.sort_unstable();
            assert_eq!(ends, [false, true, true]);
        }
    }
}

#[test]
fn region_of_a_domain_is_reached_through_all_its_endpoints_until_one_takes_it_back() {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let regions = new_regions().expect("there is randomness");
    let options = Options { regions: Some(regions), ..Options::listen(here) };
    let mut near = open();
    let mut doors: Vec<_> = (0..2)
        .map(|_| RdmEndpoint::open(&options).expect("the loopback device is there"))
        .collect();
    let memory = Region::from(pattern(8 << 20));
    doors[0].register_as(RKey(7), memory.clone(), Access::ALL).expect("the key is free");
    let taken = doors[1].register_as(RKey(7), memory.clone(), Access::ALL);
    assert_eq!(taken, Err(KeyTaken(7)));
    let place = RemotePlace { key: RKey(7), offset: 0 };
    for door in &mut doors {
        let peer = near.peer(door.address()).expect("there is room");
        near.read(peer, place, Buffer::zeroed(100), 0).expect("there is room");
        let Event::Read { buffer } = completion(&mut near, door).event else { panic!("a read") };
        assert_eq!(buffer.as_slice(), &pattern(100)[..]);
    }
    // One is still being read from when the other takes the region back.
    let peer = near.peer(doors[1].address()).expect("there is room");
    near.read(peer, place, Buffer::zeroed(8 << 20), 0).expect("there is room");
    while doors[1].message_counters().remote_reads < 2 {
        near.progress().expect("the device works");
        doors[1].progress().expect("the device works");
    }
    assert!(doors[0].revoke(RKey(7)));
    memory.write(0, &vec![0; 8 << 20]).expect("inside");
    let refused = completion(&mut near, &mut doors[1]).result;
    assert_eq!(refused, Err(OperationError::Refused(RefusalCause::UnknownKey)));
    assert!(!doors[1].revoke(RKey(7)));
}

#[test]
fn what_is_written_is_in_the_region_and_is_read_back() {
    write_and_read(SharedMemory::Automatic);
    let near = write_and_read(SharedMemory::Never);
    // Most of a long read is received where it belongs, without a copy.
    assert!(near.message_counters().landing_hits > 0, "{:?}", near.message_counters());
    // What lands must be taken: with a checksum over the payload it would be dropped as damaged.
    assert_eq!(near.transport().counters().rx_malformed, 0);
}

/// Writes and reads messages of many lengths. Returns the side that did.
fn write_and_read(shared_memory: SharedMemory) -> RdmEndpoint {
    let (mut near, mut far) = (open_with(shared_memory), open_with(shared_memory));
    let peer = near.peer(far.address()).expect("there is room");
    let memory = Region::zeroed(5 << 20);
    let key = far.register(memory.clone(), Access::READ | Access::WRITE);
    for length in [0, 1, 64, 1_500, 70_000, 4 << 20] {
        let place = RemotePlace { key, offset: 123 };
        let data = pattern(length);
        near.write(peer, place, data.clone().into(), 5).expect("there is room");
        let written = completion(&mut near, &mut far);
        assert!(matches!(written.event, Event::Written), "{written:?}");
        assert_eq!((written.context, written.result), (5, Ok(())));
        assert!(memory.to_vec()[123..123 + length] == data);
        near.read(peer, place, Buffer::zeroed(length), 6).expect("there is room");
        let read = completion(&mut near, &mut far);
        assert_eq!((read.context, read.result), (6, Ok(())));
        let Event::Read { buffer } = read.event else { panic!("a read") };
        assert!(buffer.as_slice() == data);
    }
    near
}

#[test]
fn injected_write_reports_nothing_here_and_its_data_there() {
    let (mut near, mut far) = (open(), open());
    let peer = near.peer(far.address()).expect("there is room");
    let memory = Region::zeroed(16);
    let place = RemotePlace { key: far.register(memory.clone(), Access::WRITE), offset: 0 };
    near.inject_write(peer, place, b"quiet").expect("there is room");
    let data = Bytes::from_static(b"loud");
    let request = WriteRequest { data, place, remote_data: Some(77), ..WriteRequest::default() };
    near.post_write(peer, request).expect("there is room");
    let event = completion(&mut far, &mut near).event;
    assert!(matches!(event, Event::RemoteWrite { data: 77, length: 4, .. }), "{event:?}");
    assert_eq!(&memory.to_vec()[..5], b"loudt");
    let clock = Clock::start();
    let began = clock.now();
    while near.outstanding() > 0 {
        far.progress().expect("the device works");
        assert!(near.poll().expect("the device works").is_none());
        assert!(clock.now().since(began) < PATIENCE, "no acknowledgement within {PATIENCE:?}");
    }
    assert_eq!(near.operations().writes.completed, 2);
}

#[test]
fn bad_key_right_and_range_are_errors_that_say_which() {
    let (mut near, mut far) = (open(), open());
    let peer = near.peer(far.address()).expect("there is room");
    let memory = Region::zeroed(16);
    let key = far.register(memory.clone(), Access::WRITE);
    let cases = [
        (RKey(key.0 ^ 1), 0, RefusalCause::UnknownKey),
        (key, 9, RefusalCause::Range),
        (key, u64::MAX, RefusalCause::Range),
    ];
    for (key, offset, cause) in cases {
        let data = Bytes::from_static(b"8 bytes.");
        near.write(peer, RemotePlace { key, offset }, data, 0).expect("there is room");
        let refused = completion(&mut near, &mut far);
        assert_eq!(refused.result, Err(OperationError::Refused(cause)));
    }
    let place = RemotePlace { key, offset: 0 };
    near.read(peer, place, Buffer::zeroed(3), 0).expect("there is room");
    let refused = completion(&mut near, &mut far).result;
    assert_eq!(refused, Err(OperationError::Refused(RefusalCause::Access)));
    assert!(far.revoke(key));
    near.atomic(peer, count(place)).expect("there is room");
    let refused = completion(&mut near, &mut far).result;
    assert_eq!(refused, Err(OperationError::Refused(RefusalCause::UnknownKey)));
    assert_eq!(memory.to_vec(), [0; 16]);
    let operations = near.operations();
    assert_eq!((operations.writes.failed, operations.reads.failed), (3, 1));
    let atomics = operations.all_atomics();
    assert_eq!((atomics.failed, atomics.completed), (1, 0));
}

#[test]
fn counts_of_two_peers_and_of_the_owner_add_up() {
    let mut owner = open();
    let memory = Region::zeroed(8);
    let place = RemotePlace { key: owner.register(memory.clone(), Access::ATOMIC), offset: 0 };
    let address = owner.address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut endpoint = open();
                    let peer = endpoint.peer(address).expect("there is room");
                    for _ in 0..300 {
                        endpoint.atomic(peer, count(place)).expect("there is room");
                        let counted = endpoint.wait(Some(PATIENCE)).expect("the device works");
                        assert_eq!(counted.expect("in time").result, Ok(()));
                    }
                })
            })
            .collect();
        let over = &over;
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                owner.progress().expect("the device works");
            }
        });
        let mut old = Vec::new();
        for _ in 0..300 {
            memory.atomic(0, ADD, 1, &1_u64.to_le_bytes(), &mut old).expect("inside");
        }
        let ends: Vec<_> = peers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
    assert_eq!(memory.to_vec(), 900_u64.to_le_bytes());
}
