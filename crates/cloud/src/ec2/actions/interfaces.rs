//! Network interfaces.

use std::net::Ipv4Addr;

use super::{
    Action, Run,
    network::{RESERVED, free_addresses},
    security_groups, tags,
};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        parameters::Parameters,
        records::{Attachment, Interface, InterfaceKind, OWNER, Records, State, Subnet, Timestamp},
        region,
        service::{Call, Cloud},
        types::{self, InstanceType},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateNetworkInterface",
        parameters: &[
            "SubnetId",
            "Description",
            "PrivateIpAddress",
            "SecurityGroupId",
            "InterfaceType",
            "TagSpecification",
        ],
        // A call that is repeated makes another interface.
        without_effect: &["ClientToken"],
        run: Run::Change(create),
    },
    Action {
        name: "DescribeNetworkInterfaces",
        parameters: &["NetworkInterfaceId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(describe),
    },
    Action {
        name: "ModifyNetworkInterfaceAttribute",
        parameters: &["NetworkInterfaceId", "SecurityGroupId", "Description", "Attachment"],
        without_effect: &["SourceDestCheck"],
        run: Run::Change(modify),
    },
    Action {
        name: "AttachNetworkInterface",
        parameters: &["NetworkInterfaceId", "InstanceId", "DeviceIndex", "NetworkCardIndex"],
        without_effect: &[],
        run: Run::Change(attach),
    },
    Action {
        name: "DetachNetworkInterface",
        parameters: &["AttachmentId"],
        without_effect: &["Force"],
        run: Run::Change(detach),
    },
    Action {
        name: "DeleteNetworkInterface",
        parameters: &["NetworkInterfaceId"],
        without_effect: &[],
        run: Run::Change(delete),
    },
];

/// How many security groups an interface may have.
const MAX_GROUPS: usize = 5;

/// The groups of a list of ids, or the default group; each must be there.
pub(super) fn groups(records: &Records, ids: &[&str]) -> Result<Vec<String>, ApiError> {
    for id in ids {
        security_groups::check(records, id)?;
    }
    let mut groups: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.is_empty() {
        groups.push(records.vpc.default_group.clone());
    }
    if groups.len() > MAX_GROUPS {
        let message = format!("An interface has at most {MAX_GROUPS} security groups");
        return Err(ApiError::new("SecurityGroupsPerInterfaceLimitExceeded", message));
    }
    Ok(groups)
}

/// The subnet with an id.
pub(super) fn subnet<'a>(records: &'a Records, id: &str) -> Result<&'a Subnet, ApiError> {
    let subnet = records.subnets.get(id);
    subnet.ok_or_else(|| ids::unknown("InvalidSubnetID", "subnet", "subnet", id))
}

/// The kind that `InterfaceType` names.
pub(super) fn kind(parameters: &Parameters<'_>) -> Result<InterfaceKind, ApiError> {
    let text = parameters.text("InterfaceType").unwrap_or("interface");
    InterfaceKind::parse(text).ok_or_else(|| {
        parameters.invalid("InterfaceType", text, "Expected interface, efa or efa-only")
    })
}

/// The address that a call wishes, if it can be given.
pub(super) fn wished_address(
    records: &Records,
    parameters: &Parameters<'_>,
    subnet_id: &str,
) -> Result<Option<Ipv4Addr>, ApiError> {
    let Some(text) = parameters.text("PrivateIpAddress") else { return Ok(None) };
    let invalid = |wanted: &str| parameters.invalid("PrivateIpAddress", text, wanted);
    let address: Ipv4Addr = text.parse().map_err(|_| invalid("Expected an IPv4 address"))?;
    let subnet = subnet(records, subnet_id)?;
    if !usable(subnet).any(|usable| usable == address) {
        return Err(invalid(&format!("It is none that {} can give", subnet.network)));
    }
    if records.addresses().contains(&address) {
        let message = format!("Address {address} is in use.");
        return Err(ApiError::new("InvalidIPAddress.InUse", message));
    }
    Ok(Some(address))
}

