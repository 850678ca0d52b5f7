//! The rules of security groups.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Action, Run, security_groups, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        parameters::Parameters,
        records::{OWNER, PeerRecord, Permission, Records, SecurityGroup, TrafficRecord},
        service::{Call, Cloud},
    },
};

const ONE_RULE: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpPermissions",
    "CidrIp",
    "FromPort",
    "ToPort",
    "IpProtocol",
    "SourceSecurityGroupName",
    "SourceSecurityGroupOwnerId",
    "TagSpecification",
    "SecurityGroupRuleId",
];

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "AuthorizeSecurityGroupIngress",
        parameters: ONE_RULE,
        without_effect: &[],
        run: Run::Change(|cloud, call| authorize(cloud, call, Direction::Ingress)),
    },
    Action {
        name: "AuthorizeSecurityGroupEgress",
        parameters: ONE_RULE,
        without_effect: &[],
        run: Run::Change(|cloud, call| authorize(cloud, call, Direction::Egress)),
    },
    Action {
        name: "RevokeSecurityGroupIngress",
        parameters: ONE_RULE,
        without_effect: &[],
        run: Run::Change(|cloud, call| revoke(cloud, call, Direction::Ingress)),
    },
    Action {
        name: "RevokeSecurityGroupEgress",
        parameters: ONE_RULE,
        without_effect: &[],
        run: Run::Change(|cloud, call| revoke(cloud, call, Direction::Egress)),
    },
    Action {
        name: "DescribeSecurityGroupRules",
        parameters: &["SecurityGroupRuleId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(describe),
    },
];

/// How many rules a group may have in one direction.
const MAX_RULES: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn rules(self, group: &SecurityGroup) -> &Vec<Permission> {
        match self {
            Self::Ingress => &group.ingress,
            Self::Egress => &group.egress,
        }
    }

    fn rules_mut(self, group: &mut SecurityGroup) -> &mut Vec<Permission> {
        match self {
            Self::Ingress => &mut group.ingress,
            Self::Egress => &mut group.egress,
        }
    }
}

fn group_of(records: &Records, call: &Call<'_>) -> Result<String, ApiError> {
    let (id, name) = (call.parameters.text("GroupId"), call.parameters.text("GroupName"));
    security_groups::named(records, id, name)
}

fn authorize(cloud: &mut Cloud, call: &Call<'_>, direction: Direction) -> Answer {
    let id = group_of(&cloud.records, call)?;
    let new = parse(&cloud.records, call)?;
    if new.is_empty() {
        return Err(ApiError::missing("IpPermissions"));
    }
    let tags = tags::Specifications::parse(&call.parameters, &["security-group-rule"])?;
    for rule in &new {
        tags.apply(&mut cloud.records, "security-group-rule", &rule.id)?;
    }
    if let Some(group) = cloud.records.groups.get_mut(&id) {
        let rules = direction.rules_mut(group);
        for rule in &new {
            if let Some(old) = rules.iter().find(|old| old.allows_same(rule)) {
                let message = format!(
                    "the specified rule \"peer: {}, {}\" already exists",
                    peer_text(&old.peer),
                    traffic_text(&old.traffic)
                );
                return Err(ApiError::new("InvalidPermission.Duplicate", message));
            }
            rules.push(rule.clone());
        }
        if rules.len() > MAX_RULES {
            let message = "The maximum number of rules per security group has been reached.";
            return Err(ApiError::new("RulesPerSecurityGroupLimitExceeded", message));
        }
    }
    let egress = direction == Direction::Egress;
    let items = new.iter().map(|rule| rule_item(&cloud.records, call.region, &id, egress, rule));
    let items: Vec<_> = items.collect();
    Ok(Element::new("").field("return", true).list("securityGroupRuleSet", items))
}

fn revoke(cloud: &mut Cloud, call: &Call<'_>, direction: Direction) -> Answer {
    let id = group_of(&cloud.records, call)?;
    let by_id = call.parameters.texts("SecurityGroupRuleId");
    let gone = parse(&cloud.records, call)?;
    if by_id.is_empty() && gone.is_empty() {
        return Err(ApiError::missing("IpPermissions"));
    }
    let Some(group) = cloud.records.groups.get_mut(&id) else {
        return Err(ApiError::not_found("InvalidGroup.NotFound", "security group", &id));
    };
    let rules = direction.rules_mut(group);
    let mut revoked = Vec::new();
    for rule in &by_id {
        let position = rules.iter().position(|old| old.id == **rule).ok_or_else(|| {
            ApiError::not_found(
                "InvalidSecurityGroupRuleId.NotFound",
                "security group rule ID",
                rule,
            )
        })?;
        revoked.push(rules.remove(position));
    }
    for rule in &gone {
        let position = rules.iter().position(|old| old.allows_same(rule)).ok_or_else(|| {
            let message = "The specified rule does not exist in this security group.";
            ApiError::new("InvalidPermission.NotFound", message)
        })?;
        revoked.push(rules.remove(position));
    }
    for rule in &revoked {
        cloud.records.tags.remove(&rule.id);
    }
    let egress = direction == Direction::Egress;
    let items = revoked.iter().map(|rule| {
        let item = rule_item(&cloud.records, call.region, &id, egress, rule);
        let peer = item.get("referencedGroupInfo/groupId").map(str::to_owned);
        item.without("referencedGroupInfo")
            .without("groupOwnerId")
            .without("tagSet")
            .field_if("referencedGroupId", peer)
    });
    let items: Vec<_> = items.collect();
    Ok(Element::new("").field("return", true).list("revokedSecurityGroupRuleSet", items))
}

