//! Messages that no posted receive accepted, in the order they came up, and those of them that
//! were claimed.

use rustc_hash::FxHashMap;
use slab::Slab;
use wire::{MessageSeq, PeerId, Tag};

use super::{
    matching::TagMatch,
    stored::{MESSAGE_CHARGE, Pool, Stored},
    stream::Stream,
};
use crate::{
    OperationError,
    chain::{Chain, Link, Linked},
};

const ARRIVAL: usize = 0;
const BY_SOURCE: usize = 1;
const BY_TAG: usize = 2;

/// What the first frame of a message says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) peer: PeerId,
    pub(super) seq: MessageSeq,
    pub(super) tag: Option<Tag>,
    pub(super) remote_data: Option<u64>,
    /// Bytes of the whole message.
    pub(super) total: u64,
    /// Bytes that come without a grant.
    pub(super) unscheduled: u64,
}

impl Envelope {
    /// What its segments call it.
    pub(super) const fn stream(&self) -> Stream {
        Stream::Message(self.seq)
    }
}

/// A stored message, perhaps only its beginning.
#[derive(Debug)]
pub(super) struct Unexpected {
    pub(super) envelope: Envelope,
    pub(super) stored: Stored,
    /// No receive meets it any more.
    is_claimed: bool,
    /// Why it will never be whole. Only claimed messages stay to tell.
    pub(super) lost: Option<OperationError>,
    links: [Link; 3],
}

impl Linked for Unexpected {
    fn link(&self, lane: usize) -> &Link {
        &self.links[lane]
    }

    fn link_mut(&mut self, lane: usize) -> &mut Link {
        &mut self.links[lane]
    }
}

/// One match space. A receive for one tag finds its message by hash, with or without a source;
/// one with ignored bits searches.
#[derive(Debug, Default)]
struct Space {
    arrival: Chain,
    by_source: FxHashMap<(PeerId, Tag), Chain>,
    by_tag: FxHashMap<Tag, Chain>,
}

/// All stored messages.
#[derive(Debug, Default)]
pub(super) struct UnexpectedStore {
    entries: Slab<Unexpected>,
    tagged: Space,
    untagged: Space,
    /// How many of the entries are claimed.
    claimed: usize,
    charge: usize,
}

impl UnexpectedStore {
    /// Bytes stored, with an allowance for what each message needs beside its payload.
    pub(super) fn charge(&self) -> usize {
        self.charge
    }

    /// Whether a further message with `length` payload bytes stays within `limit`. A store in
    /// which all are claimed takes any, so that it can be seen and received.
    pub(super) fn has_room(&self, length: usize, limit: usize) -> bool {
        self.entries.len() == self.claimed
            || self.charge + MESSAGE_CHARGE + Stored::charge_of(length) <= limit
    }

    pub(super) fn insert(&mut self, envelope: Envelope, stored: Stored) -> usize {
        self.charge += stored.charge();
        let links = [Link::default(); 3];
        let entry = Unexpected { envelope, stored, is_claimed: false, lost: None, links };
        let at = self.entries.insert(entry);
        let (space, tag) = match envelope.tag {
            Some(tag) => (&mut self.tagged, tag),
            None => (&mut self.untagged, Tag(0)),
        };
        let by_source = space.by_source.entry((envelope.peer, tag)).or_default();
        by_source.push_back(&mut self.entries, BY_SOURCE, at);
        space.by_tag.entry(tag).or_default().push_back(&mut self.entries, BY_TAG, at);
        space.arrival.push_back(&mut self.entries, ARRIVAL, at);
        at
    }

    pub(super) fn get(&self, at: usize) -> &Unexpected {
        &self.entries[at]
    }

    /// Stores a further part of a message. Returns whether all its bytes are here.
    pub(super) fn add(&mut self, at: usize, offset: u64, payload: &[u8], pool: &mut Pool) -> bool {
        let entry = &mut self.entries[at];
        self.charge += entry.stored.add(offset, payload, pool);
        entry.stored.is_complete(entry.envelope.total)
    }

    /// The oldest message that a receive accepts.
    pub(super) fn find(&self, from: Option<PeerId>, tag: TagMatch) -> Option<usize> {
        let space = match tag {
            TagMatch::Untagged => &self.untagged,
            TagMatch::Tagged { .. } => &self.tagged,
        };
        match (from, tag.exact()) {
            (Some(peer), Some(tag)) => space.by_source.get(&(peer, tag)).and_then(Chain::front),
            (None, Some(tag)) => space.by_tag.get(&tag).and_then(Chain::front),
            (_, None) => space.arrival.iter(&self.entries, ARRIVAL).find(|&at| {
                let entry = &self.entries[at];
                from.is_none_or(|from| from == entry.envelope.peer)
                    && tag.accepts(entry.envelope.tag)
            }),
        }
    }

