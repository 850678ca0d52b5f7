//! The original's verbs and options.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::cloud::StateDirectory;

/// ParallelCluster's commands, for clusters in the local cloud.
///
/// The clusters are those of `elastane cluster`.
#[derive(Debug, Parser)]
#[command(name = "pcluster", arg_required_else_help = true, disable_version_flag = true)]
#[command(mut_arg("directory", |argument| argument.hide(true)))]
#[command(after_help = "Example:
  pcluster create-cluster --cluster-name test --cluster-configuration cluster-config.yaml

Exit status: 0 done; 1 not done, the document says why; 2 wrong usage.")]
pub(super) struct Pcluster {
    #[command(flatten)]
    pub state: StateDirectory,

    #[command(subcommand)]
    pub verb: Verb,
}

impl Pcluster {
    pub(super) fn query(&self) -> Option<&str> {
        self.verb.common()?.query.as_deref()
    }
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    /// The region.
    #[arg(short, long)]
    pub region: Option<String>,

    /// Say more in the log.
    #[arg(long)]
    pub debug: bool,

    /// A JMESPath expression: only what it finds is printed.
    #[arg(long)]
    pub query: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Retrieve the list of existing clusters.
    ListClusters(ListArgs),
    /// Create a cluster.
    CreateCluster(CreateArgs),
    /// Initiate the deletion of a cluster.
    DeleteCluster(DeleteArgs),
    /// Get detailed information about a cluster.
    DescribeCluster(NamedArgs),
    /// Update a cluster.
    UpdateCluster(UpdateArgs),
    /// Describe the status of the compute fleet.
    DescribeComputeFleet(NamedArgs),
    /// Update the status of the compute fleet.
    UpdateComputeFleet(FleetArgs),
    /// Terminate all compute nodes of a cluster.
    DeleteClusterInstances(DeleteInstancesArgs),
    /// Describe the instances of a cluster.
    DescribeClusterInstances(InstancesArgs),
    /// Retrieve the list of logs of a cluster.
    ListClusterLogStreams(NamedArgs),
    /// Retrieve a log of a cluster.
    GetClusterLogEvents(LogArgs),
    /// Retrieve what the making of a cluster consisted of.
    GetClusterStackEvents(NamedArgs),
    /// Export the logs of a cluster to a local tar.gz archive.
    ExportClusterLogs(ExportArgs),
    /// Retrieve the list of existing custom images.
    ListImages(ImagesArgs),
    /// Start the ParallelCluster configuration.
    Configure(ConfigureArgs),
    /// Connect to the head node via SSH.
    Ssh(SshArgs),
    /// Display the version of ParallelCluster.
    Version(VersionArgs),
}

