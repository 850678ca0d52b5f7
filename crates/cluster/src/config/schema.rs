//! The keys of a cluster's configuration file: names, types, limits, and what changing one takes.
//!
//! The keys are those of ParallelCluster 3.11, so that its files work unchanged.

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text(Rule),
    /// Between the two, inclusive.
    Int(i64, i64),
    Float,
    Bool,
    Map(&'static [Key]),
    /// Items of a kind, at least and at most so many.
    List(&'static Kind, usize, usize),
    /// Keys that are not ours, each with a scalar.
    Settings,
    /// `Script` and `Args`, or a `Sequence` of them.
    Actions,
    /// A truth value or a text.
    BoolOrText,
}

/// What a text has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Any,
    AtMost(usize),
    OneOf(&'static [&'static str]),
    /// A regular expression, and how to say what it wants.
    Pattern(&'static str, &'static str),
    /// An IPv4 network, or the id of a prefix list.
    Cidr,
}

/// What changing a value of a running cluster takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing.
    Supported,
    /// It cannot be changed: make another cluster.
    Unsupported,
    /// The compute fleet has to be stopped first.
    FleetStop,
    /// The compute fleet has to be stopped, or QueueUpdateStrategy be DRAIN or TERMINATE.
    QueueStrategy,
    /// More is fine; for less, the fleet is stopped or QueueUpdateStrategy is TERMINATE.
    Resize,
    /// The values inside have policies of their own.
    Inside,
}

/// A key of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub policy: Policy,
    pub is_required: bool,
}

impl Key {
    const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }
}

const fn key(name: &'static str, kind: Kind, policy: Policy) -> Key {
    Key { name, kind, policy, is_required: false }
}

use Kind::{Actions, Bool, BoolOrText, Float, Int, List, Map, Settings, Text};
use Policy::{FleetStop, Inside, QueueStrategy, Resize, Supported, Unsupported};
use Rule::{Any, AtMost, Cidr, OneOf, Pattern};

const TEXT: Kind = Text(Any);
const NUMBER: Kind = Int(0, i64::MAX);
const AMI: Kind = Text(Pattern("^ami-([0-9a-z]{8}|[0-9a-z]{17})$", "an image id (ami-…)"));
const SUBNET: Kind = Text(Pattern("^subnet-([0-9a-z]{8}|[0-9a-z]{17})$", "a subnet id (subnet-…)"));
const GROUP: Kind = Text(Pattern("^sg-([0-9a-z]{8}|[0-9a-z]{17})$", "a security group id (sg-…)"));
const SNAPSHOT: Kind = Text(Pattern("^snap-[0-9a-z]+$", "a snapshot id (snap-…)"));
const VOLUME: Kind = Text(Pattern("^vol-[0-9a-z]+$", "a volume id (vol-…)"));
const FILE_SYSTEM: Kind = Text(Pattern("^fs-[0-9a-z]+$", "a file system id (fs-…)"));
const PATH: Kind = Text(Pattern("^/?[^\\s:]+$", "a path without spaces or colons"));
const POLICIES: Kind = List(&Map(&[key("Policy", TEXT, Supported)]), 0, 50);
const DELETION: Kind = Text(OneOf(&["Delete", "Retain"]));

/// Operating systems that can be named.
pub(crate) const SYSTEMS: &[&str] =
    &["alinux2", "alinux2023", "ubuntu2004", "ubuntu2204", "rhel8", "rocky8", "rhel9", "rocky9"];

