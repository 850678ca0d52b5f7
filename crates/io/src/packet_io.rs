//! The one interface of a device.

use std::{io, net::SocketAddr, os::fd::BorrowedFd, time::Duration};

use wire::{Ecn, Entropy, EntropySet, Train};

/// What a device can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest UDP payload of one datagram on the local link; of several links (a wildcard
    /// address), on the smallest. Single paths may take more, [`PacketIo::path_datagram_bytes`].
    pub datagram_bytes: usize,
    /// The most datagrams in one train; 1 where segmentation is not available.
    pub train_datagrams: usize,
    /// The most bytes in one train.
    pub train_bytes: usize,
    /// Bytes the kernel holds for this endpoint before it drops (the receive buffer).
    pub receive_buffer: usize,
}

/// Where the body of expected datagrams should go. Of each datagram the first `head` bytes go to
/// the scratch memory, the next `body` bytes to `buffer`, one datagram after the other.
#[derive(Debug)]
pub struct Landing<'a> {
    /// Bytes of each datagram before its body.
    pub head: usize,
    /// Bytes of each body; the last may be shorter, cut off by the end of `buffer`.
    pub body: usize,
    /// Where consecutive bodies go.
    pub buffer: &'a mut [u8],
}

impl Landing<'_> {
    /// The same landing, borrowed for one call.
    pub fn reborrow(&mut self) -> Landing<'_> {
        Landing { head: self.head, body: self.body, buffer: self.buffer }
    }
}

/// Where the bytes of an arrival lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All in the scratch memory, one datagram after the other, `stride` apart.
    Contiguous,
    /// The arrival has the shape of the [`Landing`]: datagram `i` has its head at `i * head` in
    /// the scratch memory and its body at `i * body` in the landing buffer.
    Landed,
}

/// A train that arrived: datagrams of one length from one source, the last perhaps shorter.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where it came from.
    pub source: SocketAddr,
    /// Bytes of all datagrams together.
    pub bytes: usize,
    /// Bytes of each datagram but the last; never 0.
    pub stride: usize,
    /// The ECN field.
    pub ecn: Ecn,
    /// Where the bytes lie.
    pub layout: Layout,
}

impl Arrival {
    /// The number of datagrams.
    pub fn datagrams(&self) -> usize {
        self.bytes.div_ceil(self.stride).max(1)
    }

    /// The length of a datagram.
    pub fn datagram_bytes(&self, index: usize) -> usize {
        self.stride.min(self.bytes.saturating_sub(index * self.stride))
    }
}

/// Memory for one arrival, used again and again.
#[derive(Debug)]
pub struct Scratch {
    /// Room for the largest arrival.
    pub bytes: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bytes: vec![0; 65_536].into_boxed_slice() }
    }
}

/// Why a train did not leave. None of these is fatal: the transport recovers as from a loss.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The kernel's queue is full; try again when writable.
    #[error("the socket's send buffer is full")]
    Full,
    /// A datagram is larger than the path's MTU, which is now known to be this many UDP payload
    /// bytes.
    #[error("larger than the path MTU of {0} bytes")]
    TooLarge(usize),
    /// Anything else, from the operating system.
    #[error(transparent)]
    Os(#[from] io::Error),
}

/// What a device counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceCounters {
    /// Trains sent.
    pub tx_trains: u64,
    /// Datagrams sent.
    pub tx_packets: u64,
    /// UDP payload bytes sent.
    pub tx_bytes: u64,
    /// Trains received.
    pub rx_trains: u64,
    /// Datagrams received.
    pub rx_packets: u64,
    /// UDP payload bytes received.
    pub rx_bytes: u64,
    /// Datagrams the kernel dropped because the receive buffer was full (`SO_RXQ_OVFL`).
    pub rx_drops: u64,
    /// Trains that had to be sent datagram by datagram because segmentation failed on the route.
    pub gso_fallbacks: u64,
    /// Receive system calls that found nothing.
    pub rx_empty: u64,
}

/// A device: datagrams out, datagrams in, nothing of the protocol. Wrappers (fault injection,
/// capture) are devices again.
pub trait PacketIo {
    /// The address peers reach this device at.
    fn local_address(&self) -> SocketAddr;

    /// The address datagrams with this entropy leave from, once one has.
    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr>;

    /// Closes the source ports that were not among those in use now nor at the last call: so one
    /// that is given up can still take the errors that come back for what left from it. A port
    /// that is sent from again is opened anew, with another number.
    fn retire_sources(&mut self, in_use: &EntropySet);

    /// What the device can carry.
    fn limits(&self) -> Limits;

    /// The largest UDP payload that reaches `destination` unfragmented, as far as known.
    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize;

    /// Sends a train. `Ok` means handed to the kernel, not arrived; after an error some of its
    /// datagrams may have left nevertheless.
    fn send(&mut self, train: &Train) -> Result<(), SendError>;

    /// Receives one train if one is there, without waiting. The longest wait-free call: what it
    /// returns lies in `scratch` and, if it has the expected shape, in `landing`.
    fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>>;

    /// Destinations that answered with an ICMP error (port or host unreachable) since the last
    /// call: a hint, never proof of death. `None` when there are no more.
    fn take_unreachable(&mut self) -> Option<SocketAddr>;

    /// Sleeps until something can be received or `timeout` passes; `None` waits without bound.
    /// May return early.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// A descriptor that becomes readable when something can be received. Call
    /// [`PacketIo::receive`] until it returns `None` before sleeping on it: what a device has
    /// fetched already, the descriptor does not show.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What was counted so far.
    fn counters(&self) -> DeviceCounters;
}

/// So that wrappers can be chosen at run time.
impl<D: PacketIo + ?Sized> PacketIo for Box<D> {
    fn local_address(&self) -> SocketAddr {
        (**self).local_address()
    }

    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr> {
        (**self).source_address(entropy)
    }

    fn retire_sources(&mut self, in_use: &EntropySet) {
        (**self).retire_sources(in_use);
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        (**self).path_datagram_bytes(destination)
    }

    fn send(&mut self, train: &Train) -> Result<(), SendError> {
        (**self).send(train)
    }

    fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>> {
        (**self).receive(scratch, landing)
    }

    fn take_unreachable(&mut self) -> Option<SocketAddr> {
        (**self).take_unreachable()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        (**self).wait(timeout)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        (**self).descriptor()
    }

    fn counters(&self) -> DeviceCounters {
        (**self).counters()
    }
}
