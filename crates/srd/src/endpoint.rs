//! The endpoint: all contexts of one address, and the order in which they are served.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_hash::FxHashMap;
use wire::{Ack, ConnId, Entropy, EntropySet, Header, PeerId, SMALLEST_DATAGRAM, Time};

use crate::{Config, Counters, PathReport, PeerError, Upper, context::Context, peer::Peer};

/// What a device can carry in one train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainLimits {
    /// Datagrams per train, at least 1.
    pub datagrams: usize,
    /// Bytes per train, UDP payload.
    pub bytes: usize,
    /// Bytes of one datagram to a peer of which nothing else is known, UDP payload.
    pub datagram_bytes: usize,
}

/// No more peers can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {0} known peers is reached; raise Config::max_peers")]
pub struct TooManyPeers(pub u32);

/// A reliable-datagram endpoint, sans-IO: it never reads a clock, a socket or a random source.
///
/// The methods come in four families.
/// - *Getters*.
/// - *Commands* of the owner: [`connect`](Self::connect), [`meet`](Self::meet),
///   [`give_up`](Self::give_up), [`wake`](Self::wake), [`close`](Self::close).
/// - *Network and timer*: [`handle_datagram`](Self::handle_datagram),
///   [`handle_unreachable`](Self::handle_unreachable), [`handle_timeout`](Self::handle_timeout).
/// - *Outputs*: [`poll_transmit`](Self::poll_transmit) until it returns `false`, then
///   [`poll_timeout`](Self::poll_timeout).
///
/// `now` must never go backwards from one call to the next.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) config: Config,
    /// What the connids of this incarnation are drawn from.
    secret: u64,
    pub(crate) port: u16,
    pub(crate) peers: Vec<Peer>,
    pub(crate) by_address: FxHashMap<SocketAddr, PeerId>,
    pub(crate) last_source: Option<(SocketAddr, PeerId)>,
    pub(crate) ready: VecDeque<PeerId>,
    pub(crate) timers: BinaryHeap<Reverse<(Time, PeerId)>>,
    /// Answers to datagrams for past incarnations: destination and header.
    pub(crate) resets: VecDeque<(SocketAddr, Header)>,
    pub(crate) farewells: Vec<PeerId>,
    pub(crate) limits: TrainLimits,
    receive_window: u32,
    epoch: u64,
    active: u32,
    active_before: u32,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) counters: Counters,
    pub(crate) ack: Ack,
    /// What arrives now may have waited for somebody to look.
    pub(crate) unattended: bool,
}

impl Endpoint {
    /// An endpoint that peers reach at UDP `port`, as the incarnation that `seed` draws.
    pub fn new(config: Config, port: u16, limits: TrainLimits, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let secret = rng.random();
        Self {
            config,
            secret,
            port,
            peers: Vec::new(),
            by_address: FxHashMap::default(),
            last_source: None,
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            resets: VecDeque::new(),
            farewells: Vec::new(),
            limits,
            receive_window: 1 << 20,
            epoch: 0,
            active: 0,
            active_before: 0,
            rng,
            counters: Counters::default(),
            ack: Ack::default(),
            unattended: false,
        }
    }

    /// The connid of this incarnation towards a peer that listens at `address` and is not known
    /// yet. Each peer has its own, so that one cannot answer for another (P§1.2).
    pub fn connid_towards(&self, address: SocketAddr) -> ConnId {
        let mut hasher = DefaultHasher::new();
        (self.secret, address).hash(&mut hasher);
        draw_connid(&mut Xoshiro256PlusPlus::seed_from_u64(hasher.finish()))
    }

    /// Says whether what arrives from now on may have waited long for somebody to look: nothing
    /// is concluded from how late it is (P§5.2).
    pub const fn set_unattended(&mut self, unattended: bool) {
        self.unattended = unattended;
    }

    /// Totals since the endpoint was made.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where `peer` listens.
    pub fn peer_address(&self, peer: PeerId) -> SocketAddr {
        self.peers[peer.index()].address
    }

    /// The peer that listens at `address`, if known.
    pub fn find_peer(&self, address: SocketAddr) -> Option<PeerId> {
        self.by_address.get(&address).copied()
    }

    /// The incarnation of `peer`, once heard of.
    pub fn peer_connid(&self, peer: PeerId) -> Option<ConnId> {
        self.peers[peer.index()].connid
    }

    /// The number of known peers.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// The number of peers with a context, that is, with work now or a moment ago.
    pub fn context_count(&self) -> usize {
        self.peers.iter().filter(|peer| peer.context.is_some()).count()
    }