impl Verb {
    pub(super) fn common(&self) -> Option<&Common> {
        match self {
            Self::ListClusters(args) => Some(&args.common),
            Self::CreateCluster(args) => Some(&args.common),
            Self::DeleteCluster(args) => Some(&args.common),
            Self::DescribeCluster(args)
            | Self::DescribeComputeFleet(args)
            | Self::ListClusterLogStreams(args)
            | Self::GetClusterStackEvents(args) => Some(&args.common),
            Self::UpdateCluster(args) => Some(&args.common),
            Self::UpdateComputeFleet(args) => Some(&args.common),
            Self::DeleteClusterInstances(args) => Some(&args.common),
            Self::DescribeClusterInstances(args) => Some(&args.common),
            Self::GetClusterLogEvents(args) => Some(&args.common),
            Self::ExportClusterLogs(args) => Some(&args.common),
            Self::ListImages(args) => Some(&args.common),
            Self::Configure(_) | Self::Ssh(_) | Self::Version(_) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub common: Common,

    /// Only clusters with these statuses.
    #[arg(long, value_name = "STATUS", num_args = 1..)]
    pub cluster_status: Vec<String>,

    /// Where a list goes on; all clusters fit one.
    #[arg(long)]
    pub next_token: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NamedArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,
}

/// How a configuration is checked.
#[derive(Debug, Args)]
pub(super) struct Checks {
    /// Validators to suppress: ALL, or type:NAME.
    #[arg(long, num_args = 1..)]
    pub suppress_validators: Vec<String>,

    /// From which level on findings make it fail.
    #[arg(long, default_value = "ERROR")]
    pub validation_failure_level: FailureLevel,

    /// Only perform request validation.
    #[arg(long, value_name = "true|false", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "false")]
    pub dryrun: bool,
}

/// A level of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FailureLevel {
    #[value(name = "INFO")]
    Info,
    #[value(name = "WARNING")]
    Warning,
    #[value(name = "ERROR")]
    Error,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster to be created.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// The configuration file.
    #[arg(short = 'c', long)]
    pub cluster_configuration: PathBuf,

    #[command(flatten)]
    pub checks: Checks,

    /// Whether what was made is taken away on failure.
    #[arg(long, value_name = "true|false", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "true")]
    pub rollback_on_failure: bool,

    /// Wait until it is complete.
    #[arg(long, hide = true)]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// The configuration file.
    #[arg(short = 'c', long)]
    pub cluster_configuration: PathBuf,

    #[command(flatten)]
    pub checks: Checks,

    /// Force the update by ignoring what it takes.
    #[arg(long, value_name = "true|false", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "false")]
    pub force_update: bool,

    /// Wait until it is complete.
    #[arg(long, hide = true)]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// Wait until it is gone.
    #[arg(long, hide = true)]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteInstancesArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// Force the deletion also when the cluster is not found.
    #[arg(long, value_name = "true|false", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "false")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// The status to set.
    #[arg(long)]
    pub status: FleetStatus,
}

/// A status that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FleetStatus {
    #[value(name = "START_REQUESTED")]
    Start,
    #[value(name = "STOP_REQUESTED")]
    Stop,
}

#[derive(Debug, Args)]
pub(super) struct InstancesArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// Only nodes of this type.
    #[arg(long)]
    pub node_type: Option<NodeType>,

    /// Only nodes of this queue.
    #[arg(long)]
    pub queue_name: Option<String>,

    /// Where a list goes on; all instances fit one.
    #[arg(long)]
    pub next_token: Option<String>,
}

/// A type of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NodeType {
    #[value(name = "HeadNode")]
    Head,
    #[value(name = "ComputeNode")]
    Compute,
    #[value(name = "LoginNode")]
    Login,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// The name of the log, as list-cluster-log-streams prints it.
    #[arg(long)]
    pub log_stream_name: String,

    /// The most lines.
    #[arg(long)]
    pub limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub common: Common,

    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// A bucket of S3; there is none here.
    #[arg(long)]
    pub bucket: Option<String>,

    /// The file to write.
    #[arg(long)]
    pub output_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ImagesArgs {
    #[command(flatten)]
    pub common: Common,

    /// Only images with this status.
    #[arg(long)]
    pub image_status: String,
}

#[derive(Debug, Args)]
pub(super) struct ConfigureArgs {
    /// Where the configuration goes.
    #[arg(short, long)]
    pub config: PathBuf,

    /// The region.
    #[arg(short, long)]
    pub region: Option<String>,

    /// Say more in the log.
    #[arg(long)]
    pub debug: bool,
}

#[derive(Debug, Args)]
pub(super) struct SshArgs {
    /// The name of the cluster.
    #[arg(short = 'n', long)]
    pub cluster_name: String,

    /// The region.
    #[arg(short, long)]
    pub region: Option<String>,

    /// Say more in the log.
    #[arg(long)]
    pub debug: bool,

    /// Print the command instead of running it.
    #[arg(long, value_name = "true|false", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "false")]
    pub dryrun: bool,

    /// What ssh gets besides.
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// Say more in the log.
    #[arg(long)]
    pub debug: bool,
}
