//! A new configuration for a cluster that runs.

use std::{collections::BTreeSet, time::Duration};

use super::{bring_up, reconcile::Loop, steps};
use crate::{
    clock,
    config::{Config, Document},
    node::{NodeError, actions, setup},
    slurm::{NodeName, control, nodes},
    store::{ClusterStatus, State},
};

impl Loop {
    /// Takes over the configuration that was put in place, and says how that ended.
    pub(super) fn take_over(&mut self, state: &State) -> Result<(), NodeError> {
        self.store.change(|state| state.begin(steps::UPDATE))?;
        let done = self.change_to(state);
        self.store.change(|now| {
            now.applied = state.configuration;
            now.updated = clock::now();
            match &done {
                Ok(()) => {
                    now.end(steps::UPDATE);
                    now.status = ClusterStatus::UpdateComplete;
                }
                Err(error) => {
                    now.fail(steps::UPDATE, &error.to_string());
                    now.status = ClusterStatus::UpdateFailed;
                }
            }
        })?;
        self.journal.say(&match done {
            Ok(()) => "the new configuration holds".to_owned(),
            Err(error) => format!("the new configuration could not be taken over: {error}"),
        });
        Ok(())
    }

    fn change_to(&mut self, state: &State) -> Result<(), NodeError> {
        let document = Document::read(&self.store.configuration()?)?;
        let kept: BTreeSet<_> =
            nodes::all(&document.config).iter().map(ToString::to_string).collect();
        let gone: Vec<_> = self
            .register
            .nodes()
            .map(|(name, _)| name)
            .filter(|name| !kept.contains(*name))
            .cloned()
            .collect();
        if !gone.is_empty() {
            self.suspend(&gone);
        }
        bring_up::write_configuration(&document, state)?;
        let strategy = document.config.scheduling.slurm_settings.queue_update_strategy.clone();
        let changed = self.changed_nodes(&document.config);
        self.config = document.config;
        // Nodes are added and taken away only when the controller starts.
        self.services[0].restart();
        setup::wait("slurmctld", Duration::from_secs(30), control::is_up)?;
        if self.register.nodes().next().is_some() {
            control::run("scontrol", &["reconfigure"])?;
        }
        match strategy.as_deref() {
            Some("TERMINATE") => control::update_nodes(&changed, &["state=power_down_force"])?,
            // When their jobs have ended.
            Some("DRAIN") => control::update_nodes(&changed, &["state=power_down_asap"])?,
            // Then none runs.
            _ => {}
        }
        actions::run(
            "OnNodeUpdated",
            &self.config.head_node.custom_actions.on_node_updated,
            &self.journal,
        )
    }

    /// Nodes that run and would be launched otherwise now.
    fn changed_nodes(&self, next: &Config) -> Vec<String> {
        // How many nodes there are changes none of them.
        let plain = |config: &Config, name: &NodeName| {
            let found = config.resources().find(|(queue, resource)| {
                queue.name == name.queue && resource.name == name.resource
            });
            found.map(|(queue, resource)| {
                let mut queue = queue.clone();
                queue.compute_resources.clear();
                let mut resource = resource.clone();
                (resource.min_count, resource.max_count) = (None, None);
                (queue, resource)
            })
        };
        let nodes = self.register.nodes().filter_map(|(name, _)| name.parse::<NodeName>().ok());
        nodes
            .filter(|name| {
                plain(next, name).is_some_and(|it| Some(it) != plain(&self.config, name))
            })
            .map(|name| name.to_string())
            .collect()
    }
}
