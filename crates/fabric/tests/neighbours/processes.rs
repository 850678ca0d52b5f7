//! Several processes: messages of all sizes, kill -9, a restart, everybody with everybody.

use std::{net::SocketAddr, time::Duration};

use elastane_fabric::{Options, PeerError, PeerId, RdmEndpoint};
use message::OperationError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    LONGEST, Other, PATIENCE, eventually, files_of, is_local, open, options, part, pattern, post,
    receive, receive_from, received, wait, warm_up,
};

/// Says hello to the first word and returns every message to its sender until an empty one comes.
/// Listens at the second word.
fn echo(words: &[String]) {
    let near: SocketAddr = words[0].parse().unwrap();
    let listen = words[1].parse().unwrap();
    let mut far = RdmEndpoint::open(&Options { listen, ..options() }).unwrap();
    let peer = far.peer(near).unwrap();
    far.send(peer, "hello".into(), 0).unwrap();
    loop {
        let (peer, message) = receive(&mut far);
        if message.is_empty() {
            break;
        }
        far.send(peer, message.into(), 0).unwrap();
    }
    far.close(PATIENCE).unwrap();
}

const ANY: &str = "127.0.0.1:0";

/// Starts a process that returns messages, and waits until it is there.
fn start_echo(test: &str, near: &mut RdmEndpoint, listen: &str) -> (Other, PeerId) {
    let other = Other::start(test, &format!("{} {listen}", near.address()));
    let (peer, hello) = receive(near);
    assert_eq!(hello, b"hello");
    (other, peer)
}

#[test]
fn messages_of_all_sizes_cross_processes_and_nothing_is_left() {
    if let Some(words) = part() {
        return echo(&words);
    }
    let test = "processes::messages_of_all_sizes_cross_processes_and_nothing_is_left";
    let mut near = open();
    let (mut other, peer) = start_echo(test, &mut near, ANY);
    warm_up(&mut near, peer);
    let before = near.transport().counters().tx_pkts;
    for (seed, length) in [1, 8, 104, 105, 5_000, 32_768, 70_000, 3 << 20].into_iter().enumerate() {
        let message = pattern(length, seed);
        near.send(peer, message.clone(), 0).unwrap();
        assert_eq!(receive(&mut near), (peer, message.to_vec()));
    }
    assert_eq!(near.transport().counters().tx_pkts, before, "a message went by UDP");
    near.send(peer, "".into(), 0).unwrap();
    other.ended_well();
    let (here, there) = (near.address(), near.peer_address(peer));
    assert_eq!(files_of(here), 1, "the announcement");
    near.close(PATIENCE).unwrap();
    assert_eq!((files_of(here), files_of(there)), (0, 0));
}

/// The next message, slept for on the descriptor.
fn sleep_for_message(endpoint: &mut RdmEndpoint) -> Vec<u8> {
    post(endpoint, None, LONGEST);
    loop {
        while let Some(completion) = endpoint.poll().unwrap() {
            if let Some((_, message)) = received(completion) {
                return message;
            }
        }
        if endpoint.may_sleep().unwrap() {
            let mut polled = [PollFd::new(endpoint.descriptor().unwrap(), PollFlags::POLLIN)];
            let most = PollTimeout::try_from(PATIENCE).unwrap();
            assert!(poll(&mut polled, most).unwrap() > 0, "nothing woke the sleeper");
        }
    }
}

/// The next message, slept for without spinning first.
fn wait_for_message(endpoint: &mut RdmEndpoint) -> Vec<u8> {
    receive(endpoint).1
}

