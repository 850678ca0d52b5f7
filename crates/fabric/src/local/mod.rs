//! Peers on this host, and the links to them (see docs/shared-memory.md).

mod line;
mod loans;
mod route;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use inspect::live;
use io::shm::{Answer, Link, Offer, Presence, Request, declare_readable};
use message::{BriefRequest, OpId};
use srd::{Delivery, Filled, PeerError, Upper};
use wire::{PeerId, Time, Token, Train};

use self::line::Line;
pub use self::route::{CrossMemory, LocalError, PeerCopies, PeerRoute, SharedMemory, UdpReason};
use crate::{Clock, engine::Layer};

/// The most links of one endpoint through shared memory. Each is looked at whenever progress is
/// made; further peers of this host are reached by UDP.
pub const MAX_LINKS: usize = 256;
/// The first pause before a peer that was not found is looked for again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known of the way to a peer.
#[derive(Debug)]
enum State {
    Udp { reason: UdpReason, again_at: Time, pause: Duration },
    Offered(Offer),
    Up(Box<Line>),
}

impl State {
    const UNTRIED: Self =
        Self::Udp { reason: UdpReason::Untried, again_at: Time::ZERO, pause: FIRST_PAUSE };
}

/// All links of an endpoint.
#[derive(Debug)]
pub(crate) struct Locals {
    presence: Result<Presence, UdpReason>,
    /// By peer; those beyond the end are untried.
    peers: Vec<State>,
    /// The peers that have links.
    up: Vec<PeerId>,
    /// The peers that have not answered an offer.
    offered: Vec<PeerId>,
    /// Sleeping peers to be woken.
    to_wake: Vec<PeerId>,
    train: Train,
    /// How often refused records are sent again.
    retries: Option<u32>,
    /// What links carried that are no more.
    past: LocalCounters,
    copies: bool,
}

/// What an endpoint's links carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct LocalCounters {
    /// Links made.
    links: u64,
    /// Records sent, and their bytes.
    tx_records: u64,
    tx_bytes: u64,
    /// Those of them that peers refused; they were sent again.
    tx_refused: u64,
    /// Records received, and their bytes.
    rx_records: u64,
    rx_bytes: u64,
    /// Those of them that were refused here.
    rx_refused: u64,
    /// Sleeping peers woken.
    wakes: u64,
}

impl LocalCounters {
    const fn add(&mut self, other: &Self) {
        self.links += other.links;
        self.tx_records += other.tx_records;
        self.tx_bytes += other.tx_bytes;
        self.tx_refused += other.tx_refused;
        self.rx_records += other.rx_records;
        self.rx_bytes += other.rx_bytes;
        self.rx_refused += other.rx_refused;
        self.wakes += other.wakes;
    }
}

impl Locals {
    /// No links, ever.
    pub(crate) fn off() -> Self {
        Self::new(Err(UdpReason::Off), None, CrossMemory::Never)
    }

    /// Links with peers that find this endpoint by its `address`.
    pub(crate) fn announce(
        address: SocketAddr,
        seed: u64,
        retries: Option<u32>,
        copies: CrossMemory,
    ) -> Self {
        if copies == CrossMemory::Declared {
            // A kernel without this protection needs no declaration.
            let (Ok(()) | Err(_)) = declare_readable();
        }
        let presence = Presence::announce(address, seed);
        if let Err(error) = &presence {
            log::info!("{address}: UDP for all peers: {error}");
        }
        Self::new(presence.map_err(|error| UdpReason::NotPresent(error.into())), retries, copies)
    }

    fn new(
        presence: Result<Presence, UdpReason>,
        retries: Option<u32>,
        copies: CrossMemory,
    ) -> Self {
        Self {
            presence,
            peers: Vec::new(),
            up: Vec::new(),
            offered: Vec::new(),
            to_wake: Vec::new(),
            train: Train::default(),
            retries,
            past: LocalCounters::default(),
            copies: copies != CrossMemory::Never,
        }
    }

    /// What all links carried, those that are no more included.
    pub(crate) fn counters(&self) -> LocalCounters {
        let mut sum = self.past;
        self.up.iter().filter_map(|&peer| self.link(peer)).for_each(|l| sum.add(&l.counters()));
        sum
    }

    /// What the link with `peer` is; `None` without one.
    pub(crate) fn describe(&self, peer: PeerId) -> Option<live::Link> {
        self.link(peer).map(Line::describe)
    }

