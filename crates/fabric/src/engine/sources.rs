//! Source ports that no path uses any more.

use std::time::Duration;

use io::PacketIo;
use wire::Time;

/// How long a source port stays open, at least, after the transport gave it up: errors may still
/// come back for what left from it. Twice that at most: while every path has a queue a port is
/// drawn every 5 ms, and each open one is a descriptor of the application's.
const GRACE: Duration = Duration::from_millis(100);

/// When source ports are next looked at.
#[derive(Debug, Default)]
pub(super) struct Sources {
    due: Time,
}

impl Sources {
    /// Lets the device close what no path uses, from time to time.
    pub(super) fn look(
        &mut self,
        now: Time,
        transport: &srd::Endpoint,
        device: &mut impl PacketIo,
    ) {
        if now < self.due {
            return;
        }
        self.due = now + GRACE;
        // Where no path ever got another source port, all are those they began with.
        if transport.counters().path_redraws > 0 {
            device.retire_sources(&transport.sources_in_use());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use bytes::Bytes;
    use io::{UdpDevice, UdpOptions};
    use srd::{Delivery, Filled, PeerError, TrainLimits, Upper};
    use wire::{Entropy, PeerId, Token, Train};

    use super::*;

    /// Always has something to send, and nobody takes it.
    struct Endless {
        next: u32,
    }

    impl Upper for Endless {
        fn fill(&mut self, _: Time, _: PeerId, _: usize, train: &mut Train) -> Option<Filled> {
            train.heads().extend_from_slice(&[7; 100]);
            self.next += 1;
            let (token, tail) = (Token(self.next), Bytes::new());
            Some(Filled { token, tail, solicit: false, ends_train: true, more: true })
        }

        fn next_is_bulk(&self, _: PeerId) -> bool {
            false
        }

        fn refill(&mut self, _: PeerId, _: Token, train: &mut Train) -> Bytes {
            train.heads().extend_from_slice(&[7; 100]);
            Bytes::new()
        }

        fn acked(&mut self, _: Time, _: PeerId, _: Token) {}

        fn refused(&mut self, _: Time, _: PeerId, _: Token) {}

        fn reclaim(&mut self, _: Time, _: PeerId, _: Token) {}

        fn deliver(&mut self, _: Time, _: PeerId, _: &[u8], _: usize) -> Delivery {
            Delivery::Accepted
        }

        fn peer_failed(&mut self, _: Time, _: PeerId, error: PeerError) {
            panic!("the peer is given up: {error}");
        }

        fn is_owed(&self, _: PeerId) -> bool {
            false
        }
    }

    fn open_sources(device: &UdpDevice) -> usize {
        (0..=u8::MAX).filter(|&index| device.source_address(Entropy(index)).is_some()).count()
    }

    fn open_sockets() -> usize {
        let is_socket = |entry: &std::fs::DirEntry| {
            let target = std::fs::read_link(entry.path());
            target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        entries.filter_map(Result::ok).filter(is_socket).count()
    }

    /// Sends to a peer that never answers, in virtual time, until so many source ports were
    /// drawn. Returns the most of them that were open at once, and the most sockets.
    fn send_in_vain(redraws: u64, sources: &mut Option<Sources>) -> (usize, usize) {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let options = UdpOptions { segmentation: false, ..UdpOptions::default() };
        let mut device = UdpDevice::open("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let before = open_sockets();
        let limits = TrainLimits { datagrams: 1, bytes: 1400, datagram_bytes: 1400 };
        let long = Duration::from_secs(1_000_000);
        let config = srd::Config { unreachable_after: long, ..srd::Config::default() };
        let mut transport = srd::Endpoint::new(config, 1, limits, 1);
        let peer = transport.connect(silent.local_addr().unwrap()).unwrap();
        let (mut train, mut upper, mut now) = (Train::default(), Endless { next: 0 }, Time::ZERO);
        transport.wake(now, peer);
        let (mut most, mut counted_at) = ((0, 0), Time::ZERO);
        while transport.counters().path_redraws < redraws {
            while transport.poll_transmit(now, &mut train, &mut upper) {
                device.send(&train).unwrap();
            }
            now = transport.poll_timeout().unwrap().max(now + Duration::from_millis(1));
            transport.handle_timeout(now, &mut upper);
            // Counting costs as many system calls as there are sockets.
            if now >= counted_at + GRACE / 4 {
                counted_at = now;
                most.0 = most.0.max(open_sources(&device));
                most.1 = most.1.max(open_sockets() - before);
            }
            if let Some(sources) = sources {
                sources.look(now, &transport, &mut device);
            }
        }
        most
    }

    #[test]
    fn source_ports_that_were_given_up_are_closed() {
        // Probes of 16 silent paths come once a second at last, each from a port of its own.
        let (kept, _) = send_in_vain(1000, &mut None);
        assert!(kept > 200, "without closing {kept} are kept open");
        let (open, sockets) = send_in_vain(1000, &mut Some(Sources::default()));
        // Those in use, and those given up a moment ago.
        assert!((16..=128).contains(&open), "{open} source ports");
        assert!((16..=128).contains(&sockets), "{sockets} sockets");
    }
}
