use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
};

use rustc_hash::{FxHashMap, FxHashSet};
use socket2::SockAddr;

use super::{open::bound_socket, sys::option};

const UDP_HEADER: usize = 8;
/// Ethernet's header and one VLAN tag: a train with its headers has to stay below 64 KiB, or the
/// kernel segments it before the device, and a virtual link no longer carries it whole.
const LINK_HEADERS: usize = 18;
const LARGEST_PACKET: usize = 65_535 - LINK_HEADERS;
/// Destinations remembered; beyond it all are forgotten and learned again.
const MAX_ROUTES: usize = 65_536;

const fn ip_header(ip: IpAddr) -> usize {
    match ip {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// The UDP payload of a packet of `mtu` bytes.
pub(super) fn payload_of_mtu(ip: IpAddr, mtu: usize) -> usize {
    mtu.min(LARGEST_PACKET).saturating_sub(ip_header(ip) + UDP_HEADER)
}

/// What was learned of the way to each destination.
#[derive(Debug)]
pub(super) struct Routes {
    /// The device's address with port 0, where probing sockets are bound.
    local: SocketAddr,
    /// What is assumed where nothing can be learned.
    link_bytes: usize,
    datagram_bytes: FxHashMap<IpAddr, usize>,
    unsegmented: FxHashSet<IpAddr>,
}

impl Routes {
    pub(super) fn new(local: SocketAddr, link_bytes: usize) -> Self {
        Self {
            local: SocketAddr::new(local.ip(), 0),
            link_bytes,
            datagram_bytes: FxHashMap::default(),
            unsegmented: FxHashSet::default(),
        }
    }

    /// The largest payload that reaches `destination` unfragmented, as far as known.
    pub(super) fn datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        match self.datagram_bytes.get(&destination.ip()) {
            Some(&bytes) => bytes,
            None => self.ask_kernel(destination),
        }
    }

    /// Learns the kernel's path MTU, which ICMP may have lowered since the last time.
    pub(super) fn ask_kernel(&mut self, destination: SocketAddr) -> usize {
        match self.kernel_mtu(destination) {
            Ok(mtu) => self.learn_mtu(destination.ip(), mtu),
            Err(_) => self.link_bytes,
        }
    }

    /// Notes that packets of `mtu` bytes reach `destination`. What is known never grows: a larger
    /// figure that comes later may be of another of several paths.
    pub(super) fn learn_mtu(&mut self, destination: IpAddr, mtu: usize) -> usize {
        if self.datagram_bytes.len() >= MAX_ROUTES {
            self.datagram_bytes.clear();
        }
        let bytes = payload_of_mtu(destination, mtu);
        let known = self.datagram_bytes.entry(destination).or_insert(bytes);
        *known = bytes.min(*known);
        *known
    }

    /// Whether trains to `destination` may be left to the kernel to segment.
    pub(super) fn segments(&self, destination: IpAddr) -> bool {
        self.unsegmented.is_empty() || !self.unsegmented.contains(&destination)
    }

    /// Notes that segmentation failed on the way to `destination`.
    pub(super) fn forbid_segments(&mut self, destination: IpAddr) {
        if self.unsegmented.len() >= MAX_ROUTES {
            self.unsegmented.clear();
        }
        self.unsegmented.insert(destination);
    }

    /// Only a connected socket tells its path MTU.
    fn kernel_mtu(&self, destination: SocketAddr) -> io::Result<usize> {
        let socket = bound_socket(self.local)?;
        socket.connect(&SockAddr::from(destination))?;
        let mtu = match destination {
            SocketAddr::V4(_) => option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU),
            SocketAddr::V6(_) => option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU),
        }?;
        usize::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_mtu_only_shrinks() {
        let local = "127.0.0.1:7000".parse().unwrap();
        let mut routes = Routes::new(local, 1472);
        let peer = "10.0.0.2".parse().unwrap();
        assert_eq!(routes.learn_mtu(peer, 9001), 8973);
        assert_eq!(routes.learn_mtu(peer, 1400), 1372);
        assert_eq!(routes.learn_mtu(peer, 9001), 1372);
    }

    #[test]
    fn segmentation_is_forbidden_for_one_destination_only() {
        let mut routes = Routes::new("127.0.0.1:7000".parse().unwrap(), 1472);
        let (bad, good) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
        routes.forbid_segments(bad);
        assert!(!routes.segments(bad) && routes.segments(good));
    }

    #[test]
    fn loopback_mtu_is_asked_of_the_kernel_and_capped_to_one_packet() {
        let mut routes = Routes::new("127.0.0.1:7000".parse().unwrap(), 1472);
        let known = routes.datagram_bytes("127.0.0.1:9".parse().unwrap());
        assert_eq!(known, 65_535 - 18 - 28);
    }
}
