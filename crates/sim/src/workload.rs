//! Workloads: which messages are sent, and which receives wait for them.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use message::TagMatch;
use rand::{Rng, RngExt, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use wire::Tag;

use crate::{
    fault::{Schedule, log_uniform},
    remote::RemotePlan,
    scenario::Scenario,
    seed::{Purpose, mix, stream},
};

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Anybody to anybody, messages and receives of every kind, at random times.
    Random,
    /// Everybody to everybody else.
    AllToAll,
    /// Everybody to the first host.
    Incast,
    /// Everybody to one other, nobody the target of two.
    Permutation,
    /// The first two hosts in turns.
    PingPong,
    /// The first host to the second.
    Stream,
}

/// All patterns with their names.
const PATTERNS: [(Pattern, &str); 6] = [
    (Pattern::Random, "random"),
    (Pattern::AllToAll, "all-to-all"),
    (Pattern::Incast, "incast"),
    (Pattern::Permutation, "permutation"),
    (Pattern::PingPong, "ping-pong"),
    (Pattern::Stream, "stream"),
];

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PATTERNS.iter().find(|(pattern, _)| pattern == self).map_or("", |(_, n)| n);
        f.pad(name)
    }
}

/// A workload that does not read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such workload: `{0}`; write `random`, `all-to-all`, `incast`, `permutation`, \
     `ping-pong` or `stream`"
)]
pub struct UnknownPattern(String);

impl FromStr for Pattern {
    type Err = UnknownPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = PATTERNS.iter().find(|(_, name)| *name == text);
        found.map(|(pattern, _)| *pattern).ok_or_else(|| UnknownPattern(text.to_owned()))
    }
}

/// What the applications do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Who sends to whom.
    pub pattern: Pattern,
    /// Bytes of a message; of the largest where sizes are random.
    pub bytes: usize,
    /// Messages: in all where the pattern is random, else for each pair.
    pub messages: u32,
}

/// A message to be sent. Its position in the plan is its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) bytes: usize,
    /// The low half of its tag; untagged without.
    pub(crate) class: Option<u32>,
    /// Its number travels in the high half of the tag, not as remote data.
    pub(crate) number_in_tag: bool,
    /// When it is posted, in nanoseconds.
    pub(crate) at: u64,
    /// It is posted when the message with the number before has arrived at its sender.
    pub(crate) answers: bool,
    /// No completion is wanted.
    pub(crate) inject: bool,
    /// It is cancelled after so many nanoseconds.
    pub(crate) cancel_after: Option<u64>,
}

/// What a receive accepts of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Untagged,
    /// This tag and no other.
    Exactly(u32),
    /// This low half of a tag; the high half is ignored.
    Tagged(u32),
    AnyTag,
}

impl Message {
    /// The tag and the remote data that message `number` travels with: one of them names it.
    pub(crate) fn labels(&self, number: u32) -> (Option<Tag>, Option<u64>) {
        let number = u64::from(number);
        // Never zero, so that no receive for the bare class matches.
        let high = if self.number_in_tag { (number + 1) << 32 } else { 0 };
        let tag = self.class.map(|class| Tag(high | u64::from(class)));
        (tag, (!self.number_in_tag).then_some(number))
    }
}

/// The number of the message that arrived with these labels.
pub(crate) fn number_of(tag: Option<Tag>, remote_data: Option<u64>) -> Option<u32> {
    let in_tag = || (tag?.0 >> 32).checked_sub(1);
    u32::try_from(remote_data.or_else(in_tag)?).ok()
}

impl Class {
    /// The same, in the message layer's words.
    pub(crate) fn tag_match(self) -> TagMatch {
        let tagged = |class: u32, ignore| TagMatch::Tagged { tag: Tag(class.into()), ignore };
        match self {
            Self::Untagged => TagMatch::Untagged,
            Self::Exactly(class) => tagged(class, 0),
            Self::Tagged(class) => tagged(class, !u64::from(u32::MAX)),
            Self::AnyTag => tagged(0, u64::MAX),
        }
    }
}

/// A receive to be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) from: Option<u32>,
    pub(crate) class: Class,
    pub(crate) capacity: usize,
    /// It takes many messages, until fewer bytes than this are left.
    pub(crate) least: Option<usize>,
    /// When it is posted, in nanoseconds.
    pub(crate) at: u64,
    pub(crate) cancel_after: Option<u64>,
}

impl Receive {
    pub(crate) fn accepts(&self, message: &Message) -> bool {
        let class = match (self.class, message.class) {
            (Class::Untagged, None) | (Class::AnyTag, Some(_)) => true,
            (Class::Tagged(wanted), Some(class)) => wanted == class,
            (Class::Exactly(wanted), Some(class)) => wanted == class && !message.number_in_tag,
            _ => false,
        };
        class && self.from.is_none_or(|from| from == message.from)
    }
}

/// Receives that are posted again as soon as they have completed, from anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) receives: usize,
    pub(crate) capacity: usize,
    pub(crate) tagged: bool,
}