/// The addresses of a subnet that interfaces may have.
fn usable(subnet: &Subnet) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let (first, last) =
        (u32::from(subnet.network.network()), u32::from(subnet.network.broadcast()));
    (first + RESERVED - 1..last).map(Ipv4Addr::from)
}

/// Takes a free address: the next after the one given last, so that an address rests before it is
/// another host's.
fn take_address(records: &mut Records, subnet_id: &str) -> Result<Ipv4Addr, ApiError> {
    let taken = records.addresses();
    let found = records.subnets.get_mut(subnet_id).and_then(|subnet| {
        let last = subnet.last.unwrap_or(subnet.network.network());
        let later = usable(subnet).filter(|address| *address > last);
        let sooner = usable(subnet).filter(|address| *address <= last);
        let found = later.chain(sooner).find(|address| !taken.contains(address));
        subnet.last = found.or(subnet.last);
        found
    });
    found.ok_or_else(|| {
        let message = format!("There are not enough free addresses in subnet '{subnet_id}'");
        ApiError::new("InsufficientFreeAddressesInSubnet", message)
    })
}

/// How many more interfaces the subnet has addresses for.
pub(super) fn room(records: &Records, subnet_id: &str) -> usize {
    records.subnets.get(subnet_id).map_or(0, |subnet| free_addresses(records, subnet))
}

/// An interface to be made.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) subnet: String,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) groups: Vec<String>,
    pub(super) kind: InterfaceKind,
    pub(super) description: String,
    pub(super) public: bool,
}

/// Makes an interface. Returns its id.
pub(super) fn make(records: &mut Records, new: New) -> Result<String, ApiError> {
    let address = match (new.kind, new.address) {
        (InterfaceKind::EfaOnly, _) => None,
        (_, Some(address)) => Some(address),
        (_, None) => Some(take_address(records, &new.subnet)?),
    };
    let id = ids::new("eni")?;
    let interface = Interface {
        subnet: new.subnet,
        address,
        groups: new.groups,
        kind: new.kind,
        description: new.description,
        mac: ids::mac()?,
        public: new.public && address.is_some(),
        attachment: None,
    };
    records.interfaces.insert(id.clone(), interface);
    Ok(id)
}

/// A new attachment of an interface that is there.
pub(super) fn connect(
    records: &mut Records,
    interface: &str,
    attachment: Attachment,
) -> Result<(), ApiError> {
    match records.interfaces.get_mut(interface) {
        Some(record) => {
            record.attachment = Some(attachment);
            Ok(())
        }
        None => Err(unknown(interface)),
    }
}

/// Removes an interface and what was said of it.
pub(crate) fn remove(records: &mut Records, id: &str) {
    records.interfaces.remove(id);
    records.tags.remove(id);
}

pub(super) fn unknown(id: &str) -> ApiError {
    ids::unknown("InvalidNetworkInterfaceID", "eni", "networkInterface", id)
}

/// What an interface takes of its instance type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) card: u32,
    pub(super) device: u32,
    pub(super) kind: InterfaceKind,
}

