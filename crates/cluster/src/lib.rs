//! Clusters in ParallelCluster's words: its configuration file, its verbs, and Slurm.
//!
//! Three parts:
//!
//! - [`config`] reads a configuration and knows the line of everything in it.
//! - [`head`] and [`node`] are what runs in a cluster's instances: Slurm, munge, and one loop that
//!   keeps Slurm's nodes and EC2's instances in step.
//! - [`store`] is the one record of a cluster. The commands write what is asked for, the loop of
//!   the head node what became of it.
//!
//! **Architecture invariant:** instances are made, found and ended through EC2's API only
//! ([`launch`]); that the cloud is a local one is known to nobody but the tags by which an instance
//! asks for shared folders.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod documents;
pub mod finding;
pub mod head;
mod journal;
pub mod launch;
pub mod life;
pub mod node;
mod paths;
pub mod slurm;
pub mod store;
pub mod validate;