/// The whole file.
pub(crate) const CLUSTER: &[Key] = &[
    key("Region", TEXT, Unsupported),
    key("CustomS3Bucket", TEXT, Unsupported),
    key("AdditionalResources", TEXT, Supported),
    key("Tags", List(&Map(TAG), 0, 40), Unsupported),
    key("Image", Map(IMAGE), Unsupported).required(),
    key("HeadNode", Map(HEAD_NODE), Inside).required(),
    key("Scheduling", Map(SCHEDULING), Inside).required(),
    key("LoginNodes", Map(LOGIN_NODES), Unsupported),
    key("SharedStorage", List(&Map(SHARED_STORAGE), 0, 51), FleetStop),
    key("Monitoring", Map(MONITORING), Supported),
    key("AdditionalPackages", Map(PACKAGES), Unsupported),
    key("Iam", Map(CLUSTER_IAM), Supported),
    key("Imds", Map(TOP_IMDS), Unsupported),
    key("DirectoryService", Map(DIRECTORY), Unsupported),
    key("DevSettings", Map(DEVELOPMENT), Supported),
    key("DeploymentSettings", Map(DEPLOYMENT), Unsupported),
];

const TAG: &[Key] = &[
    key("Key", Text(AtMost(128)), Unsupported).required(),
    key("Value", Text(AtMost(256)), Unsupported).required(),
];

const IMAGE: &[Key] =
    &[key("Os", Text(OneOf(SYSTEMS)), Unsupported).required(), key("CustomAmi", AMI, Unsupported)];

const HEAD_NODE: &[Key] = &[
    key("InstanceType", TEXT, Unsupported).required(),
    key("Networking", Map(HEAD_NETWORKING), Unsupported).required(),
    key("DisableSimultaneousMultithreading", Bool, Unsupported),
    key("Ssh", Map(HEAD_SSH), Inside),
    key("LocalStorage", Map(LOCAL_STORAGE), Supported),
    key("SharedStorageType", Text(OneOf(&["Ebs", "Efs", "ebs", "efs"])), Unsupported),
    key("Dcv", Map(DCV), Unsupported),
    key("CustomActions", Map(HEAD_ACTIONS), Supported),
    key("Iam", Map(IAM), Supported),
    key("Imds", Map(&[key("Secured", Bool, Unsupported)]), Unsupported),
    key("Image", Map(&[key("CustomAmi", AMI, Unsupported)]), Unsupported),
];

const HEAD_NETWORKING: &[Key] = &[
    key("SubnetId", SUBNET, Unsupported).required(),
    key("ElasticIp", BoolOrText, Unsupported),
    key("SecurityGroups", List(&GROUP, 0, 16), Supported),
    key("AdditionalSecurityGroups", List(&GROUP, 0, 16), Supported),
    key("Proxy", Map(PROXY), Unsupported),
];

const PROXY: &[Key] = &[key("HttpProxyAddress", TEXT, QueueStrategy)];

const HEAD_SSH: &[Key] =
    &[key("KeyName", TEXT, Unsupported), key("AllowedIps", Text(Cidr), Supported)];

const LOCAL_STORAGE: &[Key] = &[
    key("RootVolume", Map(ROOT_VOLUME), QueueStrategy),
    key("EphemeralVolume", Map(&[key("MountDir", PATH, QueueStrategy)]), QueueStrategy),
];

const VOLUME_TYPES: Kind = Text(OneOf(&["standard", "io1", "io2", "gp2", "st1", "sc1", "gp3"]));

const ROOT_VOLUME: &[Key] = &[
    key("VolumeType", VOLUME_TYPES, Supported),
    key("Iops", NUMBER, Supported),
    key("Size", NUMBER, Supported),
    key("Throughput", NUMBER, Supported),
    key("Encrypted", Bool, Supported),
    key("DeleteOnTermination", Bool, Supported),
];

const DCV: &[Key] = &[
    key("Enabled", Bool, Unsupported),
    key("Port", Int(1, 65535), Unsupported),
    key("AllowedIps", Text(Cidr), Supported),
];

const HEAD_ACTIONS: &[Key] = &[
    key("OnNodeStart", Actions, Supported),
    key("OnNodeConfigured", Actions, Supported),
    key("OnNodeUpdated", Actions, Supported),
];

