//! Two sides that measure together.

use std::{
    error::Error as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

pub use super::lanes::Ends;
use super::{
    BenchError,
    figures::{Row, SideFigures},
    flow::{self, Task},
    lane::{Lane, Share},
    lanes::{Lanes, Opening, unexpected},
    ping::{self, Pinging},
    setup::{Goal, Length, Local, Setup, Verb, Wire},
    watch::{Watch, Word},
};
use crate::{
    clock::Clock,
    control::{Control, Protocol},
    cpu,
    load::LoadError,
    machine::Machine,
    server, session,
};

/// The other side may take so long to make its endpoints.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

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
        let made = Lanes::make(&mut control, &mut setup, local, is_client);
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
            Lanes::LibfabricSend(lanes) => plan.measure(lanes, &mut self.control),
            Lanes::LibfabricRemote(lanes) => plan.measure(lanes, &mut self.control),
        };
        if let Err(error) = &measured
            && !matches!(error, BenchError::Control(_) | BenchError::There(_))
        {
            // The other side may be gone, which is why this failed.
            self.control.send(&Word::Failed(with_causes(error))).ok();
        }
        let (mut here, mut there, is_stopped) = measured?;
        self.is_stopped = is_stopped;
        let timed = matches!(self.setup.length, Length::Time { .. });
        if timed && self.setup.completes_early() {
            // What counts is what came out on the other side meanwhile.
            here.sent = here.sent.and(there.received);
            there.sent = there.sent.and(here.received);
        }
        Ok(Row { bytes, here, there })
    }

    /// Closes the endpoints.
    pub fn close(self) {
        self.lanes.close();
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
        // The peak would be that of a copy.
        local.peak &= !self.setup.completes_early();
        if verb == Verb::Read {
            // Each has a buffer while it is on its way.
            local.tx_depth = local.answers(bytes) as u64;
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

/// The error as the other side is to read it.
fn with_causes(error: &BenchError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
