//! Two sides that measure together.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    BenchError,
    fabric_lane::{self, SendLane, Unpaired},
    figures::{Row, SideFigures},
    flow::{self, Task},
    lane::{End, Lane, Pattern, Share},
    ping::{self, Pinging},
    remote_lane::{Operation, RemoteLane},
    setup::{Goal, Length, Local, Setup, Verb, Wire},
    tcp_lane::{self, TcpLane, Use},
    watch::{Watch, Word},
};
use crate::{
    clock::Clock,
    control::{Control, ControlError, Protocol},
    cpu,
    load::LoadError,
    machine::Machine,
    server, session,
};

/// The other side may take so long to make its endpoints.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for the other side.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens at `address`.
    pub fn open(address: SocketAddr) -> Result<Self, BenchError> {
        Ok(Self { listener: server::listen(address)? })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a client and becomes its server.
    pub fn accept(self, setup: Setup, local: Local) -> Result<Pair, BenchError> {
        let (stream, _) = self.listener.accept().map_err(LoadError::os("accept a client"))?;
        Pair::open(stream, setup, local, false)
    }
}

/// Both sides, connected and agreed.
pub struct Pair {
    control: Control,
    setup: Setup,
    local: Local,
    is_client: bool,
    lanes: Lanes,
    ends: Ends,
    machine: Machine,
    peer_machine: Machine,
}

/// Where the endpoints are, in their order.
#[derive(Clone, Debug)]
pub struct Ends {
    /// On this side.
    pub here: Vec<End>,
    /// On the other.
    pub there: Vec<End>,
}

enum Lanes {
    Send(Vec<SendLane>),
    Remote(Vec<RemoteLane>),
    Tcp(Vec<TcpLane>),
}

/// What both sides say once they have greeted each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Opening {
    Setup(Setup),
    Ends(Vec<End>),
    Failed(String),
}

impl Pair {
    /// Connects to a server.
    pub fn connect(address: SocketAddr, setup: Setup, local: Local) -> Result<Self, BenchError> {
        Self::open(session::reach(address)?, setup, local, true)
    }

    fn open(
        stream: TcpStream,
        setup: Setup,
        local: Local,
        is_client: bool,
    ) -> Result<Self, BenchError> {
        let (mut control, peer_machine) = Control::open(stream, Protocol::BENCH)?;
        let machine = Machine::through(control.stream());
        control.send(&Opening::Setup(setup.clone()))?;
        match control.receive(Some(PATIENCE))? {
            Opening::Setup(theirs) => {
                if let Some(difference) = setup.difference(&theirs) {
                    return Err(BenchError::Differs(difference));
                }
            }
            other => return Err(unexpected(&control, other)),
        }
        let at = server::link(&control)?.local;
        let made = match setup.wire {
            Wire::Fabric => fabric_lanes(&mut control, &setup, at),
            Wire::Tcp => tcp_lanes(&mut control, &setup, at, is_client),
        };
        let (lanes, ends) = match made {
            Ok(made) => made,
            Err(error) => {
                // The other side may be gone, which is why this failed.
                control.send(&Opening::Failed(error.to_string())).ok();
                return Err(error);
            }
        };
        Ok(Self { control, setup, local, is_client, lanes, ends, machine, peer_machine })
    }

    /// What was agreed.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where the endpoints are.
    pub const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// This side's machine and the other's.
    pub const fn machines(&self) -> (&Machine, &Machine) {
        (&self.machine, &self.peer_machine)
    }

    /// Whether this side was given the other's address.
    pub const fn is_client(&self) -> bool {
        self.is_client
    }

    /// Whether this side posts operations in a bandwidth test, and begins in one of latency.
    pub const fn leads(&self) -> bool {
        self.is_client != self.setup.reversed
    }

