//! Inputs from time: overdue acknowledgements, silent paths, silent peers.

use std::cmp::Reverse;

use wire::{PeerId, SMALLEST_DATAGRAM, Time};

use crate::{Endpoint, PeerError, Upper, transmit::timeout};

/// Consecutive timeouts after which it is tested whether a small datagram comes through.
const PROBE_TIMEOUTS: u32 = 4;

impl Endpoint {
    /// Does what has become due. Call it when the time of [`Endpoint::poll_timeout`] has come; a
    /// call too early does no harm.
    pub fn handle_timeout(&mut self, now: Time, upper: &mut impl Upper) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let peer = &mut self.peers[id.index()];
            if peer.armed != at {
                continue;
            }
            peer.armed = Time::NEVER;
            self.handle_peer_timeout(now, id, upper);
            self.arm(now, id);
        }
    }

    fn handle_peer_timeout(&mut self, now: Time, id: PeerId, upper: &mut impl Upper) {
        let Some(context) = &mut self.peers[id.index()].context else { return };
        if context.rx.ack_at <= now {
            context.rx.ack_now = true;
        }
        if context.check_at <= now {
            self.check_paths(now, id);
        }
        let Some(context) = &mut self.peers[id.index()].context else { return };
        if context.timeout_at <= now {
            self.handle_silence(now, id);
            self.suspect_black_hole(now, id, upper);
        }
        let Some(context) = &mut self.peers[id.index()].context else { return };
        if context.keepalive_at <= now {
            self.keep_alive(now, id, upper);
        }
        if self.is_given_up(now, id, upper) {
            return;
        }
        if self.peers[id.index()].has_work(now) {
            self.enqueue(id);
        }
    }

    /// Looks for losses on every path, and for paths gone silent.
    fn check_paths(&mut self, now: Time, id: PeerId) {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return };
        let mut next = Time::NEVER;
        let mut lost = 0;
        let several = context.paths.len() > 1;
        for slot in (0..=u8::MAX).take(context.paths.len()) {
            let (losses, due) = context.tx.overtaken(now, slot, &mut context.paths);
            lost += losses.bytes;
            next = next.min(due);
            let overdue = peer.rtt.overdue();
            let patience = context.paths.path(slot).patience(overdue, self.config.min_rto);
            if let Some(losses) = context.tx.silent(now, slot, patience, &mut context.paths) {
                lost += losses.bytes;
                if several && context.paths.quarantine(slot, now) {
                    self.counters.path_quarantines += 1;
                }
            }
        }
        context.congestion.on_lost(lost);
        context.check_at = next;
        if context.tx.bytes_in_flight() > 0 {
            context.check_at = next.min(now + self.config.min_rto);
        }
    }

    /// No acknowledgement for a whole timeout: the oldest datagram is sent again, at once and
    /// over another path. Everything else waits for what the answer says.
    fn handle_silence(&mut self, now: Time, id: PeerId) {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return };
        let Some(oldest) = context.tx.oldest_sent() else {
            context.timeout_at = Time::NEVER;
            return;
        };
        self.counters.retrans_timeout_events += 1;
        context.backoff += 1;
        if context.backoff == 2 {
            context.congestion.on_timeout();
        }
        let slot = context.tx.get(oldest).map(|entry| entry.slot);
        context.tx.lose(oldest, &mut context.paths);
        context.forced = 1;
        // Nothing else may tell that this path is dead: if all that is in flight went over dead
        // ones, no acknowledgement comes that could show it. A mistake costs one probe. When most
        // paths are in question it is the peer that is silent.
        if let Some(slot) = slot
            && context.paths.most_are_good()
            && context.paths.quarantine(slot, now)
        {
            self.counters.path_quarantines += 1;
        }
        context.hold_until = context.hold_until.min(now);
        let pause = timeout(peer, &self.config);
        if let Some(context) = &mut peer.context {
            context.timeout_at = now + pause;
        }
    }

    /// Small datagrams come back and large ones do not: some link on the way takes less than was
    /// thought and says nothing (RFC 8899, section 4.4).
    fn suspect_black_hole(&mut self, now: Time, id: PeerId, upper: &mut impl Upper) {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return };
        if peer.datagram_bytes as usize <= SMALLEST_DATAGRAM {
            return;
        }
        if context.backoff == PROBE_TIMEOUTS {
            context.probe_now = true;
            context.probed_at = now;
        }
        // A peer that merely computes does not answer the probe either.
        if context.backoff > PROBE_TIMEOUTS && peer.heard_at > context.probed_at {
            self.shrink_datagrams(now, id, SMALLEST_DATAGRAM, upper);
        }
    }

    /// Asks a peer that owes something whether it lives; drops a context without work.
    fn keep_alive(&mut self, now: Time, id: PeerId, upper: &mut impl Upper) {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return };
        context.keepalive_at = now + self.config.keepalive.min(self.config.idle_after);
        if !context.tx.is_empty() {
            return;
        }
        // A hole that nobody fills is the mark of a sender that is gone.
        if upper.is_owed(id) || !context.rx.has_no_gap() {
            context.probe_now = true;
            peer.silent_since.get_or_insert(now);
        } else if context.is_idle()
            && !peer.wants_to_send
            && now.since(context.last_used) >= self.config.idle_after
        {
            peer.silent_since = None;
            peer.rest();
        }
    }

    /// Gives the peer up if it has been silent, or its host has refused, for too long.
    fn is_given_up(&mut self, now: Time, id: PeerId, upper: &mut impl Upper) -> bool {
        let peer = &self.peers[id.index()];
        let Some(since) = peer.silent_since else { return false };
        let silent = now.since(since);
        let most =
            if peer.heard { self.config.unresponsive_after } else { self.config.unreachable_after };
        let refused =
            peer.refused_since.is_some_and(|at| now.since(at) >= self.config.refused_after);
        if silent < most && !refused {
            return false;
        }
        let error = if peer.heard {
            PeerError::Unresponsive(silent.into())
        } else {
            PeerError::Unreachable(silent.into())
        };
        self.fail(now, id, error, upper);
        true
    }
}
