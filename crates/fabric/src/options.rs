//! How an endpoint is opened, and why one does not open.

use std::{net::SocketAddr, time::Duration};

use inspect::{Port as MetricsPort, PortError, PublishError};
use io::{OpenError, UdpOptions};
use memory::Regions;

use crate::{CrossMemory, SharedMemory};

/// Settings of an endpoint. Each field's default suits Ethernet within one site.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The transport's settings.
    pub transport: srd::Config,
    /// The message layer's settings.
    pub messages: message::Config,
    /// The device's settings.
    pub device: UdpOptions,
    /// Whether [`crate::RdmEndpoint::open`] uses shared memory with peers on this host. Endpoints
    /// of other kinds, and those on a device of the caller's choice, never do.
    pub shared_memory: SharedMemory,
    /// Whether large messages of peers on this host may be copied out of their memory.
    pub cross_memory: CrossMemory,
    /// The regions that peers reach through the endpoint. Endpoints that are given clones of one
    /// registry share what is registered with any of them (a domain); `None` makes a new one,
    /// with random keys.
    pub regions: Option<Regions>,
    /// How long a waiting call spins before it sleeps.
    pub spin: Duration,
    /// Whether counters and paths are to be had on a loopback port while the endpoint lives.
    pub metrics: Metrics,
}

/// Whether an endpoint publishes metrics: Prometheus text at `/metrics`, JSON at
/// `/metrics.json`, on a port of 127.0.0.1 that all endpoints of a process share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metrics {
    /// As the environment variable [`METRICS_VARIABLE`] says: `auto`, a port, or `off`, which is
    /// also meant where it is not set.
    #[default]
    FromEnvironment,
    /// No.
    Off,
    /// On this port.
    On(MetricsPort),
}

/// See [`Metrics::FromEnvironment`].
pub const METRICS_VARIABLE: &str = "ELASTANE_METRICS";

impl Options {
    /// The defaults, listening at `listen`.
    pub fn listen(listen: SocketAddr) -> Self {
        Self {
            listen,
            transport: srd::Config::default(),
            messages: message::Config::default(),
            device: UdpOptions::default(),
            shared_memory: SharedMemory::default(),
            cross_memory: CrossMemory::default(),
            regions: None,
            spin: Duration::from_micros(50),
            metrics: Metrics::default(),
        }
    }
}

/// What an endpoint cannot go on after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operating system refused something that cannot be done without.
    #[error("the network device failed: {0}")]
    Device(#[from] std::io::Error),
    /// No more peers can be known.
    #[error(transparent)]
    TooManyPeers(#[from] srd::TooManyPeers),
    /// The operating system gave no random number for the incarnation.
    #[error("no random number for the endpoint's incarnation: {0}")]
    NoRandomness(getrandom::Error),
    /// Metrics were asked for and cannot be published.
    #[error(transparent)]
    Metrics(#[from] PublishError),
    /// The environment asks for metrics on something that is no port.
    #[error("{METRICS_VARIABLE}: {0}")]
    MetricsVariable(PortError),
    /// The time given to a close passed before everything sent was acknowledged.
    #[error("closed after {waited:?} with {operations} operations not acknowledged by their peers")]
    Unfinished {
        /// How long was waited.
        waited: Duration,
        /// Operations that were not complete.
        operations: usize,
    },
}
