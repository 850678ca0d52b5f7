//! Security groups.

use super::{Action, Run, network::check_vpc, permissions, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{OWNER, PeerRecord, Permission, Records, SecurityGroup, TrafficRecord},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateSecurityGroup",
        parameters: &["GroupName", "GroupDescription", "VpcId", "TagSpecification"],
        without_effect: &[],
        run: Run::Change(create),
    },
    Action {
        name: "DescribeSecurityGroups",
        parameters: &["GroupId", "GroupName", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(describe),
    },
    Action {
        name: "DeleteSecurityGroup",
        parameters: &["GroupId", "GroupName"],
        without_effect: &[],
        run: Run::Change(delete),
    },
];

/// How many groups there may be.
const MAX_GROUPS: usize = 2500;

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let records = &mut cloud.records;
    check_vpc(records, parameters.text("VpcId"))?;
    let name = parameters.required("GroupName")?;
    let description = parameters.required("GroupDescription")?;
    check_text(parameters.invalid("GroupName", name, RULES), name)?;
    check_text(parameters.invalid("GroupDescription", description, RULES), description)?;
    if name.starts_with("sg-") {
        return Err(parameters.invalid("GroupName", name, "A name does not begin with sg-"));
    }
    if records.groups.values().any(|group| group.name == name) {
        let vpc = &records.vpc.id;
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(ApiError::new("InvalidGroup.Duplicate", message));
    }
    if records.groups.len() >= MAX_GROUPS {
        let message = "The maximum number of security groups has been reached.";
        return Err(ApiError::new("SecurityGroupLimitExceeded", message));
    }
    let id = ids::new("sg")?;
    let out = Permission {
        id: ids::new("sgr")?,
        traffic: TrafficRecord { protocol: "-1".to_owned(), range: None },
        peer: PeerRecord::Network(ipnet::Ipv4Net::default()),
        description: None,
    };
    tags::Specifications::parse(parameters, &["security-group"])?.apply(
        records,
        "security-group",
        &id,
    )?;
    let group = SecurityGroup {
        name: name.to_owned(),
        description: description.to_owned(),
        ingress: Vec::new(),
        egress: vec![out],
    };
    records.groups.insert(id.clone(), group);
    Ok(Element::new("")
        .field("return", true)
        .field("groupId", &id)
        .list("tagSet", tags::items(records, &id))
        .field("securityGroupArn", arn(call.region, &id)))
}

const RULES: &str = "Up to 255 characters of a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=&;{}!$*";

fn check_text(error: ApiError, text: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.len() <= 255 && text.chars().all(allowed) { Ok(()) } else { Err(error) }
}

fn arn(region: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{OWNER}:security-group/{id}")
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "securityGroupInfo",
        id: ("GroupId", "groupId"),
        names: &[("GroupName", "groupName")],
        not_found: "InvalidGroup.NotFound",
        what: "security group",
        filters: &[
            ("description", "groupDescription"),
            ("egress.ip-permission.cidr", "ipPermissionsEgress/item/ipRanges/item/cidrIp"),
            ("egress.ip-permission.from-port", "ipPermissionsEgress/item/fromPort"),
            ("egress.ip-permission.group-id", "ipPermissionsEgress/item/groups/item/groupId"),
            ("egress.ip-permission.protocol", "ipPermissionsEgress/item/ipProtocol"),
            ("egress.ip-permission.to-port", "ipPermissionsEgress/item/toPort"),
            ("group-id", "groupId"),
            ("group-name", "groupName"),
            ("ip-permission.cidr", "ipPermissions/item/ipRanges/item/cidrIp"),
            ("ip-permission.from-port", "ipPermissions/item/fromPort"),
            ("ip-permission.group-id", "ipPermissions/item/groups/item/groupId"),
            ("ip-permission.protocol", "ipPermissions/item/ipProtocol"),
            ("ip-permission.to-port", "ipPermissions/item/toPort"),
            ("owner-id", "ownerId"),
            ("vpc-id", "vpcId"),
        ],
        page: None,
    };
    let records = &cloud.records;
    let item = |(id, group): (&String, &SecurityGroup)| {
        Element::new("item")
            .field("ownerId", OWNER)
            .field("groupId", id)
            .field("groupName", &group.name)
            .field("groupDescription", &group.description)
            .field("vpcId", &records.vpc.id)
            .field("securityGroupArn", arn(call.region, id))
            .list("ipPermissions", permissions::items(&group.ingress))
            .list("ipPermissionsEgress", permissions::items(&group.egress))
            .list("tagSet", tags::items(records, id))
    };
    LISTING.answer(&call.parameters, records.groups.iter().map(item).collect())
}

/// The id of the group that a call names, by id or by name.
pub(super) fn named(
    records: &Records,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<String, ApiError> {
    match (id, name) {
        (Some(id), _) => check(records, id).map(|()| id.to_owned()),
        (None, Some(name)) => {
            let mut groups = records.groups.iter();
            let found = groups.find(|(_, group)| group.name == name).map(|(id, _)| id.clone());
            found.ok_or_else(|| {
                let vpc = &records.vpc.id;
                let message =
                    format!("The security group '{name}' does not exist in default VPC '{vpc}'");
                ApiError::new("InvalidGroup.NotFound", message)
            })
        }
        (None, None) => Err(ApiError::missing("GroupId")),
    }
}

/// That there is a group with this id.
pub(super) fn check(records: &Records, id: &str) -> Result<(), ApiError> {
    if records.groups.contains_key(id) {
        return Ok(());
    }
    if !ids::is_id("sg", id) {
        return Err(ids::unknown("InvalidGroupId", "sg", "security group", id));
    }
    Err(ApiError::not_found("InvalidGroup.NotFound", "security group", id))
}

fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let (id, name) = (call.parameters.text("GroupId"), call.parameters.text("GroupName"));
    let records = &mut cloud.records;
    let id = named(records, id, name)?;
    if id == records.vpc.default_group {
        let message =
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(ApiError::new("CannotDelete", message));
    }
    let user = records.interfaces.iter().find(|(_, interface)| interface.groups.contains(&id));
    if let Some((interface, record)) = user {
        let of = record.attachment.as_ref().map_or("nothing", |attached| &attached.instance);
        let message =
            format!("resource {id} has a dependent object: {interface}, attached to {of}");
        return Err(ApiError::in_use(message));
    }
    let names_it = |rule: &Permission| rule.peer == PeerRecord::Group(id.clone());
    let user = records.groups.iter().find(|(other, group)| {
        **other != id && group.ingress.iter().chain(&group.egress).any(names_it)
    });
    if let Some((other, _)) = user {
        let message = format!("resource {id} has a dependent object: a rule of {other} names it");
        return Err(ApiError::in_use(message));
    }
    let group = records.groups.remove(&id);
    for rule in group.iter().flat_map(|group| group.ingress.iter().chain(&group.egress)) {
        records.tags.remove(&rule.id);
    }
    records.tags.remove(&id);
    Ok(Element::new("").field("return", true).field("groupId", &id))
}
