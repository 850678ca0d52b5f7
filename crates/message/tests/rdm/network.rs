//! Message layers joined by a network that loses nothing, keeps no order and turns back what has
//! no room. A seed decides who acts, when and how large datagrams are.

use std::{collections::BTreeSet, ops::Range};

use bytes::Bytes;
use elastane_message::{
    Claim, Completion, Config, Event, OpId, OperationError, Rdm, ReceiveRequest, SendRequest,
    TagMatch,
};
use memory::Buffer;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use srd::{Delivery, PeerError, Upper};
use wire::{Frame, FrameIter, OneSided, PeerId, Tag, Time, Token, Train};

pub(crate) const NOW: Time = Time::ZERO;
/// More than any scenario here takes: reaching it is a livelock.
const STEPS_MAX: u64 = 20_000_000;

/// A datagram on its way, or one that came back.
#[derive(Debug)]
pub(crate) struct Flying {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// `None` once the sender took its content back: it may arrive all the same.
    pub(crate) token: Option<Token>,
    pub(crate) bytes: Vec<u8>,
}

impl Flying {
    pub(crate) fn frames(&self) -> Vec<Frame> {
        FrameIter::new(&self.bytes).map(|item| item.expect("well-formed").0).collect()
    }
}

/// Node `i` knows node `j` as `PeerId(j)`.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Rdm>,
    pub(crate) flying: Vec<Flying>,
    /// Datagrams that arrived and whose senders do not know it.
    unacked: Vec<(usize, usize, Token)>,
    /// Pairs (from, to) of which a wake was reported and `fill` has not said `None` since.
    woken: BTreeSet<(usize, usize)>,
    pub(crate) completions: Vec<(usize, Completion)>,
    pub(crate) rng: Xoshiro256PlusPlus,
    rooms: Range<usize>,
    /// Whether cancelled sends or refused writes may have emptied datagrams.
    pub(crate) may_be_empty: bool,
    /// A receiver wanted no more of a message: what is written of it again is empty.
    has_stopped: bool,
    /// Message bytes put into datagrams.
    pub(crate) payload_filled: usize,
    steps: u64,
}

impl Network {
    /// Nodes that grant a sender all it may have at once, so that a test sees one grant.
    pub(crate) fn new(nodes: usize, config: &Config, seed: u64) -> Self {
        let config = Config { first_grant: usize::MAX, ..config.clone() };
        Self::with_first_grant(nodes, &config, seed)
    }

