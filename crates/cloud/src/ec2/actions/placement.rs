//! Where a launch wants its instances: zone, placement group, partition.

use std::collections::BTreeSet;

use super::{
    placement_groups::{self, MAX_SPREAD},
    wanted::{Source, Wanted},
};
use crate::ec2::{
    error::ApiError,
    parameters::Parameters,
    records::{Placement, Records, Strategy},
    region,
    types::InstanceType,
};

/// The zone that a call names.
pub(super) fn zone(
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

/// The zone that all interfaces are in, which must be the one that is asked for.
pub(super) fn zone_of(
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

/// The place that a call wants, in a zone.
pub(super) fn placement(
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

/// The partition of a group that has the fewest instances; nothing if it has no partitions.
pub(super) fn emptiest_partition(records: &Records, group: Option<&str>) -> Option<u32> {
    let name = group?;
    let Strategy::Partition { count } = records.placement_groups.get(name)?.strategy else {
        return None;
    };
    (1..=count).min_by_key(|number| {
        let members = records.members_of(name);
        members.filter(|(_, member)| member.placement.partition == Some(*number)).count()
    })
}