    /// Memory a known peer takes while idle, in bytes: its entry, its place in the address map
    /// and in the timers.
    pub const fn idle_peer_bytes() -> usize {
        // A hash map of this kind is at most 8/7 x 2 times as large as its entries and one byte
        // of control each.
        size_of::<Peer>()
            + (size_of::<(SocketAddr, PeerId)>() + 1) * 16 / 7
            + size_of::<Reverse<(Time, PeerId)>>()
    }

    /// The paths to `peer`; empty while there is no context.
    pub fn path_reports(&self, peer: PeerId) -> Vec<PathReport> {
        self.context(peer).map(|context| context.paths.reports()).unwrap_or_default()
    }

    /// The source ports that datagrams may leave from now: those of all paths, and those that the
    /// paths of a new context begin with. Looks at every context.
    pub fn sources_in_use(&self) -> EntropySet {
        let mut in_use = EntropySet::default();
        for index in (0..=u8::MAX).take(self.config.paths.max(1).into()) {
            in_use.insert(Entropy(index));
        }
        for context in self.peers.iter().filter_map(|peer| peer.context.as_deref()) {
            context.paths.entropies().for_each(|entropy| in_use.insert(entropy));
        }
        in_use
    }

    /// Bytes in flight to `peer`, and the most that may be.
    pub fn window_use(&self, peer: PeerId) -> (u32, u32) {
        self.context(peer)
            .map_or((0, 0), |context| (context.tx.bytes_in_flight(), context.window()))
    }

    /// The smoothed round trip to `peer`; zero while unknown.
    pub fn round_trip(&self, peer: PeerId) -> Duration {
        self.peers[peer.index()].rtt.smoothed()
    }

    /// Whether everything handed to the transport has been acknowledged.
    pub fn is_drained(&self) -> bool {
        self.peers.iter().all(|peer| {
            !peer.wants_to_send && peer.context.as_ref().is_none_or(|c| c.tx.is_empty())
        })
    }

    fn context(&self, peer: PeerId) -> Option<&Context> {
        self.peers[peer.index()].context.as_deref()
    }

    /// The peer that listens at `address`, known from now on. Sends nothing.
    pub fn connect(&mut self, address: SocketAddr) -> Result<PeerId, TooManyPeers> {
        if let Some(peer) = self.find_peer(address) {
            return Ok(peer);
        }
        let id = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        if id >= self.config.max_peers {
            return Err(TooManyPeers(self.config.max_peers));
        }
        let datagram = u32::try_from(self.limits.datagram_bytes).unwrap_or(u32::MAX);
        let local = self.connid_towards(address);
        self.peers.push(Peer::new(address, local, datagram, &self.config));
        self.by_address.insert(address, PeerId(id));
        Ok(PeerId(id))
    }

    /// Sets the largest datagram on the way to `peer`, UDP payload bytes.
    pub fn set_datagram_bytes(&mut self, peer: PeerId, bytes: usize) {
        let entry = &mut self.peers[peer.index()];
        entry.datagram_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(context) = &mut entry.context {
            context.congestion.set_datagram(bytes);
        }
    }

    /// The way to `peer` turned out to take datagrams of at most `bytes`: larger ones in flight
    /// are given back to the layer above and sent without content.
    pub fn shrink_datagrams(
        &mut self,
        now: Time,
        peer: PeerId,
        bytes: usize,
        upper: &mut impl Upper,
    ) {
        let bytes = bytes.max(SMALLEST_DATAGRAM);
        if bytes >= self.datagram_bytes(peer) {
            return;
        }
        self.set_datagram_bytes(peer, bytes);
        let Some(context) = &mut self.peers[peer.index()].context else { return };
        for psn in context.tx.longer_than(u32::try_from(bytes).unwrap_or(u32::MAX)) {
            let lost = context.tx.lose(psn, &mut context.paths).is_some();
            let Some(entry) = context.tx.get(psn) else { continue };
            entry.hollow = true;
            context.forced += u32::from(lost);
            upper.reclaim(now, peer, entry.token);
        }
        self.peers[peer.index()].wants_to_send = true;
        self.enqueue(peer);
    }

    /// The largest datagram on the way to `peer`, UDP payload bytes.
    pub fn datagram_bytes(&self, peer: PeerId) -> usize {
        self.peers[peer.index()].datagram_bytes as usize
    }

