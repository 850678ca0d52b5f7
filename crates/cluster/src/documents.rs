//! The JSON that ParallelCluster's commands print: its keys, in its order.

use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    clock,
    config::Change,
    finding::Finding,
    launch::Instance,
    life::Refused,
    store::{ClusterStatus, Failure, FleetStatus, State, Waiting},
};

/// `{"type": "slurm"}`.
#[derive(Clone, Debug, Serialize)]
pub struct Scheduler {
    #[serde(rename = "type")]
    kind: &'static str,
}

const SLURM: Scheduler = Scheduler { kind: "slurm" };

/// A cluster in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    cluster_name: String,
    cloudformation_stack_status: &'static str,
    cloudformation_stack_arn: String,
    region: String,
    version: String,
    cluster_status: &'static str,
    scheduler: Scheduler,
}

impl Summary {
    /// Of a record.
    pub fn of(state: &State) -> Self {
        Self {
            cluster_name: state.name.clone(),
            cloudformation_stack_status: state.status.name(),
            cloudformation_stack_arn: arn(state),
            region: state.region.clone(),
            version: state.version.clone(),
            cluster_status: state.status.name(),
            scheduler: SLURM,
        }
    }
}

/// There is no stack behind a cluster; the name has the form that scripts take apart.
fn arn(state: &State) -> String {
    format!(
        "arn:aws:cloudformation:{}:000000000000:stack/{}/{}",
        state.region, state.name, state.created
    )
}

/// What `list-clusters` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterList {
    /// The clusters.
    pub clusters: Vec<Summary>,
}

/// What `create-cluster`, `update-cluster` and `delete-cluster` print.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The cluster.
    pub cluster: Summary,
    /// Warnings of validators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_messages: Vec<Message>,
    /// What an update changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change_set: Vec<Change>,
}

/// A validator's finding.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    level: crate::finding::Level,
    #[serde(rename = "type")]
    validator: &'static str,
    message: String,
}

impl Message {
    /// Of findings. The place is part of the message: the original has no key for it.
    pub fn all(findings: &[Finding]) -> Vec<Self> {
        let of = |finding: &Finding| {
            let place = match (finding.path.as_str(), finding.line) {
                ("", _) => String::new(),
                (path, Some(line)) => format!("line {line}, {path}: "),
                (path, None) => format!("{path}: "),
            };
            let message = format!("{place}{}", finding.message);
            Self { level: finding.level, validator: finding.validator, message }
        };
        findings.iter().map(of).collect()
    }
}

/// What a command prints that could not be done.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Complaint {
    /// What validators found, if that is why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configuration_validation_errors: Vec<Message>,
    /// Warnings of validators, of a rehearsal that would have succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_messages: Vec<Message>,
    /// Changes that cannot be made, if that is why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub update_validation_errors: Vec<RefusedChange>,
    /// All changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change_set: Vec<Change>,
    /// Why, in a sentence.
    pub message: String,
}

impl Complaint {
    /// Of a sentence.
    pub fn of(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// A change that cannot be made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedChange {
    parameter: String,
    requested_value: String,
    message: String,
    current_value: String,
}

impl RefusedChange {
    /// Of a refused change.
    pub fn of(refused: &Refused) -> Self {
        let Change { parameter, requested_value, current_value, .. } = refused.change.clone();
        Self { parameter, requested_value, message: refused.why.clone(), current_value }
    }
}

/// What `describe-cluster` prints.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    creation_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_node: Option<HeadNode>,
    version: String,
    cluster_configuration: Url,
    tags: Vec<Tag>,
    // This key has a capital F, and those of summaries have not.
    cloud_formation_stack_status: &'static str,
    cluster_name: String,
    compute_fleet_status: &'static str,
    cloudformation_stack_arn: String,
    last_updated_time: String,
    region: String,
    cluster_status: &'static str,
    scheduler: Scheduler,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadNode {
    launch_time: String,
    instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_ip_address: Option<String>,
    instance_type: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_ip_address: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Url {
    url: String,
}

#[derive(Clone, Debug, Serialize)]
struct Tag {
    value: String,
    key: String,
}

impl Description {
    /// Of a record and the cluster's instances.
    pub fn of(state: &State, instances: &[Instance], configuration: &str) -> Self {
        let head = state.head.as_ref();
        let head = head.and_then(|head| instances.iter().find(|it| it.id == head.instance));
        let is_up = matches!(
            state.status,
            ClusterStatus::CreateComplete
                | ClusterStatus::UpdateInProgress
                | ClusterStatus::UpdateComplete
                | ClusterStatus::UpdateFailed
        );
        let fleet = if is_up { state.fleet.status } else { FleetStatus::Unknown };
        let tag = |key: &str, value: &str| Tag { value: value.to_owned(), key: key.to_owned() };
        Self {
            creation_time: clock::shown(state.created),
            head_node: head.map(|it| HeadNode {
                launch_time: it.launched.clone(),
                instance_id: it.id.clone(),
                public_ip_address: it.public_address.clone(),
                instance_type: it.kind.clone(),
                state: it.state.clone(),
                private_ip_address: it.address.map(|address| address.to_string()),
            }),
            version: state.version.clone(),
            cluster_configuration: Url { url: format!("file://{configuration}") },
            tags: vec![
                tag("parallelcluster:version", &state.version),
                tag("parallelcluster:cluster-name", &state.name),
            ],
            cloud_formation_stack_status: state.status.name(),
            cluster_name: state.name.clone(),
            compute_fleet_status: fleet.name(),
            cloudformation_stack_arn: arn(state),
            last_updated_time: clock::shown(state.updated),
            region: state.region.clone(),
            cluster_status: state.status.name(),
            scheduler: SLURM,
            failures: match state.status {
                ClusterStatus::CreateFailed => state.failures.clone(),
                _ => Vec::new(),
            },
        }
    }
}

/// What `describe-compute-fleet` prints.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetDescription {
    status: &'static str,
    last_status_updated_time: String,
}

impl FleetDescription {
    /// Of a record.
    pub fn of(state: &State) -> Self {
        Self {
            status: state.fleet.status.name(),
            last_status_updated_time: clock::shown(state.fleet.since),
        }
    }
}

/// What `describe-cluster-instances` prints.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceList {
    /// The instances.
    pub instances: Vec<InstanceSummary>,
}

