//! The life of a cluster, as the commands drive it: made, looked at, changed, taken away.

mod checks;
mod create;
mod delete;
mod folders;
mod groups;
mod revive;
mod update;

use std::{fs, io, path::PathBuf};

use cloud::{
    Credentials,
    client::{CallError, Ec2},
};
use thiserror::Error;

pub use checks::check;
pub use create::{Request, create, wait_created};
pub use delete::{delete, discard};
pub use revive::revive;
pub use update::{Refused, update};

use crate::{
    clock,
    launch::{Instance, Launcher},
    store::{ClusterStatus, Failure, State, Store, StoreError},
};

/// The cloud that clusters are made in.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// Its API.
    pub ec2: Ec2,
    /// What signs calls.
    pub credentials: Credentials,
    /// The folder of the directories that instances share.
    pub filesystems: PathBuf,
}

/// Why something could not be done to a cluster.
#[derive(Debug, Error)]
pub enum LifeError {
    /// EC2 refused.
    #[error("EC2 refused: {0}")]
    Ec2(#[from] CallError),
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder.
    #[error("cannot {what}: {cause}")]
    File {
        /// What was tried.
        what: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Configuration(#[from] crate::config::ReadError),
    /// A program that nodes need is not on this machine.
    #[error(
        "nodes run programs of this machine, and it has no {programs}: apt-get install {packages}"
    )]
    Packages {
        /// What was looked for.
        programs: String,
        /// What brings it.
        packages: String,
    },
    /// A creation failed, and so did taking away what it had made.
    #[error(
        "{cause}; and what was made could not be taken away: {why}. Once that is put right: \
         elastane cluster delete {name}"
    )]
    Undone {
        /// Why the creation failed.
        cause: String,
        /// Why something is left.
        why: String,
        /// The cluster.
        name: String,
    },
    /// The cluster is in no state for it.
    #[error("{0}")]
    State(String),
}

impl LifeError {
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::File { what, cause }
    }
}

/// A cluster's record is below this name: names of clusters hold no dot.
const STATE_SUFFIX: &str = ".state";

impl Cloud {
    /// The record of a cluster, which need not be there.
    pub fn store(&self, cluster: &str) -> Store {
        Store::at(self.filesystems.join(format!("{cluster}{STATE_SUFFIX}")))
    }

    /// The names of all clusters.
    ///
    /// # Errors
    ///
    /// When the folder of the records cannot be read.
    pub fn clusters(&self) -> Result<Vec<String>, LifeError> {
        let entries = match fs::read_dir(&self.filesystems) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LifeError::file("list the clusters")(error)),
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.filter_map(|name| name.strip_suffix(STATE_SUFFIX).map(str::to_owned));
        let mut names: Vec<_> = names.filter(|name| self.store(name).read().is_ok()).collect();
        names.sort();
        Ok(names)
    }

    /// A cluster's side of EC2.
    pub fn launcher(&self, cluster: &str) -> Launcher {
        Launcher { ec2: self.ec2.clone(), cluster: cluster.to_owned() }
    }

    /// A cluster's record and its instances, the status corrected by what is really there.
    ///
    /// # Errors
    ///
    /// When there is no such cluster, or EC2 does not answer.
    pub fn look(&self, cluster: &str) -> Result<(State, Vec<Instance>), LifeError> {
        let state = self.store(cluster).read()?;
        let instances = self.launcher(cluster).instances()?;
        if state.status != ClusterStatus::CreateInProgress {
            return Ok((state, instances));
        }
        let text = self.store(cluster).configuration()?;
        let limit = crate::config::Document::read(&text)?.config.head_timeout();
        match lost_head(&state, &instances, u64::from(limit) * 1000) {
            None => Ok((state, instances)),
            Some(reason) => {
                let state = self.store(cluster).change(|state| {
                    // The head node may have said so itself by now.
                    if state.status == ClusterStatus::CreateInProgress {
                        state.status = ClusterStatus::CreateFailed;
                        state.failures.push(Failure {
                            failure_code: "HeadNodeBootstrapFailure".to_owned(),
                            failure_reason: reason,
                        });
                    }
                    state.clone()
                })?;
                Ok((state, instances))
            }
        }
    }
}

/// How long the command that makes a cluster may take to launch its head node, in milliseconds.
const LAUNCH_LIMIT: u64 = 300_000;

/// Why a head node that should be coming up never will.
fn lost_head(state: &State, instances: &[Instance], limit: u64) -> Option<String> {
    let Some(head) = &state.head else {
        let is_late = clock::now().saturating_sub(state.created) > LAUNCH_LIMIT;
        return is_late.then(|| "the command that made it ended before the head node".to_owned());
    };
    let age = clock::now().saturating_sub(head.launched);
    let is_there = instances.iter().any(|it| it.id == head.instance && it.is_live());
    if !is_there {
        Some(format!("the head node's instance {} ended before it was set up", head.instance))
    } else if age > limit {
        Some(format!("the head node was not set up within {} s", limit / 1000))
    } else {
        None
    }
}
