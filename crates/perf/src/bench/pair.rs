//! Two sides that measure together.

use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    BenchError,
    datagram_lane::DatagramLane,
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
    stop: Option<Arc<AtomicBool>>,
    is_stopped: bool,
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
    Datagram(Vec<DatagramLane>),
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
    /// The longest message that this side can send, in bytes.
    Longest(u64),
    Failed(String),
}

impl Pair {
    /// Connects to a server.
    pub fn connect(address: SocketAddr, setup: Setup, local: Local) -> Result<Self, BenchError> {
        Self::open(session::reach(address)?, setup, local, true)
    }

    fn open(
        stream: TcpStream,
        mut setup: Setup,
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
            Wire::Datagram => datagram_lanes(&mut control, &mut setup, at),
        };
        let (lanes, ends) = match made {
            Ok(made) => made,
            Err(error) => {
                // The other side may be gone, which is why this failed.
                control.send(&Opening::Failed(with_causes(&error))).ok();
                return Err(error);
            }
        };
        Ok(Self {
            control,
            setup,
            local,
            is_client,
            lanes,
            ends,
            machine,
            peer_machine,
            stop: None,
            is_stopped: false,
        })
    }

    /// A row that is bounded by time ends when `stop` comes true, on both sides.
    pub fn stop_on(&mut self, stop: Arc<AtomicBool>) {
        self.stop = Some(stop);
    }

    /// Whether either side was told to stop before the last row ended.
    pub const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What was agreed.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where the endpoints are.
    pub const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The longest message in bytes, where that is one datagram.
    pub const fn longest(&self) -> Option<u64> {
        self.setup.longest
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
            stop: self.stop.as_deref(),
        };
        let measured = match &mut self.lanes {
            Lanes::Datagram(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::Send(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::Remote(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::Tcp(lanes) => plan.measure(lanes, &mut self.control),
        };
        if let Err(error) = &measured
            && !matches!(error, BenchError::Control(_) | BenchError::There(_))
        {
            // The other side may be gone, which is why this failed.
            self.control.send(&Word::Failed(with_causes(error))).ok();
        }
        let (mut here, mut there, is_stopped) = measured?;
        self.is_stopped = is_stopped;
        if self.setup.wire == Wire::Tcp && matches!(self.setup.length, Length::Time { .. }) {
            // TCP tells when the kernel takes bytes: what counts is what came out on the other
            // side meanwhile.
            here.sent = here.sent.and(there.received);
            there.sent = there.sent.and(here.received);
        }
        Ok(Row { bytes, here, there })
    }

    /// Closes the endpoints.
    pub fn close(self) {
        match self.lanes {
            // Nothing is on its way that anybody waits for.
            Lanes::Datagram(lanes) => drop(lanes),
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
    stop: Option<&'a AtomicBool>,
}

impl RowPlan<'_> {
    fn measure<L: Lane>(
        &self,
        lanes: &mut [L],
        control: &mut Control,
    ) -> Result<(SideFigures, SideFigures, bool), BenchError> {
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
        let mut watch = Watch::new(control, Clock::start(), self.stop);
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
        here.on_cpu = cpu::bound_to();
        here.verified = self.verified(&here);
        watch.tell(&Word::Over(Box::new(here.clone())))?;
        let there = watch.until_over(lanes)?;
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.end(watch.peer_posted(index))?;
        }
        let is_stopped = watch.part()?;
        Ok((here, there, is_stopped))
    }

    fn task(&self) -> Task {
        let Setup { verb, remote_data, bidirectional, wire, .. } = *self.setup;
        let is_ping = self.setup.goal == Goal::Latency;
        let is_told = verb == Verb::Send || verb == Verb::Write && remote_data;
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let mut local = self.local;
        // TCP completes a message when the kernel takes it: a peak would be that of a copy.
        local.peak &= self.setup.wire != Wire::Tcp;
        if verb == Verb::Read {
            // Each has a buffer while it is on its way.
            let fitting = (Local::RECEIVE_BYTES / bytes.max(1)).max(2) as u64;
            local.tx_depth = local.tx_depth.min(fitting).max(local.post_list);
        }
        Task {
            bytes,
            sends: is_ping || self.leads || bidirectional,
            receives: is_ping || is_told && (!self.leads || bidirectional),
            length: self.setup.length,
            local,
            lossy: wire == Wire::Datagram,
        }
    }

    fn pinging(&self, task: Task) -> Pinging {
        let Setup { verb, warm_up, gap, .. } = *self.setup;
        Pinging { task, verb, leads: self.leads, warm_up, gap }
    }

    /// Bytes of this side's operations that were compared where they arrived, or the row fails. Of
    /// datagrams those that arrived here, for none else were compared.
    fn verified(&self, here: &SideFigures) -> u64 {
        if !self.setup.verify {
            return 0;
        }
        let flow = if self.setup.wire == Wire::Datagram { here.received } else { here.sent };
        let flow = flow.map_or(0, |flow| flow.messages);
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
    Ok((lanes, Ends { here, there }))
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
    Ok((Lanes::Datagram(lanes), Ends { here, there }))
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

/// The error as the other side is to read it.
fn with_causes(error: &BenchError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
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
