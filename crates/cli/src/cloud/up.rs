//! `elastane cloud up`: the agent, here or in a process of its own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use cloud::{
    agent::{self, Agent, AgentOptions, Running},
    ec2::Capacity,
};

use super::describe;
use crate::{Verdict, interrupt::Interrupts, mpi::provider, output};

/// Start the cloud.
///
/// It runs in the background until `elastane cloud down`. If it is killed, so is every instance,
/// and nothing of them is left but their files; they can be started again after the next `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cloud up
  elastane cloud up --scale 1 --region eu-central-1
  elastane cloud up --capacity 8 --capacity c5n.18xlarge=2    # then InsufficientInstanceCapacity

Exit status: 0 it is up; 2 it is not, or was up before.")]
pub(super) struct UpArgs {
    /// Be the cloud until Ctrl-C, instead of starting it in the background.
    #[arg(long)]
    foreground: bool,

    /// The API's port on the loopback device: 4566 if it is free, else any, unless given.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// The region's name; us-east-1 unless given at the first start.
    #[arg(long, value_name = "NAME", value_parser = region)]
    region: Option<String>,

    /// The default VPC's addresses; a free private network unless given at the first start.
    #[arg(long, value_name = "CIDR")]
    network: Option<ipnet::Ipv4Net>,

    /// By how much links are slower than EC2's: 10 makes the 10 Gb/s of a flow 1 Gb/s.
    #[arg(long, value_name = "FACTOR", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    scale: u64,

    /// How many instances there may be at once, of all types or of one.
    #[arg(long, value_name = "[TYPE=]N", value_parser = capacity)]
    capacity: Vec<(Option<String>, u32)>,

    /// The provider's library, for instances with EFA; else it is looked for as `elastane install`
    /// does.
    #[arg(long, value_name = "PATH")]
    provider_library: Option<PathBuf>,

    /// Print a JSON document.
    #[arg(long)]
    json: bool,

    /// Started by another `elastane cloud up`, which reads one line and goes.
    #[arg(long, hide = true)]
    detached: bool,
}

fn region(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a region is named like us-east-1".to_owned()),
    }
}

fn capacity(text: &str) -> Result<(Option<String>, u32), String> {
    let (kind, number) = match text.split_once('=') {
        Some((kind, number)) => (Some(kind.to_owned()), number),
        None => (None, text),
    };
    let number = number.parse().map_err(|_| "it is a number, or TYPE=NUMBER".to_owned())?;
    Ok((kind, number))
}

pub(super) fn run(args: &UpArgs, directory: &Path, interrupts: &Interrupts) -> Result<Verdict> {
    if args.detached || args.foreground {
        return be_the_cloud(args, directory, interrupts);
    }
    // Here, so that nothing is made where there can be no cloud.
    agent::check(&options(args, directory, None))?;
    let running = start_in_background(directory)?;
    announce(args, &running, directory)?;
    Ok(Verdict::Passed)
}

/// Is the cloud, until a signal or `elastane cloud down`.
fn be_the_cloud(args: &UpArgs, directory: &Path, interrupts: &Interrupts) -> Result<Verdict> {
    if args.detached {
        nix::unistd::setsid().context("cannot leave the terminal")?;
    }
    // Files of instances have the modes their programs ask for.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let agent = match start(args, directory) {
        // Not into the log: it may be that of the cloud that is up already.
        Err(error) if args.detached => {
            let cause: Result<Running, _> = Err(format!("{error:#}"));
            output::print(&(serde_json::to_string(&cause)? + "\n"))?;
            return Ok(Verdict::Failed);
        }
        started => started?,
    };
    std::env::set_current_dir("/").context("cannot leave the working directory")?;
    let hold = interrupts.hold();
    let stopper = agent.stopper();
    interrupts.on_interrupt(move || stopper.stop());
    if args.detached {
        output::print(&(serde_json::to_string(&Ok::<_, String>(agent.running()))? + "\n"))?;
    } else {
        announce(args, agent.running(), directory)?;
    }
    let clusters = directory.to_owned();
    // Calls are answered meanwhile.
    std::thread::spawn(move || revive_clusters(&clusters));
    agent.run();
    drop(agent);
    drop(hold);
    interrupts.end_if_interrupted();
    Ok(Verdict::Passed)
}

