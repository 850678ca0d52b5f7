use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;
use wire::{Entropy, EntropySet};

use super::{
    open::{bound_socket, grow_buffer},
    sys::{ControlBuffer, RawAddress, receive_message, set_option},
};

/// Nothing is expected on a source port; what comes anyway may not hold much memory.
const UNWANTED_BYTES: usize = 4096;
/// Errors taken from one socket at a time, so that a flood of them cannot hold up a call.
const MAX_ERRORS_PER_LOOK: usize = 64;

/// An error that came back for a datagram sent earlier.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feedback {
    /// Packets beyond this many bytes do not reach the destination.
    TooLarge(SocketAddr, usize),
    /// The destination refused the datagram.
    Unreachable(SocketAddr),
}

/// The sockets datagrams leave from, one per entropy value, made when first used.
#[derive(Debug)]
pub(super) struct SourcePorts {
    bind_to: SocketAddr,
    send_buffer: usize,
    ports: Vec<Option<SourcePort>>,
}

/// One source port. After several trains in a row to one destination its socket is connected to
/// it: the kernel then looks the route up once, not for every train.
#[derive(Debug)]
struct SourcePort {
    socket: Socket,
    connected: Option<SocketAddr>,
    last: Option<SocketAddr>,
    in_a_row: u32,
    /// It was not in use when last asked about.
    is_idle: bool,
}

/// Trains in a row to one destination after which connecting pays.
const WORTH_CONNECTING: u32 = 8;

impl SourcePort {
    const fn new(socket: Socket) -> Self {
        Self { socket, connected: None, last: None, in_a_row: 0, is_idle: false }
    }

    /// Notes a train for `destination`. Returns whether the socket is connected to it.
    fn prepare(&mut self, destination: SocketAddr) -> bool {
        if self.connected == Some(destination) {
            return true;
        }
        self.in_a_row = if self.last == Some(destination) { self.in_a_row + 1 } else { 1 };
        self.last = Some(destination);
        if self.in_a_row < WORTH_CONNECTING {
            return false;
        }
        self.in_a_row = 0;
        // What cannot be connected can still be sent from with the destination named.
        self.connected = self.socket.connect(&destination.into()).ok().map(|()| destination);
        self.connected.is_some()
    }
}

/// A socket to send a train from.
pub(super) struct Outlet<'a> {
    pub(super) socket: BorrowedFd<'a>,
    /// The destination need not be named.
    pub(super) is_connected: bool,
}

impl SourcePorts {
    pub(super) fn new(local: SocketAddr, send_buffer: usize) -> Self {
        let mut bind_to = local;
        bind_to.set_port(0);
        let ports = (0..=u8::MAX).map(|_| None).collect();
        Self { bind_to, send_buffer, ports }
    }

    /// The socket of an entropy value, for a train to `destination`.
    pub(super) fn outlet(
        &mut self,
        entropy: Entropy,
        destination: SocketAddr,
    ) -> io::Result<Outlet<'_>> {
        let slot = &mut self.ports[usize::from(entropy.0)];
        let port = match slot {
            Some(port) => port,
            None => {
                let socket = source_socket(self.bind_to, self.send_buffer)?;
                slot.insert(SourcePort::new(socket))
            }
        };
        // A socket of all addresses would keep the one chosen for its first destination.
        let is_connected = !self.bind_to.ip().is_unspecified() && port.prepare(destination);
        Ok(Outlet { socket: port.socket.as_fd(), is_connected })
    }

    /// Closes the sockets that are not in use now and were not when last asked about.
    pub(super) fn retire(&mut self, in_use: &EntropySet) {
        for (index, slot) in (0..=u8::MAX).zip(&mut self.ports) {
            let Some(port) = slot else { continue };
            let was_idle = port.is_idle;
            port.is_idle = !in_use.contains(Entropy(index));
            if was_idle && port.is_idle {
                *slot = None;
            }
        }
    }

    /// The address datagrams of an entropy value leave from, if any left yet.
    pub(super) fn address(&self, entropy: Entropy) -> Option<SocketAddr> {
        self.ports[usize::from(entropy.0)].as_ref()?.socket.local_addr().ok()?.as_socket()
    }

    /// Takes the errors queued at the socket of one entropy value.
    pub(super) fn take_errors(&self, entropy: Entropy, take: &mut impl FnMut(Feedback)) {
        if let Some(port) = &self.ports[usize::from(entropy.0)] {
            drain_errors(port.socket.as_fd(), take);
        }
    }

    /// Takes the errors queued at all sockets.
    pub(super) fn take_all_errors(&self, take: &mut impl FnMut(Feedback)) {
        let sockets = || self.ports.iter().flatten().map(|port| &port.socket);
        // POLLERR needs no asking for; a system call per socket would.
        let mut polled: Vec<_> =
            sockets().map(|socket| PollFd::new(socket.as_fd(), PollFlags::empty())).collect();
        if !poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            return;
        }
        for (polled, socket) in polled.iter().zip(sockets()) {
            if polled.any() == Some(true) {
                drain_errors(socket.as_fd(), take);
            }
        }
    }
}

/// The ECN field of trains that do not say otherwise: ECT(0), as [`wire::Ecn::Capable`]. Set once,
/// it spares every send a control message.
const DEFAULT_ECN: libc::c_int = 0b10;

fn source_socket(bind_to: SocketAddr, send_buffer: usize) -> io::Result<Socket> {
    let socket = bound_socket(bind_to)?;
    let fd = socket.as_fd();
    socket.set_recv_buffer_size(UNWANTED_BYTES)?;
    grow_buffer(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_buffer)?;
    match bind_to {
        SocketAddr::V4(_) => {
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
            set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            set_option(fd, libc::IPPROTO_IP, libc::IP_TOS, DEFAULT_ECN)?;
        }
        SocketAddr::V6(_) => {
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, DEFAULT_ECN)?;
        }
    }
    Ok(socket)
}

fn drain_errors(socket: BorrowedFd<'_>, take: &mut impl FnMut(Feedback)) {
    for _ in 0..MAX_ERRORS_PER_LOOK {
        let mut destination = RawAddress::ROOM;
        let mut control = ControlBuffer::<256>::default();
        // The datagram that caused the error comes along, cut off to nothing.
        let payload: &mut [IoSliceMut<'_>] = &mut [];
        let flags = libc::MSG_ERRQUEUE;
        if receive_message(socket, &mut destination, payload, &mut control, flags).is_err() {
            return;
        }
        if let Some(feedback) = feedback(destination, &control) {
            take(feedback);
        }
    }
}

/// Reads the `sock_extended_err` of ip(7).
fn feedback(destination: RawAddress, control: &ControlBuffer<256>) -> Option<Feedback> {
    let (_, _, error) = control.messages().find(|(level, kind, _)| {
        matches!(
            (*level, *kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        )
    })?;
    let (number, rest) = error.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (info, _) = rest.split_first_chunk::<4>()?;
    let destination = destination.to_socket_addr()?;
    let number = i32::from_ne_bytes(*number);
    let from_network = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&kind[0]);
    match number {
        libc::EMSGSIZE => {
            let mtu = usize::try_from(u32::from_ne_bytes(*info)).ok()?;
            (mtu > 0).then_some(Feedback::TooLarge(destination, mtu))
        }
        // Nobody has the port. A host or a network without a way to it may be there in a moment:
        // a link that has just come up has no neighbours yet.
        libc::ECONNREFUSED => from_network.then_some(Feedback::Unreachable(destination)),
        _ => None,
    }
}