const IAM: &[Key] = &[
    key("InstanceRole", TEXT, Supported),
    key("InstanceProfile", TEXT, Supported),
    key("AdditionalIamPolicies", POLICIES, Supported),
    key("S3Access", List(&Map(S3_ACCESS), 0, 100), Supported),
];

const S3_ACCESS: &[Key] = &[
    key("BucketName", TEXT, Supported).required(),
    key("KeyName", TEXT, Supported),
    key("EnableWriteAccess", Bool, Supported),
];

const SCHEDULING: &[Key] = &[
    key("Scheduler", Text(OneOf(&["slurm", "awsbatch"])), Unsupported).required(),
    key("ScalingStrategy", Text(OneOf(STRATEGIES)), Supported),
    key("SlurmSettings", Map(SLURM_SETTINGS), Inside),
    key("SlurmQueues", List(&Map(QUEUE), 1, 50), Inside),
    // Given for another scheduler, which is refused as a whole.
    key("AwsBatchQueues", List(&Settings, 0, 50), Unsupported),
    key("AwsBatchSettings", Settings, Unsupported),
];

const STRATEGIES: &[&str] = &["all-or-nothing", "best-effort", "greedy-all-or-nothing"];

const SLURM_SETTINGS: &[Key] = &[
    key("ScaledownIdletime", Int(-1, 10_000_000), FleetStop),
    key("QueueUpdateStrategy", Text(OneOf(UPDATE_STRATEGIES)), Supported),
    key("EnableMemoryBasedScheduling", Bool, FleetStop),
    key("Dns", Map(DNS), Unsupported),
    key("Database", Map(DATABASE), FleetStop),
    key("CustomSlurmSettings", List(&Settings, 0, 500), FleetStop),
    key("CustomSlurmSettingsIncludeFile", TEXT, FleetStop),
    key("MungeKeySecretArn", TEXT, FleetStop),
    key("ExternalSlurmdbd", Map(SLURMDBD), Supported),
];

const UPDATE_STRATEGIES: &[&str] = &["COMPUTE_FLEET_STOP", "DRAIN", "TERMINATE"];

const DNS: &[Key] = &[
    key("DisableManagedDns", Bool, Unsupported),
    key("HostedZoneId", TEXT, Unsupported),
    key("UseEc2Hostnames", Bool, Unsupported),
];

const DATABASE: &[Key] = &[
    key("Uri", TEXT, FleetStop).required(),
    key("UserName", TEXT, FleetStop).required(),
    key("PasswordSecretArn", TEXT, FleetStop).required(),
    key("DatabaseName", TEXT, FleetStop),
];

const SLURMDBD: &[Key] =
    &[key("Host", TEXT, Supported).required(), key("Port", Int(1, 65535), Supported)];

const QUEUE: &[Key] = &[
    key("Name", TEXT, Unsupported).required(),
    key("CapacityType", Text(OneOf(&["ONDEMAND", "SPOT", "CAPACITY_BLOCK"])), QueueStrategy),
    key("AllocationStrategy", Text(OneOf(ALLOCATIONS)), QueueStrategy),
    key("JobExclusiveAllocation", Bool, Supported),
    key("CustomSlurmSettings", Settings, Supported),
    key("Tags", List(&Map(TAG), 0, 40), QueueStrategy),
    key("HealthChecks", Map(HEALTH), Supported),
    key("Iam", Map(IAM), Supported),
    key("Image", Map(&[key("CustomAmi", AMI, QueueStrategy)]), QueueStrategy),
    key("CustomActions", Map(QUEUE_ACTIONS), QueueStrategy),
    key("ComputeSettings", Map(&[LOCAL]), QueueStrategy),
    key("CapacityReservationTarget", Map(RESERVATION), QueueStrategy),
    key("Networking", Map(QUEUE_NETWORKING), Inside).required(),
    key("ComputeResources", List(&Map(RESOURCE), 1, 50), Inside).required(),
];

