//! The progress engine: it owns the clock, the device and the protocol state, and is the only
//! place where they meet.

mod arrivals;
mod close;
mod layer;
mod sleep;
mod sources;

use std::{net::SocketAddr, time::Duration};

use io::{PacketIo, Scratch, SendError, shm::Request};
use message::{BriefRequest, OpId};
use srd::TrainLimits;
use wire::{ConnId, Header, Kind, PeerId, Time, Train};

pub(crate) use self::layer::Layer;
use self::sources::Sources;
use crate::{
    Error, Options,
    clock::Watch,
    local::{CrossMemory, Locals, Routed},
    metrics::Published,
    wait::WaitObject,
};

/// Trains sent before the device is looked at for arrivals.
const SEND_BATCH: usize = 4;
/// Bytes queued for a peer that are not kept waiting for company.
const WORTH_SENDING: u64 = 16 << 10;
/// How long a small message may wait for company while others are in flight to its peer.
const COMPANY: Duration = Duration::from_micros(20);
/// With links to peers of this host, and nothing from others or for them for a while, the device is
/// looked at only this often: each look is a system call, and costs a message through shared memory
/// more than all else. The pause is this part of that while, from the least to the most.
const DEVICE_PAUSE_PART: u32 = 100;
const DEVICE_PAUSE: (Duration, Duration) = (Duration::from_micros(4), Duration::from_micros(20));
/// That while at least.
const DEVICE_QUIET: Duration = Duration::from_micros(100);

/// Ticks of the processor for which the links alone are looked at, after a look at everything that
/// left nothing to do. Whoever waits for a peer of this host sees its messages sooner, and nothing
/// else is in such a hurry. As below, nothing is due in the time that follows.
const LINK_GLANCES: u64 = 10_000;
const LINK_GLANCES_LAST: Duration = Duration::from_micros(4);
/// The same for the device, without links. Nothing is due in the time below; where so many ticks
/// take longer, what is due then is late by as much.
const DEVICE_GLANCES: u64 = 5_000;
const DEVICE_GLANCES_LAST: Duration = Duration::from_micros(2);
/// The least time between two looks for errors that came back for what was sent: each may be a
/// system call about all source ports.
const ERRORS_PAUSE: Duration = Duration::from_micros(100);

/// Until when, in ticks of the processor, progress is a look at one thing only.
#[derive(Clone, Copy, Debug)]
enum Glances {
    Links { until: u64 },
    Device { until: u64 },
}

#[derive(Debug)]
pub(crate) struct Engine<D, L> {
    pub(crate) device: D,
    pub(crate) transport: srd::Endpoint,
    pub(crate) layer: L,
    pub(crate) watch: Watch,
    pub(crate) locals: Locals,
    scratch: Scratch,
    /// A train put together again after it landed in the wrong place.
    gathered: Vec<u8>,
    train: Train,
    /// `train` could not leave and waits.
    unsent: bool,
    flushed_at: Time,
    /// Something was posted since the last call that made progress.
    in_burst: bool,
    peers_seen: usize,
    wait_object: Option<WaitObject>,
    /// When the wait object tells whoever sleeps on it; `None` if nobody was let sleep since
    /// progress was made.
    wakes_at: Option<Time>,
    /// The process that opened the endpoint.
    pub(crate) owner: u32,
    looked_at: Time,
    arrived_at: Time,
    left_at: Time,
    /// When nothing more was on the device.
    emptied_at: Time,
    errors_taken_at: Time,
    /// What alone is looked at for now; `None`: everything.
    glances: Option<Glances>,
    sources: Sources,
    /// Present while metrics are on.
    published: Option<Box<Published>>,
}

impl<D: PacketIo, L: Layer> Engine<D, L> {
    pub(crate) fn new(device: D, options: &Options, layer: L) -> Result<Self, Error> {
        let seed = getrandom::u64().map_err(Error::NoRandomness)?;
        let limits = device.limits();
        let datagram_bytes = limits.datagram_bytes.min(limits.train_bytes);
        let trains = TrainLimits {
            datagrams: limits.train_datagrams,
            bytes: limits.train_bytes,
            datagram_bytes,
        };
        let port = device.local_address().port();
        let mut transport = srd::Endpoint::new(options.transport.clone(), port, trains, seed);
        transport.set_receive_window(limits.receive_buffer);
        Ok(Self {
            device,
            transport,
            layer,
            watch: Watch::start(),
            locals: Locals::off(),
            scratch: Scratch::default(),
            gathered: Vec::new(),
            train: Train::default(),
            unsent: false,
            flushed_at: Time::ZERO,
            in_burst: false,
            peers_seen: 0,
            wait_object: None,
            wakes_at: None,
            owner: std::process::id(),
            looked_at: Time::ZERO,
            arrived_at: Time::ZERO,
            left_at: Time::ZERO,
            emptied_at: Time::ZERO,
            errors_taken_at: Time::ZERO,
            glances: None,
            sources: Sources::default(),
            published: Published::open(options.metrics)?,
        })
    }

