//! What instances are, and how they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Action, Run, images, interfaces, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{Instance, OWNER, Records, State},
        region,
        service::{Call, Cloud},
        types,
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "DescribeInstances",
        parameters: &["InstanceId", "Filter", "MaxResults", "NextToken"],
        without_effect: &["IncludeManagedResources"],
        run: Run::Read(describe),
    },
    Action {
        name: "DescribeInstanceStatus",
        parameters: &["InstanceId", "Filter", "MaxResults", "NextToken", "IncludeAllInstances"],
        without_effect: &["IncludeManagedResources"],
        run: Run::Read(status),
    },
    Action {
        name: "DescribeInstanceAttribute",
        parameters: &["InstanceId", "Attribute"],
        without_effect: &[],
        run: Run::Read(attribute),
    },
    Action {
        name: "GetConsoleOutput",
        parameters: &["InstanceId"],
        without_effect: &["Latest"],
        run: Run::Read(console),
    },
];

/// How much of a console is told, in bytes: its end.
const CONSOLE: usize = 64 * 1024;

/// The instance with an id.
pub(super) fn find<'a>(records: &'a Records, id: &str) -> Result<&'a Instance, ApiError> {
    records.instances.get(id).ok_or_else(|| unknown(id))
}

pub(super) fn unknown(id: &str) -> ApiError {
    ids::unknown("InvalidInstanceID", "i", "instance", id)
}

const LISTING: Listing = Listing {
    set: "instancesSet",
    id: ("InstanceId", "instanceId"),
    names: &[],
    not_found: "InvalidInstanceID.NotFound",
    what: "instance ID",
    filters: &[
        ("architecture", "architecture"),
        ("availability-zone", "placement/availabilityZone"),
        ("availability-zone-id", "placement/availabilityZoneId"),
        ("client-token", "clientToken"),
        ("dns-name", "dnsName"),
        ("group-id", "groupSet/item/groupId"),
        ("group-name", "groupSet/item/groupName"),
        ("hypervisor", "hypervisor"),
        ("image-id", "imageId"),
        ("instance-id", "instanceId"),
        ("instance-lifecycle", "instanceLifecycle"),
        ("instance-state-code", "instanceState/code"),
        ("instance-state-name", "instanceState/name"),
        ("instance-type", "instanceType"),
        ("instance.group-id", "groupSet/item/groupId"),
        ("instance.group-name", "groupSet/item/groupName"),
        ("ip-address", "ipAddress"),
        ("key-name", "keyName"),
        ("launch-index", "amiLaunchIndex"),
        ("launch-time", "launchTime"),
        ("monitoring-state", "monitoring/state"),
        (
            "network-interface.addresses.private-ip-address",
            "networkInterfaceSet/item/privateIpAddress",
        ),
        ("network-interface.group-id", "networkInterfaceSet/item/groupSet/item/groupId"),
        ("network-interface.group-name", "networkInterfaceSet/item/groupSet/item/groupName"),
        ("network-interface.mac-address", "networkInterfaceSet/item/macAddress"),
        ("network-interface.network-interface-id", "networkInterfaceSet/item/networkInterfaceId"),
        ("network-interface.subnet-id", "networkInterfaceSet/item/subnetId"),
        ("network-interface.vpc-id", "networkInterfaceSet/item/vpcId"),
        ("owner-id", "ownerId"),
        ("placement-group-name", "placement/groupName"),
        ("placement-partition-number", "placement/partitionNumber"),
        ("platform-details", "platformDetails"),
        ("private-dns-name", "privateDnsName"),
        ("private-ip-address", "privateIpAddress"),
        ("reason", "reason"),
        ("reservation-id", "reservationId"),
        ("root-device-name", "rootDeviceName"),
        ("root-device-type", "rootDeviceType"),
        ("state-reason-code", "stateReason/code"),
        ("state-reason-message", "stateReason/message"),
        ("subnet-id", "subnetId"),
        ("tenancy", "placement/tenancy"),
        ("virtualization-type", "virtualizationType"),
        ("vpc-id", "vpcId"),
    ],
    page: None,
};

/// The instances in the order of their launches.
fn sorted(records: &Records) -> Vec<(&String, &Instance)> {
    let mut instances: Vec<_> = records.instances.iter().collect();
    instances
        .sort_by_key(|(_, instance)| (instance.launched, &instance.reservation, instance.index));
    instances
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    let records = &cloud.records;
    let items = sorted(records).into_iter().map(|(id, instance)| {
        item(records, call.region, id)
            .field("reservationId", &instance.reservation)
            .field("ownerId", OWNER)
    });
    let (items, next) = LISTING.select(&call.parameters, items.collect())?;
    let mut reservations: Vec<(String, Vec<Element>)> = Vec::new();
    for item in items {
        let id = item.get("reservationId").unwrap_or_default().to_owned();
        let item = item.without("reservationId").without("ownerId");
        match reservations.iter_mut().find(|(other, _)| *other == id) {
            Some((_, instances)) => instances.push(item),
            None => reservations.push((id, vec![item])),
        }
    }
    let reservations = reservations.into_iter().map(|(id, items)| reservation(&id, items));
    Ok(Element::new("").list("reservationSet", reservations).field_if("nextToken", next))
}

