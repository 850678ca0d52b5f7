//! Trains received straight into the buffer of a receive.

use elastane_message::{Config, Event, Landed, LandingOffer, OpId, Rdm};
use rand::RngExt;
use srd::{Delivery, Upper};
use wire::{ConnId, Entropy, HEADER_LEN, Header, Kind, Stamp};

use crate::network::{ANY_TAG, Flying, NOW, Network, pattern, peer};

const SIZE: usize = 1 << 20;
const ROOM: usize = 8_925;
const SOURCE: u32 = 0x1234_5678;

/// A transfer whose first datagrams have arrived; `trains` are the rest of it.
struct Transfer {
    network: Network,
    trains: Vec<Vec<Flying>>,
    receive: OpId,
}

impl Transfer {
    fn begin(seed: u64, trains_of: usize) -> Self {
        let mut network = Network::new(2, &Config::default(), seed).with_room(ROOM);
        let receive = network.receive(1, None, ANY_TAG, SIZE);
        network.send(0, 1, pattern(1, SIZE), Some(1));
        while network.fill(0, 1) {}
        while !network.flying.is_empty() {
            network.deliver(0);
        }
        network.fill(1, 0);
        network.deliver(0);
        while network.fill(0, 1) {}
        let mut rest = std::mem::take(&mut network.flying).into_iter().peekable();
        let mut trains = Vec::new();
        while rest.peek().is_some() {
            trains.push(rest.by_ref().take(trains_of).collect());
        }
        Self { network, trains, receive }
    }

    fn receiver(&mut self) -> &mut Rdm {
        &mut self.network.nodes[1]
    }

    /// Receives a train as a device does that was offered a landing.
    fn arrive(&mut self, train: &[Flying]) -> bool {
        let Some(mut offer) = self.receiver().offer_landing() else {
            train.iter().for_each(|flying| self.deliver_whole(&flying.bytes));
            return false;
        };
        let (heads, bodies) = scatter(train, &mut offer);
        let last = *bodies.last().expect("a train has datagrams");
        match self.receiver().prepare_landed(offer, &heads, train.len(), last, Some(SOURCE)) {
            Landed::InPlace => {
                for (head, body) in heads.chunks(HEADER_LEN + 16).zip(bodies) {
                    let head = &head[HEADER_LEN..];
                    let delivery = self.receiver().deliver(NOW, peer(0), head, body);
                    assert_eq!(delivery, Delivery::Accepted);
                }
                true
            }
            Landed::Elsewhere(offer) => {
                self.receiver().return_landing(offer);
                train.iter().for_each(|flying| self.deliver_whole(&flying.bytes));
                false
            }
        }
    }

    fn deliver_whole(&mut self, bytes: &[u8]) {
        assert_eq!(self.receiver().deliver(NOW, peer(0), bytes, 0), Delivery::Accepted);
    }

    fn assert_received(&mut self) {
        self.network.drain();
        let received = self.network.received(1, self.receive);
        assert!(received == pattern(1, SIZE), "byte for byte");
    }
}

/// Puts the heads together and the bodies where the offer says, up to its end.
fn scatter(train: &[Flying], offer: &mut LandingOffer) -> (Vec<u8>, Vec<usize>) {
    let mut heads = Vec::new();
    let mut bodies = Vec::new();
    for (i, flying) in train.iter().enumerate() {
        let datagram = [header(), flying.bytes.clone()].concat();
        let (head, body) = datagram.split_at(offer.head);
        heads.extend_from_slice(head);
        bodies.push(body.len());
        let start = offer.start + i * offer.body;
        for (at, &byte) in (start..offer.end).zip(body) {
            offer.buffer.as_mut_slice()[at] = byte;
        }
    }
    (heads, bodies)
}

fn header() -> Vec<u8> {
    let header = Header {
        kind: Kind::Data,
        ack_requested: false,
        hollow: false,
        port: 1,
        source: ConnId::new(SOURCE).expect("not zero").raw(),
        destination: 1,
        psn: 1,
        path_seq: 1,
        stamp: Stamp(0),
        entropy: Entropy(0),
        ack_len: 0,
        covered: HEADER_LEN + 16,
    };
    let mut bytes = Vec::new();
    header.emit(&mut bytes);
    bytes
}

#[test]
fn trains_in_order_all_land_in_place() {
    let mut transfer = Transfer::begin(1, 7);
    let trains = std::mem::take(&mut transfer.trains);
    let landed = trains.iter().filter(|train| transfer.arrive(train)).count();
    assert!(landed >= trains.len() - 2, "{landed} of {}", trains.len());
    assert_eq!(transfer.network.nodes[1].counters().landing_misses, 0);
    transfer.assert_received();
}

