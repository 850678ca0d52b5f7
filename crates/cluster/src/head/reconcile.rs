//! The loop: what Slurm wants, what EC2 has, and what has to be done for the two to agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use super::{
    register::Register,
    requests::{Asked, Request},
};
use crate::{
    clock,
    config::Config,
    journal::Journal,
    launch::{Instance, Launcher},
    node::{NodeError, supervise::Service},
    slurm::{
        control::{self, NodeState},
        hostlist,
    },
    store::{ClusterStatus, FleetStatus, State, Store, Waiting},
};

/// Between two looks at everything.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at Slurm while a job waits for its nodes.
const CLOSE_LOOK: Duration = Duration::from_millis(100);
/// How long an instance may be there without being a node, in milliseconds.
const ORPHAN_AGE: u64 = 60_000;
/// How long nodes of a resource that could not be had are kept from jobs.
pub(super) const CAPACITY_PAUSE: Duration = Duration::from_secs(60);
/// How many nodes of a queue may fail one after the other before it is closed.
const MOST_FAILURES: u32 = 10;

/// A job that waits for its nodes.
pub(super) struct Waiter {
    job: String,
    nodes: Vec<String>,
    /// Dropped when they are there.
    _answer: Sender<()>,
}

/// The loop's state.
pub(crate) struct Loop {
    pub(super) store: Store,
    pub(super) launcher: Launcher,
    pub(super) config: Config,
    pub(super) register: Register,
    pub(super) journal: Journal,
    /// slurmctld and munge.
    pub(super) services: [Service; 2],
    pub(super) waiters: Vec<Waiter>,
    /// When resources that could not be had are tried again, by queue and resource.
    pub(super) full: BTreeMap<(String, String), Instant>,
    /// Instances that are no nodes, and since when, in milliseconds since 1970.
    pub(super) orphans: BTreeMap<String, u64>,
}

