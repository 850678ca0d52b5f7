//! The sending half of a context: datagrams in flight, and which of them are lost.
//!
//! Loss is inferred per path, where order holds (RFC 8985 applied to each path): a datagram is
//! lost when later ones of its path arrived and a little time passed, or when its path has been
//! silent for longer than the path's own round trip while others brought answers (P§5).

use std::{collections::VecDeque, time::Duration};

use wire::{PathSeq, Psn, Time, Token};

use crate::path::{OnPath, Path, Paths};

/// Datagrams of one path that may overtake another before it counts as lost at once.
const REORDER: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Acked,
    /// Waits to be sent again.
    Lost,
}

/// A datagram that is not yet known to have arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) token: Token,
    pub(crate) bytes: u32,
    pub(crate) fate: Fate,
    pub(crate) slot: u8,
    pub(crate) transmissions: u8,
    /// Times the receiver had no room.
    pub(crate) refusals: u8,
    /// Given up: it is sent without content, so that its PSN does not stay open.
    pub(crate) hollow: bool,
    pub(crate) seq: PathSeq,
    pub(crate) at: Time,
}

/// What a scan for losses found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u32,
}

/// Everything sent to one peer and not acknowledged.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// PSN of the front of `flight`.
    base: Psn,
    flight: VecDeque<InFlight>,
    lost: VecDeque<Psn>,
    in_flight: u32,
    /// When the most recently sent datagram that was acknowledged had left.
    latest_acked: Time,
}

impl Outbound {
    pub(crate) const fn new(next: Psn) -> Self {
        Self {
            base: next,
            flight: VecDeque::new(),
            lost: VecDeque::new(),
            in_flight: 0,
            latest_acked: Time::ZERO,
        }
    }

    pub(crate) fn next_psn(&self) -> Psn {
        Psn(self.base.0 + self.flight.len() as u64)
    }

    /// How many PSNs lie between the first open one and the next.
    pub(crate) fn span(&self) -> u64 {
        self.flight.len() as u64
    }

    pub(crate) const fn bytes_in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Nothing sent is without an acknowledgement.
    pub(crate) fn is_empty(&self) -> bool {
        self.flight.is_empty()
    }

    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn get(&mut self, psn: Psn) -> Option<&mut InFlight> {
        let index = psn.0.checked_sub(self.base.0)?;
        self.flight.get_mut(usize::try_from(index).ok()?)
    }

    /// The full number of a PSN from the wire, if it is in flight.
    pub(crate) fn find(&self, wire: u32) -> Option<Psn> {
        Psn::expand(wire, self.base).filter(|psn| *psn >= self.base && *psn < self.next_psn())
    }

    /// The datagrams with content of more than `bytes` that have not arrived.
    pub(crate) fn longer_than(&self, bytes: u32) -> Vec<Psn> {
        let open = |entry: &InFlight| entry.fate != Fate::Acked && !entry.hollow;
        let numbered = (self.base.0..).zip(&self.flight);
        let longer = numbered.filter(|(_, entry)| open(entry) && entry.bytes > bytes);
        longer.map(|(psn, _)| Psn(psn)).collect()
    }

    /// The oldest datagram that is on its way.
    pub(crate) fn oldest_sent(&self) -> Option<Psn> {
        let index = self.flight.iter().position(|entry| entry.fate == Fate::Sent)?;
        Some(Psn(self.base.0 + index as u64))
    }

    /// Notes a first transmission. The PSN is [`Outbound::next_psn`] of before.
    pub(crate) fn push(&mut self, token: Token, bytes: u32, slot: u8, at: Time, paths: &mut Paths) {
        let psn = self.next_psn();
        let path = paths.path(slot);
        let seq = path.take_seq();
        path.outstanding.push_back(OnPath { seq, psn, at });
        path.in_flight += bytes;
        self.in_flight += bytes;
        self.flight.push_back(InFlight {
            token,
            bytes,
            fate: Fate::Sent,
            slot,
            transmissions: 1,
            refusals: 0,
            hollow: false,
            seq,
            at,
        });
    }

    /// Notes a retransmission of `psn`, which was lost.
    pub(crate) fn push_again(&mut self, psn: Psn, slot: u8, at: Time, paths: &mut Paths) {
        let path = paths.path(slot);
        let seq = path.take_seq();
        let Some(entry) = self.get(psn) else { return };
        entry.fate = Fate::Sent;
        entry.slot = slot;
        entry.seq = seq;
        entry.at = at;
        entry.transmissions = entry.transmissions.saturating_add(1);
        let bytes = entry.bytes;
        path.outstanding.push_back(OnPath { seq, psn, at });
        path.in_flight += bytes;
        self.in_flight += bytes;
    }

    /// The next datagram to send again; stale entries are dropped on the way.
    pub(crate) fn first_lost(&mut self) -> Option<Psn> {
        while let Some(psn) = self.lost.front().copied() {
            if self.get(psn).is_some_and(|entry| entry.fate == Fate::Lost) {
                return Some(psn);
            }
            self.lost.pop_front();
        }
        None
    }

