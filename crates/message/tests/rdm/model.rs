//! Random operations compared with what MPI's matching rules allow.

use std::collections::{BTreeMap, VecDeque};

use elastane_message::{
    Claim, Completion, Config, Event, OpId, OperationError, SendRequest, TagMatch,
};
use proptest::prelude::*;
use rand::RngExt;
use wire::Tag;

use crate::network::{ANY_TAG, Network, pattern, peer};

const NODES: usize = 3;
const SIZES: [usize; 9] = [4, 4, 64, 900, 3_000, 9_000, 50_000, 90_000, 250_000];

#[derive(Clone, Copy, Debug)]
enum Act {
    Send { from: usize, to: usize, tag: Option<u64>, size: usize },
    Receive { at: usize, from: Option<usize>, tag: TagMatch, size: usize },
    Claim { at: usize, from: Option<usize>, tag: TagMatch },
    ReceiveClaimed { which: usize, size: usize },
    Discard(usize),
    CancelSend(usize),
    CancelReceive(usize),
    Shrink { from: usize, to: usize },
    Steps(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let node = 0..NODES;
    let tag = prop_oneof![1 => Just(None), 5 => (0..4_u64).prop_map(Some)];
    let size = (0..SIZES.len()).prop_map(|i| SIZES[i]);
    let wanted = prop_oneof![
        1 => Just(TagMatch::Untagged),
        5 => (0..4_u64, prop_oneof![3 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(u64::MAX)])
            .prop_map(|(tag, ignore)| TagMatch::Tagged { tag: Tag(tag), ignore }),
    ];
    let from = prop_oneof![Just(None), (0..NODES).prop_map(Some)];
    let act = prop_oneof![
        1 => (0..NODES, 1..NODES)
            .prop_map(|(from, by)| Act::Shrink { from, to: (from + by) % NODES }),
        8 => (node.clone(), 1..NODES, tag, size.clone()).prop_map(|(from, by, tag, size)| {
            Act::Send { from, to: (from + by) % NODES, tag, size }
        }),
        3 => (node.clone(), from.clone(), wanted.clone())
            .prop_map(|(at, from, tag)| Act::Claim { at, from, tag }),
        3 => (0..100_usize, size.clone())
            .prop_map(|(which, size)| Act::ReceiveClaimed { which, size }),
        1 => (0..100_usize).prop_map(Act::Discard),
        8 => (node, from, wanted, size)
            .prop_map(|(at, from, tag, size)| Act::Receive { at, from, tag, size }),
        1 => (0..100_usize).prop_map(Act::CancelSend),
        1 => (0..100_usize).prop_map(Act::CancelReceive),
        6 => (1..60_usize).prop_map(Act::Steps),
    ];
    proptest::collection::vec(act, 1..120)
}

struct Sent {
    from: usize,
    to: usize,
    tag: Option<u64>,
    size: usize,
    op: OpId,
    cancelled: bool,
}

/// A receive, or a claim: which takes its message before there is a receive, or instead of one.
struct Receiving {
    at: usize,
    from: Option<usize>,
    tag: TagMatch,
    size: usize,
    op: Option<OpId>,
    claim: Option<Claim>,
    cancelled: bool,
    /// Index of the message it met.
    met: Option<usize>,
}

impl Receiving {
    fn accepts(&self, sent: &Sent) -> bool {
        self.at == sent.to
            && self.from.is_none_or(|from| from == sent.from)
            && self.tag.accepts(sent.tag.map(Tag))
    }
}

/// Operations and what became of them.
struct World {
    network: Network,
    sent: Vec<Sent>,
    receiving: Vec<Receiving>,
}

impl World {
    fn new(config: &Config, seed: u64) -> Self {
        Self { network: Network::new(NODES, config, seed), sent: Vec::new(), receiving: Vec::new() }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Send { from, to, tag, size } => {
                let id = u32::try_from(self.sent.len()).expect("few");
                let request = SendRequest {
                    data: pattern(id, size),
                    tag: tag.map(Tag),
                    remote_data: Some(u64::from(id)),
                    context: u64::from(id),
                    complete: true,
                };
                let op = self.network.post_send(from, to, request);
                self.sent.push(Sent { from, to, tag, size, op, cancelled: false });
            }
            Act::Receive { at, from, tag, size } => {
                let op = Some(self.network.receive(at, from, tag, size));
                let (claim, cancelled, met) = (None, false, None);
                self.receiving.push(Receiving { at, from, tag, size, op, claim, cancelled, met });
            }
            Act::Claim { at, from, tag } => {
                self.claim(at, from, tag);
            }
            Act::ReceiveClaimed { which, size } => {
                if let Some((receiving, claim)) = self.claimed(which) {
                    self.receive_claimed(receiving, claim, size);
                }
            }
            Act::Discard(which) => {
                if let Some((receiving, claim)) = self.claimed(which) {
                    let at = self.receiving[receiving].at;
                    self.network.nodes[at].discard_claimed(claim);
                    self.network.drain();
                }
            }
            Act::CancelSend(which) => {
                if let Some(at) = which.checked_rem(self.sent.len()) {
                    let sent = &mut self.sent[at];
                    sent.cancelled |= self.network.cancel(sent.from, sent.op);
                }
            }
            Act::CancelReceive(which) => {
                if let Some(at) = which.checked_rem(self.receiving.len()) {
                    let receiving = &mut self.receiving[at];
                    if let Some(op) = receiving.op {
                        receiving.cancelled |= self.network.cancel(receiving.at, op);
                    }
                }
            }
            Act::Shrink { from, to } => self.network.shrink(from, to),
            Act::Steps(steps) => self.network.steps(steps),
        }
    }

