//! What a cluster asks of EC2: groups, and instances with the tags that say whose they are.

use std::{collections::BTreeMap, net::Ipv4Addr};

use cloud::client::{CallError, Document, Ec2};
use cloud::ec2::InstanceType;

use crate::{
    config::{ComputeResource, Config, Queue},
    paths,
};

/// The version of ParallelCluster whose files and output are kept to.
pub const VERSION: &str = "3.11.1";

/// Codes by which EC2 says that there is no room, now or for this account.
const NO_ROOM: &[&str] = &[
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    "Unsupported",
];

/// Whether an error says that there is no room.
pub(crate) fn is_no_room(error: &CallError) -> bool {
    NO_ROOM.contains(&error.code.as_str())
}

/// An instance of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-` and digits.
    pub id: String,
    /// Its address in the cluster's network, once it has one.
    pub address: Option<Ipv4Addr>,
    /// The address from outside, if it has one.
    pub public_address: Option<String>,
    /// `t3.micro` and the like.
    pub kind: String,
    /// `pending`, `running` and so on.
    pub state: String,
    /// When it was launched, as EC2 writes it.
    pub launched: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Instance {
    fn read(item: &Document) -> Option<Self> {
        let text = |path: &str| item.get(path).unwrap_or("").to_owned();
        let pair =
            |tag: &Document| Some((tag.get("key")?.to_owned(), tag.get("value")?.to_owned()));
        Some(Self {
            id: item.get("instanceId")?.to_owned(),
            address: item.get("privateIpAddress").and_then(|address| address.parse().ok()),
            public_address: item.get("ipAddress").map(str::to_owned),
            kind: text("instanceType"),
            state: text("instanceState/name"),
            launched: text("launchTime"),
            tags: item.items("tagSet").filter_map(pair).collect(),
        })
    }

    /// Whether it runs or is about to.
    pub fn is_live(&self) -> bool {
        self.state == "running" || self.state == "pending"
    }

    /// A tag of ParallelCluster's.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(&format!("parallelcluster:{name}")).map(String::as_str)
    }
}

/// Parameters of a call, in the order they are added.
#[derive(Debug, Default)]
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn add(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push((name.into(), value.to_string()));
    }

    fn call(&self, ec2: &Ec2, action: &str) -> Result<Document, CallError> {
        let pairs: Vec<_> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        ec2.call(action, &pairs)
    }
}

/// A cluster's side of EC2.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The client.
    pub ec2: Ec2,
    /// The cluster's name.
    pub cluster: String,
}

/// What is launched.
pub(crate) struct Order<'a> {
    pub config: &'a Config,
    pub resources: &'a crate::store::Resources,
    /// How many at least and at most.
    pub count: (u32, u32),
    /// Whether EC2 is only asked if it could.
    pub is_rehearsal: bool,
}

impl Launcher {
    /// The cluster's instances that are not terminated.
    ///
    /// # Errors
    ///
    /// EC2's own.
    pub fn instances(&self) -> Result<Vec<Instance>, CallError> {
        let mut parameters = Parameters::default();
        parameters.add("Filter.1.Name", "tag:parallelcluster:cluster-name");
        parameters.add("Filter.1.Value.1", &self.cluster);
        parameters.add("Filter.2.Name", "instance-state-name");
        for (number, state) in ["pending", "running", "stopping", "stopped"].iter().enumerate() {
            parameters.add(format!("Filter.2.Value.{}", number + 1), state);
        }
        let answer = parameters.call(&self.ec2, "DescribeInstances")?;
        let reservations = answer.items("reservationSet");
        let items = reservations.flat_map(|reservation| reservation.items("instancesSet"));
        Ok(items.filter_map(Instance::read).collect())
    }

