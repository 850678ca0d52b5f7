//! What `elastane cluster` can be told.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::{cloud::StateDirectory, output::Destination};

/// Clusters with Slurm, from ParallelCluster's configuration files, in the local cloud.
///
/// A cluster has a head node, queues whose nodes start when jobs need them and stop when idle, and
/// folders that all nodes share. `elastane cloud up` comes first. Called by the name `pcluster`
/// (see `elastane install-links`), this program takes ParallelCluster's own verbs and options.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cloud up
  elastane cluster configure --config cluster.yaml
  elastane cluster create test --config cluster.yaml
  elastane cluster ssh test -- sbatch script.sh
  elastane cluster describe test
  elastane cluster delete test")]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub state: StateDirectory,

    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check a configuration file, without a cloud.
    Validate(ValidateArgs),
    /// Write a configuration file from answers to questions.
    Configure(ConfigureArgs),
    /// Make a cluster.
    Create(CreateArgs),
    /// List the clusters.
    List(ListArgs),
    /// Say how a cluster is, and what its jobs and nodes wait for.
    Describe(ShowArgs),
    /// Change a cluster to another configuration.
    Update(UpdateArgs),
    /// Take a cluster away.
    Delete(DeleteArgs),
    /// Log in to the head node, or run a command there.
    Ssh(SshArgs),
    /// List the instances of a cluster.
    DescribeInstances(ShowArgs),
    /// Say whether compute nodes may run.
    DescribeFleet(ShowArgs),
    /// Start or stop the compute fleet.
    UpdateFleet(UpdateFleetArgs),
    /// Write all logs of a cluster to an archive.
    ExportLogs(ExportLogsArgs),
    /// Be a node; instances run it.
    #[command(hide = true)]
    Node(NodeArgs),
    /// Pass a request of Slurm's on; the head node runs it.
    #[command(hide = true)]
    Told(ToldArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster validate cluster.yaml --json

Exit status: 0 a cluster can be made of it; 1 it cannot; 2 the file cannot be read.")]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub file: ConfigurationFile,

    /// Leave out findings: ALL, or type:VALIDATOR.
    #[arg(long, value_name = "WORD", num_args = 1..)]
    pub suppress_validators: Vec<String>,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

/// A configuration, named as other programs that check files want it, or as other verbs do.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigurationFile {
    /// The configuration.
    #[arg(value_name = "FILE")]
    named: Option<PathBuf>,

    /// The same, as other verbs have it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigurationFile {
    pub(crate) fn path(&self) -> &Path {
        self.named.as_deref().or(self.config.as_deref()).unwrap_or(Path::new(""))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster configure --config cluster.yaml --region eu-west-1

Exit status: 0 written; 2 not written.")]
pub(crate) struct ConfigureArgs {
    /// Where the configuration goes; a file that is there is kept unless it is to be replaced.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,

    /// The region; asked for without.
    #[arg(short, long, value_name = "NAME")]
    pub region: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cluster create test --config cluster.yaml
  elastane cluster create test -c cluster.yaml --dryrun

Exit status: 0 it is complete, with --no-wait begun; 1 it could not be made; 2 nothing was begun.")]
pub(crate) struct CreateArgs {
    /// The name.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,

    /// The region, if the file names none.
    #[arg(short, long, value_name = "NAME")]
    pub region: Option<String>,

    /// Only check whether it could be made.
    #[arg(long)]
    pub dryrun: bool,

    /// Keep what was made of a cluster that could not be made, to look at it.
    #[arg(long)]
    pub keep: bool,

    /// Return once the head node is launched.
    #[arg(long)]
    pub no_wait: bool,

    /// Leave out findings: ALL, or type:VALIDATOR.
    #[arg(long, value_name = "WORD", num_args = 1..)]
    pub suppress_validators: Vec<String>,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster list --json | jq -r .clusters[].clusterName")]
pub(crate) struct ListArgs {
    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster describe test --json

Exit status: 0 shown; 2 there is none.")]
pub(crate) struct ShowArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cluster update test --config cluster.yaml --dryrun    # what would change
  elastane cluster update test --config cluster.yaml

Exit status: 0 changed, or nothing to change; 1 it cannot be changed like this; 2 wrong usage.")]
pub(crate) struct UpdateArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The new configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,

    /// Only show what would change, and whether it could.
    #[arg(long)]
    pub dryrun: bool,

    /// Change it whatever it takes.
    #[arg(long)]
    pub force: bool,

    /// Leave out findings: ALL, or type:VALIDATOR.
    #[arg(long, value_name = "WORD", num_args = 1..)]
    pub suppress_validators: Vec<String>,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster delete test

Exit status: 0 nothing of it is left; 2 something is.")]
pub(crate) struct DeleteArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cluster ssh test -i key.pem
  elastane cluster ssh test -i key.pem -- squeue

Exit status: that of ssh.")]
pub(crate) struct SshArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The private key of the key pair that the configuration names.
    #[arg(short, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Only print the command.
    #[arg(long)]
    pub dryrun: bool,

    /// What ssh gets besides: options, or a command to run there.
    #[arg(value_name = "ARGUMENT", last = true)]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster update-fleet test --status STOP_REQUESTED")]
pub(crate) struct UpdateFleetArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What is asked for.
    #[arg(long, value_name = "STATUS")]
    pub status: FleetRequest,

    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,
}

/// What can be asked of the compute fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FleetRequest {
    /// Compute nodes may run.
    #[value(name = "START_REQUESTED")]
    Start,
    /// They may not, and those that run end.
    #[value(name = "STOP_REQUESTED")]
    Stop,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cluster export-logs test --output-file logs.tar.gz")]
pub(crate) struct ExportLogsArgs {
    /// The cluster.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The archive, gzipped tar; `-` prints it.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<Destination>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Which kind.
    pub role: Role,
}

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Where the scheduler runs.
    Head,
    /// Where jobs run.
    Compute,
}

#[derive(Debug, Args)]
pub(crate) struct ToldArgs {
    /// What Slurm asks.
    pub what: Told,

    /// The nodes, as Slurm lists them.
    pub nodes: Option<String>,
}

/// What Slurm asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Told {
    /// Nodes are needed.
    Resume,
    /// Nodes are not needed any more.
    Suspend,
    /// A job waits for its nodes.
    Prolog,
}
