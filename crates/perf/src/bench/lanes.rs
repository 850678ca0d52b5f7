//! How the two sides make their lanes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    BenchError,
    datagram_lane::DatagramLane,
    fabric_lane::{self, SendLane, Unpaired},
    lane::{End, Pattern},
    libfabric::{self, Place, Provider},
    pair::PATIENCE,
    remote_lane::{Operation, RemoteLane},
    setup::{Goal, Length, Local, Setup, Verb, Wire},
    tcp_lane::{self, TcpLane, Use},
};
use crate::{
    control::{Control, ControlError},
    load::LoadError,
    server,
};

/// Where the endpoints are, in their order.
#[derive(Clone, Debug)]
pub struct Ends {
    /// On this side.
    pub here: Vec<End>,
    /// On the other.
    pub there: Vec<End>,
    /// The provider of libfabric's that they are of, if they are.
    pub provider: Option<Provider>,
}

/// The lanes of a test, one for each endpoint.
pub(super) enum Lanes {
    Datagram(Vec<DatagramLane>),
    Send(Vec<SendLane>),
    Remote(Vec<RemoteLane>),
    Tcp(Vec<TcpLane>),
    LibfabricSend(Vec<libfabric::SendLane>),
    LibfabricRemote(Vec<libfabric::RemoteLane>),
}

/// What both sides say once they have greeted each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Opening {
    Setup(Setup),
    Ends(Vec<End>),
    /// Where the endpoints of a provider are.
    Places(Vec<Place>),
    /// The longest message that this side can send, in bytes.
    Longest(u64),
    Failed(String),
}

impl Lanes {
    /// Makes them, together with the other side.
    pub(super) fn make(
        control: &mut Control,
        setup: &mut Setup,
        local: Local,
        is_client: bool,
    ) -> Result<(Self, Ends), BenchError> {
        let at = server::link(control)?.local;
        match (setup.wire, setup.provider.clone()) {
            (_, Some(provider)) => libfabric_lanes(control, setup, local, &provider),
            (Wire::Fabric | Wire::Libfabric, None) => fabric_lanes(control, setup, at),
            (Wire::Tcp, None) => tcp_lanes(control, setup, at, is_client),
            (Wire::Datagram, None) => datagram_lanes(control, setup, at),
        }
    }

    /// Closes the endpoints.
    pub(super) fn close(self) {
        match self {
            // Nothing is on its way that anybody waits for.
            Self::Datagram(lanes) => drop(lanes),
            Self::LibfabricSend(lanes) => drop(lanes),
            Self::LibfabricRemote(lanes) => drop(lanes),
            Self::Send(lanes) => lanes.into_iter().for_each(SendLane::close),
            Self::Remote(lanes) => {
                lanes.into_iter().for_each(|lane| fabric_lane::close(lane.into_endpoint()));
            }
            Self::Tcp(lanes) => lanes.into_iter().for_each(TcpLane::close),
        }
    }
}

/// A provider's endpoints have addresses of its own; shown are those of the control connection.
fn libfabric_lanes(
    control: &mut Control,
    setup: &Setup,
    local: Local,
    provider: &str,
) -> Result<(Lanes, Ends), BenchError> {
    let link = server::link(control)?;
    let unpaired = libfabric::Unpaired::open(provider, setup, local, link.local)?;
    let opened = unpaired.provider.clone();
    control.send(&Opening::Places(unpaired.places()))?;
    let there = match control.receive(Some(PATIENCE))? {
        Opening::Places(places) if places.len() == setup.endpoints => places,
        other => return Err(unexpected(control, other)),
    };
    let pattern = Pattern::new(setup.largest());
    let lanes = if setup.verb == Verb::Send {
        let lane = |channel| libfabric::SendLane::new(channel, pattern.clone(), setup);
        Lanes::LibfabricSend(unpaired.pair(&there, lane)?)
    } else {
        let lane = |channel| libfabric::RemoteLane::new(channel, pattern.clone(), setup, local);
        Lanes::LibfabricRemote(unpaired.pair(&there, lane)?)
    };
    let ends = |ip: IpAddr| {
        let end = |number| {
            let address = SocketAddr::new(ip, 0);
            End { address, number, first_psn: 0, key: None }
        };
        (0..).map(end).take(setup.endpoints).collect()
    };
    let (here, there) = (ends(link.local), ends(link.remote));
    Ok((lanes, Ends { here, there, provider: Some(opened) }))
}

