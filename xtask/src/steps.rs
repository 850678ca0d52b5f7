//! The steps of the test command.
//!
//! Test targets find their step by name: `hostile_*` are fuzzers, `random_seeds*` run the
//! simulator, `end_to_end*` run real processes on a real network, `applications*` other people's
//! programs, all others are ordinary tests.

use std::process::Command;

use anyhow::Result;

use crate::{
    packages::{
        CC, FI_INFO, GIT, INSTANCES, IPERF3, IPROUTE, LIBFABRIC, NFTABLES, OPEN_MPI, PEERS,
        PYTHON_VENV, Package, SLURM, SOLVERS,
    },
    tidy,
    wheels::{self, Environment},
    workspace::Workspace,
};

pub(crate) struct Step {
    pub(crate) name: &'static str,
    what: &'static str,
    /// In groups that other steps share.
    pub(crate) packages: &'static [&'static [Package]],
    work: Work,
}

enum Work {
    /// Commands, all of which must succeed.
    Commands(fn(&Workspace, Settings) -> Vec<Command>),
    Tidy,
    /// The test targets of a kind, as one command.
    Targets(Kind, fn(&mut TestCommand, Settings)),
}

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) fuzz_seconds: u32,
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the code is formatted",
        packages: &[],
        work: Work::Commands(|workspace, _| vec![cargo(workspace, &["fmt", "--all", "--check"])]),
    },
    Step {
        name: "tidy",
        what: "the rules that compilers and lints do not know",
        packages: &[&[GIT]],
        work: Work::Tidy,
    },
    Step {
        name: "chores",
        what: "the tests of these chores",
        packages: &[&[GIT]],
        work: Work::Commands(|workspace, _| {
            vec![cargo(workspace, &["test", "--package", "xtask", "--profile", "chores"])]
        }),
    },
    Step {
        name: "clippy",
        what: "no lint on any target",
        packages: &[],
        work: Work::Commands(|workspace, _| {
            let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            vec![cargo(workspace, &arguments)]
        }),
    },
    Step {
        name: "rustdoc",
        what: "the documentation builds without a warning, and its examples run",
        packages: &[],
        work: Work::Commands(|workspace, _| {
            let mut build = cargo(workspace, &["doc", "--workspace", "--no-deps"]);
            build.env("RUSTDOCFLAGS", "-D warnings");
            vec![build, cargo(workspace, &["test", "--workspace", "--exclude", "xtask", "--doc"])]
        }),
    },
    Step {
        name: "tests",
        what: "unit and integration tests",
        packages: &[&[LIBFABRIC, CC, FI_INFO, IPROUTE], &INSTANCES],
        work: Work::Targets(Kind::Ordinary, |command, _| command.with_units()),
    },
    Step {
        name: "simulator",
        what: "random networks, faults and workloads, each from a seed",
        packages: &[],
        work: Work::Targets(Kind::Simulator, |_, _| {}),
    },
    Step {
        name: "fuzz",
        what: "hostile bytes, for a few seconds per property",
        packages: &[],
        work: Work::Targets(Kind::Fuzz, |command, settings| {
            let milliseconds = u64::from(settings.fuzz_seconds) * 1000;
            command.with_env("BOLERO_RANDOM_TEST_TIME_MS", milliseconds.to_string());
        }),
    },
    Step {
        name: "end-to-end",
        what: "real processes on a network of namespaces, one test at a time",
        packages: &[&[IPERF3, PYTHON_VENV, FI_INFO, IPROUTE], &PEERS, &INSTANCES, &SLURM],
        work: Work::Targets(Kind::EndToEnd, |command, _| command.one_at_a_time()),
    },
    Step {
        name: "applications",
        what: "applications of MPI from their packages, over the provider",
        packages: &[&[NFTABLES, OPEN_MPI, PYTHON_VENV], &SOLVERS],
        work: Work::Targets(Kind::Applications, |command, _| command.one_at_a_time()),
    },
];

