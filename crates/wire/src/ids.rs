//! Newtypes for the numbers that must not be mixed up.

/// Names one incarnation of an endpoint: random, never zero, new at every start, so that a
/// restarted peer is not taken for its past self (P§1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(std::num::NonZeroU32);

impl ConnId {
    /// The connid `raw`; `None` for zero, which on the wire means "not known yet".
    pub const fn new(raw: u32) -> Option<Self> {
        match std::num::NonZeroU32::new(raw) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn raw(self) -> u32 {
        self.0.get()
    }
}

/// A peer of this endpoint: an index that stays valid for the endpoint's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

impl PeerId {
    /// The index as a `usize`.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the layer above the transport calls one of its datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

/// A message tag; matched as `(tag ^ wanted) & !ignore == 0`, like fi_tagged(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

impl Tag {
    /// Whether this tag satisfies a receive for `wanted` that ignores the bits in `ignore`.
    pub const fn matches(self, wanted: Self, ignore: u64) -> bool {
        (self.0 ^ wanted.0) & !ignore == 0
    }
}

/// The key by which a peer names a registered memory region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RKey(pub u64);

/// A message's position among all messages from one endpoint to another, from 1; travels as its
/// low 32 bits (P§8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageSeq(pub u32);

impl MessageSeq {
    /// The number after this one; wraps.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How far `self` lies after `other`, negative if before; correct across the wrap while the
    /// two are less than 2^31 apart.
    pub const fn distance(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}
