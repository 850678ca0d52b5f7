//! Datagrams on their way to a device, in the one vocabulary that the protocol and the devices
//! share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
};

use bytes::Bytes;

/// The UDP payload that every network carries: IPv6's least MTU of 1,280 bytes without headers.
pub const SMALLEST_DATAGRAM: usize = 1_232;

/// The UDP source port a datagram leaves from, as an index: the device maps each index to a port
/// of its own, and the network's ECMP maps each port to a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entropy(pub u8);

/// A set of source ports, by their indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntropySet([u64; 4]);

impl EntropySet {
    /// Adds a source port.
    pub fn insert(&mut self, Entropy(index): Entropy) {
        self.0[usize::from(index >> 6)] |= 1 << (index & 63);
    }

    /// Whether a source port is in the set.
    pub fn contains(&self, Entropy(index): Entropy) -> bool {
        self.0[usize::from(index >> 6)] >> (index & 63) & 1 == 1
    }
}

/// Explicit congestion notification, RFC 3168.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotCapable,
    /// The datagram may be marked.
    Capable,
    /// A queue on the way marked the datagram.
    CongestionExperienced,
}

impl Ecn {
    /// The meaning of the two low bits of an IP traffic-class octet.
    pub const fn from_traffic_class(octet: u8) -> Self {
        match octet & 0b11 {
            0 => Self::NotCapable,
            0b11 => Self::CongestionExperienced,
            _ => Self::Capable,
        }
    }

    /// The two low bits of the traffic-class octet.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotCapable => 0,
            Self::Capable => 0b10,
            Self::CongestionExperienced => 0b11,
        }
    }
}

#[derive(Clone, Debug)]
struct Datagram {
    head: Range<usize>,
    tail: Bytes,
}

/// A train: datagrams for one destination, from one source port, in one system call where the
/// kernel can segment (GSO). All have the same length but the last, which may be shorter.
///
/// A datagram is a *head*, copied into the train, and a *tail*, a reference to bytes that stay
/// where they are: large messages cross the sender without a copy in user space.
#[derive(Clone, Debug)]
pub struct Train {
    /// The peer's listening address.
    pub destination: SocketAddr,
    /// Which of the device's source ports to leave from.
    pub entropy: Entropy,
    /// The ECN field of every datagram.
    pub ecn: Ecn,
    heads: Vec<u8>,
    datagrams: Vec<Datagram>,
    total: usize,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            destination: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            entropy: Entropy::default(),
            ecn: Ecn::default(),
            heads: Vec::new(),
            datagrams: Vec::new(),
            total: 0,
        }
    }
}

impl Train {
    /// Empties the train, keeping its memory.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.datagrams.clear();
        self.total = 0;
    }

    /// The number of datagrams.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Bytes of all datagrams together, UDP payload only.
    pub fn total_bytes(&self) -> usize {
        self.total
    }

    /// The length of the first datagram, which all but the last share; 0 when empty.
    pub fn segment_size(&self) -> usize {
        self.datagrams.first().map_or(0, |first| first.head.len() + first.tail.len())
    }

    /// The buffer of heads. Whatever is appended to it between two calls of [`Train::close`] is
    /// the head of the next datagram.
    pub fn heads(&mut self) -> &mut Vec<u8> {
        &mut self.heads
    }

    /// Where the head of the datagram being built begins in [`Train::heads`].
    pub fn open_at(&self) -> usize {
        self.datagrams.last().map_or(0, |last| last.head.end)
    }

    /// Ends the datagram being built, with `tail` after its head. Returns the datagram's length.
    pub fn close(&mut self, tail: Bytes) -> usize {
        let head = self.open_at()..self.heads.len();
        let length = head.len() + tail.len();
        self.datagrams.push(Datagram { head, tail });
        self.total += length;
        length
    }

    /// Drops what was appended to the heads since the last [`Train::close`].
    pub fn abandon(&mut self) {
        let open_at = self.open_at();
        self.heads.truncate(open_at);
    }

    /// Makes the train independent of the memory its tails refer to.
    pub fn copy_tails(&mut self) {
        for datagram in &mut self.datagrams {
            datagram.tail = Bytes::copy_from_slice(&datagram.tail);
        }
    }

    /// Each datagram as (head, tail), in order.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.datagrams.iter().map(|d| (&self.heads[d.head.clone()], d.tail.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_of_source_ports_holds_what_was_put_in() {
        let mut set = EntropySet::default();
        let put = [0, 63, 64, 200, 255];
        for index in put {
            set.insert(Entropy(index));
        }
        let found: Vec<_> = (0..=255).filter(|&index| set.contains(Entropy(index))).collect();
        assert_eq!(found, put);
    }

    #[test]
    fn train_returns_its_datagrams_in_order_with_their_tails() {
        let mut train = Train::default();
        train.heads().extend_from_slice(b"one");
        assert_eq!(train.close(Bytes::from_static(b"tail")), 7);
        train.heads().extend_from_slice(b"gone");
        train.abandon();
        train.heads().extend_from_slice(b"two");
        train.close(Bytes::new());
        train.copy_tails();
        let all: Vec<_> = train.datagrams().collect();
        assert_eq!(all, [(&b"one"[..], &b"tail"[..]), (&b"two"[..], &b""[..])]);
        assert_eq!((train.segment_size(), train.total_bytes(), train.len()), (7, 10, 2));
    }
}
