//! The three kinds of endpoint over real sockets on the loopback device.
#![forbid(unsafe_code)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    sync::Mutex,
    thread,
    time::Duration,
};

use elastane_fabric::{
    Buffer, Bytes, Clock, DatagramEndpoint, Event, MultiReceiveRequest, OpId, Options, PeerError,
    RdmEndpoint, SharedMemory, Silence, SrdEndpoint, Tag, TagMatch,
};
use message::{Completion, OperationError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// No test waits longer for one thing; each takes milliseconds unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Calls `attempt` until it returns something.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    let began = clock.now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(clock.now().since(began) < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn pair() -> (RdmEndpoint, RdmEndpoint) {
    (
        RdmEndpoint::open(&options()).expect("the loopback device is there"),
        RdmEndpoint::open(&options()).expect("the loopback device is there"),
    )
}

/// The next completion of `at`, while `other` makes progress as well.
fn completion(at: &mut RdmEndpoint, other: &mut RdmEndpoint) -> Completion {
    eventually("completion", || {
        other.progress().expect("the device works");
        at.poll().expect("the device works")
    })
}

/// The bytes of a receive that completed.
fn received(completion: Completion) -> Vec<u8> {
    let Event::Received { buffer, length, .. } = completion.event else { panic!("not a receive") };
    let length = usize::try_from(length).expect("it is in memory");
    buffer.as_slice()[..length].to_vec()
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect::<Vec<_>>().into()
}

fn exchange(near: &mut RdmEndpoint, far: &mut RdmEndpoint, message: &Bytes) {
    let peer = near.peer(far.address()).expect("there is room");
    let buffer = Buffer::zeroed(message.len());
    let receive = far.receive(buffer, None, TagMatch::Untagged, 7).expect("there is room");
    let send = near.send(peer, message.clone(), 8).expect("there is room");
    let arrived = completion(far, near);
    assert_eq!((arrived.op, arrived.context, arrived.result), (receive, 7, Ok(())));
    assert_eq!(received(arrived), *message);
    let sent = completion(near, far);
    assert_eq!((sent.op, sent.context, sent.result), (send, 8, Ok(())));
}

#[test]
fn many_messages_fill_one_buffer_over_udp_and_through_shared_memory() {
    for shared_memory in [SharedMemory::Automatic, SharedMemory::Never] {
        let open = || {
            let options = Options { shared_memory, ..options() };
            RdmEndpoint::open(&options).expect("the loopback device is there")
        };
        let (mut near, mut far) = (open(), open());
        let peer = near.peer(far.address()).expect("there is room");
        let lengths = [1_usize, 0, 300_000, 64, 9_000, 1 << 20];
        let (buffer, tag) = (Buffer::zeroed(lengths.iter().sum::<usize>() + 9), TagMatch::Untagged);
        let request = MultiReceiveRequest { buffer, least: 10, from: None, tag, context: 4 };
        let op = far.multi_receive(request).expect("there is room");
        for length in lengths {
            near.send(peer, pattern(length), 0).expect("there is room");
        }
        let mut end = 0;
        let mut messages: Vec<(u64, Buffer)> = Vec::new();
        let rest = loop {
            let completion = completion(&mut far, &mut near);
            assert_eq!((completion.op, completion.context, completion.result), (op, 4, Ok(())));
            match completion.event {
                Event::Received { offset, buffer, .. } => messages.push((offset, buffer)),
                Event::Released { rest } => break rest,
                other => panic!("a receive, not {other:?}"),
            }
        };
        messages.sort_unstable_by_key(|(offset, buffer)| (*offset, buffer.len()));
        assert_eq!(messages.len(), lengths.len());
        for ((offset, buffer), length) in messages.iter().zip(lengths) {
            assert_eq!((*offset, buffer.as_slice()), (end, &pattern(length)[..]));
            end += length as u64;
        }
        assert_eq!(rest.len(), 9);
        assert_eq!(far.outstanding(), 0);
    }
}