fn start(args: &UpArgs, directory: &Path) -> Result<Agent> {
    Ok(Agent::start(&options(args, directory, find_provider(args)?))?)
}

/// Starts the head nodes of clusters that ended with the cloud before this one.
fn revive_clusters(directory: &Path) {
    let reached = crate::cluster::reach(directory);
    match reached.and_then(|cloud| Ok(cluster::life::revive(&cloud)?)) {
        Ok(names) => names.iter().for_each(|name| log::warn!("the cluster {name} starts again")),
        Err(error) => log::warn!("cannot start clusters again: {error:#}"),
    }
}

fn options(args: &UpArgs, directory: &Path, provider: Option<PathBuf>) -> AgentOptions {
    AgentOptions {
        directory: directory.to_owned(),
        port: args.port,
        region: args.region.clone(),
        network: args.network,
        scale: args.scale,
        capacity: limits(&args.capacity),
        provider,
    }
}

fn limits(capacity: &[(Option<String>, u32)]) -> Capacity {
    let mut limits = Capacity { total: None, of_type: BTreeMap::new() };
    for (kind, number) in capacity {
        match kind {
            Some(kind) => drop(limits.of_type.insert(kind.clone(), *number)),
            None => limits.total = Some(*number),
        }
    }
    limits
}

/// The provider's library. Without, the cloud has no EFA, and says so.
fn find_provider(args: &UpArgs) -> Result<Option<PathBuf>> {
    match provider::find(args.provider_library.as_deref()) {
        Ok(library) => Ok(Some(fs::canonicalize(library)?)),
        Err(error) if args.provider_library.is_some() => Err(error),
        Err(error) => {
            output::say(&format!("elastane: instances with EFA cannot start: {error:#}"));
            Ok(None)
        }
    }
}

/// Starts this program again as the cloud, and waits until it is up.
fn start_in_background(directory: &Path) -> Result<Running> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let (path, mut log) = open_log(directory)?;
    let begin = log.seek(SeekFrom::End(0)).context("cannot read the log")?;
    let mut agent = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .env("ELASTANE_CLOUD_DIR", directory)
        // What the cloud could not do for an instance is worth a line.
        .env("ELASTANE_LOG", std::env::var_os("ELASTANE_LOG").unwrap_or("warn".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().context("cannot write the log")?)
        .spawn()
        .context("cannot start the agent")?;
    let mut line = String::new();
    if let Some(output) = agent.stdout.take() {
        BufReader::new(output).read_line(&mut line).context("the agent does not answer")?;
    }
    log.seek(SeekFrom::Start(begin)).context("cannot read the log")?;
    let said = io::read_to_string(&log).context("cannot read the log")?;
    let started: Option<Result<Running, String>> = serde_json::from_str(&line).ok();
    if let Some(Ok(running)) = started {
        said.lines().for_each(output::say);
        return Ok(running);
    }
    let status = agent.wait().context("the agent does not end")?;
    if let Some(Err(cause)) = started {
        bail!("{cause}");
    }
    let last = said.lines().last().map(|line| line.trim_start_matches("elastane: "));
    match last {
        Some(cause) => bail!("{cause}"),
        None => bail!("the agent ended with {status}: see {}", path.display()),
    }
}

/// Where the agent writes what goes wrong.
fn open_log(directory: &Path) -> Result<(PathBuf, File)> {
    let path = directory.join("agent.log");
    let open = || {
        fs::create_dir_all(directory)?;
        File::options().create(true).append(true).read(true).open(&path)
    };
    let file = open().with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, file))
}

fn announce(args: &UpArgs, running: &Running, directory: &Path) -> Result<()> {
    if args.json {
        return output::print(&(serde_json::to_string_pretty(running)? + "\n"));
    }
    let hint = "  for a shell: eval \"$(elastane cloud env)\"\n";
    output::print(&(describe(running, directory) + hint))
}
