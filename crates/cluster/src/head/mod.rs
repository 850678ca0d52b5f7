//! The head node: Slurm's controller, and the loop that keeps nodes and instances in step.
//!
//! The loop is one thread with one queue of requests. It runs on the head node, beside Slurm, so
//! that it lives exactly as long as the cluster does, needs nothing but Slurm's commands and EC2's
//! API, and would run the same on an instance elsewhere.

mod bring_up;
mod fleet;
mod launching;
mod reconcile;
mod register;
mod requests;
mod updating;

pub use bring_up::run;
pub use requests::{Request, tell};

/// What creating a cluster consists of on the head node, in order.
pub(crate) mod steps {
    pub(crate) const START_ACTIONS: &str = "run OnNodeStart of the head node";
    pub(crate) const USERS: &str = "set up users and keys";
    pub(crate) const SLURM: &str = "start munge and Slurm";
    pub(crate) const STATIC_NODES: &str = "start static nodes";
    pub(crate) const CONFIGURED_ACTIONS: &str = "run OnNodeConfigured of the head node";
    pub(crate) const UPDATE: &str = "take over the new configuration";
}
