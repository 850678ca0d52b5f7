//! `elastane cluster`: clusters with Slurm, from ParallelCluster's configuration files.

mod arguments;
pub(crate) mod configure;
mod inside;
pub(crate) mod making;
pub(crate) mod showing;
pub(crate) mod ssh;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cluster::life::Cloud;

pub(crate) use arguments::ClusterArgs;
use arguments::Verb;

use crate::{Verdict, interrupt::Interrupts};

pub(crate) fn run(args: &ClusterArgs, interrupts: &Interrupts) -> Result<Verdict> {
    let cloud = || reach(&args.state.path);
    match &args.verb {
        Verb::Validate(args) => making::validate(args),
        Verb::Configure(args) => configure::run(args, &cloud()?),
        Verb::Create(args) => making::create(args, &cloud()?, interrupts),
        Verb::Update(args) => making::update(args, &cloud()?, interrupts),
        Verb::Delete(args) => making::delete(args, &cloud()?, interrupts),
        Verb::List(args) => showing::list(args, &cloud()?),
        Verb::Describe(args) => showing::describe(args, &cloud()?),
        Verb::DescribeInstances(args) => showing::instances(args, &cloud()?),
        Verb::DescribeFleet(args) => showing::fleet(args, &cloud()?),
        Verb::UpdateFleet(args) => making::update_fleet(args, &cloud()?),
        Verb::ExportLogs(args) => showing::export_logs(args, &cloud()?),
        Verb::Ssh(args) => ssh::run(args, &cloud()?),
        Verb::Node(args) => inside::be(args),
        Verb::Told(args) => inside::tell(args),
    }
}

/// The cloud whose state is in `directory`.
pub(crate) fn reach(directory: &Path) -> Result<Cloud> {
    if !nix::unistd::geteuid().is_root() {
        // The state of the cloud is root's, and so are the instances.
        anyhow::bail!(
            "clusters need root: run this with sudo. Without root, `elastane run` runs MPI \
             programs on this machine, and `elastane cluster validate` checks a file"
        );
    }
    let directory: PathBuf = std::path::absolute(directory).context("cannot tell the directory")?;
    let (endpoint, region, credentials) = cloud::agent::reach(&directory)?;
    Ok(Cloud {
        ec2: cloud::client::Ec2::new(endpoint, &region, credentials.clone()),
        credentials,
        filesystems: directory.join("filesystems"),
    })
}
