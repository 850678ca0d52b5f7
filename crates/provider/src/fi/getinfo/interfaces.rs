//! The addresses of this host that endpoints can have, the best first.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
};

use super::mtu;

/// Where no interface says how much it carries: Ethernet's.
const USUAL_MTU: usize = 1500;

/// An address of this host, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// Bits of the address that all hosts of its subnet have in common.
    pub(super) prefix: u32,
    /// The longest packet that its neighbours can be sent, in bytes.
    pub(super) mtu: usize,
}

impl Interface {
    /// The subnet's own address.
    pub(super) fn subnet(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & mask(self.prefix))
    }

    /// Whether an endpoint here can have that address. Each address of 127.0.0.0/8 is this host's.
    pub(super) fn holds(&self, address: Ipv4Addr) -> bool {
        self.address == address || self.is_loopback() && address.is_loopback()
    }

    /// By its address: that of a host with many ways out is often on the loopback device.
    pub(super) fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }
}

fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

/// IPv4 addresses on interfaces that are up: the one that the default route uses first, those of
/// loopback last, in the kernel's order among themselves.
pub(super) fn usable() -> Vec<Interface> {
    let Ok(found) = getifaddrs() else { return Vec::new() };
    let found: Vec<_> = found.filter(is_up).collect();
    let outward = found.iter().filter(|entry| !is_loopback_device(entry));
    let least = outward.filter_map(|entry| mtu::of_interface(&entry.interface_name)).min();
    let mut usable: Vec<_> = found.iter().filter_map(|entry| read(entry, least)).collect();
    // Nothing is sent: the address stands for all that no other route leads to.
    let outward = source_towards(SocketAddrV4::new(Ipv4Addr::new(192, 88, 99, 1), 9));
    usable.sort_by_key(|interface| (interface.is_loopback(), Some(interface.address) != outward));
    usable
}

fn is_up(entry: &InterfaceAddress) -> bool {
    entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
}

fn is_loopback_device(entry: &InterfaceAddress) -> bool {
    entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)
}

/// `least` is the smallest MTU of the interfaces that leave this host: an address that none of them
/// has may be reached through any.
fn read(entry: &InterfaceAddress, least: Option<usize>) -> Option<Interface> {
    let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
    let netmask = entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
    let own = mtu::of_interface(&entry.interface_name);
    let mtu = if is_loopback_device(entry) && !address.is_loopback() { least } else { own };
    Some(Interface {
        name: entry.interface_name.clone(),
        address,
        prefix: netmask.map_or(32, |mask| mask.ip().to_bits().leading_ones()),
        mtu: mtu.unwrap_or(USUAL_MTU),
    })
}

/// The address that the kernel sends from to `destination`; none where no route leads there.
pub(super) fn source_towards(destination: SocketAddrV4) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // A port of 0 is none; which it is does not matter, since nothing is sent.
    let port = if destination.port() == 0 { 9 } else { destination.port() };
    socket.connect((*destination.ip(), port)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) => Some(*local.ip()),
        SocketAddr::V6(_) => None,
    }
}

/// Which interfaces may be offered.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// The interface's name.
    pub(super) interface: Option<String>,
    /// An address it has.
    pub(super) address: Option<Ipv4Addr>,
}

impl Wish {
    fn admits(&self, interface: &Interface) -> bool {
        self.interface.as_ref().is_none_or(|name| *name == interface.name)
            && self.address.is_none_or(|address| interface.holds(address))
    }
}