/// The rules that a call states, one for each peer.
fn parse(records: &Records, call: &Call<'_>) -> Result<Vec<Permission>, ApiError> {
    let parameters = &call.parameters;
    let mut rules: Vec<Permission> = Vec::new();
    let mut add = |traffic: &TrafficRecord, peer, of: &Parameters<'_>| {
        let description = of.text("Description").map(str::to_owned);
        let rule = Permission { id: ids::new("sgr")?, traffic: traffic.clone(), peer, description };
        if rules.iter().any(|old| old.allows_same(&rule)) {
            let message = "The same permission must not appear multiple times";
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        rules.push(rule);
        Ok(())
    };
    // The short form: one rule with one peer.
    if parameters.text("IpProtocol").is_some() {
        let traffic = parse_traffic(parameters)?;
        if let Some(text) = parameters.text("CidrIp") {
            add(&traffic, network(parameters, "CidrIp", text)?, parameters)?;
        } else if let Some(name) = parameters.text("SourceSecurityGroupName") {
            let id = security_groups::named(records, None, Some(name))?;
            add(&traffic, PeerRecord::Group(id), parameters)?;
        } else {
            return Err(ApiError::missing("CidrIp"));
        }
    } else if parameters.text("SourceSecurityGroupName").is_some() {
        // Without a protocol: everything of that group.
        let name = parameters.text("SourceSecurityGroupName");
        let id = security_groups::named(records, None, name)?;
        let all = TrafficRecord { protocol: "-1".to_owned(), range: None };
        add(&all, PeerRecord::Group(id), parameters)?;
    }
    for permission in parameters.list("IpPermissions") {
        let traffic = parse_traffic(&permission)?;
        let mut peers = 0;
        for of in permission.list("IpRanges") {
            add(&traffic, network(&of, "CidrIp", of.required("CidrIp")?)?, &of)?;
            peers += 1;
        }
        for of in permission.list("Ipv6Ranges") {
            let text = of.required("CidrIpv6")?;
            let network: Ipv6Net =
                text.parse().map_err(|_| of.invalid("CidrIpv6", text, NOT_A_BLOCK))?;
            add(&traffic, PeerRecord::Network6(network.trunc()), &of)?;
            peers += 1;
        }
        for of in permission.list("Groups") {
            let id = security_groups::named(records, of.text("GroupId"), of.text("GroupName"))?;
            add(&traffic, PeerRecord::Group(id), &of)?;
            peers += 1;
        }
        if let Some(of) = permission.list("PrefixListIds").first() {
            let id = of.required("PrefixListId")?;
            let code = "InvalidPrefixListID.NotFound";
            return Err(ApiError::not_found(code, "prefix list ID", id));
        }
        if peers == 0 {
            let message = format!("{} names no range and no group", permission.path());
            return Err(ApiError::new("InvalidParameterValue", message));
        }
    }
    Ok(rules)
}

const NOT_A_BLOCK: &str = "This is not a valid CIDR block, such as 203.0.113.0/24";

fn network(of: &Parameters<'_>, name: &str, text: &str) -> Result<PeerRecord, ApiError> {
    let network: Result<Ipv4Net, _> = text.parse();
    let network = network.map_err(|_| of.invalid(name, text, NOT_A_BLOCK))?;
    Ok(PeerRecord::Network(network.trunc()))
}

fn parse_traffic(parameters: &Parameters<'_>) -> Result<TrafficRecord, ApiError> {
    let given = parameters.required("IpProtocol")?;
    let lower = given.to_ascii_lowercase();
    let protocol = match lower.as_str() {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    };
    let (from, to) = (parameters.number::<i32>("FromPort")?, parameters.number::<i32>("ToPort")?);
    let range = match protocol {
        "tcp" | "udp" => Some(ports(parameters, from, to)?),
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            for (name, number) in [("FromPort", kind), ("ToPort", code)] {
                if !(-1..=255).contains(&number) {
                    let wanted = "ICMP types and codes are -1 to 255";
                    return Err(parameters.invalid(name, &number.to_string(), wanted));
                }
            }
            Some((kind, code))
        }
        "-1" => None,
        number if number.parse::<u8>().is_ok() => None,
        _ => {
            let wanted = "Expected tcp, udp, icmp, icmpv6, a protocol's number or -1 for all";
            return Err(parameters.invalid("IpProtocol", given, wanted));
        }
    };
    Ok(TrafficRecord { protocol: protocol.to_owned(), range })
}

