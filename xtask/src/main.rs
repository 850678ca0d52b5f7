//! The project's own chores.
#![forbid(unsafe_code)]

mod bench;
mod packages;
mod run;
mod steps;
mod tidy;
mod wheels;
mod workspace;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use crate::{steps::Settings, workspace::Workspace};

/// The project's own chores.
///
/// Exit codes: 0 all is well, 1 something was checked and failed, 2 wrong usage or a set-up that
/// could not be made.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Set this machine up and run every check and every test
    Test(TestArgs),
    /// Check the rules that compilers and lints do not know
    Tidy,
    /// Measure, and hold every figure against the one that is wanted
    Bench(BenchArgs),
    /// Let endpoints send, and be killed and stopped, for as long as asked, and check every message
    Soak(SoakArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask test                                everything, up to the first failure
  cargo xtask test --only fmt --only clippy       two steps
  cargo xtask test --only fuzz --fuzz-seconds 600 a long search for hostile input")]
struct TestArgs {
    /// Run only this step (may be given several times)
    #[arg(long, value_name = "STEP", value_parser = steps::names())]
    only: Vec<String>,
    /// Print the steps and what each does, and run nothing
    #[arg(long)]
    list: bool,
    /// Run the remaining steps after one failed
    #[arg(long)]
    keep_going: bool,
    /// Seconds each fuzzed property is given
    #[arg(long, value_name = "N", default_value_t = 5)]
    fuzz_seconds: u32,
}

#[derive(Args)]
#[command(after_help = "Example:
  cargo xtask bench --quick                       a first look, in some minutes")]
struct BenchArgs {
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Shorter runs, rougher figures
    #[arg(long)]
    quick: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  cargo xtask soak --minutes 30                   half an hour")]
struct SoakArgs {
    /// Minutes, parts of one too
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true)]
    minutes: String,
    /// What chance follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match perform(&cli.chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well; an error is one of usage or set-up.
fn perform(chore: &Chore) -> anyhow::Result<bool> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Test(args) if args.list => {
            steps::print_list();
            Ok(true)
        }
        Chore::Test(args) => {
            let settings = Settings { fuzz_seconds: args.fuzz_seconds };
            run::run(&workspace, &steps::selected(&args.only), settings, args.keep_going)
        }
        Chore::Tidy => tidy::report(&workspace),
        Chore::Bench(args) => bench::run(&workspace, args.quick, args.json),
        Chore::Soak(args) => {
            let mut command = workspace.command("cargo");
            command.args(["run", "--release", "--package", "elastane-fabric", "--example", "soak"]);
            command.args(["--", &args.minutes, &args.seed.to_string()]);
            match command.status()?.code() {
                Some(0) => Ok(true),
                Some(1) => Ok(false),
                // It has said why.
                _ => bail!("the soak did not run"),
            }
        }
    }
}
