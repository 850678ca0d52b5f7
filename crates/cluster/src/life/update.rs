//! Changing a cluster that runs.

use super::{Cloud, LifeError, groups};
use crate::{
    config::{Change, Document, Needs, changes},
    store::{ClusterStatus, FleetStatus, State},
};

/// A change that cannot be made now, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The change.
    pub change: Change,
    /// What it would take.
    pub why: String,
}

/// Changes a cluster to a new configuration, or says what keeps it from that. The head node takes
/// it over by itself after this returns.
///
/// # Errors
///
/// When the cluster is in no state for it, or its record cannot be read.
pub fn update(
    cloud: &Cloud,
    name: &str,
    document: &Document,
    is_rehearsal: bool,
    is_forced: bool,
) -> Result<(State, Vec<Change>, Vec<Refused>), LifeError> {
    let store = cloud.store(name);
    let state = store.read()?;
    let can =
        [ClusterStatus::CreateComplete, ClusterStatus::UpdateComplete, ClusterStatus::UpdateFailed];
    if !can.contains(&state.status) {
        return Err(LifeError::State(format!(
            "the cluster is {}: it can be updated when it is complete",
            state.status.name()
        )));
    }
    let current = Document::read(&store.configuration()?)?;
    let changes = changes(&current, document);
    let refused: Vec<_> = match is_forced {
        true => Vec::new(),
        false => changes.iter().filter_map(|change| refuse(change, &state, document)).collect(),
    };
    if is_rehearsal || changes.is_empty() || !refused.is_empty() {
        return Ok((state, changes, refused));
    }
    groups::add_placement_groups(cloud, name, &document.config, |change| {
        store.change(|state| change(&mut state.resources))?;
        Ok(())
    })?;
    store.set_configuration(&document.text)?;
    let state = store.change(|state| {
        state.configuration += 1;
        state.status = ClusterStatus::UpdateInProgress;
        state.steps.clear();
        state.clone()
    })?;
    Ok((state, changes, refused))
}

fn refuse(change: &Change, state: &State, document: &Document) -> Option<Refused> {
    let strategy = document.config.scheduling.slurm_settings.queue_update_strategy.as_deref();
    let is_stopped = state.fleet.status == FleetStatus::Stopped;
    let stop = "stop the compute fleet first (update-fleet --status STOP_REQUESTED)";
    let why = match change.needs {
        Needs::Nothing => return None,
        Needs::NewCluster => {
            "it cannot be changed: restore its value, or make another cluster".to_owned()
        }
        _ if is_stopped => return None,
        Needs::StoppedFleet => stop.to_owned(),
        Needs::StoppedFleetOrStrategy if matches!(strategy, Some("DRAIN" | "TERMINATE")) => {
            return None;
        }
        Needs::StoppedFleetOrTerminate if strategy == Some("TERMINATE") => return None,
        Needs::StoppedFleetOrStrategy => {
            format!("{stop}, or set QueueUpdateStrategy to DRAIN or TERMINATE")
        }
        Needs::StoppedFleetOrTerminate => {
            format!("{stop}, or set QueueUpdateStrategy to TERMINATE")
        }
    };
    Some(Refused { change: change.clone(), why })
}
