//! What a transport must do to be measured.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Iperf3, Tcp, TcpTuning, UdpRaw},
    clock::Clock,
    fabric_load::{FabricLoad, FabricTuning},
    meter::Flow,
    provider_load::ProviderLoad,
    stats::LatencySummary,
};

/// The shape of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The client sends messages as fast as it can.
    OneWay,
    /// Both send as fast as they can.
    BothWays,
    /// One message there, one back, one at a time.
    PingPong,
    /// [`Test::window`] messages there, a reply of one byte back, again.
    Windows,
}

/// One test, the same for every transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Its shape.
    pub shape: Shape,
    /// Bytes of a message.
    pub bytes: u64,
    /// Messages before a reply in [`Shape::Windows`]; at most this many outstanding in the others,
    /// where a transport has outstanding messages.
    pub window: u32,
    /// What happens this long after the start is not measured.
    pub warm_up: Duration,
    /// What happens this long after the warm-up is measured.
    pub duration: Duration,
}

impl Test {
    /// Messages before a reply, as in `osu_bw` and `osu_mbw_mr`.
    pub const WINDOW: u32 = 64;

    /// A test with a quarter of `duration` before it for warming up.
    pub fn new(shape: Shape, bytes: u64, duration: Duration) -> Self {
        Self { shape, bytes, window: Self::WINDOW, warm_up: duration / 4, duration }
    }

    /// How long the sender goes on after `warm_up` and `duration`, so that the receiver, whose
    /// clock starts at the first arrival, sees a full load until its own measurement is over.
    pub fn tail(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(10);
        SHORTEST.max(self.duration / 20)
    }

    /// How long the sender sends.
    pub fn sending(&self) -> Duration {
        self.warm_up + self.duration + self.tail()
    }

    /// When a half gives up on its peer.
    pub fn patience(&self) -> Duration {
        self.sending() + Duration::from_secs(5)
    }
}

/// Where one half can be reached: what the other half needs to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its addresses, if it receives.
    pub addresses: Vec<SocketAddr>,
    /// Whatever else the transport has to tell, in its own form.
    pub token: Vec<u8>,
}

/// What a half found out. The receiver of a flow measures the flow, the sender of pings the
/// latency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What arrived here.
    pub flow: Option<Flow>,
    /// One-way latency.
    pub latency: Option<LatencySummary>,
}

/// The local end of the wire between the two sides.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The address of this side; sockets are bound to it.
    pub local: IpAddr,
    /// The address of the other side.
    pub remote: IpAddr,
    /// The MTU between them.
    pub mtu: usize,
}

/// A transport under measurement. For every test it makes two fresh halves, one on each side.
pub trait Load {
    /// Whether this transport has such a test on such a link. Others are left out silently.
    fn can_run(&self, test: &Test, link: Link) -> bool;

    /// Makes the server's half, which waits for the client's.
    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError>;

    /// Makes the client's half, once the server's has made its offer.
    fn answer(&self, test: &Test, link: Link, offered: &Offer) -> Result<Prepared, LoadError>;
}

/// A half that is ready to run.
pub struct Prepared {
    /// What the other half needs to know.
    pub offer: Offer,
    /// The half.
    pub half: Box<dyn Half>,
}

/// One side of one test.
pub trait Half {
    /// Runs the test to its end. `peer` is the offer of the other half, which runs at the same
    /// time. Must return within [`Test::patience`] whatever the peer does.
    fn run(&mut self, peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError>;
}

/// What can be measured, and how it is set up. This is what the client sends to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The fabric of this project.
    Fabric(FabricTuning),
    /// The same through shared memory: both sides are on one host.
    SharedMemory,
    /// The kernel's TCP.
    Tcp(TcpTuning),
    /// The provider of libfabric's of this name.
    Libfabric(String),
    /// UDP without any protocol above it: the ceiling of this machine.
    UdpRaw,
    /// The real `iperf3`, with this congestion control.
    Iperf3 {
        /// `None` for the system's default.
        congestion: Option<String>,
    },
}

impl Contender {
    /// The same for the other side, whose files and devices are its own matter.
    #[must_use]
    pub fn for_the_other_side(&self) -> Self {
        match self {
            Self::Fabric(_) => Self::Fabric(FabricTuning::default()),
            other => other.clone(),
        }
    }

    /// The transport that does it.
    pub fn load(&self) -> Box<dyn Load> {
        match self {
            Self::Fabric(tuning) => Box::new(FabricLoad::new(tuning.clone())),
            Self::SharedMemory => Box::new(FabricLoad::through_memory()),
            Self::Tcp(tuning) => Box::new(Tcp::new(tuning.clone())),
            Self::Libfabric(name) => Box::new(ProviderLoad::new(name.clone())),
            Self::UdpRaw => Box::new(UdpRaw),
            Self::Iperf3 { congestion } => Box::new(Iperf3::new(congestion.clone())),
        }
    }
}

/// Why a test did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused something.
    #[error("could not {doing}: {error}")]
    Os {
        /// What was attempted.
        doing: &'static str,
        /// Its answer.
        error: io::Error,
    },
    /// This machine does not offer the congestion control to this user.
    #[error(
        "congestion control {name} is not available here: {error} (see \
         net.ipv4.tcp_allowed_congestion_control)"
    )]
    Congestion {
        /// Its name.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Nothing came from the other side.
    #[error("nothing arrived within {0:?}; is a firewall between the two hosts?")]
    NothingArrived(Duration),
    /// The peer went away before the end.
    #[error("the other side went away after {measured:?} of {wanted:?}")]
    EndedEarly {
        /// What was measured until then.
        measured: Duration,
        /// What should have been.
        wanted: Duration,
    },
    /// The peer's offer lacks what this transport needs.
    #[error("the other side offered no address for this transport")]
    NoAddress,
    /// The two sides are not on one host, or cannot share memory.
    #[error("the two sides do not share memory: {0}")]
    NotShared(fabric::UdpReason),
    /// The transport has no such test.
    #[error("this transport does not run {0:?} tests")]
    Unsupported(Shape),
    /// `iperf3` did not do its part.
    #[error("iperf3 failed: {0}")]
    Iperf3(String),
    /// The transport itself failed; its own words.
    #[error(transparent)]
    Transport(Box<dyn std::error::Error + Send + Sync>),
}

impl LoadError {
    /// For `map_err`: what the fabric itself said.
    pub fn fabric<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> Self {
        Self::Transport(error.into())
    }

    /// For `map_err`: the error of the system call that tried to do `doing`.
    pub fn os<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Os { doing, error: error.into() }
    }
}
