//! Tags, on whatever has an id.

use std::collections::BTreeMap;

use super::{Action, Run};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        parameters::Parameters,
        records::Records,
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateTags",
        parameters: &["ResourceId", "Tag"],
        without_effect: &[],
        run: Run::Change(create),
    },
    Action {
        name: "DeleteTags",
        parameters: &["ResourceId", "Tag"],
        without_effect: &[],
        run: Run::Change(delete),
    },
    Action {
        name: "DescribeTags",
        parameters: &["Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(describe),
    },
];

/// How many tags a resource may have.
const MAX_TAGS: usize = 50;

/// What is before the first dash of an id, and what such a resource is called.
const KINDS: &[(&str, &str, &str)] = &[
    ("ami", "image", "InvalidAMIID.NotFound"),
    ("eni", "network-interface", "InvalidNetworkInterfaceID.NotFound"),
    ("fleet", "fleet", "InvalidFleetId.NotFound"),
    ("i", "instance", "InvalidInstanceID.NotFound"),
    ("igw", "internet-gateway", "InvalidInternetGatewayID.NotFound"),
    ("key", "key-pair", "InvalidKeyPair.NotFound"),
    ("lt", "launch-template", "InvalidLaunchTemplateId.NotFound"),
    ("pg", "placement-group", "InvalidPlacementGroup.Unknown"),
    ("rtb", "route-table", "InvalidRouteTableID.NotFound"),
    ("sg", "security-group", "InvalidGroup.NotFound"),
    ("sgr", "security-group-rule", "InvalidSecurityGroupRuleId.NotFound"),
    ("snap", "snapshot", "InvalidSnapshot.NotFound"),
    ("subnet", "subnet", "InvalidSubnetID.NotFound"),
    ("vpc", "vpc", "InvalidVpcID.NotFound"),
];

fn kind_of(id: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    KINDS.iter().find(|(prefix, ..)| ids::is_id(prefix, id))
}

fn check_resource(records: &Records, id: &str) -> Result<(), ApiError> {
    let Some((_, what, code)) = kind_of(id) else {
        return Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
    };
    match records.has(id) {
        true => Ok(()),
        false => Err(ApiError::not_found(code, what, id)),
    }
}

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let (ids, tags) = (call.parameters.texts("ResourceId"), parse(&call.parameters.list("Tag"))?);
    if ids.is_empty() {
        return Err(ApiError::missing("ResourceId"));
    }
    if tags.is_empty() {
        return Err(ApiError::missing("Tag"));
    }
    for id in ids {
        check_resource(&cloud.records, id)?;
        add(&mut cloud.records, id, &tags)?;
    }
    Ok(Element::new("").field("return", true))
}

fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let (ids, wanted) = (call.parameters.texts("ResourceId"), call.parameters.list("Tag"));
    if ids.is_empty() {
        return Err(ApiError::missing("ResourceId"));
    }
    for id in ids {
        check_resource(&cloud.records, id)?;
        let Some(tags) = cloud.records.tags.get_mut(id) else { continue };
        if wanted.is_empty() {
            tags.clear();
        }
        for tag in &wanted {
            let key = tag.required("Key")?;
            // A value that is given, be it empty, must be the tag's.
            let value = tag.below("Value").value();
            if value.is_none_or(|value| tags.get(key).is_some_and(|has| has == value)) {
                tags.remove(key);
            }
        }
        if tags.is_empty() {
            cloud.records.tags.remove(id);
        }
    }
    Ok(Element::new("").field("return", true))
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "tagSet",
        id: ("", "position"),
        names: &[],
        not_found: "",
        what: "tag",
        filters: &[
            ("key", "key"),
            ("resource-id", "resourceId"),
            ("resource-type", "resourceType"),
            ("value", "value"),
        ],
        page: None,
    };
    let mut items = Vec::new();
    for (id, tags) in &cloud.records.tags {
        let kind = kind_of(id).map_or("", |(_, what, _)| what);
        items.extend(tags.iter().map(|(key, value)| {
            Element::new("item")
                .field("resourceId", id)
                .field("resourceType", kind)
                .field("key", key)
                .field("value", value)
                .field("position", format!("{id} {key}"))
        }));
    }
    let (items, next) = LISTING.select(&call.parameters, items)?;
    let items = items.into_iter().map(|item| item.without("position"));
    Ok(Element::new("").list("tagSet", items).field_if("nextToken", next))
}

/// The tags of a list of `Key` and `Value`.
fn parse(list: &[Parameters<'_>]) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in list {
        let key = tag.required("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        if key.chars().count() > 128 {
            return Err(tag.invalid("Key", key, "A key has at most 128 characters"));
        }
        if value.chars().count() > 256 {
            return Err(tag.invalid("Value", value, "A value has at most 256 characters"));
        }
        if key.starts_with("aws:") {
            let message = "Tag keys starting with 'aws:' are reserved for internal use";
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(tag.invalid("Key", key, "The key is given twice"));
        }
    }
    Ok(tags)
}

fn add(records: &mut Records, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.is_empty() {
        return Ok(());
    }
    let has = records.tags.entry(id.to_owned()).or_default();
    has.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
    if has.len() > MAX_TAGS {
        let message = format!("The maximum number of tags for a resource is {MAX_TAGS}");
        return Err(ApiError::new("TagLimitExceeded", message));
    }
    Ok(())
}

/// The tags that a creating call gives to what it makes, by what that is.
#[derive(Debug, Default)]
pub(super) struct Specifications(Vec<(String, BTreeMap<String, String>)>);

impl Specifications {
    /// Reads `TagSpecification`, which may name only these kinds of resources.
    pub(super) fn parse(parameters: &Parameters<'_>, kinds: &[&str]) -> Result<Self, ApiError> {
        let mut specifications = Vec::new();
        for specification in parameters.list("TagSpecification") {
            let kind = specification.required("ResourceType")?;
            if !kinds.contains(&kind) {
                let wanted = format!("Expected one of: {}", kinds.join(", "));
                return Err(specification.invalid("ResourceType", kind, &wanted));
            }
            specifications.push((kind.to_owned(), parse(&specification.list("Tag"))?));
        }
        Ok(Self(specifications))
    }

    /// The value that a kind of resource gets for a key.
    pub(super) fn value(&self, kind: &str, key: &str) -> Option<&str> {
        let mut fitting = self.0.iter().filter(|(of, _)| of == kind);
        fitting.find_map(|(_, tags)| tags.get(key)).map(String::as_str)
    }

    /// Tags something new.
    pub(super) fn apply(
        &self,
        records: &mut Records,
        kind: &str,
        id: &str,
    ) -> Result<(), ApiError> {
        let fitting = self.0.iter().filter(|(of, _)| of == kind);
        fitting.map(|(_, tags)| tags).try_for_each(|tags| add(records, id, tags))
    }
}

/// The items of a resource's `tagSet`.
pub(super) fn items(records: &Records, id: &str) -> Vec<Element> {
    let tags = records.tags.get(id).into_iter().flatten();
    tags.map(|(key, value)| Element::new("").field("key", key).field("value", value)).collect()
}
