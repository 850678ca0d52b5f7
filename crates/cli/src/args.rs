//! What can be written on the command line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum, error::ErrorKind};
use fabric::FaultSpec;
use perf::{FabricTuning, Network};
use sim::{Pattern, Topology};

use crate::{
    WRONG, address::HostPort, cloud::CloudArgs, cluster::ClusterArgs, install::InstallArgs,
    install_links::InstallLinksArgs, output, output::Destination, perf_command::PerfArgs, quantity,
    run::RunArgs,
};

/// An elastic fabric in software: reliable messages over many paths, over plain UDP.
#[derive(Debug, Parser)]
#[command(name = "elastane", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure the fabric against TCP between two hosts.
    Compare(Box<CompareArgs>),
    /// Be the other side of `elastane compare HOST`.
    Serve(ServeArgs),
    /// Measure one operation's bandwidth or latency between two processes.
    Perf(Box<PerfArgs>),
    /// Run an MPI program over the provider.
    Run(Box<RunArgs>),
    /// Put the provider where libfabric looks for it.
    Install(InstallArgs),
    /// Make links by which this program takes the place of perftest's and of ParallelCluster's.
    InstallLinks(InstallLinksArgs),
    /// Run the fabric on a simulated network, repeatably.
    Simulate(Box<SimulateArgs>),
    /// Show what this host offers the fabric, and what to change.
    Info(InfoArgs),
    /// Watch a live endpoint.
    Top(TopArgs),
    /// EC2 on this machine: its API, and instances that boot.
    Cloud(Box<CloudArgs>),
    /// Clusters with Slurm in the local cloud.
    Cluster(Box<ClusterArgs>),
    /// The client of a comparison, in a process of its own.
    #[command(hide = true)]
    Measure,
}

/// Measure the fabric against TCP between two hosts.
///
/// Without HOST, two hosts are made on this machine: network namespaces, joined by links that are
/// shaped, cut and made to lose packets. With HOST, the other side is `elastane serve` on a real
/// machine, and only what needs no emulation is measured.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane compare --quick
  elastane compare --json report.json --html report.html
  elastane compare --only flat,path-cut --check
  elastane compare node2 --provider efa
  elastane compare node2            # where `elastane serve --listen node2` runs

Exit status: 0 measured; 1 measured, but --check found a promise not kept; 2 not measured.")]
pub(crate) struct CompareArgs {
    /// The host on which `elastane serve` runs (port 7471 unless given).
    #[arg(value_name = "HOST[:PORT]", conflicts_with_all = ["hosts", "mtu"])]
    pub peer: Option<HostPort>,

    /// Take about half a minute: fewer sizes, shorter tests.
    #[arg(long)]
    pub quick: bool,

    /// Write the figures as one JSON document; `-` prints it instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<Destination>,

    /// Write a self-contained page with charts; `-` prints it instead of the table.
    #[arg(long, value_name = "FILE")]
    pub html: Option<Destination>,

    /// What the two hosts are.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub hosts: HostKind,

    /// MTU of the links between the hosts, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 9001,
          value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: u32,

    /// Measure only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,

    /// Exit with status 1 unless everything promised of what was measured is kept.
    #[arg(long)]
    pub check: bool,

    /// Measure a provider of libfabric's beside: a name of `fi_info -l`, for example efa or tcp.
    /// Both sides need libfabric.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    #[command(flatten)]
    pub fabric: FabricArgs,

    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// What stands between the fabric and the wire, on this side.
#[derive(Clone, Debug, Args)]
pub(crate) struct FabricArgs {
    /// Inject faults into what the fabric sends: drop, duplicate, reorder, corrupt, train, depth,
    /// on, seed; for example drop=1%,seed=7.
    #[arg(long, value_name = "SPEC", value_parser = fault_spec)]
    inject: Option<String>,

