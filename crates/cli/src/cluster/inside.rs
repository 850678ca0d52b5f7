//! What runs in the instances of a cluster.

use std::{env, fs};

use anyhow::{Context as _, Result};
use cluster::{
    head::{self, Request},
    node,
};

use super::arguments::{NodeArgs, Role, Told, ToldArgs};
use crate::Verdict;

pub(super) fn be(args: &NodeArgs) -> Result<Verdict> {
    match args.role {
        Role::Head => head::run()?,
        Role::Compute => node::run_compute()?,
    }
    Ok(Verdict::Passed)
}

pub(super) fn tell(args: &ToldArgs) -> Result<Verdict> {
    let nodes = args.nodes.clone().unwrap_or_default();
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let request = match args.what {
        Told::Resume => {
            let file = env::var_os("SLURM_RESUME_FILE");
            Request::Resume { nodes, jobs: file.and_then(|path| fs::read_to_string(path).ok()) }
        }
        Told::Suspend => Request::Suspend { nodes },
        Told::Prolog => {
            Request::Prolog { job: variable("SLURM_JOB_ID"), nodes: variable("SLURM_JOB_NODELIST") }
        }
    };
    head::tell(&request).context("the loop of this head node does not answer")?;
    Ok(Verdict::Passed)
}
