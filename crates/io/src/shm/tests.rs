//! Announcing, offering and linking, in a directory of its own.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;

use super::{Answer, Link, Loan, Presence, Received, Unavailable, Unreadable};

fn directory() -> TempDir {
    tempfile::tempdir_in(super::presence::DIRECTORY).expect("there is shared memory")
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn announce(directory: &Path, address: SocketAddr) -> Presence {
    Presence::announce_in(directory, address, address.port().into()).expect("there is room")
}

fn names(directory: &Path) -> usize {
    fs::read_dir(directory).expect("it is there").count()
}

/// A link from `one` to `other`, and its other end.
fn link(one: &mut Presence, other: &mut Presence, to: SocketAddr) -> (Link, Link) {
    assert!(!other.has_requests());
    let mut offer = one.offer(to, 11).expect("there is room");
    assert!(!offer.has_news());
    assert!(other.has_requests());
    let request = other.take_requests().pop().expect("the request");
    assert!(!other.has_requests());
    assert_eq!(request.connid, 11);
    let far = request.accept(22).expect("it lives");
    assert!(offer.has_news());
    let Some(Answer::Accepted(near, 22)) = offer.poll() else { panic!("not accepted") };
    (*near, far)
}

fn is(received: &Received<'_>, expected: &[u8]) -> bool {
    matches!(received, Received::Record(bytes) if *bytes == expected)
}

#[test]
fn two_endpoints_link_exchange_records_and_leave_nothing() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), at(2));
    let (mut near, mut far) = link(&mut one, &mut other, at(2));
    assert_eq!(names(directory.path()), 2, "the link has no name any more");
    for length in [0, 8, 120, 121, Link::MAX_RECORD] {
        let tail = vec![5; length];
        assert!(near.send(&[], &tail));
        assert!(far.has_news());
        assert_eq!(far.receive(|got| is(&got, &tail)), Ok(true));
        assert!(far.release());
        assert!(near.has_news());
        assert_eq!(near.collect(|refused| assert!(refused.is_none())), Ok(1));
        assert!(!far.has_news() && !near.has_news());
    }
    assert!(far.send(b"ba", b"ck"));
    assert_eq!(near.receive(|got| is(&got, b"back")), Ok(true));
    assert!(near.peer_lives() && far.peer_lives());
    drop((one, other));
    assert_eq!(names(directory.path()), 0);
}

#[test]
fn closed_link_gives_what_was_sent_before_and_is_known_to_be_closed() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), at(2));
    let (mut near, mut far) = link(&mut one, &mut other, at(2));
    assert!(near.send(b"last", b""));
    assert!(!far.peer_has_closed());
    drop(near);
    assert!(far.peer_has_closed());
    assert!(!far.peer_lives(), "its lock is gone as when it is killed");
    assert_eq!(far.receive(|got| is(&got, b"last")), Ok(true));
}

#[test]
fn loan_crosses_a_link_in_its_order_and_each_has_a_seal_of_its_own() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), at(2));
    let (mut near, mut far) = link(&mut one, &mut other, at(2));
    let seals = [near.next_seal(), near.next_seal(), far.next_seal(), far.next_seal()];
    assert!(seals.iter().all(|seal| seals.iter().filter(|other| *other == seal).count() == 1));
    let loan = Loan { name: 3, address: 4096, length: 5, seal_address: 8, seal: seals[0] };
    assert!(near.send(b"before", b"") && near.lend(&loan) && near.send(b"after", b""));
    assert_eq!(far.receive(|got| is(&got, b"before")), Ok(true));
    assert_eq!(far.receive(|got| matches!(got, Received::Loan(came) if came == loan)), Ok(true));
    assert_eq!(far.receive(|got| is(&got, b"after")), Ok(true));
    far.release();
    assert_eq!(near.collect(|refused| assert!(refused.is_none())), Ok(3));
    // Both ends are in this process, whose memory is not read.
    assert!(!far.peer_reads() && !near.peer_reads());
    assert_eq!(near.try_other_memory(), Err(Unreadable::SameProcess));
    assert!(!far.peer_reads());
    assert!(far.copy_loan(&loan, 0, &mut [0; 5]).is_err());
}

#[test]
fn sleeper_is_woken_once() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), at(2));
    let (mut near, far) = link(&mut one, &mut other, at(2));
    assert!(near.send(b"a", b""));
    assert!(!near.must_wake_peer());
    far.announce_sleep();
    assert!(near.must_wake_peer());
    assert!(!near.must_wake_peer());
    far.announce_sleep();
    far.end_sleep();
    assert!(!near.must_wake_peer());
}

#[test]
fn offer_withdrawn_or_refused_leaves_nothing() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), at(2));
    drop(one.offer(at(2), 1).expect("there is room"));
    assert!(other.take_requests().is_empty());
    let mut offer = one.offer(at(2), 1).expect("there is room");
    other.take_requests().pop().expect("the request").refuse();
    assert!(matches!(offer.poll(), Some(Answer::Refused)));
    assert_eq!(names(directory.path()), 2);
}

#[test]
fn address_without_announcement_is_not_here() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    assert!(matches!(one.offer(at(2), 1), Err(Unavailable::NotAnnounced)));
    // A block reserved for documentation.
    let elsewhere = SocketAddr::from(([203, 0, 113, 7], 2));
    assert!(matches!(one.offer(elsewhere, 1), Err(Unavailable::OtherHost)));
}

#[test]
fn wildcard_answers_for_addresses_of_this_host_only() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut other = announce(directory.path(), SocketAddr::from(([0, 0, 0, 0], 2)));
    let _links = link(&mut one, &mut other, at(2));
    let elsewhere = SocketAddr::from(([203, 0, 113, 7], 2));
    assert!(matches!(one.offer(elsewhere, 1), Err(Unavailable::OtherHost)));
    // And it calls from the address it calls.
    let _offer = other.offer(at(1), 1).expect("there is room");
    assert_eq!(one.take_requests()[0].address, at(2));
}

#[test]
fn what_the_dead_left_is_swept_and_what_the_living_use_is_not() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let _other = announce(directory.path(), at(2));
    let offer = one.offer(at(2), 1).expect("there is room");
    // Files as a killed process leaves them: nobody holds their locks.
    let prefix = super::presence::tests_name(&one, at(3));
    for name in [prefix.clone(), format!("{prefix}.00ff")] {
        fs::write(directory.path().join(name), [0; 4096]).expect("there is room");
    }
    assert_eq!(names(directory.path()), 5);
    let _third = announce(directory.path(), at(4));
    assert_eq!(names(directory.path()), 4);
    // And an endpoint takes over the name of a dead one.
    fs::write(directory.path().join(prefix), [0; 4096]).expect("there is room");
    let mut heir = announce(directory.path(), at(3));
    let _links = link(&mut one, &mut heir, at(3));
    drop(offer);
}

#[test]
fn name_in_use_is_not_taken_away() {
    let directory = directory();
    let mut one = announce(directory.path(), at(1));
    let mut first = announce(directory.path(), at(2));
    let second = Presence::announce_in(directory.path(), at(2), 0);
    assert!(matches!(second, Err(Unavailable::Os { .. })));
    let _links = link(&mut one, &mut first, at(2));
}