    /// Write the fabric's datagrams to a file that Wireshark and tcpdump read. Each test begins
    /// it anew: narrow down what is measured.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

impl FabricArgs {
    /// The same in the words of the measurement.
    pub(crate) fn tuning(&self) -> FabricTuning {
        let Self { inject, pcap } = self.clone();
        FabricTuning { inject, pcap }
    }
}

fn fault_spec(text: &str) -> Result<String, String> {
    text.parse::<FaultSpec>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// What the two hosts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostKind {
    /// Namespaces where the kernel grants them, else loopback.
    Auto,
    /// Network namespaces.
    Namespaces,
    /// Two processes without a network between them.
    Loopback,
}

/// A part of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// One link without limits.
    Flat,
    /// Four paths of 1 Gb/s.
    Multipath,
    /// The same, with one path after the other cut.
    PathCut,
    /// Both losses.
    Loss,
    /// One packet of a thousand is lost.
    #[value(name = "loss-0.1%")]
    Loss01,
    /// One packet of a hundred is lost.
    #[value(name = "loss-1%")]
    Loss1,
    /// A link of 1 Gb/s with a TCP flow on it.
    SharedLink,
    /// Shared memory against TCP over loopback, between two processes of this host.
    OneHost,
}

impl Part {
    /// Whether `network` is measured in this part.
    pub(crate) fn includes(self, network: Network) -> bool {
        match self {
            Self::Flat => network == Network::Flat,
            Self::Multipath => network == Network::Multipath,
            Self::PathCut => network == Network::PathCut,
            Self::Loss => matches!(network, Network::Loss01 | Network::Loss1),
            Self::Loss01 => network == Network::Loss01,
            Self::Loss1 => network == Network::Loss1,
            Self::SharedLink => network == Network::SharedLink,
            Self::OneHost => network == Network::OneHost,
        }
    }
}

/// Be the other side of `elastane compare HOST`.
///
/// Prints one line that says where it listens. Ends with its client, or by Ctrl-C. Whoever can
/// connect can make this machine send and receive: listen on an address of a network you trust.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane serve --listen 192.0.2.7
  elastane serve --listen [::1]:0 --json")]
pub(crate) struct ServeArgs {
    /// The address to listen on (port 7471 unless given; 0 takes any that is free).
    #[arg(long, value_name = "ADDRESS[:PORT]", default_value = "127.0.0.1")]
    pub listen: HostPort,

    /// Serve one client after the other, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,

    /// Print a JSON document per line.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub fabric: FabricArgs,

    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub end_with_parent: bool,
}

/// Run the fabric on a simulated network, repeatably.
///
/// The transport and the message layer are the real ones; time, hosts and network are simulated,
/// and oracles watch every operation. With nothing but a seed, the seed draws the network, the
/// workload and faults of every kind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane simulate --seed 7
  elastane simulate --incast 64 --size 1MiB
  elastane simulate --all-to-all 1024
  elastane simulate --topology multipath:8 --workload stream --size 1MiB --bad-paths 2

Exit status: 0 all promises kept; 1 one is broken, with the command to see it again; 2 usage.")]
pub(crate) struct SimulateArgs {
    /// Decides everything that is left to chance.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// link, multipath:PATHS, star:HOSTS or clos:LEAVESxSPINESxHOSTS_PER_LEAF.
    #[arg(long, value_name = "SHAPE")]
    pub topology: Option<Topology>,

    /// So many hosts around one switch: short for --topology star:HOSTS.
    #[arg(long, value_name = "HOSTS", conflicts_with = "topology",
          value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub hosts: Option<u32>,

    /// random, all-to-all, incast, permutation, ping-pong or stream.
    #[arg(long, value_name = "PATTERN")]
    pub workload: Option<Pattern>,

