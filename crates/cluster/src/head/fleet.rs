//! The compute fleet as a whole: started, stopped, and its static nodes kept running.

use super::reconcile::Loop;
use crate::{
    node::NodeError,
    slurm::control::{self, NodeState},
    store::{FleetStatus, State},
};

impl Loop {
    /// Goes a step towards what is asked of the fleet.
    pub(super) fn follow_fleet(
        &mut self,
        state: &State,
        nodes: &[NodeState],
    ) -> Result<(), NodeError> {
        let next = match state.fleet.status {
            FleetStatus::StopRequested => {
                self.open_queues(false)?;
                FleetStatus::Stopping
            }
            FleetStatus::Stopping => {
                let up: Vec<String> = nodes
                    .iter()
                    .filter(|node| !node.is_powered_down() && !node.is_powering_down())
                    .map(|node| node.name.clone())
                    .collect();
                control::update_nodes(&up, &["state=power_down_force"])?;
                let is_empty = self.register.nodes().next().is_none();
                if up.is_empty() && is_empty { FleetStatus::Stopped } else { FleetStatus::Stopping }
            }
            FleetStatus::StartRequested => {
                self.store.change(|state| state.bootstrap_failures.clear())?;
                self.open_queues(true)?;
                FleetStatus::Starting
            }
            FleetStatus::Starting => FleetStatus::Running,
            FleetStatus::Running => {
                let absent = self.absent_static(nodes);
                control::update_nodes(&absent, &["state=power_up"])?;
                FleetStatus::Running
            }
            status @ (FleetStatus::Stopped | FleetStatus::Protected | FleetStatus::Unknown) => {
                status
            }
        };
        if next != state.fleet.status {
            self.journal.say(&format!("the fleet is {}", next.name()));
            self.store.change(|now| {
                // Something else may have been asked for meanwhile.
                if now.fleet == state.fleet {
                    now.set_fleet(next);
                }
            })?;
        }
        Ok(())
    }

    fn open_queues(&self, is_open: bool) -> Result<(), NodeError> {
        for queue in &self.config.scheduling.slurm_queues {
            control::set_partition(&queue.name, is_open)?;
        }
        Ok(())
    }
}
