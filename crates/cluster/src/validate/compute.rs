//! Instance types, counts and networks of the nodes.

use std::collections::BTreeSet;

use cloud::ec2::InstanceType;

use super::{Findings, queues, resources};
use crate::config::{ComputeResource, Config, Queue, nearest};

pub(super) fn check(config: &Config, found: &mut Findings) {
    let head = config.head_node.instance_type.as_deref();
    let head = head.and_then(|name| known(name, "HeadNode.InstanceType", found));
    let networking = &config.head_node.networking;
    groups(
        (&networking.security_groups, &networking.additional_security_groups),
        "HeadNode.Networking",
        found,
    );
    if config.head_node.ssh.key_name.is_none() {
        let message = "no key: nobody can log in with ssh; name a key pair of EC2's";
        found.warn("KeyPairValidator", "HeadNode.Ssh.KeyName", message);
    }
    let mut total = 0;
    for (path, queue) in queues(config) {
        network(queue, &path, found);
        for (path, resource) in resources(&path, queue) {
            size(queue, resource, &path, found);
            total += 1;
            let types = types_of(resource, &path, found);
            if let Some(head) = head {
                architecture(head, &types, &path, found);
            }
            alike(&types, &path, found);
            capacity(queue, &types, &path, found);
            if let (Some(memory), Some(least)) =
                (resource.schedulable_memory, types.iter().map(|it| it.memory_mib).min())
                && memory > least
            {
                let message =
                    format!("{memory} MiB is more than the {least} MiB that the type has");
                found.error(
                    "SchedulableMemoryValidator",
                    &format!("{path}.SchedulableMemory"),
                    message,
                );
            }
        }
    }
    const MOST: usize = 50;
    if total > MOST {
        let message = format!("{total} compute resources; a cluster has at most {MOST}");
        found.error("MaxCountValidator", "Scheduling.SlurmQueues", message);
    }
}

/// The type of a name, or a finding.
fn known(name: &str, path: &str, found: &mut Findings) -> Option<&'static InstanceType> {
    let kind = InstanceType::named(name);
    if kind.is_none() {
        let near = nearest(name, InstanceType::names());
        let hint = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
        let message = format!("{name} is no instance type{hint}");
        found.error("InstanceTypeValidator", path, message);
    }
    kind
}

fn types_of(
    resource: &ComputeResource,
    path: &str,
    found: &mut Findings,
) -> Vec<&'static InstanceType> {
    let single = resource.instance_type.is_some();
    if single && !resource.instances.is_empty() {
        let message = "InstanceType and Instances are both given: keep one of them";
        found.error("ConfigSchemaValidator", path, message);
    } else if !single && resource.instances.is_empty() {
        let message = "Instances is missing: a list of `- InstanceType: …`";
        found.error("ConfigSchemaValidator", path, message);
    }
    let mut seen = BTreeSet::new();
    let mut types = Vec::new();
    for (number, name) in resource.types().into_iter().enumerate() {
        let place = match single {
            true => format!("{path}.InstanceType"),
            false => format!("{path}.Instances[{number}].InstanceType"),
        };
        if !seen.insert(name) {
            let message = format!("{name} is listed twice");
            found.error("DuplicateInstanceTypeValidator", &place, message);
        }
        types.extend(known(name, &place, found));
    }
    types
}

fn size(queue: &Queue, resource: &ComputeResource, path: &str, found: &mut Findings) {
    const VALIDATOR: &str = "ComputeResourceSizeValidator";
    let (least, most) = (resource.min_count(), resource.max_count());
    if most < least {
        let message = format!("MaxCount {most} is less than MinCount {least}");
        found.error(VALIDATOR, &format!("{path}.MaxCount"), message);
    }
    let is_block = queue.capacity_type.as_deref() == Some("CAPACITY_BLOCK");
    if is_block && (most != least || least == 0) {
        let message = "a capacity block is used whole: MinCount and MaxCount are equal, above 0";
        found.error(VALIDATOR, path, message);
    }
}

fn architecture(
    head: &InstanceType,
    types: &[&'static InstanceType],
    path: &str,
    found: &mut Findings,
) {
    for kind in types {
        if !kind.architectures.iter().any(|it| head.architectures.contains(it)) {
            let message = format!(
                "{} is {}, and the head node's {} is {}",
                kind.name,
                kind.architectures.join("/"),
                head.name,
                head.architectures.join("/")
            );
            found.error("InstanceArchitectureCompatibilityValidator", path, message);
        }
    }
}

/// Types of one resource are the same to Slurm.
fn alike(types: &[&'static InstanceType], path: &str, found: &mut Findings) {
    let Some(first) = types.first() else { return };
    let path = format!("{path}.Instances");
    for other in &types[1..] {
        if other.vcpus != first.vcpus {
            let message = format!(
                "{} has {} CPUs and {} has {}: types of one resource have the same number",
                first.name, first.vcpus, other.name, other.vcpus
            );
            found.error("InstancesCPUValidator", &path, message);
        }
        if other.gpus() != first.gpus() {
            let message = format!(
                "{} and {} have different accelerators: types of one resource have the same",
                first.name, other.name
            );
            found.error("InstancesAcceleratorsValidator", &path, message);
        }
    }
}

fn capacity(queue: &Queue, types: &[&'static InstanceType], path: &str, found: &mut Findings) {
    if queue.capacity_type.as_deref() != Some("SPOT") {
        if queue.allocation_strategy.as_deref().is_some_and(|it| it != "lowest-price") {
            let message = "only lowest-price is possible for On-Demand instances";
            found.error("InstancesAllocationStrategyValidator", path, message);
        }
        return;
    }
    for kind in types.iter().filter(|kind| !kind.usage_classes().any(|class| class == "spot")) {
        let message = format!("{} cannot be had as a spot instance", kind.name);
        found.error("CapacityTypeValidator", path, message);
    }
}

fn network(queue: &Queue, path: &str, found: &mut Findings) {
    let networking = &queue.networking;
    let path = format!("{path}.Networking");
    groups((&networking.security_groups, &networking.additional_security_groups), &path, found);
    let mut seen = BTreeSet::new();
    for (number, subnet) in networking.subnet_ids.iter().enumerate() {
        if !seen.insert(subnet) {
            let message = format!("{subnet} is listed twice");
            found.error("QueueSubnetsValidator", &format!("{path}.SubnetIds[{number}]"), message);
        }
    }
    let is_single = queue.compute_resources.iter().any(|it| it.instance_type.is_some());
    if is_single && networking.subnet_ids.len() > 1 {
        let message = "several subnets need Instances instead of InstanceType";
        found.error("SingleInstanceTypeSubnetValidator", &format!("{path}.SubnetIds"), message);
    }
}

fn groups((own, more): (&[String], &[String]), path: &str, found: &mut Findings) {
    if !own.is_empty() && !more.is_empty() {
        let message = "SecurityGroups and AdditionalSecurityGroups exclude each other: keep one";
        found.error("ConfigSchemaValidator", path, message);
    }
}
