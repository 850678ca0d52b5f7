//! Clusters whose cloud ended under them.

use std::time::Duration;

use cloud::client::{CallError, Document as Answer};

use super::{Cloud, LifeError};
use crate::{clock, store::ClusterStatus};

/// Within which a cloud that is up again has noticed what ended with the one before.
const SURVEY: Duration = Duration::from_secs(30);

/// Starts head nodes that ended with the cloud, and returns the names of their clusters. To be
/// called when a cloud has just come up. Head nodes that somebody stopped stay as they are.
///
/// # Errors
///
/// When the clusters cannot be listed, or EC2 refuses.
pub fn revive(cloud: &Cloud) -> Result<Vec<String>, LifeError> {
    let mut revived = Vec::new();
    for name in cloud.clusters()? {
        let state = cloud.store(&name).read()?;
        let is_leaving = matches!(
            state.status,
            ClusterStatus::CreateFailed
                | ClusterStatus::DeleteInProgress
                | ClusterStatus::DeleteFailed
        );
        let Some(head) = state.head.filter(|_| !is_leaving) else { continue };
        if ended_with_cloud(cloud, &head.instance)? {
            cloud.ec2.call("StartInstances", &[("InstanceId.1", head.instance)])?;
            revived.push(name);
        }
    }
    Ok(revived)
}

/// Whether EC2 itself is why an instance stopped.
fn ended_with_cloud(cloud: &Cloud, instance: &str) -> Result<bool, CallError> {
    let filters =
        [("Filter.1.Name", "instance-id".to_owned()), ("Filter.1.Value.1", instance.to_owned())];
    let begin = clock::instant();
    loop {
        let answer = cloud.ec2.call("DescribeInstances", &filters)?;
        let reservation = answer.items("reservationSet").next();
        let found = reservation.and_then(|it| it.items("instancesSet").next());
        let text = |path: &str| found.and_then(|item: &Answer| item.get(path)).unwrap_or("");
        match text("instanceState/name") {
            // The record is of the time before: nothing runs in a cloud that has just come up.
            "running" | "stopping" if begin.elapsed() < SURVEY => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            state => {
                let is_own = text("stateReason/code") == "Server.InternalError";
                return Ok(state == "stopped" && is_own);
            }
        }
    }
}
