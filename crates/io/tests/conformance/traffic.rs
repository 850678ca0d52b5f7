//! Trains with known bytes, and receiving with a bound.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use elastane_io::{Arrival, Landing, Layout, PacketIo, Scratch};
use wire::Train;

const BOUND: Duration = Duration::from_secs(5);
/// Waits of this length until [`BOUND`] has passed.
pub(crate) const STEP: Duration = Duration::from_millis(10);

/// Bytes in which every position and every datagram differs.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + seed * 97 + i / 251).to_le_bytes()[0]).collect()
}

/// A train of datagrams of these lengths, `head` bytes of each copied, the others referenced.
pub(crate) fn train(destination: SocketAddr, head: usize, lengths: &[usize]) -> Train {
    let mut train = Train::default();
    train.destination = destination;
    for (seed, &len) in lengths.iter().enumerate() {
        let bytes = pattern(len, seed);
        let (head, tail) = bytes.split_at(head.min(len));
        train.heads().extend_from_slice(head);
        train.close(Bytes::copy_from_slice(tail));
    }
    train
}

pub(crate) fn datagrams(train: &Train) -> Vec<Vec<u8>> {
    train.datagrams().map(|(head, tail)| [head, tail].concat()).collect()
}

pub(crate) fn receive(device: &mut impl PacketIo, scratch: &mut Scratch) -> Arrival {
    receive_into(device, scratch, None)
}

/// Waits, with a bound, for an arrival.
pub(crate) fn receive_into(
    device: &mut impl PacketIo,
    scratch: &mut Scratch,
    mut landing: Option<Landing<'_>>,
) -> Arrival {
    for _ in 0..BOUND.as_millis() / STEP.as_millis() {
        let landing = landing.as_mut().map(Landing::reborrow);
        if let Some(arrival) = device.receive(scratch, landing).expect("receive failed") {
            return arrival;
        }
        device.wait(Some(STEP)).expect("wait failed");
    }
    panic!("nothing arrived in {BOUND:?}");
}

/// Receives contiguously until there are `count` datagrams.
pub(crate) fn receive_datagrams(device: &mut impl PacketIo, count: usize) -> Vec<Vec<u8>> {
    let mut scratch = Scratch::default();
    let mut all = Vec::new();
    while all.len() < count {
        let arrival = receive(device, &mut scratch);
        assert_eq!(arrival.layout, Layout::Contiguous);
        let bytes = &scratch.bytes[..arrival.bytes];
        all.extend(bytes.chunks(arrival.stride).map(<[u8]>::to_vec));
    }
    all
}
