//! UDP: one socket to receive on, many source ports to send from, whole trains per system call.

mod open;
mod receive;
mod route;
mod send;
mod source;
#[expect(unsafe_code, reason = "the system calls that no safe crate offers without copies")]
mod sys;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use wire::{Entropy, EntropySet, Train};

pub use open::{OpenError, UdpOptions};
use receive::Receiver;
use route::Routes;
use source::SourcePorts;

use crate::{Arrival, DeviceCounters, Landing, Limits, PacketIo, Scratch, SendError};

/// The most datagrams a system call sends or receives where trains are not to be had.
pub const BATCH_DATAGRAMS: usize = sys::BATCH;
/// Calls of [`PacketIo::take_unreachable`] between two looks at the sockets while polling.
const CALLS_PER_LOOK: u32 = 16;
/// Looks after the last send: an ICMP error needs a round trip to come back.
const LOOKS_PER_SEND: u32 = 64;
/// Unreachable destinations kept for the caller.
const MAX_UNREACHABLE: usize = 1024;

/// A device over UDP sockets.
///
/// Peers reach it at one address; it sends from a port of its own for each [`Entropy`], never a
/// fragment.
#[derive(Debug)]
pub struct UdpDevice {
    local: SocketAddr,
    limits: Limits,
    receiver: Receiver,
    sources: SourcePorts,
    routes: Routes,
    feedback: Unreachable,
    counters: DeviceCounters,
}

impl UdpDevice {
    /// Listens on `address`; port 0 takes a free one.
    pub fn open(address: SocketAddr, options: &UdpOptions) -> Result<Self, OpenError> {
        let failed = |step| move |source| OpenError::Os { address, step, source };
        let socket = open::listen(address, options)?;
        let local = socket.local_addr().map_err(failed("reading the bound address"))?;
        let local = local.as_socket().unwrap_or(address);
        let limits = open::limits(socket.as_fd(), local, options.segmentation)
            .map_err(failed("reading the receive buffer's size"))?;
        Ok(Self {
            local,
            limits,
            receiver: Receiver::new(socket),
            sources: SourcePorts::new(local, options.send_buffer),
            routes: Routes::new(local, limits.datagram_bytes),
            feedback: Unreachable::default(),
            counters: DeviceCounters::default(),
        })
    }
}

impl PacketIo for UdpDevice {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr> {
        self.sources.address(entropy)
    }

    fn retire_sources(&mut self, in_use: &EntropySet) {
        // What came back for the ports that go.
        self.take_all_feedback();
        self.sources.retire(in_use);
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        self.routes.datagram_bytes(destination)
    }

    fn send(&mut self, train: &Train) -> Result<(), SendError> {
        self.send_train(train)
    }

    fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>> {
        self.receiver.receive(scratch, landing, &mut self.counters)
    }

    fn take_unreachable(&mut self) -> Option<SocketAddr> {
        if self.feedback.look_is_due() {
            self.take_all_feedback();
        }
        self.feedback.waiting.pop_front()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.receiver.holds_some() {
            return Ok(());
        }
        self.feedback.slept = true;
        let mut polled = [PollFd::new(self.receiver.descriptor(), PollFlags::POLLIN)];
        match ppoll(&mut polled, timeout.map(TimeSpec::from), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.receiver.descriptor()
    }

    fn counters(&self) -> DeviceCounters {
        self.counters
    }
}

/// Destinations that answered with an error, and when it is worth looking for more.
#[derive(Debug, Default)]
struct Unreachable {
    waiting: VecDeque<SocketAddr>,
    calls: u32,
    looks: u32,
    slept: bool,
}

impl Unreachable {
    /// Something was sent: an error may come back.
    fn expect_some(&mut self) {
        self.looks = LOOKS_PER_SEND;
    }

    /// A look costs a system call. It is worth that when errors may be on their way, and either
    /// the caller has just slept or has polled for a while.
    fn look_is_due(&mut self) -> bool {
        if self.looks == 0 || !self.waiting.is_empty() {
            return false;
        }
        self.calls += 1;
        if !self.slept && self.calls < CALLS_PER_LOOK {
            return false;
        }
        self.calls = 0;
        self.slept = false;
        self.looks -= 1;
        true
    }

    fn push(&mut self, destination: SocketAddr) {
        if self.waiting.len() < MAX_UNREACHABLE && self.waiting.back() != Some(&destination) {
            self.waiting.push_back(destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn pair() -> (UdpDevice, UdpDevice) {
        let open =
            || UdpDevice::open("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        (open(), open())
    }

    fn train(to: &UdpDevice, datagrams: usize) -> Train {
        let mut train = Train::default();
        train.destination = to.local_address();
        for _ in 0..datagrams {
            train.heads().extend_from_slice(&[7; 64]);
            train.close(Bytes::new());
        }
        train
    }

    #[test]
    fn kernel_segments_trains_here() {
        // All the other tests of trains mean little where this does not hold.
        assert!(pair().0.limits().train_datagrams >= 64);
    }

    #[test]
    fn segmentation_failure_on_a_route_resends_datagram_by_datagram_from_then_on() {
        let (mut a, mut b) = pair();
        // The kernel refuses to segment what it may not checksum, as on a route whose device
        // cannot.
        let socket = a.sources.outlet(Entropy(0), b.local).unwrap().socket;
        sys::set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let sent = train(&b, 20);
        for _ in 0..2 {
            a.send(&sent).unwrap();
        }
        assert_eq!(a.counters().gso_fallbacks, 1);
        assert_eq!(a.counters().tx_packets, 40);
        let mut scratch = Scratch::default();
        while b.receive(&mut scratch, None).unwrap().is_some() {}
        assert_eq!(b.counters().rx_packets, 40);
    }

    #[test]
    fn queue_of_singles_is_fetched_in_batches_and_never_slept_over() {
        let (mut a, mut b) = pair();
        let sent = train(&b, 1);
        for _ in 0..10 {
            a.send(&sent).unwrap();
        }
        let mut scratch = Scratch::default();
        for _ in 0..5 {
            b.receive(&mut scratch, None).unwrap().unwrap();
        }
        assert!(b.receiver.holds_some());
        b.wait(None).unwrap();
        for _ in 5..10 {
            b.receive(&mut scratch, None).unwrap().unwrap();
        }
        assert!(b.receive(&mut scratch, None).unwrap().is_none());
    }

    #[test]
    fn busy_port_says_what_to_do() {
        let (a, _b) = pair();
        let Err(error) = UdpDevice::open(a.local_address(), &UdpOptions::default()) else {
            panic!("two devices share a port");
        };
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {}: the port is in use; choose another port or stop the \
                 program that holds it",
                a.local_address()
            )
        );
    }

    #[test]
    fn foreign_address_says_what_to_do() {
        // A block reserved for documentation.
        let foreign = "203.0.113.77:0".parse().unwrap();
        let Err(error) = UdpDevice::open(foreign, &UdpOptions::default()) else {
            panic!("listening on a foreign address");
        };
        assert!(error.to_string().contains("no network interface of this host has that address"));
    }

    #[test]
    fn destination_of_the_other_family_is_an_error() {
        let (mut a, _b) = pair();
        let mut sent = Train::default();
        sent.destination = "[::1]:9".parse().unwrap();
        sent.heads().push(1);
        sent.close(Bytes::new());
        assert!(matches!(a.send(&sent), Err(SendError::Os(_))));
    }
}