    /// Nodes configured exactly so.
    pub(crate) fn with_first_grant(nodes: usize, config: &Config, seed: u64) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Rdm::new(config.clone())).collect(),
            flying: Vec::new(),
            unacked: Vec::new(),
            woken: BTreeSet::new(),
            completions: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            rooms: 500..9000,
            may_be_empty: false,
            has_stopped: false,
            payload_filled: 0,
            steps: 0,
        }
    }

    /// Datagrams have room for `room` bytes.
    pub(crate) fn with_room(mut self, room: usize) -> Self {
        self.rooms = room..room + 1;
        self
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, data: Bytes, tag: Option<u64>) -> OpId {
        let request =
            SendRequest { data, tag: tag.map(Tag), remote_data: None, context: 0, complete: true };
        self.post_send(from, to, request)
    }

    pub(crate) fn post_send(&mut self, from: usize, to: usize, request: SendRequest) -> OpId {
        let op = self.nodes[from].post_send(peer(to), request).expect("below the limit");
        self.drain();
        op
    }

    pub(crate) fn receive(
        &mut self,
        at: usize,
        from: Option<usize>,
        tag: TagMatch,
        length: usize,
    ) -> OpId {
        let from = from.map(peer);
        let buffer = Buffer::zeroed(length);
        let request = ReceiveRequest { buffer, from, tag, context: 0 };
        let op = self.nodes[at].post_receive(request).expect("below the limit");
        self.drain();
        op
    }

    pub(crate) fn receive_claimed(&mut self, at: usize, claim: Claim, length: usize) -> OpId {
        let buffer = Buffer::zeroed(length);
        let op = self.nodes[at].receive_claimed(claim, buffer, 0).expect("below the limit");
        self.drain();
        op
    }

    pub(crate) fn cancel(&mut self, at: usize, op: OpId) -> bool {
        self.may_be_empty = true;
        let cancelled = self.nodes[at].cancel(op);
        self.drain();
        cancelled
    }

    /// Takes what the layers report.
    pub(crate) fn drain(&mut self) {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            while let Some(to) = node.poll_wake() {
                self.woken.insert((at, to.index()));
            }
            while let Some(completion) = node.poll_completion() {
                self.completions.push((at, completion));
            }
        }
    }

    /// Fills one datagram from `from` to `to`, whether or not a wake was reported.
    pub(crate) fn fill(&mut self, from: usize, to: usize) -> bool {
        let room = self.rng.random_range(self.rooms.clone());
        let mut train = Train::default();
        let bulk = self.nodes[from].next_is_bulk(peer(to));
        let filled = self.nodes[from].fill(NOW, peer(to), room, &mut train);
        self.drain();
        let Some(filled) = filled else {
            assert_eq!(train.open_at(), train.heads().len(), "nothing may be left behind");
            self.woken.remove(&(from, to));
            return false;
        };
        train.close(filled.tail);
        let bytes = bytes_of(&train);
        assert!(bytes.len() <= room);
        let flying = Flying { from, to, token: Some(filled.token), bytes };
        let frames = flying.frames();
        let is_part = frames.iter().any(|frame| {
            matches!(
                frame,
                Frame::Start { .. }
                    | Frame::Segment { .. }
                    | Frame::OneSided(OneSided::Write { .. } | OneSided::Data { .. })
            )
        });
        // With one size of datagram the announcement is exact but for grants that fall away.
        if bulk && self.rooms.len() == 1 {
            assert!(is_part, "a bulk datagram was announced");
        }
        self.payload_filled += frames.iter().map(Frame::payload_len).sum::<usize>();
        self.flying.push(flying);
        true
    }

    /// Hands over the datagram at `index`, sometimes as its sender writes it again.
    pub(crate) fn deliver(&mut self, index: usize) -> bool {
        if self.may_be_empty || self.rng.random_bool(0.3) {
            self.write_again(index);
        }
        let frames = self.flying[index].frames();
        self.has_stopped |= frames.iter().any(|frame| matches!(frame, Frame::Stop { .. }));
        let Flying { from, to, token, ref bytes } = self.flying[index];
        let delivery = self.nodes[to].deliver(NOW, peer(from), bytes, 0);
        if delivery == Delivery::Accepted || token.is_none() {
            self.flying.swap_remove(index);
            self.unacked.extend(token.map(|token| (from, to, token)));
        }
        self.drain();
        delivery == Delivery::Accepted || token.is_none()
    }

    /// The way between two nodes takes smaller datagrams from now on: the sender takes back what
    /// is too large. Some of that arrives all the same.
    pub(crate) fn shrink(&mut self, from: usize, to: usize) {
        self.rooms = 500..1_200;
        let mut index = 0;
        while index < self.flying.len() {
            let flying = &mut self.flying[index];
            let too_large = (flying.from, flying.to) == (from, to) && flying.bytes.len() >= 1_200;
            let Some(token) = flying.token.take_if(|_| too_large) else {
                index += 1;
                continue;
            };
            self.nodes[from].reclaim(NOW, peer(to), token);
            if self.rng.random_bool(0.5) {
                self.flying.remove(index);
            }
        }
        self.drain();
    }

    fn write_again(&mut self, index: usize) {
        let Flying { from, to, token, .. } = self.flying[index];
        let Some(token) = token else { return };
        let mut train = Train::default();
        let tail = self.nodes[from].refill(peer(to), token, &mut train);
        train.close(tail);
        let again = bytes_of(&train);
        let reads_memory = self.flying[index]
            .frames()
            .iter()
            .any(|frame| matches!(frame, Frame::OneSided(OneSided::Data { .. })));
        let bytes = &mut self.flying[index].bytes;
        if reads_memory && again.len() == bytes.len() {
            // The memory may have changed since, the head may not.
            assert_eq!(again[..16], bytes[..16], "a retransmission is the same datagram");
            *bytes = again;
            return;
        }
        if again.len() < bytes.len() && (self.may_be_empty || self.has_stopped) {
            *bytes = again;
        } else {
            assert_eq!(&again, bytes, "a retransmission is the same datagram");
        }
    }

    pub(crate) fn ack(&mut self, index: usize) {
        let (from, to, token) = self.unacked.swap_remove(index);
        self.nodes[from].acked(NOW, peer(to), token);
        self.drain();
    }

    /// Turns the datagram at `index` away for good.
    pub(crate) fn refuse(&mut self, index: usize) {
        let Flying { from, to, token, .. } = self.flying.remove(index);
        self.nodes[from].refused(NOW, peer(to), token.expect("not taken back"));
        self.drain();
    }

    /// One random act. Returns whether anything changed.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "livelock");
        let choices = [self.woken.len(), self.flying.len(), self.unacked.len()];
        let total: usize = choices.iter().sum();
        if total == 0 {
            return false;
        }
        let pick = self.rng.random_range(0..total);
        if pick < choices[0] {
            let &(from, to) = self.woken.iter().nth(pick).expect("counted");
            self.fill(from, to);
            true
        } else if pick < choices[0] + choices[1] {
            self.deliver(pick - choices[0])
        } else {
            self.ack(pick - choices[0] - choices[1]);
            true
        }
    }

    pub(crate) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    /// Fewer than `limit` acts.
    pub(crate) fn some_steps(&mut self, limit: usize) {
        let count = self.rng.random_range(0..limit);
        self.steps(count);
    }

    /// Acts until nothing changes any more.
    pub(crate) fn run(&mut self) {
        let mut in_vain = 0;
        loop {
            in_vain = if self.step() { 0 } else { in_vain + 1 };
            if in_vain > self.flying.len()
                && self.woken.is_empty()
                && self.unacked.is_empty()
                && !(0..self.flying.len()).rev().any(|index| self.deliver(index))
            {
                return;
            }
        }
    }

    /// `at` is told that `lost` failed; what was between them is gone.
    pub(crate) fn fail(&mut self, at: usize, lost: usize, error: PeerError) {
        self.flying.retain(|flying| !between((flying.from, flying.to), at, lost));
        self.unacked.retain(|&(from, to, _)| !between((from, to), at, lost));
        self.nodes[at].peer_failed(NOW, peer(lost), error);
        self.drain();
    }

    /// Drops all messages that no receive has met.
    pub(crate) fn discard_stored(&mut self, at: usize) {
        for tag in [ANY_TAG, TagMatch::Untagged] {
            while let Some((claim, _)) = self.nodes[at].claim(None, tag) {
                self.nodes[at].discard_claimed(claim);
            }
        }
    }

    /// What is left of operations and stores when everything is over.
    pub(crate) fn assert_clean(&self) {
        assert!(self.flying.is_empty(), "datagrams without a home: {:?}", self.flying);
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.outstanding(), 0, "node {at}");
            assert_eq!(node.stored_bytes(), 0, "node {at}");
            for other in 0..self.nodes.len() {
                assert!(node.idle(peer(other)), "node {at} with {other}");
                assert_eq!(node.queued_bytes(peer(other)), 0);
                assert!(!node.is_owed(peer(other)));
            }
        }
    }

    /// Takes the completion of an operation.
    pub(crate) fn take(&mut self, at: usize, op: OpId) -> Completion {
        let found = self.completions.iter().position(|(node, c)| *node == at && c.op == op);
        self.completions.remove(found.expect("the operation is complete")).1
    }

    pub(crate) fn is_complete(&self, at: usize, op: OpId) -> bool {
        self.completions.iter().any(|(node, c)| *node == at && c.op == op)
    }

    /// The bytes an operation received.
    pub(crate) fn received(&mut self, at: usize, op: OpId) -> Vec<u8> {
        let completion = self.take(at, op);
        assert_eq!(completion.result, Ok(()));
        let Event::Received { length, buffer, .. } = completion.event else {
            panic!("a receive completes as one");
        };
        let mut bytes = buffer.into_vec();
        bytes.truncate(usize::try_from(length).expect("fits memory"));
        bytes
    }

    pub(crate) fn result(&mut self, at: usize, op: OpId) -> Result<(), OperationError> {
        self.take(at, op).result
    }
}