/// An instance in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSummary {
    launch_time: String,
    instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_ip_address: Option<String>,
    instance_type: String,
    state: String,
    node_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_ip_address: Option<String>,
}

impl InstanceSummary {
    /// Of an instance.
    pub fn of(instance: &Instance) -> Self {
        let is_head = instance.tag("node-type") == Some("HeadNode");
        Self {
            launch_time: instance.launched.clone(),
            instance_id: instance.id.clone(),
            queue_name: instance.tag("queue-name").map(str::to_owned),
            public_ip_address: instance.public_address.clone(),
            instance_type: instance.kind.clone(),
            state: instance.state.clone(),
            node_type: if is_head { "HeadNode" } else { "ComputeNode" },
            private_ip_address: instance.address.map(|address| address.to_string()),
        }
    }
}

/// More than ParallelCluster says: what jobs and nodes wait for, and what happened to nodes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    #[serde(flatten)]
    description: Description,
    waiting: Vec<Waiting>,
    troubles: Vec<NodeTrouble>,
}

#[derive(Clone, Debug, Serialize)]
struct NodeTrouble {
    node: String,
    time: String,
    what: String,
}

impl Diagnosis {
    /// Of a description and its record.
    pub fn of(description: Description, state: &State) -> Self {
        let trouble = |(node, trouble): (&String, &crate::store::Trouble)| NodeTrouble {
            node: node.clone(),
            time: clock::shown(trouble.at),
            what: trouble.what.clone(),
        };
        Self {
            description,
            waiting: state.waiting.clone(),
            troubles: state.troubles.iter().map(trouble).collect(),
        }
    }
}

/// A document's text, or of what a JMESPath expression finds in it.
///
/// # Errors
///
/// When the expression is not one; the message says what is wrong with it.
pub fn to_text(document: &impl Serialize, query: Option<&str>) -> Result<String, String> {
    let Some(query) = query else {
        return serde_json::to_string_pretty(document).map_err(|error| error.to_string());
    };
    let expression = jmespath::compile(query).map_err(|error| error.to_string())?;
    let json: Json = serde_json::to_value(document).map_err(|error| error.to_string())?;
    let found = expression.search(json).map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&found).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::sample;

    #[test]
    fn description_has_the_keys_of_the_original_in_its_order() {
        let mut state = sample("test-cluster");
        state.status = ClusterStatus::CreateComplete;
        let text = to_text(&Description::of(&state, &[], "/x.yaml"), None).unwrap();
        let keys: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("  \""))
            .map(|line| line.trim().split('"').nth(1).unwrap())
            .collect();
        let expected = [
            "creationTime",
            "version",
            "clusterConfiguration",
            "tags",
            "cloudFormationStackStatus",
            "clusterName",
            "computeFleetStatus",
            "cloudformationStackArn",
            "lastUpdatedTime",
            "region",
            "clusterStatus",
            "scheduler",
        ];
        assert_eq!(keys, expected);
        assert!(text.contains("\"creationTime\": \"1970-01-01T00:00:00.001Z\""), "{text}");
    }

    #[test]
    fn query_finds_and_bad_query_is_named() {
        let list = ClusterList { clusters: vec![Summary::of(&sample("a"))] };
        assert_eq!(to_text(&list, Some("clusters[0].clusterName")).unwrap(), "\"a\"");
        assert!(to_text(&list, Some("clusters[")).is_err());
    }
}
