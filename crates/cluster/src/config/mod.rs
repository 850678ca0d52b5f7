//! The configuration file of a cluster: what is in it, and what it means.

mod check;
mod difference;
mod document;
mod schema;
mod tree;

pub(crate) use check::nearest;
pub use difference::{Change, Needs, changes};
pub use document::{Document, ReadError};
pub use tree::TreeError;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A cluster as its file describes it. What the file leaves out is `None`; the methods know the
/// defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The region, unless it is given on the command line.
    pub region: Option<String>,
    /// Tags that every resource gets.
    pub tags: Vec<Tag>,
    /// The operating system.
    pub image: Image,
    /// The node that users log in to, where the scheduler runs.
    pub head_node: HeadNode,
    /// The scheduler and its queues.
    pub scheduling: Scheduling,
    /// Directories that all nodes share.
    pub shared_storage: Vec<SharedStorage>,
    /// Further nodes to log in to; not supported here.
    pub login_nodes: Option<serde_json::Value>,
    /// Users from a directory server; not supported here.
    pub directory_service: Option<serde_json::Value>,
    /// Settings for developers.
    pub dev_settings: DevSettings,
    /// How the cluster is set up.
    pub deployment_settings: DeploymentSettings,
}

/// A tag.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The operating system of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    /// Its name; absent where only another image is chosen.
    pub os: Option<String>,
    /// An image made by the user.
    pub custom_ami: Option<String>,
}

/// The head node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeadNode {
    /// Its instance type.
    pub instance_type: Option<String>,
    /// Its network interface.
    pub networking: HeadNetworking,
    /// How users log in.
    pub ssh: Ssh,
    /// Scripts of the user.
    pub custom_actions: CustomActions,
    /// An image of its own.
    pub image: Image,
    /// Whether only one thread of a core is used.
    pub disable_simultaneous_multithreading: Option<bool>,
    /// Its own volumes.
    pub local_storage: LocalStorage,
}

/// Network settings of the head node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeadNetworking {
    /// Where its interface is.
    pub subnet_id: Option<String>,
    /// Groups instead of the cluster's own.
    pub security_groups: Vec<String>,
    /// Groups besides the cluster's own.
    pub additional_security_groups: Vec<String>,
}

/// How users log in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ssh {
    /// The EC2 key pair.
    pub key_name: Option<String>,
    /// From where.
    pub allowed_ips: Option<String>,
}

/// Volumes of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LocalStorage {
    /// The volume of its root.
    pub root_volume: Volume,
}

/// A volume's figures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// gp3, io1 and so on.
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<i64>,
    /// GiB.
    pub size: Option<i64>,
    /// MiB a second.
    pub throughput: Option<i64>,
    /// Several volumes as one.
    pub raid: Option<Raid>,
    /// A volume that exists.
    pub volume_id: Option<String>,
    /// What becomes of it with the cluster.
    pub deletion_policy: Option<String>,
}

/// Several volumes as one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Raid {
    /// How many.
    pub number_of_volumes: Option<i64>,
}

/// Scripts of the user, run at points of a node's life.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CustomActions {
    /// Before anything is set up.
    pub on_node_start: Vec<Script>,
    /// When the node is set up.
    pub on_node_configured: Vec<Script>,
    /// After an update of the cluster; the head node only.
    pub on_node_updated: Vec<Script>,
}

/// A script and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Script {
    /// A path, or an address.
    pub script: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// The scheduler and its queues.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Scheduling {
    /// slurm; nothing else is supported here.
    pub scheduler: Option<String>,
    /// What is launched when not everything a job asks for can be.
    pub scaling_strategy: Option<String>,
    /// Slurm's own settings.
    pub slurm_settings: SlurmSettings,
    /// The queues.
    pub slurm_queues: Vec<Queue>,
}

/// Slurm's settings for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SlurmSettings {
    /// Minutes after which an idle dynamic node goes; -1 for never.
    pub scaledown_idletime: Option<i64>,
    /// What becomes of running nodes that an update concerns.
    pub queue_update_strategy: Option<String>,
    /// Whether jobs are given memory, not only CPUs.
    pub enable_memory_based_scheduling: Option<bool>,
    /// Lines for slurm.conf.
    pub custom_slurm_settings: Vec<BTreeMap<String, serde_json::Value>>,
    /// The same as a file.
    pub custom_slurm_settings_include_file: Option<String>,
    /// Accounting; not supported here.
    pub database: Option<serde_json::Value>,
    /// Accounting elsewhere; not supported here.
    pub external_slurmdbd: Option<serde_json::Value>,
    /// A munge key from a secret store; not supported here.
    pub munge_key_secret_arn: Option<String>,
}

