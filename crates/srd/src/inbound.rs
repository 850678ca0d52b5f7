//! The receiving half of a context: which PSNs arrived, and what to acknowledge when.

use wire::{
    Ack, Ecn, Entropy, Header, MAX_ECHOES, MAX_SACK_WORDS, PathEcho, PathSeq, Psn, Stamp, Time,
};

use crate::Config;

/// PSNs beyond the cumulative one that can be told apart.
pub(crate) const REACH: u64 = (MAX_SACK_WORDS * 64) as u64;

/// Whether a PSN is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    Before,
    OutOfWindow,
}

#[derive(Clone, Copy, Debug)]
struct InboundPath {
    entropy: Entropy,
    highest: PathSeq,
    stamp: Stamp,
    at: Time,
    marked: u8,
    /// Not echoed yet: it is in the list of those.
    fresh: bool,
}

/// The values of an [`Entropy`].
const ENTROPIES: usize = 256;

/// What arrived from one peer.
#[derive(Debug)]
pub(crate) struct Inbound {
    cumulative: Psn,
    /// Bit `i` stands for PSN `cumulative + 1 + i`; only the first `words` words hold any.
    ahead: Box<[u64; MAX_SACK_WORDS]>,
    words: usize,
    /// Every path that ever brought something: a peer that explores uses many in the end.
    paths: Vec<InboundPath>,
    /// Where each entropy value is among them.
    slots: Box<[Option<u8>; ENTROPIES]>,
    /// Those not echoed yet, in the order in which they brought something.
    fresh: Vec<u8>,
    unacknowledged: u32,
    /// When an acknowledgement is due; `Time::NEVER` if none is.
    pub(crate) ack_at: Time,
    pub(crate) ack_now: bool,
}

impl Inbound {
    pub(crate) fn new(cumulative: Psn) -> Self {
        Self {
            cumulative,
            ahead: Box::new([0; MAX_SACK_WORDS]),
            words: 0,
            paths: Vec::new(),
            slots: Box::new([None; ENTROPIES]),
            fresh: Vec::new(),
            unacknowledged: 0,
            ack_at: Time::NEVER,
            ack_now: false,
        }
    }

    pub(crate) const fn cumulative(&self) -> Psn {
        self.cumulative
    }

    /// Whether no PSN is missing below one that arrived.
    pub(crate) const fn has_no_gap(&self) -> bool {
        self.words == 0
    }

    pub(crate) const fn owes_ack(&self) -> bool {
        self.ack_now || self.ack_at.as_nanos() != Time::NEVER.as_nanos()
    }

    pub(crate) fn look_up(&self, psn: Psn) -> Seen {
        let Some(distance) = psn.0.checked_sub(self.cumulative.0 + 1) else { return Seen::Before };
        if distance >= REACH {
            return Seen::OutOfWindow;
        }
        let (word, bit) = position(distance);
        if self.ahead[word] >> bit & 1 == 1 { Seen::Before } else { Seen::New }
    }

    /// Notes that `psn`, which was new, was taken.
    pub(crate) fn accept(&mut self, psn: Psn) {
        let distance = psn.0 - self.cumulative.0 - 1;
        if distance == 0 && self.words == 0 {
            self.cumulative = psn;
            return;
        }
        let (word, bit) = position(distance);
        self.ahead[word] |= 1 << bit;
        self.words = self.words.max(word + 1);
        if distance == 0 {
            self.advance();
        }
    }

    /// Moves the cumulative PSN over the run of ones at the start of the bitmap.
    fn advance(&mut self) {
        let full = self.ahead[..self.words].iter().take_while(|word| **word == u64::MAX).count();
        let ones = self.ahead.get(full).map_or(0, |word| word.trailing_ones());
        self.cumulative = Psn(self.cumulative.0 + full as u64 * 64 + u64::from(ones));
        for to in 0..self.words {
            let low = self.ahead.get(to + full).copied().unwrap_or(0);
            let high = self.ahead.get(to + full + 1).copied().unwrap_or(0);
            self.ahead[to] = if ones == 0 { low } else { low >> ones | high << (64 - ones) };
        }
        while self.words > 0 && self.ahead[self.words - 1] == 0 {
            self.words -= 1;
        }
    }