    fn link(&self, peer: PeerId) -> Option<&Line> {
        match self.peers.get(peer.index())? {
            State::Up(line) => Some(line),
            State::Udp { .. } | State::Offered(_) => None,
        }
    }

    /// The way that messages to `peer` take.
    pub(crate) fn route(&self, peer: PeerId) -> PeerRoute {
        if let Err(reason) = &self.presence {
            return PeerRoute::Udp(*reason);
        }
        match self.peers.get(peer.index()) {
            None => PeerRoute::Udp(UdpReason::Untried),
            Some(State::Udp { reason, .. }) => PeerRoute::Udp(*reason),
            Some(State::Offered(_)) => PeerRoute::Udp(UdpReason::Asked),
            Some(State::Up(_)) => PeerRoute::SharedMemory,
        }
    }

    /// How large messages come from `peer`, if it has a link.
    pub(crate) fn copies(&self, peer: PeerId) -> Option<PeerCopies> {
        match self.peers.get(peer.index())? {
            State::Up(line) => Some(line.loans.copies),
            State::Udp { .. } | State::Offered(_) => None,
        }
    }

    pub(crate) fn is_up(&self, peer: PeerId) -> bool {
        matches!(self.peers.get(peer.index()), Some(State::Up(_)))
    }

    /// Whether any peer has a link, and nothing is to be sent or asked of any.
    pub(crate) fn are_calm(&self) -> bool {
        self.has_links() && self.offered.is_empty() && self.is_drained()
    }

    /// Whether any peer has a link.
    pub(crate) fn has_links(&self) -> bool {
        !self.up.is_empty()
    }

    fn line(&mut self, peer: PeerId) -> Option<&mut Line> {
        match self.peers.get_mut(peer.index())? {
            State::Up(line) => Some(line),
            State::Udp { .. } | State::Offered(_) => None,
        }
    }

    fn state(&mut self, peer: PeerId) -> &mut State {
        if peer.index() >= self.peers.len() {
            self.peers.resize_with(peer.index() + 1, || State::UNTRIED);
        }
        &mut self.peers[peer.index()]
    }

    /// Whether a link to `peer` should be offered now.
    pub(crate) fn is_worth_an_offer(&self, now: Time, peer: PeerId) -> bool {
        self.presence.is_ok()
            && match self.peers.get(peer.index()) {
                None => true,
                Some(State::Udp { again_at, .. }) => *again_at <= now,
                Some(State::Offered(_) | State::Up(_)) => false,
            }
    }

    /// Offers a link to `peer`, which listens at `address` and knows this endpoint as `connid`.
    pub(crate) fn offer(&mut self, now: Time, peer: PeerId, address: SocketAddr, connid: u32) {
        let is_full = self.up.len() + self.offered.len() >= MAX_LINKS;
        let Ok(presence) = &mut self.presence else { return };
        let offer = if is_full {
            Err(UdpReason::TooMany)
        } else {
            let offer = presence.offer(address, connid);
            offer.map_err(|error| UdpReason::Unavailable(error.into()))
        };
        match offer {
            Ok(offer) => {
                *self.state(peer) = State::Offered(offer);
                self.offered.push(peer);
            }
            Err(reason) => {
                let known = self.route(peer);
                self.put_off(now, peer, reason);
                // It is tried again and again.
                if known != PeerRoute::Udp(reason) {
                    log::info!("peer {address}: UDP: {reason}");
                }
            }
        }
    }

    /// Uses UDP for `peer`, and looks again later.
    fn put_off(&mut self, now: Time, peer: PeerId, reason: UdpReason) {
        let state = self.state(peer);
        let pause = match state {
            State::Udp { pause, .. } => *pause,
            State::Offered(_) | State::Up(_) => FIRST_PAUSE,
        };
        let again_at = match reason {
            UdpReason::Unavailable(LocalError::OtherHost) => Time::NEVER,
            _ => now + pause,
        };
        *state = State::Udp { reason, again_at, pause: (pause * 2).min(LONGEST_PAUSE) };
    }

    /// A peer that has accepted an offer, the link and its incarnation.
    pub(crate) fn take_accepted(&mut self, now: Time) -> Option<(PeerId, Box<Link>, u32)> {
        let mut at = 0;
        while let Some(&peer) = self.offered.get(at) {
            let State::Offered(offer) = self.state(peer) else {
                self.offered.swap_remove(at);
                continue;
            };
            match offer.poll() {
                None => at += 1,
                Some(answer) => {
                    self.offered.swap_remove(at);
                    self.put_off(now, peer, UdpReason::Refused);
                    if let Answer::Accepted(link, connid) = answer {
                        return Some((peer, link, connid));
                    }
                }
            }
        }
        None
    }

