//! What a cloud is made with.

use std::{collections::BTreeMap, path::PathBuf};

use ipnet::Ipv4Net;

/// The settings of a cloud.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cloud's state directory. The records are in `ec2.json` of it, the API's key pair in
    /// `credentials.json`, file systems that instances share below `filesystems/`.
    pub directory: PathBuf,
    /// The region's name, `us-east-1` for one. Its availability zones are this with `a`, `b`, `c`.
    pub region: String,
    /// The addresses of the default VPC, a network of 16 to 24 bits: each availability zone's
    /// default subnet is a quarter of it. The first four addresses of a subnet and its last are
    /// never given to an instance.
    pub network: Ipv4Net,
    /// What the base images consist of: the name of this machine's system.
    pub system: String,
    /// How many instances there may be.
    pub capacity: Capacity,
}

/// How many instances may be there at once: pending, running and stopping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Of all types together; as many as there are addresses without.
    pub total: Option<u32>,
    /// Of single types, by name; types that are not named have no limit of their own.
    pub of_type: BTreeMap<String, u32>,
}
