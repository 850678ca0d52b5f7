//! The fabric as a load: the same tests as TCP and raw UDP run, on a reliable-datagram-message
//! endpoint of each side.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use fabric::{
    Buffer, Bytes, CaptureDevice, Completion, Event, FaultDevice, FaultSpec, Options, PacketIo,
    PeerId, PeerRoute, RdmEndpoint, SharedMemory, Tag, TagMatch, UdpDevice,
};
use serde::{Deserialize, Serialize};
use wire::Time;

use crate::{
    clock::{self, Clock},
    cpu::Pause,
    load::{Half, Link, Load, LoadError, Offer, Outcome, Prepared, Shape, Test},
    meter::{Flow, Meter},
    stats::{Latencies, LatencySummary},
};

/// What may be put between the fabric and the wire of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FabricTuning {
    /// Faults to inject, in the words of [`FaultSpec`].
    pub inject: Option<String>,
    /// A file that gets a copy of every datagram.
    pub pcap: Option<PathBuf>,
}

impl FabricTuning {
    fn is_plain(&self) -> bool {
        self.inject.is_none() && self.pcap.is_none()
    }

    /// The device of a test, wrapped.
    fn device(&self, options: &Options) -> Result<Box<dyn PacketIo + Send>, LoadError> {
        let device = UdpDevice::open(options.listen, &options.device).map_err(LoadError::fabric)?;
        let mut device: Box<dyn PacketIo + Send> = Box::new(device);
        if let Some(path) = &self.pcap {
            let capture = CaptureDevice::create(device, path, clock::since_epoch);
            device = Box::new(capture.map_err(LoadError::fabric)?);
        }
        if let Some(spec) = &self.inject {
            let spec: FaultSpec = spec.parse().map_err(LoadError::fabric)?;
            device = Box::new(FaultDevice::new(device, spec));
        }
        Ok(device)
    }
}

/// The fabric as a load.
#[derive(Clone, Debug)]
pub struct FabricLoad {
    tuning: FabricTuning,
    shared_memory: SharedMemory,
}

/// Messages are sent from a buffer of this size, one after the other, as TCP sends them.
const SOURCE_BYTES: usize = 1 << 20;
/// Bytes of messages on their way at any time, where the test allows as many.
const BYTES_OUTSTANDING: usize = 2 << 20;
/// A waiting call returns this often to look at the clock.
const TICK: Duration = Duration::from_millis(10);
/// The same where there is only an acknowledgement to be sent.
const GOODBYE_TICK: Duration = Duration::from_millis(1);
/// How long two endpoints of one host may take to share memory.
const SHARED_WITHIN: Duration = Duration::from_secs(2);
/// The length of a message that says that no more will come; all others have one byte at least.
const GOODBYE: u64 = 0;

impl FabricLoad {
    /// The fabric with `tuning` on this side.
    pub const fn new(tuning: FabricTuning) -> Self {
        // What is measured is the network, though it may be this machine's own.
        Self { tuning, shared_memory: SharedMemory::Never }
    }

    /// The fabric between two processes of one host, which must come to share memory.
    pub fn through_memory() -> Self {
        Self { tuning: FabricTuning::default(), shared_memory: SharedMemory::Automatic }
    }

    fn prepare(&self, test: &Test, link: Link, sends: bool) -> Result<Prepared, LoadError> {
        let shared_memory = self.shared_memory;
        let options = Options { shared_memory, ..Options::listen((link.local, 0).into()) };
        if self.tuning.is_plain() {
            let endpoint = RdmEndpoint::open(&options).map_err(LoadError::fabric)?;
            return Ok(FabricHalf::prepare(endpoint, test, sends, shared_memory));
        }
        let device = self.tuning.device(&options)?;
        let endpoint = RdmEndpoint::on_device(device, &options).map_err(LoadError::fabric)?;
        Ok(FabricHalf::prepare(endpoint, test, sends, SharedMemory::Never))
    }
}

impl Load for FabricLoad {
    fn can_run(&self, _test: &Test, _link: Link) -> bool {
        true
    }

    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError> {
        self.prepare(test, link, false)
    }