/// Everything the applications of a run will do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) messages: Vec<Message>,
    /// The numbers of each host's messages, in the order they are sent.
    pub(crate) sends: Vec<Vec<u32>>,
    /// Each host's receives, in the order they are posted.
    pub(crate) receives: Vec<Vec<Receive>>,
    /// Receives posted again and again: from the start where there are no others, else once
    /// everything is healed.
    pub(crate) pool: Pool,
    /// The most sends of one host that wait for completion.
    pub(crate) window: usize,
    /// One-sided operations.
    pub(crate) remote: RemotePlan,
    /// The random bytes of which messages are slices.
    table: Bytes,
}

/// Sends of one host at a time, where nothing else is said.
const WINDOW: usize = 16;
/// Receives posted again and again, per host.
const POOL: usize = 64;
/// Messages begin at different places of the table.
const TABLE_OFFSETS: usize = 65_521;

impl Plan {
    pub(crate) fn draw(scenario: &Scenario, schedule: &Schedule) -> Self {
        let Workload { pattern, bytes, messages } = scenario.workload;
        let hosts = scenario.network.topology.hosts();
        let mut rng = stream(scenario.seed, Purpose::Workload);
        let mut table = vec![0; bytes + TABLE_OFFSETS];
        stream(scenario.seed, Purpose::Payload).fill_bytes(&mut table);
        let mut plan = Self {
            messages: Vec::new(),
            sends: vec![Vec::new(); hosts],
            receives: vec![Vec::new(); hosts],
            pool: Pool { receives: POOL, capacity: bytes, tagged: false },
            window: WINDOW,
            remote: RemotePlan::none(hosts),
            table: table.into(),
        };
        if pattern == Pattern::Random {
            plan.pool = Pool { receives: 8, tagged: true, ..plan.pool };
            plan.window = usize::MAX;
            RandomPlan { rng: &mut rng, scenario, schedule, plan: &mut plan }.draw();
        } else {
            plan.regular(pattern, bytes, messages, &mut rng);
        }
        for (number, message) in (0..).zip(&plan.messages) {
            plan.sends[message.from as usize].push(number);
        }
        for sends in &mut plan.sends {
            sends.sort_by_key(|&number| plan.messages[number as usize].at);
        }
        for receives in &mut plan.receives {
            receives.sort_by_key(|receive| receive.at);
        }
        plan
    }

    /// The content of a message.
    pub(crate) fn payload(&self, number: u32) -> Bytes {
        let bytes = self.messages[number as usize].bytes;
        let offset = (mix(u64::from(number)) % TABLE_OFFSETS as u64).to_le_bytes();
        let offset = usize::from_le_bytes(offset);
        self.table.slice(offset..offset + bytes)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a network has at most 65,536 hosts")]
    fn regular(
        &mut self,
        pattern: Pattern,
        bytes: usize,
        count: u32,
        rng: &mut Xoshiro256PlusPlus,
    ) {
        let hosts = self.sends.len() as u32;
        let mut targets: Vec<u32> = (0..hosts).collect();
        if pattern == Pattern::Permutation {
            targets.shuffle(rng);
        }
        let messages = &mut self.messages;
        let mut send = |from, to, answers| {
            messages.push(Message { from, to, bytes, answers, ..Message::default() });
        };
        for round in 0..count {
            match pattern {
                // Everybody begins with another target, as collectives do.
                Pattern::AllToAll => (1..hosts)
                    .for_each(|shift| (0..hosts).for_each(|h| send(h, (h + shift) % hosts, false))),
                Pattern::Incast => (1..hosts).for_each(|host| send(host, 0, false)),
                Pattern::Permutation => (0..targets.len()).for_each(|position| {
                    let next = targets[(position + 1) % targets.len()];
                    send(targets[position], next, false);
                }),
                Pattern::PingPong => {
                    send(0, 1, round > 0);
                    send(1, 0, true);
                }
                Pattern::Stream | Pattern::Random => send(0, 1, false),
            }
        }
    }
}

/// Draws a workload in which everything is possible.
struct RandomPlan<'a> {
    rng: &'a mut Xoshiro256PlusPlus,
    scenario: &'a Scenario,
    schedule: &'a Schedule,
    plan: &'a mut Plan,
}

