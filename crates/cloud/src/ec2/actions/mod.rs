//! The calls of the API, by kind.

mod absent;
mod fleets;
mod images;
mod instance_types;
mod instances;
mod interfaces;
mod key_pairs;
mod launch;
mod network;
mod permissions;
mod placement;
mod placement_groups;
mod security_groups;
mod states;
mod tags;
mod templates;
mod wanted;

use super::{
    error::{Answer, ApiError},
    parameters::Parameters,
    service::{Call, Cloud},
};

pub(crate) use images::is_base as is_base_image;
pub(crate) use interfaces::remove as remove_interface;

/// A call: its name, what it reads, what it does.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) name: &'static str,
    /// The names of its parameters up to the first dot, but for those that every call has.
    pub(crate) parameters: &'static [&'static str],
    /// Names that EC2 knows and that mean nothing here: accepted, without effect.
    pub(crate) without_effect: &'static [&'static str],
    pub(crate) run: Run,
}

/// What an action does.
#[derive(Debug)]
pub(crate) enum Run {
    /// Tells something.
    Read(fn(&Cloud, &Call<'_>) -> Answer),
    /// Changes the records, wholly or, where it fails, not at all.
    Change(fn(&mut Cloud, &Call<'_>) -> Answer),
}

const ALL: &[&[Action]] = &[
    absent::ACTIONS,
    fleets::ACTIONS,
    images::ACTIONS,
    instance_types::ACTIONS,
    instances::ACTIONS,
    interfaces::ACTIONS,
    key_pairs::ACTIONS,
    launch::ACTIONS,
    network::ACTIONS,
    permissions::ACTIONS,
    placement_groups::ACTIONS,
    security_groups::ACTIONS,
    states::ACTIONS,
    tags::ACTIONS,
    templates::ACTIONS,
];

/// All actions there are.
pub(crate) fn all() -> impl Iterator<Item = &'static Action> {
    ALL.iter().flat_map(|actions| *actions)
}

/// The action of a name.
pub(crate) fn find(name: &str) -> Option<&'static Action> {
    all().find(|action| action.name == name)
}

impl Action {
    /// That every parameter is one of its own.
    pub(crate) fn check_names(&self, parameters: &Parameters<'_>) -> Result<(), ApiError> {
        const EVERYWHERE: &[&str] = &["Action", "Version", "DryRun"];
        let known = [EVERYWHERE, self.parameters, self.without_effect];
        let mut unknown =
            parameters.names().filter(|name| !known.iter().any(|names| names.contains(name)));
        match unknown.next() {
            Some(name) => {
                let message = format!("The parameter {name} is not recognized by {}", self.name);
                Err(ApiError::new("UnknownParameter", message))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn names() -> Vec<&'static str> {
        all().map(|action| action.name).collect()
    }

    #[test]
    fn every_action_is_there_once() {
        let unique: BTreeSet<_> = names().into_iter().collect();
        assert_eq!(unique.len(), names().len());
    }

    #[test]
    fn document_lists_every_action_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cloud.md");
        let text = fs::read_to_string(path).unwrap();
        let section = text.split("\n## ").find(|part| part.starts_with("Calls")).unwrap();
        let listed: BTreeSet<_> = section
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.starts_with(char::is_uppercase))
            .collect();
        let documented: BTreeSet<_> = names().into_iter().collect();
        assert_eq!(listed, documented);
    }
}