    fn answer(&self, test: &Test, link: Link, _offered: &Offer) -> Result<Prepared, LoadError> {
        self.prepare(test, link, true)
    }
}

/// One side of a test on the fabric.
struct FabricHalf<D: PacketIo> {
    endpoint: RdmEndpoint<D>,
    test: Test,
    /// This side begins.
    is_client: bool,
    shared_memory: SharedMemory,
    source: Bytes,
    at: usize,
    spare: Vec<Buffer>,
    /// Sends that are not complete.
    sending: usize,
    /// Receives that are posted.
    posted: usize,
    /// Lengths of messages that arrived and were not looked at.
    arrived: VecDeque<u64>,
    /// The other side has left.
    is_over: bool,
}

impl<D: PacketIo + 'static> FabricHalf<D> {
    fn prepare(
        endpoint: RdmEndpoint<D>,
        test: &Test,
        is_client: bool,
        shared_memory: SharedMemory,
    ) -> Prepared {
        let offer = Offer { addresses: vec![endpoint.address()], token: Vec::new() };
        let half = Self {
            endpoint,
            test: test.clone(),
            is_client,
            shared_memory,
            source: Bytes::from(vec![0x5a; SOURCE_BYTES.max(message_bytes(test))]),
            at: 0,
            spare: Vec::new(),
            sending: 0,
            posted: 0,
            arrived: VecDeque::new(),
            is_over: false,
        };
        Prepared { offer, half: Box::new(half) }
    }
}

impl<D: PacketIo> Half for FabricHalf<D> {
    fn run(&mut self, peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        let address = *peer.addresses.first().ok_or(LoadError::NoAddress)?;
        let peer = self.endpoint.peer(address).map_err(LoadError::fabric)?;
        if self.shared_memory == SharedMemory::Automatic {
            self.share_memory(peer, clock)?;
        }
        match (self.test.shape, self.is_client) {
            (Shape::OneWay, true) => self.flow(peer, clock, true, false).map(outcome),
            (Shape::OneWay, false) => self.flow(peer, clock, false, true).map(outcome),
            (Shape::BothWays, _) => self.flow(peer, clock, true, true).map(outcome),
            (Shape::PingPong, true) => {
                let latency = self.ping(peer, clock)?;
                Ok(Outcome { flow: None, latency })
            }
            (Shape::PingPong, false) => self.pong(peer, clock).map(|()| Outcome::default()),
            (Shape::Windows, true) => self.send_windows(peer, clock).map(|()| Outcome::default()),
            (Shape::Windows, false) => {
                self.answer_windows(peer, clock).map(|flow| outcome(Some(flow)))
            }
        }
    }
}

fn outcome(flow: Option<Flow>) -> Outcome {
    Outcome { flow, latency: None }
}

fn message_bytes(test: &Test) -> usize {
    usize::try_from(test.bytes).unwrap_or(usize::MAX).max(1)
}

impl<D: PacketIo> FabricHalf<D> {
    /// Makes progress until messages to and from the peer go through shared memory.
    fn share_memory(&mut self, peer: PeerId, clock: &Clock) -> Result<(), LoadError> {
        if self.is_client {
            // The first message makes this side ask. No receive of the test meets it, as it has a
            // tag.
            let posted = self.endpoint.send_tagged(peer, Tag(0), Bytes::new(), 0);
            posted.map_err(LoadError::fabric)?;
            self.sending += 1;
        }
        let until = clock.now() + SHARED_WITHIN;
        loop {
            match self.endpoint.route(peer) {
                PeerRoute::SharedMemory if self.sending == 0 => return Ok(()),
                PeerRoute::Udp(reason) if clock.now() >= until => {
                    return Err(LoadError::NotShared(reason));
                }
                _ if clock.now() >= until => return Err(LoadError::NothingArrived(SHARED_WITHIN)),
                _ => self.wait(GOODBYE_TICK)?,
            }
        }
    }

