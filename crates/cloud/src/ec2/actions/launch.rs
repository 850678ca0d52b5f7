//! Launching instances.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Action, Run, images, instances,
    interfaces::{self, New, Slot},
    placement_groups::{self, MAX_SPREAD},
    security_groups, tags, templates,
};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        parameters::{Form, Parameters},
        records::{
            Instance, InterfaceKind, Launch, Placement, Records, State, Strategy, Timestamp,
        },
        region,
        service::{Call, Cloud},
        types::{self, InstanceType},
    },
};

pub(super) const ACTIONS: &[Action] = &[Action {
    name: "RunInstances",
    parameters: &[
        "ClientToken",
        "DisableApiTermination",
        "ImageId",
        "InstanceInitiatedShutdownBehavior",
        "InstanceMarketOptions",
        "InstanceType",
        "KeyName",
        "LaunchTemplate",
        "MaxCount",
        "MinCount",
        "NetworkInterface",
        "Placement",
        "PrivateIpAddress",
        "SecurityGroup",
        "SecurityGroupId",
        "SubnetId",
        "TagSpecification",
        "UserData",
    ],
    without_effect: WITHOUT_EFFECT,
    run: Run::Change(run),
}];

/// What launches may say, templates as well, and nothing here follows from.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "AdditionalInfo",
    "BlockDeviceMapping",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "EbsOptimized",
    "EnclaveOptions",
    "HibernationOptions",
    "IamInstanceProfile",
    "MaintenanceOptions",
    "MetadataOptions",
    "Monitoring",
    "NetworkPerformanceOptions",
    "PrivateDnsNameOptions",
];

/// How many instances one call may ask for.
const MAX_COUNT: usize = 10_000;
const MAX_USER_DATA: usize = 16 * 1024;
/// What is launched when a call names no type.
const DEFAULT_TYPE: &str = "m1.small";
/// For how long a client token is remembered, in seconds.
const TOKEN_LIFE: u64 = 24 * 3600;

/// Instances that were launched together.
pub(super) struct Launched {
    pub(super) reservation: String,
    pub(super) instances: Vec<String>,
}

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let mut form = call.parameters.to_form();
    if let Some(token) = call.parameters.text("ClientToken") {
        if let Some(reservation) = repeated(&mut cloud.records, token, &form, call.now)? {
            return Ok(reservation_answer(&cloud.records, call.region, &reservation));
        }
        let parameters = form.pairs();
        let launched = with_template(&cloud.records, &mut form)
            .and_then(|()| launch(cloud, &form.all(), call.region, call.now))?;
        let reservation = launched.reservation.clone();
        let launch = Launch { parameters, reservation, at: call.now };
        cloud.records.launches.insert(token.to_owned(), launch);
        return Ok(reservation_answer(&cloud.records, call.region, &launched.reservation));
    }
    with_template(&cloud.records, &mut form)?;
    let launched = launch(cloud, &form.all(), call.region, call.now)?;
    Ok(reservation_answer(&cloud.records, call.region, &launched.reservation))
}

fn reservation_answer(records: &Records, region: &str, reservation: &str) -> Element {
    let of_it = records.instances.iter().filter(|(_, i)| i.reservation == reservation);
    let mut items: Vec<_> = of_it.map(|(id, _)| instances::item(records, region, id)).collect();
    items.sort_by_key(|item| item.get("amiLaunchIndex").and_then(|n| n.parse::<u32>().ok()));
    instances::reservation(reservation, items)
}

/// What a token has led to before, with the same parameters.
fn repeated(
    records: &mut Records,
    token: &str,
    form: &Form,
    now: Timestamp,
) -> Result<Option<String>, ApiError> {
    records.launches.retain(|_, launch| launch.at.elapsed_until(now).as_secs() < TOKEN_LIFE);
    match records.launches.get(token) {
        None => Ok(None),
        Some(launch) if launch.parameters == form.pairs() => Ok(Some(launch.reservation.clone())),
        Some(_) => {
            let message = "Arguments on this idempotent request are inconsistent with arguments \
                           used in previous request(s).";
            Err(ApiError::new("IdempotentParameterMismatch", message))
        }
    }
}

/// Fills in what the launch template says and the call does not.
pub(super) fn with_template(records: &Records, form: &mut Form) -> Result<(), ApiError> {
    let template = {
        let all = form.all();
        let named = all.below("LaunchTemplate");
        if named.is_empty() { None } else { Some(templates::version(records, &named)?.form()) }
    };
    if let Some(template) = template {
        form.fill_from(&template);
    }
    Ok(())
}