const ALLOCATIONS: &[&str] = &["lowest-price", "capacity-optimized", "price-capacity-optimized"];
const LOCAL: Key = key("LocalStorage", Map(LOCAL_STORAGE), QueueStrategy);
const HEALTH: &[Key] = &[key("Gpu", Map(&[key("Enabled", Bool, Supported)]), Supported)];

const QUEUE_ACTIONS: &[Key] =
    &[key("OnNodeStart", Actions, QueueStrategy), key("OnNodeConfigured", Actions, QueueStrategy)];

const RESERVATION: &[Key] = &[
    key("CapacityReservationId", TEXT, QueueStrategy),
    key("CapacityReservationResourceGroupArn", TEXT, QueueStrategy),
];

const QUEUE_NETWORKING: &[Key] = &[
    key("SubnetIds", List(&SUBNET, 1, 50), QueueStrategy).required(),
    key("AssignPublicIp", Bool, Unsupported),
    key("SecurityGroups", List(&GROUP, 0, 16), QueueStrategy),
    key("AdditionalSecurityGroups", List(&GROUP, 0, 16), QueueStrategy),
    key("PlacementGroup", Map(PLACEMENT_GROUP), QueueStrategy),
    key("Proxy", Map(PROXY), QueueStrategy),
];

const PLACEMENT_GROUP: &[Key] = &[
    key("Enabled", Bool, QueueStrategy),
    key("Name", TEXT, QueueStrategy),
    key("Id", TEXT, QueueStrategy),
];

const RESOURCE: &[Key] = &[
    key("Name", TEXT, Unsupported).required(),
    key("InstanceType", TEXT, FleetStop),
    key("Instances", List(&Map(&[TYPE]), 1, 50), FleetStop),
    key("MinCount", Int(0, 65_535), Resize),
    key("MaxCount", Int(1, 65_535), Resize),
    key("SpotPrice", Float, QueueStrategy),
    key("Efa", Map(EFA), QueueStrategy),
    key("DisableSimultaneousMultithreading", Bool, FleetStop),
    key("SchedulableMemory", Int(1, 1_000_000_000), QueueStrategy),
    key("CapacityReservationTarget", Map(RESERVATION), QueueStrategy),
    key("Networking", Map(&[PLACEMENT]), QueueStrategy),
    key("HealthChecks", Map(HEALTH), Supported),
    key("CustomSlurmSettings", Settings, Supported),
    key("Tags", List(&Map(TAG), 0, 40), QueueStrategy),
    key("StaticNodePriority", Int(0, 4_294_967_280), Supported),
    key("DynamicNodePriority", Int(0, 4_294_967_280), Supported),
];

const TYPE: Key = key("InstanceType", TEXT, FleetStop).required();
const PLACEMENT: Key = key("PlacementGroup", Map(PLACEMENT_GROUP), QueueStrategy);
const EFA: &[Key] = &[key("Enabled", Bool, QueueStrategy), key("GdrSupport", Bool, QueueStrategy)];

const SHARED_STORAGE: &[Key] = &[
    key("MountDir", PATH, FleetStop).required(),
    key("Name", TEXT, FleetStop).required(),
    key("StorageType", Text(OneOf(STORAGE_TYPES)), FleetStop).required(),
    key("EbsSettings", Map(EBS), FleetStop),
    key("EfsSettings", Map(EFS), FleetStop),
    key("FsxLustreSettings", Map(LUSTRE), FleetStop),
    key("FsxOpenZfsSettings", Map(&[FSX_VOLUME]), FleetStop),
    key("FsxOntapSettings", Map(&[FSX_VOLUME]), FleetStop),
    key("FileCacheSettings", Map(&[key("FileCacheId", TEXT, FleetStop).required()]), FleetStop),
];

/// Kinds of shared storage, each with a block `<kind>Settings`.
pub(crate) const STORAGE_TYPES: &[&str] =
    &["Ebs", "Efs", "FsxLustre", "FsxOpenZfs", "FsxOntap", "FileCache"];