    /// Streams messages, receives them, or both.
    fn flow(
        &mut self,
        peer: PeerId,
        clock: &Clock,
        sends: bool,
        receives: bool,
    ) -> Result<Option<Flow>, LoadError> {
        let depth = self.depth();
        let began = clock.now();
        let over = began + self.test.sending();
        let give_up = began + self.test.patience();
        let mut meter = Meter::new(&self.test);
        let mut now = began;
        let is_done = |meter: &Meter, now: Time| {
            (!sends || now >= over) && (!receives || meter.is_over(now)) || now >= give_up
        };
        while !is_done(&meter, now) {
            while receives && self.posted < depth {
                self.post(peer)?;
            }
            while sends && now < over && self.sending < depth {
                self.send(peer)?;
            }
            self.wait(TICK)?;
            now = clock.now();
            while let Some(length) = self.arrived.pop_front() {
                meter.arrived(now, length);
            }
            if self.is_over {
                break;
            }
        }
        self.serve_until(clock, now + 2 * self.test.tail())?;
        receives.then(|| meter.finish(now)).transpose()
    }

    /// Keeps making progress, so that the other side can end in its own time.
    fn serve_until(&mut self, clock: &Clock, until: Time) -> Result<(), LoadError> {
        while clock.now() < until && !self.is_over && (!self.is_client || self.sending > 0) {
            self.wait(TICK)?;
            self.arrived.clear();
        }
        Ok(())
    }

    fn ping(&mut self, peer: PeerId, clock: &Clock) -> Result<Option<LatencySummary>, LoadError> {
        let mut latencies = Latencies::new();
        let began = clock.now();
        let over = began + self.test.warm_up + self.test.duration;
        let give_up = began + self.test.patience();
        let mut sent = began;
        self.post(peer)?;
        while sent < over || latencies.is_empty() {
            self.send(peer)?;
            if !self.spin_until_arrival(clock, give_up)? {
                return Err(self.ended_early(sent.since(began)));
            }
            let back = clock.now();
            self.post(peer)?;
            if sent.since(began) >= self.test.warm_up {
                latencies.round_trip(back.since(sent));
            }
            sent = back;
        }
        self.say_goodbye(peer, clock, give_up)?;
        Ok(latencies.summary())
    }

    /// Tells the other side, which only answers, that this was all.
    fn say_goodbye(&mut self, peer: PeerId, clock: &Clock, give_up: Time) -> Result<(), LoadError> {
        self.endpoint.send(peer, Bytes::new(), 0).map_err(LoadError::fabric)?;
        self.sending += 1;
        while self.sending > 0 && !self.is_over && clock.now() < give_up {
            self.wait(TICK)?;
        }
        Ok(())
    }

    /// Stays a moment, so that the other side learns that its last messages arrived.
    fn acknowledge_goodbye(&mut self, clock: &Clock) -> Result<(), LoadError> {
        let until = clock.now() + self.test.tail();
        while clock.now() < until {
            self.wait(GOODBYE_TICK)?;
        }
        Ok(())
    }

    fn pong(&mut self, peer: PeerId, clock: &Clock) -> Result<(), LoadError> {
        let give_up = clock.now() + self.test.patience();
        self.post(peer)?;
        while self.spin_until_arrival(clock, give_up)? {
            self.send(peer)?;
            self.post(peer)?;
        }
        self.acknowledge_goodbye(clock)
    }

    fn send_windows(&mut self, peer: PeerId, clock: &Clock) -> Result<(), LoadError> {
        let began = clock.now();
        let over = began + self.test.sending();
        let give_up = began + self.test.patience();
        let mut now = began;
        while now < over {
            self.post(peer)?;
            for _ in 0..self.test.window {
                self.send(peer)?;
            }
            if !self.spin_until_arrival(clock, give_up)? {
                return Err(self.ended_early(now.since(began)));
            }
            while self.sending > 0 && !self.is_over {
                self.poll()?;
            }
            now = clock.now();
        }
        self.say_goodbye(peer, clock, give_up)
    }

