//! Launching instances.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::{
    Action, Run, images, instances,
    interfaces::{self, Slot},
    placement::{emptiest_partition, placement, spread_room, zone, zone_of},
    placement_groups::MAX_SPREAD,
    tags, templates,
    wanted::{Source, Wanted, wanted_interfaces},
};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        parameters::{Form, Parameters},
        records::{Instance, InterfaceKind, Launch, Placement, Records, State, Timestamp},
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
        let digest = digest(&form);
        let launched = with_template(&cloud.records, &mut form)
            .and_then(|()| launch(cloud, &form.all(), call.region, call.now))?;
        let reservation = launched.reservation.clone();
        let launch = Launch { digest, reservation, at: call.now };
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

/// What tells the parameters of one call from those of another.
fn digest(form: &Form) -> String {
    let mut hash = Sha256::new();
    for (name, value) in form.pairs() {
        for text in [name, value] {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
    }
    STANDARD.encode(hash.finalize())
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
        Some(launch) if launch.digest == digest(form) => Ok(Some(launch.reservation.clone())),
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
    check_wishes(parameters)?;
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

/// That nothing is asked for in earnest that has no effect here.
fn check_wishes(parameters: &Parameters<'_>) -> Result<(), ApiError> {
    if parameters.below("HibernationOptions").flag("Configured")? == Some(true) {
        let message = "Instances of this cloud cannot be hibernated";
        return Err(ApiError::new("UnsupportedHibernationConfiguration", message));
    }
    if parameters.below("EnclaveOptions").flag("Enabled")? == Some(true) {
        let message = "Instances of this cloud have no enclaves";
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let target = parameters.below("CapacityReservationSpecification");
    let target = target.below("CapacityReservationTarget");
    if let Some(id) = target.text("CapacityReservationId") {
        let code = "InvalidCapacityReservationId.NotFound";
        return Err(ApiError::not_found(code, "capacity reservation", id));
    }
    Ok(())
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
