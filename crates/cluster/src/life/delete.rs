//! Taking a cluster away.

use std::time::Duration;

use cloud::client::CallError;

use super::{Cloud, LifeError, folders, groups};
use crate::{
    clock,
    store::{ClusterStatus, State},
};

/// How long instances may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes a cluster away: instances, groups, folders. What is gone already is no error, so that a
/// deletion that failed can be tried again.
///
/// # Errors
///
/// When there is no such cluster, or something of it cannot be taken away; its record then says so.
pub fn delete(cloud: &Cloud, name: &str) -> Result<State, LifeError> {
    let store = cloud.store(name);
    let state = store.change(|state| {
        state.status = ClusterStatus::DeleteInProgress;
        state.clone()
    })?;
    clean_up(cloud, &state)
        .inspect_err(|_error| {
            // The record may be gone already; the first error is the one worth telling.
            store.change(|state| state.status = ClusterStatus::DeleteFailed).ok();
        })
        .and_then(|()| {
            folders::remove(cloud, &state.resources.folders, &state.resources.retained)
        })?;
    Ok(state)
}

/// Takes away what is left of a creation that failed.
///
/// # Errors
///
/// When there is no such cluster, or something of it cannot be taken away.
pub fn discard(cloud: &Cloud, name: &str) -> Result<(), LifeError> {
    undo(cloud, &cloud.store(name).read()?)
}

/// Takes away all that a creation has made. Nobody has used it yet, so that folders which would
/// stay go as well, unless an earlier cluster left something in them.
pub(super) fn undo(cloud: &Cloud, state: &State) -> Result<(), LifeError> {
    clean_up(cloud, state)?;
    folders::remove_empty(cloud, &state.name, &state.resources.retained);
    folders::remove(cloud, &state.resources.folders, &state.resources.retained)
}

/// Ends the instances and takes the groups away; the folders stay.
fn clean_up(cloud: &Cloud, state: &State) -> Result<(), LifeError> {
    let launcher = cloud.launcher(&state.name);
    let begin = clock::instant();
    loop {
        // The head node first: it would replace the others.
        let mut instances = launcher.instances()?;
        instances.sort_by_key(|instance| instance.tag("node-type") != Some("HeadNode"));
        if instances.is_empty() {
            break;
        }
        let ids: Vec<_> = instances.into_iter().map(|instance| instance.id).collect();
        launcher.terminate(&ids)?;
        if begin.elapsed() > PATIENCE {
            let ids = ids.join(", ");
            return Err(LifeError::State(format!("{ids} did not end; delete the cluster again")));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    loop {
        match groups::remove(cloud, &state.name, &state.resources) {
            Err(error) if is_in_use(&error) && begin.elapsed() < PATIENCE => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            other => return Ok(other?),
        }
    }
}

/// Instances that are ending still are in their groups.
fn is_in_use(error: &CallError) -> bool {
    matches!(error.code.as_str(), "DependencyViolation" | "InvalidPlacementGroup.InUse")
}
