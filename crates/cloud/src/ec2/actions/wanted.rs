//! The network interfaces that a launch wants for each instance.

use super::{
    interfaces::{self, New, Slot},
    security_groups,
};
use crate::ec2::{
    error::ApiError,
    parameters::Parameters,
    records::{InterfaceKind, Records},
};

/// An interface of each instance.
pub(super) struct Wanted {
    pub(super) slot: Slot,
    pub(super) delete_on_termination: bool,
    pub(super) source: Source,
}

/// Where an interface comes from.
pub(super) enum Source {
    New(New),
    Existing(String),
}

impl Wanted {
    /// Whether only one instance can have it.
    pub(super) fn is_single(&self) -> bool {
        match &self.source {
            Source::New(new) => new.address.is_some(),
            Source::Existing(_) => true,
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

/// The interfaces that a call wants.
pub(super) fn wanted_interfaces(
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