    /// What peers have asked for.
    pub(crate) fn take_requests(&mut self) -> Vec<Request> {
        match &mut self.presence {
            Ok(presence) if presence.has_requests() => presence.take_requests(),
            _ => Vec::new(),
        }
    }

    /// Whether a request of `peer`, known as `theirs`, is to be accepted by this endpoint, known
    /// to it as `ours`.
    pub(crate) fn wants_link(&mut self, peer: PeerId, ours: u32, theirs: u32) -> bool {
        match self.state(peer) {
            // Both have asked: both come to the same choice.
            State::Offered(_) => theirs < ours,
            State::Udp { .. } => self.up.len() < MAX_LINKS,
            State::Up(_) => false,
        }
    }

    /// `peer`, which listens at `address`, has this link from now on.
    pub(crate) fn set_up(
        &mut self,
        clock: Clock,
        peer: PeerId,
        address: SocketAddr,
        link: Box<Link>,
    ) {
        let line = Line::new(link, (peer, address), clock, self.copies);
        log::info!("peer {address}: shared memory; {}", line.loans.copies);
        *self.state(peer) = State::Up(Box::new(line));
        self.up.push(peer);
    }

    /// Forgets the way to `peer`. Returns its link if it had one.
    fn take_down(&mut self, peer: PeerId) -> Option<Box<Line>> {
        let state = std::mem::replace(self.peers.get_mut(peer.index())?, State::UNTRIED);
        let State::Up(line) = state else { return None };
        self.up.retain(|&up| up != peer);
        self.past.add(&line.counters());
        log::info!("peer {}: UDP: its shared memory is gone", line.address);
        Some(line)
    }

    /// Something may wait for `peer` to take what it was sent.
    pub(crate) fn hurry(&mut self, peer: PeerId) {
        if let Some(line) = self.line(peer) {
            line.hurry();
        }
    }

    /// The message layer has something for `peer`, which has a link.
    pub(crate) fn wake(&mut self, peer: PeerId) {
        if let Some(line) = self.line(peer) {
            line.wants = true;
            line.hurry();
        }
    }

    /// Records that `peer` has not taken; 0 without a link.
    pub(crate) fn in_flight(&mut self, peer: PeerId) -> usize {
        self.line(peer).map_or(0, |line| line.in_flight())
    }

    /// Sends what waits for `peer`. Returns whether anything left.
    pub(crate) fn flush(&mut self, now: Time, peer: PeerId, layer: &mut impl Layer) -> bool {
        let Some(State::Up(line)) = self.peers.get_mut(peer.index()) else { return false };
        let sent = (line.wants || line.due().is_some_and(|at| at <= now))
            && line.flush(now, layer, &mut self.train);
        if sent && line.must_wake_peer() {
            self.to_wake.push(peer);
        }
        sent
    }

    /// Sends a short message to `peer` now, if it has a link with room and nothing has to be before
    /// it. Returns the name of its operation if it did.
    pub(crate) fn send_brief(
        &mut self,
        peer: PeerId,
        request: &BriefRequest<'_>,
        layer: &mut impl Layer,
    ) -> Option<OpId> {
        let Some(State::Up(line)) = self.peers.get_mut(peer.index()) else { return None };
        let op = line.send_brief(request, layer, &mut self.train)?;
        if line.must_wake_peer() {
            self.to_wake.push(peer);
        }
        Some(op)
    }

    /// Sends what waits for any peer with a link. Returns whether anything left.
    pub(crate) fn flush_all(&mut self, now: Time, layer: &mut impl Layer) -> bool {
        let mut any = false;
        for at in 0..self.up.len() {
            any |= self.flush(now, self.up[at], layer);
        }
        any
    }

    /// Receives from all links. Returns whether anything came.
    pub(crate) fn receive(&mut self, now: Time, layer: &mut impl Layer) -> bool {
        let mut any = false;
        for &peer in &self.up {
            let Some(State::Up(line)) = self.peers.get_mut(peer.index()) else { continue };
            let got = line.receive(now, layer, self.retries);
            any |= got;
            if line.must_wake_after(got) {
                self.to_wake.push(peer);
            }
        }
        any
    }

