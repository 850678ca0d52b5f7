//! Posted receives and which of them a message meets: the oldest that accepts its source and
//! tag. Tagged and untagged messages never meet each other's receives.

use memory::Buffer;
use rustc_hash::FxHashMap;
use slab::Slab;
use wire::{PeerId, Tag};

use super::{multi::Piece, unexpected::Envelope};
use crate::{
    OpId,
    chain::{Chain, Link, Linked},
    numbers::key,
};

/// Which messages a receive accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMatch {
    /// Untagged messages.
    Untagged,
    /// Tagged messages whose tag equals `tag` in the bits not set in `ignore`.
    Tagged {
        /// The wanted tag.
        tag: Tag,
        /// Bits of the tag that may differ.
        ignore: u64,
    },
}

impl TagMatch {
    /// Whether a message with `tag` is accepted.
    pub const fn accepts(self, tag: Option<Tag>) -> bool {
        match (self, tag) {
            (Self::Untagged, None) => true,
            (Self::Tagged { tag: wanted, ignore }, Some(tag)) => tag.matches(wanted, ignore),
            _ => false,
        }
    }

    /// The only tag accepted, if there is just one. Untagged counts as one.
    pub(super) const fn exact(self) -> Option<Tag> {
        match self {
            Self::Untagged => Some(Tag(0)),
            Self::Tagged { tag, ignore: 0 } => Some(tag),
            Self::Tagged { .. } => None,
        }
    }
}

/// What a receive brings along.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) op: OpId,
    pub(super) context: u64,
    pub(super) from: Option<PeerId>,
    pub(super) tag: TagMatch,
    pub(super) buffer: Buffer,
    /// It takes one of many messages of a buffer; where it waits for messages, all of them.
    pub(super) piece: Option<Piece>,
}

#[derive(Debug)]
struct Posted {
    receive: Receive,
    /// Rises with every receive posted.
    order: u64,
    link: Link,
    /// A message is in the buffer: it is in no list any more, and only waits to be polled.
    is_received: bool,
}

impl Linked for Posted {
    fn link(&self, _lane: usize) -> &Link {
        &self.link
    }

    fn link_mut(&mut self, _lane: usize) -> &mut Link {
        &mut self.link
    }
}

/// What a receive for one tag asks for.
type Key = (Option<PeerId>, Tag);

/// The receives of one match space. Those for one tag are found by hash; those with ignored
/// bits are searched.
#[derive(Debug)]
struct Space {
    /// The list that was used last, which is not among the others: with few receives at a time
    /// there is nothing to be found by hash.
    recent: (Key, Chain),
    /// No other list is empty.
    exact: FxHashMap<Key, Chain>,
    exact_any_source: usize,
    masked: Chain,
}

impl Default for Space {
    fn default() -> Self {
        let recent = ((None, Tag(0)), Chain::default());
        Self { recent, exact: FxHashMap::default(), exact_any_source: 0, masked: Chain::default() }
    }
}

impl Space {
    fn front(&self, key: Key) -> Option<usize> {
        if self.recent.0 == key {
            return self.recent.1.front();
        }
        self.exact.get(&key).and_then(Chain::front)
    }

    /// The receives that ask for `key`, in order.
    fn list(&mut self, key: Key) -> &mut Chain {
        if self.recent.0 != key {
            let found = if self.exact.is_empty() { None } else { self.exact.remove(&key) };
            let last = std::mem::replace(&mut self.recent, (key, found.unwrap_or_default()));
            if !last.1.is_empty() {
                self.exact.insert(last.0, last.1);
            }
        }
        &mut self.recent.1
    }
}

/// All posted receives.
#[derive(Debug, Default)]
pub(super) struct PostedReceives {
    entries: Slab<Posted>,
    tagged: Space,
    untagged: Space,
    posted: u64,
    /// How many of the entries have got a message.
    received: usize,
}

