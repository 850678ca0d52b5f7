//! What an update changes, and what each change takes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Document,
    schema::{self, Key, Kind, Policy},
};

/// A value that an update changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where, as `Scheduling.SlurmQueues[queue1].ComputeResources[t3micro].MaxCount`.
    pub parameter: String,
    /// As it is asked for now; `-` where it is taken away.
    pub requested_value: String,
    /// As it was; `-` where it was not.
    pub current_value: String,
    /// What it takes.
    #[serde(skip)]
    pub needs: Needs,
}

/// What a change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The compute fleet has to be stopped.
    StoppedFleet,
    /// The compute fleet has to be stopped, or QueueUpdateStrategy be DRAIN or TERMINATE.
    StoppedFleetOrStrategy,
    /// The compute fleet has to be stopped, or QueueUpdateStrategy be TERMINATE.
    StoppedFleetOrTerminate,
    /// A new cluster.
    NewCluster,
}

/// Compares two documents, `current` and `requested`. Items of lists that have a name are the same
/// item if they have the same name, wherever they stand.
pub fn changes(current: &Document, requested: &Document) -> Vec<Change> {
    let mut found = Vec::new();
    compare(Some(&current.json), Some(&requested.json), schema::CLUSTER, "", &mut found);
    found
}

fn compare(
    current: Option<&Json>,
    requested: Option<&Json>,
    keys: &[Key],
    path: &str,
    found: &mut Vec<Change>,
) {
    for key in keys {
        let inner =
            if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let of = |json: Option<&Json>| json.and_then(|json| json.get(key.name)).cloned();
        let (before, after) = (of(current), of(requested));
        if before == after {
            continue;
        }
        match key.kind {
            Kind::Map(keys)
                if before.is_some() && after.is_some() || key.policy == Policy::Inside =>
            {
                compare(before.as_ref(), after.as_ref(), keys, &inner, found);
            }
            Kind::List(Kind::Map(keys), ..) if is_named(keys) => {
                compare_lists(before.as_ref(), after.as_ref(), (keys, key.policy), &inner, found);
            }
            _ => found.push(change(key.policy, &inner, before.as_ref(), after.as_ref())),
        }
    }
}

fn is_named(keys: &[Key]) -> bool {
    keys.iter().any(|key| key.name == "Name")
}

fn compare_lists(
    current: Option<&Json>,
    requested: Option<&Json>,
    (keys, policy): (&[Key], Policy),
    path: &str,
    found: &mut Vec<Change>,
) {
    let by_name = |list: Option<&Json>| -> BTreeMap<String, Json> {
        let items = list.and_then(Json::as_array).cloned().unwrap_or_default();
        let named = items.into_iter();
        named.map(|item| (item["Name"].as_str().unwrap_or("").to_owned(), item)).collect()
    };
    let (before, after) = (by_name(current), by_name(requested));
    for (name, item) in &before {
        let inner = format!("{path}[{name}]");
        match after.get(name) {
            Some(other) => compare(Some(item), Some(other), keys, &inner, found),
            // Nodes that may be running would be without a queue.
            None if policy == Policy::Inside => {
                found.push(change(Policy::FleetStop, &inner, Some(item), None));
            }
            None => found.push(change(policy, &inner, Some(item), None)),
        }
    }
    for (name, item) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        let policy = if policy == Policy::Inside { Policy::Supported } else { policy };
        found.push(change(policy, &format!("{path}[{name}]"), None, Some(item)));
    }
}

fn change(policy: Policy, path: &str, before: Option<&Json>, after: Option<&Json>) -> Change {
    let grows = match (before.and_then(Json::as_i64), after.and_then(Json::as_i64)) {
        (Some(before), Some(after)) => after > before,
        // A key that was left out has its default, which may be more.
        _ => false,
    };
    let needs = match policy {
        Policy::Supported | Policy::Inside => Needs::Nothing,
        Policy::Resize if grows && path.ends_with(".MaxCount") => Needs::Nothing,
        // A static node more is a dynamic one less.
        Policy::Resize => Needs::StoppedFleetOrTerminate,
        Policy::FleetStop => Needs::StoppedFleet,
        Policy::QueueStrategy => Needs::StoppedFleetOrStrategy,
        Policy::Unsupported => Needs::NewCluster,
    };
    Change {
        parameter: path.to_owned(),
        requested_value: shown(after),
        current_value: shown(before),
        needs,
    }
}

fn shown(json: Option<&Json>) -> String {
    match json {
        None => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(json) => json.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../tests/guide.yaml");

    fn changed(edit: impl Fn(&str) -> String) -> Vec<(String, Needs)> {
        let before = Document::read(GUIDE).unwrap();
        let after = Document::read(&edit(GUIDE)).unwrap();
        let changes = changes(&before, &after).into_iter();
        changes.map(|change| (change.parameter, change.needs)).collect()
    }

    #[test]
    fn same_file_changes_nothing() {
        assert_eq!(changed(str::to_owned), []);
    }

    #[test]
    fn growing_is_free_and_shrinking_is_not() {
        let path = "Scheduling.SlurmQueues[queue1].ComputeResources[t3micro].MaxCount";
        let more = changed(|text| text.replace("MaxCount: 10", "MaxCount: 12"));
        assert_eq!(more, [(path.to_owned(), Needs::Nothing)]);
        let less = changed(|text| text.replace("MaxCount: 10", "MaxCount: 8"));
        assert_eq!(less, [(path.to_owned(), Needs::StoppedFleetOrTerminate)]);
    }

    #[test]
    fn queues_are_compared_by_name() {
        let second = GUIDE[GUIDE.find("  - Name: queue1").unwrap()..].replace("queue1", "queue2");
        let added =
            changed(|text| text.replace("  SlurmQueues:\n", &format!("  SlurmQueues:\n{second}")));
        assert_eq!(added, [("Scheduling.SlurmQueues[queue2]".to_owned(), Needs::Nothing)]);
        let renamed = changed(|text| text.replace("queue1", "queue9"));
        let queue = |name: &str| format!("Scheduling.SlurmQueues[{name}]");
        let expected = [(queue("queue1"), Needs::StoppedFleet), (queue("queue9"), Needs::Nothing)];
        assert_eq!(renamed, expected);
    }

    #[test]
    fn what_the_head_node_is_cannot_be_changed() {
        let changed = changed(|text| text.replace("Os: alinux2", "Os: ubuntu2204"));
        assert_eq!(changed, [("Image.Os".to_owned(), Needs::NewCluster)]);
    }
}