const FSX_VOLUME: Key = key("VolumeId", TEXT, FleetStop).required();

const EBS: &[Key] = &[
    key("VolumeType", VOLUME_TYPES, Supported),
    key("Iops", NUMBER, Supported),
    key("Size", NUMBER, Unsupported),
    key("KmsKeyId", TEXT, Unsupported),
    key("Throughput", NUMBER, Supported),
    key("Encrypted", Bool, Unsupported),
    key("SnapshotId", SNAPSHOT, Unsupported),
    key("VolumeId", VOLUME, Unsupported),
    key("Raid", Map(RAID), Unsupported),
    key("DeletionPolicy", Text(OneOf(&["Delete", "Retain", "Snapshot"])), Supported),
];

const RAID: &[Key] = &[
    key("Type", Int(0, 1), Unsupported).required(),
    key("NumberOfVolumes", Int(2, 5), Unsupported),
];

const EFS: &[Key] = &[
    key("Encrypted", Bool, Unsupported),
    key("KmsKeyId", TEXT, Unsupported),
    key("PerformanceMode", Text(OneOf(&["generalPurpose", "maxIO"])), Unsupported),
    key("ThroughputMode", Text(OneOf(&["provisioned", "bursting", "elastic"])), Supported),
    key("ProvisionedThroughput", Int(1, 1024), Supported),
    key("FileSystemId", FILE_SYSTEM, Unsupported),
    key("DeletionPolicy", DELETION, Supported),
    key("AccessPointId", TEXT, Unsupported),
    key("EncryptionInTransit", Bool, Unsupported),
    key("IamAuthorization", Bool, Unsupported),
];

const LUSTRE: &[Key] = &[
    key("StorageCapacity", NUMBER, Unsupported),
    key("DeploymentType", Text(OneOf(LUSTRE_DEPLOYMENTS)), Unsupported),
    key("ImportedFileChunkSize", Int(1, 512_000), Unsupported),
    key("ExportPath", TEXT, Unsupported),
    key("ImportPath", TEXT, Unsupported),
    key("WeeklyMaintenanceStartTime", TEXT, Supported),
    key("AutomaticBackupRetentionDays", Int(0, 35), Supported),
    key("CopyTagsToBackups", Bool, Unsupported),
    key("DailyAutomaticBackupStartTime", TEXT, Supported),
    key("PerUnitStorageThroughput", NUMBER, Unsupported),
    key("BackupId", TEXT, Unsupported),
    key("KmsKeyId", TEXT, Unsupported),
    key("FileSystemId", FILE_SYSTEM, Unsupported),
    key("AutoImportPolicy", TEXT, Supported),
    key("DriveCacheType", Text(OneOf(&["READ"])), Unsupported),
    key("DataCompressionType", Text(OneOf(&["LZ4"])), Supported),
    key("StorageType", Text(OneOf(&["HDD", "SSD"])), Unsupported),
    key("DeletionPolicy", DELETION, Supported),
    key("DataRepositoryAssociations", List(&Settings, 0, 8), Unsupported),
];

const LUSTRE_DEPLOYMENTS: &[&str] = &["SCRATCH_1", "SCRATCH_2", "PERSISTENT_1", "PERSISTENT_2"];

const MONITORING: &[Key] = &[
    key("DetailedMonitoring", Bool, FleetStop),
    key("Logs", Map(LOGS), Unsupported),
    key("Dashboards", Map(&[key("CloudWatch", Map(ENABLED), Supported)]), Supported),
    key("Alarms", Map(ENABLED), Supported),
];

const ENABLED: &[Key] = &[key("Enabled", Bool, Supported)];

const LOGS: &[Key] = &[
    key("CloudWatch", Map(CLOUD_WATCH), Unsupported),
    key("Rotation", Map(&[key("Enabled", Bool, Unsupported)]), Unsupported),
];

