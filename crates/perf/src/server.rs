//! The side that waits: it runs its half of whatever test the client names.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
};

use crate::{
    baseline::{Tcp, TcpTuning},
    clock::Clock,
    control::{Control, ControlError, Protocol, Reply, Request, SideOutcome},
    cpu,
    fabric_load::FabricTuning,
    load::{Contender, Half, Link, LoadError, Offer, Prepared, Test},
    machine::Machine,
};

/// Waits for clients, one at a time.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    fabric: FabricTuning,
}

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process has the port.
    #[error("port {} of {} is in use; choose another", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address is not one of this host's.
    #[error("{} is not an address of this host; see `ip address`", .0.ip())]
    NotOurs(SocketAddr),
    /// The port needs privileges.
    #[error("port {} needs root; choose one above 1023", .0.port())]
    Privileged(SocketAddr),
    /// Anything else on the way to listening or accepting.
    #[error("cannot listen on {address}: {error}")]
    Os {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The client went away, or was none.
    #[error(transparent)]
    Client(#[from] ControlError),
}

/// A client that came and went.
#[derive(Clone, Debug)]
pub struct Served {
    /// The client.
    pub client: SocketAddr,
    /// Its machine.
    pub machine: Machine,
    /// Tests that ran with it.
    pub tests: usize,
}

impl Server {
    /// Starts to listen.
    pub fn listen(address: SocketAddr) -> Result<Self, ServeError> {
        Ok(Self { listener: listen(address)?, fabric: FabricTuning::default() })
    }

    /// Puts this between the fabric and the wire on this side.
    #[must_use]
    pub fn with_fabric(self, fabric: FabricTuning) -> Self {
        Self { fabric, ..self }
    }

    /// Where clients find it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a client and serves it until it leaves. To end with its client a program calls
    /// this once; to serve many, again and again, whatever it returned.
    pub fn serve_one(&self) -> Result<Served, ServeError> {
        let (stream, client) = self.listener.accept().map_err(|error| ServeError::Os {
            address: self.address().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
            error,
        })?;
        let (mut control, machine) = Control::open(stream, Protocol::COMPARE)?;
        let link = link(&control)?;
        let mut tests = 0;
        loop {
            match control.receive(None) {
                Ok(Request::Prepare { contender, test, rival }) => {
                    tests += 1;
                    let contender = self.on_this_side(contender);
                    serve_test(&mut control, link, &contender, &test, rival)?;
                }
                Ok(other) => return Err(control.unexpected(format!("{other:?}")).into()),
                // Between two tests a client may leave without a word.
                Err(ControlError::Vanished { .. }) => return Ok(Served { client, machine, tests }),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Server {
    /// Which files are written here, and what is injected, is not for a client to say.
    fn on_this_side(&self, contender: Contender) -> Contender {
        match contender {
            Contender::Fabric(_) => Contender::Fabric(self.fabric.clone()),
            other => other,
        }
    }
}

/// A socket that listens at `address`.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(address),
        io::ErrorKind::AddrNotAvailable => ServeError::NotOurs(address),
        io::ErrorKind::PermissionDenied => ServeError::Privileged(address),
        _ => ServeError::Os { address, error },
    })
}

/// The wire between the two ends of a control connection.
pub(crate) fn link(control: &Control) -> Result<Link, ControlError> {
    let local = control.stream().local_addr();
    let local = local.map_err(|error| ControlError::Os { peer: control.peer(), error })?;
    let mtu = Machine::through(control.stream()).mtu;
    Ok(Link { local: local.ip(), remote: control.peer().ip(), mtu })
}

fn serve_test(
    control: &mut Control,
    link: Link,
    contender: &Contender,
    test: &Test,
    rival: Option<TcpTuning>,
) -> Result<(), ControlError> {
    let made = contender.load().offer(test, link);
    let made = made.and_then(|prepared| {
        let rival = rival.map(|tuning| Tcp::new(tuning).listen(test, link)).transpose()?;
        Ok((prepared, rival))
    });
    let (mut prepared, rival) = match made {
        Ok(made) => made,
        Err(error) => return control.send(&Reply::Failed(error.to_string())),
    };
    let (rival_offer, mut rival) = rival.unzip();
    control.send(&Reply::Offer { offer: prepared.offer.clone(), rival: rival_offer })?;
    let (offer, rival_offer) = match control.receive(None)? {
        Request::Run { offer, rival } => (offer, rival),
        Request::Abandon => return Ok(()),
        other @ Request::Prepare { .. } => {
            return Err(control.unexpected(format!("{other:?}")));
        }
    };
    let rival = rival.as_mut().zip(rival_offer.as_ref());
    let reply = match run_half(&mut prepared, &offer, rival) {
        Ok(outcome) => Reply::Done(outcome),
        Err(error) => Reply::Failed(error.to_string()),
    };
    control.send(&reply)
}

/// Runs a half, a TCP stream beside it if there is one, and accounts for the CPU time of both.
pub(crate) fn run_half<H: Half + Send>(
    prepared: &mut Prepared,
    peer: &Offer,
    rival: Option<(&mut H, &Offer)>,
) -> Result<SideOutcome, LoadError> {
    let clock = Clock::start();
    let before = cpu::process_time().map_err(LoadError::os("read the CPU time"))?;
    let (outcome, rival) = thread::scope(|scope| {
        let beside = rival.map(|(half, peer)| scope.spawn(move || half.run(peer, &clock)));
        let outcome = prepared.half.run(peer, &clock);
        let rival = beside.map(|thread| thread.join().expect("the stream beside does not panic"));
        (outcome, rival.transpose())
    });
    let after = cpu::process_time().map_err(LoadError::os("read the CPU time"))?;
    Ok(SideOutcome { outcome: outcome?, rival: rival?, cpu: after.saturating_sub(before) })
}
