//! `slurm.conf` and what belongs to it, for one cluster.

use std::{fmt::Write as _, net::Ipv4Addr};

use cloud::ec2::InstanceType;
use serde_json::Value as Json;

use super::nodes::NodeKind;
use crate::{
    config::{ComputeResource, Config, Queue},
    paths,
};

/// How much of an instance's memory jobs may have, in percent; the system needs the rest.
const MEMORY_PERCENT: u64 = 95;

/// How much longer than a node may take Slurm waits for it, in seconds.
const RESUME_SLACK: u32 = 60;

/// What a configuration is made for.
pub(crate) struct Site<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The head node's host name.
    pub head: &'a str,
    pub address: Ipv4Addr,
}

/// Slurm's figures for a resource's nodes: the least that any of its types has.
pub(crate) struct NodeFigures {
    pub cpus: u32,
    /// MiB.
    pub memory: u64,
    pub gpus: u32,
}

impl NodeFigures {
    /// Of the types that are known; one CPU if none is.
    pub(crate) fn of(resource: &ComputeResource) -> Self {
        let types: Vec<_> = resource.types().into_iter().filter_map(InstanceType::named).collect();
        let one_thread = resource.disable_simultaneous_multithreading == Some(true);
        let cpus = |it: &InstanceType| if one_thread { it.cores } else { it.vcpus };
        let memory = types.iter().map(|it| it.memory_mib).min().unwrap_or(1024);
        Self {
            cpus: types.iter().map(|it| cpus(it)).min().unwrap_or(1).max(1),
            memory: resource.schedulable_memory.unwrap_or(memory * MEMORY_PERCENT / 100).max(1),
            gpus: types.iter().map(|it| it.gpus().map_or(0, |(count, _)| count)).min().unwrap_or(0),
        }
    }
}

/// The whole of `slurm.conf`.
pub(crate) fn slurm_conf(config: &Config, site: &Site<'_>) -> String {
    let settings = &config.scheduling.slurm_settings;
    let by_memory = settings.enable_memory_based_scheduling == Some(true);
    let select = if by_memory { "CR_CPU_Memory" } else { "CR_CPU" };
    let idle = match settings.scaledown_idletime.unwrap_or(10) {
        minutes if minutes < 0 => "INFINITE".to_owned(),
        minutes => (minutes * 60).max(1).to_string(),
    };
    let values = [
        ("cluster", site.cluster.to_owned()),
        ("head", site.head.to_owned()),
        ("address", site.address.to_string()),
        ("state", paths::SLURM_STATE.to_owned()),
        ("programs", paths::PROGRAMS.to_owned()),
        ("select", select.to_owned()),
        // The loop, which knows more of a node than Slurm, gives it up first.
        ("resume", (config.compute_timeout() + RESUME_SLACK).to_string()),
        ("idle", idle),
    ];
    let mut text = include_str!("slurm.conf").to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), &value);
    }
    let fixed: Vec<_> = config
        .resources()
        .filter(|(_, resource)| resource.min_count() > 0)
        .map(|(queue, resource)| range(queue, resource, NodeKind::Static))
        .collect();
    if !fixed.is_empty() {
        line(&mut text, &format!("SuspendExcNodes={}", fixed.join(",")));
    }
    for (number, queue) in config.scheduling.slurm_queues.iter().enumerate() {
        partition(&mut text, queue, number == 0);
    }
    text.push_str(&custom(config));
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// `queue1-dy-t3micro-[1-10]`.
fn range(queue: &Queue, resource: &ComputeResource, kind: NodeKind) -> String {
    let count = match kind {
        NodeKind::Static => resource.min_count(),
        NodeKind::Dynamic => resource.dynamic_count(),
    };
    format!("{}-{}-{}-[1-{count}]", queue.name, kind.short(), resource.name)
}

fn partition(text: &mut String, queue: &Queue, is_first: bool) {
    let mut nodes = Vec::new();
    for resource in &queue.compute_resources {
        for kind in [NodeKind::Static, NodeKind::Dynamic] {
            let count = match kind {
                NodeKind::Static => resource.min_count(),
                NodeKind::Dynamic => resource.dynamic_count(),
            };
            if count > 0 {
                line(text, &node_line(queue, resource, kind));
                nodes.push(range(queue, resource, kind));
            }
        }
    }
    let mut partition =
        format!("PartitionName={} Nodes={} MaxTime=INFINITE State=UP", queue.name, nodes.join(","));
    if is_first {
        partition.push_str(" Default=YES");
    }
    if queue.job_exclusive_allocation == Some(true) {
        partition.push_str(" OverSubscribe=EXCLUSIVE");
    }
    settings(&mut partition, &queue.custom_slurm_settings);
    line(text, &partition);
}

