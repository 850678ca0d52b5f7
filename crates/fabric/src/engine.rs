//! The progress engine: it owns the clock, the device and the protocol state, and is the only
//! place where they meet.

use std::{net::SocketAddr, time::Duration};

use inspect::live::{Counters, Queues};
use io::{Arrival, Landing, Layout, PacketIo, Scratch, SendError};
use message::{Landed, LandingOffer};
use srd::{Handled, Incoming, TrainLimits, Upper};
use wire::{Header, Kind, PeerId, Time, Train};

use crate::{Clock, Error, Options, metrics::Published};

/// Trains sent before the device is looked at for arrivals.
const SEND_BATCH: usize = 4;
/// Trains received before the application gets its turn.
const RECEIVE_BATCH: usize = 8;
/// Bytes queued for a peer that are not kept waiting for company.
const WORTH_SENDING: u64 = 16 << 10;
/// How long a small message may wait for company while others are in flight to its peer.
const COMPANY: Duration = Duration::from_micros(20);

/// A message layer, as the engine sees it.
pub(crate) trait Layer: Upper {
    fn poll_wake(&mut self) -> Option<PeerId>;

    /// Whether the application has something to take.
    fn has_completions(&self) -> bool;

    fn queued_bytes(&self, peer: PeerId) -> u64;

    /// Sends that are not complete.
    fn sends_outstanding(&self) -> usize;

    /// The kind of endpoint, in a word.
    fn kind(&self) -> &'static str;

    /// How much waits in the layer.
    fn queues(&self) -> Queues;

    /// What the layer counted.
    fn counters(&self) -> Counters {
        Counters::new()
    }

    fn offer_landing(&mut self) -> Option<LandingOffer> {
        None
    }

    fn return_landing(&mut self, _offer: LandingOffer) {}

    fn prepare_landed(
        &mut self,
        offer: LandingOffer,
        _heads: &[u8],
        _count: usize,
        _last_body: usize,
        _source: Option<u32>,
    ) -> Landed {
        Landed::Elsewhere(offer)
    }

    fn deliver_unreliable(&mut self, _peer: PeerId, _payload: &[u8]) {}
}

