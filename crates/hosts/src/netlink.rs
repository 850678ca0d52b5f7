//! Requests to the kernel's routing sockets, one at a time, each acknowledged.

use std::{
    fmt::Display,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use ipnet::Ipv4Net;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    link::{
        InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
        State,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
        RouteProtocol, RouteScope, RouteType,
    },
    tc::TcMessage,
};
use socket2::{Domain, Socket, Type};

use crate::{
    error::HostsError,
    plan::{End, Segmentation},
    sentinel::Sentinel,
};

/// The kernel answers while the request is made; a longer wait means it never will.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Room for the answer to a question about a link.
const ANSWER_ROOM: usize = 16 * 1024;
/// The loopback device is the first of each namespace.
pub(crate) const LOOPBACK: u32 = 1;
/// How often to look whether a link is up, a millisecond apart.
const UP_ROUNDS: u32 = 5000;

/// A routing socket in one namespace.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    host: String,
}

impl Netlink {
    /// Opens one in the namespace of that index; `host` names it in errors.
    pub(crate) fn open(sentinel: &Sentinel, index: usize, host: &str) -> Result<Self, HostsError> {
        let open = || {
            let domain = Domain::from(libc::AF_NETLINK);
            let protocol = socket2::Protocol::from(libc::NETLINK_ROUTE);
            let socket = sentinel.socket(index, domain, Type::RAW, Some(protocol))?;
            socket.set_read_timeout(Some(ANSWER_WAIT))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| HostsError::Socket { host: host.to_owned(), error })?;
        Ok(Self { socket, sequence: 0, host: host.to_owned() })
    }

    /// Opens one in the network namespace of the calling thread; `host` names it in errors.
    pub(crate) fn here(host: &str) -> Result<Self, HostsError> {
        let open = || {
            let domain = Domain::from(libc::AF_NETLINK);
            let protocol = socket2::Protocol::from(libc::NETLINK_ROUTE);
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.set_read_timeout(Some(ANSWER_WAIT))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| HostsError::Socket { host: host.to_owned(), error })?;
        Ok(Self { socket, sequence: 0, host: host.to_owned() })
    }

