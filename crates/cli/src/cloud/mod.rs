//! `elastane cloud`: EC2 on this machine.

mod up;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use cloud::agent::{self, AgentError, Running};

use crate::{Verdict, interrupt::Interrupts, output};

/// EC2 on this machine: an API that the `aws` command and boto3 speak, and instances that boot.
///
/// An instance is a set of namespaces over an overlay of this machine's root: it has a host name,
/// an address, users and an SSH server of its own, and whoever is root in one is root on this
/// machine. Security groups filter its packets, flows between instances have EC2's limits at a
/// stated scale, and instances with an EFA interface have the provider `efa`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane cloud up
  eval \"$(elastane cloud env)\"
  aws ec2 run-instances --image-id resolve --instance-type c5n.18xlarge ...
  elastane cloud status --json
  elastane cloud down --delete")]
pub(crate) struct CloudArgs {
    #[command(flatten)]
    state: StateDirectory,

    #[command(subcommand)]
    command: CloudCommand,
}

/// Where a cloud keeps what it has.
#[derive(Debug, Args)]
pub(crate) struct StateDirectory {
    /// The state directory of the cloud: records, key pair, images, files of instances.
    #[arg(
        id = "directory",
        long = "directory",
        value_name = "DIR",
        env = "ELASTANE_CLOUD_DIR",
        global = true,
        default_value = agent::USUAL_DIRECTORY
    )]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Subcommand)]
enum CloudCommand {
    /// Start the cloud.
    Up(Box<up::UpArgs>),
    /// End the cloud and every instance; their files stay, and they can be started again.
    Down(DownArgs),
    /// Say whether the cloud is up, and where.
    Status(StatusArgs),
    /// Print what a shell is to be told so that `aws` and boto3 speak to the cloud.
    Env(EnvArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cloud down --delete     # nothing is left

Exit status: 0 it is down; 2 it could not be ended.")]
struct DownArgs {
    /// Remove the state directory too: records, key pair, images, files of instances.
    #[arg(long)]
    delete: bool,

    /// Print a JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  elastane cloud status --json | jq -r .network

Exit status: 0 it is up; 1 it is down; 2 that cannot be told.")]
struct StatusArgs {
    /// Print a JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  eval \"$(elastane cloud env)\" && aws ec2 describe-instances

Exit status: 0 printed; 2 the cloud is down.")]
struct EnvArgs {
    /// Print a JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CloudArgs, interrupts: &Interrupts) -> Result<Verdict> {
    let directory = std::path::absolute(&args.state.path)?;
    match &args.command {
        CloudCommand::Up(up) => up::run(up, &directory, interrupts),
        CloudCommand::Down(down) => end(down, &directory),
        CloudCommand::Status(status) => show(status, &directory),
        CloudCommand::Env(env) => print_environment(env, &directory),
    }
}

fn end(args: &DownArgs, directory: &Path) -> Result<Verdict> {
    let stopped = agent::stop(directory)?;
    let deleted = args.delete && directory.exists();
    if deleted {
        agent::delete(directory)?;
    }
    if args.json {
        let document = serde_json::json!({ "stopped": stopped, "deleted": deleted });
        output::print(&(serde_json::to_string_pretty(&document)? + "\n"))?;
        return Ok(Verdict::Passed);
    }
    let ended = match &stopped {
        Some(running) => format!("the cloud of process {} is down", running.pid),
        None => "no cloud was up".to_owned(),
    };
    let removed =
        if deleted { format!("; removed {}", directory.display()) } else { String::new() };
    output::print(&format!("{ended}{removed}\n"))?;
    Ok(Verdict::Passed)
}

fn show(args: &StatusArgs, directory: &Path) -> Result<Verdict> {
    let running = agent::find(directory)?;
    let text = match &running {
        _ if args.json => {
            let mut document = serde_json::to_value(&running)?;
            if let (Some(fields), Some(running)) = (document.as_object_mut(), &running) {
                fields.insert("endpoint".to_owned(), running.endpoint().into());
            }
            serde_json::to_string_pretty(&serde_json::json!({
                "up": running.is_some(), "directory": directory, "agent": document,
            }))? + "\n"
        }
        Some(running) => describe(running, directory),
        None => format!("down ({})\n", directory.display()),
    };
    output::print(&text)?;
    Ok(if running.is_some() { Verdict::Passed } else { Verdict::Failed })
}

/// What a cloud that is up is like, in some lines.
fn describe(running: &Running, directory: &Path) -> String {
    let efa = match &running.efa {
        Some(library) => library.display().to_string(),
        None => "no provider library: instances with EFA cannot start".to_owned(),
    };
    let scale = match running.scale {
        1 => "full speed".to_owned(),
        scale => format!("1/{scale} of EC2's speed"),
    };
    format!(
        "up: process {}\n  API       {}, region {}\n  network   {}, this machine is {}\n  \
         links     {scale}\n  EFA       {efa}\n  directory {}\n",
        running.pid,
        running.endpoint(),
        running.region,
        running.network,
        running.address,
        directory.display()
    )
}

fn print_environment(args: &EnvArgs, directory: &Path) -> Result<Verdict> {
    let running = agent::find(directory)?
        .ok_or_else(|| AgentError::Down { directory: directory.to_owned() })?;
    let (_, region, credentials) = agent::reach(directory)?;
    let variables = [
        ("AWS_ENDPOINT_URL_EC2", running.endpoint()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key),
        ("AWS_DEFAULT_REGION", region.clone()),
        ("AWS_REGION", region),
    ];
    let text = if args.json {
        let map: serde_json::Map<_, _> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        serde_json::to_string_pretty(&map)? + "\n"
    } else {
        // A token of another account would be sent along.
        let exports = variables.map(|(name, value)| format!("export {name}='{value}'\n"));
        exports.concat() + "unset AWS_SESSION_TOKEN AWS_PROFILE\n"
    };
    output::print(&text)?;
    Ok(Verdict::Passed)
}
