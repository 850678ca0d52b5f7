//! Rates and loss ratios.

use std::fmt;

/// A rate of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    bits_per_second: u64,
}

impl Rate {
    /// A rate in bits per second.
    pub const fn bits_per_second(bits_per_second: u64) -> Self {
        Self { bits_per_second }
    }

    /// A rate in Mb/s.
    pub const fn megabits(megabits: u64) -> Self {
        Self::bits_per_second(megabits * 1_000_000)
    }

    /// A rate in Gb/s.
    pub const fn gigabits(gigabits: u64) -> Self {
        Self::megabits(gigabits * 1000)
    }

    /// The rate in bits per second.
    pub const fn as_bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// The rate in bytes per second, rounded down.
    pub const fn as_bytes_per_second(self) -> u64 {
        self.bits_per_second / 8
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] =
            [(1_000_000_000, "Gb/s"), (1_000_000, "Mb/s"), (1000, "kb/s")];
        let bits = self.bits_per_second;
        match UNITS.iter().find(|(unit, _)| bits >= *unit && bits.is_multiple_of(unit / 10)) {
            Some((unit, name)) if bits.is_multiple_of(*unit) => write!(f, "{} {name}", bits / unit),
            Some((unit, name)) => write!(f, "{}.{} {name}", bits / unit, bits % unit * 10 / unit),
            None => write!(f, "{bits} b/s"),
        }
    }
}

/// The share of packets that are lost at random, each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    per_million: u32,
}

impl Loss {
    /// No loss.
    pub const NONE: Self = Self { per_million: 0 };

    /// `lost` of a million packets; `None` above a million.
    pub const fn per_million(lost: u32) -> Option<Self> {
        if lost <= 1_000_000 { Some(Self { per_million: lost }) } else { None }
    }

    /// A percentage, to four decimals; `None` outside 0 to 100.
    pub fn percent(percent: f64) -> Option<Self> {
        let lost = (percent * 10_000.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be within 0 and a million"
        )]
        (0.0..=1_000_000.0).contains(&lost).then_some(Self { per_million: lost as u32 })
    }

    /// Packets lost of a million.
    pub const fn as_per_million(self) -> u32 {
        self.per_million
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.per_million) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_shown_in_its_largest_even_unit() {
        assert_eq!(Rate::gigabits(1).to_string(), "1 Gb/s");
        assert_eq!(Rate::megabits(2500).to_string(), "2.5 Gb/s");
        assert_eq!(Rate::megabits(1250).to_string(), "1250 Mb/s");
        assert_eq!(Rate::bits_per_second(7).to_string(), "7 b/s");
        assert_eq!(Rate::bits_per_second(0).to_string(), "0 b/s");
    }

    #[test]
    fn loss_outside_its_range_is_refused() {
        assert_eq!(Loss::percent(0.1).map(Loss::as_per_million), Some(1000));
        assert_eq!(Loss::percent(100.0).map(Loss::as_per_million), Some(1_000_000));
        assert_eq!(Loss::percent(100.1), None);
        assert_eq!(Loss::percent(-0.1), None);
        assert_eq!(Loss::percent(f64::NAN), None);
        assert_eq!(Loss::per_million(1_000_001), None);
    }

    #[test]
    fn loss_is_shown_in_percent() {
        assert_eq!(Loss::percent(0.1).map(|loss| loss.to_string()).as_deref(), Some("0.1%"));
        assert_eq!(Loss::NONE.to_string(), "0%");
    }
}