    /// Makes a pair of connected devices, one here and one in the namespace `peer`. The kernel
    /// chooses their numbers.
    pub(crate) fn add_pair(
        &mut self,
        here: &str,
        there: &str,
        peer: impl AsFd,
        mtu: u32,
    ) -> Result<(), HostsError> {
        let end = |name: &str| {
            let mut device = LinkMessage::default();
            device.attributes =
                vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
            device
        };
        let (mut near, mut far) = (end(here), end(there));
        far.attributes.push(LinkAttribute::NetNsFd(peer.as_fd().as_raw_fd()));
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let action = format_args!("add link {here}");
        self.request(action, RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Takes the device of that name away, if there is one, and the other end of its pair.
    pub(crate) fn delete_link(&mut self, name: &str) -> Result<(), HostsError> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let message = RouteNetlinkMessage::DelLink(link);
        match self.acknowledged(message, 0) {
            // It may be of a namespace that the kernel is taking away right now.
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                Err(self.failed(format_args!("delete link {name}"), error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The number of the device of that name, if there is one.
    pub(crate) fn index_of(&mut self, name: &str) -> Result<Option<u32>, HostsError> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answer = self
            .send(RouteNetlinkMessage::GetLink(link), NLM_F_REQUEST)
            .and_then(|sequence| self.receive(sequence));
        match answer {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(link.header.index)),
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(self.failed(format_args!("look for link {name}"), error)),
        }
    }

    /// Makes a pair of connected devices, one here and one in the namespace `peer`.
    pub(crate) fn add_link(
        &mut self,
        ends: &[End; 2],
        peer: impl AsFd,
        mtu: u32,
    ) -> Result<(), HostsError> {
        let mut far = device(&ends[1], mtu);
        far.attributes.push(LinkAttribute::NetNsFd(peer.as_fd().as_raw_fd()));
        let mut link = device(&ends[0], mtu);
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let action = format_args!("add link {}", ends[0].device);
        self.request(action, RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a bridge.
    pub(crate) fn add_bridge(&mut self, index: u32, mtu: u32) -> Result<(), HostsError> {
        let mut bridge = LinkMessage::default();
        bridge.header.index = index;
        bridge.attributes = vec![
            LinkAttribute::IfName(format!("switch{index}")),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        self.request(
            "add a bridge",
            RouteNetlinkMessage::NewLink(bridge),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Makes a device a port of a bridge.
    pub(crate) fn join_bridge(&mut self, index: u32, bridge: u32) -> Result<(), HostsError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::Controller(bridge));
        self.request("join the bridge", RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Says how many packets wait in each queue in front of a device.
    pub(crate) fn set_queue(&mut self, index: u32, packets: u32) -> Result<(), HostsError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::TxQueueLen(packets));
        self.request("set the length of a queue", RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Switches a device on.
    pub(crate) fn set_up(&mut self, index: u32) -> Result<(), HostsError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request("switch a device on", RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Waits until a device that was switched on carries packets, which the kernel brings about
    /// some time after both ends are on. Until then it drops them.
    pub(crate) fn wait_up(&mut self, index: u32) -> Result<(), HostsError> {
        for _ in 0..UP_ROUNDS {
            if self.is_up(index)? {
                return Ok(());
            }
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            // Interrupted or not, the link is looked at again.
            rustix::event::poll(&mut [], Some(&pause)).ok();
        }
        let error = io::Error::from(io::ErrorKind::TimedOut);
        Err(self.failed("wait for a link to come up", error))
    }

    /// Says how trains of packets leave a device.
    pub(crate) fn set_segmentation(
        &mut self,
        index: u32,
        segmentation: Segmentation,
    ) -> Result<(), HostsError> {
        // What the device is not allowed to take as one, the kernel cuts before it.
        let packets = match segmentation {
            Segmentation::Offload => return Ok(()),
            Segmentation::Off => 1,
        };
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::GsoMaxSegs(packets));
        let action = "switch segmentation offload off";
        self.request(action, RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Gives a device an address.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), HostsError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = index;
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes =
            vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        let action = format_args!("add address {address}");
        self.request(action, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// States where a neighbour is, so that nobody has to ask, and a cut link goes unnoticed.
    pub(crate) fn add_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), HostsError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unicast;
        let destination = match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        let action = format_args!("add neighbour {address}");
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.request(action, RouteNetlinkMessage::NewNeighbour(message), flags)
    }

    /// Leads to `destination` over `devices` at equal cost. IPv6 takes equal cost only by way of
    /// gateways, so there each device has the gateway `gateway` behind it.
    pub(crate) fn add_equal_cost_route(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        devices: impl Iterator<Item = u32>,
        gateway: Ipv6Addr,
    ) -> Result<(), HostsError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        let hops = devices.map(|index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            if destination.is_ipv6() {
                hop.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(gateway)));
            }
            hop
        });
        message.attributes = vec![
            RouteAttribute::Destination(destination.into()),
            RouteAttribute::PrefSource(source.into()),
            RouteAttribute::MultiPath(hops.collect()),
        ];
        let action = format_args!("add the route to {destination}");
        self.request(action, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Gives a device an address without leading its network there: routes say who is behind it.
    pub(crate) fn add_address_only(
        &mut self,
        index: u32,
        address: Ipv4Net,
    ) -> Result<(), HostsError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        let own = IpAddr::V4(address.addr());
        message.attributes = vec![
            AddressAttribute::Local(own),
            AddressAttribute::Address(own),
            AddressAttribute::Flags(AddressFlags::Noprefixroute),
        ];
        let action = format_args!("add address {address}");
        self.request(action, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Leads to a network by a device, to a gateway on it where there is one. Fails with
    /// `AlreadyExists` where another route leads there.
    pub(crate) fn add_route(
        &mut self,
        index: u32,
        destination: Ipv4Net,
        gateway: Option<Ipv4Addr>,
        source: Option<Ipv4Addr>,
    ) -> Result<(), HostsError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Link;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(index)];
        if destination.prefix_len() > 0 {
            let network = RouteAddress::Inet(destination.network());
            message.attributes.push(RouteAttribute::Destination(network));
        }
        if let Some(gateway) = gateway {
            // It is in no network of the device's.
            message.header.flags = RouteFlags::Onlink;
            message.header.scope = RouteScope::Universe;
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        }
        if let Some(source) = source {
            message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        }
        let action = format_args!("add the route to {destination}");
        self.request(action, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Puts a class under a queueing discipline that has classes.
    pub(crate) fn add_class(&mut self, class: TcMessage) -> Result<(), HostsError> {
        let message = RouteNetlinkMessage::NewTrafficClass(class);
        self.request("add a traffic class", message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Puts a queueing discipline in front of a device, in place of what stood there.
    pub(crate) fn set_qdisc(&mut self, qdisc: TcMessage) -> Result<(), HostsError> {
        let message = RouteNetlinkMessage::NewQueueDiscipline(qdisc);
        self.request("set a queueing discipline", message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes away what stands in front of a device; nothing standing there is no error.
    pub(crate) fn clear_qdisc(&mut self, qdisc: TcMessage) -> Result<(), HostsError> {
        let message = RouteNetlinkMessage::DelQueueDiscipline(qdisc);
        match self.acknowledged(message, 0) {
            // The default discipline, which cannot be deleted.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            outcome => outcome.map_err(|error| self.failed("clear a queueing discipline", error)),
        }
    }

    fn is_up(&mut self, index: u32) -> Result<bool, HostsError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let answer = self
            .send(RouteNetlinkMessage::GetLink(link), NLM_F_REQUEST)
            .and_then(|sequence| self.receive(sequence))
            .map_err(|error| self.failed("look at a link", error))?;
        let Some(RouteNetlinkMessage::NewLink(link)) = answer else { return Ok(false) };
        let up = LinkAttribute::OperState(State::Up);
        Ok(link.attributes.contains(&up))
    }

    fn request(
        &mut self,
        action: impl Display,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), HostsError> {
        self.acknowledged(message, flags).map_err(|error| self.failed(action, error))
    }

    fn failed(&self, action: impl Display, error: io::Error) -> HostsError {
        HostsError::Configure { action: action.to_string(), host: self.host.clone(), error }
    }

    fn acknowledged(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.receive(sequence).map(|_acknowledgement| ())
    }

    /// Sends a request and returns its number.
    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.write_all(&bytes)?;
        Ok(self.sequence)
    }

    /// Receives the answer to a request; `None` is a bare acknowledgement.
    fn receive(&mut self, sequence: u32) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut bytes = vec![0; ANSWER_ROOM];
        loop {
            let length = self.socket.read(&mut bytes)?;
            let answer = NetlinkMessage::deserialize(&bytes[..length]).map_err(io::Error::other)?;
            if answer.header.sequence_number != sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
                _ => Err(io::Error::other("unexpected netlink answer")),
            };
        }
    }
}

fn device(end: &End, mtu: u32) -> LinkMessage {
    let mut device = LinkMessage::default();
    device.header.index = end.index;
    device.attributes = vec![
        LinkAttribute::IfName(end.device.clone()),
        LinkAttribute::Address(end.mac.to_vec()),
        LinkAttribute::Mtu(mtu),
    ];
    device
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