    /// Ends instances. Those that are gone already are no error.
    ///
    /// # Errors
    ///
    /// EC2's own.
    pub fn terminate(&self, ids: &[String]) -> Result<(), CallError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut parameters = Parameters::default();
        for (number, id) in ids.iter().enumerate() {
            parameters.add(format!("InstanceId.{}", number + 1), id);
        }
        match parameters.call(&self.ec2, "TerminateInstances") {
            Err(error) if error.code == "InvalidInstanceID.NotFound" && ids.len() > 1 => {
                // Nothing was done for the sake of one: the others have to go.
                ids.iter().try_for_each(|id| self.terminate(std::slice::from_ref(id)))
            }
            Err(error) if error.code == "InvalidInstanceID.NotFound" => Ok(()),
            other => other.map(drop),
        }
    }

    /// The last an instance wrote to its console.
    ///
    /// # Errors
    ///
    /// EC2's own.
    pub fn console(&self, id: &str) -> Result<String, CallError> {
        let answer = self.ec2.call("GetConsoleOutput", &[("InstanceId", id.to_owned())])?;
        let encoded: String = answer.get("output").unwrap_or("").split_whitespace().collect();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded);
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }

    /// Launches the head node.
    pub(crate) fn head(&self, order: &Order<'_>) -> Result<Instance, CallError> {
        let head = &order.config.head_node;
        let mut parameters = Parameters::default();
        let kind = head.instance_type.as_deref().unwrap_or("");
        self.common(&mut parameters, order, kind, head.image.custom_ami.as_deref());
        parameters.add("UserData", user_data("head"));
        let subnet = head.networking.subnet_id.as_deref().unwrap_or("");
        let mut groups = head.networking.security_groups.clone();
        if groups.is_empty() {
            groups.extend(order.resources.groups.get("head").cloned());
        }
        groups.extend(head.networking.additional_security_groups.iter().cloned());
        interface(&mut parameters, 1, (subnet, &groups), "interface");
        let tags = self.tags("HeadNode", order, &[(paths::STATE, "state")]);
        tag_specification(&mut parameters, &tags);
        self.run(&parameters)?.into_iter().next().ok_or_else(none_came)
    }

    /// Launches nodes of a compute resource, of the first of its types that can be had.
    pub(crate) fn nodes(
        &self,
        order: &Order<'_>,
        queue: &Queue,
        resource: &ComputeResource,
    ) -> Result<Vec<Instance>, CallError> {
        let mut refused = none_came();
        for kind in resource.types() {
            for subnet in &queue.networking.subnet_ids {
                match self.nodes_of(order, (queue, resource), kind, subnet) {
                    Err(error) if is_no_room(&error) => refused = error,
                    other => return other,
                }
            }
        }
        Err(refused)
    }

    fn nodes_of(
        &self,
        order: &Order<'_>,
        (queue, resource): (&Queue, &ComputeResource),
        kind: &str,
        subnet: &str,
    ) -> Result<Vec<Instance>, CallError> {
        let mut parameters = Parameters::default();
        self.common(&mut parameters, order, kind, queue.image.custom_ami.as_deref());
        parameters.add("UserData", user_data("compute"));
        parameters.add("InstanceInitiatedShutdownBehavior", "terminate");
        if queue.capacity_type.as_deref() == Some("SPOT") {
            parameters.add("InstanceMarketOptions.MarketType", "spot");
            if let Some(price) = resource.spot_price {
                parameters.add("InstanceMarketOptions.SpotOptions.MaxPrice", price);
            }
        }
        let mut groups = queue.networking.security_groups.clone();
        if groups.is_empty() {
            groups.extend(order.resources.groups.get("compute").cloned());
        }
        groups.extend(queue.networking.additional_security_groups.iter().cloned());
        let efa = if resource.has_efa() { "efa" } else { "interface" };
        let found = InstanceType::named(kind);
        let cards = found
            .map_or(1, |it| if resource.has_efa() { it.efa_interfaces } else { it.card_count() });
        for number in 1..=cards.max(1) {
            interface(&mut parameters, number, (subnet, &groups), efa);
        }
        if let Some(group) = resource.placement_group(queue).filter(|group| group.is_wanted()) {
            let own = placement_group_name(&self.cluster, &queue.name, &resource.name);
            let name = group.existing().map_or(own, str::to_owned);
            parameters.add("Placement.GroupName", name);
        }
        let mut tags = self.tags("Compute", order, &[]);
        let own = queue.tags.iter().chain(&resource.tags);
        tags.extend(own.map(|tag| (tag.key.clone(), tag.value.clone())));
        tags.push(("parallelcluster:queue-name".to_owned(), queue.name.clone()));
        tags.push(("parallelcluster:compute-resource-name".to_owned(), resource.name.clone()));
        let networking = if resource.has_efa() { "EFA=true" } else { "NONE" };
        tags.push(("parallelcluster:networking".to_owned(), networking.to_owned()));
        tag_specification(&mut parameters, &tags);
        self.run(&parameters)
    }

    fn common(&self, to: &mut Parameters, order: &Order<'_>, kind: &str, image: Option<&str>) {
        let image = image.or(order.config.image.custom_ami.as_deref());
        to.add("ImageId", image.unwrap_or(&order.resources.image));
        to.add("InstanceType", kind);
        to.add("MinCount", order.count.0);
        to.add("MaxCount", order.count.1);
        if let Some(key) = &order.config.head_node.ssh.key_name {
            to.add("KeyName", key);
        }
        if order.is_rehearsal {
            to.add("DryRun", "true");
        }
    }

    /// Tags as ParallelCluster names them, and those that ask for shared folders.
    fn tags(&self, node: &str, order: &Order<'_>, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let config = order.config;
        let os = config.image.os.as_deref().unwrap_or("");
        let mut tags: Vec<_> =
            config.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        let named = [
            ("Name", node.to_owned()),
            ("parallelcluster:cluster-name", self.cluster.clone()),
            ("parallelcluster:node-type", node.to_owned()),
            ("parallelcluster:version", VERSION.to_owned()),
            ("parallelcluster:attributes", format!("{os}, slurm, {VERSION}, x86_64")),
        ];
        tags.extend(named.map(|(key, value)| (key.to_owned(), value)));
        let shared = order.resources.folders.iter();
        let shared = shared.filter(|(place, _)| place.as_str() != paths::STATE);
        tags.extend(shared.map(|(place, folder)| (mount_tag(place), folder.clone())));
        let own = more.iter().map(|(place, what)| (mount_tag(place), self.folder(what)));
        tags.extend(own);
        tags
    }

    /// The name of a shared folder of the cluster's. Names of clusters hold no dot.
    pub(crate) fn folder(&self, what: &str) -> String {
        format!("{}.{what}", self.cluster)
    }

    fn run(&self, parameters: &Parameters) -> Result<Vec<Instance>, CallError> {
        let answer = parameters.call(&self.ec2, "RunInstances")?;
        Ok(answer.items("instancesSet").filter_map(Instance::read).collect())
    }
}

