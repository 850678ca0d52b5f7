//! Instances for nodes, and their end.

use std::{collections::BTreeMap, fs, path::Path};

use cloud::client::CallError;
use serde::Deserialize;

use super::{
    reconcile::{CAPACITY_PAUSE, Loop, one_line},
    register::Entry,
};
use crate::{
    clock,
    launch::{Order, is_no_room},
    node::NodeError,
    paths,
    slurm::{NodeKind, NodeName, control, hostlist, nodes},
};

/// Slurm's account of what nodes are for.
#[derive(Debug, Deserialize)]
struct ResumeFile {
    #[serde(default)]
    jobs: Vec<ResumedJob>,
}

#[derive(Debug, Deserialize)]
struct ResumedJob {
    #[serde(default)]
    nodes_resume: String,
}

/// Nodes that are launched together: all of them or none.
type Group = Vec<NodeName>;

/// What the reason of nodes that could not be had begins with.
const REFUSED: &str = "(Code:";

/// How often a call is made again when EC2 asks for patience.
const ATTEMPTS: u32 = 3;

impl Loop {
    /// Slurm needs nodes.
    pub(super) fn resume(&mut self, names: &[String], jobs: Option<&str>) {
        self.journal.say(&format!("Slurm needs {}", names.join(", ")));
        for names in by_job(names, jobs) {
            let mut launched = Vec::new();
            for group in by_resource(&names) {
                match self.launch(&group) {
                    Ok(()) => launched.extend(group.iter().map(ToString::to_string)),
                    Err(error) => {
                        self.refuse(&group, &error);
                        // A job with a part of its nodes is of no use to anybody.
                        if self.is_all_or_nothing() && !launched.is_empty() {
                            let reason = "other nodes of its job could not be had";
                            self.give_back(&std::mem::take(&mut launched), reason);
                        }
                    }
                }
            }
        }
    }

    fn is_all_or_nothing(&self) -> bool {
        self.config.scheduling.scaling_strategy.as_deref() != Some("best-effort")
    }

    fn launch(&mut self, group: &Group) -> Result<(), CallError> {
        let Some(first) = group.first() else { return Ok(()) };
        let unknown = || CallError {
            code: "UnknownNode".to_owned(),
            message: format!("{first} is not in the configuration"),
            status: 0,
        };
        let config = self.config.clone();
        let found = config
            .resources()
            .find(|(queue, resource)| queue.name == first.queue && resource.name == first.resource);
        let (queue, resource) = found.ok_or_else(unknown)?;
        // A name whose instance is still there is launched anew: what runs there is of the past.
        for name in group {
            if let Some(entry) = self.register.remove(&name.to_string()) {
                self.launcher.terminate(&[entry.instance])?;
            }
        }
        let resources = self.store.read().map(|state| state.resources).unwrap_or_default();
        let most = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let least = if self.is_all_or_nothing() { most } else { 1 };
        let order = Order {
            config: &config,
            resources: &resources,
            count: (least, most),
            is_rehearsal: false,
        };
        let mut attempts = 0;
        let instances = loop {
            attempts += 1;
            match self.launcher.nodes(&order, queue, resource) {
                Err(error) if error.code == "RequestLimitExceeded" && attempts < ATTEMPTS => {}
                other => break other?,
            }
        };
        let now = clock::now();
        let mut entries = Vec::new();
        for (name, instance) in group.iter().zip(&instances) {
            let Some(address) = instance.address else { continue };
            let entry =
                Entry { instance: instance.id.clone(), address, launched: now, was_ready: false };
            // Of an earlier instance of this name.
            fs::remove_file(Path::new(paths::FAILURES).join(name.to_string())).ok();
            entries.push((name.to_string(), entry));
        }
        let shown: Vec<_> =
            entries.iter().map(|(name, entry)| format!("{name} is {}", entry.instance)).collect();
        let missing: Group = group[entries.len()..].to_vec();
        if let Err(error) = self.register.add(entries) {
            self.journal.say(&format!("cannot name instances: {error}"));
        }
        self.journal.say(&shown.join(", "));
        if !missing.is_empty() {
            let error = CallError {
                code: "InsufficientInstanceCapacity".to_owned(),
                message: format!("{} of {most} instances came", most as usize - missing.len()),
                status: 0,
            };
            self.refuse(&missing, &error);
        }
        Ok(())
    }

    /// Nodes could not be had: Slurm is told why, and runs their jobs again.
    fn refuse(&mut self, group: &Group, error: &CallError) {
        let names: Vec<_> = group.iter().map(ToString::to_string).collect();
        let reason = format!("(Code:{})Failure when resuming nodes: {}", error.code, error.message);
        self.journal.say(&format!("{}: {reason}", names.join(", ")));
        if is_no_room(error)
            && let Some(first) = group.first()
        {
            let key = (first.queue.clone(), first.resource.clone());
            self.full.insert(key, clock::instant() + CAPACITY_PAUSE);
            self.close_resource(first, &reason);
        }
        let noted = self.store.change(|state| {
            for name in &names {
                state.note(name, &reason);
            }
        });
        if let Err(error) = noted {
            self.journal.say(&error.to_string());
        }
        self.take_down(&names, &reason);
    }

    /// Other nodes of a resource that is full would fail alike: jobs are kept from them for now.
    fn close_resource(&self, like: &NodeName, reason: &str) {
        let Ok(states) = control::nodes() else { return };
        let idle = states.into_iter().filter(|node| node.is_powered_down() && !node.is_busy());
        let names: Vec<_> = idle
            .filter(|node| {
                node.name
                    .parse::<NodeName>()
                    .is_ok_and(|name| name.queue == like.queue && name.resource == like.resource)
            })
            .map(|node| node.name)
            .collect();
        self.take_down(&names, reason);
    }

