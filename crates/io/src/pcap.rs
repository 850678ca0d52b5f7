//! Capture: a device that writes what another carries to a pcap file.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, ip_number};
use pcap_file::{
    DataLink, PcapError, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
};
use wire::{Ecn, Entropy, EntropySet, Train};

use crate::{Arrival, DeviceCounters, Landing, Layout, Limits, PacketIo, Scratch, SendError};

/// What a hop limit is on a host that sends.
const HOPS: u8 = 64;

/// Why no capture was begun.
#[derive(Debug, thiserror::Error)]
#[error("cannot capture to {path}; name a file that can be written")]
pub struct CaptureError {
    /// The file.
    path: PathBuf,
    /// What the operating system said.
    source: io::Error,
}

/// A device that writes every datagram another sends or receives to a pcap file, with IP and UDP
/// headers made up to match. Trains are captured as the datagrams they are.
///
/// When the file cannot be written any more (a full disk), capturing ends, traffic goes on and
/// [`CaptureDevice::capture_error`] says why. Dropping the device completes the file.
pub struct CaptureDevice<D> {
    inner: D,
    /// Time since the Unix epoch.
    clock: fn() -> Duration,
    file: Option<PcapWriter<BufWriter<File>>>,
    error: Option<io::Error>,
    packet: Vec<u8>,
    payload: Vec<u8>,
}

impl<D> CaptureDevice<D> {
    /// Wraps `inner` and captures to a new file at `path`. `clock` gives the time since the Unix
    /// epoch, which becomes the datagrams' time.
    pub fn create(
        inner: D,
        path: impl AsRef<Path>,
        clock: fn() -> Duration,
    ) -> Result<Self, CaptureError> {
        let path = path.as_ref();
        let failed = |source| CaptureError { path: path.to_owned(), source };
        let header = PcapHeader {
            datalink: DataLink::RAW,
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let file = BufWriter::new(File::create(path).map_err(failed)?);
        let file = PcapWriter::with_header(file, header).map_err(|error| failed(into_io(error)))?;
        Ok(Self {
            inner,
            clock,
            file: Some(file),
            error: None,
            packet: Vec::new(),
            payload: Vec::new(),
        })
    }

    /// Why capturing ended before the device did, if it did.
    pub fn capture_error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Completes the file and returns the device that was wrapped.
    pub fn finish(mut self) -> io::Result<()> {
        self.complete();
        self.error.take().map_or(Ok(()), Err)
    }

    fn complete(&mut self) {
        if let Some(file) = self.file.take() {
            self.error = file.into_writer().flush().err();
        }
    }

    /// Writes the datagram in `self.payload`.
    fn capture(&mut self, from: SocketAddr, to: SocketAddr, ecn: Ecn) {
        let Some(file) = &mut self.file else { return };
        let written =
            build_packet(&mut self.packet, (from, to), ecn, &self.payload).and_then(|()| {
                let length = u32::try_from(self.packet.len()).unwrap_or(u32::MAX);
                let packet = PcapPacket::new((self.clock)(), length, &self.packet);
                file.write_packet(&packet).map_err(into_io)
            });
        if let Err(error) = written {
            self.file = None;
            self.error = Some(error);
        }
    }
}

impl<D: PacketIo> CaptureDevice<D> {
    fn capture_train(&mut self, train: &Train) {
        let local = self.inner.local_address();
        let from = self.inner.source_address(train.entropy).unwrap_or(local);
        for (head, tail) in train.datagrams() {
            self.payload.clear();
            self.payload.extend_from_slice(head);
            self.payload.extend_from_slice(tail);
            self.capture(from, train.destination, train.ecn);
        }
    }

    fn capture_arrival(
        &mut self,
        arrival: &Arrival,
        scratch: &Scratch,
        landing: Option<Landing<'_>>,
    ) {
        let local = self.inner.local_address();
        for index in 0..arrival.datagrams() {
            let len = arrival.datagram_bytes(index);
            self.payload.clear();
            match (arrival.layout, &landing) {
                (Layout::Landed, Some(Landing { head, body, buffer })) => {
                    self.payload.extend_from_slice(&scratch.bytes[index * head..][..*head]);
                    self.payload.extend_from_slice(&buffer[index * body..][..len - head]);
                }
                _ => {
                    let bytes = &scratch.bytes[index * arrival.stride..][..len];
                    self.payload.extend_from_slice(bytes);
                }
            }
            self.capture(arrival.source, local, arrival.ecn);
        }
    }
}

impl<D: PacketIo> PacketIo for CaptureDevice<D> {
    fn local_address(&self) -> SocketAddr {
        self.inner.local_address()
    }

    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr> {
        self.inner.source_address(entropy)
    }

    fn retire_sources(&mut self, in_use: &EntropySet) {
        self.inner.retire_sources(in_use);
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        self.inner.path_datagram_bytes(destination)
    }

    fn send(&mut self, train: &Train) -> Result<(), SendError> {
        self.inner.send(train)?;
        if self.file.is_some() {
            self.capture_train(train);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        scratch: &mut Scratch,
        mut landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>> {
        let arrival = self.inner.receive(scratch, landing.as_mut().map(Landing::reborrow))?;
        if let Some(arrival) = arrival.as_ref().filter(|_| self.file.is_some()) {
            self.capture_arrival(arrival, scratch, landing);
        }
        Ok(arrival)
    }

    fn take_unreachable(&mut self) -> Option<SocketAddr> {
        self.inner.take_unreachable()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&self) -> DeviceCounters {
        self.inner.counters()
    }
}

impl<D> Drop for CaptureDevice<D> {
    fn drop(&mut self) {
        self.complete();
    }
}

impl<D: fmt::Debug> fmt::Debug for CaptureDevice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureDevice")
            .field("inner", &self.inner)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Writes an IP packet with this UDP payload, checksums and all.
fn build_packet(
    packet: &mut Vec<u8>,
    (from, to): (SocketAddr, SocketAddr),
    ecn: Ecn,
    payload: &[u8],
) -> io::Result<()> {
    let ip = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            let (from, to) = (from.ip().octets(), to.ip().octets());
            let mut header = Ipv4Header::new(0, HOPS, ip_number::UDP, from, to)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            header.dont_fragment = true;
            header.ecn = etherparse::IpEcn::try_new(ecn.bits()).unwrap_or_default();
            IpHeaders::Ipv4(header, Default::default())
        }
        _ => IpHeaders::Ipv6(
            Ipv6Header {
                traffic_class: ecn.bits(),
                hop_limit: HOPS,
                next_header: ip_number::UDP,
                source: v6_octets(from),
                destination: v6_octets(to),
                ..Ipv6Header::default()
            },
            Default::default(),
        ),
    };
    packet.clear();
    PacketBuilder::ip(ip)
        .udp(from.port(), to.port())
        .write_to_vec(packet, payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn v6_octets(address: SocketAddr) -> [u8; 16] {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(v6) => v6.ip().octets(),
    }
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