/// A queue: a partition of Slurm's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// ONDEMAND, SPOT or CAPACITY_BLOCK.
    pub capacity_type: Option<String>,
    /// By what an instance type is chosen.
    pub allocation_strategy: Option<String>,
    /// Whether a node runs one job at a time.
    pub job_exclusive_allocation: Option<bool>,
    /// Settings of the partition.
    pub custom_slurm_settings: BTreeMap<String, serde_json::Value>,
    /// Tags of its instances.
    pub tags: Vec<Tag>,
    /// An image of its own.
    pub image: Image,
    /// Scripts of the user.
    pub custom_actions: CustomActions,
    /// Its nodes' interfaces.
    pub networking: QueueNetworking,
    /// Kinds of nodes.
    pub compute_resources: Vec<ComputeResource>,
}

/// Network settings of a queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueueNetworking {
    /// Where its nodes may be.
    pub subnet_ids: Vec<String>,
    /// Whether nodes get public addresses.
    pub assign_public_ip: Option<bool>,
    /// Groups instead of the cluster's own.
    pub security_groups: Vec<String>,
    /// Groups besides the cluster's own.
    pub additional_security_groups: Vec<String>,
    /// Whether and in which placement group its nodes are.
    pub placement_group: Option<PlacementGroup>,
}

/// A placement group that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlacementGroup {
    /// Whether at all.
    pub enabled: Option<bool>,
    /// One that exists, by its name.
    pub name: Option<String>,
    /// One that exists, by its id.
    pub id: Option<String>,
}

impl PlacementGroup {
    /// Whether nodes are to be in a group.
    pub fn is_wanted(&self) -> bool {
        self.enabled.unwrap_or(self.existing().is_some())
    }

    /// The group that exists already, if one was named.
    pub fn existing(&self) -> Option<&str> {
        self.name.as_deref().or(self.id.as_deref())
    }
}

/// Nodes of one kind in a queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComputeResource {
    /// Its name.
    pub name: String,
    /// Its instance type, if there is one only.
    pub instance_type: Option<String>,
    /// Its instance types.
    pub instances: Vec<InstanceChoice>,
    /// How many nodes always run.
    pub min_count: Option<u32>,
    /// How many nodes run at most.
    pub max_count: Option<u32>,
    /// The most that is paid for a spot instance.
    pub spot_price: Option<f64>,
    /// EFA.
    pub efa: Option<Efa>,
    /// Whether only one thread of a core is used.
    pub disable_simultaneous_multithreading: Option<bool>,
    /// MiB of memory that jobs may use.
    pub schedulable_memory: Option<u64>,
    /// A placement group other than the queue's.
    pub networking: ResourceNetworking,
    /// Settings of the nodes.
    pub custom_slurm_settings: BTreeMap<String, serde_json::Value>,
    /// Tags of its instances.
    pub tags: Vec<Tag>,
    /// Slurm's weight of static nodes.
    pub static_node_priority: Option<u32>,
    /// Slurm's weight of dynamic nodes.
    pub dynamic_node_priority: Option<u32>,
}

/// An instance type of several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceChoice {
    /// Its name.
    pub instance_type: Option<String>,
}

/// EFA of a compute resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Efa {
    /// Whether its nodes have one.
    pub enabled: Option<bool>,
    /// Whether GPUs use it directly.
    pub gdr_support: Option<bool>,
}

/// Network settings of a compute resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceNetworking {
    /// Whether and in which placement group its nodes are.
    pub placement_group: Option<PlacementGroup>,
}

/// A directory that all nodes share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SharedStorage {
    /// Where nodes see it.
    pub mount_dir: String,
    /// Its name.
    pub name: String,
    /// What it is on AWS.
    pub storage_type: Option<String>,
    /// Figures, if it is a volume.
    pub ebs_settings: Option<Volume>,
    /// Figures, if it is an EFS.
    pub efs_settings: Option<FileSystem>,
    /// Figures, if it is an FSx for Lustre.
    pub fsx_lustre_settings: Option<FileSystem>,
    /// Figures, if it is an FSx for OpenZFS.
    pub fsx_open_zfs_settings: Option<FileSystem>,
    /// Figures, if it is an FSx for ONTAP.
    pub fsx_ontap_settings: Option<FileSystem>,
    /// Figures, if it is a file cache.
    pub file_cache_settings: Option<FileSystem>,
}