    /// Notes which path a datagram took that has been here since `at`. Returns whether one before
    /// it on that path is missing.
    pub(crate) fn note_path(&mut self, at: Time, header: &Header, ecn: Ecn) -> bool {
        let marked = u8::from(ecn == Ecn::CongestionExperienced);
        let slot = &mut self.slots[usize::from(header.entropy.0)];
        let Some(known) = *slot else {
            // There are no more of them than entropy values.
            let new = u8::try_from(self.paths.len()).unwrap_or(u8::MAX);
            *slot = Some(new);
            self.fresh.push(new);
            let highest = PathSeq(u64::from(header.path_seq));
            let (entropy, stamp) = (header.entropy, header.stamp);
            self.paths.push(InboundPath { entropy, highest, stamp, at, marked, fresh: true });
            return false;
        };
        let path = &mut self.paths[usize::from(known)];
        path.marked = path.marked.saturating_add(marked);
        if !std::mem::replace(&mut path.fresh, true) {
            self.fresh.push(known);
        }
        let Some(seq) = PathSeq::expand(header.path_seq, path.highest) else { return false };
        if seq <= path.highest {
            return false;
        }
        let gap = seq > path.highest.next();
        path.highest = seq;
        path.stamp = header.stamp;
        path.at = at;
        gap
    }

    /// Notes that an acknowledgement is owed for `bytes` more.
    pub(crate) fn owe(&mut self, now: Time, bytes: usize, config: &Config) {
        self.unacknowledged =
            self.unacknowledged.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.unacknowledged >= config.ack_bytes {
            self.ack_now = true;
        } else if self.ack_at == Time::NEVER {
            self.ack_at = now + config.ack_delay;
        }
    }

    /// Writes the acknowledgement that is owed into `ack` and owes nothing more. With `short`,
    /// only its smallest form.
    pub(crate) fn take_ack(&mut self, now: Time, window: u32, short: bool, ack: &mut Ack) {
        ack.cumulative = self.cumulative.truncate();
        ack.window = window;
        ack.sack.clear();
        ack.echoes.clear();
        self.unacknowledged = 0;
        self.ack_now = false;
        self.ack_at = Time::NEVER;
        if short {
            return;
        }
        ack.sack.extend_from_slice(&self.ahead[..self.words]);
        let told = self.fresh.len().min(MAX_ECHOES);
        for slot in self.fresh.drain(..told) {
            let path = &mut self.paths[usize::from(slot)];
            ack.echoes.push(PathEcho {
                entropy: path.entropy,
                marked: path.marked,
                path_seq: path.highest.truncate(),
                stamp: path.stamp,
                delay: u64::try_from(now.since(path.at).as_nanos()).unwrap_or(u64::MAX),
            });
            path.marked = 0;
            path.fresh = false;
        }
        self.ack_now = !self.fresh.is_empty();
    }

    /// Bytes an acknowledgement written now would take.
    pub(crate) fn ack_len(&self) -> usize {
        let echoes = self.fresh.len().min(MAX_ECHOES);
        8 + 8 * self.words + 12 * echoes
    }
}

const fn position(distance: u64) -> (usize, u64) {
    let word = (distance / 64) as usize;
    (word, distance % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn psns_in_any_order_agree_with_a_set() {
        for seed in 0..50 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut inbound = Inbound::new(Psn(0));
            let mut set = BTreeSet::new();
            for _ in 0..5_000 {
                let near = inbound.cumulative().0;
                let psn = Psn((near + 1 + rng.random_range(0..300)).saturating_sub(20));
                let expected =
                    if psn.0 == 0 || set.contains(&psn) { Seen::Before } else { Seen::New };
                assert_eq!(inbound.look_up(psn), expected, "seed {seed}");
                if expected == Seen::New {
                    inbound.accept(psn);
                    set.insert(psn);
                }
            }
            let run = (1..).take_while(|n| set.contains(&Psn(*n))).count();
            assert_eq!(inbound.cumulative(), Psn(run as u64));
        }
    }

    #[test]
    fn psn_beyond_the_reach_is_out_of_window() {
        let inbound = Inbound::new(Psn(9));
        assert_eq!(inbound.look_up(Psn(9 + REACH)), Seen::New);
        assert_eq!(inbound.look_up(Psn(10 + REACH)), Seen::OutOfWindow);
        assert_eq!(inbound.look_up(Psn(9)), Seen::Before);
    }
}