    fn answer_windows(&mut self, peer: PeerId, clock: &Clock) -> Result<Flow, LoadError> {
        let mut meter = Meter::new(&self.test);
        let give_up = clock.now() + self.test.patience();
        let window = self.test.window;
        let mut in_window = 0;
        for _ in 0..window {
            self.post(peer)?;
        }
        while self.spin_until_arrival(clock, give_up)? {
            meter.arrived(clock.now(), self.test.bytes);
            self.post(peer)?;
            in_window += 1;
            if in_window == window {
                in_window = 0;
                self.endpoint.send(peer, self.source.slice(..1), 0).map_err(LoadError::fabric)?;
                self.sending += 1;
            }
        }
        let ended = clock.now();
        self.acknowledge_goodbye(clock)?;
        meter.finish(ended)
    }

    fn ended_early(&self, measured: Duration) -> LoadError {
        LoadError::EndedEarly { measured, wanted: self.test.duration }
    }

    /// Messages on their way at any time.
    fn depth(&self) -> usize {
        let window = usize::try_from(self.test.window).unwrap_or(usize::MAX);
        (BYTES_OUTSTANDING / message_bytes(&self.test)).clamp(2, window.max(2))
    }

    fn send(&mut self, peer: PeerId) -> Result<(), LoadError> {
        let bytes = message_bytes(&self.test);
        if self.at + bytes > self.source.len() {
            self.at = 0;
        }
        let message = self.source.slice(self.at..self.at + bytes);
        self.at += bytes;
        self.endpoint.send(peer, message, 0).map_err(LoadError::fabric)?;
        self.sending += 1;
        Ok(())
    }

    fn post(&mut self, peer: PeerId) -> Result<(), LoadError> {
        let buffer = self.spare.pop();
        let buffer = buffer.unwrap_or_else(|| Buffer::zeroed(message_bytes(&self.test)));
        let posted = self.endpoint.receive(buffer, Some(peer), TagMatch::Untagged, 0);
        posted.map_err(LoadError::fabric)?;
        self.posted += 1;
        Ok(())
    }

    /// Takes completions until a message has arrived. False if the other side is done.
    fn spin_until_arrival(&mut self, clock: &Clock, give_up: Time) -> Result<bool, LoadError> {
        let pause = Pause::for_this_machine();
        let mut turns = 0u32;
        loop {
            if self.arrived.pop_front().is_some() {
                return Ok(true);
            }
            if self.is_over {
                return Ok(false);
            }
            if !self.poll()? {
                pause.pause();
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(1024) && clock.now() >= give_up {
                    return Ok(false);
                }
            }
        }
    }

    /// Takes what is there. Returns whether something was.
    fn poll(&mut self) -> Result<bool, LoadError> {
        let Some(completion) = self.endpoint.poll().map_err(LoadError::fabric)? else {
            return Ok(false);
        };
        self.complete(completion)?;
        Ok(true)
    }

    /// Waits for something, and takes all that is there.
    fn wait(&mut self, timeout: Duration) -> Result<(), LoadError> {
        if let Some(completion) = self.endpoint.wait(Some(timeout)).map_err(LoadError::fabric)? {
            self.complete(completion)?;
        }
        while let Some(completion) = self.endpoint.take_completion() {
            self.complete(completion)?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), LoadError> {
        if let Err(error) = completion.result {
            // The side that is done first closes, which is no error of the test.
            let closed = fabric::OperationError::Peer(fabric::PeerError::Closed);
            self.is_over = true;
            return if error == closed { Ok(()) } else { Err(LoadError::fabric(error)) };
        }
        match completion.event {
            Event::Sent => self.sending -= 1,
            // The load posts no one-sided operation, no multi-receive, and registers no memory.
            Event::Written
            | Event::Released { .. }
            | Event::Read { .. }
            | Event::Atomic { .. }
            | Event::RemoteWrite { .. } => {}
            Event::Received { buffer, length, .. } => {
                self.posted -= 1;
                self.spare.push(buffer);
                match length {
                    GOODBYE => self.is_over = true,
                    _ => self.arrived.push_back(length),
                }
            }
        }
        Ok(())
    }
}