#[test]
fn trains_in_any_order_are_received_byte_for_byte() {
    let mut landed = 0;
    for seed in 0..100 {
        let mut transfer = Transfer::begin(seed, 7);
        let mut trains = std::mem::take(&mut transfer.trains);
        while !trains.is_empty() {
            let near = trains.len().min(3);
            let pick = transfer.network.rng.random_range(0..near);
            let train = trains.remove(pick);
            landed += usize::from(transfer.arrive(&train));
        }
        transfer.assert_received();
    }
    assert!(landed > 200, "{landed} of 1500 trains landed");
}

#[test]
fn train_after_a_lost_one_lands_past_the_hole_at_the_second_attempt() {
    let mut transfer = Transfer::begin(2, 7);
    let mut trains = std::mem::take(&mut transfer.trains);
    let lost = trains.remove(2);
    let landed: Vec<_> = trains.iter().map(|train| transfer.arrive(train)).collect();
    assert_eq!(landed[..6], [true, true, false, true, true, true]);
    transfer.arrive(&lost);
    transfer.assert_received();
}

#[test]
fn train_of_another_source_is_not_taken_as_the_expected_one() {
    let mut transfer = Transfer::begin(3, 7);
    let train = transfer.trains.remove(0);
    let mut offer = transfer.receiver().offer_landing().unwrap();
    let (heads, bodies) = scatter(&train, &mut offer);
    let other = Some(SOURCE + 1);
    let landed = transfer.receiver().prepare_landed(offer, &heads, 7, bodies[6], other);
    assert!(matches!(landed, Landed::Elsewhere(_)));
}

#[test]
fn landed_datagram_that_was_not_prepared_is_turned_away() {
    let mut transfer = Transfer::begin(4, 7);
    let train = transfer.trains.remove(0);
    let mut offer = transfer.receiver().offer_landing().unwrap();
    let (heads, bodies) = scatter(&train, &mut offer);
    let head = heads[HEADER_LEN..HEADER_LEN + 16].to_vec();
    let unprepared = transfer.receiver();
    unprepared.return_landing(offer);
    assert_eq!(unprepared.deliver(NOW, peer(0), &head, bodies[0]), Delivery::NotReady);
    let mut offer = unprepared.offer_landing().unwrap();
    let (heads, bodies) = scatter(&train, &mut offer);
    let landed = unprepared.prepare_landed(offer, &heads, 7, bodies[6], Some(SOURCE));
    assert!(matches!(landed, Landed::InPlace));
    assert_eq!(unprepared.deliver(NOW, peer(9), &head, bodies[0]), Delivery::NotReady);
    assert_eq!(unprepared.deliver(NOW, peer(0), &head, bodies[0] - 1), Delivery::NotReady);
    assert_eq!(unprepared.deliver(NOW, peer(0), &head, bodies[0]), Delivery::Accepted);
}

#[test]
fn offers_pause_after_repeated_misses() {
    let mut transfer = Transfer::begin(5, 7);
    let mut misses = 0;
    while let Some(offer) = transfer.receiver().offer_landing() {
        let garbage = vec![0; offer.head];
        match transfer.receiver().prepare_landed(offer, &garbage, 1, 10, None) {
            Landed::InPlace => panic!("zeros are no segment"),
            Landed::Elsewhere(offer) => transfer.receiver().return_landing(offer),
        }
        misses += 1;
    }
    assert_eq!(misses, 4);
    let pause = (0..200).take_while(|_| transfer.receiver().offer_landing().is_none()).count();
    assert_eq!(pause, 63, "one of 64 was skipped above");
}

#[test]
fn buffer_of_an_unused_offer_is_still_the_receives() {
    let mut transfer = Transfer::begin(6, 7);
    for train in std::mem::take(&mut transfer.trains) {
        if let Some(offer) = transfer.receiver().offer_landing() {
            transfer.receiver().return_landing(offer);
        }
        train.iter().for_each(|flying| transfer.deliver_whole(&flying.bytes));
    }
    transfer.network.drain();
    let completion = transfer.network.take(1, transfer.receive);
    let Event::Received { buffer, .. } = completion.event else { panic!("a receive") };
    assert_eq!(buffer.as_slice(), pattern(1, SIZE));
}

#[test]
#[should_panic(expected = "a landing must be returned")]
fn delivery_while_the_buffer_is_lent_panics_rather_than_lose_bytes() {
    let mut transfer = Transfer::begin(7, 7);
    let bytes = transfer.trains[0][0].bytes.clone();
    let offer = transfer.receiver().offer_landing();
    assert!(offer.is_some());
    transfer.deliver_whole(&bytes);
}
