//! What the datagrams contain that are not acknowledged yet, so that they can be written again.

use slab::Slab;
use wire::{MessageSeq, OneSidedKind, PeerId, RefusalCause, Token};

use super::stream::Stream;

use crate::numbers::key;

const MAX_SPARE: usize = 1024;
const MAX_SPARE_PARTS: usize = 1024;

/// A frame of a bundle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Message(u32),
    Grant(Stream, u64),
    Stop(MessageSeq),
    Abort(MessageSeq),
    Refusal(Refusal),
}

/// An operation of the peer that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) seq: MessageSeq,
    pub(super) kind: OneSidedKind,
    pub(super) cause: RefusalCause,
}

/// The contents of a datagram.
#[derive(Debug)]
pub(super) enum Content {
    /// The beginning of a large message.
    Start { op: u32, length: u16 },
    /// More of it.
    Segment { op: u32, offset: usize, length: u16 },
    /// Whole messages, small one-sided operations and frames about either; `tail` says whether the payload of the last
    /// message is referred to rather than copied.
    Bundle { parts: Vec<Part>, tail: bool },
}

/// A datagram that was filled.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) peer: PeerId,
    pub(super) content: Content,
}

/// All datagrams in flight.
#[derive(Debug, Default)]
pub(super) struct Records {
    entries: Slab<Record>,
    spare: Vec<Vec<Part>>,
}

impl Records {
    pub(super) fn insert(&mut self, peer: PeerId, content: Content) -> Token {
        Token(key(self.entries.insert(Record { peer, content })))
    }

    pub(super) fn get(&self, token: Token) -> &Record {
        &self.entries[token.0 as usize]
    }

    pub(super) fn remove(&mut self, token: Token) -> Record {
        self.entries.remove(token.0 as usize)
    }

    /// An empty list of parts.
    pub(super) fn parts(&mut self) -> Vec<Part> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn recycle(&mut self, mut parts: Vec<Part>) {
        if self.spare.len() < MAX_SPARE && parts.capacity() <= MAX_SPARE_PARTS {
            parts.clear();
            self.spare.push(parts);
        }
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        self.entries.retain(|_, record| record.peer != peer);
    }
}