    pub(crate) fn pop_lost(&mut self) {
        self.lost.pop_front();
    }

    /// Settles `psn` as arrived. Returns it as it was, once.
    fn settle(&mut self, psn: Psn, paths: &mut Paths) -> Option<InFlight> {
        let entry = self.get(psn)?;
        let before = *entry;
        if before.fate == Fate::Acked {
            return None;
        }
        entry.fate = Fate::Acked;
        let path = paths.path(before.slot);
        if before.fate == Fate::Sent {
            path.in_flight = path.in_flight.saturating_sub(before.bytes);
            self.in_flight = self.in_flight.saturating_sub(before.bytes);
        }
        if before.transmissions == 1 {
            path.heard = path.heard.max(before.seq);
            path.on_fate(false);
            self.latest_acked = self.latest_acked.max(before.at);
        }
        Some(before)
    }

    /// Settles everything up to `cumulative` and the selected PSNs; calls `settled` for each
    /// datagram that was open.
    pub(crate) fn acknowledge(
        &mut self,
        cumulative: Psn,
        selected: impl Iterator<Item = Psn>,
        paths: &mut Paths,
        mut settled: impl FnMut(InFlight),
    ) {
        while self.base <= cumulative && !self.flight.is_empty() {
            if let Some(entry) = self.settle(self.base, paths) {
                settled(entry);
            }
            self.flight.pop_front();
            self.base = self.base.next();
        }
        for psn in selected {
            if let Some(entry) = self.settle(psn, paths) {
                settled(entry);
            }
        }
        while self.flight.front().is_some_and(|entry| entry.fate == Fate::Acked) {
            self.flight.pop_front();
            self.base = self.base.next();
        }
    }

    /// Notes that a datagram that left at `at` is known to have arrived.
    pub(crate) fn note_arrival(&mut self, at: Time) {
        self.latest_acked = self.latest_acked.max(at);
    }

    /// Takes back a datagram that is on its way, to be sent again.
    pub(crate) fn lose(&mut self, psn: Psn, paths: &mut Paths) -> Option<u32> {
        let entry = self.get(psn)?;
        if entry.fate != Fate::Sent {
            return None;
        }
        entry.fate = Fate::Lost;
        let (slot, bytes) = (entry.slot, entry.bytes);
        let path = paths.path(slot);
        path.in_flight = path.in_flight.saturating_sub(bytes);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.lost.push_back(psn);
        Some(bytes)
    }

    fn is_current(&mut self, on_path: OnPath, slot: u8) -> bool {
        self.get(on_path.psn).is_some_and(|entry| {
            entry.fate == Fate::Sent && entry.seq == on_path.seq && entry.slot == slot
        })
    }

    /// Loses the datagrams of `slot` that later ones of the same path have overtaken. Returns
    /// what was lost and when the next becomes due.
    pub(crate) fn overtaken(&mut self, now: Time, slot: u8, paths: &mut Paths) -> (Losses, Time) {
        let mut losses = Losses::default();
        loop {
            let path = paths.path(slot);
            let Some(front) = path.outstanding.front().copied() else {
                return (losses, Time::NEVER);
            };
            if !self.is_current(front, slot) {
                paths.path(slot).outstanding.pop_front();
                continue;
            }
            if front.seq >= path.heard {
                return (losses, Time::NEVER);
            }
            let due = front.at + path.rtt.smoothed() * 5 / 4 + Duration::from_micros(20);
            if path.heard.0 - front.seq.0 < REORDER && now < due {
                return (losses, due);
            }
            path.outstanding.pop_front();
            path.on_fate(true);
            losses.datagrams += 1;
            losses.bytes += self.lose(front.psn, paths).unwrap_or(0);
        }
    }

    /// Whether `slot` has been silent for longer than `patience` while something sent later over
    /// another path arrived; then everything sent on it before that is lost.
    pub(crate) fn silent(
        &mut self,
        now: Time,
        slot: u8,
        patience: Duration,
        paths: &mut Paths,
    ) -> Option<Losses> {
        while let Some(front) = paths.path(slot).outstanding.front().copied() {
            if self.is_current(front, slot) {
                break;
            }
            paths.path(slot).outstanding.pop_front();
        }
        let head = *paths.path(slot).outstanding.front()?;
        let overdue =
            |sent: Time| sent + patience <= now && sent + patience / 2 < self.latest_acked;
        if !overdue(head.at) {
            return None;
        }
        let mut losses = Losses::default();
        let latest = self.latest_acked;
        while let Some(front) = paths.path(slot).outstanding.front().copied() {
            if front.at > latest {
                break;
            }
            paths.path(slot).outstanding.pop_front();
            if self.is_current(front, slot) {
                let path: &mut Path = paths.path(slot);
                path.on_fate(true);
                losses.datagrams += 1;
                losses.bytes += self.lose(front.psn, paths).unwrap_or(0);
            }
        }
        Some(losses)
    }
}