/// A reservation with its instances.
pub(super) fn reservation(id: &str, instances: Vec<Element>) -> Element {
    Element::new("item")
        .field("reservationId", id)
        .field("ownerId", OWNER)
        .list("groupSet", [])
        .list("instancesSet", instances)
}

/// An instance's state, as the element of this name.
pub(super) fn state(name: &'static str, state: State) -> Element {
    Element::new(name).field("code", state.code()).field("name", state.name())
}

/// An instance as it is described; empty if it is not there.
pub(super) fn item(records: &Records, region: &str, id: &str) -> Element {
    let Some(instance) = records.instances.get(id) else { return Element::new("item") };
    let found = types::find(&instance.instance_type).ok();
    let reason = instance.reason.as_ref();
    let element = Element::new("item")
        .field("instanceId", id)
        .field("imageId", &instance.image)
        .with(state("instanceState", instance.state))
        .extended(addresses(records, region, id))
        .field("reason", reason_text(instance))
        .field_if("keyName", instance.key_name.as_ref())
        .field("amiLaunchIndex", instance.index)
        .list("productCodes", [])
        .field("instanceType", &instance.instance_type)
        .field("launchTime", instance.launched)
        .with(placement(records, region, instance))
        .with(Element::new("monitoring").field("state", "disabled"));
    let element = match reason.filter(|_| instance.state != State::Running) {
        Some((code, message)) => {
            element.with(Element::new("stateReason").field("code", code).field("message", message))
        }
        None => element,
    };
    let cpus = found.map(|found| {
        Element::new("cpuOptions")
            .field("coreCount", found.cores)
            .field("threadsPerCore", found.threads_per_core)
    });
    let element = element
        .field("architecture", images::architecture())
        .field("rootDeviceType", "ebs")
        .field("rootDeviceName", images::ROOT_DEVICE)
        .list("blockDeviceMapping", [])
        .field("virtualizationType", "hvm")
        .field_if("instanceLifecycle", instance.spot.then_some("spot"))
        .field("clientToken", instance.client_token.as_deref().unwrap_or(""))
        .list("tagSet", tags::items(records, id))
        .field("hypervisor", found.and_then(|found| found.hypervisor).unwrap_or("nitro"))
        .list("networkInterfaceSet", interfaces::of_instance(records, region, id))
        .field("ebsOptimized", false)
        .field("enaSupport", true)
        .field("platformDetails", "Linux/UNIX")
        .field("sourceDestCheck", true);
    match cpus {
        Some(cpus) => element.with(cpus),
        None => element,
    }
}

/// Why it changed its state, in the short form that came first.
fn reason_text(instance: &Instance) -> String {
    let stopped = matches!(instance.state, State::Stopped | State::Terminated);
    let of_user = instance.reason.as_ref().filter(|(code, _)| code.starts_with("Client.User"));
    match of_user.filter(|_| stopped) {
        Some(_) => format!("User initiated ({})", instance.changed),
        None => String::new(),
    }
}

/// Names and addresses: those of the primary interface.
fn addresses(records: &Records, region: &str, id: &str) -> Element {
    let interfaces = records.interfaces_of(id);
    let Some((_, primary, _)) = interfaces.first() else {
        let element = Element::new("").field("privateDnsName", "").field("dnsName", "");
        return element.list("groupSet", []);
    };
    let name = primary.address.map(|address| region::private_dns_name(region, address));
    // The public address is the private one: this machine reaches it, and nobody else shall.
    let running = records.instances.get(id).is_some_and(|i| i.state != State::Stopped);
    let public = primary.address.filter(|_| primary.public && running);
    Element::new("")
        .field("privateDnsName", name.unwrap_or_default())
        .field("dnsName", public.map(|address| address.to_string()).unwrap_or_default())
        .field_if("privateIpAddress", primary.address)
        .field_if("ipAddress", public)
        .field("subnetId", &primary.subnet)
        .field("vpcId", &records.vpc.id)
        .list("groupSet", interfaces::group_items(records, &primary.groups))
}

fn placement(records: &Records, region: &str, instance: &Instance) -> Element {
    let placement = &instance.placement;
    let group = placement.group.as_ref();
    let id = group.and_then(|name| records.placement_groups.get(name)).map(|group| &group.id);
    Element::new("placement")
        .field("availabilityZone", region::zone_name(region, placement.zone))
        .field("availabilityZoneId", region::zone_id(region, placement.zone))
        .field("groupName", group.map_or("", String::as_str))
        .field_if("groupId", id)
        .field_if("partitionNumber", placement.partition)
        .field("tenancy", "default")
}