impl Loop {
    /// Answers requests and looks after nodes, until this process ends.
    pub(super) fn run(&mut self, requests: &Receiver<Asked>) {
        let mut looked = None;
        loop {
            let wait = if self.waiters.is_empty() { LOOK } else { CLOSE_LOOK };
            match requests.recv_timeout(wait) {
                Ok(asked) => {
                    self.answer(asked);
                    // Whatever else was asked meanwhile.
                    while let Ok(asked) = requests.try_recv() {
                        self.answer(asked);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let is_due = looked.is_none_or(|at: Instant| at.elapsed() >= LOOK);
            let result = if is_due {
                looked = Some(clock::instant());
                self.look()
            } else {
                self.look_closely()
            };
            if let Err(error) = result {
                self.journal.say(&format!("will try again: {error}"));
            }
        }
    }

    /// Starts the static nodes, and waits until Slurm knows them.
    pub(super) fn start_static(&mut self, requests: &Receiver<Asked>) -> Result<(), NodeError> {
        let patience = Duration::from_secs(self.config.compute_timeout().into());
        let begin = clock::instant();
        let names = self.absent_static(&control::nodes()?);
        control::update_nodes(&names, &["state=power_up"])?;
        loop {
            if let Ok(asked) = requests.recv_timeout(CLOSE_LOOK) {
                self.answer(asked);
            }
            let nodes = control::nodes()?;
            self.release(&nodes, None);
            let of = |name: &String| nodes.iter().find(|node| node.name == *name);
            if names.iter().all(|name| of(name).is_some_and(NodeState::is_ready)) {
                return Ok(());
            }
            self.replace_lost(&nodes, &self.launcher.instances()?)?;
            self.read_failures()?;
            let troubles = self.store.read()?.troubles;
            if let Some((name, trouble)) = troubles.iter().find(|(name, _)| names.contains(name)) {
                return Err(NodeError::Static(format!("{name}: {}", trouble.what)));
            }
            if begin.elapsed() > patience {
                let late: Vec<_> = names
                    .iter()
                    .filter(|name| !of(name).is_some_and(NodeState::is_ready))
                    .map(String::as_str)
                    .collect();
                let late = late.join(", ");
                let seconds = patience.as_secs();
                return Err(NodeError::Static(format!("{late} did not come within {seconds} s")));
            }
        }
    }

    fn answer(&mut self, asked: Asked) {
        let Asked { request, answer } = asked;
        let names = |nodes: &str| match hostlist::expand(nodes) {
            Ok(names) => names,
            Err(error) => {
                self.journal.say(&format!("Slurm names nodes nobody knows: {error}"));
                Vec::new()
            }
        };
        match request {
            Request::Resume { nodes, jobs } => {
                let names = names(&nodes);
                // Slurm does not wait for instances to be launched.
                drop(answer);
                self.resume(&names, jobs.as_deref());
            }
            Request::Suspend { nodes } => {
                let names = names(&nodes);
                drop(answer);
                self.suspend(&names);
            }
            Request::Prolog { job, nodes } => {
                let nodes = names(&nodes);
                self.waiters.push(Waiter { job, nodes, _answer: answer });
            }
        }
    }

    /// Lets jobs go whose nodes are there.
    fn look_closely(&mut self) -> Result<(), NodeError> {
        if self.waiters.is_empty() {
            return Ok(());
        }
        let nodes = control::nodes()?;
        self.release(&nodes, None);
        Ok(())
    }

    /// Lets jobs go whose nodes are all there, or one of whose is lost, or which nobody wants any
    /// more: Slurm decides what becomes of those.
    fn release(&mut self, nodes: &[NodeState], jobs: Option<&[control::Job]>) {
        let states: BTreeMap<&str, &NodeState> =
            nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        self.waiters.retain(|waiter| {
            let of = |name: &String| states.get(name.as_str());
            let all_ready =
                waiter.nodes.iter().all(|name| of(name).is_some_and(|it| it.is_ready()));
            let any_lost = waiter.nodes.iter().any(|name| of(name).is_none_or(|it| it.is_down()));
            let is_wanted = jobs.is_none_or(|jobs| {
                jobs.iter().any(|job| job.number == waiter.job && job.state == "CONFIGURING")
            });
            !all_ready && !any_lost && is_wanted
        });
        for name in nodes.iter().filter(|node| node.is_ready()).map(|node| &node.name) {
            self.register.set_ready(name);
        }
    }

    /// Looks at everything.
    fn look(&mut self) -> Result<(), NodeError> {
        let state = self.store.read()?;
        if state.configuration != state.applied && state.status == ClusterStatus::UpdateInProgress {
            self.take_over(&state)?;
        }
        let nodes = control::nodes()?;
        let jobs = control::jobs()?;
        self.release(&nodes, Some(&jobs));
        let instances = self.launcher.instances()?;
        self.note_ready(&state, &nodes)?;
        self.replace_lost(&nodes, &instances)?;
        self.read_failures()?;
        self.lose_late(&nodes)?;
        self.end_orphans(&nodes, &instances)?;
        self.follow_fleet(&state, &nodes)?;
        self.reopen(&nodes)?;
        self.protect(&state)?;
        self.note_waiting(&nodes, &jobs)?;
        Ok(())
    }

    /// A queue whose nodes can be set up has failed for the last time.
    fn note_ready(&mut self, state: &State, nodes: &[NodeState]) -> Result<(), NodeError> {
        let ready =
            nodes.iter().filter(|node| node.is_ready() && self.register.of(&node.name).is_some());
        let queues: BTreeSet<_> = ready.filter_map(|node| queue_of(&node.name)).collect();
        if queues.iter().any(|queue| state.bootstrap_failures.contains_key(queue)) {
            self.store.change(|state| {
                state.bootstrap_failures.retain(|queue, _| !queues.contains(queue));
            })?;
        }
        Ok(())
    }

    /// Nodes that Slurm counts on and that have no instance, and nodes that Slurm has given up.
    fn replace_lost(
        &mut self,
        nodes: &[NodeState],
        instances: &[Instance],
    ) -> Result<(), NodeError> {
        let live: BTreeSet<&str> =
            instances.iter().filter(|it| it.is_live()).map(|it| it.id.as_str()).collect();
        for node in nodes {
            let Some(entry) = self.register.of(&node.name).cloned() else { continue };
            if !live.contains(entry.instance.as_str()) {
                let what = format!("its instance {} ended unexpectedly", entry.instance);
                self.lose(&node.name, &what, !entry.was_ready)?;
            } else if node.is_down() && !node.is_powering_down() && !node.is_powered_down() {
                let what = match node.reason.as_str() {
                    "" => "Slurm gave it up".to_owned(),
                    reason => format!("Slurm gave it up: {reason}"),
                };
                self.lose(&node.name, &what, !entry.was_ready)?;
            }
        }
        Ok(())
    }

    /// Nodes whose instances ended while the head node did not run: Slurm counts on them still.
    pub(super) fn lose_gone(&mut self) -> Result<(), NodeError> {
        let gone = self.register.take_gone();
        if gone.is_empty() {
            return Ok(());
        }
        let nodes = control::nodes()?;
        for (name, instance) in gone {
            let is_counted_on = |node: &&NodeState| node.name == name && !node.is_powered_down();
            if nodes.iter().any(|node| is_counted_on(&node)) {
                let what = format!("its instance {instance} ended while the head node did not run");
                self.lose(&name, &what, false)?;
            }
        }
        Ok(())
    }

    /// Nodes that have not registered in the time they have for it.
    fn lose_late(&mut self, nodes: &[NodeState]) -> Result<(), NodeError> {
        let seconds = self.config.compute_timeout();
        let limit = u64::from(seconds) * 1000;
        let now = clock::now();
        let late: Vec<_> = self
            .register
            .nodes()
            .filter(|(_, entry)| !entry.was_ready && now.saturating_sub(entry.launched) > limit)
            .map(|(name, _)| name.clone())
            // One that registered before this head node booted is ready, or busy ending.
            .filter(|name| nodes.iter().any(|node| node.name == *name && node.is_powering_up()))
            .collect();
        let what = format!("it was not set up within {seconds} s (ComputeNodeBootstrapTimeout)");
        late.iter().try_for_each(|name| self.lose(name, &what, true))
    }

    /// A node is gone: its jobs run again elsewhere, its instance ends, and its name can be used
    /// again soon.
    pub(super) fn lose(&mut self, name: &str, what: &str, at_boot: bool) -> Result<(), NodeError> {
        self.journal.say(&format!("{name} is lost: {what}"));
        let entry = self.register.remove(name);
        if let Some(entry) = &entry {
            self.keep_console(name, &entry.instance);
            self.launcher.terminate(std::slice::from_ref(&entry.instance))?;
        }
        self.store.change(|state| {
            state.note(name, what);
            if at_boot && let Some(queue) = queue_of(name) {
                *state.bootstrap_failures.entry(queue).or_insert(0) += 1;
            }
        })?;
        let reason = format!("reason={}", one_line(what));
        let names = [name.to_owned()];
        control::update_nodes(&names, &["state=down", &reason])?;
        control::update_nodes(&names, &["state=power_down_force"])?;
        Ok(())
    }

    /// Keeps the console of an instance that is about to end.
    fn keep_console(&self, name: &str, instance: &str) {
        let Ok(text) = self.launcher.console(instance) else { return };
        let folder = std::path::Path::new(crate::paths::LOGS).join(format!("{name}.{instance}"));
        let kept = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("console.log"), text));
        if let Err(error) = kept {
            self.journal.say(&format!("cannot keep the console of {name}: {error}"));
        }
    }

    /// Instances that are no node of ours, or whose node is not wanted any more.
    fn end_orphans(
        &mut self,
        nodes: &[NodeState],
        instances: &[Instance],
    ) -> Result<(), NodeError> {
        let now = clock::now();
        let down: Vec<_> = nodes.iter().filter(|node| node.is_powered_down()).collect();
        for node in down {
            // Slurm lets go of a node before its instance is gone, and may have forgotten to say.
            let launched = self.register.of(&node.name).map(|entry| entry.launched);
            if launched.is_some_and(|at| now.saturating_sub(at) > ORPHAN_AGE) {
                self.suspend(std::slice::from_ref(&node.name));
            }
        }
        let known: BTreeSet<_> =
            self.register.nodes().map(|(_, entry)| entry.instance.clone()).collect();
        let compute = instances.iter().filter(|it| it.tag("node-type") == Some("Compute"));
        let strangers: Vec<_> =
            compute.filter(|it| !known.contains(&it.id)).map(|it| it.id.clone()).collect();
        self.orphans.retain(|id, _| strangers.contains(id));
        let mut ended = Vec::new();
        for id in strangers {
            let since = *self.orphans.entry(id.clone()).or_insert(now);
            if now.saturating_sub(since) > ORPHAN_AGE {
                self.journal.say(&format!("{id} is no node of this cluster and is ended"));
                ended.push(id);
            }
        }
        Ok(self.launcher.terminate(&ended)?)
    }

    /// Closes queues whose nodes cannot be set up, so that they do not fail for ever.
    fn protect(&mut self, state: &State) -> Result<(), NodeError> {
        let failing = state.bootstrap_failures.iter().filter(|(_, times)| **times >= MOST_FAILURES);
        let queues: Vec<_> = failing.map(|(queue, _)| queue.clone()).collect();
        if queues.is_empty() || state.fleet.status != FleetStatus::Running {
            return Ok(());
        }
        for queue in &queues {
            control::set_partition(queue, false)?;
            self.journal.say(&format!("{queue} is closed: {MOST_FAILURES} of its nodes failed"));
        }
        self.store.change(|state| state.set_fleet(FleetStatus::Protected))?;
        Ok(())
    }

    /// Says what jobs and nodes wait for.
    fn note_waiting(
        &mut self,
        nodes: &[NodeState],
        jobs: &[control::Job],
    ) -> Result<(), NodeError> {
        const SHOWN: usize = 100;
        let mut waiting = Vec::new();
        for job in jobs.iter().filter(|job| job.state != "RUNNING" && job.state != "COMPLETING") {
            let why = match job.state.as_str() {
                "CONFIGURING" => format!("its nodes start: {}", job.nodes),
                "PENDING" => self.why_pending(job),
                other => other.to_lowercase(),
            };
            waiting.push(Waiting { who: format!("job {}", job.id), why });
        }
        for node in nodes.iter().filter(|node| node.is_down() || node.is_powering_up()) {
            let mut why = node.shown();
            if !node.reason.is_empty() {
                why = format!("{why}: {}", node.reason);
            }
            waiting.push(Waiting { who: node.name.clone(), why });
        }
        waiting.truncate(SHOWN);
        let seen = clock::now();
        self.store.change(|state| {
            state.waiting = waiting;
            if let Some(head) = &mut state.head {
                head.seen = seen;
            }
        })?;
        Ok(())
    }

    fn why_pending(&self, job: &control::Job) -> String {
        let now = clock::instant();
        let full = self.full.iter().find(|((queue, _), at)| *queue == job.partition && **at > now);
        let full = full.map(|((queue, resource), at)| {
            let seconds = at.saturating_duration_since(now).as_secs() + 1;
            format!("; no capacity for {resource} of {queue}, tried again in {seconds} s")
        });
        let reason = match job.reason.as_str() {
            "Resources" | "Priority" => "all nodes it could use are busy",
            "BeginTime" => "it was told to begin later, or its nodes could not be had",
            "PartitionInactive" | "PartitionDown" => "its queue is closed",
            other => other,
        };
        format!("{reason}{}", full.unwrap_or_default())
    }
}

/// The queue of a node, by its name.
pub(super) fn queue_of(name: &str) -> Option<String> {
    name.parse::<crate::slurm::NodeName>().ok().map(|name| name.queue)
}

/// Slurm's reasons are one line without quotes.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !matches!(c, '"' | '\'')).take(LONGEST).collect()
}
