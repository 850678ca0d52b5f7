//! `elastane run`: an MPI program over the provider, with whatever MPI is installed.

mod launch;
mod verdict;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    mpi::{
        self, Kind,
        launchers::{self, Launcher},
        libfabric,
        program::{self, Linked},
        provider,
        variables::{self, Variable},
    },
    output,
};

/// Run an MPI program over the provider.
///
/// Finds the MPI that the program is linked with, finds the provider's library, sets the variables
/// that this MPI needs, and starts the ranks with its launcher. Afterwards one line on standard
/// error tells whether every rank used the provider. docs/mpi.md has the variables and the reasons.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane run -n 4 ./my-program input
  elastane run -n 8 --hosts node1,node2 ./my-program
  elastane run -n 2 --mpi openmpi --launcher-arg=--allow-run-as-root python3 ring.py
  eval \"$(elastane run --print-env --mpi mpich)\"

Exit status: that of the launcher; 128 and the signal's number if a signal ended it; 2 if nothing
was started.")]
pub(crate) struct RunArgs {
    /// How many ranks to start.
    #[arg(short = 'n', long = "ranks", value_name = "N", required_unless_present = "print_env",
          value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Option<u32>,

    /// Whose launcher to use; `auto` asks the program.
    #[arg(long, value_name = "MPI", default_value = "auto")]
    mpi: Choice,

    /// Start the ranks on these hosts, in equal shares.
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = host)]
    hosts: Vec<String>,

    /// Let the provider answer to the name `efa`.
    #[arg(long)]
    efa_name: bool,

    /// The provider's library; else it is looked for on FI_PROVIDER_PATH, beside this program and
    /// where libfabric looks.
    #[arg(long, value_name = "PATH")]
    provider_library: Option<PathBuf>,

    /// Collect what the ranks report in this folder, which all hosts share; else ranks of this host
    /// alone can report.
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,

    /// An argument for the launcher itself (may be given several times).
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    launcher_arg: Vec<OsString>,

    /// Print the variables as lines for a shell, and start nothing.
    #[arg(long, conflicts_with_all = ["ranks", "hosts", "reports", "launcher_arg"])]
    print_env: bool,

    /// Print the variables as a JSON document.
    #[arg(long)]
    json: bool,

    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "print_env"
    )]
    program: Vec<OsString>,
}

/// What `--mpi` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// The one the program is linked with, else the first on the PATH.
    Auto,
    /// Open MPI.
    Openmpi,
    /// MPICH.
    Mpich,
    /// Intel MPI.
    Intel,
}

impl Choice {
    const fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Openmpi => Some(Kind::OpenMpi),
            Self::Mpich => Some(Kind::Mpich),
            Self::Intel => Some(Kind::Intel),
        }
    }
}

fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Err(format!("`{text}` is no host name; how many ranks each gets follows from -n"));
    }
    Ok(text.to_owned())
}

/// What is to be started, and with what.
struct Job {
    launcher: Launcher,
    library: PathBuf,
    variables: Vec<Variable>,
}

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    // clap asks for nothing that other options rule out.
    if args.json && !args.print_env {
        bail!("--json goes with --print-env");
    }
    let job = prepare(args)?;
    if args.print_env {
        output::print(&job.printed(args.json)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ranks = args.ranks.unwrap_or(1);
    let reports = reports(args.reports.as_deref())?;
    let folder = reports.path();
    let folder = folder.to_str().context("--reports: the folder's name is not UTF-8")?;
    let mut variables = job.variables;
    variables.push((variables::REPORT, folder.to_owned()));
    let plan = launch::Plan {
        launcher: &job.launcher,
        ranks,
        hosts: &args.hosts,
        variables: &variables,
        extra: &args.launcher_arg,
        program: &args.program,
    };
    let ended = launch::run(plan.command())?;
    // Whoever ended it early asks nothing.
    if !ended.signalled {
        let reports = verdict::read(reports.path())?;
        let only_here = !args.hosts.is_empty() && args.reports.is_none();
        output::say(&verdict::sentence(&reports, ranks, &job.launcher, only_here));
    }
    Ok(ended.status.into())
}

fn prepare(args: &RunArgs) -> Result<Job> {
    let program = args.program.first().map(Path::new);
    let found = program.and_then(mpi::find_program);
    if let (Some(name), None) = (program, &found)
        // Another host may have it.
        && args.hosts.is_empty()
    {
        bail!("no program {}: give a path, or a name on the PATH", name.display());
    }
    let linked = found.as_deref().map(program::linked).transpose()?.flatten();
    let launcher = launchers::choose(
        launchers::discover(&folders(found.as_deref())),
        args.mpi.kind(),
        linked.as_ref(),
    )?;
    check_libfabric(&launcher, linked.as_ref())?;
    let library = provider::find(args.provider_library.as_deref())?;
    let folder = provider::folder(&library)?;
    let variables = variables::variables(&launcher, &folder, args.efa_name)?;
    Ok(Job { launcher, library, variables })
}

/// Where launchers are looked for: beside the program, as in a virtual environment, and on the
/// `PATH`.
fn folders(program: Option<&Path>) -> Vec<PathBuf> {
    let beside = program.and_then(|path| path.parent()?.canonicalize().ok());
    // A program of the system tells nothing: it is up to the PATH whether its folder goes first.
    let beside =
        beside.filter(|folder| *folder != Path::new("/usr/bin") && *folder != Path::new("/bin"));
    beside.into_iter().chain(mpi::path_folders()).collect()
}

fn check_libfabric(launcher: &Launcher, linked: Option<&Linked>) -> Result<()> {
    match libfabric::of(launcher, linked)? {
        Some(libfabric) => libfabric.check(launcher.kind),
        None => Ok(()),
    }
}

/// A folder for the reports of this run, gone with the returned value.
fn reports(shared: Option<&Path>) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("elastane-run-");
    match shared {
        None => builder.tempdir().context("cannot make a folder for the ranks' reports"),
        Some(folder) => {
            let folder = fs::canonicalize(folder);
            folder.and_then(|folder| builder.tempdir_in(folder)).with_context(|| {
                format!("--reports: cannot write in {}", shared.unwrap_or(Path::new("")).display())
            })
        }
    }
}

impl Job {
    fn printed(&self, json: bool) -> Result<String> {
        let Self { launcher, library, variables } = self;
        if !json {
            return Ok(variables::exports(variables));
        }
        let values: serde_json::Map<_, _> =
            variables.iter().map(|(name, value)| (String::from(*name), json!(value))).collect();
        let document = json!({
            "mpi": launcher.kind.id(),
            "version": launcher.version,
            "launcher": launcher.path,
            "library": library,
            "variables": values,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}
