//! Inputs from the network: one datagram at a time.

use std::net::SocketAddr;

use wire::{ConnId, Ecn, HEADER_LEN, Header, Kind, PeerId, Psn, Stamp, Time};

use crate::{Delivery, Endpoint, PeerError, Upper, inbound::Seen};

/// The most answers to strangers that wait to be sent.
const MAX_RESETS: usize = 64;

/// A datagram as the device received it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Where it came from: the sender's source port of that path.
    pub source: SocketAddr,
    /// Its ECN field.
    pub ecn: Ecn,
    /// Its bytes, or with `landed` only the first of them, at least all that the checksum covers.
    pub bytes: &'a [u8],
    /// How many more bytes the device placed elsewhere.
    pub landed: usize,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The transport dealt with it.
    Done,
    /// It is an unreliable datagram: from this peer address, with its payload from this byte on.
    Unreliable(SocketAddr, usize),
}

impl Endpoint {
    /// A datagram arrived.
    ///
    /// Anything that is not what it should be is counted and dropped (P§2.4).
    pub fn handle_datagram(
        &mut self,
        now: Time,
        incoming: Incoming<'_>,
        upper: &mut impl Upper,
    ) -> Handled {
        let Incoming { source, ecn, bytes, landed } = incoming;
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(_) => {
                self.counters.rx_malformed += 1;
                return Handled::Done;
            }
        };
        let address = SocketAddr::new(source.ip(), header.port);
        if header.kind == Kind::Unreliable {
            return Handled::Unreliable(address, HEADER_LEN + header.ack_len);
        }
        let Some(id) = self.admit(now, address, &header, bytes.len() + landed, upper) else {
            return Handled::Done;
        };
        let payload_at = HEADER_LEN + header.ack_len;
        if header.ack_len > 0 {
            let mut ack = std::mem::take(&mut self.ack);
            match ack.parse_into(&bytes[HEADER_LEN..payload_at]) {
                Ok(()) => self.handle_ack(now, id, &ack, upper),
                Err(_) => self.counters.rx_malformed += 1,
            }
            self.ack = ack;
        }
        match header.kind {
            Kind::Data => {
                let payload = Incoming { bytes: &bytes[payload_at..], ..incoming };
                self.handle_data(now, id, &header, payload, upper);
            }
            Kind::Probe => self.handle_probe(now, id, &header, ecn),
            Kind::NotReady => self.handle_not_ready(now, id, header.psn, upper),
            Kind::Close => self.fail(now, id, PeerError::Closed, upper),
            Kind::Ack | Kind::Reset | Kind::Unreliable => {}
        }
        if self.peers[id.index()].has_work(now) {
            self.enqueue(id);
        }
        self.arm(now, id);
        Handled::Done
    }

    /// The host of `address` says that nobody listens there, or that it cannot be reached.
    pub fn handle_unreachable(&mut self, now: Time, address: SocketAddr) {
        if let Some(peer) = self.find_peer(address) {
            let entry = &mut self.peers[peer.index()];
            if entry.silent_since.is_some() {
                entry.refused_since.get_or_insert(now);
            }
        }
    }

    /// Decides whether a datagram belongs to a context, and to which peer.
    fn admit(
        &mut self,
        now: Time,
        address: SocketAddr,
        header: &Header,
        length: usize,
        upper: &mut impl Upper,
    ) -> Option<PeerId> {
        let opens = matches!(header.kind, Kind::Data | Kind::Probe);
        let id = match self.look_up(address) {
            Some(id) => id,
            None => {
                let local = self.connid_towards(address);
                if !opens || !(header.destination == 0 || header.destination == local.raw()) {
                    self.reject(address, header, local, opens);
                    return None;
                }
                self.adopt(address)?
            }
        };
        let peer = &mut self.peers[id.index()];
        let for_us = header.destination == peer.local.raw();
        if !(for_us || header.destination == 0 && opens) {
            let local = peer.local;
            self.reject(address, header, local, opens);
            return None;
        }
        let source = ConnId::new(header.source)?;
        if header.kind == Kind::Reset {
            self.handle_reset(now, id, source, header, upper);
            return None;
        }
        match peer.connid {
            Some(known) if known == source => {}
            _ if peer.is_retired(source) => {
                self.counters.rx_stale += 1;
                return None;
            }
            None => peer.connid = Some(source),
            Some(_) => {
                // A new incarnation, or a forgery: ask the old one. If it is gone, whoever
                // answers at the address now proves it by a reset that repeats our stamp.
                self.counters.rx_stale += 1;
                peer.context(now, &self.config).probe_now = true;
                self.enqueue(id);
                return None;
            }
        }
        if for_us {
            peer.proven = true;
            peer.heard = true;
            peer.heard_at = now;
            peer.silent_since = None;
            peer.refused_since = None;
        } else if !peer.proven {
            let bytes = u32::try_from(length).unwrap_or(u32::MAX);
            peer.unproven = peer.unproven.saturating_add(bytes);
        }
        Some(id)
    }

    fn look_up(&mut self, address: SocketAddr) -> Option<PeerId> {
        match self.last_source {
            Some((last, id)) if last == address => Some(id),
            _ => {
                let id = self.find_peer(address)?;
                self.last_source = Some((address, id));
                Some(id)
            }
        }
    }

    fn adopt(&mut self, address: SocketAddr) -> Option<PeerId> {
        match self.connect(address) {
            Ok(id) => Some(id),
            Err(_) => {
                self.counters.rx_no_room_for_peer += 1;
                None
            }
        }
    }

    /// Drops a datagram for somebody else; one that waits for an answer gets a reset, which is
    /// never longer than what it answers.
    fn reject(&mut self, address: SocketAddr, header: &Header, local: ConnId, answer: bool) {
        self.counters.rx_stale += 1;
        if !answer || header.destination == 0 || self.resets.len() >= MAX_RESETS {
            return;
        }
        let reset = Header {
            kind: Kind::Reset,
            port: self.port,
            source: local.raw(),
            destination: header.source,
            ack_requested: false,
            hollow: false,
            ack_len: 0,
            covered: HEADER_LEN,
            ..*header
        };
        self.resets.push_back((address, reset));
    }

    /// Somebody else answers where the peer was. Believed only if it repeats the stamp of
    /// something sent there (P§7.3).
    fn handle_reset(
        &mut self,
        now: Time,
        id: PeerId,
        source: ConnId,
        header: &Header,
        upper: &mut impl Upper,
    ) {
        let peer = &mut self.peers[id.index()];
        if peer.connid == Some(source) || peer.is_retired(source) {
            self.counters.rx_stale += 1;
            return;
        }
        let Some(context) = &mut peer.context else { return };
        if !proves_receipt(context, header.psn, header.stamp) {
            self.counters.rx_foreign += 1;
            return;
        }
        self.fail(now, id, PeerError::Restarted, upper);
        let peer = &mut self.peers[id.index()];
        peer.connid = Some(source);
        peer.proven = true;
        peer.heard = true;
    }

    fn handle_data(
        &mut self,
        now: Time,
        id: PeerId,
        header: &Header,
        payload: Incoming<'_>,
        upper: &mut impl Upper,
    ) {
        let Incoming { ecn, bytes: payload, landed, .. } = payload;
        let since = self.waited_since(now);
        let context = self.peers[id.index()].context(now, &self.config);
        context.last_used = now;
        let gap = context.rx.note_path(since, header, ecn);
        let Some(psn) = Psn::expand(header.psn, context.rx.cumulative()) else {
            self.counters.rx_out_of_window += 1;
            return;
        };
        match context.rx.look_up(psn) {
            Seen::OutOfWindow => {
                self.counters.rx_out_of_window += 1;
                return;
            }
            Seen::Before => {
                self.counters.rx_duplicates += 1;
                context.rx.ack_now = true;
                return;
            }
            Seen::New => {}
        }
        let length = payload.len() + landed;
        if !header.hollow && upper.deliver(now, id, payload, landed) == Delivery::NotReady {
            if context.not_ready.len() < 64 {
                context.not_ready.push(header.psn);
            }
            return;
        }
        context.rx.accept(psn);
        self.counters.rx_pkts += u64::from(!header.hollow);
        self.counters.rx_bytes += length as u64;
        context.rx.owe(now, length, &self.config);
        if gap || header.ack_requested || ecn == Ecn::CongestionExperienced {
            context.rx.ack_now = true;
        }
        self.note_sender(now, id);
    }

    /// Since when what arrives now may have waited here.
    const fn waited_since(&self, now: Time) -> Time {
        if self.unattended { Time::ZERO } else { now }
    }

    fn handle_probe(&mut self, now: Time, id: PeerId, header: &Header, ecn: Ecn) {
        let since = self.waited_since(now);
        let context = self.peers[id.index()].context(now, &self.config);
        context.rx.note_path(since, header, ecn);
        context.rx.ack_now = true;
    }

    /// The peer had no room for the datagram with this PSN: it is sent again after a pause, or
    /// given up when its retries are used up.
    fn handle_not_ready(&mut self, now: Time, id: PeerId, psn: u32, upper: &mut impl Upper) {
        self.counters.rx_not_ready += 1;
        let Some(context) = &mut self.peers[id.index()].context else { return };
        let Some(psn) = context.tx.find(psn) else { return };
        if context.tx.lose(psn, &mut context.paths).is_none() {
            return;
        }
        context.hold_back(now, &mut self.rng);
        let Some(entry) = context.tx.get(psn) else { return };
        entry.refusals = entry.refusals.saturating_add(1);
        let used_up = self.config.rnr_retries.is_some_and(|most| u32::from(entry.refusals) > most);
        if used_up && !entry.hollow {
            entry.hollow = true;
            let token = entry.token;
            context.hold_until = now;
            upper.refused(now, id, token);
        }
    }
}

/// Whether `psn` and `stamp` are those of a datagram or probe that is on its way.
fn proves_receipt(context: &mut crate::context::Context, psn: u32, stamp: Stamp) -> bool {
    if context.challenge == Some(stamp) {
        return true;
    }
    let Some(psn) = context.tx.find(psn) else { return false };
    context.tx.get(psn).is_some_and(|entry| entry.at.stamp() == stamp)
}