    /// Uses shared memory with peers of this host from now on.
    pub(crate) fn use_shared_memory(&mut self, copies: CrossMemory) -> Result<(), Error> {
        let seed = getrandom::u64().map_err(Error::NoRandomness)?;
        let retries = self.transport.config().rnr_retries;
        self.locals = Locals::announce(self.device.local_address(), seed, retries, copies);
        Ok(())
    }

    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<PeerId, Error> {
        let peer = self.transport.connect(address)?;
        self.size_new_peers();
        Ok(peer)
    }

    /// Sends, receives and does what is due, without waiting. Returns whether anything happened.
    pub(crate) fn progress(&mut self) -> Result<bool, Error> {
        match self.glances.zip(io::shm::ticks()) {
            Some((Glances::Links { until }, ticks))
                if until.wrapping_sub(ticks) <= LINK_GLANCES =>
            {
                self.in_burst = false;
                let any = self.locals.receive(self.watch.last(), &mut self.layer);
                if !self.layer.has_wakes() && !self.locals.has_to_wake() {
                    return Ok(any);
                }
                Ok(self.look_at_everything()? || any)
            }
            Some((Glances::Device { until }, ticks))
                if until.wrapping_sub(ticks) <= DEVICE_GLANCES && !self.layer.has_wakes() =>
            {
                self.in_burst = false;
                let any = self.receive(None)?;
                if any {
                    self.glances = None;
                }
                Ok(any)
            }
            _ => self.look_at_everything(),
        }
    }

    /// What [`Self::progress`] does unless it did so a moment ago.
    pub(crate) fn look_at_everything(&mut self) -> Result<bool, Error> {
        let now = self.watch.now();
        self.in_burst = false;
        if self.wakes_at.take().is_some() {
            self.end_sleep();
            self.emptied_at = now;
        }
        let local = self.progress_locals(now)?;
        let sent = self.flush(now, SEND_BATCH);
        let received = self.may_look(now, local) && self.receive(Some(now))?;
        let due = self.transport.poll_timeout().is_some_and(|at| at <= now);
        if due {
            if now.since(self.errors_taken_at) >= ERRORS_PAUSE {
                self.errors_taken_at = now;
                while let Some(address) = self.device.take_unreachable() {
                    self.transport.handle_unreachable(now, address);
                }
            }
            let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
            self.transport.handle_timeout(now, upper);
        }
        self.sources.look(now, &self.transport, &mut self.device);
        // What is due may have given the next call something to send.
        let worked = local || sent || received || due;
        if self.published.is_some() {
            self.publish(now, worked);
        }
        self.glances = self.plan_glances(now, worked);
        Ok(worked)
    }

    /// What to look at alone after a look at everything.
    fn plan_glances(&self, now: Time, worked: bool) -> Option<Glances> {
        if self.unsent || self.layer.has_wakes() {
            return None;
        }
        let due = self.transport.poll_timeout().unwrap_or(Time::NEVER);
        if self.locals.has_links() {
            let is_calm = self.locals.are_calm()
                && self.device_quiet(now) >= DEVICE_QUIET
                && due >= now + LINK_GLANCES_LAST;
            let until = self.watch.ticks_in(LINK_GLANCES)?;
            return is_calm.then_some(Glances::Links { until });
        }
        let until = self.watch.ticks_in(DEVICE_GLANCES)?;
        (!worked && due >= now + DEVICE_GLANCES_LAST).then_some(Glances::Device { until })
    }

    /// How long nothing came through the device, and nothing left.
    fn device_quiet(&self, now: Time) -> Duration {
        now.since(self.arrived_at.max(self.left_at))
    }

    /// Whether to look at the device now.
    fn may_look(&mut self, now: Time, local: bool) -> bool {
        let quiet = self.device_quiet(now);
        if self.locals.has_links() && quiet >= DEVICE_QUIET {
            let (least, most) = DEVICE_PAUSE;
            // What came from a peer of this host goes to the application first.
            let pause =
                if local { DEVICE_QUIET } else { (quiet / DEVICE_PAUSE_PART).clamp(least, most) };
            if now.since(self.looked_at) < pause {
                return false;
            }
        }
        self.looked_at = now;
        true
    }