fn status(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "instanceStatusSet",
        id: ("InstanceId", "instanceId"),
        names: &[],
        not_found: "InvalidInstanceID.NotFound",
        what: "instance ID",
        filters: &[
            ("availability-zone", "availabilityZone"),
            ("instance-state-code", "instanceState/code"),
            ("instance-state-name", "instanceState/name"),
            ("instance-status.reachability", "instanceStatus/details/item/status"),
            ("instance-status.status", "instanceStatus/status"),
            ("system-status.reachability", "systemStatus/details/item/status"),
            ("system-status.status", "systemStatus/status"),
        ],
        page: None,
    };
    let all = call.parameters.flag("IncludeAllInstances")?.unwrap_or(false);
    for id in call.parameters.texts("InstanceId") {
        find(&cloud.records, id)?;
    }
    let item = |(id, instance): (&String, &Instance)| {
        let running = instance.state == State::Running;
        let checked = |name: &'static str, passed: bool| match (running, passed) {
            (false, _) => Element::new(name).field("status", "not-applicable"),
            (true, passed) => {
                let (summary, detail) =
                    if passed { ("ok", "passed") } else { ("initializing", "initializing") };
                let detail = Element::new("").field("name", "reachability").field("status", detail);
                Element::new(name).field("status", summary).list("details", [detail])
            }
        };
        Element::new("item")
            .field("instanceId", id)
            .field("availabilityZone", region::zone_name(call.region, instance.placement.zone))
            .field("availabilityZoneId", region::zone_id(call.region, instance.placement.zone))
            .with(state("instanceState", instance.state))
            .with(checked("systemStatus", true))
            .with(checked("instanceStatus", instance.reachable))
    };
    let items: Vec<_> = sorted(&cloud.records).into_iter().map(item).collect();
    // Instances that do not run are left out, also where they are named.
    let (items, next) = LISTING.select(&call.parameters, items)?;
    let shown = items
        .into_iter()
        .filter(|item| all || item.get("instanceState/name") == Some(State::Running.name()));
    Ok(Element::new("").list("instanceStatusSet", shown).field_if("nextToken", next))
}

fn attribute(cloud: &Cloud, call: &Call<'_>) -> Answer {
    let id = call.parameters.required("InstanceId")?;
    let instance = find(&cloud.records, id)?;
    let name = call.parameters.required("Attribute")?;
    let value = |value: String| Element::new(name.to_owned()).field("value", value);
    let element = match name {
        "disableApiTermination" => value(instance.protected.to_string()),
        "disableApiStop" | "ebsOptimized" => value("false".to_owned()),
        "enaSupport" | "sourceDestCheck" => value("true".to_owned()),
        "instanceType" => value(instance.instance_type.clone()),
        "instanceInitiatedShutdownBehavior" => {
            value(if instance.terminates_on_shutdown { "terminate" } else { "stop" }.to_owned())
        }
        "rootDeviceName" => value(images::ROOT_DEVICE.to_owned()),
        "userData" => match &instance.user_data {
            Some(data) => value(data.clone()),
            None => Element::new("userData"),
        },
        "kernel" | "ramdisk" | "sriovNetSupport" => Element::new(name.to_owned()),
        "groupSet" => {
            let interfaces = cloud.records.interfaces_of(id);
            let groups = interfaces.first().map(|(_, interface, _)| &interface.groups[..]);
            let items = interfaces::group_items(&cloud.records, groups.unwrap_or_default());
            return Ok(Element::new("").field("instanceId", id).list("groupSet", items));
        }
        "blockDeviceMapping" | "productCodes" => {
            let name = if name == "productCodes" { "productCodes" } else { "blockDeviceMapping" };
            return Ok(Element::new("").field("instanceId", id).list(name, []));
        }
        other => return Err(call.parameters.invalid("Attribute", other, "No such attribute")),
    };
    Ok(Element::new("").field("instanceId", id).with(element))
}

fn console(cloud: &Cloud, call: &Call<'_>) -> Answer {
    let id = call.parameters.required("InstanceId")?;
    let instance = find(&cloud.records, id)?;
    let answer = Element::new("").field("instanceId", id).field("timestamp", call.now);
    if !instance.booted {
        return Ok(answer.field("output", ""));
    }
    let output = cloud.machines.console(id);
    let output = output.map_err(|error| ApiError::internal(format!("console of {id}: {error}")))?;
    let tail = &output[output.len().saturating_sub(CONSOLE)..];
    Ok(answer.field("output", STANDARD.encode(tail)))
}
