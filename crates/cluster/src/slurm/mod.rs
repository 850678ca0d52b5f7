//! Slurm: its configuration for a cluster, the names of its nodes, and its commands.

pub(crate) mod conf;
pub(crate) mod control;
pub(crate) mod hostlist;
pub(crate) mod nodes;

pub use nodes::{NodeKind, NodeName};
