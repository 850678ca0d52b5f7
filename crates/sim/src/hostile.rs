//! Datagrams that nobody should have sent.

use std::net::{Ipv4Addr, SocketAddr};

use rand::{Rng, RngExt};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{Entropy, HEADER_LEN, Header, Kind, Stamp};

use crate::network::NetworkSpec;

const KINDS: [Kind; 7] = [
    Kind::Data,
    Kind::Ack,
    Kind::Probe,
    Kind::Reset,
    Kind::NotReady,
    Kind::Close,
    Kind::Unreliable,
];

/// A datagram and where it claims to come from: noise, noise behind a proper header, or a
/// proper header with numbers that nobody gave out.
///
/// What a stranger may rightfully send (a well-formed first message) is not among them: without
/// a key it cannot be told from a peer's.
pub(crate) fn datagram(rng: &mut Xoshiro256PlusPlus, spec: &NetworkSpec) -> (SocketAddr, Vec<u8>) {
    let stranger = SocketAddr::from((Ipv4Addr::new(192, 0, 2, rng.random()), rng.random()));
    let impersonated = spec.address(rng.random_range(0..spec.topology.hosts()));
    let mut bytes = Vec::new();
    let source = match rng.random_range(0..4) {
        0 => {
            noise(rng, 0, &mut bytes);
            stranger
        }
        1 => {
            // A version and kind that exist, then noise: the checksum is what stands in its way.
            noise(rng, HEADER_LEN, &mut bytes);
            bytes[0] = 0x11;
            impersonated
        }
        2 => {
            header(rng, 0).emit(&mut bytes);
            noise(rng, 1, &mut bytes);
            // No frame has this type.
            bytes[HEADER_LEN] = 0xff;
            Header::seal(&mut bytes);
            stranger
        }
        _ => {
            let destination = rng.random_range(1..=u32::MAX);
            let ack_len = 4 * rng.random_range(0..30);
            let forged = Header { ack_len, ..header(rng, destination) };
            forged.emit(&mut bytes);
            bytes.resize(HEADER_LEN + ack_len, 0);
            rng.fill_bytes(&mut bytes[HEADER_LEN..]);
            Header::seal(&mut bytes);
            impersonated
        }
    };
    (source, bytes)
}

fn noise(rng: &mut Xoshiro256PlusPlus, least: usize, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + least + rng.random_range(0..200), 0);
    rng.fill_bytes(&mut bytes[start..]);
}

fn header(rng: &mut Xoshiro256PlusPlus, destination: u32) -> Header {
    Header {
        kind: KINDS[rng.random_range(0..KINDS.len())],
        ack_requested: rng.random(),
        hollow: rng.random(),
        port: rng.random_range(1..=u16::MAX),
        source: rng.random_range(1..=u32::MAX),
        destination,
        psn: rng.random(),
        path_seq: rng.random(),
        stamp: Stamp(rng.random()),
        entropy: Entropy(rng.random()),
        ack_len: 0,
        covered: HEADER_LEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        seed::{Purpose, stream},
        topology::Topology,
    };

    #[test]
    fn some_hostile_datagrams_pass_the_checksum_and_some_do_not() {
        let spec = NetworkSpec::new(Topology::Link);
        let mut rng = stream(1, Purpose::Hostile);
        let parsed =
            (0..100).filter(|_| Header::parse(&datagram(&mut rng, &spec).1).is_ok()).count();
        assert!((20..80).contains(&parsed), "{parsed}");
    }
}
