//! Slurm's settings.

use super::{Findings, queues, resources};
use crate::config::Config;

/// What this program sets itself, in small letters.
const OF_CLUSTER: &[&str] = &[
    "epilog",
    "grestypes",
    "launchparameters",
    "prolog",
    "prologslurmctld",
    "reconfigflags",
    "resumefailprogram",
    "resumeprogram",
    "resumetimeout",
    "slurmctldhost",
    "slurmctldlogfile",
    "slurmctldparameters",
    "slurmdlogfile",
    "slurmuser",
    "statesavelocation",
    "suspendexcnodes",
    "suspendprogram",
    "suspendtime",
    "taskplugin",
    "treewidth",
];
const OF_QUEUE: &[&str] =
    &["nodes", "oversubscribe", "partitionname", "resumetimeout", "state", "suspendtime"];
const OF_RESOURCE: &[&str] = &[
    "cpus",
    "feature",
    "features",
    "gres",
    "nodeaddr",
    "nodehostname",
    "nodename",
    "realmemory",
    "state",
    "weight",
];
const VALIDATOR: &str = "CustomSlurmSettingsValidator";

pub(super) fn check(config: &Config, found: &mut Findings) {
    let scheduling = &config.scheduling;
    match scheduling.scheduler.as_deref() {
        Some("slurm") if scheduling.slurm_queues.is_empty() => {
            let message = "SlurmQueues is missing";
            found.error("ConfigSchemaValidator", "Scheduling", message);
        }
        Some("awsbatch") => {
            let message = "awsbatch is not supported here: use slurm";
            found.error("SchedulerValidator", "Scheduling.Scheduler", message);
        }
        _ => {}
    }
    let settings = &scheduling.slurm_settings;
    let path = "Scheduling.SlurmSettings";
    if !settings.custom_slurm_settings.is_empty()
        && settings.custom_slurm_settings_include_file.is_some()
    {
        let message = "CustomSlurmSettings and CustomSlurmSettingsIncludeFile exclude each other";
        found.error("ConfigSchemaValidator", path, message);
    }
    for (number, map) in settings.custom_slurm_settings.iter().enumerate() {
        let path = format!("{path}.CustomSlurmSettings[{number}]");
        // A line with several settings describes nodes or a partition of the user's own.
        if map.len() == 1 {
            denied(map.keys(), OF_CLUSTER, &path, found);
        }
        let own = map.get("NodeName").and_then(|name| name.as_str());
        if let Some(name) = own.filter(|name| name.contains("-st-") || name.contains("-dy-")) {
            let message = format!("{name}: names with -st- and -dy- are those of the cluster");
            found.error("CustomSlurmNodeNamesValidator", &path, message);
        }
    }
    for (path, queue) in queues(config) {
        let place = format!("{path}.CustomSlurmSettings");
        denied(queue.custom_slurm_settings.keys(), OF_QUEUE, &place, found);
        for (path, resource) in resources(&path, queue) {
            let place = format!("{path}.CustomSlurmSettings");
            denied(resource.custom_slurm_settings.keys(), OF_RESOURCE, &place, found);
            let (fixed, dynamic) = (
                resource.static_node_priority.unwrap_or(1),
                resource.dynamic_node_priority.unwrap_or(1000),
            );
            if fixed > dynamic {
                let message = format!(
                    "StaticNodePriority {fixed} is above DynamicNodePriority {dynamic}: new nodes \
                     would be started before those that run are used"
                );
                found.warn("SlurmNodePrioritiesWarningValidator", &path, message);
            }
        }
    }
}

fn denied<'a>(
    names: impl Iterator<Item = &'a String>,
    list: &[&str],
    path: &str,
    found: &mut Findings,
) {
    for name in names.filter(|name| list.contains(&name.to_lowercase().as_str())) {
        let message = format!("{name} is set by the cluster itself and cannot be set here");
        found.error(VALIDATOR, &format!("{path}.{name}"), message);
    }
}
