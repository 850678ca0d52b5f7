//! Outputs: which train leaves next.

use std::time::Duration;

use bytes::Bytes;
use wire::{Ecn, HEADER_LEN, Header, Kind, PathSeq, PeerId, Psn, Time, Train};

use crate::{Endpoint, Filled, Upper, context::Context, inbound::REACH, peer::Peer};

/// The time waited for the first answer of a peer whose round trip is not known.
const FIRST_TIMEOUT: Duration = Duration::from_millis(3);
/// Timeouts in a row before they become longer: what is sent again, and the answer to it, may take
/// a path that is as dead as the first.
const EARLY_TIMEOUTS: u32 = 2;
/// The bytes of a datagram that is only a header.
const BARE_HEADER: u32 = 32;
/// The bytes of the shortest datagram that acknowledges.
const SHORT_ACK: u32 = 40;

/// What the next train of new data is to be.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// The path.
    slot: u8,
    /// The most bytes.
    budget: usize,
    /// It is part of a bulk transfer.
    bulk: bool,
    /// Bytes of acknowledgement that the first datagram carries.
    ack_len: usize,
}

impl Endpoint {
    /// Writes the next train that may leave now into `train`; `false` if there is none. Call it
    /// until it returns `false`.
    pub fn poll_transmit(&mut self, now: Time, train: &mut Train, upper: &mut impl Upper) -> bool {
        train.clear();
        if let Some((destination, header)) = self.resets.pop_front() {
            train.destination = destination;
            train.entropy = header.entropy;
            header.emit(train.heads());
            seal(train, Bytes::new());
            return true;
        }
        while let Some(peer) = self.farewells.pop() {
            if self.say_farewell(now, peer, train) {
                return true;
            }
        }
        while let Some(peer) = self.ready.pop_front() {
            self.peers[peer.index()].queued = false;
            let sent = self.transmit_to(now, peer, train, upper);
            if sent && self.peers[peer.index()].has_work(now) {
                // There is more; the peer goes to the end of the queue.
                self.enqueue(peer);
            }
            self.arm(now, peer);
            if sent {
                return true;
            }
        }
        false
    }

