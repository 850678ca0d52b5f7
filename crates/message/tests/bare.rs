//! The bare layer: one datagram per message, turned away without a receive.

use bytes::Bytes;
use elastane_message::{Bare, Completion, Event, OperationError};
use memory::Buffer;
use srd::{Delivery, Filled, PeerError, Upper};
use wire::{PeerId, Time, Token, Train};

const PEER: PeerId = PeerId(2);
const NOW: Time = Time::ZERO;

fn fill(bare: &mut Bare, room: usize) -> Option<(Token, Vec<u8>)> {
    let mut train = Train::default();
    let Filled { token, tail, .. } = bare.fill(NOW, PEER, room, &mut train)?;
    train.close(tail);
    Some((token, bytes_of(&train)))
}

fn bytes_of(train: &Train) -> Vec<u8> {
    let (head, tail) = train.datagrams().next().expect("one datagram");
    [head, tail].concat()
}

fn received(completion: Completion) -> Vec<u8> {
    assert_eq!((completion.result, completion.peer), (Ok(()), Some(PEER)));
    let Event::Received { buffer, .. } = completion.event else { panic!("a receive") };
    buffer.into_vec()
}

#[test]
fn message_waits_for_a_receive_and_completes_when_acknowledged() {
    let (mut here, mut there) = (Bare::new(8), Bare::new(8));
    for length in [0, 5, 1_024, 1_025, 8_000] {
        let data = Bytes::from(vec![7; length]);
        let op = here.post_send(PEER, data.clone(), 1, true).unwrap();
        assert_eq!(here.poll_wake(), Some(PEER));
        let (token, datagram) = fill(&mut here, 8_000).unwrap();
        assert!(fill(&mut here, 8_000).is_none());
        assert_eq!(there.deliver(NOW, PEER, &datagram, 0), Delivery::NotReady);
        there.post_receive(Buffer::zeroed(length), 2).unwrap();
        let mut again = Train::default();
        let tail = here.refill(PEER, token, &mut again);
        again.close(tail);
        assert_eq!(bytes_of(&again), datagram);
        assert_eq!(there.deliver(NOW, PEER, &datagram, 0), Delivery::Accepted);
        assert_eq!(received(there.poll_completion().unwrap()), data);
        assert!(here.poll_completion().is_none());
        here.acked(NOW, PEER, token);
        let sent = here.poll_completion().unwrap();
        assert_eq!((sent.op, sent.context, sent.result), (op, 1, Ok(())));
        assert!(here.idle(PEER));
        assert_eq!((here.outstanding(), there.outstanding()), (0, 0));
    }
}

#[test]
fn refused_message_fails_as_receiver_not_ready() {
    let mut bare = Bare::new(8);
    bare.post_send(PEER, Bytes::from_static(b"x"), 0, false).unwrap();
    let (token, _) = fill(&mut bare, 100).unwrap();
    bare.refused(NOW, PEER, token);
    let completion = bare.poll_completion().unwrap();
    assert_eq!(completion.result, Err(OperationError::ReceiverNotReady));
}

#[test]
fn message_longer_than_a_datagram_fails_and_the_next_one_goes() {
    let mut bare = Bare::new(8);
    bare.post_send(PEER, Bytes::from(vec![0; 101]), 1, true).unwrap();
    bare.post_send(PEER, Bytes::from_static(b"next"), 2, true).unwrap();
    assert_eq!(bare.queued_bytes(PEER), 105);
    let (_, datagram) = fill(&mut bare, 100).unwrap();
    assert_eq!(datagram, b"next");
    let completion = bare.poll_completion().unwrap();
    let too_long = Err(OperationError::TooLong { limit: 100 });
    assert_eq!((completion.context, completion.result), (1, too_long));
    assert_eq!(bare.queued_bytes(PEER), 0);
}

#[test]
fn lost_peer_fails_sends_queued_and_in_flight_and_no_others() {
    let mut bare = Bare::new(8);
    let error = PeerError::Restarted;
    bare.post_send(PEER, Bytes::from_static(b"in flight"), 1, true).unwrap();
    fill(&mut bare, 100).unwrap();
    bare.post_send(PEER, Bytes::from_static(b"queued"), 2, false).unwrap();
    bare.post_send(PeerId(0), Bytes::from_static(b"other"), 3, true).unwrap();
    bare.peer_failed(NOW, PEER, error);
    for context in [1, 2] {
        let completion = bare.poll_completion().unwrap();
        let expected = Err(OperationError::Peer(error));
        assert_eq!((completion.context, completion.result), (context, expected));
    }
    assert!(bare.poll_completion().is_none());
    assert_eq!(bare.outstanding(), 1);
    bare.post_send(PEER, Bytes::from_static(b"anew"), 4, true).unwrap();
    assert_eq!(fill(&mut bare, 100).unwrap().1, b"anew");
}

#[test]
fn cancelled_queued_send_is_not_sent_and_one_in_flight_stays() {
    let mut bare = Bare::new(8);
    let sent = bare.post_send(PEER, Bytes::from_static(b"sent"), 0, true).unwrap();
    fill(&mut bare, 100).unwrap();
    let queued = bare.post_send(PEER, Bytes::from_static(b"queued"), 0, true).unwrap();
    assert!(!bare.cancel(sent));
    assert!(bare.cancel(queued));
    assert!(!bare.cancel(queued));
    assert!(fill(&mut bare, 100).is_none());
    let completion = bare.poll_completion().unwrap();
    assert_eq!((completion.op, completion.result), (queued, Err(OperationError::Canceled)));
}

#[test]
fn sends_beyond_the_limit_are_busy() {
    let mut bare = Bare::new(1);
    bare.post_send(PEER, Bytes::new(), 0, true).unwrap();
    assert!(bare.post_send(PEER, Bytes::new(), 0, true).is_err());
}
