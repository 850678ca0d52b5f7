//! What is known of this host and of endpoints on it, from which text and JSON are made.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use fabric::{
    Clock, Metrics, Options, PacketIo as _, PeerRoute, RdmEndpoint, UdpDevice, UdpReason,
};
use inspect::host::{self, Host};
use serde::Serialize;
use wire::Train;

use super::advice::{self, Warning};

/// The whole document.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    format: &'static str,
    version: u32,
    /// Version of this program.
    pub elastane: &'static str,
    pub host: Host,
    /// What an endpoint gets, address by address.
    pub devices: Vec<Device>,
    pub endpoint_types: Vec<EndpointType>,
    /// What carries messages to which peers.
    pub transports: Vec<Transport>,
    pub warnings: Vec<Warning>,
}

/// An endpoint's device on one address, opened to find out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Device {
    pub interface: String,
    pub address: IpAddr,
    pub loopback: bool,
    /// Why no endpoint can listen there.
    pub error: Option<String>,
    pub limits: Option<Limits>,
}

/// What the device of an endpoint turned out to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Limits {
    /// Bytes of a message on a bare or unreliable endpoint.
    pub datagram_message_bytes: usize,
    /// Datagrams the kernel takes as one train (GSO); 1 without.
    pub gso_segments: usize,
    /// Bytes of a train.
    pub train_bytes: usize,
    /// Bytes of receive buffer asked for, and what the kernel gave.
    pub receive_buffer_asked: usize,
    pub receive_buffer: usize,
}

/// A kind of endpoint.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EndpointType {
    pub name: &'static str,
    /// What libfabric calls it.
    pub libfabric: &'static str,
    pub what: &'static str,
    /// Bytes of the longest message; absent where there is no limit but memory.
    pub max_message_bytes: Option<usize>,
    pub tagged: bool,
    pub reliable: bool,
    pub ordered: bool,
    /// Sends that may be outstanding.
    pub tx_depth: usize,
    /// Receives that may be posted.
    pub rx_depth: usize,
    /// Bytes that a send may copy so that the buffer is free at once (`inject_size`): absent where
    /// there is no limit but memory, 0 where there is no such send.
    pub inject_bytes: Option<usize>,
}

/// What carries messages to some kind of peer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub(super) enum Transport {
    Udp(Udp),
    SharedMemory(SharedMemory),
    Cma(Cma),
}

/// UDP sockets.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Udp {
    /// Which peers.
    pub peers: &'static str,
    /// Datagrams the kernel takes as one train (GSO), as probed; 1 without.
    pub gso_segments: usize,
    /// Datagrams that arrived as one train (GRO) of those sent as one over loopback; 1 without.
    pub gro_segments: usize,
    /// Datagrams per system call where they travel one by one.
    pub batch_datagrams: usize,
    /// Source ports to a peer by default, each a path.
    pub paths: u16,
    /// Bytes of send buffer each source port asks for, and what the kernel gives.
    pub send_buffer_asked: usize,
    pub send_buffer: Option<usize>,
}

/// Rings in memory that two endpoints of one host map.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SharedMemory {
    /// Which peers.
    pub peers: &'static str,
    /// Whether two endpoints opened here came to use it with each other.
    pub works: bool,
    /// Why they did not.
    pub why_not: Option<String>,
    /// Bytes of `/dev/shm` that a link with one peer takes.
    pub link_bytes: usize,
    /// The most links of one endpoint; further peers are reached by UDP.
    pub max_links: usize,
    /// How many links the free room of `/dev/shm` is enough for; absent where that cannot be used.
    pub room_for_links: Option<u64>,
    /// Bytes of the longest record; longer messages are a row of them.
    pub record_bytes: usize,
}

/// Copies from one process to another by the kernel (`process_vm_readv`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cma {
    /// Which peers.
    pub peers: &'static str,
    /// Whether a real copy, of this process's own memory, worked and yama forbids none of others'.
    pub works: bool,
    /// What stands in the way.
    pub why_not: Option<String>,
    /// What the settings say of it (`host.cma` has them all).
    pub outlook: host::CmaOutlook,
}

impl Info {
    /// Reads and probes everything.
    pub(super) fn gather() -> Self {
        let host = Host::read();
        let devices = devices(&host);
        let transports = transports(&host, &devices);
        let warnings = advice::warnings(&host, &devices, &transports);
        Self {
            format: "elastane-info",
            version: 2,
            elastane: env!("CARGO_PKG_VERSION"),
            endpoint_types: endpoint_types(&devices),
            host,
            devices,
            transports,
            warnings,
        }
    }
}

fn devices(host: &Host) -> Vec<Device> {
    let mut devices = Vec::new();
    for interface in host.interfaces.iter().filter(|interface| interface.up) {
        for address in &interface.addresses {
            devices.push(Device::open(interface, *address));
        }
    }
    devices
}