/// What is to be launched.
struct Plan {
    image: images::Usable,
    found: &'static InstanceType,
    key: Option<(String, String)>,
    placement: Placement,
    interfaces: Vec<Wanted>,
    user_data: Option<String>,
    terminates_on_shutdown: bool,
    protected: bool,
    spot: bool,
    tags: tags::Specifications,
    client_token: Option<String>,
}

/// An interface of each instance.
struct Wanted {
    slot: Slot,
    delete_on_termination: bool,
    source: Source,
}

enum Source {
    New(New),
    Existing(String),
}

/// Launches instances as the parameters say, or none.
pub(super) fn launch(
    cloud: &mut Cloud,
    parameters: &Parameters<'_>,
    region: &str,
    now: Timestamp,
) -> Result<Launched, ApiError> {
    let (min, max) = counts(parameters)?;
    let plan = plan(&cloud.records, parameters, region)?;
    if max > 1 && plan.interfaces.iter().any(Wanted::is_single) {
        let message = "A call with a network interface or a private address of its own launches \
                       one instance";
        return Err(ApiError::combination(message));
    }
    let count = possible(cloud, &plan, region, min, max)?;
    let reservation = ids::new("r")?;
    let mut launched = Vec::new();
    for index in 0..count {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        launched.push(add(&mut cloud.records, &plan, &reservation, index, now)?);
    }
    Ok(Launched { reservation, instances: launched })
}

impl Wanted {
    /// Whether only one instance can have it.
    fn is_single(&self) -> bool {
        match &self.source {
            Source::New(new) => new.address.is_some(),
            Source::Existing(_) => true,
        }
    }
}

fn counts(parameters: &Parameters<'_>) -> Result<(usize, usize), ApiError> {
    let number = |name: &str| {
        let number: Option<usize> = parameters.number(name)?;
        let number = number.ok_or_else(|| ApiError::missing(name))?;
        match number {
            1..=MAX_COUNT => Ok(number),
            _ => {
                let wanted = format!("Expected 1 to {MAX_COUNT}");
                Err(parameters.invalid(name, &number.to_string(), &wanted))
            }
        }
    };
    let (min, max) = (number("MinCount")?, number("MaxCount")?);
    if min > max {
        let message = format!("MinCount ({min}) must not be greater than MaxCount ({max})");
        return Err(ApiError::combination(message));
    }
    Ok((min, max))
}

