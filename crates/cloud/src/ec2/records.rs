//! Everything a cloud knows: what calls have made, and how it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{error::ApiError, ids, parameters::Form, region::ZONES};

/// The form of the file that these records are kept in; a later one has a higher number.
pub(crate) const FORM: u32 = 1;

/// The account that owns everything.
pub(crate) const OWNER: &str = "000000000000";

/// All of them. Ids are keys; where a kind of thing is known by its name, names are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) form: u32,
    pub(crate) vpc: Vpc,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) key_pairs: BTreeMap<String, KeyPair>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    pub(crate) placement_groups: BTreeMap<String, PlacementGroup>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) images: BTreeMap<String, Image>,
    pub(crate) templates: BTreeMap<String, LaunchTemplate>,
    pub(crate) launches: BTreeMap<String, Launch>,
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Images whose layers are to be removed.
    pub(crate) dropped_images: BTreeSet<String>,
}

/// Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Timestamp(u64);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Timestamp {
    pub(crate) fn elapsed_until(self, now: Self) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.0))
    }
}

/// As EC2 writes it: `2026-01-02T03:04:05.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 there is no such text.
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_999));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

/// The one virtual private cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vpc {
    pub(crate) id: String,
    pub(crate) network: Ipv4Net,
    pub(crate) route_table: String,
    pub(crate) gateway: String,
    pub(crate) default_group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) network: Ipv4Net,
    /// The letter of its availability zone.
    pub(crate) zone: char,
    /// Whether it is the one its zone has by default.
    pub(crate) default: bool,
    pub(crate) public: bool,
    /// The address given last.
    pub(crate) last: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) id: String,
    /// `rsa` or `ed25519`.
    pub(crate) kind: String,
    pub(crate) fingerprint: String,
    /// A line of `authorized_keys`.
    pub(crate) public: String,
    pub(crate) created: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecurityGroup {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) ingress: Vec<Permission>,
    pub(crate) egress: Vec<Permission>,
}

/// One rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permission {
    pub(crate) id: String,
    pub(crate) traffic: TrafficRecord,
    pub(crate) peer: PeerRecord,
    pub(crate) description: Option<String>,
}

impl Permission {
    /// Whether two rules allow the same.
    pub(crate) fn allows_same(&self, other: &Self) -> bool {
        self.traffic == other.traffic && self.peer == other.peer
    }
}