    /// Builds one train to `peer`: what is overdue first, then lost datagrams, then new ones.
    fn transmit_to(
        &mut self,
        now: Time,
        id: PeerId,
        train: &mut Train,
        upper: &mut impl Upper,
    ) -> bool {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return false };
        peer.unaddressed |= peer.connid.is_none();
        train.destination = peer.address;
        train.ecn = Ecn::Capable;
        context.last_used = now;
        if let Some(psn) = context.not_ready.pop()
            && peer.spend(BARE_HEADER)
        {
            self.send_control(now, id, Kind::NotReady, psn, train);
            return true;
        }
        let Some(context) = &mut peer.context else { return false };
        if context.probe_now {
            context.probe_now = false;
            if self.send_probe(now, id, None, train) {
                return true;
            }
        }
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return false };
        if let Some((slot, redrawn)) = context.paths.next_test(now, &mut self.rng) {
            self.counters.path_redraws += u64::from(redrawn);
            if self.send_probe(now, id, Some(slot), train) {
                return true;
            }
        }
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return false };
        let ack_due = context.rx.ack_now || context.rx.ack_at <= now;
        let bulk = peer.wants_to_send && upper.next_is_bulk(id);
        let may_send = context.forced > 0 || now >= context.hold_until && now >= context.pace_at;
        let will_piggyback = peer.wants_to_send && !bulk && may_send && peer.proven;
        if ack_due && !will_piggyback && self.send_ack(now, id, train) {
            return true;
        }
        if may_send && self.send_data(now, id, train, upper) {
            self.after_data(now, id, train.total_bytes());
            return true;
        }
        will_piggyback && ack_due && self.send_ack(now, id, train)
    }

    /// Sends lost datagrams, then new ones; refused datagrams and new ones take turns.
    fn send_data(
        &mut self,
        now: Time,
        id: PeerId,
        train: &mut Train,
        upper: &mut impl Upper,
    ) -> bool {
        let Some(context) = &mut self.peers[id.index()].context else { return false };
        let first = context.tx.first_lost();
        let refused = first.and_then(|psn| context.tx.get(psn)).is_some_and(|e| e.refusals > 0);
        let new_first = refused && context.new_first;
        context.new_first = refused && !context.new_first;
        if new_first && self.send_new(now, id, train, upper) {
            return true;
        }
        self.send_lost(now, id, train, upper) || !new_first && self.send_new(now, id, train, upper)
    }

    /// Sends lost datagrams again, over another path than the one that lost them.
    fn send_lost(
        &mut self,
        now: Time,
        id: PeerId,
        train: &mut Train,
        upper: &mut impl Upper,
    ) -> bool {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return false };
        let Some(first) = context.tx.first_lost() else { return false };
        let room = context.window().saturating_sub(context.tx.bytes_in_flight());
        let Some(entry) = context.tx.get(first).copied() else { return false };
        if context.forced == 0 && room < entry.bytes && context.tx.bytes_in_flight() > 0 {
            context.congestion.on_limited();
            return false;
        }
        let drain = context.drain(peer.rtt.smoothed());
        let slot = context.paths.choose(Some(entry.slot), drain, &mut self.rng);
        let budget = train_budget(peer, &self.limits, self.config.train_time);
        let Some(context) = &mut peer.context else { return false };
        train.entropy = context.paths.path(slot).entropy;
        while let Some(psn) = context.tx.first_lost() {
            let Some(entry) = context.tx.get(psn).copied() else { break };
            let fits = train.is_empty()
                || entry.bytes as usize <= train.segment_size()
                    && train.total_bytes() + entry.bytes as usize <= budget
                    && train.len() < self.limits.datagrams;
            if !fits {
                break;
            }
            context.tx.pop_lost();
            let seq = context.paths.path(slot).next_seq;
            let header = data_header(now, self.port, peer.local.raw(), peer.connid, psn, seq);
            let hollow = entry.hollow;
            let header = Header { entropy: train.entropy, ack_requested: true, hollow, ..header };
            header.emit(train.heads());
            let tail = if hollow { Bytes::new() } else { upper.refill(id, entry.token, train) };
            let length = seal(train, tail);
            context.tx.push_again(psn, slot, now, &mut context.paths);
            context.forced = context.forced.saturating_sub(1);
            self.counters.retrans_pkts += 1;
            self.counters.retrans_bytes += (length - HEADER_LEN) as u64;
            if length < train.segment_size() || length < entry.bytes as usize {
                break;
            }
        }
        !train.is_empty()
    }

    /// Asks the layer above for new datagrams, as many as a train, the window and pacing allow.
    fn send_new(
        &mut self,
        now: Time,
        id: PeerId,
        train: &mut Train,
        upper: &mut impl Upper,
    ) -> bool {
        if !self.peers[id.index()].wants_to_send {
            return false;
        }
        let bulk = upper.next_is_bulk(id);
        let Some((slot, budget)) = self.plan_train(id, bulk) else { return false };
        let ack_len = if bulk { 0 } else { self.take_ack_along(now, id) };
        self.fill_train(now, id, Plan { slot, budget, bulk, ack_len }, train, upper);
        if train.is_empty() && ack_len > 0 {
            // The acknowledgement was taken but found no datagram to ride on.
            if let Some(context) = &mut self.peers[id.index()].context {
                context.rx.ack_now = true;
            }
        }
        !train.is_empty()
    }

    /// The path and the most bytes of the next train, if the window has room for it.
    fn plan_train(&mut self, id: PeerId, bulk: bool) -> Option<(u8, usize)> {
        let peer = &mut self.peers[id.index()];
        let datagram = peer.datagram_bytes as usize;
        let budget = train_budget(peer, &self.limits, self.config.train_time);
        let context = peer.context.as_mut()?;
        let in_flight = context.tx.bytes_in_flight();
        let room = context.window().saturating_sub(in_flight) as usize;
        // A bulk train waits for the room it wants, so that trains do not shrink.
        let wanted = if bulk { budget.min(context.window() as usize / 4) } else { datagram };
        if in_flight > 0 && room < wanted.max(datagram) || context.tx.span() + 1 >= REACH {
            context.congestion.on_limited();
            return None;
        }
        let drain = context.drain(peer.rtt.smoothed());
        let slot = if in_flight == 0 && !bulk {
            context.paths.choose_warm(drain, &mut self.rng)
        } else {
            context.paths.choose(None, drain, &mut self.rng)
        };
        Some((slot, budget.min(room.max(datagram))))
    }

    /// Takes the acknowledgement that is owed to the peer, to send it along with data. Returns its
    /// length, 0 if there is none.
    fn take_ack_along(&mut self, now: Time, id: PeerId) -> usize {
        let peer = &self.peers[id.index()];
        let datagram = peer.datagram_bytes as usize;
        let fits = |context: &Context| context.rx.owes_ack() && context.rx.ack_len() * 4 < datagram;
        if !peer.proven || !peer.context.as_deref().is_some_and(fits) {
            return 0;
        }
        let window = self.window_to_advertise();
        let Some(context) = &mut self.peers[id.index()].context else { return 0 };
        context.rx.take_ack(now, window, false, &mut self.ack);
        self.ack.len()
    }

    /// Fills a train as planned.
    fn fill_train(
        &mut self,
        now: Time,
        id: PeerId,
        plan: Plan,
        train: &mut Train,
        upper: &mut impl Upper,
    ) {
        let Plan { slot, budget, bulk, mut ack_len } = plan;
        let peer = &mut self.peers[id.index()];
        let datagram = peer.datagram_bytes as usize;
        let Some(context) = &mut peer.context else { return };
        train.entropy = context.paths.path(slot).entropy;
        loop {
            let psn = context.tx.next_psn();
            let seq = context.paths.path(slot).next_seq;
            let header = data_header(now, self.port, peer.local.raw(), peer.connid, psn, seq);
            Header { entropy: train.entropy, ack_len, ..header }.emit(train.heads());
            if ack_len > 0 {
                self.ack.emit(train.heads());
            }
            let Some(filled) = upper.fill(now, id, datagram - HEADER_LEN - ack_len, train) else {
                train.abandon();
                peer.wants_to_send = false;
                return;
            };
            let length = train.heads().len() - train.open_at() + filled.tail.len();
            let in_flight = context.tx.bytes_in_flight() as usize;
            if filled.solicit && bulk || in_flight + length + datagram > context.window() as usize {
                let open_at = train.open_at();
                Header::request_ack(&mut train.heads()[open_at..]);
            }
            let Filled { ends_train, more, .. } = filled;
            seal(train, filled.tail);
            let bytes = u32::try_from(length).unwrap_or(u32::MAX);
            context.tx.push(filled.token, bytes, slot, now, &mut context.paths);
            self.counters.tx_pkts += 1;
            self.counters.tx_bytes += (length - HEADER_LEN - ack_len) as u64;
            if !more {
                peer.wants_to_send = false;
                return;
            }
            let goes_on = !ends_train
                && length == datagram
                && train.len() < self.limits.datagrams
                && train.total_bytes() + datagram <= budget
                && context.tx.span() + 1 < REACH;
            if !goes_on {
                return;
            }
            ack_len = 0;
        }
    }

    /// Sets the timers that sent data needs.
    fn after_data(&mut self, now: Time, id: PeerId, bytes: usize) {
        let peer = &mut self.peers[id.index()];
        peer.silent_since.get_or_insert(now);
        let smoothed = peer.rtt.smoothed();
        let pause = match &peer.context {
            Some(context) if context.timeout_at == Time::NEVER => timeout(peer, &self.config),
            _ => self.config.min_rto,
        };
        let Some(context) = &mut peer.context else { return };
        if context.timeout_at == Time::NEVER {
            context.timeout_at = now + pause;
        }
        if context.check_at == Time::NEVER {
            context.check_at = now + pause.min(self.config.min_rto * 2);
        }
        if let Some(rate) = context.congestion.pacing_rate(smoothed) {
            #[expect(clippy::cast_precision_loss, reason = "a train is far below 2^52 bytes")]
            let takes = Duration::from_secs_f64(bytes as f64 / rate);
            context.pace_at = context.pace_at.max(now) + takes;
        }
    }

    /// Sends an acknowledgement by itself, if one may be sent.
    fn send_ack(&mut self, now: Time, id: PeerId, train: &mut Train) -> bool {
        let window = self.window_to_advertise();
        let peer = &mut self.peers[id.index()];
        if !peer.spend(SHORT_ACK) {
            if let Some(context) = &mut peer.context {
                context.rx.ack_now = false;
                context.rx.ack_at = Time::NEVER;
            }
            return false;
        }
        let Some(context) = &mut peer.context else { return false };
        context.rx.take_ack(now, window, !peer.proven, &mut self.ack);
        let drain = context.drain(peer.rtt.smoothed());
        let slot = context.paths.choose(None, drain, &mut self.rng);
        train.entropy = context.paths.path(slot).entropy;
        let header = control_header(now, Kind::Ack, self.port, peer);
        let header = Header { entropy: train.entropy, ack_len: self.ack.len(), ..header };
        header.emit(train.heads());
        self.ack.emit(train.heads());
        seal(train, Bytes::new());
        self.counters.tx_acks += 1;
        true
    }

    /// Sends a probe over `slot`, or over the best path, if one may be sent.
    fn send_probe(&mut self, now: Time, id: PeerId, slot: Option<u8>, train: &mut Train) -> bool {
        let peer = &mut self.peers[id.index()];
        let unasked = peer.context.as_ref().is_none_or(|context| context.tx.is_empty());
        if unasked && !peer.spend(BARE_HEADER) {
            return false;
        }
        let mut header = control_header(now, Kind::Probe, self.port, peer);
        let smoothed = peer.rtt.smoothed();
        let Some(context) = &mut peer.context else { return false };
        let drain = context.drain(smoothed);
        let slot = slot.unwrap_or_else(|| context.paths.choose(None, drain, &mut self.rng));
        let path = context.paths.path(slot);
        header.entropy = path.entropy;
        header.path_seq = path.take_seq().truncate();
        header.ack_requested = true;
        context.challenge = Some(header.stamp);
        peer.silent_since.get_or_insert(now);
        train.entropy = header.entropy;
        header.emit(train.heads());
        seal(train, Bytes::new());
        self.counters.tx_probes += 1;
        true
    }

    /// Sends a datagram without content about `psn`.
    fn send_control(&mut self, now: Time, id: PeerId, kind: Kind, psn: u32, train: &mut Train) {
        let peer = &mut self.peers[id.index()];
        let header = control_header(now, kind, self.port, peer);
        let smoothed = peer.rtt.smoothed();
        let Some(context) = &mut peer.context else { return };
        let drain = context.drain(smoothed);
        let slot = context.paths.choose(None, drain, &mut self.rng);
        train.entropy = context.paths.path(slot).entropy;
        Header { psn, entropy: train.entropy, ..header }.emit(train.heads());
        seal(train, Bytes::new());
        self.counters.tx_not_ready += u64::from(kind == Kind::NotReady);
    }

    /// Tells `peer` goodbye, with a last acknowledgement.
    fn say_farewell(&mut self, now: Time, id: PeerId, train: &mut Train) -> bool {
        let window = self.window_to_advertise();
        let peer = &mut self.peers[id.index()];
        if peer.connid.is_none() || !peer.spend(SHORT_ACK) {
            return false;
        }
        train.destination = peer.address;
        let short = !peer.proven;
        peer.context(now, &self.config).rx.take_ack(now, window, short, &mut self.ack);
        let header = control_header(now, Kind::Close, self.port, peer);
        Header { ack_len: self.ack.len(), ..header }.emit(train.heads());
        self.ack.emit(train.heads());
        train.entropy = header.entropy;
        seal(train, Bytes::new());
        true
    }
}

