//! Large messages of processes that do something else: copied out of their memory.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use elastane_fabric::{
    CrossMemory, Event, Options, PeerCopies, PeerError, PeerId, RdmEndpoint, Unreadable,
};
use message::OperationError;

use crate::{
    Other, PATIENCE, eventually, is_local, open, options, part, pattern, post, receive, received,
    wait, warm_up,
};

const LENGTH: usize = (3 << 20) + 5;

/// Returns messages until there is a link and a message says so. Then posts a message of `LENGTH`
/// bytes, says so over TCP, and touches the endpoint no more before it is answered there.
fn lend(words: &[String]) {
    let lender = Options { cross_memory: CrossMemory::Declared, ..options() };
    let mut far = RdmEndpoint::open(&lender).unwrap();
    let mut aside = TcpStream::connect(&words[1]).unwrap();
    let peer = far.peer(words[0].parse().unwrap()).unwrap();
    far.send(peer, "hello".into(), 0).unwrap();
    loop {
        let (_, message) = receive(&mut far);
        if message == b"lend" {
            break;
        }
        far.send(peer, message.into(), 0).unwrap();
    }
    assert!(is_local(&far, peer));
    far.send(peer, pattern(LENGTH, 9), 7).unwrap();
    aside.write_all(b"!").unwrap();
    aside.read_exact(&mut [0]).unwrap();
    eventually("completion", || {
        let completion = wait(&mut far);
        assert_eq!(completion.result, Ok(()));
        (completion.context == 7).then_some(())
    });
    assert_eq!(far.message_counters().copied_bytes, 0);
    far.close(PATIENCE).unwrap();
}

/// A process that has lent a message, what is said with it aside, and whether it can be copied.
struct Lender {
    other: Other,
    aside: TcpStream,
    near: RdmEndpoint,
    peer: PeerId,
    copies: bool,
}

fn start_lender(test: &str, cross_memory: CrossMemory) -> Lender {
    let mut near = RdmEndpoint::open(&Options { cross_memory, ..options() }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let part = format!("{} {}", near.address(), listener.local_addr().unwrap());
    let other = Other::start(test, &part);
    let (mut aside, _) = listener.accept().unwrap();
    aside.set_read_timeout(Some(PATIENCE)).unwrap();
    let (peer, hello) = receive(&mut near);
    assert_eq!(hello, b"hello");
    warm_up(&mut near, peer);
    near.send(peer, "lend".into(), 0).unwrap();
    eventually("acknowledgement", || {
        // Until what the sends before it came to is taken as well.
        (near.poll().unwrap().is_none() && near.outstanding() == 0).then_some(())
    });
    aside.read_exact(&mut [0]).unwrap();
    let copies = matches!(near.copies_from(peer), Some(PeerCopies::CrossMemory { .. }));
    Lender { other, aside, near, peer, copies }
}

impl Lender {
    /// Whether this machine lets the test do what it is about.
    fn can_copy(&self) -> bool {
        // A lender has declared itself readable, so nothing but a missing call stands in the way.
        let may = !matches!(io::shm::cross_memory(), Err(io::shm::CrossMemoryOff::Call(_)));
        assert_eq!(self.copies, may, "{:?}", self.near.copies_from(self.peer));
        may
    }
}

#[test]
fn message_of_a_process_that_computes_is_received_whole_meanwhile() {
    if let Some(words) = part() {
        return lend(&words);
    }
    let test = "loans::message_of_a_process_that_computes_is_received_whole_meanwhile";
    let mut lender = start_lender(test, CrossMemory::WherePermitted);
    if !lender.can_copy() {
        return;
    }
    post(&mut lender.near, None, LENGTH);
    // The other process does nothing for it.
    let message = eventually("message", || received(wait(&mut lender.near)));
    assert_eq!(message, (lender.peer, pattern(LENGTH, 9).to_vec()));
    let counters = lender.near.message_counters();
    assert_eq!(counters.copied_messages, 1);
    assert!(counters.copied_bytes > LENGTH as u64 / 2, "{counters:?}");
    lender.aside.write_all(b"!").unwrap();
    eventually("end", || {
        lender.near.poll().unwrap();
        lender.other.0.try_wait().unwrap()
    });
    lender.other.ended_well();
}

#[test]
fn process_killed_after_it_lent_fails_its_message_and_delivers_nothing() {
    if let Some(words) = part() {
        return lend(&words);
    }
    let test = "loans::process_killed_after_it_lent_fails_its_message_and_delivers_nothing";
    let mut lender = start_lender(test, CrossMemory::WherePermitted);
    if !lender.can_copy() {
        return;
    }
    lender.other.kill();
    post(&mut lender.near, None, LENGTH);
    let failed = wait(&mut lender.near);
    assert!(matches!(failed.event, Event::Received { length: 0, .. }), "{failed:.400?}");
    assert_eq!(failed.result, Err(OperationError::Peer(PeerError::Exited)));
    assert_eq!(lender.near.message_counters().copied_bytes, 0);
}

#[test]
fn receiver_that_may_not_copy_gets_the_message_when_its_sender_sends_it() {
    if let Some(words) = part() {
        return lend(&words);
    }
    let test = "loans::receiver_that_may_not_copy_gets_the_message_when_its_sender_sends_it";
    let mut lender = start_lender(test, CrossMemory::Never);
    assert_eq!(lender.near.copies_from(lender.peer), Some(PeerCopies::Rings(None)));
    post(&mut lender.near, None, LENGTH);
    lender.aside.write_all(b"!").unwrap();
    let message = eventually("message", || received(wait(&mut lender.near)));
    assert_eq!(message, (lender.peer, pattern(LENGTH, 9).to_vec()));
    assert_eq!(lender.near.message_counters().copied_bytes, 0);
    eventually("end", || {
        lender.near.poll().unwrap();
        lender.other.0.try_wait().unwrap()
    });
    lender.other.ended_well();
}

#[test]
fn endpoints_of_one_process_use_the_rings() {
    let (mut near, mut far) = (open(), open());
    let peer = near.peer(far.address()).unwrap();
    eventually("link", || {
        near.send(peer, "hello".into(), 0).unwrap();
        post(&mut far, None, 100);
        eventually("message", || {
            near.poll().unwrap();
            far.poll().unwrap().and_then(received)
        });
        is_local(&near, peer).then_some(())
    });
    let expected = PeerCopies::Rings(Some(Unreadable::SameProcess));
    assert_eq!(near.copies_from(peer), Some(expected));
}