/// The tag that asks the local cloud to show a shared folder at `place`.
fn mount_tag(place: &str) -> String {
    format!("elastane:mount{place}")
}

/// The placement group of a resource's own.
pub(crate) fn placement_group_name(cluster: &str, queue: &str, resource: &str) -> String {
    format!("{cluster}-{queue}-{resource}")
}

fn none_came() -> CallError {
    CallError {
        code: "InsufficientInstanceCapacity".to_owned(),
        message: "no instance came".to_owned(),
        status: 0,
    }
}

fn interface(to: &mut Parameters, number: u32, (subnet, groups): (&str, &[String]), kind: &str) {
    let mut add =
        |name: &str, value: &str| to.add(format!("NetworkInterface.{number}.{name}"), value);
    add("DeviceIndex", if number == 1 { "0" } else { "1" });
    add("NetworkCardIndex", &(number - 1).to_string());
    add("SubnetId", subnet);
    add("InterfaceType", kind);
    add("DeleteOnTermination", "true");
    for (at, group) in groups.iter().enumerate() {
        add(&format!("SecurityGroupId.{}", at + 1), group);
    }
}

fn tag_specification(to: &mut Parameters, tags: &[(String, String)]) {
    to.add("TagSpecification.1.ResourceType", "instance");
    for (number, (key, value)) in (1..).zip(tags) {
        to.add(format!("TagSpecification.1.Tag.{number}.Key"), key);
        to.add(format!("TagSpecification.1.Tag.{number}.Value"), value);
    }
}

/// What an instance runs at its first boot, and the head node at every one.
fn user_data(role: &str) -> String {
    let script =
        include_str!("user-data.sh").replace("@programs@", paths::PROGRAMS).replace("@role@", role);
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, script)
}