/// That interfaces fit a type: its cards, their number of interfaces, and EFA.
pub(super) fn check_slots(found: &InstanceType, slots: &[Slot]) -> Result<(), ApiError> {
    let name = found.name;
    let efas = slots.iter().filter(|slot| slot.kind.is_efa()).count();
    if efas > 0 && found.efa_interfaces == 0 {
        let message = format!(
            "Instance type '{name}' does not support Elastic Fabric Adapter interfaces; \
             describe-instance-types with the filter network-info.efa-supported=true lists those \
             that do"
        );
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    for (position, slot) in slots.iter().enumerate() {
        if slot.card as usize >= found.cards.len() {
            let message = format!(
                "Network card index {} exceeds the limit for {name}, which has {} network cards",
                slot.card,
                found.cards.len()
            );
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        let same = |other: &&Slot| (other.card, other.device) == (slot.card, slot.device);
        if slots[..position].iter().any(|other| same(&other)) {
            let message = format!(
                "Device index {} of network card {} is given to two interfaces",
                slot.device, slot.card
            );
            return Err(ApiError::new("InvalidParameterValue", message));
        }
    }
    let limit = |what: &str, count: usize, limit: u32| {
        let message = format!("{what} count {count} exceeds the limit for {name} ({limit})");
        Err(ApiError::new("AttachmentLimitExceeded", message))
    };
    for (index, card) in found.cards.iter().enumerate() {
        let of_card = || slots.iter().filter(move |slot| slot.card as usize == index);
        let count = of_card().count();
        if count > card.interfaces as usize {
            return limit("Interface", count, card.interfaces);
        }
        let count = of_card().filter(|slot| slot.kind.is_efa()).count();
        if count > 1 {
            return limit("EFA interface per network card", count, 1);
        }
    }
    if slots.len() > found.interfaces as usize {
        return limit("Interface", slots.len(), found.interfaces);
    }
    if efas > found.efa_interfaces as usize {
        return limit("EFA interface", efas, found.efa_interfaces);
    }
    let primary = slots.iter().find(|slot| (slot.card, slot.device) == (0, 0));
    match primary {
        None => Err(ApiError::combination(
            "An instance needs an interface with device index 0 on network card 0",
        )),
        Some(slot) if slot.kind == InterfaceKind::EfaOnly => Err(ApiError::combination(
            "The primary network interface cannot be efa-only: it has no address",
        )),
        Some(_) => Ok(()),
    }
}

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let records = &mut cloud.records;
    let subnet_id = parameters.required("SubnetId")?;
    subnet(records, subnet_id)?;
    let new = New {
        subnet: subnet_id.to_owned(),
        address: wished_address(records, parameters, subnet_id)?,
        groups: groups(records, &parameters.texts("SecurityGroupId"))?,
        kind: kind(parameters)?,
        description: parameters.text("Description").unwrap_or_default().to_owned(),
        public: false,
    };
    let tags = tags::Specifications::parse(parameters, &["network-interface"])?;
    let id = make(records, new)?;
    tags.apply(records, "network-interface", &id)?;
    let described = Element::new("networkInterface").extended(item(records, call.region, &id));
    Ok(Element::new("").with(described))
}

/// An interface as it is described; empty if it is not there.
fn item(records: &Records, region: &str, id: &str) -> Element {
    let Some(interface) = records.interfaces.get(id) else { return Element::new("item") };
    let zone = records.subnets.get(&interface.subnet).map_or('a', |subnet| subnet.zone);
    let item = shared(records, region, id, interface)
        .field("availabilityZone", region::zone_name(region, zone))
        .field("availabilityZoneId", region::zone_id(region, zone))
        .field("requesterManaged", false)
        .list("tagSet", tags::items(records, id));
    let Some(attachment) = &interface.attachment else { return item };
    let described = attachment_item(attachment)
        .field("instanceId", &attachment.instance)
        .field("instanceOwnerId", OWNER);
    item.with(described)
}

/// What descriptions of interfaces and of instances say alike.
fn shared(records: &Records, region: &str, id: &str, interface: &Interface) -> Element {
    let item = Element::new("item")
        .field("networkInterfaceId", id)
        .field("subnetId", &interface.subnet)
        .field("vpcId", &records.vpc.id)
        .field("description", &interface.description)
        .field("ownerId", OWNER)
        .field("status", if interface.attachment.is_some() { "in-use" } else { "available" })
        .field("macAddress", &interface.mac)
        .field("sourceDestCheck", true)
        .field("interfaceType", interface.kind.name())
        .list("groupSet", group_items(records, &interface.groups))
        .list("ipv6AddressesSet", []);
    let Some(address) = interface.address else { return item.list("privateIpAddressesSet", []) };
    let name = region::private_dns_name(region, address);
    let association = interface.public.then(|| {
        Element::new("association")
            .field("publicIp", address)
            .field("publicDnsName", address)
            .field("ipOwnerId", "amazon")
    });
    let with_association = |element: Element| match &association {
        Some(association) => element.with(association.clone()),
        None => element,
    };
    let private = Element::new("")
        .field("privateIpAddress", address)
        .field("privateDnsName", &name)
        .field("primary", true);
    let item = item
        .field("privateIpAddress", address)
        .field("privateDnsName", name)
        .list("privateIpAddressesSet", [with_association(private)]);
    with_association(item)
}

/// Groups as they are listed: id and name.
pub(super) fn group_items(records: &Records, ids: &[String]) -> Vec<Element> {
    let item = |id: &String| {
        let name = records.groups.get(id).map_or("", |group| &group.name);
        Element::new("").field("groupId", id).field("groupName", name)
    };
    ids.iter().map(item).collect()
}

fn attachment_item(attachment: &Attachment) -> Element {
    Element::new("attachment")
        .field("attachmentId", &attachment.id)
        .field("deviceIndex", attachment.device)
        .field("networkCardIndex", attachment.card)
        .field("status", "attached")
        .field("attachTime", attachment.since)
        .field("deleteOnTermination", attachment.delete_on_termination)
}

/// The interfaces of an instance, as its description lists them.
pub(super) fn of_instance(records: &Records, region: &str, instance: &str) -> Vec<Element> {
    let interfaces = records.interfaces_of(instance).into_iter();
    let item = |(id, interface, attachment): (&String, &Interface, &Attachment)| {
        shared(records, region, id, interface).with(attachment_item(attachment))
    };
    interfaces.map(item).collect()
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "networkInterfaceSet",
        id: ("NetworkInterfaceId", "networkInterfaceId"),
        names: &[],
        not_found: "InvalidNetworkInterfaceID.NotFound",
        what: "networkInterface ID",
        filters: &[
            ("addresses.private-ip-address", "privateIpAddressesSet/item/privateIpAddress"),
            ("attachment.attachment-id", "attachment/attachmentId"),
            ("attachment.device-index", "attachment/deviceIndex"),
            ("attachment.instance-id", "attachment/instanceId"),
            ("attachment.status", "attachment/status"),
            ("availability-zone", "availabilityZone"),
            ("description", "description"),
            ("group-id", "groupSet/item/groupId"),
            ("group-name", "groupSet/item/groupName"),
            ("interface-type", "interfaceType"),
            ("mac-address", "macAddress"),
            ("network-interface-id", "networkInterfaceId"),
            ("owner-id", "ownerId"),
            ("private-dns-name", "privateDnsName"),
            ("private-ip-address", "privateIpAddress"),
            ("status", "status"),
            ("subnet-id", "subnetId"),
            ("vpc-id", "vpcId"),
        ],
        page: None,
    };
    let ids = cloud.records.interfaces.keys();
    let items = ids.map(|id| item(&cloud.records, call.region, id)).collect();
    LISTING.answer(&call.parameters, items)
}

