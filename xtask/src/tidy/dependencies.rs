//! Which crate may use which: the architecture, as a table.

use crate::workspace::{Package, Use};

use super::Finding;

/// The document that shows the table.
pub(super) const MAP: &str = "ARCHITECTURE.md";

struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
    /// More that its tests may use.
    in_tests: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "wire",
        may_use: &[],
        in_tests: &[],
        because: "the vocabulary everything shares, so it knows nobody",
    },
    Rule { name: "memory", may_use: &[], in_tests: &[], because: "bytes and keys, no protocol" },
    Rule {
        name: "inspect",
        may_use: &[],
        in_tests: &[],
        because: "facts and documents, for whoever shows or publishes them",
    },
    Rule {
        name: "libfabric-sys",
        may_use: &[],
        in_tests: &[],
        because: "another project's declarations, as they are there",
    },
    Rule {
        name: "srd",
        may_use: &["wire"],
        in_tests: &["sim"],
        because: "sans-IO: a transport that sees a device or a message would depend on it",
    },
    Rule {
        name: "message",
        may_use: &["wire", "srd", "memory"],
        in_tests: &["sim"],
        because: "sans-IO: messages ride on reliable datagrams, whoever carries those",
    },
    Rule {
        name: "io",
        may_use: &["wire"],
        in_tests: &["hosts"],
        because: "devices carry datagrams of any protocol",
    },
    Rule {
        name: "fabric",
        may_use: &["wire", "srd", "message", "memory", "io", "inspect"],
        in_tests: &["hosts"],
        because: "the only place where protocol, devices and clock meet",
    },
    Rule {
        name: "hosts",
        may_use: &[],
        in_tests: &[],
        because: "hosts and networks of this machine, for any program",
    },
    Rule {
        name: "cloud",
        may_use: &["hosts"],
        in_tests: &[],
        because: "EC2's records, and hosts as its machines",
    },
    Rule {
        name: "cluster",
        may_use: &["cloud"],
        in_tests: &[],
        because: "speaks EC2 only: whose EC2 it is, the endpoint says",
    },
    Rule {
        name: "perf",
        may_use: &["fabric", "wire", "memory", "libfabric-sys"],
        in_tests: &["hosts"],
        because: "measures through the public API, and other providers of libfabric beside; who \
                  makes the hosts is the caller's choice",
    },
    Rule {
        name: "provider",
        may_use: &["fabric", "libfabric-sys"],
        in_tests: &["hosts"],
        because: "the public API in libfabric's words",
    },
    Rule {
        name: "sim",
        may_use: &["wire", "srd", "message", "memory"],
        in_tests: &[],
        because: "runs the shipped protocol code on virtual time, without a device",
    },
    Rule {
        name: "cli",
        may_use: &[
            "wire", "srd", "message", "memory", "io", "fabric", "hosts", "cloud", "cluster",
            "perf", "sim", "inspect",
        ],
        in_tests: &[],
        because: "joins everything into one command",
    },
    Rule {
        name: "xtask",
        may_use: &[],
        in_tests: &[],
        because: "must build and run when nothing else does",
    },
];

/// Finds edges that the table does not have, and crates that it does not know.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        match RULES.iter().find(|rule| rule.name == package.name) {
            Some(rule) => findings.extend(check_edges(rule, package)),
            None => findings.push(Finding::new(
                "xtask/src/tidy/dependencies.rs",
                0,
                format!("crate {} is not in the table: say what it may use", package.name),
            )),
        }
    }
    findings
}

fn check_edges(rule: &Rule, package: &Package) -> Vec<Finding> {
    let allowed = |edge: &Use| {
        rule.may_use.contains(&edge.name.as_str())
            || edge.only_in_tests && rule.in_tests.contains(&edge.name.as_str())
    };
    let manifest = match rule.name {
        "xtask" => "xtask/Cargo.toml".to_owned(),
        name => format!("crates/{name}/Cargo.toml"),
    };
    let forbidden = package.uses.iter().filter(|edge| !allowed(edge));
    forbidden
        .map(|edge| {
            let place = if edge.only_in_tests { " in tests" } else { "" };
            let message = format!(
                "{} must not use {}{place}: it may use {} ({})",
                rule.name,
                edge.name,
                listed(rule.may_use),
                rule.because
            );
            Finding::new(&manifest, 0, message)
        })
        .collect()
}

/// Finds rows of the table that the architecture document lacks or has otherwise.
pub(super) fn check_map(document: &str) -> Vec<Finding> {
    let squeezed: Vec<_> = document.lines().map(squeeze).collect();
    let rows = RULES.iter().map(row);
    rows.filter(|row| !squeezed.contains(&squeeze(row)))
        .map(|row| Finding::new(MAP, 0, format!("the table of who may use whom lacks: {row}")))
        .collect()
}

fn row(rule: &Rule) -> String {
    format!("| `{}` | {} | {} |", rule.name, listed(rule.may_use), rule.because)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The line with runs of spaces made one, so that columns may be aligned.
fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, bool)]) -> Package {
        let edge = |&(name, only_in_tests): &(&str, bool)| Use { name: name.into(), only_in_tests };
        Package { name: name.into(), roots: vec![], uses: uses.iter().map(edge).collect() }
    }

    #[test]
    fn transport_that_uses_a_device_is_caught() {
        let found = check(&[package("srd", &[("wire", false), ("io", false)])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.starts_with("srd must not use io: it may use `wire`"));
    }

    #[test]
    fn edge_of_tests_is_allowed_in_tests_only() {
        assert_eq!(check(&[package("srd", &[("sim", true)])]), []);
        assert_eq!(check(&[package("srd", &[("sim", false)])]).len(), 1);
    }

    #[test]
    fn crate_without_a_row_is_caught() {
        assert_eq!(check(&[package("util", &[])]).len(), 1);
    }

    #[test]
    fn table_has_no_cycle_and_names_only_itself() {
        // Rows are sorted so that each uses only rows above it.
        let mut above: Vec<&str> = Vec::new();
        for rule in RULES {
            assert!(rule.may_use.iter().all(|used| above.contains(used)), "{}", rule.name);
            above.push(rule.name);
        }
    }

    #[test]
    fn transport_and_devices_never_see_each_other() {
        let rule = |name| RULES.iter().find(|rule| rule.name == name).unwrap();
        for (one, other) in [("srd", "io"), ("io", "srd")] {
            assert!(!rule(one).may_use.contains(&other));
            assert!(!rule(one).in_tests.contains(&other));
        }
    }

    #[test]
    fn document_with_every_row_passes_and_with_a_changed_one_fails() {
        let document = RULES.iter().map(row).collect::<Vec<_>>().join("\n");
        assert_eq!(check_map(&document), []);
        let changed = document.replace("| `io` | `wire` |", "| `io` | `wire`, `srd` |");
        assert_eq!(check_map(&changed).len(), 1);
    }
}