impl Device {
    fn open(interface: &host::Interface, address: IpAddr) -> Self {
        let options = Options::listen(SocketAddr::new(address, 0));
        let (limits, error) = match UdpDevice::open(options.listen, &options.device) {
            Ok(device) => (Some(Limits::of(&device, &options)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            interface: interface.name.clone(),
            address,
            loopback: interface.loopback,
            error,
            limits,
        }
    }
}

impl Limits {
    fn of(device: &UdpDevice, options: &Options) -> Self {
        let io::Limits { datagram_bytes, train_datagrams, train_bytes, receive_buffer } =
            device.limits();
        Self {
            datagram_message_bytes: datagram_bytes.saturating_sub(wire::HEADER_LEN),
            gso_segments: train_datagrams,
            train_bytes,
            receive_buffer_asked: options.device.receive_buffer,
            receive_buffer,
        }
    }
}

fn endpoint_types(devices: &[Device]) -> Vec<EndpointType> {
    let depth = message::Config::default().max_operations;
    let limits = |device: &Device| Some(device.limits?.datagram_message_bytes);
    // The same message has to fit wherever the endpoint is opened, except on loopback.
    let outward = devices.iter().filter(|device| !device.loopback).filter_map(limits).min();
    let datagram = outward.or_else(|| devices.iter().filter_map(limits).min());
    let bare = EndpointType {
        name: "SrdEndpoint",
        libfabric: "FI_EP_RDM, as efa-direct",
        what: "reliable messages of one datagram, in any order",
        max_message_bytes: datagram,
        tagged: false,
        reliable: true,
        ordered: false,
        tx_depth: depth,
        rx_depth: depth,
        inject_bytes: Some(0),
    };
    let full = EndpointType {
        name: "RdmEndpoint",
        libfabric: "FI_EP_RDM",
        what: "reliable messages of any size, matched in each sender's order",
        max_message_bytes: None,
        tagged: true,
        ordered: true,
        inject_bytes: None,
        ..bare.clone()
    };
    let unreliable = EndpointType {
        name: "DatagramEndpoint",
        libfabric: "FI_EP_DGRAM",
        what: "unreliable messages of one datagram",
        reliable: false,
        ..bare.clone()
    };
    vec![full, bare, unreliable]
}

/// One entry for each way to reach a peer.
fn transports(host: &Host, devices: &[Device]) -> Vec<Transport> {
    let shared_memory = SharedMemory::probe(host);
    let why_not = fabric::cross_memory().err().map(|error| error.to_string());
    vec![
        Transport::Udp(Udp::probe(devices)),
        Transport::SharedMemory(shared_memory),
        Transport::Cma(Cma {
            peers: "processes of this host, for large copies",
            works: why_not.is_none(),
            why_not,
            outlook: host.cma.outlook,
        }),
    ]
}

impl Udp {
    fn probe(devices: &[Device]) -> Self {
        let usual = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
        let gso = |device: &Device| Some(device.limits?.gso_segments);
        Self {
            peers: "every peer on another host, and those of this host without shared memory",
            gso_segments: devices.iter().filter_map(gso).min().unwrap_or(1),
            gro_segments: gro_segments(&usual).unwrap_or(1),
            batch_datagrams: io::BATCH_DATAGRAMS,
            paths: usual.transport.paths,
            send_buffer_asked: usual.device.send_buffer,
            send_buffer: host::send_buffer(usual.device.send_buffer).ok(),
        }
    }
}

impl SharedMemory {
    fn probe(host: &Host) -> Self {
        let why_not = link().err();
        let link_bytes = io::shm::Link::BYTES;
        Self {
            peers: "endpoints of this user on this host, in this network namespace",
            works: why_not.is_none(),
            why_not,
            link_bytes,
            max_links: fabric::MAX_LINKS,
            room_for_links: host.memory.shm.map(|shm| shm.free / link_bytes as u64),
            record_bytes: io::shm::Link::MAX_RECORD,
        }
    }
}

/// Opens two endpoints here and lets one write to the other until they share memory, or says why
/// they do not.
fn link() -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_millis(500);
    let open = || {
        let mut options = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
        options.metrics = Metrics::Off;
        RdmEndpoint::open(&options).map_err(|error| error.to_string())
    };
    let (mut from, mut to) = (open()?, open()?);
    let peer = from.peer(to.address()).map_err(|error| error.to_string())?;
    from.inject(peer, b"probe").map_err(|error| error.to_string())?;
    let clock = Clock::start();
    let until = clock.now() + PATIENCE;
    loop {
        match from.route(peer) {
            PeerRoute::SharedMemory => return Ok(()),
            PeerRoute::Udp(UdpReason::Untried | UdpReason::Asked) if clock.now() < until => {}
            PeerRoute::Udp(reason) => return Err(reason.to_string()),
        }
        for endpoint in [&mut from, &mut to] {
            endpoint.poll().map_err(|error| error.to_string())?;
        }
    }
}

/// Sends a train over loopback and counts the datagrams of the first arrival.
fn gro_segments(options: &Options) -> Option<usize> {
    const DATAGRAMS: usize = 16;
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);
    let open = || UdpDevice::open(options.listen, &options.device).ok();
    let (mut from, mut to) = (open()?, open()?);
    let mut train = Train::default();
    train.destination = to.local_address();
    for _ in 0..DATAGRAMS {
        train.heads().extend_from_slice(&[0; 64]);
        train.close(fabric::Bytes::new());
    }
    from.send(&train).ok()?;
    to.wait(Some(PATIENCE)).ok()?;
    let mut scratch = io::Scratch::default();
    let arrival = to.receive(&mut scratch, None).ok()??;
    Some(arrival.datagrams())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_up_interface_is_probed_and_loopback_carries_messages() {
        let info = Info::gather();
        let loopback = info.devices.iter().find(|device| device.loopback).unwrap();
        let limits = loopback.limits.unwrap();
        assert!(limits.datagram_message_bytes > 1000, "{limits:?}");
        assert!(limits.receive_buffer <= limits.receive_buffer_asked, "{limits:?}");
        assert_eq!(info.endpoint_types.len(), 3);
        assert_eq!(info.endpoint_types[0].max_message_bytes, None);
        let [Transport::Udp(udp), Transport::SharedMemory(shared), Transport::Cma(_)] =
            &info.transports[..]
        else {
            panic!("{:?}", info.transports)
        };
        assert!(shared.works && shared.why_not.is_none(), "{shared:?}");
        assert!(shared.room_for_links > Some(0), "{shared:?}");
        assert!(udp.gso_segments >= 64, "{udp:?}");
        assert!(udp.gro_segments > 1, "{udp:?}");
    }
}