/// Two processes send one message back and forth, and sleep until it comes.
fn sleep_in_turns(test: &str, next: fn(&mut RdmEndpoint) -> Vec<u8>) {
    let sleepy = Options { spin: Duration::ZERO, ..options() };
    if let Some(words) = part() {
        let mut far = RdmEndpoint::open(&sleepy).unwrap();
        let peer = far.peer(words[0].parse().unwrap()).unwrap();
        far.send(peer, "hello".into(), 0).unwrap();
        loop {
            let message = next(&mut far);
            if message.is_empty() {
                return far.close(PATIENCE).unwrap();
            }
            far.send(peer, message.into(), 0).unwrap();
        }
    }
    let mut near = RdmEndpoint::open(&sleepy).unwrap();
    let (mut other, peer) = start_echo(test, &mut near, ANY);
    warm_up(&mut near, peer);
    // A wake-up that is lost costs the 100 ms after which a sleeper looks whether its peers live;
    // if all were, this would take minutes.
    let clock = near.clock();
    let began = clock.now();
    for round in 0..2_000 {
        let message = pattern(40, round);
        near.send(peer, message.clone(), 0).unwrap();
        assert_eq!(next(&mut near), message);
        assert!(clock.now().since(began) < PATIENCE, "sleepers are not woken");
    }
    near.send(peer, "".into(), 0).unwrap();
    other.ended_well();
}

#[test]
fn processes_that_sleep_are_woken() {
    sleep_in_turns("processes::processes_that_sleep_are_woken", wait_for_message);
}

#[test]
fn processes_that_sleep_on_their_descriptors_are_woken() {
    let test = "processes::processes_that_sleep_on_their_descriptors_are_woken";
    sleep_in_turns(test, sleep_for_message);
}

#[test]
fn killed_process_fails_what_it_owes_and_others_go_on() {
    if let Some(words) = part() {
        if words.len() == 2 {
            return echo(&words);
        }
        // Uses the link, then neither takes nor answers anything until it is killed.
        let mut far = open();
        let near = far.peer(words[0].parse().unwrap()).unwrap();
        far.send(near, "hello".into(), 0).unwrap();
        let (peer, message) = eventually("link", || {
            let (peer, message) = receive(&mut far);
            if !is_local(&far, peer) {
                far.send(peer, message.into(), 0).unwrap();
                return None;
            }
            Some((peer, message))
        });
        far.send(peer, message.into(), 0).unwrap();
        eventually("acknowledgement", || (wait(&mut far).result == Ok(())).then_some(()));
        loop {
            std::thread::park();
        }
    }
    let test = "processes::killed_process_fails_what_it_owes_and_others_go_on";
    let mut near = open();
    let (_alive, alive) = start_echo(test, &mut near, ANY);
    let mut mute = Other::start(test, &format!("{} and mute", near.address()));
    let (peer, _) = receive(&mut near);
    warm_up(&mut near, alive);
    warm_up(&mut near, peer);
    // A large message and many small ones lie in the ring and beyond it.
    let mut owed: Vec<u64> = (1..=600).collect();
    near.send(peer, pattern(1 << 20, 0), 1).unwrap();
    for &context in &owed[1..] {
        near.send(peer, pattern(8, 0), context).unwrap();
    }
    near.receive(elastane_fabric::Buffer::zeroed(8), Some(peer), crate::TagMatch::Untagged, 601)
        .unwrap();
    owed.push(601);
    mute.kill();
    while !owed.is_empty() {
        let completion = wait(&mut near);
        if completion.context == 0 {
            // A send of the warm-up.
            assert_eq!(completion.result, Ok(()));
            continue;
        }
        let at = owed.iter().position(|&context| context == completion.context).expect("owed once");
        owed.remove(at);
        assert_eq!(completion.result, Err(OperationError::Peer(PeerError::Exited)));
        assert_eq!(completion.peer, Some(peer));
    }
    for round in 0..100 {
        near.send(alive, pattern(3_000, round), 0).unwrap();
        assert_eq!(receive(&mut near), (alive, pattern(3_000, round).to_vec()));
    }
    assert!(is_local(&near, alive));
    // What the killed process has left goes when the next endpoint is announced.
    let dead = near.peer_address(peer);
    let next = open();
    assert_eq!(files_of(dead), 0);
    drop(next);
}

