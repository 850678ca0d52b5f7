//! Security groups and placement groups of a cluster.

use cloud::client::CallError;

use super::{Cloud, LifeError};
use crate::{config::Config, launch::placement_group_name, store::Resources};

/// What a rule lets pass, and from or to whom.
struct Rule<'a> {
    action: &'a str,
    group: &'a str,
    /// A port of TCP; everything without.
    port: Option<u16>,
    peer: Peer<'a>,
}

enum Peer<'a> {
    Group(&'a str),
    Network(&'a str),
}

const INGRESS: &str = "AuthorizeSecurityGroupIngress";

/// Makes the groups that the configuration does not bring along, and notes them at once, so that
/// they are found again whatever happens next.
pub(super) fn make(
    cloud: &Cloud,
    cluster: &str,
    config: &Config,
    mut note: impl FnMut(&dyn Fn(&mut Resources)) -> Result<(), LifeError>,
) -> Result<(), LifeError> {
    let subnet = config.head_node.networking.subnet_id.clone().unwrap_or_default();
    let answer = cloud.ec2.call("DescribeSubnets", &[("SubnetId.1", subnet)])?;
    let vpc = answer.items("subnetSet").find_map(|item| item.get("vpcId")).unwrap_or("").to_owned();
    let mut ids = Vec::new();
    for (kind, name) in [("head", "HeadNode"), ("compute", "ComputeNodes")] {
        let parameters = [
            ("GroupName", format!("{cluster}-{name}")),
            ("GroupDescription", format!("{name} of the cluster {cluster}")),
            ("VpcId", vpc.clone()),
            ("TagSpecification.1.ResourceType", "security-group".to_owned()),
            ("TagSpecification.1.Tag.1.Key", "parallelcluster:cluster-name".to_owned()),
            ("TagSpecification.1.Tag.1.Value", cluster.to_owned()),
        ];
        let made = cloud.ec2.call("CreateSecurityGroup", &parameters)?;
        let id = made.get("groupId").unwrap_or("").to_owned();
        note(&|resources| {
            resources.groups.insert(kind.to_owned(), id.clone());
        })?;
        ids.push(id);
    }
    let (head, compute) = (ids[0].as_str(), ids[1].as_str());
    let anywhere = config.head_node.ssh.allowed_ips.as_deref().unwrap_or("0.0.0.0/0");
    let rules = [
        Rule { action: INGRESS, group: head, port: Some(22), peer: Peer::Network(anywhere) },
        Rule { action: INGRESS, group: head, port: None, peer: Peer::Group(compute) },
        Rule { action: INGRESS, group: compute, port: None, peer: Peer::Group(head) },
        // EFA needs a group that allows everything to and from itself, both ways.
        Rule { action: INGRESS, group: compute, port: None, peer: Peer::Group(compute) },
        Rule {
            action: "AuthorizeSecurityGroupEgress",
            group: compute,
            port: None,
            peer: Peer::Group(compute),
        },
    ];
    for rule in rules {
        authorize(cloud, &rule)?;
    }
    make_placement_groups(cloud, cluster, config, note)
}

fn authorize(cloud: &Cloud, rule: &Rule<'_>) -> Result<(), LifeError> {
    let mut parameters = vec![("GroupId", rule.group.to_owned())];
    match rule.port {
        Some(port) => parameters.extend([
            ("IpPermissions.1.IpProtocol", "tcp".to_owned()),
            ("IpPermissions.1.FromPort", port.to_string()),
            ("IpPermissions.1.ToPort", port.to_string()),
        ]),
        None => parameters.push(("IpPermissions.1.IpProtocol", "-1".to_owned())),
    }
    parameters.push(match rule.peer {
        Peer::Group(group) => ("IpPermissions.1.Groups.1.GroupId", group.to_owned()),
        Peer::Network(network) => ("IpPermissions.1.IpRanges.1.CidrIp", network.to_owned()),
    });
    match cloud.ec2.call(rule.action, &parameters) {
        Err(error) if error.code == "InvalidPermission.Duplicate" => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

fn make_placement_groups(
    cloud: &Cloud,
    cluster: &str,
    config: &Config,
    mut note: impl FnMut(&dyn Fn(&mut Resources)) -> Result<(), LifeError>,
) -> Result<(), LifeError> {
    for name in placement_groups(cluster, config) {
        let parameters = [("GroupName", name.clone()), ("Strategy", "cluster".to_owned())];
        // Noted before it is made: one that is noted and was not made is no trouble later.
        note(&|resources| {
            if !resources.placement_groups.contains(&name) {
                resources.placement_groups.push(name.clone());
            }
        })?;
        match cloud.ec2.call("CreatePlacementGroup", &parameters) {
            Err(error) if error.code == "InvalidPlacementGroup.Duplicate" => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// The placement groups that the cluster has of its own.
pub(super) fn placement_groups(cluster: &str, config: &Config) -> Vec<String> {
    let wanted = config.resources().filter(|(queue, resource)| {
        let group = resource.placement_group(queue);
        group.is_some_and(|group| group.is_wanted() && group.existing().is_none())
    });
    wanted
        .map(|(queue, resource)| placement_group_name(cluster, &queue.name, &resource.name))
        .collect()
}

/// Makes placement groups that a new configuration asks for.
pub(super) fn add_placement_groups(
    cloud: &Cloud,
    cluster: &str,
    config: &Config,
    note: impl FnMut(&dyn Fn(&mut Resources)) -> Result<(), LifeError>,
) -> Result<(), LifeError> {
    make_placement_groups(cloud, cluster, config, note)
}

/// Takes all groups away. Those that are gone already are no error; those in use are.
pub(super) fn remove(cloud: &Cloud, cluster: &str, resources: &Resources) -> Result<(), CallError> {
    for name in &resources.placement_groups {
        let gone = cloud.ec2.call("DeletePlacementGroup", &[("GroupName", name.clone())]);
        ignore(gone.map(drop), "InvalidPlacementGroup.Unknown")?;
    }
    // A group that another one names cannot go before it: first the rules, then the groups.
    let (head, compute) = (resources.groups.get("head"), resources.groups.get("compute"));
    if let (Some(head), Some(compute)) = (head, compute) {
        for (group, peer) in [(head, compute), (compute, head)] {
            let parameters = [
                ("GroupId", group.clone()),
                ("IpPermissions.1.IpProtocol", "-1".to_owned()),
                ("IpPermissions.1.Groups.1.GroupId", peer.clone()),
            ];
            let revoked = cloud.ec2.call("RevokeSecurityGroupIngress", &parameters).map(drop);
            let revoked = ignore(revoked, "InvalidPermission.NotFound");
            ignore(revoked, "InvalidGroup.NotFound")?;
        }
    }
    let unnoted = tagged(cloud, cluster)?;
    let unnoted = unnoted.iter().filter(|id| !resources.groups.values().any(|known| known == *id));
    for id in resources.groups.values().chain(unnoted) {
        let gone = cloud.ec2.call("DeleteSecurityGroup", &[("GroupId", id.clone())]);
        ignore(gone.map(drop), "InvalidGroup.NotFound")?;
    }
    Ok(())
}

/// Security groups with the cluster's tag: also one whose maker was killed before it was noted.
fn tagged(cloud: &Cloud, cluster: &str) -> Result<Vec<String>, CallError> {
    let filters = [
        ("Filter.1.Name", "tag:parallelcluster:cluster-name".to_owned()),
        ("Filter.1.Value.1", cluster.to_owned()),
    ];
    let answer = cloud.ec2.call("DescribeSecurityGroups", &filters)?;
    let ids = answer.items("securityGroupInfo").filter_map(|item| item.get("groupId"));
    Ok(ids.map(str::to_owned).collect())
}

fn ignore(result: Result<(), CallError>, code: &str) -> Result<(), CallError> {
    match result {
        Err(error) if error.code == code => Ok(()),
        other => other,
    }
}