impl Step {
    /// What is to be installed for it beside its packages.
    pub(crate) fn environments(&self) -> &'static [Environment] {
        match self.work {
            Work::Targets(Kind::EndToEnd, _) => wheels::END_TO_END,
            Work::Targets(Kind::Applications, _) => wheels::MPIS,
            _ => &[],
        }
    }

    /// Whether the tests of mpi4py are among what it runs.
    pub(crate) fn runs_applications(&self) -> bool {
        matches!(self.work, Work::Targets(Kind::Applications, _))
    }

    /// Runs the step; `false` if it failed.
    pub(crate) fn run(&self, workspace: &Workspace, settings: Settings) -> Result<bool> {
        match self.work {
            Work::Tidy => tidy::report(workspace),
            Work::Commands(commands) => {
                for command in &mut commands(workspace, settings) {
                    if !succeeds(command)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Work::Targets(kind, prepare) => {
                let targets = kind.of(workspace.test_targets());
                // A step that runs nothing must not look like one that found nothing.
                if targets.is_empty() {
                    println!("there is no test target of this kind: {}*", kind.prefix());
                    return Ok(false);
                }
                let mut command = TestCommand::new(workspace, &targets);
                prepare(&mut command, settings);
                succeeds(&mut command.finish())
            }
        }
    }
}

/// The names of all steps.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// The steps with the names in `only`, all if there are none; in the order they run in.
pub(crate) fn selected(only: &[String]) -> Vec<&'static Step> {
    let wanted = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    STEPS.iter().filter(wanted).collect()
}

pub(crate) fn print_list() {
    for step in STEPS {
        println!("{:<12}{}", step.name, step.what);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Simulator,
    Fuzz,
    EndToEnd,
    Applications,
}

impl Kind {
    const PREFIXED: [Self; 4] = [Self::Simulator, Self::Fuzz, Self::EndToEnd, Self::Applications];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Ordinary => "",
            Self::Simulator => "random_seeds",
            Self::Fuzz => "hostile_",
            Self::EndToEnd => "end_to_end",
            Self::Applications => "applications",
        }
    }

    fn of_target(name: &str) -> Self {
        let found = Self::PREFIXED.into_iter().find(|kind| name.starts_with(kind.prefix()));
        found.unwrap_or(Self::Ordinary)
    }

    fn of(self, targets: Vec<String>) -> Vec<String> {
        targets.into_iter().filter(|name| Self::of_target(name) == self).collect()
    }
}

/// `cargo nextest run` where it is installed, else `cargo test`.
struct TestCommand {
    command: Command,
    nextest: bool,
    serial: bool,
}

impl TestCommand {
    fn new(workspace: &Workspace, targets: &[String]) -> Self {
        let nextest = has_nextest(workspace);
        let runner: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
        // Always the whole workspace, so that features are unified the same way in each step and
        // nothing is built twice. The chores have a step and a profile of their own.
        let mut command = cargo(workspace, runner);
        command.args(["--workspace", "--exclude", "xtask", "--no-fail-fast"]);
        for target in targets {
            command.args(["--test", target]);
        }
        Self { command, nextest, serial: false }
    }

    fn with_units(&mut self) {
        self.command.args(["--lib", "--bins"]);
    }

    fn with_env(&mut self, name: &str, value: String) {
        self.command.env(name, value);
    }

    fn one_at_a_time(&mut self) {
        self.serial = true;
    }

    fn finish(mut self) -> Command {
        if self.serial {
            let serially: &[_] =
                if self.nextest { &["--test-threads=1"] } else { &["--", "--test-threads=1"] };
            self.command.args(serially);
        }
        self.command
    }
}

fn has_nextest(workspace: &Workspace) -> bool {
    let probe = cargo(workspace, &["nextest", "--version"]).output();
    probe.is_ok_and(|output| output.status.success())
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command("cargo");
    command.args(arguments);
    command
}

fn succeeds(command: &mut Command) -> Result<bool> {
    let line: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    println!("$ {}", line.join(" "));
    Ok(command.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_targets_find_their_step_by_name() {
        let of = Kind::of_target;
        assert_eq!(of("hostile_bytes"), Kind::Fuzz);
        assert_eq!(of("random_seeds"), Kind::Simulator);
        assert_eq!(of("end_to_end_compare"), Kind::EndToEnd);
        assert_eq!(of("applications"), Kind::Applications);
        assert_eq!(of("network"), Kind::Ordinary);
    }

    #[test]
    fn no_selection_means_every_step_in_order() {
        let all: Vec<_> = selected(&[]).iter().map(|step| step.name).collect();
        assert_eq!(all, names());
    }

    #[test]
    fn selection_keeps_the_order_of_the_list() {
        let wanted = ["fuzz".to_owned(), "fmt".to_owned()];
        let order: Vec<_> = selected(&wanted).iter().map(|step| step.name).collect();
        assert_eq!(order, ["fmt", "fuzz"]);
    }
}
