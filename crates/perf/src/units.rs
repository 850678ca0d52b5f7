//! Figures as people read them.

use crate::report::Unit;

/// A message size: `64 B`, `4 KiB`, `1 MiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        whole if whole >= 1 << 20 && whole % (1 << 20) == 0 => format!("{} MiB", whole >> 20),
        whole if whole >= 1 << 10 && whole % (1 << 10) == 0 => format!("{} KiB", whole >> 10),
        other => format!("{other} B"),
    }
}

/// A figure with its unit. Bandwidth is in bits, as links are sold.
pub fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::BytesPerSecond => {
            scaled(value * 8.0, &[("b/s", 1.0), ("kb/s", 1e3), ("Mb/s", 1e6), ("Gb/s", 1e9)])
        }
        Unit::Seconds => scaled(value, &[("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)]),
        Unit::PerSecond => scaled(value, &[("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6)]),
        Unit::Ratio => ratio(value),
    }
}

/// A round figure at an axis: `20 Gb/s` rather than `20.0 Gb/s`.
pub fn mark(value: f64, unit: Unit) -> String {
    let text = figure(value, unit);
    match text.split_once(' ') {
        _ if value == 0.0 => "0".to_owned(),
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// CPU seconds per GB, always in the same unit: its size is what is compared.
pub fn cpu_per_gb(value: f64) -> String {
    format!("{} s/GB", digits(value))
}

/// A ratio: `3.4x`.
pub fn ratio(value: f64) -> String {
    format!("{}x", digits(value))
}

/// Scales by the largest unit that leaves at least one before the point.
fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let fitting = units.iter().rev().find(|(_, scale)| value.abs() >= *scale * 0.9995);
    let (unit, scale) = fitting.or(units.first()).copied().unwrap_or(("", 1.0));
    format!("{} {unit}", digits(value / scale))
}

/// Three significant digits, no more than the figures are worth.
fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        medium if medium >= 9.995 => format!("{value:.1}"),
        small if small >= 0.0995 || small == 0.0 => format!("{value:.2}"),
        tiny if tiny >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_fitting_unit() {
        assert_eq!(figure(3.1e9, Unit::BytesPerSecond), "24.8 Gb/s");
        assert_eq!(figure(4.5e8, Unit::BytesPerSecond), "3.60 Gb/s");
        assert_eq!(figure(5.2e-6, Unit::Seconds), "5.20 µs");
        assert_eq!(figure(0.2, Unit::Seconds), "200 ms");
        assert_eq!(figure(1.75, Unit::Seconds), "1.75 s");
        assert_eq!(figure(2_510_000.0, Unit::PerSecond), "2.51 M/s");
        assert_eq!(figure(999_900.0, Unit::PerSecond), "1.00 M/s");
        assert_eq!(figure(1.994, Unit::Ratio), "1.99x");
        assert_eq!(figure(0.0, Unit::Seconds), "0.00 ns");
        assert_eq!(cpu_per_gb(0.315), "0.32 s/GB");
    }

    #[test]
    fn marks_have_no_digits_to_spare() {
        assert_eq!(mark(2.5e9, Unit::BytesPerSecond), "20 Gb/s");
        assert_eq!(mark(0.0, Unit::BytesPerSecond), "0");
        assert_eq!(mark(0.1, Unit::Seconds), "100 ms");
        assert_eq!(mark(1.5e-5, Unit::Seconds), "15 µs");
    }

    #[test]
    fn sizes_are_in_binary_units_where_whole() {
        assert_eq!(size(1), "1 B");
        assert_eq!(size(1000), "1000 B");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(4 << 20), "4 MiB");
    }
}