#[test]
fn claimed_messages_are_received_or_discarded_over_udp_and_through_shared_memory() {
    for shared_memory in [SharedMemory::Automatic, SharedMemory::Never] {
        let open = || {
            let options = Options { shared_memory, ..options() };
            RdmEndpoint::open(&options).expect("the loopback device is there")
        };
        let (mut near, mut far) = (open(), open());
        let peer = near.peer(far.address()).expect("there is room");
        let lengths = [64_usize, 1 << 20, 3 << 20, 9_000];
        for (context, length) in (0..).zip(lengths) {
            near.send(peer, pattern(length), context).expect("there is room");
        }
        let mut claims = lengths.map(|length| {
            let (claim, info) = eventually("message", || {
                near.progress().expect("the device works");
                far.progress().expect("the device works");
                far.claim(None, TagMatch::Untagged)
            });
            assert_eq!(info.length, length as u64);
            Some(claim)
        });
        for at in [2, 1, 3, 0] {
            let claim = claims[at].take().expect("each once");
            if at == 2 {
                far.discard_claimed(claim);
                continue;
            }
            let buffer = Buffer::zeroed(lengths[at]);
            let op = far.receive_claimed(claim, buffer, at as u64).expect("there is room");
            let completion = completion(&mut far, &mut near);
            assert_eq!((completion.op, completion.context), (op, at as u64));
            assert_eq!(completion.result, Ok(()));
            assert_eq!(received(completion), pattern(lengths[at]));
        }
        let mut sent = [0, 1, 2, 3].map(|_| {
            let completion = completion(&mut near, &mut far);
            assert_eq!(completion.result, Ok(()));
            completion.context
        });
        sent.sort_unstable();
        assert_eq!(sent, [0, 1, 2, 3]);
        assert_eq!(far.outstanding(), 0);
    }
}

#[test]
fn messages_back_and_forth_arrive_whole() {
    let (mut near, mut far) = pair();
    for round in 0..100 {
        let message = pattern(round * 7);
        exchange(&mut near, &mut far, &message);
        exchange(&mut far, &mut near, &message);
    }
    near.close(PATIENCE).unwrap();
}

#[test]
fn message_of_three_mebibytes_arrives_whole() {
    let (mut near, mut far) = pair();
    exchange(&mut near, &mut far, &pattern(3 << 20));
}

#[test]
fn tagged_message_skips_receives_for_other_tags() {
    let (mut near, mut far) = pair();
    let peer = near.peer(far.address()).expect("there is room");
    for tag in [1, 2] {
        let wanted = TagMatch::Tagged { tag: Tag(tag), ignore: 0 };
        far.receive(Buffer::zeroed(8), None, wanted, tag).unwrap();
    }
    near.send_tagged(peer, Tag(2), "two".into(), 0).unwrap();
    let arrived = completion(&mut far, &mut near);
    assert_eq!(arrived.context, 2);
    assert_eq!(received(arrived), b"two");
}

#[test]
fn message_longer_than_its_buffer_is_truncated_and_says_so() {
    let (mut near, mut far) = pair();
    let peer = near.peer(far.address()).expect("there is room");
    for length in [100, 1 << 20] {
        far.receive(Buffer::zeroed(60), None, TagMatch::Untagged, 0).unwrap();
        let message = pattern(length);
        near.send(peer, message.clone(), 0).unwrap();
        let arrived = completion(&mut far, &mut near);
        let message_length = length as u64;
        assert_eq!(arrived.result, Err(OperationError::Truncated { message_length }));
        assert_eq!(received(arrived), message[..60]);
        assert_eq!(completion(&mut near, &mut far).result, Ok(()));
    }
}

#[test]
fn cancelled_receive_completes_and_gives_its_buffer_back() {
    let (mut near, mut far) = pair();
    let op = far.receive(Buffer::zeroed(33), None, TagMatch::Untagged, 5).unwrap();
    assert!(far.cancel(op));
    let canceled = completion(&mut far, &mut near);
    assert_eq!((canceled.op, canceled.context), (op, 5));
    assert_eq!(canceled.result, Err(OperationError::Canceled));
    let Event::Received { buffer, length: 0, .. } = canceled.event else { panic!() };
    assert_eq!(buffer.as_slice().len(), 33);
    assert!(!far.cancel(op), "an operation that is over");
    exchange(&mut near, &mut far, &pattern(10));
}

#[test]
fn operations_on_a_peer_that_closed_fail_and_say_so() {
    let (mut near, mut far) = pair();
    exchange(&mut near, &mut far, &pattern(10));
    exchange(&mut far, &mut near, &pattern(10));
    let peer = near.peer(far.address()).expect("there is room");
    near.receive(Buffer::zeroed(8), Some(peer), TagMatch::Untagged, 1).unwrap();
    far.close(PATIENCE).unwrap();
    let failed = eventually("failure", || near.poll().expect("the device works"));
    assert_eq!(failed.context, 1);
    assert_eq!(failed.result, Err(OperationError::Peer(PeerError::Closed)));
    assert_eq!(failed.result.unwrap_err().to_string(), "peer closed by the peer");
}

