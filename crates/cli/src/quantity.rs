//! Sizes, rates, shares and durations as they are written on the command line.

use std::time::Duration;

/// A number of bytes: `64`, `4K`, `1MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is no size; write for example 64, 4K or 1MiB");
    let (number, unit) = split(text);
    let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
        "" | "B" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(wrong()),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A message, which has at least one byte.
pub(crate) fn message_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("a message has at least one byte".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A CPU that this process may run on.
pub(crate) fn cpu(text: &str) -> Result<usize, String> {
    let usable = perf::cpu::usable().map_err(|error| format!("cannot tell the CPUs: {error}"))?;
    let found = text.parse().ok().filter(|cpu| usable.contains(cpu));
    found.ok_or_else(|| {
        let usable: Vec<String> = usable.iter().map(usize::to_string).collect();
        format!("`{text}` is no CPU that this process may use; choose one of {}", usable.join(", "))
    })
}

/// Bits per second: `1000000`, `25G`.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate; write bits per second, for example 100M or 25G");
    let (number, unit) = split(text);
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|rate| *rate > 0).ok_or_else(wrong)
}

/// A probability: `0.01`, `1%`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share; write for example 1% or 0.01");
    let (number, hundredths) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map_err(|_| wrong())? / hundredths;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// A duration: `10us`, `2s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write for example 10us, 5ms or 2s"))
}

/// Seconds, with or without the unit: `120`, `2min`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds) => Ok(seconds),
        Err(_) => duration(text).map(|duration| duration.as_secs()),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_takes_binary_units() {
        for (text, bytes) in [("64", 64), ("4K", 4096), ("4KiB", 4096), ("1MiB", 1 << 20)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn size_that_is_none_is_named() {
        for text in ["", "K", "1.5M", "-1", "1MB", "12 K", "99999999999999999999", "17179869184G"] {
            let error = size(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!(message_size("0").is_err());
    }

    #[test]
    fn share_and_rate_take_what_people_write() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("0.5"), Ok(0.5));
        assert!(share("101%").is_err() && share("nan").is_err());
        assert_eq!(rate("25G"), Ok(25_000_000_000));
        assert!(rate("0").is_err() && rate("25Gb").is_err());
    }

    #[test]
    fn seconds_may_have_no_unit() {
        assert_eq!(seconds("120"), Ok(120));
        assert_eq!(seconds("2min"), Ok(120));
        assert!(seconds("soon").is_err());
    }
}