    /// So many hosts send to one more at once.
    #[arg(long, value_name = "SENDERS", conflicts_with_all = ["topology", "hosts", "workload"],
          value_parser = clap::value_parser!(u32).range(1..=65535))]
    pub incast: Option<u32>,

    /// So many hosts send to all others.
    #[arg(long, value_name = "HOSTS",
          conflicts_with_all = ["topology", "hosts", "workload", "incast"],
          value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub all_to_all: Option<u32>,

    /// Bytes of a message, for example 64, 4K or 1MiB; of the largest where sizes are random.
    #[arg(long, alias = "bytes", value_name = "BYTES", value_parser = quantity::message_size)]
    pub size: Option<usize>,

    /// Messages: in all if the workload is random, else for each pair.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub messages: Option<u32>,

    /// Bits per second of a link, for example 25G.
    #[arg(long, value_name = "RATE", value_parser = quantity::rate)]
    pub rate: Option<u64>,

    /// From one end of a link to the other, for example 1us.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub delay: Option<Duration>,

    /// The largest IP packet, in bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: Option<u32>,

    /// Use IPv6 addresses.
    #[arg(long)]
    pub ipv6: bool,

    /// Let faults of every kind strike, as the seed draws them.
    #[arg(long)]
    pub faults: bool,

    /// The share of packets that are lost, for example 1%.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = quantity::share)]
    pub loss: f64,

    /// So many of the parallel paths lose 30% of their packets.
    #[arg(long, value_name = "PATHS", default_value_t = 0)]
    pub bad_paths: u16,

    /// Each of the parallel paths is cut for this long in turn, for example 200ms.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub cut: Option<Duration>,

    /// Everything has to be over within this virtual time after the last fault.
    #[arg(long, value_name = "TIME", value_parser = quantity::seconds)]
    pub limit: Option<u64>,

    /// Write what came out as a JSON document; `-` prints it instead of the text.
    #[arg(long, value_name = "FILE")]
    pub json: Option<Destination>,
}

/// Show what this host offers the fabric, and what to change.
///
/// Opens an endpoint on each address and asks the kernel; needs no privileges, changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane info
  elastane info --json | jq .warnings

Exit status: 0 shown, with or without warnings; 2 usage.")]
pub(crate) struct InfoArgs {
    /// Print a JSON document.
    #[arg(long)]
    pub json: bool,

    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// Watch a live endpoint.
///
/// The process must run with ELASTANE_METRICS=auto, or with a port of its choice. Its number is
/// enough to find it on this host; HOST:PORT reaches through a tunnel, as it publishes on
/// loopback only. Without a target, the processes that can be watched are listed.
///
/// Keys: q ends, Tab shows the next endpoint, the arrows choose a peer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ELASTANE_METRICS=auto ./my-program &
  elastane top                      # which processes publish
  elastane top 4711
  elastane top 4711 --once
  elastane top localhost:9400 --json | jq .endpoints[0].transport.retrans_pkts

Exit status: 0 shown, or the process ended while it was watched; 2 nothing to show.")]
pub(crate) struct TopArgs {
    /// The process.
    #[arg(value_name = "PID|HOST:PORT")]
    pub target: Option<Target>,

    /// Print one snapshot and end.
    #[arg(long)]
    pub once: bool,

    /// Print a JSON document per snapshot, each on its line.
    #[arg(long)]
    pub json: bool,

    /// The time between two snapshots, for example 500ms; 100ms at least.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// What `elastane top` watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A process of this host.
    Pid(u32),
    /// A port.
    Port(HostPort),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(pid) = text.parse() {
            return Ok(Self::Pid(pid));
        }
        // The port has no default: whoever publishes chooses it.
        let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        if !has_port {
            return Err(format!("`{text}` is neither a process id nor HOST:PORT"));
        }
        text.parse().map(Self::Port)
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = quantity::duration(text)?;
    if time < SHORTEST_INTERVAL {
        return Err(format!("an endpoint publishes every {SHORTEST_INTERVAL:?} at most"));
    }
    Ok(time)
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Reads the command line of this process. An error is said in one line.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().ok();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            WRONG.into()
        }
        _ => {
            output::say(&format!("elastane: {}", sentence(&error)));
            WRONG.into()
        }
    })
}

/// What is wrong, without the usage that follows it.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let end = text.find("\nUsage:").or_else(|| text.find("\nFor more information"));
    let text = output::one_line(&text[..end.unwrap_or(text.len())]);
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let subcommand = std::env::args_os().nth(1).unwrap_or_default();
    let help = match subcommand.to_str() {
        Some(
            subcommand @ ("compare" | "serve" | "simulate" | "info" | "top" | "perf" | "run"
            | "install" | "install-links" | "cluster"),
        ) => {
            format!("elastane {subcommand} --help")
        }
        _ => "elastane --help".to_owned(),
    };
    format!("{text}; see `{help}`")
}
