//! The `elastane` command: argument parsing and output; MPIs are found and their launchers started.
#![forbid(unsafe_code)]

mod address;
mod args;
mod cloud;
mod cluster;
mod compare;
mod info;
mod install;
mod install_links;
mod interrupt;
mod logging;
mod mpi;
mod output;
mod pcluster;
mod perf_command;
mod perftest;
mod progress;
mod quantity;
mod run;
mod serve;
mod simulate;
mod top;
mod worker;

use std::process::ExitCode;

use anyhow::Result;

use args::{Cli, Command};
use interrupt::Interrupts;

/// What the exit status says of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// It checked something, which failed.
    Failed,
}

/// Usage or set-up was wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    if let Err(error) = logging::start() {
        output::say(&format!("elastane: {error}"));
        return WRONG.into();
    }
    if let Some(tool) = perftest::Tool::invoked() {
        return perftest::run(tool);
    }
    if pcluster::is_invoked() {
        return pcluster::run();
    }
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    // It passes signals on instead of ending by them.
    if let Command::Run(args) = &cli.command {
        return run::run(args).unwrap_or_else(|error| complain(&error));
    }
    let interrupts = match Interrupts::install() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            output::say(&format!("elastane: cannot listen for signals: {error}"));
            return WRONG.into();
        }
    };
    match perform(cli, &interrupts) {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::FAILURE,
        Err(error) => {
            interrupts.end_if_interrupted();
            complain(&error)
        }
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    output::say(&format!("elastane: {}", output::one_line(&format!("{error:#}"))));
    WRONG.into()
}

fn perform(cli: Cli, interrupts: &Interrupts) -> Result<Verdict> {
    match cli.command {
        Command::Compare(args) => compare::run(&args, interrupts),
        Command::Serve(args) => serve::run(&args),
        Command::Perf(args) => perf_command::run(&args),
        Command::Run(_) => unreachable!("it has its own signals and exit status"),
        Command::Install(args) => install::run(&args),
        Command::InstallLinks(args) => install_links::run(&args),
        Command::Simulate(args) => simulate::run(&args, interrupts),
        Command::Info(args) => info::run(&args),
        Command::Cloud(args) => cloud::run(&args, interrupts),
        Command::Cluster(args) => cluster::run(&args, interrupts),
        Command::Top(args) => top::run(&args, interrupts),
        Command::Measure => compare::measure_as_told(),
    }
}
