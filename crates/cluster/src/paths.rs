//! Where things are in the nodes of a cluster.

/// What all nodes share, and only root writes.
pub(crate) const SHARED: &str = "/opt/parallelcluster/shared";
/// The state of the cluster, on the head node and on the machine that runs it.
pub(crate) const STATE: &str = "/opt/parallelcluster/state";
/// Slurm's state, which outlives the head node's root.
pub(crate) const SLURM_STATE: &str = "/opt/parallelcluster/state/slurm";
/// This program, and what Slurm runs.
pub(crate) const PROGRAMS: &str = "/opt/parallelcluster/shared/bin";
/// Slurm's configuration, to which `/etc/slurm` leads on every node.
pub(crate) const SLURM_CONF: &str = "/opt/parallelcluster/shared/slurm";
/// Which node each address is.
pub(crate) const NODES: &str = "/opt/parallelcluster/shared/nodes";
/// Why nodes could not be set up.
pub(crate) const FAILURES: &str = "/opt/parallelcluster/shared/failures";
/// Logs of compute nodes, which outlive them.
pub(crate) const LOGS: &str = "/opt/parallelcluster/shared/logs";
/// Addresses and names of all nodes, to which `/etc/hosts` leads.
pub(crate) const HOSTS: &str = "/opt/parallelcluster/shared/hosts";
/// The key of munge, the same on all nodes.
pub(crate) const MUNGE_KEY: &str = "/opt/parallelcluster/shared/munge.key";
/// Where the programs that Slurm runs reach the loop of the head node.
pub(crate) const LOOP_SOCKET: &str = "/run/elastane/cluster.sock";
/// EC2, as every instance of the local cloud finds it.
pub(crate) const EC2_SOCKET: &str = "/run/elastane/ec2.sock";
