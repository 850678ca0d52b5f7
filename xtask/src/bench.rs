//! Every figure the project promises, measured now and held against what is wanted.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::camino::Utf8Path;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    packages::{self, Package},
    wheels::{self, Environment},
    workspace::Workspace,
};

/// A program that measures, and writes a JSON document to the file named by its last argument.
struct Source {
    what: &'static str,
    /// A package that it uses without depending on it; built in release too.
    beside: Option<&'static str>,
    /// What cargo runs, in release.
    run: &'static [&'static str],
    /// What must be installed.
    packages: &'static [Package],
    environments: &'static [Environment],
    /// Added for a first look.
    quick: &'static [&'static str],
    reading: Reading,
}

/// How the figures are found in the document.
enum Reading {
    /// It has so many `checks`, each held against what is wanted already.
    Checks(usize),
    /// They are these.
    Figures(&'static [Figure]),
}

struct Figure {
    name: &'static str,
    /// The JSON pointer to the figure.
    of: &'static str,
    /// The one it is a multiple of.
    over: Option<&'static str>,
    wanted: Wanted,
    unit: &'static str,
}

const SOURCES: &[Source] = &[
    Source {
        what: "compare",
        beside: None,
        run: &["--package", "elastane", "--", "compare", "--json"],
        packages: &[],
        environments: &[],
        quick: &["--quick"],
        reading: Reading::Checks(9),
    },
    Source {
        what: "simulator",
        beside: None,
        run: &[
            "--package",
            "elastane",
            "--",
            "simulate",
            "--incast",
            "64",
            "--size",
            "1MiB",
            "--json",
        ],
        packages: &[],
        environments: &[],
        quick: &[],
        reading: Reading::Figures(&[
            Figure {
                name: "last completion of a 64 to 1 incast over the ideal",
                of: "/completion/last_s",
                over: Some("/completion/ideal_s"),
                wanted: Wanted { at_least: None, at_most: Some(1.5) },
                unit: "x",
            },
            Figure {
                name: "Jain fairness of a 64 to 1 incast",
                of: "/fairness",
                over: None,
                wanted: Wanted { at_least: Some(0.95), at_most: None },
                unit: "x",
            },
        ]),
    },
    Source {
        what: "memory",
        beside: None,
        run: &["--package", "elastane-fabric", "--example", "idle_peers", "--", "10000"],
        packages: &[],
        environments: &[],
        quick: &[],
        reading: Reading::Figures(&[Figure {
            name: "memory per idle known peer of 10,000",
            of: "/bytes_per_peer",
            over: None,
            wanted: Wanted { at_least: None, at_most: Some(2048.0) },
            unit: "B",
        }]),
    },
    Source {
        what: "one host",
        beside: None,
        run: &["--package", "elastane-fabric", "--example", "one_host", "--"],
        packages: &packages::PEERS,
        environments: &[],
        quick: &["--quick"],
        reading: Reading::Figures(&[
            Figure {
                name: "8 B latency over Open MPI's shared memory",
                of: "/ratios/latency_over_vader",
                over: None,
                wanted: Wanted { at_least: None, at_most: Some(1.0) },
                unit: "x",
            },
            Figure {
                name: "8 B message rate over libfabric's shared memory",
                of: "/ratios/rate_over_libfabric_shm",
                over: None,
                wanted: Wanted { at_least: Some(2.0), at_most: None },
                unit: "x",
            },
            Figure {
                name: "64 KiB bandwidth over the better of the two",
                of: "/ratios/bandwidth_64k_over_best",
                over: None,
                wanted: Wanted { at_least: Some(1.1), at_most: None },
                unit: "x",
            },
            Figure {
                name: "4 MiB bandwidth over the better of the two",
                of: "/ratios/bandwidth_4m_over_best",
                over: None,
                wanted: Wanted { at_least: Some(1.4), at_most: None },
                unit: "x",
            },
        ]),
    },
    Source {
        what: "one-sided",
        beside: None,
        run: &["--package", "elastane-perf", "--example", "one_sided", "--"],
        packages: &[],
        environments: &[],
        quick: &["--quick"],
        reading: Reading::Figures(&[
            Figure {
                name: "64 B write latency over send's",
                of: "/write_latency_over_send",
                over: None,
                wanted: Wanted { at_least: None, at_most: Some(1.1) },
                unit: "x",
            },
            Figure {
                name: "1 MiB read bandwidth over send's",
                of: "/read_bandwidth_over_send",
                over: None,
                wanted: Wanted { at_least: Some(0.95), at_most: None },
                unit: "x",
            },
        ]),
    },
    Source {
        what: "libfabric",
        beside: Some("elastane-provider"),
        run: &["--package", "elastane-fabric", "--example", "mpi", "--"],
        packages: &[packages::CC, packages::IPROUTE, packages::PYTHON_VENV],
        environments: &[wheels::OPEN_MPI],
        quick: &["--quick"],
        reading: Reading::Figures(&[
            Figure {
                name: "8 B latency of the tcp provider over ours",
                of: "/ratios/tcp_latency_over_elastane",
                over: None,
                wanted: Wanted { at_least: Some(1.2), at_most: None },
                unit: "x",
            },
            Figure {
                name: "1 MiB ping-pong bandwidth over the tcp provider's",
                of: "/ratios/bandwidth_over_tcp",
                over: None,
                wanted: Wanted { at_least: Some(1.5), at_most: None },
                unit: "x",
            },
            Figure {
                name: "64 B message rate over the tcp provider's",
                of: "/ratios/rate_over_tcp",
                over: None,
                wanted: Wanted { at_least: Some(8.0), at_most: None },
                unit: "x",
            },
            Figure {
                name: "4 MiB both ways on four paths over the tcp provider's",
                of: "/ratios/both_ways_over_tcp",
                over: None,
                wanted: Wanted { at_least: Some(3.0), at_most: None },
                unit: "x",
            },
            Figure {
                name: "8 B latency on one host over Open MPI's shared memory",
                of: "/ratios/one_host_latency_over_shared_memory",
                over: None,
                wanted: Wanted { at_least: None, at_most: Some(1.3) },
                unit: "x",
            },
            Figure {
                name: "start of 16 processes over the tcp provider's",
                of: "/ratios/start_over_tcp",
                over: None,
                wanted: Wanted { at_least: None, at_most: Some(1.0) },
                unit: "x",
            },
        ]),
    },
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Check {
    name: String,
    #[serde(alias = "network")]
    on: String,
    measured: Option<f64>,
    wanted: Wanted,
    met: bool,
    unit: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wanted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
}

#[derive(Serialize)]
struct Summary<'a> {
    format: &'static str,
    version: u32,
    checks: &'a [Check],
}

/// Measures and prints. `false` if a figure is missed, or could not be measured.
pub(crate) fn run(workspace: &Workspace, quick: bool, json: bool) -> Result<bool> {
    let folder = workspace.target_directory().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder}"))?;
    let mut checks = Vec::new();
    for source in SOURCES {
        let document = folder.join(source.what.replace(' ', "-")).with_extension("json");
        checks.extend(source.measure(workspace, &document, quick).unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", source.what);
            vec![source.not_measured("everything")]
        }));
    }
    if json {
        let summary = Summary { format: "elastane-bench", version: 1, checks: &checks };
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{}", table(&checks));
    }
    Ok(checks.iter().all(|check| check.met))
}

