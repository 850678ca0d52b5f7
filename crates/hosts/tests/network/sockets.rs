//! Sockets inside hosts, for use from the tests.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use elastane_hosts::Host;
use socket2::{Domain, Socket, Type};

use crate::waiting::BOUND;

/// After this long without a packet, none is under way: packets cross within microseconds.
const SILENCE: Duration = Duration::from_millis(200);

/// The addresses of a host; IPv6 is left out where the machine has none.
pub(crate) fn addresses(host: &Host) -> impl Iterator<Item = IpAddr> {
    [Some(host.address()), host.address6().map(IpAddr::from)].into_iter().flatten()
}

/// A UDP socket of `host`, bound to `address` and a port of the kernel's choice.
pub(crate) fn udp(host: &Host, address: IpAddr) -> UdpSocket {
    let socket: UdpSocket = socket(host, address, Type::DGRAM).into();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    socket
}

/// Sends `bytes` over TCP from one host to an address of another and returns what arrived.
pub(crate) fn tcp_transfer(from: &Host, to: &Host, address: IpAddr, bytes: &[u8]) -> Vec<u8> {
    let listener = socket(to, address, Type::STREAM);
    listener.listen(1).unwrap();
    let target = listener.local_addr().unwrap();
    let client = from.socket(Domain::for_address(plain(&target)), Type::STREAM, None).unwrap();
    client.connect_timeout(&target, BOUND).unwrap();
    let (mut client, listener) = (TcpStream::from(client), TcpListener::from(listener));
    let (mut server, _) = listener.accept().unwrap();
    client.set_write_timeout(Some(BOUND)).unwrap();
    server.set_read_timeout(Some(BOUND)).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || client.write_all(bytes).unwrap());
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        received
    })
}

/// The datagrams that arrive until there is silence, each by its first eight bytes.
pub(crate) fn arrivals(socket: &UdpSocket) -> Vec<u64> {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    std::iter::from_fn(|| arrival(socket)).collect()
}

/// The datagrams that arrive before one that says `marker`, which is sent until it arrives: what
/// was sent before it on the same flow has then arrived or is lost.
pub(crate) fn arrivals_before_marker(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    marker: u64,
) -> Vec<u64> {
    const TRIES: usize = 100;
    let mut received = Vec::new();
    receiver.set_read_timeout(Some(SILENCE / 10)).unwrap();
    for _ in 0..TRIES {
        sender.send_to(&marker.to_be_bytes(), receiver.local_addr().unwrap()).unwrap();
        while let Some(number) = arrival(receiver) {
            if number == marker {
                return received;
            }
            received.push(number);
        }
    }
    panic!("none of {TRIES} markers arrived");
}

fn arrival(socket: &UdpSocket) -> Option<u64> {
    let mut buffer = [0; 9000];
    socket.recv(&mut buffer).ok().map(|_| number(&buffer))
}

fn number(buffer: &[u8]) -> u64 {
    buffer.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn socket(host: &Host, address: IpAddr, kind: Type) -> Socket {
    let local = SocketAddr::new(address, 0);
    let socket = host.socket(Domain::for_address(local), kind, None).unwrap();
    socket.bind(&local.into()).unwrap();
    socket
}

fn plain(address: &socket2::SockAddr) -> SocketAddr {
    address.as_socket().unwrap()
}
