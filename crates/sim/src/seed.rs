//! One seed, many independent streams of randomness: a change to one part of a run does not
//! shift the numbers another part draws.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The shape of a random scenario.
    Scenario,
    /// Messages, receives and their times.
    Workload,
    /// Which faults strike, and when.
    Faults,
    /// The fate of single packets.
    Packets,
    /// Source ports and the hash by which the network picks a path.
    Ports,
    /// Limits of the hosts' configuration.
    Limits,
    /// Bytes of messages.
    Payload,
    /// One-sided operations.
    Remote,
    /// Receives that take many messages.
    MultiReceives,
    /// Order among operations, and cancelling of one-sided ones.
    Order,
    /// Datagrams nobody sent.
    Hostile,
    /// The endpoint of one host in one incarnation.
    Endpoint { host: usize, incarnation: u32 },
}

impl Purpose {
    fn salt(self) -> u64 {
        match self {
            Self::Scenario => 1,
            Self::Workload => 2,
            Self::Faults => 3,
            Self::Packets => 4,
            Self::Ports => 5,
            Self::Payload => 6,
            Self::Hostile => 7,
            Self::Limits => 8,
            Self::Remote => 9,
            Self::MultiReceives => 10,
            Self::Order => 11,
            Self::Endpoint { host, incarnation } => {
                1 << 60 | u64::from(incarnation) << 32 | host as u64
            }
        }
    }
}

/// The stream of `seed` for `purpose`.
pub(crate) fn stream(seed: u64, purpose: Purpose) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix(purpose.salt())))
}

/// Spreads every bit of `value` over the whole word (the finaliser of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, purpose| stream(seed, purpose).next_u64();
        assert_eq!(draw(7, Purpose::Faults), draw(7, Purpose::Faults));
        assert_ne!(draw(7, Purpose::Faults), draw(7, Purpose::Packets));
        assert_ne!(draw(7, Purpose::Faults), draw(8, Purpose::Faults));
    }
}