impl Source {
    fn measure(&self, workspace: &Workspace, out: &Utf8Path, quick: bool) -> Result<Vec<Check>> {
        packages::provide(workspace, self.packages)?;
        wheels::provide(workspace, self.environments)?;
        // What an earlier run left must not pass for a figure of this one.
        fs::write(out, "").with_context(|| format!("cannot write {out}"))?;
        if let Some(package) = self.beside {
            let mut build = workspace.command("cargo");
            build.args(["build", "--release", "--quiet", "--package", package]);
            let status = build.status().context("cannot run cargo")?;
            ensure!(status.success(), "{package} is not built: {status}");
        }
        let mut command = self.command(workspace, out, quick);
        let status = command.status().context("cannot run cargo")?;
        ensure!(status.success(), "{status}");
        let text = fs::read_to_string(out).with_context(|| format!("cannot read {out}"))?;
        self.read(&text)
    }

    fn command(&self, workspace: &Workspace, out: &Utf8Path, quick: bool) -> Command {
        let mut command = workspace.command("cargo");
        command.args(["run", "--release", "--quiet"]).args(self.run).arg(out);
        command.args(if quick { self.quick } else { &[] });
        command.stdout(Stdio::null());
        command
    }

    fn read(&self, text: &str) -> Result<Vec<Check>> {
        let document: Value = serde_json::from_str(text).context("its document is not JSON")?;
        match self.reading {
            Reading::Checks(wanted) => {
                let checks = document.get("checks").cloned().context("it checked nothing")?;
                let mut checks: Vec<Check> = serde_json::from_value(checks)?;
                if checks.len() < wanted {
                    let rest = format!("{} more figures", wanted - checks.len());
                    checks.push(self.not_measured(&rest));
                }
                Ok(checks)
            }
            Reading::Figures(figures) => {
                figures.iter().map(|figure| figure.check(self.what, &document)).collect()
            }
        }
    }

    fn not_measured(&self, what: &str) -> Check {
        Check {
            name: what.to_owned(),
            on: self.what.to_owned(),
            measured: None,
            wanted: Wanted::default(),
            met: false,
            unit: String::new(),
        }
    }
}