#[test]
fn send_to_a_port_where_nobody_listens_fails_as_unreachable() {
    let mut options = options();
    options.transport.refused_after = Duration::from_millis(200);
    let mut near = RdmEndpoint::open(&options).unwrap();
    let vacant = {
        let far = RdmEndpoint::open(&options).unwrap();
        far.address()
    };
    let peer = near.peer(vacant).unwrap();
    let op = near.send(peer, "anybody?".into(), 3).unwrap();
    let failed = eventually("failure", || near.poll().expect("the device works"));
    assert_eq!((failed.op, failed.context), (op, 3));
    let unreachable = Err(OperationError::Peer(PeerError::Unreachable(Silence::from_millis(0))));
    let kind = |result: &Result<(), OperationError>| match result {
        Err(OperationError::Peer(error)) => Some(std::mem::discriminant(error)),
        _ => None,
    };
    assert_eq!(kind(&failed.result), kind(&unreachable), "{:?}", failed.result);
}

#[test]
fn wait_without_a_completion_returns_when_its_time_is_over() {
    let (mut near, _) = pair();
    assert!(near.wait(Some(Duration::from_millis(20))).unwrap().is_none());
}

fn srd_pair(options: &Options) -> (SrdEndpoint, SrdEndpoint) {
    (
        SrdEndpoint::open(options).expect("the loopback device is there"),
        SrdEndpoint::open(options).expect("the loopback device is there"),
    )
}

fn srd_completion(at: &mut SrdEndpoint, other: &mut SrdEndpoint) -> Completion {
    eventually("completion", || {
        assert!(
            other.poll().expect("the device works").is_none(),
            "a completion at the other side"
        );
        at.poll().expect("the device works")
    })
}

#[test]
fn bare_message_to_a_receive_arrives_once() {
    let (mut near, mut far) = srd_pair(&options());
    let peer = near.peer(far.address()).expect("there is room");
    for length in [near.max_message(peer), 0] {
        let message = pattern(length);
        far.receive(Buffer::zeroed(length), 1).unwrap();
        near.send(peer, message.clone(), 2).unwrap();
        let (mut sent, mut arrived) = (None, None);
        eventually("send and receive", || {
            sent = sent.take().or(near.poll().expect("the device works"));
            arrived = arrived.take().or(far.poll().expect("the device works"));
            (sent.is_some() && arrived.is_some()).then_some(())
        });
        assert_eq!(sent.unwrap().result, Ok(()));
        assert_eq!(received(arrived.unwrap()), message);
    }
}

#[test]
fn bare_message_longer_than_a_datagram_is_refused() {
    let (mut near, mut far) = srd_pair(&options());
    let peer = near.peer(far.address()).expect("there is room");
    let limit = near.max_message(peer);
    near.send(peer, pattern(limit + 1), 0).unwrap();
    let failed = srd_completion(&mut near, &mut far);
    assert_eq!(failed.result, Err(OperationError::TooLong { limit }));
}

#[test]
fn bare_message_without_a_receive_comes_back_when_retries_are_used_up() {
    let mut options = options();
    options.transport.rnr_retries = Some(3);
    let (mut near, mut far) = srd_pair(&options);
    let peer = near.peer(far.address()).expect("there is room");
    let op: OpId = near.send(peer, "too early".into(), 9).unwrap();
    let failed = srd_completion(&mut near, &mut far);
    assert_eq!((failed.op, failed.context), (op, 9));
    assert_eq!(failed.result, Err(OperationError::ReceiverNotReady));
    assert!(near.transport().counters().rx_not_ready >= 4);
}

#[test]
fn unreliable_datagram_arrives_at_a_posted_receive() {
    let open = || DatagramEndpoint::open(&options()).expect("the loopback device is there");
    let (mut near, mut far) = (open(), open());
    let peer = near.peer(far.address()).expect("there is room");
    let message = pattern(near.max_message(peer).min(1_000));
    far.receive(Buffer::zeroed(1_000), 1).unwrap();
    // It may be lost: then it is the application that sends it again.
    let clock = Clock::start();
    let mut sent_at = None;
    let arrived = eventually("datagram", || {
        let now = clock.now();
        if sent_at.is_none_or(|at| now.since(at) > Duration::from_secs(1)) {
            sent_at = Some(now);
            near.send(peer, message.clone(), 2).unwrap();
            assert_eq!(near.poll().expect("the device works").unwrap().context, 2);
        }
        far.poll().expect("the device works")
    });
    assert_eq!(arrived.result, Ok(()));
    assert_eq!(received(arrived), message);
    assert!(near.send(peer, pattern(near.max_message(peer) + 1), 0).is_err());
}