fn ports(
    parameters: &Parameters<'_>,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<(i32, i32), ApiError> {
    let (Some(from), Some(to)) = (from, to) else {
        let message = "Invalid value 'null' for portRange: TCP and UDP need FromPort and ToPort";
        return Err(ApiError::new("InvalidParameterValue", message));
    };
    if (from, to) == (-1, -1) {
        return Ok((0, 65535));
    }
    for (name, port) in [("FromPort", from), ("ToPort", to)] {
        if !(0..=65535).contains(&port) {
            return Err(parameters.invalid(name, &port.to_string(), "Ports are 0 to 65535"));
        }
    }
    if from > to {
        let message = format!("Invalid TCP/UDP port range ({from}:{to})");
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    Ok((from, to))
}

/// Rules as groups show them: those of the same traffic together.
pub(super) fn items(rules: &[Permission]) -> Vec<Element> {
    let mut by_traffic: BTreeMap<&TrafficRecord, Vec<&Permission>> = BTreeMap::new();
    for rule in rules {
        by_traffic.entry(&rule.traffic).or_default().push(rule);
    }
    let item = |(traffic, rules): (&TrafficRecord, Vec<&Permission>)| {
        let (mut groups, mut ranges, mut ranges6) = (Vec::new(), Vec::new(), Vec::new());
        for rule in rules {
            let described =
                |element: Element| element.field_if("description", rule.description.as_ref());
            match &rule.peer {
                PeerRecord::Network(net) => {
                    ranges.push(described(Element::new("").field("cidrIp", net)));
                }
                PeerRecord::Network6(net) => {
                    ranges6.push(described(Element::new("").field("cidrIpv6", net)));
                }
                PeerRecord::Group(id) => {
                    let group = Element::new("").field("userId", OWNER).field("groupId", id);
                    groups.push(described(group));
                }
            }
        }
        Element::new("")
            .field("ipProtocol", &traffic.protocol)
            .field_if("fromPort", traffic.range.map(|(from, _)| from))
            .field_if("toPort", traffic.range.map(|(_, to)| to))
            .list("groups", groups)
            .list("ipRanges", ranges)
            .list("ipv6Ranges", ranges6)
            .list("prefixListIds", [])
    };
    by_traffic.into_iter().map(item).collect()
}

fn rule_item(
    records: &Records,
    region: &str,
    group: &str,
    egress: bool,
    rule: &Permission,
) -> Element {
    // Without ports, EC2 shows -1 here and nothing in the group.
    let (from, to) = rule.traffic.range.unwrap_or((-1, -1));
    let item = Element::new("item")
        .field("securityGroupRuleId", &rule.id)
        .field("groupId", group)
        .field("groupOwnerId", OWNER)
        .field("isEgress", egress)
        .field("ipProtocol", &rule.traffic.protocol)
        .field("fromPort", from)
        .field("toPort", to)
        .field_if("description", rule.description.as_ref());
    let item = match &rule.peer {
        PeerRecord::Network(network) => item.field("cidrIpv4", network),
        PeerRecord::Network6(network) => item.field("cidrIpv6", network),
        PeerRecord::Group(id) => {
            let info = Element::new("referencedGroupInfo").field("groupId", id);
            item.with(info.field("userId", OWNER).field("vpcId", &records.vpc.id))
        }
    };
    let arn = format!("arn:aws:ec2:{region}:{OWNER}:security-group-rule/{}", rule.id);
    item.list("tagSet", tags::items(records, &rule.id)).field("securityGroupRuleArn", arn)
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "securityGroupRuleSet",
        id: ("SecurityGroupRuleId", "securityGroupRuleId"),
        names: &[],
        not_found: "InvalidSecurityGroupRuleId.NotFound",
        what: "security group rule ID",
        filters: &[("group-id", "groupId"), ("security-group-rule-id", "securityGroupRuleId")],
        page: None,
    };
    let mut items = Vec::new();
    for (id, group) in &cloud.records.groups {
        for direction in [Direction::Ingress, Direction::Egress] {
            let egress = direction == Direction::Egress;
            let rules = direction.rules(group).iter();
            items.extend(rules.map(|r| rule_item(&cloud.records, call.region, id, egress, r)));
        }
    }
    LISTING.answer(&call.parameters, items)
}

fn peer_text(peer: &PeerRecord) -> String {
    match peer {
        PeerRecord::Network(network) => network.to_string(),
        PeerRecord::Network6(network) => network.to_string(),
        PeerRecord::Group(id) => id.clone(),
    }
}

fn traffic_text(traffic: &TrafficRecord) -> String {
    match (traffic.protocol.as_str(), traffic.range) {
        ("-1", _) => "ALL".to_owned(),
        (protocol, None) => protocol.to_ascii_uppercase(),
        (protocol, Some((from, to))) => {
            format!("{}, from port: {from}, to port: {to}", protocol.to_ascii_uppercase())
        }
    }
}