    /// Measures one size.
    pub fn measure(&mut self, bytes: u64) -> Result<Row, BenchError> {
        let plan = RowPlan {
            setup: &self.setup,
            local: self.local,
            leads: self.is_client != self.setup.reversed,
            bytes,
        };
        let measured = match &mut self.lanes {
            Lanes::Send(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::Remote(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::Tcp(lanes) => plan.measure(lanes, &mut self.control),
        };
        if let Err(error) = &measured
            && !matches!(error, BenchError::Control(_) | BenchError::There(_))
        {
            // The other side may be gone, which is why this failed.
            self.control.send(&Word::Failed(error.to_string())).ok();
        }
        let (here, there) = measured?;
        Ok(Row { bytes, here, there })
    }

    /// Closes the endpoints.
    pub fn close(self) {
        match self.lanes {
            Lanes::Send(lanes) => lanes.into_iter().for_each(SendLane::close),
            Lanes::Remote(lanes) => {
                lanes.into_iter().for_each(|lane| fabric_lane::close(lane.into_endpoint()));
            }
            Lanes::Tcp(lanes) => lanes.into_iter().for_each(TcpLane::close),
        }
    }
}

/// One size, on this side.
struct RowPlan<'a> {
    setup: &'a Setup,
    local: Local,
    leads: bool,
    bytes: u64,
}

impl RowPlan<'_> {
    fn measure<L: Lane>(
        &self,
        lanes: &mut [L],
        control: &mut Control,
    ) -> Result<(SideFigures, SideFigures), BenchError> {
        let task = self.task();
        let counted = match self.setup.length {
            Length::Iterations(count) => Some(count + self.setup.warm_up),
            Length::Time { .. } => None,
        };
        let share = Share {
            bytes: task.bytes,
            arrivals: if task.receives { counted } else { Some(0) },
            posts: if task.sends { counted } else { Some(0) },
            depth: usize::try_from(self.local.rx_depth).unwrap_or(usize::MAX),
        };
        for lane in &mut *lanes {
            lane.begin(share)?;
        }
        let mut watch = Watch::new(control, Clock::start());
        watch.meet()?;
        let clock = watch.clock;
        let before = cpu::process_time().map_err(LoadError::os("read the CPU time"))?;
        let mut here = match (self.setup.goal, &mut *lanes) {
            (Goal::Latency, [only]) => ping::run(only, self.pinging(task), &mut watch)?,
            _ => flow::run(lanes, task, &mut watch)?,
        };
        let after = cpu::process_time().map_err(LoadError::os("read the CPU time"))?;
        here.cpu = after.saturating_sub(before);
        here.wall = Duration::from_nanos(clock.now().as_nanos());
        here.verified = self.verified(&here);
        watch.tell(&Word::Over(Box::new(here.clone())))?;
        let there = watch.until_over(lanes)?;
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.end(watch.peer_posted(index))?;
        }
        watch.part()?;
        Ok((here, there))
    }

    fn task(&self) -> Task {
        let is_ping = self.setup.goal == Goal::Latency;
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let mut local = self.local;
        // TCP completes a message when the kernel takes it: a peak would be that of a copy.
        local.peak &= self.setup.wire == Wire::Fabric;
        if self.setup.verb == Verb::Read {
            // Each has a buffer while it is on its way.
            let fitting = (Local::RECEIVE_BYTES / bytes.max(1)).max(2) as u64;
            local.tx_depth = local.tx_depth.min(fitting).max(local.post_list);
        }
        Task {
            bytes,
            sends: is_ping || self.leads || self.setup.bidirectional,
            receives: is_ping
                || self.setup.verb == Verb::Send && (!self.leads || self.setup.bidirectional),
            length: self.setup.length,
            local,
        }
    }

    fn pinging(&self, task: Task) -> Pinging {
        let Setup { verb, warm_up, .. } = *self.setup;
        Pinging { task, verb, leads: self.leads, warm_up }
    }

    /// Bytes of this side's operations that were compared where they arrived, or the row fails.
    fn verified(&self, here: &SideFigures) -> u64 {
        if !self.setup.verify {
            return 0;
        }
        let flow = here.sent.map_or(0, |flow| flow.messages);
        let pings = here.latency.map_or(0, |latency| latency.count);
        (flow + pings) * self.bytes
    }
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
    let Setup { verb, goal, atomic, verify, .. } = *setup;
    let both = unpaired.into_iter().zip(&there);
    let lanes = if verb == Verb::Send {
        let lanes = both.map(|(lane, end)| lane.pair(*end, pattern.clone(), verify));
        Lanes::Send(lanes.collect::<Result<_, _>>()?)
    } else {
        let operation = Operation { verb, goal, atomic, verify };
        let lanes = both.map(|(lane, end)| lane.pair_memory(*end, pattern.clone(), operation));
        Lanes::Remote(lanes.collect::<Result<_, _>>()?)
    };
    Ok((lanes, Ends { here, there }))
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
    Ok((Lanes::Tcp(lanes?), Ends { here, there }))
}

fn receive_ends(control: &mut Control, count: usize) -> Result<Vec<End>, BenchError> {
    match control.receive(Some(PATIENCE))? {
        Opening::Ends(ends) if ends.len() == count => Ok(ends),
        other => Err(unexpected(control, other)),
    }
}

fn unexpected(control: &Control, opening: Opening) -> BenchError {
    match opening {
        Opening::Failed(why) => BenchError::There(why),
        other => {
            let error: ControlError = control.unexpected(format!("{other:?}"));
            error.into()
        }
    }
}
