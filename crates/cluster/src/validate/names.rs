//! Names of clusters, queues, compute resources and storage.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Findings, queues, resources};
use crate::{config::Config, finding::Finding};

/// Checks a cluster's name.
pub fn check_name(name: &str) -> Option<Finding> {
    let pattern =
        Regex::new("^[a-zA-Z][a-zA-Z0-9-]{0,59}$").expect("the expression is well-formed");
    let message = format!(
        "`{name}` cannot be a cluster's name: a letter, then letters, digits, hyphens; 60 at most"
    );
    (!pattern.is_match(name)).then(|| Finding::error("ClusterNameValidator", "", message))
}

const LONGEST: usize = 25;

pub(super) fn check(config: &Config, found: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (path, queue) in queues(config) {
        name(&queue.name, &format!("{path}.Name"), found);
        twice(&mut seen, &queue.name, &format!("{path}.Name"), "queue", found);
        let mut inner = BTreeMap::new();
        for (path, resource) in resources(&path, queue) {
            name(&resource.name, &format!("{path}.Name"), found);
            let place = format!("{path}.Name");
            twice(&mut inner, &resource.name, &place, "compute resource of the queue", found);
        }
    }
    let mut seen = BTreeMap::new();
    for (number, storage) in config.shared_storage.iter().enumerate() {
        let path = format!("SharedStorage[{number}].Name");
        let is_named = storage.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if storage.name.len() > 30 || storage.name == "default" || !is_named {
            let message = format!(
                "`{}` cannot be a name here: letters, digits, - and _, 30 at most, not default",
                storage.name
            );
            found.error("SharedStorageNameValidator", &path, message);
        }
        twice(&mut seen, &storage.name, &path, "shared storage", found);
    }
}

fn name(name: &str, path: &str, found: &mut Findings) {
    // A name that is missing was reported as such.
    if name.is_empty() {
        return;
    }
    let pattern = Regex::new(r"^[a-z][a-z0-9\-]*$").expect("the expression is well-formed");
    if name == "default" {
        found.error("NameValidator", path, "`default` is reserved: choose another name");
    } else if !pattern.is_match(name) {
        let message =
            format!("`{name}` has to begin with a small letter and hold those, digits and hyphens");
        found.error("NameValidator", path, message);
    } else if name.len() > LONGEST {
        found.error("NameValidator", path, format!("`{name}` is longer than {LONGEST} letters"));
    }
    if name.contains("-st-")
        || name.contains("-dy-")
        || name.ends_with("-st")
        || name.ends_with("-dy")
    {
        let message = format!("`{name}` would be taken apart: nodes' names hold -st- and -dy-");
        found.error("NameValidator", path, message);
    }
}

fn twice(
    seen: &mut BTreeMap<String, String>,
    name: &str,
    path: &str,
    what: &str,
    found: &mut Findings,
) {
    if name.is_empty() {
        return;
    }
    if let Some(before) = seen.insert(name.to_owned(), path.to_owned()) {
        let message = format!("a {what} at {before} is called {name} already");
        found.error("DuplicateNameValidator", path, message);
    }
}