/// A kind of traffic, as calls name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TrafficRecord {
    /// `-1`, `tcp`, `udp`, `icmp`, or a number.
    pub(crate) protocol: String,
    /// Ports, or type and code of ICMP; -1 is any.
    pub(crate) range: Option<(i32, i32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerRecord {
    Network(Ipv4Net),
    /// Kept and shown; the cloud's network has no IPv6.
    Network6(Ipv6Net),
    Group(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlacementGroup {
    pub(crate) id: String,
    pub(crate) strategy: Strategy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Strategy {
    Cluster,
    Spread { by_host: bool },
    Partition { count: u32 },
}

impl Strategy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Spread { .. } => "spread",
            Self::Partition { .. } => "partition",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interface {
    pub(crate) subnet: String,
    /// An interface that is for EFA only has none.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) groups: Vec<String>,
    pub(crate) kind: InterfaceKind,
    pub(crate) description: String,
    pub(crate) mac: String,
    pub(crate) public: bool,
    pub(crate) attachment: Option<Attachment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InterfaceKind {
    Interface,
    Efa,
    EfaOnly,
}

impl InterfaceKind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "interface" => Some(Self::Interface),
            "efa" => Some(Self::Efa),
            "efa-only" => Some(Self::EfaOnly),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Efa => "efa",
            Self::EfaOnly => "efa-only",
        }
    }

    pub(crate) fn is_efa(self) -> bool {
        self != Self::Interface
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) instance: String,
    pub(crate) device: u32,
    pub(crate) card: u32,
    pub(crate) delete_on_termination: bool,
    pub(crate) since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) reservation: String,
    pub(crate) index: u32,
    pub(crate) image: String,
    pub(crate) instance_type: String,
    pub(crate) state: State,
    /// Why it is in this state: a code and a sentence.
    pub(crate) reason: Option<(String, String)>,
    /// When it changed its state by itself or on request.
    pub(crate) changed: Timestamp,
    pub(crate) launched: Timestamp,
    pub(crate) key_name: Option<String>,
    /// The public key itself: the pair may be deleted and the instance started again.
    pub(crate) authorized_key: Option<String>,
    /// In Base64, as it came.
    pub(crate) user_data: Option<String>,
    /// The user the image lets log in.
    pub(crate) user: String,
    pub(crate) placement: Placement,
    /// Whether it ends when its machine ends by itself, and does not just stop.
    pub(crate) terminates_on_shutdown: bool,
    pub(crate) protected: bool,
    pub(crate) spot: bool,
    pub(crate) client_token: Option<String>,
    /// Whether its machine has a root.
    pub(crate) booted: bool,
    /// Whether its SSH server has answered since it was started.
    pub(crate) reachable: bool,
    /// Whether its machine is to be stopped and started.
    pub(crate) reboot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// The letter of its availability zone.
    pub(crate) zone: char,
    /// The name of its placement group.
    pub(crate) group: Option<String>,
    pub(crate) partition: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it takes a place of those there are.
    pub(crate) fn takes_place(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Stopping)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) state: ImageState,
    pub(crate) created: Timestamp,
    /// The instance it is of.
    pub(crate) instance: String,
    pub(crate) user: String,
    pub(crate) snapshot: String,
    /// Whether the instance is stopped while its changes are copied.
    pub(crate) reboots: bool,
    /// Whether it is deregistered: only its snapshot is left.
    pub(crate) deregistered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ImageState {
    Pending,
    Available,
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchTemplate {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) default: u32,
    /// By number, from 1 on.
    pub(crate) versions: BTreeMap<u32, TemplateVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateVersion {
    pub(crate) created: Timestamp,
    pub(crate) description: Option<String>,
    /// The parameters it stands for.
    pub(crate) parameters: Vec<(String, String)>,
}

impl TemplateVersion {
    pub(crate) fn form(&self) -> Form {
        self.parameters.iter().cloned().collect()
    }
}

/// A call that may be repeated: what its client token has led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The SHA-256 of the call's parameters, in Base64: programs give each call a token, and some
    /// calls carry much.
    pub(crate) digest: String,
    pub(crate) reservation: String,
    pub(crate) at: Timestamp,
}

impl Records {
    /// The records of a new cloud: a VPC with a subnet in each zone and a default group.
    pub(crate) fn begin(network: Ipv4Net) -> Result<Self, ApiError> {
        let quarter = network.prefix_len() + 2;
        let parts = network.subnets(quarter).ok().filter(|_| quarter <= 26);
        let parts = parts.ok_or_else(|| {
            ApiError::internal(format!("the network {network} is too small: it may be a /24"))
        })?;
        let subnets = ZONES.into_iter().zip(parts).map(|(zone, network)| {
            Ok((
                ids::new("subnet")?,
                Subnet { network, zone, default: true, public: true, last: None },
            ))
        });
        let vpc = Vpc {
            id: ids::new("vpc")?,
            network,
            route_table: ids::new("rtb")?,
            gateway: ids::new("igw")?,
            default_group: ids::new("sg")?,
        };
        let mut records = Self {
            form: FORM,
            subnets: subnets.collect::<Result<_, ApiError>>()?,
            vpc,
            key_pairs: BTreeMap::new(),
            groups: BTreeMap::new(),
            placement_groups: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            images: BTreeMap::new(),
            templates: BTreeMap::new(),
            launches: BTreeMap::new(),
            tags: BTreeMap::new(),
            dropped_images: BTreeSet::new(),
        };
        let all = TrafficRecord { protocol: "-1".to_owned(), range: None };
        let rule = |peer| {
            let id = ids::new("sgr")?;
            Ok::<_, ApiError>(Permission { id, traffic: all.clone(), peer, description: None })
        };
        let default = SecurityGroup {
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            ingress: vec![rule(PeerRecord::Group(records.vpc.default_group.clone()))?],
            egress: vec![rule(PeerRecord::Network(Ipv4Net::default()))?],
        };
        records.groups.insert(records.vpc.default_group.clone(), default);
        Ok(records)
    }

    /// Whether an id leads to something.
    pub(crate) fn has(&self, id: &str) -> bool {
        let vpc = [&self.vpc.id, &self.vpc.route_table, &self.vpc.gateway];
        let rules = || self.groups.values().flat_map(|g| g.ingress.iter().chain(&g.egress));
        vpc.into_iter().any(|known| known == id)
            || self.subnets.contains_key(id)
            || self.groups.contains_key(id)
            || self.interfaces.contains_key(id)
            || self.instances.get(id).is_some_and(|instance| !instance.is_over())
            || self.images.get(id).is_some_and(|image| !image.deregistered)
            || self.images.values().any(|image| image.snapshot == id)
            || self.templates.contains_key(id)
            || self.key_pairs.values().any(|pair| pair.id == id)
            || self.placement_groups.values().any(|group| group.id == id)
            || rules().any(|rule| rule.id == id)
    }

    /// The interfaces attached to an instance, in the order of their devices.
    pub(crate) fn interfaces_of(&self, instance: &str) -> Vec<(&String, &Interface, &Attachment)> {
        let mut found: Vec<_> = self
            .interfaces
            .iter()
            .filter_map(|(id, interface)| {
                let attachment = interface.attachment.as_ref()?;
                (attachment.instance == instance).then_some((id, interface, attachment))
            })
            .collect();
        found.sort_by_key(|(_, _, attachment)| (attachment.device, attachment.card));
        found
    }

    /// The instances of a placement group that are not terminated.
    pub(crate) fn members_of(&self, group: &str) -> impl Iterator<Item = (&String, &Instance)> {
        self.instances.iter().filter(move |(_, instance)| {
            instance.placement.group.as_deref() == Some(group)
                && instance.state != State::Terminated
        })
    }

    /// The addresses that are taken.
    pub(crate) fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        self.interfaces.values().filter_map(|interface| interface.address).collect()
    }
}

impl LaunchTemplate {
    /// The highest number of its versions.
    pub(crate) fn latest(&self) -> u32 {
        self.versions.keys().next_back().copied().unwrap_or(0)
    }
}

impl Instance {
    /// Begins a new launch of an instance that was stopped.
    pub(crate) fn launch_again(&mut self, now: Timestamp) {
        self.state = State::Pending;
        self.reason = None;
        self.changed = now;
        self.launched = now;
        self.reachable = false;
    }

    /// Whether it can do nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ec2_does() {
        let time = Timestamp::from(UNIX_EPOCH + Duration::from_millis(1_767_323_045_006));
        assert_eq!(time.to_string(), "2026-01-02T03:04:05.006Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