impl PostedReceives {
    /// Those that wait for messages.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.received
    }

    /// The name of a receive that is added next, by the serial number of its operation.
    #[inline]
    pub(super) fn next_op(&self, serial: u32) -> OpId {
        OpId::receive(self.entries.vacant_key(), serial)
    }

    /// Adds a receive, the youngest, which has got its name from [`Self::next_op`]. Returns that.
    #[inline]
    pub(super) fn insert(&mut self, receive: Receive) -> OpId {
        let entry = self.entries.vacant_entry();
        let at = entry.key();
        let (op, from, tag) = (receive.op, receive.from, receive.tag);
        entry.insert(Posted {
            receive,
            order: self.posted,
            link: Link::default(),
            is_received: false,
        });
        self.posted += 1;
        let space = match tag {
            TagMatch::Untagged => &mut self.untagged,
            TagMatch::Tagged { .. } => &mut self.tagged,
        };
        let chain = match tag.exact() {
            Some(tag) => {
                space.exact_any_source += usize::from(from.is_none());
                space.list((from, tag))
            }
            None => &mut space.masked,
        };
        chain.push_back(&mut self.entries, 0, at);
        op
    }

    /// Removes the receive that a message from `peer` meets.
    pub(super) fn take(&mut self, peer: PeerId, tag: Option<Tag>) -> Option<Receive> {
        let (space, exact) = match tag {
            Some(tag) => (&mut self.tagged, tag),
            None => (&mut self.untagged, Tag(0)),
        };
        if space.exact_any_source > 0 || !space.masked.is_empty() {
            let at = self.find(peer, tag)?;
            return Some(self.remove(at));
        }
        // Only directed receives for one tag: one search finds and removes.
        let key = (Some(peer), exact);
        let at = space.front(key)?;
        space.list(key).remove(&mut self.entries, 0, at);
        Some(self.entries.remove(at).receive)
    }

    /// Removes a receive by its operation's name, if it has met no message.
    pub(super) fn take_op(&mut self, op: OpId) -> Option<Receive> {
        let posted = self.entries.get(op.index())?;
        (posted.receive.op == op && !posted.is_received).then(|| self.remove(op.index()))
    }

    /// Puts a whole message into the buffer of the receive that it meets, which is no
    /// multi-receive, if it fits. Returns where that waits for [`Self::take_received`].
    pub(super) fn receive(&mut self, message: &Envelope, payload: &[u8]) -> Option<u32> {
        let at = self.find(message.peer, message.tag)?;
        let room = self.entries[at].receive.buffer.as_mut_slice();
        room.get_mut(..payload.len())?.copy_from_slice(payload);
        self.unlink(at);
        self.entries[at].is_received = true;
        self.received += 1;
        Some(key(at))
    }

    /// Removes a receive that has got a message.
    #[inline]
    pub(super) fn take_received(&mut self, at: u32) -> Receive {
        let posted = self.entries.remove(at as usize);
        debug_assert!(posted.is_received);
        self.received -= 1;
        posted.receive
    }

    /// Names the receives directed at `peer`, oldest first.
    pub(super) fn all_directed(&self, peer: PeerId) -> Vec<OpId> {
        let directed = self
            .entries
            .iter()
            .filter(|(_, posted)| posted.receive.from == Some(peer) && !posted.is_received);
        let mut found: Vec<_> = directed.map(|(_, posted)| posted).collect();
        found.sort_unstable_by_key(|posted| posted.order);
        found.into_iter().map(|posted| posted.receive.op).collect()
    }

    /// Whether the receive at `at` is a multi-receive, and which.
    pub(super) fn piece(&self, at: usize) -> Option<Piece> {
        self.entries[at].receive.piece
    }

    /// The receive that a message from `peer` meets.
    pub(super) fn find(&self, peer: PeerId, tag: Option<Tag>) -> Option<usize> {
        let (space, exact) = match tag {
            Some(tag) => (&self.tagged, tag),
            None => (&self.untagged, Tag(0)),
        };
        let front = |from| space.front((from, exact));
        let directed = front(Some(peer));
        let any_source = if space.exact_any_source > 0 { front(None) } else { None };
        let order = |at: usize| self.entries[at].order;
        let oldest = match (directed, any_source) {
            (Some(one), Some(other)) => Some(if order(one) < order(other) { one } else { other }),
            (one, other) => one.or(other),
        };
        if space.masked.is_empty() {
            return oldest;
        }
        let before = oldest.map_or(u64::MAX, order);
        let masked =
            space.masked.iter(&self.entries, 0).take_while(|&at| order(at) < before).find(|&at| {
                let receive = &self.entries[at].receive;
                receive.from.is_none_or(|from| from == peer) && receive.tag.accepts(tag)
            });
        masked.or(oldest)
    }

    pub(super) fn remove(&mut self, at: usize) -> Receive {
        self.unlink(at);
        self.entries.remove(at).receive
    }

    /// Takes a receive out of the lists: no message meets it any more.
    fn unlink(&mut self, at: usize) {
        let Receive { from, tag, .. } = self.entries[at].receive;
        let space = match tag {
            TagMatch::Untagged => &mut self.untagged,
            TagMatch::Tagged { .. } => &mut self.tagged,
        };
        match tag.exact() {
            Some(tag) => {
                space.exact_any_source -= usize::from(from.is_none());
                space.list((from, tag)).remove(&mut self.entries, 0, at);
            }
            None => space.masked.remove(&mut self.entries, 0, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn post(posted: &mut PostedReceives, serial: u32, from: Option<PeerId>, tag: TagMatch) -> OpId {
        let (op, context) = (posted.next_op(serial), u64::from(serial));
        let buffer = Buffer::default();
        posted.insert(Receive { op, context, from, tag, buffer, piece: None })
    }

    fn tagged(tag: u64, ignore: u64) -> TagMatch {
        TagMatch::Tagged { tag: Tag(tag), ignore }
    }

    /// What is longer is moved by calls, which take longer than the rest of posting a receive.
    #[test]
    fn posted_receive_is_no_longer_than_what_is_moved_in_place() {
        assert!(size_of::<Posted>() <= 128, "{} bytes", size_of::<Posted>());
    }

    const A: PeerId = PeerId(0);
    const B: PeerId = PeerId(7);

    #[test]
    fn oldest_accepting_receive_wins_whatever_list_it_is_in() {
        let kinds = [
            (Some(A), tagged(5, 0)),
            (None, tagged(5, 0)),
            (None, tagged(4, 1)),
            (Some(A), tagged(0, u64::MAX)),
        ];
        for first in 0..kinds.len() {
            let mut posted = PostedReceives::default();
            let order: Vec<_> = (0..kinds.len()).map(|i| (first + i) % kinds.len()).collect();
            for (serial, &kind) in order.iter().enumerate() {
                let (from, tag) = kinds[kind];
                post(&mut posted, u32::try_from(serial).unwrap(), from, tag);
            }
            for serial in 0..kinds.len() {
                assert_eq!(posted.take(A, Some(Tag(5))).unwrap().context, serial as u64);
            }
            assert!(posted.take(A, Some(Tag(5))).is_none());
            assert!(posted.tagged.exact.is_empty());
        }
    }

    #[test]
    fn any_sequence_of_receives_and_messages_agrees_with_a_plain_list() {
        for seed in 0..200 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut posted = PostedReceives::default();
            let mut plain: Vec<(OpId, Option<PeerId>, TagMatch)> = Vec::new();
            for serial in 0..400 {
                let peer = PeerId(rng.random_range(0..3));
                let tag = rng.random_range(0..3);
                match rng.random_range(0..10) {
                    0..5 => {
                        let from = (seed % 2 == 0 || rng.random_bool(0.7)).then_some(peer);
                        let ignore = u64::from(seed % 3 == 0 && rng.random_bool(0.2));
                        let wanted = tagged(tag, ignore);
                        plain.push((post(&mut posted, serial, from, wanted), from, wanted));
                    }
                    5 if !plain.is_empty() => {
                        let (op, ..) = plain.remove(rng.random_range(0..plain.len()));
                        assert_eq!(posted.take_op(op).map(|taken| taken.op), Some(op));
                    }
                    _ => {
                        let met = plain.iter().position(|(_, from, wanted)| {
                            from.is_none_or(|from| from == peer) && wanted.accepts(Some(Tag(tag)))
                        });
                        let expected = met.map(|at| plain.remove(at).0);
                        let taken = posted.take(peer, Some(Tag(tag))).map(|taken| taken.op);
                        assert_eq!(taken, expected, "seed {seed}");
                    }
                }
                assert_eq!(posted.len(), plain.len());
            }
        }
    }

    #[test]
    fn other_sources_tags_and_spaces_do_not_match() {
        let mut posted = PostedReceives::default();
        post(&mut posted, 0, Some(A), tagged(5, 0));
        post(&mut posted, 1, Some(A), tagged(8, 3));
        post(&mut posted, 2, None, TagMatch::Untagged);
        assert!(posted.take(B, Some(Tag(5))).is_none());
        assert!(posted.take(A, Some(Tag(12))).is_none());
        assert!(posted.take(B, Some(Tag(0))).is_none());
        assert_eq!(posted.take(B, None).unwrap().context, 2);
        assert_eq!(posted.take(A, Some(Tag(11))).unwrap().context, 1);
    }

    #[test]
    fn name_of_a_receive_that_is_gone_finds_nothing_though_its_place_is_taken() {
        let mut posted = PostedReceives::default();
        let gone = post(&mut posted, 0, None, TagMatch::Untagged);
        assert!(posted.take(A, None).is_some());
        let other = post(&mut posted, 1, None, TagMatch::Untagged);
        assert_eq!(gone.index(), other.index());
        assert!(posted.take_op(gone).is_none());
        assert!(posted.take_op(other).is_some());
        assert_eq!(posted.len(), 0);
    }
}