/// The time after which silence of `peer` is a timeout.
pub(crate) fn timeout(peer: &Peer, config: &crate::Config) -> Duration {
    let timeouts = peer.context.as_ref().map_or(0, |context| context.backoff);
    let backoff = timeouts.saturating_sub(EARLY_TIMEOUTS).min(16);
    let base = if peer.rtt.is_known() {
        (peer.rtt.overdue() + config.ack_delay * 2).max(config.min_rto)
    } else {
        FIRST_TIMEOUT.max(config.min_rto)
    };
    (base * 2u32.pow(backoff)).min(config.max_rto.max(base))
}

/// Bytes of the next train: what the sending rate moves in the configured time, at least a
/// datagram, at most what the device takes.
fn train_budget(peer: &Peer, limits: &crate::TrainLimits, time: Duration) -> usize {
    let datagram = peer.datagram_bytes as usize;
    let most = limits.bytes.min(limits.datagrams * datagram).max(datagram);
    let rate = peer
        .context
        .as_deref()
        .and_then(|c: &Context| c.congestion.pacing_rate(peer.rtt.smoothed()));
    rate.map_or(most, |rate| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let paced = (rate * time.as_secs_f64()) as usize;
        paced.clamp(datagram, most)
    })
}

fn data_header(
    now: Time,
    port: u16,
    source: u32,
    destination: Option<wire::ConnId>,
    psn: Psn,
    seq: PathSeq,
) -> Header {
    Header {
        kind: Kind::Data,
        ack_requested: false,
        hollow: false,
        port,
        source,
        destination: destination.map_or(0, wire::ConnId::raw),
        psn: psn.truncate(),
        path_seq: seq.truncate(),
        stamp: now.stamp(),
        entropy: wire::Entropy(0),
        ack_len: 0,
        covered: HEADER_LEN,
    }
}

fn control_header(now: Time, kind: Kind, port: u16, peer: &Peer) -> Header {
    let blank = data_header(now, port, peer.local.raw(), peer.connid, Psn(0), PathSeq(0));
    Header { kind, ..blank }
}

/// Completes the datagram that is open in `train`. Returns its length.
fn seal(train: &mut Train, tail: Bytes) -> usize {
    let open_at = train.open_at();
    Header::seal(&mut train.heads()[open_at..]);
    train.close(tail)
}
