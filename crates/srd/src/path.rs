//! The paths of one context: which source port to leave from, and which to leave alone.

use std::{collections::VecDeque, time::Duration};

use rand::{Rng, RngExt};
use wire::{Entropy, PathSeq, Psn, Time};

use crate::rtt::Rtt;

/// How often a path that should work is chosen at random although another looks better.
const EXPLORE: f64 = 0.05;
/// Paths compared for a train. With fewer, a network path that few source ports lead to is not
/// found often enough to be filled.
const CANDIDATES: usize = 16;
/// The shortest and longest pause between two tests of a path that does not answer.
const TEST_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// Whether a path may carry data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathHealth {
    /// In use.
    Good,
    /// Out of use until a probe is answered.
    Quarantined,
}

/// A snapshot of one path, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathReport {
    /// The source port index.
    pub entropy: Entropy,
    /// Whether it carries data.
    pub health: PathHealth,
    /// Smoothed round trip; zero while unknown.
    pub rtt: Duration,
    /// Share of recent datagrams lost, 0 to 1.
    pub loss: f64,
    /// Bytes in flight.
    pub in_flight: u32,
}

/// A datagram on its way over a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnPath {
    pub(crate) seq: PathSeq,
    pub(crate) psn: Psn,
    pub(crate) at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Test {
    tries: u32,
    next: Time,
}

/// One path: a source port and what is known of the way it leads.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) entropy: Entropy,
    /// Present while the path is quarantined.
    test: Option<Test>,
    pub(crate) next_seq: PathSeq,
    /// The highest sequence number known to have arrived.
    pub(crate) heard: PathSeq,
    /// The highest sequence number an echo named: an echo is a sample once.
    pub(crate) echoed: PathSeq,
    pub(crate) outstanding: VecDeque<OnPath>,
    pub(crate) in_flight: u32,
    pub(crate) rtt: Rtt,
    loss: f64,
}

impl Path {
    fn new(entropy: Entropy, next_seq: PathSeq) -> Self {
        Self {
            entropy,
            test: None,
            next_seq,
            heard: PathSeq(0),
            echoed: PathSeq(0),
            outstanding: VecDeque::new(),
            in_flight: 0,
            rtt: Rtt::default(),
            loss: 0.0,
        }
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.test.is_none()
    }

    pub(crate) fn take_seq(&mut self) -> PathSeq {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        seq
    }

    pub(crate) fn on_fate(&mut self, lost: bool) {
        self.loss += (f64::from(u8::from(lost)) - self.loss) / 64.0;
    }

    /// When overdue: the time a datagram may take on this path before it counts as gone.
    pub(crate) fn patience(&self, context: Duration, floor: Duration) -> Duration {
        self.rtt.overdue().max(context).max(floor)
    }

    fn report(&self) -> PathReport {
        PathReport {
            entropy: self.entropy,
            health: if self.is_good() { PathHealth::Good } else { PathHealth::Quarantined },
            rtt: self.rtt.smoothed(),
            loss: self.loss,
            in_flight: self.in_flight,
        }
    }
}

/// How fast a context drains: its round trip and window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) smoothed: Duration,
    pub(crate) window: u32,
}

impl Drain {
    /// Time one byte takes on one of `paths` paths, in seconds.
    fn per_byte(self, paths: usize) -> f64 {
        let paths = f64::from(u32::try_from(paths).unwrap_or(1));
        self.smoothed.as_secs_f64() * paths / f64::from(self.window.max(1))
    }
}

/// All paths of a context.
#[derive(Debug)]
pub(crate) struct Paths {
    paths: Vec<Path>,
    /// Slots whose last acknowledgement came back clean and fast: used first (REPS).
    recycled: VecDeque<u8>,
    /// Slot of each entropy value in use.
    slots: Box<[Option<u8>; 256]>,
    quarantined: usize,
}

/// The most paths: one for each entropy value.
const MAX_PATHS: u16 = 256;

impl Paths {
    /// The number after all that any path used: where a later context goes on, so that a receiver
    /// that remembers this one is not confused.
    pub(crate) fn next_seq(&self) -> PathSeq {
        self.paths.iter().map(|path| path.next_seq).max().unwrap_or(PathSeq(1))
    }