fn modify(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let id = parameters.required("NetworkInterfaceId")?;
    let wanted = parameters.texts("SecurityGroupId");
    let groups = groups(&cloud.records, &wanted)?;
    let interface = cloud.records.interfaces.get_mut(id).ok_or_else(|| unknown(id))?;
    if !wanted.is_empty() {
        interface.groups = groups;
    }
    if let Some(description) = parameters.below("Description").text("Value") {
        interface.description = description.to_owned();
    }
    let change = parameters.below("Attachment");
    if let Some(delete) = change.flag("DeleteOnTermination")? {
        let of = change.required("AttachmentId")?;
        let attachment = interface.attachment.as_mut().filter(|attachment| attachment.id == of);
        attachment.ok_or_else(|| no_attachment(of))?.delete_on_termination = delete;
    }
    Ok(Element::new("").field("return", true))
}

fn no_attachment(id: &str) -> ApiError {
    ApiError::not_found("InvalidAttachmentID.NotFound", "networkInterface attachment", id)
}

fn attach(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let (id, instance_id) =
        (parameters.required("NetworkInterfaceId")?, parameters.required("InstanceId")?);
    let device: u32 =
        parameters.number("DeviceIndex")?.ok_or_else(|| ApiError::missing("DeviceIndex"))?;
    let card = parameters.number("NetworkCardIndex")?.unwrap_or(0);
    let records = &mut cloud.records;
    let interface = records.interfaces.get(id).ok_or_else(|| unknown(id))?;
    let instance = records
        .instances
        .get(instance_id)
        .ok_or_else(|| ids::unknown("InvalidInstanceID", "i", "instance", instance_id))?;
    if interface.attachment.is_some() {
        return Err(ApiError::new(
            "InvalidNetworkInterface.InUse",
            format!("Interface: [{id}] in use."),
        ));
    }
    check_stopped(instance_id, instance.state, interface.kind)?;
    let zone = records.subnets.get(&interface.subnet).map(|subnet| subnet.zone);
    if zone != Some(instance.placement.zone) {
        let message = "You may not attach a network interface to an instance if they are not in \
                       the same availability zone";
        return Err(ApiError::combination(message));
    }
    let mut slots = slots_of(records, instance_id);
    slots.push(Slot { card, device, kind: interface.kind });
    check_slots(types::find(&instance.instance_type)?, &slots)?;
    let attachment = attachment(instance_id, device, card, false, call.now)?;
    let answer = Element::new("").field("attachmentId", &attachment.id);
    connect(records, id, attachment)?;
    Ok(answer.field("networkCardIndex", card))
}