fn node_line(queue: &Queue, resource: &ComputeResource, kind: NodeKind) -> String {
    let figures = NodeFigures::of(resource);
    let (feature, weight) = match kind {
        NodeKind::Static => ("static", resource.static_node_priority.unwrap_or(1)),
        NodeKind::Dynamic => ("dynamic", resource.dynamic_node_priority.unwrap_or(1000)),
    };
    let mut features = vec![feature];
    let types = resource.types();
    if let [only] = types.as_slice() {
        features.push(only);
    }
    features.push(&resource.name);
    if resource.has_efa() {
        features.push("efa");
    }
    if figures.gpus > 0 {
        features.push("gpu");
    }
    let mut node = format!(
        "NodeName={} CPUs={} RealMemory={} State=CLOUD Feature={} Weight={weight}",
        range(queue, resource, kind),
        figures.cpus,
        figures.memory,
        features.join(","),
    );
    settings(&mut node, &resource.custom_slurm_settings);
    node
}

fn settings<'a>(line: &mut String, all: impl IntoIterator<Item = (&'a String, &'a Json)>) {
    for (name, value) in all {
        write!(line, " {name}={}", plain(value)).expect("a text has room");
    }
}

/// The user's own lines, which come last so that they win.
fn custom(config: &Config) -> String {
    let mut text = String::new();
    for map in &config.scheduling.slurm_settings.custom_slurm_settings {
        let mut entry = String::new();
        // A line that describes nodes or a partition begins with its name.
        let names = |name: &str| ["NodeName", "PartitionName", "NodeSet"].contains(&name);
        settings(&mut entry, map.iter().filter(|(name, _)| names(name)));
        settings(&mut entry, map.iter().filter(|(name, _)| !names(name)));
        line(&mut text, entry.trim());
    }
    text
}

/// A value as Slurm writes it: lists with commas.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// `cgroup.conf`. Processes are limited from outside of an instance, so nothing is mounted there
/// for Slurm, and the plugin that looks for it least is loaded.
pub(crate) const CGROUP_CONF: &str = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    const GUIDE: &str = include_str!("../../tests/guide.yaml");

    fn rendered(text: &str) -> String {
        let document = Document::read(text).unwrap();
        assert_eq!(document.schema_findings, []);
        let site = Site { cluster: "test", head: "head", address: Ipv4Addr::new(10, 77, 0, 4) };
        let text = slurm_conf(&document.config, &site);
        assert!(!text.contains('@'), "{text}");
        text
    }

    #[test]
    fn guide_has_one_partition_of_ten_dynamic_nodes() {
        let text = rendered(GUIDE);
        for expected in [
            "SlurmctldHost=head(10.77.0.4)\n",
            "SuspendTime=600\n",
            "NodeName=queue1-dy-t3micro-[1-10] CPUs=2 RealMemory=972 State=CLOUD \
             Feature=dynamic,t3.micro,t3micro Weight=1000\n",
            "PartitionName=queue1 Nodes=queue1-dy-t3micro-[1-10] MaxTime=INFINITE State=UP \
             Default=YES\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains("SuspendExcNodes"), "{text}");
    }

    #[test]
    fn static_nodes_stay_and_own_settings_come_last() {
        let text = GUIDE
            .replace("MinCount: 0", "MinCount: 2\n      CustomSlurmSettings: {Comment: big}")
            .replace(
                "  - Name: queue1",
                "  - Name: queue1\n    JobExclusiveAllocation: true\n    \
                                          CustomSlurmSettings: {MaxTime: '60'}",
            )
            .replace(
                "  Scheduler: slurm",
                "  Scheduler: slurm\n  SlurmSettings:\n    ScaledownIdletime: 1\n    \
                 CustomSlurmSettings:\n    - DebugFlags: Power\n",
            );
        let text = rendered(&text);
        for expected in [
            "SuspendExcNodes=queue1-st-t3micro-[1-2]\n",
            "SuspendTime=60\n",
            "NodeName=queue1-st-t3micro-[1-2] CPUs=2 RealMemory=972 State=CLOUD \
             Feature=static,t3.micro,t3micro Weight=1 Comment=big\n",
            "Nodes=queue1-st-t3micro-[1-2],queue1-dy-t3micro-[1-8] MaxTime=INFINITE State=UP \
             Default=YES OverSubscribe=EXCLUSIVE MaxTime=60\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(text.ends_with("DebugFlags=Power\n"), "{text}");
    }
}