    /// `count` paths, on the first entropy values: endpoints with many peers then need no more
    /// sockets than paths.
    pub(crate) fn new(count: u16, next_seq: PathSeq) -> Self {
        let count = usize::from(count.clamp(1, MAX_PATHS));
        let mut paths = Self {
            paths: Vec::with_capacity(count),
            recycled: VecDeque::new(),
            slots: Box::new([None; 256]),
            quarantined: 0,
        };
        for slot in (0..=u8::MAX).take(count) {
            paths.slots[usize::from(slot)] = Some(slot);
            paths.paths.push(Path::new(Entropy(slot), next_seq));
        }
        paths
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn path(&mut self, slot: u8) -> &mut Path {
        &mut self.paths[usize::from(slot)]
    }

    pub(crate) fn slot_of(&self, entropy: Entropy) -> Option<u8> {
        self.slots[usize::from(entropy.0)]
    }

    pub(crate) fn reports(&self) -> Vec<PathReport> {
        self.paths.iter().map(Path::report).collect()
    }

    pub(crate) fn entropies(&self) -> impl Iterator<Item = Entropy> {
        self.paths.iter().map(|path| path.entropy)
    }

    pub(crate) const fn has_quarantined(&self) -> bool {
        self.quarantined > 0
    }

    /// Whether no more than half of the paths are quarantined.
    pub(crate) const fn most_are_good(&self) -> bool {
        self.quarantined * 2 <= self.paths.len()
    }

    /// The path came back clean: use it again soon.
    pub(crate) fn recycle(&mut self, slot: u8) {
        if self.recycled.len() < self.paths.len() && self.paths[usize::from(slot)].is_good() {
            self.recycled.push_back(slot);
        }
    }

    /// The path that came back clean last, for a train that nothing else is in flight with: its
    /// socket and its route are still in the processor's cache.
    pub(crate) fn choose_warm(&mut self, drain: Drain, rng: &mut impl Rng) -> u8 {
        match self.recycled.pop_back() {
            Some(slot) if self.paths[usize::from(slot)].is_good() => {
                self.recycled.clear();
                slot
            }
            _ => self.choose(None, drain, rng),
        }
    }

    /// Picks the path for the next train, avoiding `avoid` if there is another.
    pub(crate) fn choose(&mut self, avoid: Option<u8>, drain: Drain, rng: &mut impl Rng) -> u8 {
        while let Some(slot) = self.recycled.pop_front() {
            let usable = Some(slot) != avoid && self.paths[usize::from(slot)].is_good();
            if usable && !rng.random_bool(EXPLORE) {
                return slot;
            }
        }
        let drain = drain.per_byte(self.paths.len());
        let explores = rng.random_bool(EXPLORE);
        let candidates = if explores { 1 } else { CANDIDATES.min(self.paths.len()) };
        let count = self.paths.len();
        let start = rng.random_range(0..count);
        let mut best = None;
        for offset in 0..count {
            let slot = (start + offset) % count;
            if avoid.map(usize::from) == Some(slot) || !self.paths[slot].is_good() {
                continue;
            }
            let score = self.score(slot, drain);
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, slot));
            }
            if offset + 1 >= candidates {
                break;
            }
        }
        // With no good path any will do, another than the one to avoid if there is one.
        let other = (0..count).map(|offset| (start + offset) % count);
        let any = || other.clone().find(|slot| avoid.map(usize::from) != Some(*slot));
        let slot = best.map(|(_, slot)| slot).or_else(any).unwrap_or(start);
        u8::try_from(slot).unwrap_or(0)
    }

    /// The time a datagram would take on a path, the worse the more it loses.
    fn score(&self, slot: usize, drain: f64) -> f64 {
        let path = &self.paths[slot];
        let waiting = path.rtt.smoothed().as_secs_f64() + f64::from(path.in_flight) * drain;
        waiting * 8.0f64.mul_add(path.loss, 1.0)
    }

    /// Takes a path out of use until a probe comes back. Returns whether it was in use.
    pub(crate) fn quarantine(&mut self, slot: u8, now: Time) -> bool {
        let path = &mut self.paths[usize::from(slot)];
        if path.test.is_some() {
            return false;
        }
        path.test = Some(Test { tries: 0, next: now });
        self.quarantined += 1;
        true
    }

    /// Something came back on this path.
    pub(crate) fn revive(&mut self, slot: u8) {
        if self.paths[usize::from(slot)].test.take().is_some() {
            self.quarantined -= 1;
        }
    }

    /// A quarantined path whose next probe is due. A path that did not answer its last probe is
    /// given a new source port first; the flag tells.
    pub(crate) fn next_test(&mut self, now: Time, rng: &mut impl Rng) -> Option<(u8, bool)> {
        if self.quarantined == 0 {
            return None;
        }
        let due = |path: &Path| path.test.is_some_and(|test| test.next <= now);
        let slot = self.paths.iter().position(due)?;
        let path = &mut self.paths[slot];
        let pause = path.rtt.overdue().clamp(TEST_PAUSE.0, TEST_PAUSE.1);
        let test = path.test.as_mut()?;
        let redraw = test.tries > 0;
        test.next = now + (pause * 2u32.pow(test.tries.min(10))).min(TEST_PAUSE.1);
        test.tries += 1;
        if redraw {
            self.redraw(slot, rng);
        }
        Some((u8::try_from(slot).unwrap_or(0), redraw))
    }

    /// When the next probe of a quarantined path is due.
    pub(crate) fn next_test_at(&self) -> Time {
        if self.quarantined == 0 {
            return Time::NEVER;
        }
        self.paths.iter().filter_map(|p| p.test.map(|t| t.next)).min().unwrap_or(Time::NEVER)
    }

    /// Exchanges the source port of a path that carries nothing now, in the hope that the new one
    /// leads where no other does. Returns whether there was such a path.
    pub(crate) fn explore(&mut self, rng: &mut impl Rng) -> bool {
        let count = self.paths.len();
        let start = rng.random_range(0..count);
        let idle = |slot: &usize| self.paths[*slot].is_good() && self.paths[*slot].in_flight == 0;
        let Some(slot) = (0..count).map(|offset| (start + offset) % count).find(idle) else {
            return false;
        };
        self.paths[slot].outstanding.clear();
        self.redraw(slot, rng);
        true
    }

    /// Exchanges the slot's source port for one that no slot uses.
    fn redraw(&mut self, slot: usize, rng: &mut impl Rng) {
        let start: u8 = rng.random();
        let free = (0..=u8::MAX)
            .map(|i| start.wrapping_add(i))
            .find(|e| self.slots[usize::from(*e)].is_none());
        let Some(entropy) = free else { return };
        // Sequence numbers rise per entropy value even when it is used again later.
        let next_seq = self.next_seq();
        let path = &mut self.paths[slot];
        self.slots[usize::from(path.entropy.0)] = None;
        self.slots[usize::from(entropy)] = u8::try_from(slot).ok();
        path.entropy = Entropy(entropy);
        path.next_seq = next_seq;
        path.heard = PathSeq(0);
        path.echoed = PathSeq(0);
        path.rtt = Rtt::default();
        path.loss = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    const IDLE: Drain = Drain { smoothed: Duration::ZERO, window: 1 };

    #[test]
    fn quarantined_path_is_not_chosen_while_another_is_good() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut paths = Paths::new(4, PathSeq(1));
        for slot in [0, 1, 3] {
            assert!(paths.quarantine(slot, Time::ZERO));
        }
        for _ in 0..100 {
            assert_eq!(paths.choose(None, IDLE, &mut rng), 2);
        }
    }

    #[test]
    fn unanswered_probe_draws_a_new_source_port() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut paths = Paths::new(2, PathSeq(1));
        let before = paths.path(1).entropy;
        paths.quarantine(1, Time::ZERO);
        assert_eq!(paths.next_test(Time::ZERO, &mut rng), Some((1, false)));
        assert_eq!(paths.next_test(Time::ZERO, &mut rng), None, "the next probe waits");
        let later = paths.next_test_at();
        assert_eq!(paths.next_test(later, &mut rng), Some((1, true)));
        let entropy = paths.path(1).entropy;
        assert_ne!(entropy, before);
        assert_eq!(paths.slot_of(before), None);
        assert_eq!(paths.slot_of(entropy), Some(1));
    }

    #[test]
    fn as_many_paths_as_entropy_values_are_all_used() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        let mut paths = Paths::new(MAX_PATHS, PathSeq(1));
        let used: std::collections::BTreeSet<_> = (0..20_000)
            .map(|_| {
                let slot = paths.choose(None, IDLE, &mut rng);
                paths.path(slot).entropy.0
            })
            .collect();
        assert_eq!(used.len(), 256);
        assert_eq!(paths.slot_of(Entropy(255)), Some(255));
    }

    #[test]
    fn clean_path_is_used_again() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut paths = Paths::new(16, PathSeq(1));
        let again = (0..200)
            .filter(|_| {
                paths.recycle(7);
                paths.choose(None, IDLE, &mut rng) == 7
            })
            .count();
        assert!(again > 170, "{again} of 200");
    }
}