const CLOUD_WATCH: &[Key] = &[
    key("Enabled", Bool, Unsupported),
    key("RetentionInDays", Int(0, 3653), Supported),
    key("DeletionPolicy", DELETION, Supported),
];

const PACKAGES: &[Key] = &[key("IntelSoftware", Map(INTEL), Unsupported)];
const INTEL: &[Key] = &[key("IntelHpcPlatform", Bool, Unsupported)];

const CLUSTER_IAM: &[Key] = &[
    key("Roles", Map(&[key("LambdaFunctionsRole", TEXT, Supported)]), Supported),
    key("PermissionsBoundary", TEXT, Supported),
    key("ResourcePrefix", TEXT, Unsupported),
];

const TOP_IMDS: &[Key] = &[key("ImdsSupport", Text(OneOf(&["v1.0", "v2.0"])), Unsupported)];

const DIRECTORY: &[Key] = &[
    key("DomainName", TEXT, Unsupported).required(),
    key("DomainAddr", TEXT, Unsupported).required(),
    key("PasswordSecretArn", TEXT, Unsupported).required(),
    key("DomainReadOnlyUser", TEXT, Unsupported).required(),
    key("LdapTlsCaCert", TEXT, Unsupported),
    key("LdapTlsReqCert", TEXT, Unsupported),
    key("LdapAccessFilter", TEXT, Unsupported),
    key("GenerateSshKeysForUsers", Bool, Unsupported),
    key("AdditionalSssdConfigs", Settings, Unsupported),
];

const DEVELOPMENT: &[Key] = &[
    key("ClusterTemplate", TEXT, Supported),
    key("Cookbook", Settings, Unsupported),
    key("NodePackage", TEXT, Unsupported),
    key("AmiSearchFilters", Map(AMI_FILTERS), Unsupported),
    key("InstanceTypesData", TEXT, Supported),
    key("Timeouts", Map(TIMEOUTS), Supported),
    key("ComputeStartupTimeMetricEnabled", Bool, Supported),
];

const AMI_FILTERS: &[Key] =
    &[key("Tags", List(&Map(TAG), 0, 40), Unsupported), key("Owner", TEXT, Unsupported)];

const TIMEOUTS: &[Key] = &[
    key("HeadNodeBootstrapTimeout", Int(1, 86_400), Supported),
    key("ComputeNodeBootstrapTimeout", Int(1, 86_400), Supported),
];

const DEPLOYMENT: &[Key] = &[
    key("LambdaFunctionsVpcConfig", Settings, Unsupported),
    key("DisableSudoAccessForDefaultUser", Bool, Unsupported),
    key("DefaultUserHome", Text(OneOf(&["Shared", "Local", "shared", "local"])), Unsupported),
];

const LOGIN_NODES: &[Key] = &[key("Pools", List(&Map(POOL), 1, 10), Unsupported).required()];

const POOL: &[Key] = &[
    key("Name", TEXT, Unsupported).required(),
    key("InstanceType", TEXT, Unsupported).required(),
    key("Networking", Map(POOL_NETWORKING), Unsupported).required(),
    key("Count", Int(0, 1000), Supported).required(),
    key("GracetimePeriod", Int(3, 120), Supported),
    key("Image", Map(&[key("CustomAmi", AMI, Unsupported)]), Unsupported),
    key("Ssh", Map(HEAD_SSH), Unsupported),
    key("Dcv", Map(DCV), Unsupported),
    key("CustomActions", Map(HEAD_ACTIONS), Unsupported),
    key("Iam", Map(IAM), Unsupported),
];

const POOL_NETWORKING: &[Key] = &[
    key("SubnetIds", List(&SUBNET, 1, 1), Unsupported).required(),
    key("SecurityGroups", List(&GROUP, 0, 16), Unsupported),
    key("AdditionalSecurityGroups", List(&GROUP, 0, 16), Unsupported),
    key("Proxy", Map(PROXY), Unsupported),
];