    /// Takes a message out of matching. It stays stored.
    pub(super) fn claim(&mut self, at: usize) {
        self.unlink(at);
        self.entries[at].is_claimed = true;
        self.claimed += 1;
    }

    /// Removes a message that will never be whole, or what is stored of it if it is claimed.
    pub(super) fn lose(&mut self, at: usize, error: OperationError) -> Stored {
        let entry = &mut self.entries[at];
        if !entry.is_claimed {
            return self.remove(at).stored;
        }
        entry.lost = Some(error);
        let stored = std::mem::take(&mut entry.stored);
        self.charge = self.charge + entry.stored.charge() - stored.charge();
        stored
    }

    pub(super) fn remove(&mut self, at: usize) -> Unexpected {
        if self.entries[at].is_claimed {
            self.claimed -= 1;
        } else {
            self.unlink(at);
        }
        let entry = self.entries.remove(at);
        self.charge -= entry.stored.charge();
        entry
    }

    fn unlink(&mut self, at: usize) {
        let Envelope { peer, tag, .. } = self.entries[at].envelope;
        let (space, tag) = match tag {
            Some(tag) => (&mut self.tagged, tag),
            None => (&mut self.untagged, Tag(0)),
        };
        space.arrival.remove(&mut self.entries, ARRIVAL, at);
        if let Some(chain) = space.by_source.get_mut(&(peer, tag)) {
            chain.remove(&mut self.entries, BY_SOURCE, at);
            if chain.is_empty() {
                space.by_source.remove(&(peer, tag));
            }
        }
        if let Some(chain) = space.by_tag.get_mut(&tag) {
            chain.remove(&mut self.entries, BY_TAG, at);
            if chain.is_empty() {
                space.by_tag.remove(&tag);
            }
        }
    }

    /// Where the messages from `peer` are of which bytes are missing, those that are lost aside.
    pub(super) fn partial_from(&self, peer: PeerId) -> Vec<usize> {
        let partial = self.entries.iter().filter(|(_, entry)| {
            let Unexpected { envelope, stored, lost, .. } = entry;
            envelope.peer == peer && lost.is_none() && !stored.is_complete(envelope.total)
        });
        partial.map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(peer: PeerId, tag: Option<u64>) -> Envelope {
        let seq = MessageSeq(1);
        Envelope { peer, seq, tag: tag.map(Tag), remote_data: None, total: 0, unscheduled: 0 }
    }

    #[test]
    fn find_returns_the_oldest_by_source_by_tag_and_by_mask() {
        let mut store = UnexpectedStore::default();
        let (a, b) = (PeerId(0), PeerId(1));
        let sent = [(a, Some(3)), (b, Some(2)), (a, Some(2)), (a, None), (b, Some(3))];
        let keys: Vec<_> = sent
            .iter()
            .map(|&(peer, tag)| store.insert(envelope(peer, tag), Stored::default()))
            .collect();
        let exact = |tag| TagMatch::Tagged { tag: Tag(tag), ignore: 0 };
        let any = TagMatch::Tagged { tag: Tag(0), ignore: u64::MAX };
        assert_eq!(store.find(Some(a), exact(2)), Some(keys[2]));
        assert_eq!(store.find(None, exact(2)), Some(keys[1]));
        assert_eq!(store.find(Some(b), any), Some(keys[1]));
        assert_eq!(store.find(None, any), Some(keys[0]));
        assert_eq!(store.find(None, TagMatch::Untagged), Some(keys[3]));
        assert_eq!(store.find(Some(b), TagMatch::Untagged), None);
        store.remove(keys[0]);
        assert_eq!(store.find(None, exact(3)), Some(keys[4]));
    }

    #[test]
    fn emptied_store_holds_no_list_and_no_charge() {
        let (mut store, mut pool) = (UnexpectedStore::default(), Pool::default());
        for tag in 0..10 {
            let mut stored = Stored::default();
            stored.add(0, &[1; 100], &mut pool);
            let at = store.insert(envelope(PeerId(0), Some(tag)), stored);
            store.add(at, 100, &[2; 50], &mut pool);
        }
        assert!(store.charge() > 1_500);
        while let Some(at) =
            store.find(Some(PeerId(0)), TagMatch::Tagged { tag: Tag(0), ignore: !0 })
        {
            store.remove(at);
        }
        assert_eq!(store.charge(), 0);
        assert!(store.tagged.by_source.is_empty() && store.tagged.by_tag.is_empty());
        assert!(store.tagged.arrival.is_empty());
    }
}
