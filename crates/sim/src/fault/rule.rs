//! Rules: what happens to which packets, and when.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{Header, Kind, Time};

/// Which packets a rule applies to: those that satisfy every part that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The one among parallel paths.
    pub path: Option<u16>,
    /// The host that sent it.
    pub from: Option<usize>,
    /// The host it is for.
    pub to: Option<usize>,
    /// Only datagrams that are nothing but an acknowledgement.
    pub acks_only: bool,
}

/// What happens to a packet that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// It is lost with this probability, independently of all others.
    Lose(f64),
    /// Losses come in bursts (the Gilbert model).
    Burst {
        /// Probability per packet that a burst begins.
        enter: f64,
        /// Probability per packet that it ends.
        leave: f64,
    },
    /// All packets of a train are lost together with this probability.
    LoseTrains(f64),
    /// It is lost.
    Cut,
    /// It arrives a second time, up to `after` later.
    Duplicate {
        /// With this probability.
        rate: f64,
        /// The longest delay of the second arrival.
        after: Duration,
    },
    /// It is held up by up to this long, so that later ones overtake it.
    Jitter(Duration),
    /// One bit is flipped with this probability.
    Flip(f64),
    /// The end is cut off with this probability.
    Truncate(f64),
    /// UDP payloads above this many bytes are lost, without a word to the sender.
    Shrink(usize),
    /// Congestion is marked with this probability.
    Mark(f64),
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// From when.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// To which packets it applies.
    pub selector: Selector,
    /// What it does to them.
    pub effect: Effect,
}

impl Rule {
    /// A rule for all packets at all times.
    pub const fn always(effect: Effect) -> Self {
        let selector = Selector { path: None, from: None, to: None, acks_only: false };
        Self { from: Time::ZERO, until: Time::NEVER, selector, effect }
    }
}

/// How the bytes of a packet are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// This bit is flipped.
    Flip(usize),
    /// Only this many bytes are left.
    Truncate(usize),
}

/// A packet at the moment its fate is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) path: u16,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: &'a [u8],
}

/// What the rules together do to one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) delay: Duration,
    pub(crate) again_after: Option<Duration>,
    pub(crate) damage: Option<Damage>,
    pub(crate) marked: bool,
}

#[derive(Clone, Debug)]
struct ActiveRule {
    rule: Rule,
    in_burst: bool,
}

/// All rules of a run, and the dice.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    rules: Vec<ActiveRule>,
    rng: Xoshiro256PlusPlus,
}

impl Weather {
    pub(crate) fn new(rules: &[Rule], rng: Xoshiro256PlusPlus) -> Self {
        let rules = rules.iter().map(|&rule| ActiveRule { rule, in_burst: false }).collect();
        Self { rules, rng }
    }

    /// Ends all rules.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Whether a whole train is lost.
    pub(crate) fn loses_train(&mut self, now: Time, path: u16, from: usize, to: usize) -> bool {
        let subject = Subject { path, from, to, bytes: &[] };
        let rng = &mut self.rng;
        self.rules.iter().any(|active| match active.rule.effect {
            Effect::LoseTrains(rate) => active.applies(now, subject) && rng.random_bool(rate),
            _ => false,
        })
    }

    /// Decides what happens to a packet.
    pub(crate) fn decide(&mut self, now: Time, subject: Subject<'_>) -> Fate {
        let mut fate = Fate::default();
        for active in &mut self.rules {
            if active.applies(now, subject) {
                active.apply(subject, &mut fate, &mut self.rng);
            }
        }
        fate
    }
}

impl ActiveRule {
    fn applies(&self, now: Time, subject: Subject<'_>) -> bool {
        let Rule { from, until, selector, .. } = self.rule;
        let unlike = |wanted: Option<usize>, is: usize| wanted.is_some_and(|wanted| wanted != is);
        if now < from || now >= until || selector.path.is_some_and(|path| path != subject.path) {
            return false;
        }
        if unlike(selector.from, subject.from) || unlike(selector.to, subject.to) {
            return false;
        }
        !selector.acks_only
            || Header::parse(subject.bytes).is_ok_and(|header| header.kind == Kind::Ack)
    }