fn plan(records: &Records, parameters: &Parameters<'_>, region: &str) -> Result<Plan, ApiError> {
    let image = images::usable(records, parameters.required("ImageId")?)?;
    let found = types::find(parameters.text("InstanceType").unwrap_or(DEFAULT_TYPE))?;
    if !found.architectures.contains(&images::architecture()) {
        let message = format!(
            "The architecture '{}' of the specified instance type does not match the architecture \
             '{}' of the specified AMI",
            found.architectures.join(", "),
            images::architecture()
        );
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    let key = parameters.text("KeyName").map(|name| key(records, name)).transpose()?;
    let zone = zone(records, parameters, region)?;
    let interfaces = wanted_interfaces(records, parameters, zone)?;
    let slots: Vec<_> = interfaces.iter().map(|wanted| wanted.slot).collect();
    interfaces::check_slots(found, &slots)?;
    let zone = zone_of(records, &interfaces, zone, region)?;
    let placement = placement(records, parameters, found, zone)?;
    let kinds = ["instance", "network-interface", "volume", "spot-instances-request"];
    Ok(Plan {
        image,
        found,
        key,
        placement,
        interfaces,
        user_data: user_data(parameters, "UserData")?,
        terminates_on_shutdown: terminates_on_shutdown(
            parameters,
            parameters.text("InstanceInitiatedShutdownBehavior"),
        )?,
        protected: parameters.flag("DisableApiTermination")?.unwrap_or(false),
        spot: is_spot(parameters, found)?,
        tags: tags::Specifications::parse(parameters, &kinds)?,
        client_token: parameters.text("ClientToken").map(str::to_owned),
    })
}

fn key(records: &Records, name: &str) -> Result<(String, String), ApiError> {
    let pair = records.key_pairs.get(name);
    let pair =
        pair.ok_or_else(|| ApiError::not_found("InvalidKeyPair.NotFound", "key pair", name))?;
    Ok((name.to_owned(), pair.public.clone()))
}

/// User data as it came, if it is what it must be.
pub(super) fn user_data(
    parameters: &Parameters<'_>,
    name: &str,
) -> Result<Option<String>, ApiError> {
    let Some(text) = parameters.text(name) else { return Ok(None) };
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(&compact).map_err(|_| {
        ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data")
    })?;
    if bytes.len() > MAX_USER_DATA {
        let message = format!("User data is limited to {MAX_USER_DATA} bytes");
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    Ok(Some(compact))
}

/// What `InstanceInitiatedShutdownBehavior` says.
pub(super) fn terminates_on_shutdown(
    parameters: &Parameters<'_>,
    text: Option<&str>,
) -> Result<bool, ApiError> {
    match text {
        None | Some("stop") => Ok(false),
        Some("terminate") => Ok(true),
        Some(other) => {
            let wanted = "Expected stop or terminate";
            Err(parameters.invalid("InstanceInitiatedShutdownBehavior", other, wanted))
        }
    }
}

fn is_spot(parameters: &Parameters<'_>, found: &InstanceType) -> Result<bool, ApiError> {
    let market = parameters.below("InstanceMarketOptions");
    let class = match market.text("MarketType") {
        None => "on-demand",
        Some("spot") => "spot",
        Some(other) => return Err(market.invalid("MarketType", other, "Expected spot")),
    };
    if !found.usage_classes().any(|usable| usable == class) {
        let message = format!("The instance type {} is not offered {class}", found.name);
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    Ok(class == "spot")
}

/// The zone that a call names.
fn zone(
    records: &Records,
    parameters: &Parameters<'_>,
    region: &str,
) -> Result<Option<char>, ApiError> {
    let placement = parameters.below("Placement");
    if let Some(name) = placement.text("AvailabilityZone") {
        let zone = region::zone_of(region, name);
        let wanted = format!("Zones of {region} end with a, b or c");
        return zone.map(Some).ok_or_else(|| placement.invalid("AvailabilityZone", name, &wanted));
    }
    if let Some(id) = placement.text("AvailabilityZoneId") {
        let mut zones = region::ZONES.into_iter();
        let zone = zones.find(|zone| region::zone_id(region, *zone) == id);
        let wanted = "Expected the id of a zone";
        return zone.map(Some).ok_or_else(|| placement.invalid("AvailabilityZoneId", id, wanted));
    }
    // A cluster group that has members is in their zone.
    let group = group_name(records, &placement)?;
    let cluster = group.filter(|name| {
        records.placement_groups.get(name).is_some_and(|g| g.strategy == Strategy::Cluster)
    });
    Ok(cluster.and_then(|name| records.members_of(&name).next().map(|(_, m)| m.placement.zone)))
}

/// The name of the placement group that a call names, by name or id.
fn group_name(records: &Records, placement: &Parameters<'_>) -> Result<Option<String>, ApiError> {
    match (placement.text("GroupName"), placement.text("GroupId")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(ApiError::combination("Give a placement group's name or its id, not both"))
        }
        (Some(name), None) => match records.placement_groups.contains_key(name) {
            true => Ok(Some(name.to_owned())),
            false => Err(placement_groups::unknown(name)),
        },
        (None, Some(id)) => {
            let mut groups = records.placement_groups.iter();
            let found = groups.find(|(_, group)| group.id == id).map(|(name, _)| name.clone());
            found.map(Some).ok_or_else(|| placement_groups::unknown(id))
        }
    }
}

/// The default subnet of a zone, or of the first zone with room.
fn default_subnet(records: &Records, zone: Option<char>) -> Result<String, ApiError> {
    let mut subnets: Vec<_> = records
        .subnets
        .iter()
        .filter(|(_, subnet)| subnet.default && zone.is_none_or(|zone| zone == subnet.zone))
        .collect();
    subnets.sort_by_key(|(id, subnet)| (interfaces::room(records, id) == 0, subnet.zone));
    let first = subnets.first().map(|(id, _)| (*id).clone());
    first.ok_or_else(|| {
        let message = "No default subnet for this availability zone: name one with SubnetId";
        ApiError::new("MissingInput", message)
    })
}

fn wanted_interfaces(
    records: &Records,
    parameters: &Parameters<'_>,
    zone: Option<char>,
) -> Result<Vec<Wanted>, ApiError> {
    let listed = parameters.list("NetworkInterface");
    let (ids, names) = (parameters.texts("SecurityGroupId"), parameters.texts("SecurityGroup"));
    if !listed.is_empty() {
        for (given, what) in [
            (!ids.is_empty() || !names.is_empty(), "security groups"),
            (parameters.text("SubnetId").is_some(), "subnet ID"),
            (parameters.text("PrivateIpAddress").is_some(), "private address"),
        ] {
            if given {
                return Err(ApiError::combination(format!(
                    "Network interfaces and an instance-level {what} may not be specified on the \
                     same request"
                )));
            }
        }
        let single = listed.len() == 1;
        return listed.iter().map(|one| wanted(records, one, zone, single)).collect();
    }
    let subnet = match parameters.text("SubnetId") {
        Some(id) => interfaces::subnet(records, id).map(|_| id.to_owned())?,
        None => default_subnet(records, zone)?,
    };
    let mut groups: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    for name in names {
        groups.push(security_groups::named(records, None, Some(name))?);
    }
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    let new = New {
        address: interfaces::wished_address(records, parameters, &subnet)?,
        groups: interfaces::groups(records, &groups)?,
        kind: InterfaceKind::Interface,
        description: String::new(),
        public: interfaces::subnet(records, &subnet)?.public,
        subnet,
    };
    let slot = Slot { card: 0, device: 0, kind: new.kind };
    Ok(vec![Wanted { slot, delete_on_termination: true, source: Source::New(new) }])
}

/// What cannot be had for an interface.
const NOT_SUPPORTED: &[&str] = &[
    "Ipv4Prefix",
    "Ipv4PrefixCount",
    "Ipv6AddressCount",
    "Ipv6Addresses",
    "Ipv6Prefix",
    "Ipv6PrefixCount",
    "PrimaryIpv6",
    "SecondaryPrivateIpAddressCount",
];

/// One interface of a list; `single` if it is the only one.
fn wanted(
    records: &Records,
    parameters: &Parameters<'_>,
    zone: Option<char>,
    single: bool,
) -> Result<Wanted, ApiError> {
    if let Some(name) = NOT_SUPPORTED.iter().find(|name| !parameters.below(name).is_empty()) {
        let message = format!("{}.{name} is not supported by this cloud", parameters.path());
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let device = parameters.number("DeviceIndex")?;
    let device =
        device.ok_or_else(|| ApiError::missing(&format!("{}.DeviceIndex", parameters.path())))?;
    let card = parameters.number("NetworkCardIndex")?.unwrap_or(0);
    let delete_on_termination = parameters.flag("DeleteOnTermination")?;
    let public = parameters.flag("AssociatePublicIpAddress")?;
    if public == Some(true) && !single {
        let message = "The associatePublicIPAddress parameter cannot be specified when launching \
                       with multiple network interfaces.";
        return Err(ApiError::combination(message));
    }
    if let Some(id) = parameters.text("NetworkInterfaceId") {
        let interface = records.interfaces.get(id).ok_or_else(|| interfaces::unknown(id))?;
        if interface.attachment.is_some() {
            let message = format!("Interface: [{id}] in use.");
            return Err(ApiError::new("InvalidNetworkInterface.InUse", message));
        }
        if parameters.text("SubnetId").is_some() || !parameters.texts("SecurityGroupId").is_empty()
        {
            let message = "A network interface that is there has its subnet and its groups";
            return Err(ApiError::combination(message));
        }
        let slot = Slot { card, device, kind: interface.kind };
        let delete_on_termination = delete_on_termination.unwrap_or(false);
        return Ok(Wanted { slot, delete_on_termination, source: Source::Existing(id.to_owned()) });
    }
    let subnet = match parameters.text("SubnetId") {
        Some(id) => interfaces::subnet(records, id).map(|_| id.to_owned())?,
        None => default_subnet(records, zone)?,
    };
    let by_default = single && interfaces::subnet(records, &subnet)?.public;
    let new = New {
        address: interfaces::wished_address(records, &primary_address(parameters), &subnet)?,
        groups: interfaces::groups(records, &parameters.texts("SecurityGroupId"))?,
        kind: interfaces::kind(parameters)?,
        description: parameters.text("Description").unwrap_or_default().to_owned(),
        public: public.unwrap_or(by_default),
        subnet,
    };
    let slot = Slot { card, device, kind: new.kind };
    let delete_on_termination = delete_on_termination.unwrap_or(true);
    Ok(Wanted { slot, delete_on_termination, source: Source::New(new) })
}

/// Where the address stands that an interface shall have: by itself, or as the first of a list.
fn primary_address<'a>(parameters: &Parameters<'a>) -> Parameters<'a> {
    let listed = parameters.list("PrivateIpAddresses").into_iter();
    let mut primary = listed.filter(|one| one.text("Primary") == Some("true"));
    primary.next().unwrap_or_else(|| parameters.clone())
}

/// The zone that all interfaces are in, which must be the one that is asked for.
fn zone_of(
    records: &Records,
    interfaces: &[Wanted],
    asked: Option<char>,
    region: &str,
) -> Result<char, ApiError> {
    let subnet = |wanted: &Wanted| match &wanted.source {
        Source::New(new) => Some(new.subnet.clone()),
        Source::Existing(id) => {
            records.interfaces.get(id).map(|interface| interface.subnet.clone())
        }
    };
    let zones: BTreeSet<char> = interfaces
        .iter()
        .filter_map(|wanted| records.subnets.get(&subnet(wanted)?).map(|subnet| subnet.zone))
        .collect();
    let mut zones = zones.into_iter();
    let (Some(zone), None) = (zones.next(), zones.next()) else {
        let message = "The subnets of all network interfaces must be in one availability zone";
        return Err(ApiError::combination(message));
    };
    if let Some(asked) = asked.filter(|asked| *asked != zone) {
        let (asked, zone) = (region::zone_name(region, asked), region::zone_name(region, zone));
        let message = format!(
            "The subnet is in the availability zone {zone}; the call or its placement group is \
             in {asked}"
        );
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    Ok(zone)
}

fn placement(
    records: &Records,
    parameters: &Parameters<'_>,
    found: &InstanceType,
    zone: char,
) -> Result<Placement, ApiError> {
    let placement = parameters.below("Placement");
    match placement.text("Tenancy") {
        None | Some("default" | "dedicated") => {}
        Some(other) => {
            return Err(placement.invalid("Tenancy", other, "Expected default or dedicated"));
        }
    }
    if let Some(name) =
        ["HostId", "HostResourceGroupArn", "Affinity"].iter().find(|n| placement.text(n).is_some())
    {
        let message = format!("Placement.{name} is not supported: there are no dedicated hosts");
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let partition: Option<u32> = placement.number("PartitionNumber")?;
    let Some(group) = group_name(records, &placement)? else {
        return match partition {
            Some(_) => Err(ApiError::combination("PartitionNumber needs a placement group")),
            None => Ok(Placement { zone, group: None, partition: None }),
        };
    };
    let strategy = records.placement_groups.get(&group).map(|g| g.strategy);
    let strategy = strategy.ok_or_else(|| placement_groups::unknown(&group))?;
    if !found.supports_placement(strategy.name()) {
        let message = format!(
            "{} placement groups are not supported by the '{}' instance type. Specify a supported \
             instance type or change the placement group strategy, and try again.",
            capitalised(strategy.name()),
            found.name
        );
        return Err(ApiError::combination(message));
    }
    if let Strategy::Cluster = strategy
        && records.members_of(&group).any(|(_, member)| member.placement.zone != zone)
    {
        let message =
            format!("The placement group '{group}' is in use in another availability zone");
        return Err(ApiError::new("InvalidPlacementGroup.InUse", message));
    }
    match (strategy, partition) {
        (Strategy::Partition { count }, Some(number)) if !(1..=count).contains(&number) => {
            let wanted = format!("The group has the partitions 1 to {count}");
            Err(placement.invalid("PartitionNumber", &number.to_string(), &wanted))
        }
        (Strategy::Partition { .. }, _) | (_, None) => {
            Ok(Placement { zone, group: Some(group), partition })
        }
        (_, Some(_)) => {
            Err(ApiError::combination("PartitionNumber goes with the strategy partition only"))
        }
    }
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// How many of the instances can be launched: `max`, or fewer down to `min`.
fn possible(
    cloud: &Cloud,
    plan: &Plan,
    region: &str,
    min: usize,
    max: usize,
) -> Result<usize, ApiError> {
    let name = plan.found.name;
    let zone = region::zone_name(region, plan.placement.zone);
    let room = capacity(cloud, name);
    if room < min {
        let message = format!(
            "We currently do not have sufficient {name} capacity in the Availability Zone you \
             requested ({zone}): the cloud's limit leaves room for {room}, {min} are asked for"
        );
        return Err(ApiError::capacity(message));
    }
    let spread = spread_room(&cloud.records, &plan.placement);
    if spread < min {
        let message = format!(
            "A spread placement group has at most {MAX_SPREAD} running instances in an \
             Availability Zone: {spread} more can be launched in {zone}, {min} are asked for"
        );
        return Err(ApiError::capacity(message));
    }
    let addresses = addresses(&cloud.records, plan);
    if addresses < min {
        let message = format!(
            "There are not enough free addresses in the subnet for {min} instances, only for \
             {addresses}"
        );
        return Err(ApiError::new("InsufficientFreeAddressesInSubnet", message));
    }
    Ok(max.min(room).min(spread).min(addresses))
}

/// How many more instances of a type the settings allow.
pub(super) fn capacity(cloud: &Cloud, name: &str) -> usize {
    let limits = &cloud.settings.capacity;
    let there = || cloud.records.instances.values().filter(|i| i.state.takes_place());
    let left = |limit: Option<u32>, used: usize| {
        limit.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(used))
    };
    let of_type = there().filter(|instance| instance.instance_type == name).count();
    left(limits.total, there().count()).min(left(limits.of_type.get(name).copied(), of_type))
}

/// How many more instances the placement group takes in its zone.
pub(super) fn spread_room(records: &Records, placement: &Placement) -> usize {
    let Some(group) = &placement.group else { return usize::MAX };
    let strategy = records.placement_groups.get(group).map(|group| group.strategy);
    let Some(Strategy::Spread { by_host: false }) = strategy else { return usize::MAX };
    let there = records.members_of(group);
    let there =
        there.filter(|(_, m)| m.placement.zone == placement.zone && m.state.takes_place()).count();
    MAX_SPREAD.saturating_sub(there)
}

/// For how many instances there are addresses in every subnet they need.
fn addresses(records: &Records, plan: &Plan) -> usize {
    let needed: Vec<_> = plan
        .interfaces
        .iter()
        .filter_map(|wanted| match &wanted.source {
            Source::New(new) if new.kind != InterfaceKind::EfaOnly => Some(new.subnet.as_str()),
            _ => None,
        })
        .collect();
    let subnets: BTreeSet<_> = needed.iter().collect();
    let each = subnets.into_iter().map(|subnet| {
        let per_instance = needed.iter().filter(|other| *other == subnet).count();
        interfaces::room(records, subnet) / per_instance
    });
    each.min().unwrap_or(usize::MAX)
}

/// Records one instance. Returns its id.
fn add(
    records: &mut Records,
    plan: &Plan,
    reservation: &str,
    index: u32,
    now: Timestamp,
) -> Result<String, ApiError> {
    let id = ids::new("i")?;
    for wanted in &plan.interfaces {
        let interface = match &wanted.source {
            Source::Existing(id) => id.clone(),
            Source::New(new) => {
                let made = interfaces::make(records, new.clone())?;
                plan.tags.apply(records, "network-interface", &made)?;
                made
            }
        };
        let Slot { card, device, .. } = wanted.slot;
        let delete = wanted.delete_on_termination;
        let attachment = interfaces::attachment(&id, device, card, delete, now)?;
        interfaces::connect(records, &interface, attachment)?;
    }
    let mut placement = plan.placement.clone();
    if placement.partition.is_none() {
        placement.partition = emptiest_partition(records, placement.group.as_deref());
    }
    let instance = Instance {
        reservation: reservation.to_owned(),
        index,
        image: plan.image.id.clone(),
        instance_type: plan.found.name.to_owned(),
        state: State::Pending,
        reason: Some(("pending".to_owned(), "pending".to_owned())),
        changed: now,
        launched: now,
        key_name: plan.key.as_ref().map(|(name, _)| name.clone()),
        authorized_key: plan.key.as_ref().map(|(_, public)| public.clone()),
        user_data: plan.user_data.clone(),
        user: plan.image.user.clone(),
        placement,
        terminates_on_shutdown: plan.terminates_on_shutdown,
        protected: plan.protected,
        spot: plan.spot,
        client_token: plan.client_token.clone(),
        booted: false,
        reachable: false,
        reboot: false,
    };
    plan.tags.apply(records, "instance", &id)?;
    records.instances.insert(id.clone(), instance);
    Ok(id)
}

/// The partition of a group that has the fewest instances; nothing if it has no partitions.
fn emptiest_partition(records: &Records, group: Option<&str>) -> Option<u32> {
    let name = group?;
    let Strategy::Partition { count } = records.placement_groups.get(name)?.strategy else {
        return None;
    };
    (1..=count).min_by_key(|number| {
        let members = records.members_of(name);
        members.filter(|(_, member)| member.placement.partition == Some(*number)).count()
    })
}
