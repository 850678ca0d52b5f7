use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    route::payload_of_mtu,
    sys::{ControlBuffer, interface_mtu, option, send_message, set_option},
};
use crate::Limits;

/// How a [`super::UdpDevice`] uses the kernel.
#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// Whether trains go to the kernel whole where it can segment them (GSO). Off, every datagram
    /// is the kernel's from the start: slower, and what a packet filter or a drop rule on this
    /// host sees are then datagrams, not trains.
    pub segmentation: bool,
    /// Bytes asked for the receive buffer. What the kernel gives may be less, see
    /// [`Limits::receive_buffer`].
    pub receive_buffer: usize,
    /// Bytes asked for the send buffer of each source port.
    pub send_buffer: usize,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self { segmentation: true, receive_buffer: 8 << 20, send_buffer: 1 << 20 }
    }
}

/// Why a device did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another socket has the port.
    #[error(
        "cannot listen on {0}: the port is in use; choose another port or stop the program that \
         holds it"
    )]
    InUse(SocketAddr),
    /// No interface of this host has the address.
    #[error(
        "cannot listen on {0}: no network interface of this host has that address; choose one that \
         `ip address` lists"
    )]
    NoSuchAddress(SocketAddr),
    /// Ports below 1024 belong to root.
    #[error(
        "cannot listen on {0}: ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher \
         port"
    )]
    Permission(SocketAddr),
    /// The kernel has no such address family.
    #[error("cannot listen on {0}: this host has no IPv6; choose an IPv4 address")]
    NoFamily(SocketAddr),
    /// Anything else, from the operating system.
    #[error("cannot listen on {address}: {step} failed")]
    Os {
        /// The address asked for.
        address: SocketAddr,
        /// What was being done.
        step: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A non-blocking UDP socket bound to `address`.
pub(super) fn bound_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One family per device: a peer has one address, never also an IPv4-mapped one.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// The socket that peers send to.
pub(super) fn listen(address: SocketAddr, options: &UdpOptions) -> Result<Socket, OpenError> {
    let socket = bound_socket(address).map_err(|error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::InUse(address),
        Some(libc::EADDRNOTAVAIL) => OpenError::NoSuchAddress(address),
        Some(libc::EACCES) => OpenError::Permission(address),
        Some(libc::EAFNOSUPPORT) => OpenError::NoFamily(address),
        _ => OpenError::Os { address, step: "binding a UDP socket", source: error },
    })?;
    let fd = socket.as_fd();
    let set = |step, level, name| {
        set_option(fd, level, name, 1).map_err(|source| OpenError::Os { address, step, source })
    };
    set("counting drops (SO_RXQ_OVFL)", libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    match address {
        SocketAddr::V4(_) => set("reading ECN", libc::IPPROTO_IP, libc::IP_RECVTOS)?,
        SocketAddr::V6(_) => set("reading ECN", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)?,
    }
    match set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1) {
        Ok(()) => {}
        // Kernels before 5.0 deliver trains datagram by datagram: slower, and still right.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
        Err(source) => {
            return Err(OpenError::Os { address, step: "asking for whole trains", source });
        }
    }
    grow_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, options.receive_buffer)
        .map_err(|source| OpenError::Os { address, step: "sizing the receive buffer", source })?;
    Ok(socket)
}

/// Asks for a socket buffer beyond the system's limit, and where that is not permitted, for as
/// much as the limit allows.
pub(super) fn grow_buffer(
    socket: BorrowedFd<'_>,
    force: libc::c_int,
    ask: libc::c_int,
    bytes: usize,
) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, ask, bytes))
}

/// Finds out what a device listening on `socket`, bound to `local`, can carry.
pub(super) fn limits(
    socket: BorrowedFd<'_>,
    local: SocketAddr,
    segmentation: bool,
) -> io::Result<Limits> {
    let given = option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    let mtu = link_mtu(socket, local.ip());
    Ok(Limits {
        datagram_bytes: payload_of_mtu(local.ip(), mtu),
        train_datagrams: if segmentation { segments_per_train(local) } else { 1 },
        train_bytes: payload_of_mtu(local.ip(), usize::MAX),
        // The kernel doubles what was asked to pay for its own book-keeping, and says the double.
        receive_buffer: usize::try_from(given).unwrap_or(0) / 2,
    })
}

/// The MTU of the interface that has the address; for a wildcard address the smallest of those
/// that are up and leave the host, and 1500 where nothing can be learned.
fn link_mtu(socket: BorrowedFd<'_>, local: IpAddr) -> usize {
    const ETHERNET: usize = 1500;
    let Ok(interfaces) = getifaddrs() else { return ETHERNET };
    let mut loopback = None;
    let mut outward: Option<usize> = None;
    for interface in interfaces {
        let Some(address) = interface.address else { continue };
        let ip = address
            .as_sockaddr_in()
            .map(|v4| IpAddr::from(v4.ip()))
            .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())));
        let Some(ip) = ip.filter(|ip| ip.is_ipv4() == local.is_ipv4()) else { continue };
        let Ok(mtu) = interface_mtu(socket, &interface.interface_name) else { continue };
        if ip == local {
            return mtu;
        }
        if interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            loopback = Some(mtu);
        } else if interface.flags.contains(InterfaceFlags::IFF_UP) {
            outward = Some(outward.map_or(mtu, |smallest| smallest.min(mtu)));
        }
    }
    // 127.0.0.2 is nobody's address and still lives on the loopback interface.
    if local.is_loopback() { loopback } else { outward.or(loopback) }.unwrap_or(ETHERNET)
}

/// The most segments the kernel takes per train: 128, 64 before Linux 6.9, 1 without GSO.
fn segments_per_train(local: SocketAddr) -> usize {
    const CANDIDATES: [usize; 2] = [128, 64];
    let Ok((source, sink)) = loopback_pair(local) else { return 1 };
    let mut control = ControlBuffer::<32>::default();
    // By control message: as a socket option it would stay set for every later send.
    control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &1_u16.to_ne_bytes());
    for candidate in CANDIDATES {
        let payload = [0; CANDIDATES[0]];
        let payload = [io::IoSlice::new(&payload[..candidate])];
        match send_message(source.as_fd(), Some(&sink.into()), &payload, control.bytes()) {
            Ok(_) => return candidate,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            // Loopback is down in a fresh network namespace: ask whether GSO exists at all, on a
            // socket that ends here.
            Err(_) => {
                let exists = set_option(source.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1400);
                return if exists.is_ok() { CANDIDATES[1] } else { 1 };
            }
        }
    }
    1
}

/// A socket and the loopback address of another, which is gone again: what is sent there is
/// accepted by the kernel and reaches nobody.
fn loopback_pair(local: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let loopback: IpAddr = match local {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let source = bound_socket(SocketAddr::new(local.ip(), 0))?;
    let sink = bound_socket(SocketAddr::new(loopback, 0))?;
    let address = sink.local_addr()?.as_socket();
    Ok((source, address.unwrap_or(SocketAddr::new(loopback, 9))))
}