    /// A peer with a link that is lost, and how.
    pub(crate) fn find_loss(&mut self, now: Time) -> Option<(PeerId, PeerError)> {
        let Self { up, peers, .. } = self;
        up.iter().find_map(|&peer| match peers.get_mut(peer.index()) {
            Some(State::Up(line)) => line.loss(now).map(|error| (peer, error)),
            _ => None,
        })
    }

    /// Whether [`Self::take_to_wake`] has one.
    pub(crate) fn has_to_wake(&self) -> bool {
        !self.to_wake.is_empty()
    }

    /// A sleeping peer to be woken.
    pub(crate) fn take_to_wake(&mut self) -> Option<PeerId> {
        self.to_wake.pop()
    }

    /// Whether nothing is left to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.up.iter().filter_map(|&peer| self.link(peer)).all(Line::is_calm)
    }

    /// Tells all peers that this endpoint is about to sleep. `false`: it must not, there is
    /// something to do. Else, the longest it may.
    pub(crate) fn announce_sleep(&mut self, now: Time) -> Option<Duration> {
        let mut longest = Duration::MAX;
        let mut news = false;
        for peer in self.up.iter().chain(&self.offered) {
            match self.peers.get_mut(peer.index()) {
                Some(State::Up(line)) => {
                    line.hurry();
                    line.link.announce_sleep();
                    news |= line.link.has_news() || line.wants && line.link.has_room();
                    // A process that was killed wakes nobody.
                    let due = line.due().map_or(line::LIVENESS, |at| at.since(now));
                    longest = longest.min(due).min(line::LIVENESS);
                    if let Some(at) = line.loans.due(now) {
                        longest = longest.min(at.since(now));
                    }
                }
                Some(State::Offered(offer)) => {
                    offer.announce_sleep();
                    news |= offer.has_news();
                }
                _ => {}
            }
        }
        news |= self.presence.as_ref().is_ok_and(Presence::has_requests);
        if news {
            self.end_sleep();
        }
        (!news).then_some(longest)
    }

    /// Tells all peers that this endpoint looks by itself again.
    pub(crate) fn end_sleep(&mut self) {
        for peer in &self.up {
            if let Some(State::Up(line)) = self.peers.get(peer.index()) {
                line.link.end_sleep();
            }
        }
    }

    /// Ends all links, and accepts none any more.
    pub(crate) fn close(&mut self) {
        self.presence = Err(UdpReason::Off);
        self.offered.clear();
        for peer in std::mem::take(&mut self.up) {
            if let Some(mut line) = self.take_down(peer) {
                line.link.close();
                if line.must_wake_peer() {
                    self.to_wake.push(peer);
                }
            }
        }
        self.peers.clear();
    }
}

/// The message layer as the transport sees it: silent about peers that have links.
pub(crate) struct Routed<'a, L> {
    pub(crate) layer: &'a mut L,
    pub(crate) locals: &'a mut Locals,
}

impl<L: Layer> Upper for Routed<'_, L> {
    fn fill(&mut self, now: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        if self.locals.is_up(peer) {
            return None;
        }
        self.layer.fill(now, peer, room, train)
    }

    fn next_is_bulk(&self, peer: PeerId) -> bool {
        !self.locals.is_up(peer) && self.layer.next_is_bulk(peer)
    }

    fn refill(&mut self, peer: PeerId, token: Token, train: &mut Train) -> Bytes {
        self.layer.refill(peer, token, train)
    }

    fn acked(&mut self, now: Time, peer: PeerId, token: Token) {
        self.layer.acked(now, peer, token);
    }

    fn refused(&mut self, now: Time, peer: PeerId, token: Token) {
        self.layer.refused(now, peer, token);
    }

    fn reclaim(&mut self, now: Time, peer: PeerId, token: Token) {
        self.layer.reclaim(now, peer, token);
    }

    fn deliver(&mut self, now: Time, peer: PeerId, head: &[u8], landed: usize) -> Delivery {
        self.layer.deliver(now, peer, head, landed)
    }

    fn peer_failed(&mut self, now: Time, peer: PeerId, error: PeerError) {
        if let Some(mut line) = self.locals.take_down(peer) {
            line.drain(now, self.layer);
            line.lose_briefs(self.layer, error);
            line.link.close();
            if line.must_wake_peer() {
                self.locals.to_wake.push(peer);
            }
        }
        self.layer.peer_failed(now, peer, error);
    }

    fn is_owed(&self, peer: PeerId) -> bool {
        !self.locals.is_up(peer) && self.layer.is_owed(peer)
    }
}
