//! The side that decides: it names the tests and collects both sides' outcomes.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    baseline::{Tcp, TcpTuning},
    control::{Control, ControlError, Protocol, Reply, Request, SideOutcome},
    load::{Contender, Link, LoadError, Test},
    machine::Machine,
    server::{link, run_half},
};

/// A connection to a [`Server`](crate::Server).
#[derive(Debug)]
pub struct Session {
    control: Control,
    link: Link,
    machine: Machine,
    server: Machine,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody listens there.
    #[error("nothing listens on {0}; start `elastane serve` there first")]
    Refused(SocketAddr),
    /// The host does not answer.
    #[error("cannot reach {address}: {error}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Connected, but not to a server of ours.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// What both sides found out in one test.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The client's half.
    pub client: SideOutcome,
    /// The server's half.
    pub server: SideOutcome,
}

/// Why a test has no result.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// This side's half failed; the session goes on.
    #[error(transparent)]
    Here(#[from] LoadError),
    /// The other side's half failed; the session goes on.
    #[error("on the other side: {0}")]
    There(String),
    /// The other side is lost, and the session with it.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Session {
    /// Connects to a server.
    pub fn connect(address: SocketAddr) -> Result<Self, SessionError> {
        let stream = reach(address)?;
        let (control, server) = Control::open(stream, Protocol::COMPARE)?;
        let machine = Machine::through(control.stream());
        let link = link(&control)?;
        Ok(Self { control, link, machine, server })
    }

    /// This side's machine.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The other side's machine.
    pub const fn server(&self) -> &Machine {
        &self.server
    }

    /// The wire between the two sides.
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Whether a contender has such a test on this link.
    pub fn can_run(&self, contender: &Contender, test: &Test) -> bool {
        contender.load().can_run(test, self.link)
    }

    /// Runs one test on both sides, with a TCP stream beside it if `rival` says so.
    pub fn measure(
        &mut self,
        contender: &Contender,
        test: &Test,
        rival: Option<&TcpTuning>,
    ) -> Result<Measured, MeasureError> {
        self.control.send(&Request::Prepare {
            contender: contender.for_the_other_side(),
            test: test.clone(),
            rival: rival.cloned(),
        })?;
        let (offered, rival_offered) = match self.control.receive(Some(ANSWER_WITHIN))? {
            Reply::Offer { offer, rival } => (offer, rival),
            Reply::Failed(why) => return Err(MeasureError::There(why)),
            other @ Reply::Done(_) => {
                return Err(self.control.unexpected(format!("{other:?}")).into());
            }
        };
        let made = contender.load().answer(test, self.link, &offered).and_then(|prepared| {
            let rival = rival.zip(rival_offered.as_ref());
            let rival = rival.map(|(tuning, offered)| {
                Tcp::new(tuning.clone()).connect(test, self.link, offered)
            });
            Ok((prepared, rival.transpose()?))
        });
        let (mut prepared, rival) = match made {
            Ok(made) => made,
            Err(error) => {
                self.control.send(&Request::Abandon)?;
                return Err(error.into());
            }
        };
        let (rival_offer, mut rival) = rival.unzip();
        self.control.send(&Request::Run { offer: prepared.offer.clone(), rival: rival_offer })?;
        let client = run_half(&mut prepared, &offered, rival.as_mut().zip(rival_offered.as_ref()));
        // The server's half may still read from ours: it stays until the server is done.
        let server = self.control.receive(Some(test.patience() + ANSWER_WITHIN))?;
        drop((prepared, rival));
        match (client, server) {
            (Ok(client), Reply::Done(server)) => Ok(Measured { client, server }),
            (Err(here), _) => Err(here.into()),
            (_, Reply::Failed(why)) => Err(MeasureError::There(why)),
            (_, other @ Reply::Offer { .. }) => {
                Err(self.control.unexpected(format!("{other:?}")).into())
            }
        }
    }
}

/// How long the other side may take to make its half, and to answer once it is done.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection to whoever listens at `address`.
pub(crate) fn reach(address: SocketAddr) -> Result<TcpStream, SessionError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => SessionError::Refused(address),
        _ => SessionError::Unreachable { address, error },
    })
}
