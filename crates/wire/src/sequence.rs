//! Sequence numbers: 64 bits in memory, their low 32 bits on the wire (P§3.1).

macro_rules! sequence {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The low 32 bits, as they travel.
            #[expect(clippy::cast_possible_truncation, reason = "the wire form is the low half")]
            pub const fn truncate(self) -> u32 {
                self.0 as u32
            }

            /// The number whose low half is `wire` and that lies closest to `near`; `None` if
            /// that would be below zero.
            pub const fn expand(wire: u32, near: Self) -> Option<Self> {
                // The signed distance picks the nearer of the two candidates around `near`.
                let distance = wire.wrapping_sub(near.truncate()).cast_signed();
                match near.0.checked_add_signed(distance as i64) {
                    Some(full) => Some(Self(full)),
                    None => None,
                }
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

sequence! {
    /// Packet sequence number: one space per context and direction, for exactly-once delivery.
    /// The first datagram carries 1; 0 means "none yet".
    Psn
}
sequence! {
    /// Position of a datagram among those sent on one path, for inferring loss on that path.
    PathSeq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expand_finds_the_nearest_number_across_the_wrap() {
        let near = Psn(0x1_0000_0002);
        assert_eq!(Psn::expand(0xffff_fffe, near), Some(Psn(0xffff_fffe)));
        assert_eq!(Psn::expand(0x10, near), Some(Psn(0x1_0000_0010)));
        assert_eq!(Psn::expand(0xffff_fff0, Psn(3)), None);
    }
}