#[test]
fn process_that_restarts_at_its_address_is_linked_anew() {
    if let Some(words) = part() {
        return echo(&words);
    }
    let test = "processes::process_that_restarts_at_its_address_is_linked_anew";
    let mut near = open();
    let (mut other, peer) = start_echo(test, &mut near, ANY);
    let listen = near.peer_address(peer).to_string();
    for _ in 0..3 {
        warm_up(&mut near, peer);
        other.kill();
        // It says hello as somebody who was never heard of: a message by UDP, while the link to
        // its past self is there.
        let (next, again) = start_echo(test, &mut near, &listen);
        assert_eq!(again, peer, "the same address is the same peer");
        other = next;
    }
    warm_up(&mut near, peer);
}

/// How many messages each process of the mesh sends to each other.
const MESH_MESSAGES: usize = 2_000;

/// Exchanges numbered messages with everybody. All must come to use shared memory.
fn exchange(endpoint: &mut RdmEndpoint, peers: &[PeerId]) {
    let length = |number: usize| 8 + number * 13 % 1_500;
    for _ in 0..64 {
        post(endpoint, None, 2_048);
    }
    let (mut sent, mut acknowledged) = (0, 0);
    let mut next = vec![0; peers.len()];
    let mut local = vec![false; peers.len()];
    while next.iter().any(|&next| next < MESH_MESSAGES)
        || acknowledged < peers.len() * MESH_MESSAGES
    {
        while sent < MESH_MESSAGES && sent * peers.len() < acknowledged + 64 {
            for &peer in peers {
                let mut message = pattern(length(sent), sent).to_vec();
                message[..8].copy_from_slice(&(sent as u64).to_le_bytes());
                endpoint.send(peer, message.into(), 0).unwrap();
            }
            sent += 1;
        }
        match received(wait(endpoint)) {
            None => acknowledged += 1,
            Some((from, message)) => {
                let from = peers.iter().position(|&peer| peer == from).expect("a member");
                let number = next[from];
                assert_eq!(message[..8], (number as u64).to_le_bytes(), "out of order");
                assert_eq!(message[8..], pattern(length(number), number)[8..]);
                next[from] += 1;
                local[from] |= is_local(endpoint, peers[from]);
                post(endpoint, None, 2_048);
            }
        }
    }
    assert!(local.iter().all(|&local| local), "{local:?}");
}

#[test]
fn four_processes_exchange_messages_with_each_other_in_order() {
    const OTHERS: usize = 3;
    if let Some(words) = part() {
        let mut here = open();
        let first = here.peer(words[0].parse().unwrap()).unwrap();
        here.send(first, "here".into(), 0).unwrap();
        // Others may have begun already.
        let (_, all) = receive_from(&mut here, Some(first));
        let all = String::from_utf8(all).unwrap();
        let mut peers = vec![first];
        for address in all.split(' ').map(|address| address.parse().unwrap()) {
            if address != here.address() {
                peers.push(here.peer(address).unwrap());
            }
        }
        exchange(&mut here, &peers);
        return here.close(PATIENCE).unwrap();
    }
    let test = "processes::four_processes_exchange_messages_with_each_other_in_order";
    let mut here = open();
    let mut others: Vec<_> =
        (0..OTHERS).map(|_| Other::start(test, &here.address().to_string())).collect();
    let peers: Vec<_> = others.iter().map(|_| receive(&mut here).0).collect();
    let all: Vec<_> = peers.iter().map(|&peer| here.peer_address(peer).to_string()).collect();
    for &peer in &peers {
        here.send(peer, all.join(" ").into(), 0).unwrap();
    }
    for _ in &peers {
        wait(&mut here);
    }
    exchange(&mut here, &peers);
    for other in &mut others {
        other.ended_well();
    }
}