    /// Receives from peers of this host, and deals with links that come and go.
    fn progress_locals(&mut self, now: Time) -> Result<bool, Error> {
        let any = self.locals.receive(now, &mut self.layer);
        while let Some((peer, error)) = self.locals.find_loss(now) {
            // What it took by UDP, before the link was there, it said before it closed.
            if self.hear_out(now, peer)? {
                continue;
            }
            let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
            self.transport.give_up(now, peer, error, upper);
        }
        while let Some((peer, link, connid)) = self.locals.take_accepted(now) {
            // A link to a past incarnation, or to one that is not known: it closes.
            if self.transport.peer_connid(peer).is_none_or(|known| known.raw() == connid)
                && self.meet(now, peer, connid)
            {
                let address = self.transport.peer_address(peer);
                self.locals.set_up(self.watch.clock(), peer, address, link);
            }
        }
        for request in self.locals.take_requests() {
            self.answer(now, request);
        }
        self.wake_peers(now);
        Ok(any)
    }

    /// A peer of this host asks for a link.
    fn answer(&mut self, now: Time, request: Request) {
        let Ok(peer) = self.connect(request.address) else { return request.refuse() };
        let ours = self.transport.local_connid(peer).raw();
        let is_known = self.transport.peer_connid(peer).map(ConnId::raw) == Some(request.connid);
        // A peer that has restarted has no link any more, whatever it looks like from here.
        if is_known && !self.locals.wants_link(peer, ours, request.connid) {
            return request.refuse();
        }
        if !self.meet(now, peer, request.connid) {
            return request.refuse();
        }
        let ours = self.transport.local_connid(peer).raw();
        if !self.locals.wants_link(peer, ours, request.connid) {
            return request.refuse();
        }
        // It may have gone since it asked; then it stays a peer like any other.
        if let Ok(link) = request.accept(ours) {
            let address = self.transport.peer_address(peer);
            self.locals.set_up(self.watch.clock(), peer, address, Box::new(link));
        }
    }

    fn meet(&mut self, now: Time, peer: PeerId, connid: u32) -> bool {
        let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
        ConnId::new(connid).is_some_and(|connid| self.transport.meet(now, peer, connid, upper))
    }

    /// Wakes peers of this host that sleep on their device, by the smallest datagram there is.
    fn wake_peers(&mut self, now: Time) {
        while let Some(peer) = self.locals.take_to_wake() {
            // Not in the engine's own train, which may be waiting to leave.
            let mut train = Train::default();
            self.write_unreliable(now, peer, bytes::Bytes::new(), &mut train);
            // If the peer's socket is full, it does not sleep. If this one's is, the peer looks by
            // itself before long.
            let (Ok(()) | Err(_)) = self.device.send(&train);
        }
    }

    /// Sends a short message now, if its peer is of this host and nothing has to be before it.
    /// Returns the name of its operation if it did.
    #[inline]
    pub(crate) fn send_brief(&mut self, peer: PeerId, request: &BriefRequest<'_>) -> Option<OpId> {
        let op = self.locals.send_brief(peer, request, &mut self.layer)?;
        if self.locals.has_to_wake() {
            self.wake_peers(self.watch.last());
        }
        Some(op)
    }

    /// Something was posted for `peer`: the first of a burst leaves at once, what follows waits for
    /// company.
    pub(crate) fn kick(&mut self, peer: PeerId) {
        self.glances = None;
        if self.locals.is_up(peer) {
            return self.kick_local(peer);
        }
        let now = self.watch.now();
        if self.locals.is_worth_an_offer(now, peer) {
            let connid = self.transport.local_connid(peer).raw();
            self.locals.offer(now, peer, self.transport.peer_address(peer), connid);
        }
        self.wake(now);
        let is_alone = self.transport.window_use(peer).0 == 0;
        if self.leaves_at_once(peer, is_alone) || now.since(self.flushed_at) >= COMPANY {
            self.flush(now, SEND_BATCH);
        }
        self.wake_earlier(now);
    }

    /// The same for a peer of this host. Nothing here needs the time to be exact, and to ask for
    /// it takes as long as the rest.
    fn kick_local(&mut self, peer: PeerId) {
        let now = self.watch.last();
        self.locals.hurry(peer);
        self.wake(now);
        let is_alone = self.locals.in_flight(peer) == 0;
        if self.leaves_at_once(peer, is_alone) {
            self.locals.flush(now, peer, &mut self.layer);
            self.wake_peers(now);
        }
    }