    fn take_down(&self, names: &[String], reason: &str) {
        let reason = format!("reason={}", one_line(reason));
        if let Err(error) = control::update_nodes(names, &["state=down", &reason]) {
            self.journal.say(&error.to_string());
        }
    }

    /// Ends nodes that were launched for nothing.
    fn give_back(&mut self, names: &[String], reason: &str) {
        self.end_instances(names);
        self.take_down(names, reason);
        if let Err(error) = control::update_nodes(names, &["state=power_down_force"]) {
            self.journal.say(&error.to_string());
        }
    }

    /// Slurm needs nodes no more.
    pub(super) fn suspend(&mut self, names: &[String]) {
        self.journal.say(&format!("Slurm needs no more {}", names.join(", ")));
        self.end_instances(names);
    }

    fn end_instances(&mut self, names: &[String]) {
        let ended = names.iter().filter_map(|name| self.register.remove(name));
        let ids: Vec<_> = ended.map(|entry| entry.instance).collect();
        if let Err(error) = self.launcher.terminate(&ids) {
            // They are no nodes any more, and are ended as such later.
            self.journal.say(&format!("cannot end {}: {error}", ids.join(", ")));
        }
    }

    /// Nodes that could not be set up say why.
    pub(super) fn read_failures(&mut self) -> Result<(), NodeError> {
        let folder = Path::new(paths::FAILURES);
        let Ok(files) = fs::read_dir(folder) else { return Ok(()) };
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let failure = fs::read(file.path()).ok();
            let failure: Option<crate::node::BootFailure> =
                failure.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            fs::remove_file(file.path()).map_err(NodeError::file("forget a failure"))?;
            let Some(failure) = failure else { continue };
            let is_current =
                self.register.of(&name).is_some_and(|entry| entry.instance == failure.instance);
            if is_current {
                self.lose(&name, &format!("it could not be set up: {}", failure.reason), true)?;
            }
        }
        Ok(())
    }

    /// Nodes of resources that were full may be tried again.
    pub(super) fn reopen(&mut self, states: &[control::NodeState]) -> Result<(), NodeError> {
        let now = clock::instant();
        let full = &self.full;
        let is_full = |name: &NodeName| {
            full.get(&(name.queue.clone(), name.resource.clone())).is_some_and(|at| *at > now)
        };
        let waits: Vec<String> = states
            .iter()
            .filter(|node| node.is_down() && !node.is_powering_down())
            // Others were taken down by somebody who has a reason.
            .filter(|node| node.reason.starts_with(REFUSED))
            .filter(|node| self.register.of(&node.name).is_none())
            .filter(|node| node.name.parse::<NodeName>().is_ok_and(|name| !is_full(&name)))
            .map(|node| node.name.clone())
            .collect();
        self.full.retain(|_, at| *at > now);
        Ok(control::update_nodes(&waits, &["state=power_down_force"])?)
    }

    /// Static nodes that do not run.
    pub(super) fn absent_static(&self, states: &[control::NodeState]) -> Vec<String> {
        let now = clock::instant();
        let fixed = self.config.resources().flat_map(|(queue, resource)| {
            let full = self.full.get(&(queue.name.clone(), resource.name.clone()));
            let is_full = full.is_some_and(|at| *at > now);
            nodes::names_of(queue, resource, NodeKind::Static).filter(move |_| !is_full)
        });
        let fixed = fixed.map(|name| name.to_string());
        fixed
            .filter(|name| {
                let state = states.iter().find(|state| state.name == *name);
                state.is_some_and(|state| {
                    state.is_powered_down()
                        && !state.is_powering_up()
                        && !state.is_powering_down()
                        && !state.is_down()
                })
            })
            .collect()
    }
}

/// The nodes of each job, and those that are for no job.
fn by_job(names: &[String], jobs: Option<&str>) -> Vec<Vec<String>> {
    let file = jobs.and_then(|text| serde_json::from_str::<ResumeFile>(text).ok());
    let mut left: Vec<String> = names.to_vec();
    let mut groups = Vec::new();
    for job in file.map(|file| file.jobs).unwrap_or_default() {
        let of_job = hostlist::expand(&job.nodes_resume).unwrap_or_default();
        let (taken, rest) = left.into_iter().partition(|name| of_job.contains(name));
        left = rest;
        groups.push(taken);
    }
    groups.push(left);
    groups.retain(|group: &Vec<String>| !group.is_empty());
    groups
}

/// The nodes of each compute resource.
fn by_resource(names: &[String]) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for name in names.iter().filter_map(|name| name.parse::<NodeName>().ok()) {
        groups.entry((name.queue.clone(), name.resource.clone())).or_default().push(name);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_grouped_by_job_and_then_by_resource() {
        let names: Vec<_> = hostlist::expand("q-dy-a-[1-4],q-dy-b-1").unwrap();
        let file = r#"{"all_nodes_resume":"x","jobs":[
            {"job_id":7,"nodes_alloc":"q-dy-a-[1-2]","nodes_resume":"q-dy-a-[1-2]"},
            {"job_id":8,"nodes_resume":"q-dy-a-3,q-dy-b-1"}]}"#;
        let groups = by_job(&names, Some(file));
        let expected =
            [vec!["q-dy-a-1", "q-dy-a-2"], vec!["q-dy-a-3", "q-dy-b-1"], vec!["q-dy-a-4"]];
        assert_eq!(groups, expected);
        assert_eq!(by_resource(&groups[1]).len(), 2);
        for jobs in [None, Some("not json")] {
            assert_eq!(by_job(&names, jobs), vec![names.clone()]);
        }
    }
}