    /// Claims the message that a receive would meet. Returns its index.
    fn claim(&mut self, at: usize, from: Option<usize>, tag: TagMatch) -> Option<usize> {
        let peeked = self.network.nodes[at].peek(from.map(peer), tag);
        let claimed = self.network.nodes[at].claim(from.map(peer), tag);
        assert_eq!(claimed.as_ref().map(|(_, info)| *info), peeked);
        let (claim, info) = claimed?;
        let met = info.remote_data.map(|id| usize::try_from(id).expect("an index"));
        let (size, op, claim, cancelled) = (0, None, Some(claim), false);
        self.receiving.push(Receiving { at, from, tag, size, op, claim, cancelled, met });
        met
    }

    /// Takes one of the claims that wait.
    fn claimed(&mut self, which: usize) -> Option<(usize, Claim)> {
        let waits = |(at, receiving): (usize, &Receiving)| receiving.claim.is_some().then_some(at);
        let waiting: Vec<_> = self.receiving.iter().enumerate().filter_map(waits).collect();
        let at = waiting[which.checked_rem(waiting.len())?];
        Some((at, self.receiving[at].claim.take()?))
    }

    fn receive_claimed(&mut self, receiving: usize, claim: Claim, size: usize) {
        let receiving = &mut self.receiving[receiving];
        let op = self.network.receive_claimed(receiving.at, claim, size);
        (receiving.op, receiving.size) = (Some(op), size);
    }

    /// Receives what is left, and cancels the receives that nothing is left for.
    fn finish(&mut self) {
        self.network.run();
        while let Some((receiving, claim)) = self.claimed(0) {
            self.receive_claimed(receiving, claim, SIZES[5]);
            self.network.run();
        }
        while let Some((at, tag)) = self.unreceived() {
            self.act(Act::Receive { at, from: None, tag, size: SIZES[8] });
            self.network.run();
        }
        for receiving in &mut self.receiving {
            if let Some(op) = receiving.op {
                receiving.cancelled |= self.network.cancel(receiving.at, op);
            }
        }
        self.network.run();
        self.check_completions();
        self.network.assert_clean();
    }

    fn unreceived(&self) -> Option<(usize, TagMatch)> {
        let places = (0..NODES).flat_map(|at| [(at, TagMatch::Untagged), (at, ANY_TAG)]);
        places.into_iter().find(|&(at, tag)| self.network.nodes[at].peek(None, tag).is_some())
    }

    fn check_completions(&mut self) {
        let mut completions = BTreeMap::new();
        for (node, completion) in std::mem::take(&mut self.network.completions) {
            let name = (node, format!("{:?}", completion.op));
            assert!(completions.insert(name, completion).is_none(), "completed twice");
        }
        let mut take = |node, op: OpId| completions.remove(&(node, format!("{op:?}")));
        for (id, sent) in (0_u64..).zip(&self.sent) {
            let completion = take(sent.from, sent.op).expect("every send completes");
            let expected = if sent.cancelled { Err(OperationError::Canceled) } else { Ok(()) };
            assert_eq!((completion.result, completion.context), (expected, id));
        }
        for receiving in &mut self.receiving {
            let Some(op) = receiving.op else { continue };
            let completion = take(receiving.at, op).expect("every receive completes");
            let claimed = receiving.met;
            receiving.met = met(receiving, completion, &self.sent);
            assert!(claimed.is_none() || claimed == receiving.met, "another message was claimed");
        }
        assert!(completions.is_empty(), "nothing else completes");
    }

    /// MPI's rules that hold whatever the network does.
    fn check_order(&self) {
        let mut receive_of = BTreeMap::new();
        for (at, receiving) in self.receiving.iter().enumerate() {
            if let Some(id) = receiving.met {
                assert!(receive_of.insert(id, at).is_none(), "message {id} received twice");
            }
        }
        for (id, sent) in self.sent.iter().enumerate() {
            assert!(sent.cancelled || receive_of.contains_key(&id), "message {id} was lost");
        }
        for (&id, &at) in &receive_of {
            let (sent, receiving) = (&self.sent[id], &self.receiving[at]);
            // An earlier message of the sender that the receive accepts met an earlier receive.
            for (earlier, other) in self.sent[..id].iter().enumerate() {
                if (other.from, other.to) == (sent.from, sent.to)
                    && receiving.accepts(other)
                    && !other.cancelled
                {
                    assert!(receive_of[&earlier] < at, "message {id} overtook {earlier}");
                }
            }
            // An earlier receive that accepts the message met another or was cancelled.
            for other in &self.receiving[..at] {
                assert!(!other.accepts(sent) || other.met.is_some() || other.cancelled);
            }
        }
    }
}