fn between(pair: (usize, usize), one: usize, other: usize) -> bool {
    pair == (one, other) || pair == (other, one)
}

pub(crate) fn peer(node: usize) -> PeerId {
    PeerId(u32::try_from(node).expect("few nodes"))
}

pub(crate) fn bytes_of(train: &Train) -> Vec<u8> {
    let (head, tail) = train.datagrams().next().expect("one datagram");
    [head, tail].concat()
}

/// Bytes that tell which message they are of and where.
pub(crate) fn pattern(id: u32, length: usize) -> Bytes {
    let mut state = u64::from(id) << 32 | length as u64;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 29).to_le_bytes()
    });
    words.take(length).collect()
}

pub(crate) fn exactly(tag: u64) -> TagMatch {
    TagMatch::Tagged { tag: Tag(tag), ignore: 0 }
}

pub(crate) const ANY_TAG: TagMatch = TagMatch::Tagged { tag: Tag(0), ignore: u64::MAX };

impl Network {
    /// Acts until `done`, which must come about.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.step();
        }
    }

    /// Acts until `done` while the application of `node` makes no calls.
    pub(crate) fn run_without(&mut self, node: usize, done: impl Fn(&Self) -> bool) {
        let sleeping: Vec<_> = self.woken.iter().copied().filter(|pair| pair.0 == node).collect();
        while !done(self) {
            self.woken.retain(|pair| pair.0 != node);
            self.step();
        }
        self.woken.extend(sleeping);
    }
}
