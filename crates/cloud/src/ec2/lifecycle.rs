//! What becomes of instances and images: the part that asks machines.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    actions,
    records::{ImageState, Instance, InterfaceKind, State, Strategy, Timestamp},
    region,
    service::Cloud,
    types,
};
use crate::machines::{Health, Link, Machine, MachineError, Mount};

/// When something is under way.
const SOON: Duration = Duration::from_millis(20);
/// When nothing is: an instance that dies is noticed within this time.
const LATER: Duration = Duration::from_secs(1);
/// For how long a terminated instance is described.
const TERMINATED_LIFE: Duration = Duration::from_secs(3600);

/// A tag that asks for a directory: what follows is where the instance has it.
const MOUNT: &str = "elastane:mount";
/// Where those directories are, in the cloud's directory.
const FILE_SYSTEMS: &str = "filesystems";

/// What a single flow may carry, in bits per second, and what it may carry between instances of
/// a cluster placement group (EC2's documentation of network bandwidth).
const FLOW: u64 = 5_000_000_000;
const NEAR_FLOW: u64 = 10_000_000_000;

impl Cloud {
    /// Moves everything on by a step. Returns when it wants to be called again.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Duration {
        let ids: Vec<_> = self.records.instances.keys().cloned().collect();
        for id in &ids {
            self.advance_instance(id, now);
        }
        self.surveyed = true;
        let images: Vec<_> = self.records.images.keys().cloned().collect();
        for id in &images {
            self.advance_image(id);
        }
        let machines = &mut self.machines;
        self.records.dropped_images.retain(|image| {
            let dropped = machines.drop_image(image);
            dropped.inspect_err(|error| log::warn!("drop {image}: {error}")).is_err()
        });
        self.records.instances.retain(|_, instance| {
            !instance.is_over() || instance.changed.elapsed_until(now) < TERMINATED_LIFE
        });
        let left = &self.records.instances;
        self.records.tags.retain(|id, _| !id.starts_with("i-") || left.contains_key(id));
        let instances = self.records.instances.values();
        if instances.into_iter().any(is_under_way) { SOON } else { LATER }
    }

    fn advance_instance(&mut self, id: &str, now: Timestamp) {
        let Some(instance) = self.records.instances.get(id) else { return };
        match instance.state {
            State::Pending => self.start(id, now),
            State::Running if instance.reboot => self.reboot(id, now),
            State::Running => self.watch(id, now),
            State::Stopping => match self.machines.stop(id) {
                Ok(()) => self.set(id, State::Stopped, now),
                Err(error) => log::warn!("stop {id}: {error}"),
            },
            State::ShuttingDown => self.terminate(id, now),
            State::Stopped | State::Terminated => {}
        }
    }

    fn set(&mut self, id: &str, state: State, now: Timestamp) {
        if let Some(instance) = self.records.instances.get_mut(id) {
            instance.state = state;
            instance.changed = now;
        }
    }

    fn explain(&mut self, id: &str, code: &str, message: &str) {
        if let Some(instance) = self.records.instances.get_mut(id) {
            instance.reason = Some((code.to_owned(), format!("{code}: {message}")));
        }
    }

    fn start(&mut self, id: &str, now: Timestamp) {
        // A service that was killed after a start may find the machine already there.
        let started = match self.machines.health(id) {
            Health::Dead => self.machine(id).map_or(Ok(()), |m| self.machines.start(&m)),
            Health::Starting | Health::Ready => Ok(()),
        };
        let booted = self.records.instances.get(id).is_some_and(|instance| instance.booted);
        match started {
            Ok(()) => {
                self.set(id, State::Running, now);
                if let Some(instance) = self.records.instances.get_mut(id) {
                    instance.booted = true;
                    instance.reason = None;
                }
            }
            Err(error) => {
                let code = match error {
                    MachineError::Capacity(_) => "Server.InsufficientInstanceCapacity",
                    _ => "Server.InternalError",
                };
                self.explain(id, code, &error.to_string());
                // One that has a root keeps it.
                self.set(id, if booted { State::Stopped } else { State::ShuttingDown }, now);
            }
        }
    }

    fn reboot(&mut self, id: &str, now: Timestamp) {
        if let Err(error) = self.machines.stop(id) {
            log::warn!("reboot {id}: {error}");
            return;
        }
        if let Some(instance) = self.records.instances.get_mut(id) {
            instance.reboot = false;
        }
        self.start(id, now);
    }

    /// Notices what a running instance does by itself.
    fn watch(&mut self, id: &str, now: Timestamp) {
        let Some(instance) = self.records.instances.get_mut(id) else { return };
        match self.machines.health(id) {
            Health::Starting => {}
            Health::Ready => instance.reachable = true,
            Health::Dead => {
                instance.reachable = false;
                let ends = instance.terminates_on_shutdown;
                if self.surveyed {
                    let message = "Instance initiated shutdown";
                    self.explain(id, "Client.InstanceInitiatedShutdown", message);
                } else {
                    let message = "The cloud was ended while the instance ran";
                    self.explain(id, "Server.InternalError", message);
                }
                self.set(id, if ends { State::ShuttingDown } else { State::Stopped }, now);
            }
        }
    }

    fn terminate(&mut self, id: &str, now: Timestamp) {
        if let Err(error) = self.machines.terminate(id) {
            log::warn!("terminate {id}: {error}");
            return;
        }
        let interfaces: Vec<_> = self
            .records
            .interfaces_of(id)
            .into_iter()
            .map(|(id, _, attachment)| (id.clone(), attachment.delete_on_termination))
            .collect();
        for (interface, delete) in interfaces {
            if delete {
                actions::remove_interface(&mut self.records, &interface);
            } else if let Some(interface) = self.records.interfaces.get_mut(&interface) {
                interface.attachment = None;
            }
        }
        if let Some(instance) = self.records.instances.get_mut(id) {
            instance.booted = false;
        }
        self.set(id, State::Terminated, now);
    }

    /// Makes the image that is pending.
    fn advance_image(&mut self, id: &str) {
        let Some(image) = self.records.images.get(id) else { return };
        if image.state != ImageState::Pending {
            return;
        }
        let (source, reboots) = (image.instance.clone(), image.reboots);
        let instance = self.records.instances.get(&source);
        let runs = instance.is_some_and(|instance| instance.state == State::Running);
        let kept = self.keep(&source, id, reboots && runs);
        if let Some(image) = self.records.images.get_mut(id) {
            image.state = match kept {
                Ok(()) => ImageState::Available,
                Err(error) => ImageState::Failed(error.to_string()),
            };
        }
    }

    /// Keeps an instance's changes, in between stopped if that is asked for.
    fn keep(&mut self, source: &str, image: &str, reboots: bool) -> Result<(), MachineError> {
        if !reboots {
            return self.machines.keep_image(source, image);
        }
        self.machines.stop(source)?;
        let kept = self.machines.keep_image(source, image);
        let machine = self.machine(source);
        let started = machine.map_or(Ok(()), |machine| self.machines.start(&machine));
        if let Some(instance) = self.records.instances.get_mut(source) {
            instance.reachable = false;
        }
        kept.and(started)
    }

    /// The machine of an instance.
    fn machine(&self, id: &str) -> Option<Machine> {
        let instance = self.records.instances.get(id)?;
        let interfaces = self.records.interfaces_of(id);
        let address = interfaces.first()?.1.address?;
        let others = interfaces.iter().skip(1).filter_map(|(_, interface, _)| interface.address);
        let efa = interfaces.iter().any(|(_, i, _)| i.kind != InterfaceKind::Interface);
        let data = instance.user_data.as_ref().and_then(|data| STANDARD.decode(data).ok());
        Some(Machine {
            id: id.to_owned(),
            hostname: region::host_name(address),
            image: Some(instance.image.clone()).filter(|image| !actions::is_base_image(image)),
            address,
            more_addresses: others.collect(),
            efa,
            authorized_key: instance.authorized_key.clone(),
            user: instance.user.clone(),
            user_data: data,
            mounts: self.mounts(id),
            link: self.link(instance),
        })
    }

    /// The directories that tags ask for.
    fn mounts(&self, id: &str) -> Vec<Mount> {
        let tags = self.records.tags.get(id).into_iter().flatten();
        let mounts = tags.filter_map(|(key, name)| {
            let target = PathBuf::from(key.strip_prefix(MOUNT)?);
            let up = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "..");
            let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
            let source = self.settings.directory.join(FILE_SYSTEMS).join(name);
            (target.is_absolute() && !up(&target) && plain).then_some(Mount { source, target })
        });
        mounts.collect()
    }

    fn link(&self, instance: &Instance) -> Option<Link> {
        let card = types::find(&instance.instance_type).ok()?.bits_per_second();
        let group = instance.placement.group.as_ref();
        let group = group.and_then(|name| self.records.placement_groups.get(name));
        let near = group.filter(|group| group.strategy == Strategy::Cluster);
        Some(Link {
            card,
            flow: FLOW.min(card),
            near_flow: NEAR_FLOW.min(card),
            near: near.map(|group| group.id.clone()),
        })
    }
}

fn is_under_way(instance: &Instance) -> bool {
    match instance.state {
        State::Pending | State::ShuttingDown | State::Stopping => true,
        State::Running => !instance.reachable || instance.reboot,
        State::Stopped | State::Terminated => false,
    }
}
