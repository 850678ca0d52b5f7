//! One endpoint with peers of both kinds.

use elastane_fabric::{Buffer, LocalError, PeerRoute, RdmEndpoint, TagMatch, UdpReason};

use crate::{eventually, is_local, open, open_without_shared_memory, post, received};

fn length(number: u32) -> usize {
    4 + number as usize * 37 % 90_000
}

/// Sends numbered messages of sizes from one byte to several records.
fn send(from: &mut RdmEndpoint, to: &RdmEndpoint, number: u32) {
    let peer = from.peer(to.address()).unwrap();
    let mut message = number.to_le_bytes().to_vec();
    message.resize(length(number), 1);
    from.send(peer, message.into(), 0).unwrap();
}

#[test]
fn order_of_each_sender_holds_for_receives_from_anybody_across_both_kinds() {
    const MESSAGES: u32 = 3_000;
    let mut near = open();
    let (mut local, mut remote) = (open(), open_without_shared_memory());
    let mut posted = 0;
    let mut post = |near: &mut RdmEndpoint| {
        posted += 1;
        near.receive(Buffer::zeroed(100_000), None, TagMatch::Untagged, posted).unwrap();
    };
    for _ in 0..32 {
        post(&mut near);
    }
    // Large messages complete later than small ones they overtook; which receive they met tells
    // the order.
    let mut met = [vec![0; MESSAGES as usize], vec![0; MESSAGES as usize]];
    let mut next = [0, 0];
    let mut sent = 0;
    eventually("all messages", || {
        // The first of them leave before there is a link, and are overtaken by none.
        if sent < MESSAGES && next.iter().all(|&next| sent < next + 50) {
            send(&mut local, &near, sent);
            send(&mut remote, &near, sent);
            sent += 1;
        }
        for sender in [&mut local, &mut remote] {
            if let Some(completion) = sender.poll().unwrap() {
                assert_eq!(completion.result, Ok(()));
            }
        }
        while let Some(completion) = near.poll().unwrap() {
            let context = completion.context;
            let (peer, message) = received(completion).expect("a receive");
            let which = usize::from(near.peer_address(peer) == remote.address());
            let number = u32::from_le_bytes(message[..4].try_into().unwrap());
            assert_eq!(message.len(), length(number));
            assert_eq!(std::mem::replace(&mut met[which][number as usize], context), 0);
            next[which] += 1;
            post(&mut near);
        }
        (next == [MESSAGES; 2]).then_some(())
    });
    assert!(met.iter().all(|contexts| contexts.is_sorted()), "out of order");
    let (to_local, to_remote) =
        (near.peer(local.address()).unwrap(), near.peer(remote.address()).unwrap());
    assert!(is_local(&near, to_local));
    let there = local.peer(near.address()).unwrap();
    assert!(is_local(&local, there));
    let there = remote.peer(near.address()).unwrap();
    assert_eq!(remote.route(there), PeerRoute::Udp(UdpReason::Off));
    assert_eq!(near.route(to_remote), PeerRoute::Udp(UdpReason::Untried));
    near.send(to_remote, "you?".into(), 0).unwrap();
    let reason = UdpReason::Unavailable(LocalError::NotAnnounced);
    assert_eq!(near.route(to_remote), PeerRoute::Udp(reason));
}

#[test]
fn receiver_without_room_gets_every_message_once_it_has() {
    const MESSAGES: u32 = 4_000;
    let mut options = crate::options();
    options.messages.unexpected_bytes = 20_000;
    options.messages.ahead_bytes = 20_000;
    let mut near = RdmEndpoint::open(&options).unwrap();
    let mut far = open();
    // Both link before the flood.
    post(&mut near, None, 8);
    let peer = far.peer(near.address()).unwrap();
    far.send(peer, "first".into(), 0).unwrap();
    eventually("link", || {
        near.poll().unwrap();
        far.poll().unwrap();
        is_local(&far, peer).then_some(())
    });
    for number in 0..MESSAGES {
        let mut message = number.to_le_bytes().to_vec();
        message.resize(4 + number as usize % 700, 1);
        far.send(peer, message.into(), 0).unwrap();
    }
    // Much more than the receiver stores is refused, over and over.
    for _ in 0..20_000 {
        near.progress().unwrap();
        far.progress().unwrap();
    }
    assert!(far.outstanding() > 3_000, "{} sends wait", far.outstanding());
    let (mut next, mut posted) = (0, 0);
    eventually("all messages", || {
        if posted < next + 64 {
            post(&mut near, None, 1_000);
            posted += 1;
        }
        far.poll().unwrap();
        while let Some((_, message)) = near.poll().unwrap().and_then(received) {
            if message != b"first" {
                assert_eq!(message[..4], u32::to_le_bytes(next));
                next += 1;
            }
        }
        (next == MESSAGES).then_some(())
    });
}