    /// Sets how many bytes all peers together may have in flight towards this endpoint.
    pub fn set_receive_window(&mut self, bytes: usize) {
        self.receive_window = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// The incarnation of this endpoint towards `peer`.
    pub fn local_connid(&self, peer: PeerId) -> ConnId {
        self.peers[peer.index()].local
    }

    /// The owner has met `peer` elsewhere than on the network, as the incarnation `connid`. If
    /// another was known, it is given up as restarted. Returns `false`, and does nothing, if it is
    /// a past one.
    pub fn meet(
        &mut self,
        now: Time,
        peer: PeerId,
        connid: ConnId,
        upper: &mut impl Upper,
    ) -> bool {
        let entry = &self.peers[peer.index()];
        if entry.is_retired(connid) {
            return false;
        }
        if entry.connid.is_some_and(|known| known != connid) {
            self.fail(now, peer, PeerError::Restarted, upper);
        }
        let entry = &mut self.peers[peer.index()];
        entry.connid = Some(connid);
        entry.proven = true;
        entry.heard = true;
        entry.heard_at = now;
        true
    }

    /// The owner knows, from elsewhere than the network, that `peer` is lost.
    pub fn give_up(&mut self, now: Time, peer: PeerId, error: PeerError, upper: &mut impl Upper) {
        self.fail(now, peer, error, upper);
    }

    /// [`Upper::fill`] has something for `peer`.
    pub fn wake(&mut self, now: Time, peer: PeerId) {
        let entry = &mut self.peers[peer.index()];
        entry.wants_to_send = true;
        entry.context(now, &self.config);
        self.enqueue(peer);
    }

    /// Says goodbye to every peer in touch: the next trains tell them that this endpoint answers
    /// no more. Call it when [`Endpoint::is_drained`], or when there is no more time.
    pub fn close(&mut self) {
        self.farewells = (0u32..)
            .zip(&self.peers)
            .filter(|(_, peer)| peer.connid.is_some())
            .map(|(id, _)| PeerId(id))
            .collect();
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; may be earlier than needed.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Puts `peer` into the queue of peers to serve.
    pub(crate) fn enqueue(&mut self, peer: PeerId) {
        let entry = &mut self.peers[peer.index()];
        if !entry.queued {
            entry.queued = true;
            self.ready.push_back(peer);
        }
    }

    /// Makes sure a timer fires no later than the peer's next deadline.
    pub(crate) fn arm(&mut self, now: Time, peer: PeerId) {
        let entry = &mut self.peers[peer.index()];
        let Some(context) = &entry.context else { return };
        let at = context.deadline(now, entry.wants_to_send);
        if at < entry.armed {
            entry.armed = at;
            self.timers.push(Reverse((at, peer)));
        }
    }

    /// Counts `peer` among those that send to this endpoint now.
    pub(crate) fn note_sender(&mut self, now: Time, peer: PeerId) {
        let epoch = now.as_nanos() >> 20;
        if epoch != self.epoch {
            self.active_before = if epoch == self.epoch + 1 { self.active } else { 0 };
            self.active = 0;
            self.epoch = epoch;
        }
        if let Some(context) = &mut self.peers[peer.index()].context
            && context.rx_epoch != epoch
        {
            context.rx_epoch = epoch;
            self.active += 1;
        }
    }

    /// Bytes each peer may have in flight towards this endpoint now.
    pub(crate) fn window_to_advertise(&self) -> u32 {
        let senders = self.active.max(self.active_before).max(1);
        let least = u32::try_from(2 * self.limits.datagram_bytes).unwrap_or(u32::MAX);
        (self.receive_window / senders).max(least).max(2_048)
    }

    /// Gives `peer` up: the layer above hears of it, and both sides begin anew.
    pub(crate) fn fail(
        &mut self,
        now: Time,
        peer: PeerId,
        error: PeerError,
        upper: &mut impl Upper,
    ) {
        let fresh = draw_connid(&mut self.rng);
        let entry = &mut self.peers[peer.index()];
        match error {
            PeerError::Unreachable(_) => self.counters.unreachable_remote_events += 1,
            PeerError::Unresponsive(_) => self.counters.unresponsive_remote_events += 1,
            PeerError::Restarted => self.counters.restarted_remote_events += 1,
            PeerError::Closed | PeerError::Exited => {}
        }
        // A new incarnation towards the peer: if it lives it begins anew as well, and nothing that
        // is still on its way from before is taken for new. One of which nothing was taken has no
        // past to be told from; exchanging it again would make both sides restart for ever.
        if entry.heard || entry.unaddressed || error != PeerError::Restarted {
            entry.local = fresh;
            entry.unaddressed = false;
        }
        if matches!(error, PeerError::Restarted | PeerError::Closed | PeerError::Exited) {
            entry.retire_connid();
        }
        entry.begin_anew(&self.config);
        upper.peer_failed(now, peer, error);
    }
}

/// A random connid.
pub(crate) fn draw_connid(rng: &mut Xoshiro256PlusPlus) -> ConnId {
    loop {
        if let Some(connid) = ConnId::new(rng.random()) {
            return connid;
        }
    }
}