#[derive(Debug)]
pub(crate) struct Engine<D, L> {
    pub(crate) device: D,
    pub(crate) transport: srd::Endpoint,
    pub(crate) layer: L,
    pub(crate) clock: Clock,
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
            clock: Clock::start(),
            scratch: Scratch::default(),
            gathered: Vec::new(),
            train: Train::default(),
            unsent: false,
            flushed_at: Time::ZERO,
            in_burst: false,
            peers_seen: 0,
            published: Published::open(options.metrics)?,
        })
    }

    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<PeerId, Error> {
        let peer = self.transport.connect(address)?;
        self.size_new_peers();
        Ok(peer)
    }

    /// Sends, receives and does what is due, without waiting. Returns whether anything happened.
    pub(crate) fn progress(&mut self) -> Result<bool, Error> {
        let now = self.clock.now();
        self.in_burst = false;
        let sent = self.flush(now, SEND_BATCH);
        let received = self.receive(now)?;
        let due = self.transport.poll_timeout().is_some_and(|at| at <= now);
        if due {
            while let Some(address) = self.device.take_unreachable() {
                self.transport.handle_unreachable(now, address);
            }
            self.transport.handle_timeout(now, &mut self.layer);
        }
        // What is due may have given the next call something to send.
        let worked = sent || received || due;
        if self.published.is_some() {
            self.publish(now, worked);
        }
        Ok(worked)
    }

    /// Something was posted for `peer`: the first of a burst leaves at once, what follows waits for
    /// company.
    pub(crate) fn kick(&mut self, peer: PeerId) {
        let now = self.clock.now();
        self.wake(now);
        let (in_flight, _) = self.transport.window_use(peer);
        let is_first = !std::mem::replace(&mut self.in_burst, true);
        if is_first
            || in_flight == 0
            || self.layer.queued_bytes(peer) >= WORTH_SENDING
            || now.since(self.flushed_at) >= COMPANY
        {
            self.flush(now, SEND_BATCH);
        }
    }

    /// The application looked for completions: what it posts next is a new burst.
    pub(crate) fn end_burst(&mut self) {
        self.in_burst = false;
    }

    /// Sleeps until something arrives or is due, at most `timeout`.
    pub(crate) fn sleep(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut due = self.transport.poll_timeout().map(|at| at.since(now));
        if let Some(at) = self.published.as_ref().and_then(|published| published.wanted_at()) {
            // What happened last is put up before a long sleep.
            due = Some(due.map_or(at.since(now), |due| due.min(at.since(now))));
        }
        let timeout = match (timeout, due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(self.device.wait(timeout)?)
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
            published.put(now, &self.device, &self.transport, &self.layer);
            published.rest(now, self.clock.now());
        }
        self.published = Some(published);
    }

    /// Whether nothing is left to send or to be acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        !self.unsent && self.layer.sends_outstanding() == 0 && self.transport.is_drained()
    }

    /// Waits until everything sent is acknowledged, at most `linger`, then says goodbye.
    pub(crate) fn close(&mut self, linger: Duration) -> Result<(), Error> {
        let until = self.clock.now() + linger;
        while !self.is_drained() && self.clock.now() < until {
            if !self.progress()? && !self.is_drained() {
                self.sleep(Some(until.since(self.clock.now())))?;
            }
        }
        let drained = self.is_drained();
        self.say_goodbye();
        if drained {
            return Ok(());
        }
        Err(Error::Unfinished { waited: linger, operations: self.layer.sends_outstanding() })
    }

    pub(crate) fn say_goodbye(&mut self) {
        self.transport.close();
        let now = self.clock.now();
        // One datagram a peer; what does not leave at once is not worth waiting for.
        for _ in 0..=self.transport.peer_count() {
            if !self.flush(now, 1) {
                break;
            }
        }
    }

    fn wake(&mut self, now: Time) {
        while let Some(peer) = self.layer.poll_wake() {
            self.transport.wake(now, peer);
        }
    }

    /// Sends up to `most` trains. Returns whether any left.
    pub(crate) fn flush(&mut self, now: Time, most: usize) -> bool {
        self.wake(now);
        self.flushed_at = now;
        let mut sent = false;
        for _ in 0..most {
            if !self.unsent && !self.transport.poll_transmit(now, &mut self.train, &mut self.layer)
            {
                break;
            }
            self.unsent = false;
            match self.device.send(&self.train) {
                Ok(()) => sent = true,
                Err(SendError::Full) => {
                    self.unsent = true;
                    break;
                }
                Err(SendError::TooLarge(bytes)) => self.shrink(now, bytes),
                // The transport recovers as from a loss, and learns of unreachable peers from
                // the device.
                Err(SendError::Os(_)) => {}
            }
        }
        sent
    }

    /// The last train's destination takes datagrams of at most `bytes`.
    fn shrink(&mut self, now: Time, bytes: usize) {
        if let Some(peer) = self.transport.find_peer(self.train.destination) {
            self.transport.shrink_datagrams(now, peer, bytes, &mut self.layer);
        }
    }

    fn receive(&mut self, now: Time) -> Result<bool, Error> {
        let mut any = false;
        for _ in 0..RECEIVE_BATCH {
            // Another look at the device would keep the application from what it waits for.
            if any && self.layer.has_completions() {
                break;
            }
            let Some(mut offer) = self.layer.offer_landing() else {
                let Some(arrival) = self.device.receive(&mut self.scratch, None)? else { break };
                any = true;
                let scratch = std::mem::take(&mut self.scratch.bytes);
                self.deliver(now, &arrival, &scratch[..arrival.bytes]);
                self.scratch.bytes = scratch;
                continue;
            };
            let landing = Landing {
                head: offer.head,
                body: offer.body,
                buffer: &mut offer.buffer.as_mut_slice()[offer.start..offer.end],
            };
            let received = self.device.receive(&mut self.scratch, Some(landing));
            let Ok(Some(arrival)) = received else {
                self.layer.return_landing(offer);
                received?;
                break;
            };
            any = true;
            let scratch = std::mem::take(&mut self.scratch.bytes);
            match arrival.layout {
                Layout::Contiguous => {
                    self.layer.return_landing(offer);
                    self.deliver(now, &arrival, &scratch[..arrival.bytes]);
                }
                Layout::Landed => self.deliver_landed(now, &arrival, &scratch, offer),
            }
            self.scratch.bytes = scratch;
        }
        Ok(any)
    }

    /// Delivers the datagrams of a contiguous arrival.
    fn deliver(&mut self, now: Time, arrival: &Arrival, bytes: &[u8]) {
        for datagram in bytes.chunks(arrival.stride.max(1)) {
            self.handle(now, arrival, datagram, 0);
        }
    }

    /// Delivers datagrams whose bodies are in the landing buffer: where they are if that is where
    /// they belong.
    fn deliver_landed(
        &mut self,
        now: Time,
        arrival: &Arrival,
        scratch: &[u8],
        offer: LandingOffer,
    ) {
        let (head, body, start) = (offer.head, offer.body, offer.start);
        let count = arrival.datagrams();
        let last_body = arrival.datagram_bytes(count - 1).saturating_sub(head);
        let source = self.transport.peer_connid(offer.peer).map(wire::ConnId::raw);
        let heads = &scratch[..count * head];
        match self.layer.prepare_landed(offer, heads, count, last_body, source) {
            Landed::InPlace => {
                for (index, bytes) in heads.chunks_exact(head).enumerate() {
                    let landed = if index + 1 == count { last_body } else { body };
                    self.handle(now, arrival, bytes, landed);
                }
            }
            Landed::Elsewhere(offer) => {
                let mut gathered = std::mem::take(&mut self.gathered);
                gathered.clear();
                for (index, bytes) in heads.chunks_exact(head).enumerate() {
                    let landed = if index + 1 == count { last_body } else { body };
                    let at = start + index * body;
                    gathered.extend_from_slice(bytes);
                    gathered.extend_from_slice(&offer.buffer.as_slice()[at..at + landed]);
                }
                self.layer.return_landing(offer);
                self.deliver(now, arrival, &gathered);
                self.gathered = gathered;
            }
        }
    }

    fn handle(&mut self, now: Time, arrival: &Arrival, bytes: &[u8], landed: usize) {
        let incoming = Incoming { source: arrival.source, ecn: arrival.ecn, bytes, landed };
        let handled = self.transport.handle_datagram(now, incoming, &mut self.layer);
        if let Handled::Unreliable(address, payload_at) = handled
            && let Ok(peer) = self.transport.connect(address)
        {
            self.layer.deliver_unreliable(peer, &bytes[payload_at..]);
        }
        if self.transport.peer_count() > self.peers_seen {
            self.size_new_peers();
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
        let now = self.clock.now();
        let limit = self.transport.datagram_bytes(peer);
        if wire::HEADER_LEN + payload.len() > limit {
            return Err(SendError::TooLarge(limit - wire::HEADER_LEN));
        }
        let destination = self.transport.peer_address(peer);
        let header = Header {
            kind: Kind::Unreliable,
            ack_requested: false,
            hollow: false,
            port: self.device.local_address().port(),
            source: self.transport.connid_towards(destination).raw(),
            destination: 0,
            psn: 0,
            path_seq: 0,
            stamp: now.stamp(),
            entropy: wire::Entropy(0),
            ack_len: 0,
            covered: 0,
        };
        self.train.clear();
        self.train.destination = destination;
        self.train.entropy = wire::Entropy(0);
        header.emit(self.train.heads());
        Header::seal(self.train.heads());
        self.train.close(payload);
        self.device.send(&self.train)
    }
}