/// Sleeps on the endpoint's descriptor until it has a completion.
fn sleep_until_completion(endpoint: &Mutex<RdmEndpoint>) -> Completion {
    loop {
        let descriptor = {
            let mut endpoint = endpoint.lock().expect("nobody panicked");
            if let Some(completion) = endpoint.poll().expect("the device works") {
                return completion;
            }
            if !endpoint.may_sleep().expect("the device works") {
                continue;
            }
            endpoint.descriptor().expect("made before").try_clone_to_owned().expect("room")
        };
        // Without the lock, so that others can post.
        let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut polled, PollTimeout::from(30_000u16)).expect("poll works");
        assert_eq!(ready, 1, "slept over a completion");
    }
}

#[test]
fn sleepers_on_the_descriptor_miss_nothing() {
    const ROUNDS: u64 = 300;
    let options = options();
    let open = || Mutex::new(RdmEndpoint::open(&options).expect("a free port"));
    let (near, far) = (open(), open());
    let address_of = |side: &Mutex<RdmEndpoint>| side.lock().unwrap().address();
    let peer = near.lock().unwrap().peer(address_of(&far)).unwrap();
    let back = far.lock().unwrap().peer(address_of(&near)).unwrap();
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            for _ in 0..ROUNDS {
                far.lock()
                    .unwrap()
                    .receive(Buffer::zeroed(100_000), Some(back), TagMatch::Untagged, 0)
                    .unwrap();
                let Event::Received { buffer, length, .. } = sleep_until_completion(&far).event
                else {
                    panic!("nothing else was posted")
                };
                let mut answer = buffer.into_vec();
                answer.truncate(usize::try_from(length).unwrap());
                far.lock().unwrap().send(back, answer.into(), 0).unwrap();
                assert_eq!(sleep_until_completion(&far).result, Ok(()));
            }
        });
        for round in 0..ROUNDS {
            let message = pattern(usize::try_from(round * 331).unwrap());
            let buffer = Buffer::zeroed(message.len());
            near.lock().unwrap().receive(buffer, Some(peer), TagMatch::Untagged, 0).unwrap();
            near.lock().unwrap().send(peer, message.clone(), 0).unwrap();
            let both = [sleep_until_completion(&near), sleep_until_completion(&near)];
            for completion in both {
                if let Event::Received { .. } = completion.event {
                    assert_eq!(received(completion), message);
                } else {
                    assert_eq!(completion.result, Ok(()));
                }
            }
        }
        // Its last answer is still to be acknowledged.
        eventually("end of the other side", || {
            near.lock().unwrap().progress().expect("the device works");
            answering.is_finished().then_some(())
        });
    });
}

#[test]
fn send_of_another_thread_does_not_depend_on_the_sleeper() {
    let options = options();
    let near = Mutex::new(RdmEndpoint::open(&options).expect("a free port"));
    let mut far = RdmEndpoint::open(&options).expect("a free port");
    let peer = near.lock().unwrap().peer(far.address()).unwrap();
    far.receive(Buffer::zeroed(8), None, TagMatch::Untagged, 0).unwrap();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleep_until_completion(&near));
        // The sleeper lets go of the lock only to sleep, so this is posted while it does.
        eventually("asleep", || near.lock().unwrap().may_sleep().unwrap().then_some(()));
        near.lock().unwrap().send(peer, "wake up".into(), 0).unwrap();
        eventually("arrival", || far.poll().expect("the device works"));
        eventually("sleeper woken", || {
            far.progress().expect("the device works");
            sleeper.is_finished().then_some(())
        });
        assert_eq!(sleeper.join().unwrap().result, Ok(()));
    });
}

#[test]
fn what_a_peer_took_before_it_closed_is_sent() {
    for _ in 0..20 {
        let (mut near, mut far) = pair();
        let to = near.peer(far.address()).expect("there is room");
        // Leaves by UDP, as there is no link yet.
        near.send(to, Bytes::from_static(b"last"), 1).expect("there is room");
        far.receive(Buffer::zeroed(4), None, TagMatch::Untagged, 2).expect("there is room");
        eventually("message", || far.poll().expect("the device works"));
        // Now there is one, and no acknowledgement yet, or hardly ever.
        near.progress().expect("the device works");
        far.close(Duration::ZERO).expect("nothing is on its way");
        let sent = eventually("completion", || near.poll().expect("the device works"));
        assert_eq!((sent.context, sent.result), (1, Ok(())));
    }
}
