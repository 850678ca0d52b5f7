//! What an acknowledgement teaches: arrivals, round trips, losses.

use wire::{Ack, PeerId, Psn, Time};

use crate::{Endpoint, Upper, outbound::Fate, outbound::Losses, transmit::timeout};

impl Endpoint {
    pub(crate) fn handle_ack(&mut self, now: Time, id: PeerId, ack: &Ack, upper: &mut impl Upper) {
        let Some(context) = &self.peers[id.index()].context else { return };
        let next = context.tx.next_psn();
        let cumulative = Psn::expand(ack.cumulative, next);
        let Some(cumulative) = cumulative.filter(|psn| *psn < next) else {
            self.counters.rx_malformed += 1;
            return;
        };
        self.take_echoes(now, id, ack);
        let settled = self.settle(now, id, cumulative, ack, upper);
        self.find_overtaken(now, id, ack);
        let peer = &mut self.peers[id.index()];
        let in_flight = peer.context.as_ref().map_or(0, |context| context.tx.bytes_in_flight());
        let pause = if in_flight > 0 { timeout(peer, &self.config) } else { self.config.min_rto };
        let least = peer.datagram_bytes;
        let Some(context) = &mut peer.context else { return };
        context.peer_window = ack.window.max(least);
        self.counters.path_redraws += u64::from(context.explore(now, &mut self.rng));
        if settled {
            context.backoff = 0;
            context.hold = std::time::Duration::ZERO;
            context.hold_until = context.hold_until.min(now);
        }
        if in_flight == 0 {
            context.timeout_at = Time::NEVER;
        } else {
            if settled {
                context.timeout_at = now + pause;
            }
            peer.silent_since = Some(now);
        }
    }

    /// Round trips and path health from the echoes.
    fn take_echoes(&mut self, now: Time, id: PeerId, ack: &Ack) {
        let unattended = self.unattended;
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return };
        let clean = context.congestion.clean_round_trip();
        for echo in &ack.echoes {
            let Some(slot) = context.paths.slot_of(echo.entropy) else { continue };
            let path = context.paths.path(slot);
            let Some(seq) = echo.path_seq_near(path.next_seq) else { continue };
            if seq >= path.next_seq || seq <= path.echoed {
                continue;
            }
            path.echoed = seq;
            path.heard = path.heard.max(seq);
            let elapsed = echo.stamp.elapsed(now);
            let rtt = elapsed.saturating_sub(std::time::Duration::from_nanos(echo.delay));
            // A process that was not running, here or there, is no queue in the network.
            let is_told = !unattended && !echo.is_delay_untold();
            if is_told {
                path.rtt.on_sample(rtt);
                peer.rtt.on_sample(rtt);
                context.congestion.on_sample(now, rtt);
            }
            context.congestion.on_echo(echo.marked > 0);
            context.tx.note_arrival(now - elapsed);
            context.paths.revive(slot);
            if is_told && echo.marked == 0 && rtt <= clean {
                context.paths.recycle(slot);
            }
        }
    }

    /// Settles what arrived. Returns whether anything did.
    fn settle(
        &mut self,
        now: Time,
        id: PeerId,
        cumulative: Psn,
        ack: &Ack,
        upper: &mut impl Upper,
    ) -> bool {
        let peer = &mut self.peers[id.index()];
        let Some(context) = &mut peer.context else { return false };
        let counters = &mut self.counters;
        let mut bytes = 0;
        let mut sample = None;
        let mut was_silent = false;
        context.tx.acknowledge(cumulative, ack.selected(cumulative), &mut context.paths, |entry| {
            bytes += entry.bytes;
            if entry.fate == Fate::Lost
                || entry.transmissions > 1 && entry.at + base_half(&peer.rtt) > now
            {
                counters.spurious_retrans += 1;
            }
            if entry.transmissions == 1 {
                sample = Some(now.since(entry.at));
                was_silent = true;
            }
            if !entry.hollow {
                upper.acked(now, id, entry.token);
            }
        });
        if bytes == 0 {
            return false;
        }
        if was_silent && context.backoff > 0 {
            // What left before the silence had arrived: the peer was away, the network was not.
            context.congestion.undo_timeout();
        }
        if let (true, Some(rtt)) = (ack.echoes.is_empty() && !self.unattended, sample) {
            peer.rtt.on_sample(rtt);
            context.congestion.on_sample(now, rtt);
        }
        context.congestion.on_acked(now, bytes);
        true
    }

    /// Losses on the paths that brought news.
    fn find_overtaken(&mut self, now: Time, id: PeerId, ack: &Ack) {
        let Some(context) = &mut self.peers[id.index()].context else { return };
        let mut total = Losses::default();
        for echo in &ack.echoes {
            let Some(slot) = context.paths.slot_of(echo.entropy) else { continue };
            let (losses, due) = context.tx.overtaken(now, slot, &mut context.paths);
            total.datagrams += losses.datagrams;
            total.bytes += losses.bytes;
            context.check_at = context.check_at.min(due);
        }
        context.congestion.on_lost(total.bytes);
    }
}

/// Half the smoothed round trip: an answer sooner than that is to an earlier transmission.
fn base_half(rtt: &crate::rtt::Rtt) -> std::time::Duration {
    rtt.smoothed() / 2
}
