//! What this fabric promises to reach, checked against what a run measured.

use serde::{Deserialize, Serialize};

use crate::{
    report::{Metric, Network, Report, Transport, Unit},
    units,
};

use Metric::{Bandwidth, CpuPerGb, LatencyP50, LongestStall, MessageRate};
use Transport::{Elastane, Tcp, UdpRaw};

/// One promise and how this run kept it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is promised.
    pub name: String,
    /// On which network.
    pub network: Network,
    /// What was measured; nothing if a test it needs failed.
    pub measured: Option<f64>,
    /// What is wanted.
    pub wanted: Bounds,
    /// Whether it was reached.
    pub met: bool,
    /// The unit of both.
    pub unit: Unit,
}

impl Check {
    /// What is wanted, in words.
    pub fn wanted_text(&self) -> String {
        let text = |bound| units::figure(bound, self.unit);
        match (self.wanted.at_least, self.wanted.at_most) {
            (Some(low), Some(high)) => format!("{} - {}", text(low), text(high)),
            (Some(low), None) => format!("≥ {}", text(low)),
            (None, Some(high)) => format!("≤ {}", text(high)),
            (None, None) => String::new(),
        }
    }

    /// What was measured, in words.
    pub fn measured_text(&self) -> String {
        self.measured.map_or("not measured".to_owned(), |value| units::figure(value, self.unit))
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Not less than this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_least: Option<f64>,
    /// Not more than this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_most: Option<f64>,
}

impl Bounds {
    const fn at_least(bound: f64) -> Self {
        Self { at_least: Some(bound), at_most: None }
    }

    const fn at_most(bound: f64) -> Self {
        Self { at_least: None, at_most: Some(bound) }
    }

    const fn between(low: f64, high: f64) -> Self {
        Self { at_least: Some(low), at_most: Some(high) }
    }

    /// Whether a figure is within.
    pub fn hold(&self, measured: f64) -> bool {
        self.at_least.is_none_or(|bound| measured >= bound)
            && self.at_most.is_none_or(|bound| measured <= bound)
    }
}

/// Bytes of the messages most promises are about.
pub const MIB: u64 = 1 << 20;
/// Bytes of a small message.
pub const SMALL: u64 = 64;
/// Bytes of the messages whose gaps are stalls.
pub const STALL_BYTES: u64 = 64 << 10;
/// What the four emulated paths carry together, in bytes per second.
pub const FOUR_PATHS: f64 = 4e9 / 8.0;

/// Checks a report. Promises about networks that were not measured are left out.
pub fn of(report: &Report) -> Vec<Check> {
    let measured = |network| report.results.iter().any(|row| row.network == network);
    let all = on_the_flat_network(report).into_iter().chain(on_the_others(report));
    all.filter(|check| measured(check.network)).collect()
}

fn on_the_flat_network(report: &Report) -> [Check; 5] {
    let elastane_over =
        |transport, metric, bytes| ratio(report, Network::Flat, metric, bytes, transport);
    let times = |name, wanted, measured| check(name, Network::Flat, wanted, Unit::Ratio, measured);
    [
        times(
            "1 MiB bandwidth over the best single TCP stream",
            Bounds::at_least(1.6),
            elastane_over(Tcp, Bandwidth, MIB),
        ),
        times(
            "1 MiB bandwidth over raw UDP",
            Bounds::at_least(0.65),
            elastane_over(UdpRaw, Bandwidth, MIB),
        ),
        times(
            "64 B latency over raw UDP, busy-polling",
            Bounds::at_most(1.3),
            elastane_over(UdpRaw, LatencyP50, SMALL),
        ),
        times(
            "64 B message rate over TCP, windows of 64",
            Bounds::at_least(4.0),
            elastane_over(Tcp, MessageRate, SMALL),
        ),
        times(
            "CPU per GB at 1 MiB over TCP",
            Bounds::at_most(0.8),
            elastane_over(Tcp, CpuPerGb, MIB),
        ),
    ]
}

fn on_the_others(report: &Report) -> [Check; 4] {
    let kept = report
        .row(Network::Loss1, Elastane, Bandwidth, MIB)
        .and_then(|row| Some(row.value / row.undisturbed?));
    [
        check(
            "1 MiB bandwidth over four paths of 1 Gb/s",
            Network::Multipath,
            Bounds::at_least(3.6e9 / 8.0),
            Unit::BytesPerSecond,
            report.value(Network::Multipath, Elastane, Bandwidth, MIB),
        ),
        check(
            "longest stall of 64 KiB messages when a path is cut",
            Network::PathCut,
            Bounds::at_most(0.020),
            Unit::Seconds,
            report.value(Network::PathCut, Elastane, LongestStall, STALL_BYTES),
        ),
        check(
            "1 MiB bandwidth under 1% loss over the same without",
            Network::Loss1,
            Bounds::at_least(0.8),
            Unit::Ratio,
            kept,
        ),
        check(
            "share of a link over one cubic flow's",
            Network::SharedLink,
            Bounds::between(0.3, 2.0),
            Unit::Ratio,
            ratio(report, Network::SharedLink, Bandwidth, MIB, Tcp),
        ),
    ]
}

/// Elastane's figure over another transport's.
fn ratio(
    report: &Report,
    network: Network,
    metric: Metric,
    bytes: u64,
    to: Transport,
) -> Option<f64> {
    let ours = report.value(network, Elastane, metric, bytes)?;
    Some(ours / report.value(network, to, metric, bytes)?)
}

fn check(name: &str, network: Network, wanted: Bounds, unit: Unit, measured: Option<f64>) -> Check {
    Check {
        name: name.to_owned(),
        network,
        measured,
        wanted,
        met: measured.is_some_and(|figure| wanted.hold(figure)),
        unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn measured(report: &Report, name: &str) -> Check {
        let checks = of(report);
        checks.into_iter().find(|check| check.name.starts_with(name)).expect("such a check")
    }

    #[test]
    fn complete_report_has_every_promise_checked() {
        let report = sample::report();
        assert_eq!(report.checks.len(), 9);
        assert!(report.checks.iter().all(|check| check.measured.is_some()));
        let bandwidth = measured(&report, "1 MiB bandwidth over the best");
        assert!((bandwidth.measured.expect("measured") - 2.0).abs() < 1e-9 && bandwidth.met);
        let kept = measured(&report, "1 MiB bandwidth under 1% loss");
        assert!((kept.measured.expect("measured") - 0.9).abs() < 1e-9 && kept.met);
    }

    #[test]
    fn promise_missed_or_not_measured_is_not_met() {
        let mut report = sample::report();
        for row in &mut report.results {
            if row.network == Network::PathCut {
                row.value = 0.021;
            }
        }
        assert!(!measured(&report, "longest stall").met);
        report
            .results
            .retain(|row| row.network != Network::PathCut || row.transport != Transport::Elastane);
        let check = measured(&report, "longest stall");
        assert!(!check.met && check.measured.is_none());
    }

    #[test]
    fn networks_not_measured_promise_nothing() {
        let mut report = sample::report();
        report.results.retain(|row| row.network == Network::Flat);
        let checks = of(&report);
        assert_eq!(checks.len(), 5);
        assert!(checks.iter().all(|check| check.network == Network::Flat));
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        let share = Bounds::between(0.3, 2.0);
        assert!(share.hold(0.3) && share.hold(2.0) && !share.hold(0.29) && !share.hold(2.01));
    }
}