    /// Whether what was posted for `peer` leaves now; `is_alone`: nothing else is on its way there.
    fn leaves_at_once(&mut self, peer: PeerId, is_alone: bool) -> bool {
        let is_first = !std::mem::replace(&mut self.in_burst, true);
        // With a sleeper, nobody may come by to send it later.
        is_first
            || is_alone
            || self.wakes_at.is_some()
            || self.layer.queued_bytes(peer) >= WORTH_SENDING
    }

    /// The application looked for completions: what it posts next is a new burst.
    pub(crate) fn end_burst(&mut self) {
        self.in_burst = false;
    }

    /// Whether this is the process that opened the endpoint, not a child it forked.
    fn is_owner(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Where metrics are to be had.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.published.as_ref().map(|published| published.address())
    }

    /// Puts up what the endpoint is now, where it is time to.
    #[cold]
    fn publish(&mut self, now: Time, worked: bool) {
        let Some(mut published) = self.published.take() else { return };
        if published.is_due(now, worked) {
            published.put(now, &self.device, &self.transport, &self.layer, &self.locals);
            published.rest(now, self.watch.now());
        }
        self.published = Some(published);
    }

    fn wake(&mut self, now: Time) {
        while let Some(peer) = self.layer.poll_wake() {
            if self.locals.is_up(peer) {
                self.locals.wake(peer);
            } else {
                self.transport.wake(now, peer);
            }
        }
    }

    /// Sends up to `most` trains. Returns whether any left.
    pub(crate) fn flush(&mut self, now: Time, most: usize) -> bool {
        self.wake(now);
        self.flushed_at = now;
        let mut sent = self.locals.flush_all(now, &mut self.layer);
        self.wake_peers(now);
        for _ in 0..most {
            let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
            if !self.unsent && !self.transport.poll_transmit(now, &mut self.train, upper) {
                break;
            }
            self.unsent = false;
            match self.device.send(&self.train) {
                Ok(()) => {
                    sent = true;
                    self.left_at = now;
                }
                Err(SendError::Full) => {
                    self.unsent = true;
                    // An operation may complete before this leaves, and its bytes may go with it.
                    self.train.copy_tails();
                    break;
                }
                Err(SendError::TooLarge(bytes)) => self.shrink(now, bytes),
                // The transport recovers as from a loss, and learns of unreachable peers from
                // the device.
                Err(SendError::Os(_)) => {}
            }
            // Bytes of regions are lent no longer than this.
            self.train.clear();
        }
        sent
    }

    /// The last train's destination takes datagrams of at most `bytes`.
    fn shrink(&mut self, now: Time, bytes: usize) {
        if let Some(peer) = self.transport.find_peer(self.train.destination) {
            let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
            self.transport.shrink_datagrams(now, peer, bytes, upper);
        }
    }

    /// Tells the transport the path MTU of peers it has just come to know.
    fn size_new_peers(&mut self) {
        for index in self.peers_seen..self.transport.peer_count() {
            let peer = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let address = self.transport.peer_address(peer);
            let bytes = self.device.path_datagram_bytes(address);
            let most = self.device.limits().train_bytes;
            self.transport.set_datagram_bytes(peer, bytes.min(most));
        }
        self.peers_seen = self.transport.peer_count();
    }

    /// Sends one unreliable datagram.
    pub(crate) fn send_unreliable(
        &mut self,
        peer: PeerId,
        payload: bytes::Bytes,
    ) -> Result<(), SendError> {
        let now = self.watch.now();
        let limit = self.transport.datagram_bytes(peer);
        if wire::HEADER_LEN + payload.len() > limit {
            return Err(SendError::TooLarge(limit - wire::HEADER_LEN));
        }
        let mut train = std::mem::take(&mut self.train);
        self.write_unreliable(now, peer, payload, &mut train);
        let sent = self.device.send(&train);
        self.train = train;
        sent
    }

    /// Makes `train` one unreliable datagram to `peer`.
    fn write_unreliable(&self, now: Time, peer: PeerId, payload: bytes::Bytes, train: &mut Train) {
        train.clear();
        train.destination = self.transport.peer_address(peer);
        train.entropy = wire::Entropy(0);
        let header = Header {
            kind: Kind::Unreliable,
            ack_requested: false,
            hollow: false,
            port: self.device.local_address().port(),
            source: self.transport.connid_towards(train.destination).raw(),
            destination: 0,
            psn: 0,
            path_seq: 0,
            stamp: now.stamp(),
            entropy: wire::Entropy(0),
            ack_len: 0,
            covered: 0,
        };
        header.emit(train.heads());
        Header::seal(train.heads());
        train.close(payload);
    }
}