impl RandomPlan<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a network has at most 65,536 hosts")]
    fn draw(mut self) {
        let hosts = self.plan.sends.len() as u32;
        // Without faults everything is posted within a millisecond.
        let horizon = self.schedule.heal_at.as_nanos().max(1_000_000);
        self.plan.remote = RemotePlan::draw(self.scenario, hosts as usize, horizon);
        let classes = self.rng.random_range(1..=4);
        for number in 0..self.scenario.workload.messages {
            let from = self.rng.random_range(0..hosts);
            let to = (from + self.rng.random_range(1..hosts)) % hosts;
            let bytes = self.size();
            let class = self.rng.random_bool(0.6).then(|| self.rng.random_range(0..classes));
            let message = Message {
                from,
                to,
                bytes,
                class,
                number_in_tag: class.is_some() && number % 2 == 0,
                at: self.rng.random_range(0..horizon),
                answers: false,
                inject: bytes <= 4_096 && self.rng.random_bool(0.2),
                cancel_after: self.sometimes(0.03, horizon),
            };
            self.plan.messages.push(message);
            if self.rng.random_bool(0.8) {
                let receive = self.receive_for(&message, horizon);
                self.plan.receives[to as usize].push(receive);
            }
        }
        self.draw_multi_receives(hosts, classes, horizon);
    }

    /// A few receives that take many messages, from a stream of their own.
    fn draw_multi_receives(&mut self, hosts: u32, classes: u32, horizon: u64) {
        let rng = &mut stream(self.scenario.seed, Purpose::MultiReceives);
        let most = 3 * self.scenario.workload.bytes;
        for (host, receives) in (0..hosts).zip(&mut self.plan.receives) {
            for _ in 0..rng.random_range(0..4) {
                let capacity = rng.random_range(1..=most);
                let other = (host + rng.random_range(1..hosts)) % hosts;
                receives.push(Receive {
                    from: rng.random_bool(0.3).then_some(other),
                    class: match rng.random_range(0..3) {
                        0 => Class::AnyTag,
                        1 => Class::Tagged(rng.random_range(0..classes)),
                        _ => Class::Untagged,
                    },
                    capacity,
                    least: Some(rng.random_range(0..=capacity / 2)),
                    at: rng.random_range(0..horizon),
                    cancel_after: rng.random_bool(0.2).then(|| rng.random_range(0..horizon)),
                });
            }
        }
    }

    fn receive_for(&mut self, message: &Message, horizon: u64) -> Receive {
        let class = match message.class {
            None => Class::Untagged,
            Some(_) if self.rng.random_bool(0.2) => Class::AnyTag,
            Some(class) if !message.number_in_tag && self.rng.random_bool(0.5) => {
                Class::Exactly(class)
            }
            Some(class) => Class::Tagged(class),
        };
        let room = match self.rng.random_range(0..10) {
            0 => message.bytes / 2,
            1..4 => message.bytes,
            _ => self.scenario.workload.bytes,
        };
        let late = u64::try_from(self.schedule.late_receives.as_nanos()).unwrap_or(horizon);
        let at = if late > 0 {
            message.at + self.rng.random_range(0..=late)
        } else {
            self.rng.random_range(0..horizon)
        };
        Receive {
            from: self.rng.random_bool(0.5).then_some(message.from),
            class,
            capacity: room,
            least: None,
            at,
            cancel_after: self.sometimes(0.05, horizon),
        }
    }

    /// Sizes around every threshold of the protocol, and everything between.
    fn size(&mut self) -> usize {
        let most = self.scenario.workload.bytes;
        let datagram = self.scenario.network.datagram_bytes();
        let near = |around: usize, rng: &mut Xoshiro256PlusPlus| {
            (around + rng.random_range(0..128)).saturating_sub(64)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let size = match self.rng.random_range(0..10) {
            0 => 0,
            1..4 => self.rng.random_range(0..200),
            4 => near(datagram, self.rng),
            5 => near(64 << 10, self.rng),
            6 => near(2 * datagram, self.rng),
            _ => log_uniform(self.rng, 1.0, most as f64) as usize,
        };
        size.min(most)
    }

    fn sometimes(&mut self, probability: f64, horizon: u64) -> Option<u64> {
        self.rng.random_bool(probability).then(|| self.rng.random_range(0..horizon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn plan(pattern: Pattern, topology: Topology) -> Plan {
        let workload = Workload { pattern, bytes: 1_000, messages: 3 };
        Plan::draw(&Scenario::new(1, topology, workload), &Schedule::none())
    }

    #[test]
    fn patterns_read_as_they_are_written() {
        for (pattern, name) in PATTERNS {
            assert_eq!(name.parse(), Ok(pattern));
            assert_eq!(pattern.to_string(), name);
        }
        assert!("all".parse::<Pattern>().is_err());
    }

    #[test]
    fn all_to_all_sends_to_everybody_else_and_a_permutation_to_one() {
        let star = Topology::Star { hosts: 5 };
        assert_eq!(plan(Pattern::AllToAll, star).messages.len(), 5 * 4 * 3);
        let plan = plan(Pattern::Permutation, star);
        let mut targets: Vec<u32> = plan.messages[..5].iter().map(|message| message.to).collect();
        assert!(plan.messages.iter().all(|message| message.from != message.to));
        targets.sort_unstable();
        assert_eq!(targets, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn messages_of_one_length_differ() {
        let plan = plan(Pattern::Stream, Topology::Link);
        assert_ne!(plan.payload(0), plan.payload(1));
        assert_eq!(plan.payload(0), plan.payload(0));
    }
}