/// A machine takes its interfaces when it starts. EC2 asks the same for EFA, not for others.
fn check_stopped(id: &str, state: State, kind: InterfaceKind) -> Result<(), ApiError> {
    if state == State::Stopped {
        return Ok(());
    }
    let what = match kind {
        InterfaceKind::Interface => "this cloud attaches and detaches interfaces",
        _ => "Elastic Fabric Adapter interfaces are attached and detached",
    };
    let message = format!(
        "The instance '{id}' is {}; {what} only at launch or while an instance is stopped",
        state.name()
    );
    Err(ApiError::new("IncorrectInstanceState", message))
}

/// A new attachment.
pub(super) fn attachment(
    instance: &str,
    device: u32,
    card: u32,
    delete_on_termination: bool,
    since: Timestamp,
) -> Result<Attachment, ApiError> {
    let id = ids::new("eni-attach")?;
    let instance = instance.to_owned();
    Ok(Attachment { id, instance, device, card, delete_on_termination, since })
}

/// The slots that an instance's interfaces take.
pub(super) fn slots_of(records: &Records, instance: &str) -> Vec<Slot> {
    let interfaces = records.interfaces_of(instance).into_iter();
    let slot = |(_, interface, attachment): (&String, &Interface, &Attachment)| Slot {
        card: attachment.card,
        device: attachment.device,
        kind: interface.kind,
    };
    interfaces.map(slot).collect()
}

fn detach(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let wanted = call.parameters.required("AttachmentId")?;
    let records = &mut cloud.records;
    let mut interfaces = records.interfaces.iter();
    let found = interfaces.find_map(|(id, interface)| {
        let attachment = interface.attachment.as_ref()?;
        (attachment.id == wanted).then(|| (id.clone(), interface.kind, attachment.clone()))
    });
    let (id, kind, attachment) = found.ok_or_else(|| no_attachment(wanted))?;
    if (attachment.device, attachment.card) == (0, 0) {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    if let Some(instance) = records.instances.get(&attachment.instance) {
        check_stopped(&attachment.instance, instance.state, kind)?;
    }
    if let Some(interface) = records.interfaces.get_mut(&id) {
        interface.attachment = None;
    }
    Ok(Element::new("").field("return", true))
}

fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = call.parameters.required("NetworkInterfaceId")?;
    let records = &mut cloud.records;
    let interface = records.interfaces.get(id).ok_or_else(|| unknown(id))?;
    if interface.attachment.is_some() {
        let message = format!("Network interface '{id}' is currently in use.");
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    remove(records, id);
    Ok(Element::new("").field("return", true))
}
