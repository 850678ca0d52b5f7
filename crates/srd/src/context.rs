//! The state of one pair of endpoints while there is work between them.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{PathSeq, Psn, Stamp, Time};

use crate::{
    Config,
    congestion::Congestion,
    inbound::Inbound,
    outbound::Outbound,
    path::{Drain, Paths},
};

/// How often a new source port is tried while all paths have queues.
const EXPLORE_INTERVAL: Duration = Duration::from_millis(5);

/// Where the sequence numbers of a pair of endpoints stand: what outlives a context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) next: Psn,
    pub(crate) cumulative: Psn,
    pub(crate) next_path_seq: PathSeq,
}

impl Past {
    /// The beginning.
    pub(crate) const fn none(config: &Config) -> Self {
        Self {
            next: Psn(config.first_psn),
            cumulative: Psn(config.first_psn - 1),
            next_path_seq: PathSeq(1),
        }
    }
}

/// Made on first use, dropped when idle; what must outlive it is in the peer.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) tx: Outbound,
    pub(crate) rx: Inbound,
    pub(crate) paths: Paths,
    pub(crate) congestion: Congestion,
    /// Bytes the peer allows in flight towards it.
    pub(crate) peer_window: u32,
    /// Consecutive timeouts without an answer.
    pub(crate) backoff: u32,
    /// When silence becomes a timeout; `Time::NEVER` with nothing in flight.
    pub(crate) timeout_at: Time,
    /// When the paths are next looked at for losses.
    pub(crate) check_at: Time,
    /// Pacing: nothing leaves before.
    pub(crate) pace_at: Time,
    /// Receiver not ready: nothing leaves before.
    pub(crate) hold_until: Time,
    pub(crate) hold: Duration,
    /// New data goes before refused data next time: what the receiver needs to make room may be
    /// either.
    pub(crate) new_first: bool,
    /// When a new source port may be tried next.
    pub(crate) explore_at: Time,
    /// When a silent peer that owes something is asked, or an idle context dropped.
    pub(crate) keepalive_at: Time,
    pub(crate) last_used: Time,
    /// Datagrams this endpoint put back; the peer is told once for each.
    pub(crate) not_ready: Vec<u32>,
    /// A probe should be sent now.
    pub(crate) probe_now: bool,
    /// When the peer was last probed because only large datagrams might be lost.
    pub(crate) probed_at: Time,
    /// Retransmissions that may leave although the window is full: after a timeout the first
    /// must.
    pub(crate) forced: u32,
    /// The stamp of the last probe: an answer must repeat it.
    pub(crate) challenge: Option<Stamp>,
    /// The last millisecond in which something arrived, for counting active senders.
    pub(crate) rx_epoch: u64,
}

impl Context {
    pub(crate) fn new(now: Time, past: Past, config: &Config) -> Self {
        Self {
            tx: Outbound::new(past.next),
            rx: Inbound::new(past.cumulative),
            paths: Paths::new(config.paths.max(1), past.next_path_seq),
            congestion: Congestion::new(
                now,
                config.initial_window,
                config.max_window,
                config.queue_target,
            ),
            peer_window: config.initial_window,
            backoff: 0,
            timeout_at: Time::NEVER,
            check_at: Time::NEVER,
            pace_at: Time::ZERO,
            hold_until: Time::ZERO,
            hold: Duration::ZERO,
            new_first: false,
            explore_at: now + EXPLORE_INTERVAL,
            keepalive_at: now + config.keepalive,
            last_used: now,
            not_ready: Vec::new(),
            probe_now: false,
            probed_at: Time::NEVER,
            forced: 0,
            challenge: None,
            rx_epoch: u64::MAX,
        }
    }

    /// Bytes that may be in flight now.
    pub(crate) fn window(&self) -> u32 {
        self.congestion.window().min(self.peer_window)
    }

    /// Whether something is to be sent that does not come from the layer above.
    pub(crate) fn has_own_work(&self) -> bool {
        self.tx.has_lost() || self.rx.ack_now || self.probe_now || !self.not_ready.is_empty()
    }

    /// The earliest time after `now` at which something must be done that is not already waiting
    /// to be sent.
    pub(crate) fn deadline(&self, now: Time, wants_to_send: bool) -> Time {
        let mut at = self.timeout_at.min(self.check_at).min(self.keepalive_at);
        if !self.rx.ack_now {
            at = at.min(self.rx.ack_at);
        }
        if wants_to_send || self.tx.has_lost() {
            let opens_at = self.pace_at.max(self.hold_until);
            if opens_at > now {
                at = at.min(opens_at);
            }
        }
        // Nothing may keep the timers busy without time passing.
        at.min(self.paths.next_test_at()).max(now + Duration::from_micros(1))
    }

    /// Whether dropping the context would lose nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.tx.is_empty() && self.rx.has_no_gap() && !self.rx.owes_ack() && !self.has_own_work()
    }

    /// What a path's queue is judged by.
    pub(crate) fn drain(&self, smoothed: Duration) -> Drain {
        Drain { smoothed, window: self.congestion.window() }
    }

    /// Tries a new source port now and then while all paths have queues: with few ports a network
    /// path may have none. Returns whether it did.
    pub(crate) fn explore(&mut self, now: Time, rng: &mut Xoshiro256PlusPlus) -> bool {
        if now < self.explore_at || !self.congestion.is_queueing() {
            return false;
        }
        self.explore_at = now + EXPLORE_INTERVAL;
        self.paths.len() > 1 && self.paths.explore(rng)
    }

    /// Doubles the pause before a receiver that was not ready is tried again.
    pub(crate) fn hold_back(&mut self, now: Time, rng: &mut Xoshiro256PlusPlus) {
        use rand::RngExt;
        // One pause for all datagrams that are refused at about the same time.
        if now < self.hold_until {
            return;
        }
        self.hold = if self.hold.is_zero() {
            Duration::from_micros(rng.random_range(40..120))
        } else {
            (self.hold * 2).min(Duration::from_millis(20))
        };
        self.hold_until = now + self.hold;
    }
}
