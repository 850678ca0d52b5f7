//! The control connection between the two sides: frames of JSON, each after its length, over TCP.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use socket2::{SockRef, TcpKeepalive};

use crate::{
    baseline::TcpTuning,
    load::{Contender, Offer, Outcome, Test},
    machine::Machine,
};

/// What is spoken on a control connection, and in which version. Any change of a message or a test
/// increments the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
}

impl Protocol {
    /// Of [`Session`](crate::Session) and [`Server`](crate::Server).
    pub const COMPARE: Self = Self { name: "elastane-compare", version: 1 };
    /// Of [`Pair`](crate::bench::Pair).
    pub const BENCH: Self = Self { name: "elastane-perf", version: 2 };
}

/// What both sides say first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The name of the protocol.
    pub protocol: String,
    /// Sides of different versions do not measure together: they would not run the same tests.
    pub version: u32,
}

impl From<Protocol> for Hello {
    fn from(Protocol { name, version }: Protocol) -> Self {
        Self { protocol: name.to_owned(), version }
    }
}

/// What the client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Make your half of this test. Answered by [`Reply::Offer`] or [`Reply::Failed`].
    Prepare {
        /// Who runs it.
        contender: Contender,
        /// The test.
        test: Test,
        /// A TCP stream that runs beside it.
        rival: Option<TcpTuning>,
    },
    /// Run it; mine is running. Answered by [`Reply::Done`] or [`Reply::Failed`].
    Run {
        /// Where the client's half is.
        offer: Offer,
        /// Where the client's half of the stream beside is.
        rival: Option<Offer>,
    },
    /// Forget it: my half could not be made. Not answered.
    Abandon,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The half is made.
    Offer {
        /// Where it is.
        offer: Offer,
        /// Where the stream beside is.
        rival: Option<Offer>,
    },
    /// The half ran.
    Done(SideOutcome),
    /// It did not; why.
    Failed(String),
}

/// What one side found out, with what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideOutcome {
    /// What the half found out.
    pub outcome: Outcome,
    /// What the stream beside found out.
    pub rival: Option<Outcome>,
    /// User and system time of this side's process during the test.
    pub cpu: Duration,
}

/// Why the two sides do not understand each other.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection is gone.
    #[error("{peer} closed the connection")]
    Vanished {
        /// The other side.
        peer: SocketAddr,
    },
    /// The connection failed.
    #[error("the connection to {peer} failed: {error}")]
    Os {
        /// The other side.
        peer: SocketAddr,
        /// How.
        error: io::Error,
    },
    /// Nothing came in time.
    #[error("{peer} did not answer within {waited:?}")]
    Silent {
        /// The other side.
        peer: SocketAddr,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Not this protocol.
    #[error("{peer} does not speak {protocol}; is the other side elastane?")]
    Foreign {
        /// The other side.
        peer: SocketAddr,
        /// What was to be spoken.
        protocol: &'static str,
    },
    /// This protocol, in another version.
    #[error(
        "{peer} speaks version {theirs} of {}, this side {}: run the same elastane on both",
        ours.name,
        ours.version
    )]
    Version {
        /// The other side.
        peer: SocketAddr,
        /// Its version.
        theirs: u32,
        /// What this side speaks.
        ours: Protocol,
    },
    /// A message that makes no sense here.
    #[error("{peer} sent what was not expected here: {what}")]
    Unexpected {
        /// The other side.
        peer: SocketAddr,
        /// What it sent.
        what: String,
    },
}

/// One end of the control connection.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    peer: SocketAddr,
    protocol: Protocol,
}

impl Control {
    /// A frame longer than this is not ours.
    const LONGEST_FRAME: u32 = 1 << 20;
    /// A peer that is silent for so long when it owes an answer is gone.
    const ANSWER_WITHIN: Duration = Duration::from_secs(10);
    /// A host that vanished without a word is noticed after about twice this.
    const PROBE_EVERY: Duration = Duration::from_secs(5);

    /// Takes over a connection and exchanges greetings and machines.
    pub fn open(stream: TcpStream, protocol: Protocol) -> Result<(Self, Machine), ControlError> {
        let peer = stream.peer_addr().map_err(|error| ControlError::Os {
            peer: SocketAddr::from(([0, 0, 0, 0], 0)),
            error,
        })?;
        let probes =
            TcpKeepalive::new().with_time(Self::PROBE_EVERY).with_interval(Self::PROBE_EVERY);
        SockRef::from(&stream)
            .set_tcp_keepalive(&probes.with_retries(2))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| ControlError::Os { peer, error })?;
        let mut control = Self { stream, peer, protocol };
        control.send(&Hello::from(protocol))?;
        let theirs: Hello = control.receive(Some(Self::ANSWER_WITHIN)).map_err(|error| {
            // Whatever else it said, it was no greeting.
            match error {
                ControlError::Unexpected { .. } => control.foreign(),
                other => other,
            }
        })?;
        if theirs.protocol != protocol.name {
            return Err(control.foreign());
        }
        if theirs.version != protocol.version {
            return Err(ControlError::Version { peer, theirs: theirs.version, ours: protocol });
        }
        control.send(&Machine::through(&control.stream))?;
        let machine = control.receive(Some(Self::ANSWER_WITHIN))?;
        Ok((control, machine))
    }

    /// The other side.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The connection itself, for its addresses and MTU.
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends one message.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), ControlError> {
        let body = serde_json::to_vec(message).expect("messages are plain data");
        let length = u32::try_from(body.len()).expect("messages are short");
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend(body);
        self.stream.write_all(&frame).map_err(|error| self.failed(error, None))
    }

    /// Receives one message; without a bound it waits for as long as the peer lives.
    pub fn receive<T: DeserializeOwned>(
        &mut self,
        within: Option<Duration>,
    ) -> Result<T, ControlError> {
        self.stream.set_read_timeout(within).map_err(|error| self.failed(error, None))?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| self.failed(error, within))?;
        let length = u32::from_le_bytes(length);
        if length > Self::LONGEST_FRAME {
            return Err(self.foreign());
        }
        let mut body = vec![0; usize::try_from(length).expect("checked above")];
        self.stream.read_exact(&mut body).map_err(|error| self.failed(error, within))?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(error))
    }

    /// The error for a message that does not belong here.
    pub fn unexpected(&self, what: impl std::fmt::Display) -> ControlError {
        ControlError::Unexpected { peer: self.peer, what: what.to_string() }
    }

    fn foreign(&self) -> ControlError {
        ControlError::Foreign { peer: self.peer, protocol: self.protocol.name }
    }

    fn failed(&self, error: io::Error, waited: Option<Duration>) -> ControlError {
        let peer = self.peer;
        match (error.kind(), waited) {
            (
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe,
                _,
            ) => ControlError::Vanished { peer },
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(waited)) => {
                ControlError::Silent { peer, waited }
            }
            _ => ControlError::Os { peer, error },
        }
    }
}