    fn apply(&mut self, subject: Subject<'_>, fate: &mut Fate, rng: &mut Xoshiro256PlusPlus) {
        match self.rule.effect {
            Effect::Lose(rate) => fate.lost |= rng.random_bool(rate),
            Effect::Burst { enter, leave } => {
                self.in_burst ^= rng.random_bool(if self.in_burst { leave } else { enter });
                fate.lost |= self.in_burst;
            }
            Effect::LoseTrains(_) => {}
            Effect::Cut => fate.lost = true,
            Effect::Duplicate { rate, after } => {
                if rng.random_bool(rate) {
                    fate.again_after = Some(up_to(after, rng));
                }
            }
            Effect::Jitter(most) => fate.delay += up_to(most, rng),
            Effect::Flip(rate) => {
                if rng.random_bool(rate) {
                    let bit = rng.random_range(0..subject.bytes.len() * 8);
                    damage(Damage::Flip(bit), bit / 8, subject, fate);
                }
            }
            Effect::Truncate(rate) => {
                if rng.random_bool(rate) {
                    let length = rng.random_range(0..subject.bytes.len());
                    damage(Damage::Truncate(length), length, subject, fate);
                }
            }
            Effect::Shrink(limit) => fate.lost |= subject.bytes.len() > limit,
            Effect::Mark(rate) => fate.marked |= rng.random_bool(rate),
        }
    }
}

/// Damage beyond the bytes that the header's checksum covers is noticed by the UDP checksum and
/// the IP length, so the kernel drops the packet: the protocol relies on that, and never sees it.
fn damage(damage: Damage, at: usize, subject: Subject<'_>, fate: &mut Fate) {
    let covered = Header::parse(subject.bytes).map_or(subject.bytes.len(), |h| h.covered);
    if at < covered {
        fate.damage = Some(damage);
    } else {
        fate.lost = true;
    }
}

fn up_to(most: Duration, rng: &mut impl Rng) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, stream};

    const SUBJECT: Subject<'_> = Subject { path: 3, from: 1, to: 2, bytes: &[7; 100] };

    fn decide(rule: Rule, packets: usize) -> Vec<Fate> {
        let mut weather = Weather::new(&[rule], stream(1, Purpose::Packets));
        (0..packets).map(|_| weather.decide(Time::from_nanos(50), SUBJECT)).collect()
    }

    #[test]
    fn rules_apply_only_within_their_time_and_to_whom_they_select() {
        let lost = |rule| decide(rule, 1)[0].lost;
        let rule = Rule::always(Effect::Cut);
        assert!(lost(rule));
        assert!(!lost(Rule { from: Time::from_nanos(51), ..rule }));
        assert!(!lost(Rule { until: Time::from_nanos(50), ..rule }));
        let select = |selector| lost(Rule { selector, ..rule });
        assert!(select(Selector { path: Some(3), from: Some(1), to: Some(2), acks_only: false }));
        assert!(!select(Selector { path: Some(4), ..Selector::default() }));
        assert!(!select(Selector { from: Some(2), ..Selector::default() }));
        assert!(!select(Selector { acks_only: true, ..Selector::default() }));
    }

    #[test]
    fn losses_of_a_burst_come_together() {
        let fates = decide(Rule::always(Effect::Burst { enter: 0.01, leave: 0.1 }), 10_000);
        let lost = fates.iter().filter(|fate| fate.lost).count();
        let bursts = fates.windows(2).filter(|pair| !pair[0].lost && pair[1].lost).count();
        assert!((500..1_500).contains(&lost), "{lost} lost");
        assert!(lost > 5 * bursts, "{lost} lost in {bursts} bursts");
    }

    #[test]
    fn loss_is_as_frequent_as_asked() {
        let fates = decide(Rule::always(Effect::Lose(0.05)), 10_000);
        assert!((400..600).contains(&fates.iter().filter(|fate| fate.lost).count()));
    }
}