/// The message a receive met, whose bytes it must have.
fn met(receiving: &Receiving, completion: Completion, sent: &[Sent]) -> Option<usize> {
    let Event::Received { tag, remote_data, length, message_length, offset: 0, buffer } =
        completion.event
    else {
        panic!("a receive completes as one");
    };
    assert_eq!(buffer.len(), receiving.size);
    if completion.result == Err(OperationError::Canceled) {
        assert!(receiving.cancelled);
        return None;
    }
    let id = usize::try_from(remote_data.expect("every message has some")).expect("an index");
    let sent = &sent[id];
    assert!(receiving.accepts(sent));
    assert_eq!((completion.peer, tag), (Some(peer(sent.from)), sent.tag.map(Tag)));
    assert_eq!(message_length, sent.size as u64);
    if completion.result == Err(OperationError::PeerAborted) {
        assert!(sent.cancelled);
        return Some(id);
    }
    let fits = sent.size.min(receiving.size);
    assert_eq!(length, fits as u64);
    let expected =
        if fits < sent.size { Err(OperationError::Truncated { message_length }) } else { Ok(()) };
    assert_eq!(completion.result, expected);
    let id_on_wire = u32::try_from(id).expect("few");
    assert!(buffer.as_slice()[..fits] == pattern(id_on_wire, sent.size)[..fits], "wrong bytes");
    Some(id)
}

/// The dumbest matcher: two lists, searched from the front.
#[derive(Default)]
struct Reference {
    posted: Vec<usize>,
    unexpected: VecDeque<usize>,
    met: BTreeMap<usize, usize>,
}

impl Reference {
    fn sent(&mut self, id: usize, sent: &[Sent], receiving: &[Receiving]) {
        let found = self.posted.iter().position(|&at| receiving[at].accepts(&sent[id]));
        match found {
            Some(position) => {
                self.met.insert(self.posted.remove(position), id);
            }
            None => self.unexpected.push_back(id),
        }
    }

    fn claim(&mut self, claim: &Receiving, sent: &[Sent]) -> Option<usize> {
        let position = self.unexpected.iter().position(|&id| claim.accepts(&sent[id]))?;
        self.unexpected.remove(position)
    }

    fn received(&mut self, at: usize, sent: &[Sent], receiving: &[Receiving]) {
        let found = self.unexpected.iter().position(|&id| receiving[at].accepts(&sent[id]));
        match found.and_then(|position| self.unexpected.remove(position)) {
            Some(id) => {
                self.met.insert(at, id);
            }
            None => self.posted.push(at),
        }
    }
}

fn small_stores() -> Config {
    Config {
        unexpected_bytes: 30_000,
        ahead_bytes: 20_000,
        grant_budget: 128 << 10,
        eager_bytes: 20_000,
        unscheduled_bytes: 10_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_operations_under_any_delivery_obey_the_rules(
        acts in acts(), seed in any::<u64>(), tight in any::<bool>()
    ) {
        let config = if tight { small_stores() } else { Config::default() };
        let mut world = World::new(&config, seed);
        for act in acts {
            world.act(act);
        }
        world.finish();
        world.check_order();
    }

    #[test]
    fn operations_one_at_a_time_match_exactly_as_the_reference(
        acts in acts(), seed in any::<u64>()
    ) {
        let mut world = World::new(&Config::default(), seed);
        let mut reference = Reference::default();
        for act in acts {
            match act {
                Act::Send { .. } => {
                    world.act(act);
                    world.network.run();
                    reference.sent(world.sent.len() - 1, &world.sent, &world.receiving);
                }
                Act::Receive { .. } => {
                    world.act(act);
                    reference.received(world.receiving.len() - 1, &world.sent, &world.receiving);
                    if world.network.rng.random_bool(0.5) {
                        world.network.run();
                    }
                }
                Act::Claim { at, from, tag } => {
                    let (size, op, claim, cancelled, met) = (0, None, None, false, None);
                    let wanted = Receiving { at, from, tag, size, op, claim, cancelled, met };
                    let found = reference.claim(&wanted, &world.sent);
                    prop_assert_eq!(world.claim(at, from, tag), found);
                    if let Some(id) = found {
                        reference.met.insert(world.receiving.len() - 1, id);
                    }
                }
                Act::CancelSend(_) => {}
                Act::CancelReceive(which) => {
                    world.act(act);
                    if let Some(at) = which.checked_rem(world.receiving.len()) {
                        let unmatched = !reference.met.contains_key(&at);
                        prop_assert_eq!(world.receiving[at].cancelled, unmatched);
                        reference.posted.retain(|&posted| posted != at);
                    }
                }
                Act::ReceiveClaimed { .. }
                | Act::Discard(_)
                | Act::Shrink { .. }
                | Act::Steps(_) => world.act(act),
            }
        }
        let posted = world.receiving.len();
        world.finish();
        for (at, receiving) in world.receiving[..posted].iter().enumerate() {
            prop_assert_eq!(receiving.met, reference.met.get(&at).copied());
        }
        world.check_order();
    }
}
