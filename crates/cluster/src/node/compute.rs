//! A compute node, from its boot to its end.

use std::{fs, path::Path, thread, time::Duration};

use serde::{Deserialize, Serialize};

use super::{NodeError, actions, setup, supervise::Plan};
use crate::{
    config::{Document, Queue},
    journal::Journal,
    paths,
    slurm::NodeName,
    store::replace,
};

/// How long the head node may take to say which node an instance is.
const NAMING: Duration = Duration::from_secs(60);

/// How long munge may take.
const MUNGE: Duration = Duration::from_secs(60);

/// Why a node could not be set up, for the head node to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootFailure {
    /// Its instance.
    pub instance: String,
    pub reason: String,
}

/// Sets this instance up as a compute node and keeps its services running.
///
/// # Errors
///
/// When nobody can be told that it cannot be set up: the head node ends an instance that says so.
pub fn run() -> Result<(), NodeError> {
    let instance = setup::instance_id()?;
    let named = Path::new(paths::NODES).join(&instance);
    let mut name = String::new();
    setup::wait("the name of this node", NAMING, || {
        name = fs::read_to_string(&named).unwrap_or_default().trim().to_owned();
        !name.is_empty()
    })?;
    let folder = Path::new(paths::LOGS).join(format!("{name}.{instance}"));
    let journal = Journal::open(&folder, "boot.log").map_err(NodeError::file("open the log"))?;
    journal.say(&format!("{instance} is {name}"));
    match bring_up(&name, &journal) {
        Ok(_services) => {
            journal.say("slurmd was started");
            loop {
                // The services run on threads of their own.
                thread::park();
            }
        }
        Err(error) => {
            journal.say(&error.to_string());
            let failure = BootFailure { instance, reason: error.to_string() };
            let text = serde_json::to_vec(&failure).expect("two texts are JSON");
            replace(&Path::new(paths::FAILURES).join(&name), &text, 0o644)
                .map_err(NodeError::file("tell the head node"))
        }
    }
}

fn bring_up(name: &str, journal: &Journal) -> Result<Vec<super::supervise::Service>, NodeError> {
    setup::take_name(name)?;
    setup::lead("/etc/hosts", paths::HOSTS)?;
    setup::lead("/etc/slurm", paths::SLURM_CONF)?;
    setup::write_profile()?;
    let queue = queue_of(name)?;
    actions::run("OnNodeStart", &queue.custom_actions.on_node_start, journal)?;
    let munge = setup::start_munge(journal)?;
    setup::folder("/run/slurm", None, 0o755)?;
    setup::folder("/var/spool/slurmd", None, 0o755)?;
    actions::run("OnNodeConfigured", &queue.custom_actions.on_node_configured, journal)?;
    setup::wait_munge(MUNGE)?;
    let log = journal.folder().join("slurmd.log");
    let plan = Plan {
        name: "slurmd",
        // -b: the node has booted now, whatever the kernel says of its own start.
        arguments: ["-D", "-b", "-L"]
            .iter()
            .map(ToString::to_string)
            .chain([log.display().to_string()])
            .collect(),
        user: None,
        log: journal.folder().join("slurmd.out"),
    };
    Ok(vec![munge, setup::start(plan, journal)?])
}

/// The queue of this node, from the configuration that all nodes share.
fn queue_of(name: &str) -> Result<Queue, NodeError> {
    let document = Document::open(&Path::new(paths::SHARED).join("cluster-config.yaml"))?;
    let queues = document.config.scheduling.slurm_queues;
    let node: Option<NodeName> = name.parse().ok();
    let queue = node.and_then(|node| queues.into_iter().find(|queue| queue.name == node.queue));
    queue.ok_or_else(|| NodeError::Slurm(format!("{name} is of no queue of the configuration")))
}