/// A file system's figures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FileSystem {
    /// One that exists.
    pub file_system_id: Option<String>,
    /// What becomes of it with the cluster.
    pub deletion_policy: Option<String>,
    /// A volume that exists.
    pub volume_id: Option<String>,
}

/// Settings for developers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DevSettings {
    /// How long nodes may take.
    pub timeouts: Timeouts,
}

/// How long nodes may take to be set up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Timeouts {
    /// Seconds.
    pub head_node_bootstrap_timeout: Option<u32>,
    /// Seconds.
    pub compute_node_bootstrap_timeout: Option<u32>,
}

/// How the cluster is set up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeploymentSettings {
    /// Whether the default user may not become root.
    pub disable_sudo_access_for_default_user: Option<bool>,
    /// Whether home directories are shared.
    pub default_user_home: Option<String>,
}

impl Config {
    /// The user that logs in: what the operating system's images have.
    pub fn user(&self) -> &'static str {
        match self.image.os.as_deref() {
            Some(os) if os.starts_with("ubuntu") => "ubuntu",
            Some(os) if os.starts_with("rocky") => "rocky",
            _ => "ec2-user",
        }
    }

    /// Seconds that a compute node may take from its launch until Slurm knows it.
    pub fn compute_timeout(&self) -> u32 {
        self.dev_settings.timeouts.compute_node_bootstrap_timeout.unwrap_or(1800)
    }

    /// Seconds that the head node may take from its launch until the cluster is complete.
    pub fn head_timeout(&self) -> u32 {
        self.dev_settings.timeouts.head_node_bootstrap_timeout.unwrap_or(1800)
    }

    /// Every compute resource with its queue, in the file's order.
    pub fn resources(&self) -> impl Iterator<Item = (&Queue, &ComputeResource)> {
        let queues = self.scheduling.slurm_queues.iter();
        queues.flat_map(|queue| queue.compute_resources.iter().map(move |it| (queue, it)))
    }

    /// Whether there is a queue whose nodes have EFA.
    pub fn has_efa(&self) -> bool {
        self.resources().any(|(_, resource)| resource.has_efa())
    }
}

impl ComputeResource {
    /// Its instance types, in the order in which they are tried.
    pub fn types(&self) -> Vec<&str> {
        let several = self.instances.iter().filter_map(|it| it.instance_type.as_deref());
        self.instance_type.as_deref().into_iter().chain(several).collect()
    }

    /// How many of its nodes always run.
    pub fn min_count(&self) -> u32 {
        self.min_count.unwrap_or(0)
    }

    /// How many of its nodes run at most.
    pub fn max_count(&self) -> u32 {
        self.max_count.unwrap_or(10)
    }

    /// How many of its nodes come and go.
    pub fn dynamic_count(&self) -> u32 {
        self.max_count().saturating_sub(self.min_count())
    }

    /// Whether its nodes have an EFA.
    pub fn has_efa(&self) -> bool {
        self.efa.as_ref().is_some_and(|efa| efa.enabled == Some(true))
    }

    /// Its placement group: its own setting, else its queue's.
    pub fn placement_group<'a>(&'a self, queue: &'a Queue) -> Option<&'a PlacementGroup> {
        let own = self.networking.placement_group.as_ref();
        own.or(queue.networking.placement_group.as_ref())
    }
}

impl SharedStorage {
    /// Whether it stays when the cluster is deleted.
    pub fn is_retained(&self) -> bool {
        let ebs = self.ebs_settings.as_ref().and_then(|it| it.deletion_policy.as_deref());
        let file_systems = [&self.efs_settings, &self.fsx_lustre_settings];
        let mut others = file_systems.into_iter().flatten();
        ebs.is_some_and(|policy| policy != "Delete")
            || others.any(|it| it.deletion_policy.as_deref() == Some("Retain"))
            || self.existing().is_some()
    }

    /// The id of what exists already and is only mounted.
    pub fn existing(&self) -> Option<&str> {
        let ebs = self.ebs_settings.as_ref().and_then(|it| it.volume_id.as_deref());
        let others = [
            &self.efs_settings,
            &self.fsx_lustre_settings,
            &self.fsx_open_zfs_settings,
            &self.fsx_ontap_settings,
            &self.file_cache_settings,
        ];
        let mut others = others.into_iter().flatten();
        let first = others.find_map(|it| it.file_system_id.as_deref().or(it.volume_id.as_deref()));
        ebs.or(first)
    }
}