fn fabric_lanes(
    control: &mut Control,
    setup: &Setup,
    at: IpAddr,
) -> Result<(Lanes, Ends), BenchError> {
    let unpaired: Result<Vec<_>, _> =
        (0..setup.endpoints).map(|_| Unpaired::open(at, setup)).collect();
    let unpaired = unpaired?;
    let here: Vec<End> = unpaired.iter().map(Unpaired::end).collect();
    control.send(&Opening::Ends(here.clone()))?;
    let there = receive_ends(control, setup.endpoints)?;
    let pattern = Pattern::new(setup.largest());
    let Setup { verb, goal, atomic, verify, remote_data, .. } = *setup;
    let both = unpaired.into_iter().zip(&there);
    let lanes = if verb == Verb::Send {
        let lanes = both.map(|(lane, end)| lane.pair(*end, pattern.clone(), setup));
        Lanes::Send(lanes.collect::<Result<_, _>>()?)
    } else {
        let operation = Operation { verb, goal, atomic, verify, remote_data };
        let lanes = both.map(|(lane, end)| lane.pair_memory(*end, pattern.clone(), operation));
        Lanes::Remote(lanes.collect::<Result<_, _>>()?)
    };
    Ok((lanes, Ends { here, there, provider: None }))
}

/// Opens them, and leaves of the sizes what both sides can send.
fn datagram_lanes(
    control: &mut Control,
    setup: &mut Setup,
    at: IpAddr,
) -> Result<(Lanes, Ends), BenchError> {
    let lanes: Result<Vec<_>, _> =
        (0..setup.endpoints).map(|_| DatagramLane::open(at, setup.verify)).collect();
    let mut lanes = lanes?;
    let here: Vec<End> = lanes.iter().map(DatagramLane::end).collect();
    control.send(&Opening::Ends(here.clone()))?;
    let there = receive_ends(control, setup.endpoints)?;
    let mut longest = u64::MAX;
    for (lane, end) in lanes.iter_mut().zip(&there) {
        longest = longest.min(lane.meet(*end)?);
    }
    control.send(&Opening::Longest(longest))?;
    longest = match control.receive(Some(PATIENCE))? {
        Opening::Longest(theirs) => longest.min(theirs),
        other => return Err(unexpected(control, other)),
    };
    setup.fit(longest).map_err(|bytes| BenchError::TooLong { bytes, longest })?;
    let pattern = Pattern::new(setup.largest());
    for lane in &mut lanes {
        lane.send_of(&pattern);
    }
    Ok((Lanes::Datagram(lanes), Ends { here, there, provider: None }))
}

/// The server listens, the client connects and says from where.
fn tcp_lanes(
    control: &mut Control,
    setup: &Setup,
    at: IpAddr,
    is_client: bool,
) -> Result<(Lanes, Ends), BenchError> {
    let receipt = matches!(setup.length, Length::Iterations(_));
    let uses = match (setup.goal, setup.bidirectional) {
        (Goal::Latency, _) => Use::One { receipt: false },
        (Goal::Bandwidth, false) => Use::One { receipt },
        (Goal::Bandwidth, true) => Use::Two { receipt },
    };
    let count = setup.endpoints * uses.streams();
    let (streams, here, there) = if is_client {
        let server = receive_ends(control, 1)?;
        let streams = tcp_lane::connect(server[0].address, count)?;
        let here: Result<Vec<End>, _> = streams.iter().map(tcp_lane::end_of).collect();
        let here = here?;
        control.send(&Opening::Ends(here.clone()))?;
        let there = vec![server[0]; setup.endpoints];
        (streams, here, there)
    } else {
        let listener = tcp_lane::listen(at)?;
        let address = listener.local_addr().map_err(LoadError::os("read a TCP address"))?;
        let end = End { address, number: address.port().into(), first_psn: 0, key: None };
        control.send(&Opening::Ends(vec![end]))?;
        let there = receive_ends(control, count)?;
        let streams = tcp_lane::accept(&listener, &there)?;
        (streams, vec![end; setup.endpoints], there)
    };
    let pattern = Pattern::new(setup.largest());
    let mut streams = streams.into_iter();
    let lanes: Result<Vec<_>, _> = (0..setup.endpoints)
        .map(|_| {
            let streams = streams.by_ref().take(uses.streams()).collect();
            TcpLane::new(streams, is_client, uses, pattern.clone(), setup.verify)
        })
        .collect();
    Ok((Lanes::Tcp(lanes?), Ends { here, there, provider: None }))
}

fn receive_ends(control: &mut Control, count: usize) -> Result<Vec<End>, BenchError> {
    match control.receive(Some(PATIENCE))? {
        Opening::Ends(ends) if ends.len() == count => Ok(ends),
        other => Err(unexpected(control, other)),
    }
}

/// Why an opening is another than was due.
pub(super) fn unexpected(control: &Control, opening: Opening) -> BenchError {
    match opening {
        Opening::Failed(why) => BenchError::There(why),
        other => {
            let error: ControlError = control.unexpected(format!("{other:?}"));
            error.into()
        }
    }
}
