//! What happens in a node: setting it up, and keeping its services running.

pub(crate) mod actions;
mod compute;
pub(crate) mod setup;
pub(crate) mod supervise;

pub(crate) use compute::BootFailure;
pub use compute::run as run_compute;

use thiserror::Error;

/// Why a node could not be set up.
#[derive(Debug, Error)]
pub enum NodeError {
    /// A file or folder.
    #[error("cannot {what}: {cause}")]
    File {
        /// What was tried.
        what: String,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// The system has no such user, because a package is missing.
    #[error("the system has no user {user}: install {package}")]
    NoUser {
        /// Which user.
        user: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// A script of the user's failed.
    #[error("{code}: {reason}")]
    Action {
        /// ParallelCluster's code.
        code: String,
        /// What happened, with the end of what the script said.
        reason: String,
    },
    /// Something that had to come did not.
    #[error("{what} did not come within {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A node that always runs.
    #[error("a static node could not be started: {0}")]
    Static(String),
    /// The configuration cannot be read.
    #[error(transparent)]
    Configuration(#[from] crate::config::ReadError),
    /// The record cannot be read or written.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Slurm refused something.
    #[error("{0}")]
    Slurm(String),
    /// EC2 refused something.
    #[error("EC2: {0}")]
    Ec2(#[from] cloud::client::CallError),
}

impl NodeError {
    /// Makes an error of what was tried.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::File { what, cause }
    }
}

impl From<crate::slurm::control::SlurmError> for NodeError {
    fn from(error: crate::slurm::control::SlurmError) -> Self {
        Self::Slurm(error.to_string())
    }
}
