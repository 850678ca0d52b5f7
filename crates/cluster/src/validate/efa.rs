//! EFA and placement groups.

use cloud::ec2::InstanceType;

use super::{Findings, queues, resources};
use crate::config::{ComputeResource, Config, Queue};

pub(super) fn check(config: &Config, found: &mut Findings) {
    for (path, queue) in queues(config) {
        let of_queue = format!("{path}.Networking.PlacementGroup");
        for (path, resource) in resources(&path, queue) {
            types(resource, &path, found);
            if resource.has_efa() {
                placement((queue, &of_queue), resource, &path, found);
                if queue.networking.subnet_ids.len() > 1 {
                    let message = "EFA does not reach across subnets: name one";
                    found.error("EfaMultiAzValidator", &path, message);
                }
            }
        }
        for (place, group) in groups(&path, queue) {
            naming(group, &place, found);
        }
        cluster_groups(queue, &path, found);
    }
}

fn types(resource: &ComputeResource, path: &str, found: &mut Findings) {
    let validator = match resource.instance_type {
        Some(_) => "EfaValidator",
        None => "InstancesEFAValidator",
    };
    let path = format!("{path}.Efa");
    let efa = resource.efa.clone().unwrap_or_default();
    if efa.gdr_support == Some(true) && efa.enabled != Some(true) {
        let message = "GdrSupport needs EFA: set Enabled to true";
        found.error(validator, &path, message);
    }
    for kind in resource.types().into_iter().filter_map(InstanceType::named) {
        if resource.has_efa() && kind.efa_interfaces == 0 {
            let message =
                format!("{} has no EFA: set Enabled to false, or use another type", kind.name);
            found.error(validator, &path, message);
        }
        if !resource.has_efa() && kind.efa_interfaces > 0 && resource.efa.is_none() {
            let message =
                format!("{} has EFA, at no cost: consider `Efa: {{Enabled: true}}`", kind.name);
            found.warn(validator, &path, message);
        }
    }
}

fn placement(
    (queue, of_queue): (&Queue, &str),
    resource: &ComputeResource,
    path: &str,
    found: &mut Findings,
) {
    const VALIDATOR: &str = "EfaPlacementGroupValidator";
    match resource.placement_group(queue) {
        None => {
            let message = "with EFA it has to be said whether nodes are in a placement group: \
                           `PlacementGroup: {Enabled: true}`";
            found.error(VALIDATOR, path, message);
        }
        Some(group) if !group.is_wanted() => {
            let message = "EFA is fastest within a placement group, and this has none";
            found.warn(VALIDATOR, &place(resource, of_queue, path), message);
        }
        Some(_) => {}
    }
}

/// Where the placement group of a resource is written: in itself, or in its queue.
fn place(resource: &ComputeResource, of_queue: &str, path: &str) -> String {
    match resource.networking.placement_group {
        Some(_) => format!("{path}.Networking.PlacementGroup"),
        None => of_queue.to_owned(),
    }
}

fn groups<'a>(
    path: &'a str,
    queue: &'a Queue,
) -> impl Iterator<Item = (String, &'a crate::config::PlacementGroup)> {
    let own = queue.networking.placement_group.as_ref();
    let own = own.map(|group| (format!("{path}.Networking.PlacementGroup"), group));
    let inner = resources(path, queue).filter_map(|(path, resource)| {
        let group = resource.networking.placement_group.as_ref()?;
        Some((format!("{path}.Networking.PlacementGroup"), group))
    });
    own.into_iter().chain(inner)
}

fn naming(group: &crate::config::PlacementGroup, path: &str, found: &mut Findings) {
    const VALIDATOR: &str = "PlacementGroupNamingValidator";
    if group.name.is_some() && group.id.is_some() {
        found.error(VALIDATOR, path, "Name and Id are both given: keep one of them");
    }
    if group.existing().is_some() && group.enabled == Some(false) {
        found.error(VALIDATOR, path, "a group is named, and Enabled is false: keep one of the two");
    }
}

fn cluster_groups(queue: &Queue, path: &str, found: &mut Findings) {
    let of_queue = format!("{path}.Networking.PlacementGroup");
    for (path, resource) in resources(path, queue) {
        let is_wanted = resource.placement_group(queue).is_some_and(|group| group.is_wanted());
        if !is_wanted {
            continue;
        }
        let place = place(resource, &of_queue, &path);
        let types: Vec<_> = resource.types().into_iter().filter_map(InstanceType::named).collect();
        for kind in types.iter().filter(|kind| !kind.supports_placement("cluster")) {
            let message = format!("{} cannot be in a placement group of this kind", kind.name);
            found.error("InstanceTypePlacementGroupValidator", &place, message);
        }
        if types.len() > 1 {
            let message = "several types in one placement group are had together less often";
            found.warn("InstancesNetworkingValidator", &place, message);
        }
        if queue.networking.subnet_ids.len() > 1 {
            let message = "a placement group does not reach across subnets: name one";
            found.error("MultiAzPlacementGroupValidator", &place, message);
        }
    }
}
