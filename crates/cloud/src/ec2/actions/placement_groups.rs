//! Placement groups.

use super::{Action, Run, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{OWNER, PlacementGroup, Records, Strategy},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreatePlacementGroup",
        parameters: &["GroupName", "Strategy", "PartitionCount", "SpreadLevel", "TagSpecification"],
        without_effect: &[],
        run: Run::Change(create),
    },
    Action {
        name: "DescribePlacementGroups",
        parameters: &["GroupName", "GroupId", "Filter"],
        without_effect: &[],
        run: Run::Read(describe),
    },
    Action {
        name: "DeletePlacementGroup",
        parameters: &["GroupName"],
        without_effect: &[],
        run: Run::Change(delete),
    },
];

/// How many groups there may be.
const MAX_GROUPS: usize = 500;
/// How many partitions a group may have.
const MAX_PARTITIONS: u32 = 7;
/// How many instances of a spread group there may be in one zone.
pub(super) const MAX_SPREAD: usize = 7;

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let records = &mut cloud.records;
    let name = parameters.required("GroupName")?;
    if name.len() > 255 || !name.is_ascii() || name.trim() != name {
        let wanted = "A name has up to 255 ASCII characters and no spaces around it";
        return Err(parameters.invalid("GroupName", name, wanted));
    }
    let strategy = strategy(call)?;
    if records.placement_groups.contains_key(name) {
        let message = format!("The Placement Group '{name}' already exists.");
        return Err(ApiError::new("InvalidPlacementGroup.Duplicate", message));
    }
    if records.placement_groups.len() >= MAX_GROUPS {
        let message = format!("There are {MAX_GROUPS} placement groups, which is the maximum");
        return Err(ApiError::new("PlacementGroupLimitExceeded", message));
    }
    let group = PlacementGroup { id: ids::new("pg")?, strategy };
    let tags = tags::Specifications::parse(parameters, &["placement-group"])?;
    tags.apply(records, "placement-group", &group.id)?;
    let item = item(records, call.region, name, &group);
    records.placement_groups.insert(name.to_owned(), group);
    let described = Element::new("placementGroup").extended(item);
    Ok(Element::new("").field("return", true).with(described))
}

fn strategy(call: &Call<'_>) -> Result<Strategy, ApiError> {
    let parameters = &call.parameters;
    let count = parameters.number::<u32>("PartitionCount")?;
    let level = parameters.text("SpreadLevel");
    let only = |name: &str, strategy: &str| {
        ApiError::combination(format!("{name} goes with the strategy {strategy} only"))
    };
    // A count of partitions alone asks for partitions.
    let default = if count.is_some() { "partition" } else { "cluster" };
    let strategy = parameters.text("Strategy").unwrap_or(default);
    if count.is_some() && strategy != "partition" {
        return Err(only("PartitionCount", "partition"));
    }
    if level.is_some() && strategy != "spread" {
        return Err(only("SpreadLevel", "spread"));
    }
    match strategy {
        "cluster" => Ok(Strategy::Cluster),
        "spread" => match level.unwrap_or("rack") {
            "rack" => Ok(Strategy::Spread { by_host: false }),
            // Hosts are those of AWS Outposts.
            "host" => Ok(Strategy::Spread { by_host: true }),
            other => Err(parameters.invalid("SpreadLevel", other, "Expected rack or host")),
        },
        "partition" => {
            let count = count.unwrap_or(2);
            if !(1..=MAX_PARTITIONS).contains(&count) {
                let wanted = format!("A group has 1 to {MAX_PARTITIONS} partitions");
                return Err(parameters.invalid("PartitionCount", &count.to_string(), &wanted));
            }
            Ok(Strategy::Partition { count })
        }
        other => {
            let wanted = "Expected cluster, spread or partition";
            Err(parameters.invalid("Strategy", other, wanted))
        }
    }
}

fn item(records: &Records, region: &str, name: &str, group: &PlacementGroup) -> Element {
    let item = Element::new("item")
        .field("groupName", name)
        .field("groupId", &group.id)
        .field("groupArn", format!("arn:aws:ec2:{region}:{OWNER}:placement-group/{name}"))
        .field("strategy", group.strategy.name())
        .field("state", "available");
    let item = match group.strategy {
        Strategy::Cluster => item,
        Strategy::Spread { by_host } => {
            item.field("spreadLevel", if by_host { "host" } else { "rack" })
        }
        Strategy::Partition { count } => item.field("partitionCount", count),
    };
    item.list("tagSet", tags::items(records, &group.id))
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "placementGroupSet",
        id: ("GroupName", "groupName"),
        names: &[("GroupId", "groupId")],
        not_found: "InvalidPlacementGroup.Unknown",
        what: "Placement Group",
        filters: &[
            ("group-arn", "groupArn"),
            ("group-name", "groupName"),
            ("spread-level", "spreadLevel"),
            ("state", "state"),
            ("strategy", "strategy"),
        ],
        page: None,
    };
    let groups = cloud.records.placement_groups.iter();
    let items = groups.map(|(name, group)| item(&cloud.records, call.region, name, group));
    LISTING.answer(&call.parameters, items.collect())
}

fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let name = call.parameters.required("GroupName")?;
    let records = &mut cloud.records;
    let Some(group) = records.placement_groups.get(name) else {
        return Err(unknown(name));
    };
    if let Some((member, _)) = records.members_of(name).next() {
        let message =
            format!("The placement group '{name}' is in use and may not be deleted: {member}");
        return Err(ApiError::new("InvalidPlacementGroup.InUse", message));
    }
    let id = group.id.clone();
    records.placement_groups.remove(name);
    records.tags.remove(&id);
    Ok(Element::new("").field("return", true))
}

/// That there is no group of this name.
pub(super) fn unknown(name: &str) -> ApiError {
    let message = format!("The Placement Group '{name}' is unknown.");
    ApiError::new("InvalidPlacementGroup.Unknown", message)
}
