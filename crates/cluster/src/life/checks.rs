//! What only EC2 and this machine can say of a configuration.

use std::path::Path;

use cloud::client::{CallError, Document as Answer};

use super::{Cloud, LifeError};
use crate::{
    config::{Config, Document},
    finding::Finding,
    launch::Order,
    store::Resources,
};

/// Programs that nodes run, and the packages that bring them.
const PROGRAMS: [(&str, &str); 6] = [
    ("slurmctld", "slurm-wlm"),
    ("slurmd", "slurm-wlm"),
    ("scontrol", "slurm-client"),
    ("munged", "munge"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
];
const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Checks a configuration against EC2: subnets, keys, groups, and whether the head node could be
/// launched.
///
/// # Errors
///
/// When EC2 does not answer, or this machine lacks a package that nodes need.
pub fn check(cloud: &Cloud, name: &str, document: &Document) -> Result<Vec<Finding>, LifeError> {
    packages()?;
    let config = &document.config;
    let mut findings = Vec::new();
    subnets(cloud, config, &mut findings)?;
    key(cloud, config, &mut findings)?;
    security_groups(cloud, config, &mut findings)?;
    placement_groups(cloud, config, &mut findings)?;
    if findings.is_empty() {
        rehearse(cloud, name, config, &mut findings)?;
    }
    for finding in &mut findings {
        finding.line = document.line_of(&finding.path);
    }
    Ok(findings)
}

fn packages() -> Result<(), LifeError> {
    let is_there = |program: &str| FOLDERS.iter().any(|it| Path::new(it).join(program).exists());
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    Err(LifeError::Packages { programs: programs.join(", "), packages: packages.join(" ") })
}

/// The image that nodes run where none is named: the cloud's own, with the user to log in as.
pub(super) fn image(cloud: &Cloud, user: &str) -> Result<String, LifeError> {
    let filters =
        [("Filter.1.Name", "is-public".to_owned()), ("Filter.1.Value.1", "true".to_owned())];
    let answer = cloud.ec2.call("DescribeImages", &filters)?;
    let is_for = |item: &&Answer| {
        // The cloud's images are the same system, each with another user.
        item.get("description").is_some_and(|text| text.ends_with(&format!(" as {user}")))
    };
    let images: Vec<_> = answer.items("imagesSet").collect();
    let image = images.iter().copied().find(is_for).or(images.first().copied());
    let image = image.and_then(|item| item.get("imageId")).map(str::to_owned);
    image.ok_or_else(|| LifeError::State("the cloud has no public image".to_owned()))
}

/// Asks EC2 about ids. What it does not know becomes a finding.
fn ask(
    cloud: &Cloud,
    action: &str,
    (parameter, id): (&str, &str),
    (validator, path): (&'static str, &str),
    findings: &mut Vec<Finding>,
) -> Result<Option<Answer>, LifeError> {
    match cloud.ec2.call(action, &[(parameter, id.to_owned())]) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code == CallError::UNREACHABLE => Err(error.into()),
        Err(error) => {
            findings.push(Finding::error(validator, path, error.message));
            Ok(None)
        }
    }
}

fn subnets(cloud: &Cloud, config: &Config, findings: &mut Vec<Finding>) -> Result<(), LifeError> {
    let head = config.head_node.networking.subnet_id.as_deref();
    let mut places: Vec<(String, &str)> =
        head.map(|id| ("HeadNode.Networking.SubnetId".to_owned(), id)).into_iter().collect();
    for (queue, settings) in config.scheduling.slurm_queues.iter().enumerate() {
        for (number, id) in settings.networking.subnet_ids.iter().enumerate() {
            let path = format!("Scheduling.SlurmQueues[{queue}].Networking.SubnetIds[{number}]");
            places.push((path, id));
        }
    }
    let mut vpc: Option<String> = None;
    for (path, id) in places {
        let about = ("SubnetsValidator", path.as_str());
        let answer = ask(cloud, "DescribeSubnets", ("SubnetId.1", id), about, findings)?;
        let Some(answer) = answer else {
            if let Some(last) = findings.last_mut() {
                last.message = format!("{}; {}", last.message, known_subnets(cloud)?);
            }
            continue;
        };
        let found = answer.items("subnetSet").find_map(|item| item.get("vpcId"));
        match (&vpc, found) {
            (None, Some(found)) => vpc = Some(found.to_owned()),
            (Some(vpc), Some(found)) if vpc != found => {
                let message = format!("{id} is in {found} and others are in {vpc}: use one VPC");
                findings.push(Finding::error("SubnetsValidator", &path, message));
            }
            _ => {}
        }
    }
    Ok(())
}

fn known_subnets(cloud: &Cloud) -> Result<String, LifeError> {
    let answer = cloud.ec2.call("DescribeSubnets", &[])?;
    let ids: Vec<_> =
        answer.items("subnetSet").filter_map(|item| item.get("subnetId")).take(6).collect();
    Ok(format!("there are {}", ids.join(", ")))
}

fn key(cloud: &Cloud, config: &Config, findings: &mut Vec<Finding>) -> Result<(), LifeError> {
    let Some(key) = config.head_node.ssh.key_name.as_deref() else { return Ok(()) };
    let about = ("KeyPairValidator", "HeadNode.Ssh.KeyName");
    ask(cloud, "DescribeKeyPairs", ("KeyName.1", key), about, findings).map(drop)
}

/// Groups of the user's that EFA traffic has to pass.
fn security_groups(
    cloud: &Cloud,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), LifeError> {
    for (number, queue) in config.scheduling.slurm_queues.iter().enumerate() {
        let path = format!("Scheduling.SlurmQueues[{number}].Networking.SecurityGroups");
        let has_efa = queue.compute_resources.iter().any(|resource| resource.has_efa());
        let own = &queue.networking.security_groups;
        let mut allows = false;
        for id in own {
            let about = ("SecurityGroupsValidator", path.as_str());
            let answer = ask(cloud, "DescribeSecurityGroups", ("GroupId.1", id), about, findings)?;
            allows |= answer.is_some_and(|answer| allows_itself(&answer, id));
        }
        if has_efa && !own.is_empty() && !allows {
            let message = "EFA needs a group that allows all traffic in and out to itself: add \
                           such rules to one of these, or leave SecurityGroups out";
            findings.push(Finding::error("EfaSecurityGroupValidator", &path, message.to_owned()));
        }
    }
    Ok(())
}

fn allows_itself(answer: &Answer, id: &str) -> bool {
    let allows = |group: &Answer, list: &str| {
        group.items(list).any(|rule| {
            rule.get("ipProtocol") == Some("-1")
                && rule.items("groups").any(|peer| peer.get("groupId") == Some(id))
        })
    };
    let mut groups = answer.items("securityGroupInfo");
    groups.any(|group| allows(group, "ipPermissions") && allows(group, "ipPermissionsEgress"))
}

fn placement_groups(
    cloud: &Cloud,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), LifeError> {
    for (number, queue) in config.scheduling.slurm_queues.iter().enumerate() {
        for (at, resource) in queue.compute_resources.iter().enumerate() {
            let own = resource.networking.placement_group.is_some();
            let inner = if own { format!(".ComputeResources[{at}]") } else { String::new() };
            let path = format!("Scheduling.SlurmQueues[{number}]{inner}.Networking.PlacementGroup");
            let group = resource.placement_group(queue).and_then(|group| group.existing());
            if let Some(group) = group {
                let about = ("PlacementGroupNamingValidator", path.as_str());
                let asked = ("GroupName.1", group);
                ask(cloud, "DescribePlacementGroups", asked, about, findings)?;
            }
        }
    }
    Ok(())
}

/// Asks EC2 whether it would launch the head node.
fn rehearse(
    cloud: &Cloud,
    name: &str,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), LifeError> {
    let resources = Resources { image: image(cloud, config.user())?, ..Resources::default() };
    let order = Order { config, resources: &resources, count: (1, 1), is_rehearsal: true };
    match cloud.launcher(name).head(&order) {
        Err(error) if error.code == "DryRunOperation" => Ok(()),
        Err(error) if error.code == CallError::UNREACHABLE => Err(error.into()),
        Err(error) => {
            let message = format!("EC2 would not launch the head node: {error}");
            findings.push(Finding::error("HeadNodeLaunchTemplateValidator", "HeadNode", message));
            Ok(())
        }
        Ok(_) => Err(LifeError::State("EC2 launched an instance in a rehearsal".to_owned())),
    }
}