/// Of `usable` one interface for each subnet, the first that the wish and `is_named` admit. Where
/// neither says anything loopback is left out, unless there is nothing else.
///
/// Two offers of one subnet would make Open MPI deal them out among its ranks.
pub(super) fn choose<'a>(
    usable: &'a [Interface],
    wish: &Wish,
    is_named: Option<&dyn Fn(&Interface) -> bool>,
) -> Vec<&'a Interface> {
    let admitted = usable.iter().filter(|interface| wish.admits(interface));
    let mut left: Vec<_> =
        admitted.filter(|interface| is_named.is_none_or(|is_named| is_named(interface))).collect();
    let is_anything_asked = wish.interface.is_some() || wish.address.is_some();
    if !is_anything_asked && is_named.is_none() && left.iter().any(|one| !one.is_loopback()) {
        left.retain(|interface| !interface.is_loopback());
    }
    let mut chosen: Vec<&Interface> = Vec::new();
    for interface in left {
        let subnet = (interface.subnet(), interface.prefix);
        if chosen.iter().all(|other| (other.subnet(), other.prefix) != subnet) {
            chosen.push(interface);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: [u8; 4], prefix: u32) -> Interface {
        Interface { name: name.into(), address: address.into(), prefix, mtu: 1500 }
    }

    fn host() -> Vec<Interface> {
        vec![
            interface("eth0", [10, 0, 0, 5], 24),
            interface("eth1", [10, 0, 0, 6], 24),
            interface("eth2", [10, 0, 1, 5], 24),
            interface("lo", [10, 75, 0, 1], 32),
            interface("lo", [127, 0, 0, 1], 8),
        ]
    }

    fn chosen(wish: &Wish, names: Option<&str>) -> Vec<String> {
        let usable = host();
        let is_named = |interface: &Interface| Some(interface.name.as_str()) == names;
        let is_named: Option<&dyn Fn(&Interface) -> bool> =
            if names.is_some() { Some(&is_named) } else { None };
        let chosen = choose(&usable, wish, is_named);
        chosen.iter().map(|one| format!("{} {}", one.name, one.address)).collect()
    }

    #[test]
    fn a_subnet_is_offered_once_and_loopback_not_at_all() {
        let all = ["eth0 10.0.0.5", "eth2 10.0.1.5", "lo 10.75.0.1"];
        assert_eq!(chosen(&Wish::default(), None), all);
    }

    #[test]
    fn whoever_is_named_is_offered() {
        let address = |address| Wish { address: Some(address), ..Wish::default() };
        assert_eq!(chosen(&address([10, 0, 0, 6].into()), None), ["eth1 10.0.0.6"]);
        assert_eq!(chosen(&address([127, 0, 0, 9].into()), None), ["lo 127.0.0.1"]);
        assert_eq!(chosen(&address([10, 0, 0, 7].into()), None), [""; 0]);
        let interface = Wish { interface: Some("eth1".into()), ..Wish::default() };
        assert_eq!(chosen(&interface, None), ["eth1 10.0.0.6"]);
        assert_eq!(chosen(&Wish::default(), Some("eth1")), ["eth1 10.0.0.6"]);
        let loopback = ["lo 10.75.0.1", "lo 127.0.0.1"];
        assert_eq!(chosen(&Wish::default(), Some("lo")), loopback);
    }

    #[test]
    fn loopback_is_offered_where_there_is_nothing_else() {
        let usable = [interface("lo", [127, 0, 0, 1], 8)];
        assert_eq!(choose(&usable, &Wish::default(), None).len(), 1);
    }

    #[test]
    fn a_subnet_is_the_address_without_its_own_bits() {
        let subnet = |prefix| interface("eth0", [10, 1, 2, 3], prefix).subnet().octets();
        assert_eq!(subnet(24), [10, 1, 2, 0]);
        assert_eq!(subnet(32), [10, 1, 2, 3]);
        assert_eq!(subnet(0), [0; 4]);
    }

    #[test]
    fn this_host_has_what_the_kernel_says() {
        let usable = usable();
        let loopback = usable.last().unwrap();
        assert!(loopback.is_loopback() && loopback.mtu > 1500);
        assert_eq!(
            source_towards(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap(),
            Ipv4Addr::LOCALHOST
        );
        let outward: Vec<_> = usable.iter().map(Interface::is_loopback).collect();
        assert!(outward.is_sorted());
    }
}