impl Figure {
    fn check(&self, on: &str, document: &Value) -> Result<Check> {
        let at = |pointer: &str| {
            let found = document.pointer(pointer).and_then(Value::as_f64);
            found.with_context(|| format!("its document has no figure {pointer}"))
        };
        let over = self.over.map_or(Ok(1.0), at)?;
        let measured = at(self.of)? / over;
        Ok(Check {
            name: self.name.to_owned(),
            on: on.to_owned(),
            measured: Some(measured),
            wanted: self.wanted,
            met: self.wanted.holds(measured),
            unit: self.unit.to_owned(),
        })
    }
}

fn table(checks: &[Check]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["on", "measure", "measured", "wanted", "met"]);
    for check in checks {
        let measured = match check.measured {
            Some(value) => figure(value, &check.unit),
            None => "not measured".to_owned(),
        };
        let met = if check.met { "yes" } else { "NO" };
        let wanted = check.wanted.shown(&check.unit);
        table.add_row([check.on.as_str(), &check.name, &measured, &wanted, met]);
    }
    for column in [2, 3] {
        if let Some(figures) = table.column_mut(column) {
            figures.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

impl Wanted {
    fn holds(&self, measured: f64) -> bool {
        self.at_least.is_none_or(|bound| measured >= bound)
            && self.at_most.is_none_or(|bound| measured <= bound)
    }

    fn shown(&self, unit: &str) -> String {
        match (self.at_least, self.at_most) {
            (Some(low), Some(high)) => format!("{} - {}", figure(low, unit), figure(high, unit)),
            (Some(low), None) => format!("≥ {}", figure(low, unit)),
            (None, Some(high)) => format!("≤ {}", figure(high, unit)),
            (None, None) => String::new(),
        }
    }
}

/// A figure in the unit that people use for it.
fn figure(value: f64, unit: &str) -> String {
    match unit {
        "x" => format!("{value:.2}"),
        "B/s" => format!("{:.2} Gb/s", value * 8.0 / 1e9),
        "s" => format!("{:.3} ms", value * 1e3),
        "B" => format!("{:.2} KiB", value / 1024.0),
        _ => format!("{value} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"format": "elastane-compare", "version": 1, "checks": [
        {"name": "bandwidth over TCP", "network": "flat", "measured": 1.834,
         "wanted": {"at_least": 1.6}, "met": true, "unit": "x"},
        {"name": "longest stall", "network": "path-cut", "measured": null,
         "wanted": {"at_most": 0.02}, "met": false, "unit": "s"}]}"#;

    fn source(reading: Reading) -> Source {
        Source {
            what: "compare",
            beside: None,
            run: &[],
            packages: &[],
            environments: &[],
            quick: &[],
            reading,
        }
    }

    #[test]
    fn document_with_enough_checks_is_read() {
        let checks = source(Reading::Checks(2)).read(DOCUMENT).unwrap();
        assert_eq!((checks[0].on.as_str(), checks[0].measured), ("flat", Some(1.834)));
        assert_eq!(checks[1].wanted, Wanted { at_least: None, at_most: Some(0.02) });
    }

    #[test]
    fn document_that_lacks_a_check_has_a_row_that_is_not_met() {
        let checks = source(Reading::Checks(4)).read(DOCUMENT).unwrap();
        assert_eq!(checks.len(), 3);
        assert_eq!((checks[2].name.as_str(), checks[2].met), ("2 more figures", false));
    }

    #[test]
    fn figures_are_found_by_their_pointers_and_held_against_what_is_wanted() {
        let incast = &SOURCES[1];
        let document = |last: f64| {
            format!(r#"{{"completion": {{"last_s": {last}, "ideal_s": 2}}, "fairness": 0.97}}"#)
        };
        let checks = incast.read(&document(3.0)).unwrap();
        assert_eq!(checks.iter().map(|c| c.measured).collect::<Vec<_>>(), [Some(1.5), Some(0.97)]);
        assert!(checks.iter().all(|check| check.met));
        assert!(!incast.read(&document(3.1)).unwrap()[0].met);
        assert!(incast.read(r#"{"fairness": 0.97}"#).is_err());
    }

    #[test]
    fn table_shows_what_was_measured_and_what_was_missed() {
        let text = table(&source(Reading::Checks(2)).read(DOCUMENT).unwrap());
        let rows: Vec<Vec<_>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert!(rows.iter().any(|row| row.ends_with(&["1.83", "≥", "1.60", "yes"])), "{text}");
        let missed = ["not", "measured", "≤", "20.000", "ms", "NO"];
        assert!(rows.iter().any(|row| row.ends_with(&missed)), "{text}");
    }

    #[test]
    fn figures_are_shown_in_their_common_unit() {
        assert_eq!(figure(4.5e8, "B/s"), "3.60 Gb/s");
        assert_eq!(figure(2048.0, "B"), "2.00 KiB");
        assert_eq!(figure(3.0, "1/s"), "3 1/s");
    }
}
