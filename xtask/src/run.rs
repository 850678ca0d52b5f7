//! Running the steps: headings, times, a summary.

use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::{
    packages,
    steps::{Settings, Step},
    wheels,
    workspace::Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

struct Entry {
    step: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Sets up, runs `steps` and prints a summary. `false` if a step failed.
pub(crate) fn run(
    workspace: &Workspace,
    steps: &[&'static Step],
    settings: Settings,
    keep_going: bool,
) -> Result<bool> {
    heading("set-up");
    let needed: Vec<_> = steps.iter().flat_map(|step| step.packages.concat()).collect();
    packages::provide(workspace, &needed)?;
    for step in steps {
        wheels::provide(workspace, step.environments())?;
        if step.runs_applications() {
            wheels::provide_tests_of_mpi4py(workspace)?;
        }
    }

    let mut entries: Vec<Entry> = Vec::new();
    for step in steps {
        let failed = entries.iter().any(|entry| entry.outcome == Outcome::Failed);
        let entry = if failed && !keep_going {
            Entry { step: step.name, outcome: Outcome::NotRun, took: Duration::ZERO }
        } else {
            run_step(workspace, step, settings)?
        };
        entries.push(entry);
    }
    println!("{}", summary(&entries));
    Ok(entries.iter().all(|entry| entry.outcome == Outcome::Passed))
}

fn run_step(workspace: &Workspace, step: &Step, settings: Settings) -> Result<Entry> {
    heading(step.name);
    let start = now();
    let outcome = if step.run(workspace, settings)? { Outcome::Passed } else { Outcome::Failed };
    let took = now().duration_since(start);
    let verdict = if outcome == Outcome::Passed { "passed" } else { "failed" };
    println!("{}: {verdict} in {:.1} s", step.name, took.as_secs_f64());
    Ok(Entry { step: step.name, outcome, took })
}

fn heading(name: &str) {
    println!("\n=== {name} ===");
}

fn summary(entries: &[Entry]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for entry in entries {
        let took = format!("{:.1} s", entry.took.as_secs_f64());
        let (outcome, took) = match entry.outcome {
            Outcome::Passed => ("passed", took),
            Outcome::Failed => ("FAILED", took),
            Outcome::NotRun => ("not run", String::new()),
        };
        table.add_row([entry.step, outcome, &took]);
    }
    if let Some(times) = table.column_mut(2) {
        times.set_cell_alignment(CellAlignment::Right);
    }
    let count = |outcome| entries.iter().filter(|entry| entry.outcome == outcome).count();
    let mut text = format!("\n=== summary ===\n{table}\n");
    for entry in entries.iter().filter(|entry| entry.outcome == Outcome::Failed) {
        text += &format!("to run it again: cargo xtask test --only {}\n", entry.step);
    }
    text + &format!("{} passed, {} failed", count(Outcome::Passed), count(Outcome::Failed))
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the chores: how long steps take")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: &'static str, outcome: Outcome) -> Entry {
        Entry { step, outcome, took: Duration::from_millis(1500) }
    }

    #[test]
    fn summary_ends_with_the_counts_alone_on_a_line() {
        let entries = [
            entry("fmt", Outcome::Passed),
            entry("clippy", Outcome::Failed),
            entry("tests", Outcome::NotRun),
        ];
        assert_eq!(summary(&entries).lines().last(), Some("1 passed, 1 failed"));
    }

    #[test]
    fn summary_says_how_to_repeat_a_failed_step() {
        let text = summary(&[entry("clippy", Outcome::Failed)]);
        assert!(text.contains("to run it again: cargo xtask test --only clippy\n"), "{text}");
    }

    #[test]
    fn summary_shows_each_step_with_its_time() {
        let text = summary(&[entry("fmt", Outcome::Passed)]);
        let row = text.lines().find(|line| line.trim_start().starts_with("fmt")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["fmt", "passed", "1.5", "s"]);
    }
}
