//! What peers may do to a region.

use std::ops::BitOr;

/// Rights of peers on a region; combine them with `|`. The owner itself may do everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Peers may read (`FI_REMOTE_READ`).
    pub const READ: Self = Self(1);
    /// Peers may write (`FI_REMOTE_WRITE`).
    pub const WRITE: Self = Self(1 << 1);
    /// Peers may execute atomic operations.
    pub const ATOMIC: Self = Self(1 << 2);
    /// Everything.
    pub const ALL: Self = Self(0b111);

    /// Whether all rights of `wanted` are granted.
    pub const fn allows(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
