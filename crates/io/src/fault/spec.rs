use std::{fmt, str::FromStr};

/// Which faults a [`super::FaultDevice`] injects, and how often.
///
/// Written as `drop=1%,duplicate=0.1%,reorder=5%,corrupt=0.01%,seed=7`. What befalls a datagram is
/// one thing: the first four rates exclude each other and add up to at most 100%.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// Share of datagrams that are lost.
    pub drop: f64,
    /// Share of datagrams that arrive twice.
    pub duplicate: f64,
    /// Share of datagrams that are overtaken by others.
    pub reorder: f64,
    /// Share of datagrams of whose header one bit flips.
    pub corrupt: f64,
    /// Share of whole trains that are lost, as a queue that overflows loses them.
    pub train: f64,
    /// By how many trains a reordered datagram is overtaken.
    pub depth: u32,
    /// Where the faults happen.
    pub on: FaultSide,
    /// What the random choices follow from: the same seed and traffic give the same faults.
    pub seed: u64,
}

impl Default for FaultSpec {
    fn default() -> Self {
        Self {
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            train: 0.0,
            depth: 3,
            on: FaultSide::Send,
            seed: 1,
        }
    }
}

/// Where faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSide {
    /// Between the transport and the device it sends with. Where both ends of a connection have
    /// the same faults, a datagram meets them once.
    Send,
    /// Between the device and the transport that receives.
    Receive,
    /// Both.
    Both,
}

impl FaultSide {
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::Send | Self::Both)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Self::Receive | Self::Both)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Both => "both",
        }
    }
}

/// Why a text is not a [`FaultSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultSpecError {
    /// A part without `=`.
    #[error("`{0}` is not a fault and its value; write for example drop=1%")]
    NoValue(String),
    /// A name that is none of the known.
    #[error(
        "unknown fault `{0}`; known are drop, duplicate, reorder, corrupt, train, depth, on and \
         seed"
    )]
    Unknown(String),
    /// A name that stands there twice.
    #[error("`{0}` is given twice")]
    Repeated(String),
    /// A rate that does not read as 0% to 100%.
    #[error("`{key}={value}` is not a share from 0% to 100%; write for example {key}=0.1%")]
    NotPercent {
        /// The fault.
        key: String,
        /// What was given.
        value: String,
    },
    /// A whole number was expected.
    #[error("`{key}={value}` is not a whole number from {least}")]
    NotNumber {
        /// The name.
        key: String,
        /// What was given.
        value: String,
        /// The smallest that is accepted.
        least: u64,
    },
    /// A side that does not exist.
    #[error("`on={0}` is none of send, receive and both")]
    NotSide(String),
    /// More than one thing would befall some datagrams.
    #[error("drop, duplicate, reorder and corrupt add up to more than 100%")]
    Sum,
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, FaultSpecError> {
        let mut spec = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(FaultSpecError::NoValue(part.to_owned()));
            };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "drop" => spec.drop = percent(key, value)?,
                "duplicate" => spec.duplicate = percent(key, value)?,
                "reorder" => spec.reorder = percent(key, value)?,
                "corrupt" => spec.corrupt = percent(key, value)?,
                "train" => spec.train = percent(key, value)?,
                "depth" => spec.depth = number(key, value, 1)?,
                "seed" => spec.seed = number(key, value, 0)?,
                "on" => spec.on = side(value)?,
                _ => return Err(FaultSpecError::Unknown(key.to_owned())),
            }
            if seen.contains(&key) {
                return Err(FaultSpecError::Repeated(key.to_owned()));
            }
            seen.push(key);
        }
        // Rounding may carry a sum of exactly 100% a hair beyond it.
        if spec.drop + spec.duplicate + spec.reorder + spec.corrupt > 1.0 + 1e-9 {
            return Err(FaultSpecError::Sum);
        }
        Ok(spec)
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = [
            ("drop", self.drop),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
            ("train", self.train),
        ];
        for (name, rate) in rates.into_iter().filter(|(_, rate)| *rate > 0.0) {
            write!(f, "{name}={}%,", rate * 100.0)?;
        }
        write!(f, "depth={},on={},seed={}", self.depth, self.on.name(), self.seed)
    }
}

fn percent(key: &str, value: &str) -> Result<f64, FaultSpecError> {
    value
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|number| (0.0..=100.0).contains(number))
        .map(|number| number / 100.0)
        .ok_or_else(|| FaultSpecError::NotPercent { key: key.to_owned(), value: value.to_owned() })
}

fn number<N: FromStr + Into<u64> + Copy>(
    key: &str,
    value: &str,
    least: u64,
) -> Result<N, FaultSpecError> {
    value.parse().ok().filter(|&number: &N| number.into() >= least).ok_or_else(|| {
        FaultSpecError::NotNumber { key: key.to_owned(), value: value.to_owned(), least }
    })
}

fn side(value: &str) -> Result<FaultSide, FaultSpecError> {
    [FaultSide::Send, FaultSide::Receive, FaultSide::Both]
        .into_iter()
        .find(|side| side.name() == value)
        .ok_or_else(|| FaultSpecError::NotSide(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read() {
        let spec: FaultSpec =
            "drop=1%, duplicate=0.5%,reorder=5%,corrupt=0.25%,train=2%,depth=9,on=both,seed=7"
                .parse()
                .unwrap();
        let expected = FaultSpec {
            drop: 0.01,
            duplicate: 0.005,
            reorder: 0.05,
            corrupt: 0.0025,
            train: 0.02,
            depth: 9,
            on: FaultSide::Both,
            seed: 7,
        };
        assert_eq!(spec, expected);
        assert_eq!(expected.to_string().parse(), Ok(expected));
    }

    #[test]
    fn what_is_not_a_fault_is_refused_by_name() {
        let cases = [
            ("", "`` is not a fault and its value; write for example drop=1%"),
            ("drop", "`drop` is not a fault and its value; write for example drop=1%"),
            ("drop=1", "`drop=1` is not a share from 0% to 100%; write for example drop=0.1%"),
            ("drop=-1%", "`drop=-1%` is not a share from 0% to 100%; write for example drop=0.1%"),
            (
                "train=nan%",
                "`train=nan%` is not a share from 0% to 100%; write for example train=0.1%",
            ),
            ("drop=1%,drop=1%", "`drop` is given twice"),
            ("depth=0", "`depth=0` is not a whole number from 1"),
            ("on=never", "`on=never` is none of send, receive and both"),
            (
                "drop=60%,reorder=41%",
                "drop, duplicate, reorder and corrupt add up to more than 100%",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<FaultSpec>().unwrap_err().to_string(), message);
        }
        assert_eq!("jitter=1%".parse::<FaultSpec>(), Err(FaultSpecError::Unknown("jitter".into())));
    }
}
