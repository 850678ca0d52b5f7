//! Starting, stopping, rebooting, terminating and changing instances.

use super::{
    Action, Run,
    instances::{find, state},
    interfaces,
    launch::{self, capacity},
    placement::spread_room,
    security_groups,
};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        parameters::Parameters,
        records::{Instance, Records, State, Timestamp},
        service::{Call, Cloud},
        types,
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "StartInstances",
        parameters: &["InstanceId"],
        without_effect: &["AdditionalInfo"],
        run: Run::Change(start),
    },
    Action {
        name: "StopInstances",
        parameters: &["InstanceId", "Hibernate"],
        without_effect: &["Force", "SkipOsShutdown"],
        run: Run::Change(stop),
    },
    Action {
        name: "RebootInstances",
        parameters: &["InstanceId"],
        without_effect: &[],
        run: Run::Change(reboot),
    },
    Action {
        name: "TerminateInstances",
        parameters: &["InstanceId"],
        without_effect: &["Force", "SkipOsShutdown"],
        run: Run::Change(terminate),
    },
    Action {
        name: "ModifyInstanceAttribute",
        parameters: &[
            "InstanceId",
            "Attribute",
            "Value",
            "DisableApiTermination",
            "GroupId",
            "InstanceInitiatedShutdownBehavior",
            "InstanceType",
            "UserData",
        ],
        without_effect: &["DisableApiStop", "EbsOptimized", "EnaSupport", "SourceDestCheck"],
        run: Run::Change(modify),
    },
];

/// The ids of a call, each of an instance that is there.
fn named<'a>(cloud: &Cloud, call: &Call<'a>) -> Result<Vec<&'a str>, ApiError> {
    let ids = call.parameters.texts("InstanceId");
    if ids.is_empty() {
        return Err(ApiError::missing("InstanceId"));
    }
    for id in &ids {
        find(&cloud.records, id)?;
    }
    Ok(ids)
}

/// Changes the states of instances; the answer tells each one's state before and after.
fn change(
    cloud: &mut Cloud,
    call: &Call<'_>,
    change: impl Fn(&str, &mut Instance) -> Result<(), ApiError>,
) -> Answer {
    let mut items = Vec::new();
    for id in named(cloud, call)? {
        let Some(instance) = cloud.records.instances.get_mut(id) else { continue };
        let before = instance.state;
        change(id, instance)?;
        let item = Element::new("item").field("instanceId", id);
        let item = item.with(state("currentState", instance.state));
        items.push(item.with(state("previousState", before)));
    }
    Ok(Element::new("").list("instancesSet", items))
}

fn wrong_state(id: &str, what: &str) -> ApiError {
    let message = format!("The instance '{id}' is not in a state from which it can be {what}.");
    ApiError::new("IncorrectInstanceState", message)
}

/// Puts an instance into a state because its user wants it.
fn by_user(instance: &mut Instance, to: State, now: Timestamp) {
    let (code, message) = ("Client.UserInitiatedShutdown", "User initiated shutdown");
    instance.reason = Some((code.to_owned(), format!("{code}: {message}")));
    instance.state = to;
    instance.changed = now;
    instance.reachable = false;
    instance.reboot = false;
}

fn start(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    for id in named(cloud, call)? {
        let instance = find(&cloud.records, id)?;
        if instance.state == State::Stopped {
            let name = &instance.instance_type;
            let room = capacity(cloud, name).min(spread_room(&cloud.records, &instance.placement));
            if room == 0 {
                let message = format!("There is no capacity left to start {id}, a {name}");
                return Err(ApiError::capacity(message));
            }
        }
        // Each takes its place before the next is looked at.
        if let Some(instance) = cloud.records.instances.get_mut(id) {
            match instance.state {
                State::Stopped => instance.launch_again(call.now),
                State::Pending | State::Running => {}
                _ => return Err(wrong_state(id, "started")),
            }
        }
    }
    let ids = call.parameters.texts("InstanceId").into_iter();
    let items = ids.map(|id| {
        let now = cloud.records.instances.get(id).map_or(State::Pending, |i| i.state);
        let before = if now == State::Pending { State::Stopped } else { now };
        let item = Element::new("item").field("instanceId", id);
        item.with(state("currentState", now)).with(state("previousState", before))
    });
    Ok(Element::new("").list("instancesSet", items))
}

fn stop(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    if call.parameters.flag("Hibernate")? == Some(true) {
        let message = "Instances of this cloud cannot be hibernated";
        return Err(ApiError::new("UnsupportedHibernationConfiguration", message));
    }
    change(cloud, call, |id, instance| {
        match instance.state {
            State::Running if instance.spot => {
                let message = format!(
                    "You can't stop the Spot Instance '{id}' because it is associated with a \
                     one-time Spot Instance request"
                );
                return Err(ApiError::new("UnsupportedOperation", message));
            }
            State::Running => by_user(instance, State::Stopping, call.now),
            State::Stopping | State::Stopped => {}
            _ => return Err(wrong_state(id, "stopped")),
        }
        Ok(())
    })
}

fn reboot(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    change(cloud, call, |id, instance| match instance.state {
        State::Running => {
            instance.reboot = true;
            instance.reachable = false;
            Ok(())
        }
        _ => Err(wrong_state(id, "rebooted")),
    })?;
    Ok(Element::new("").field("return", true))
}

fn terminate(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    change(cloud, call, |id, instance| {
        if instance.protected && !instance.is_over() {
            let message = format!(
                "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again."
            );
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        match instance.state {
            State::ShuttingDown | State::Terminated => {}
            _ => by_user(instance, State::ShuttingDown, call.now),
        }
        Ok(())
    })
}

fn modify(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let id = parameters.required("InstanceId")?;
    find(&cloud.records, id)?;
    let groups = parameters.texts("GroupId");
    if !groups.is_empty() {
        set_groups(&mut cloud.records, id, &groups)?;
    }
    if let Some(name) = parameters.text("Attribute") {
        // The other form: one attribute by its name.
        set(cloud, id, name, parameters, "Value")?;
    }
    for name in
        ["DisableApiTermination", "InstanceInitiatedShutdownBehavior", "InstanceType", "UserData"]
    {
        let below = parameters.below(name);
        if !below.is_empty() {
            set(cloud, id, name, &below, "Value")?;
        }
    }
    Ok(Element::new("").field("return", true))
}

/// Changes the groups of the only interface there is.
fn set_groups(records: &mut Records, id: &str, groups: &[&str]) -> Result<(), ApiError> {
    for group in groups {
        security_groups::check(records, group)?;
    }
    let groups = interfaces::groups(records, groups)?;
    let ids: Vec<_> = records.interfaces_of(id).into_iter().map(|(id, ..)| id.clone()).collect();
    let [interface] = &ids[..] else {
        let message = format!(
            "There are {} interfaces attached to '{id}': change the groups of one with \
             ModifyNetworkInterfaceAttribute",
            ids.len()
        );
        return Err(ApiError::new("InvalidInstanceID", message));
    };
    if let Some(interface) = records.interfaces.get_mut(interface) {
        interface.groups = groups;
    }
    Ok(())
}

/// Sets an attribute to what a parameter says.
fn set(
    cloud: &mut Cloud,
    id: &str,
    attribute: &str,
    parameters: &Parameters<'_>,
    name: &str,
) -> Result<(), ApiError> {
    let slots = interfaces::slots_of(&cloud.records, id);
    let Some(instance) = cloud.records.instances.get_mut(id) else { return Ok(()) };
    let mut first = attribute.chars();
    let attribute: String =
        first.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(first).collect();
    if matches!(attribute.as_str(), "InstanceType" | "UserData") && instance.state != State::Stopped
    {
        let message = format!("The instance '{id}' is not in the 'stopped' state.");
        return Err(ApiError::new("IncorrectInstanceState", message));
    }
    match attribute.as_str() {
        "DisableApiTermination" => {
            let value = parameters.flag(name)?;
            instance.protected = value.ok_or_else(|| ApiError::missing(name))?;
        }
        "InstanceInitiatedShutdownBehavior" => {
            let text = Some(parameters.required(name)?);
            instance.terminates_on_shutdown = launch::terminates_on_shutdown(parameters, text)?;
        }
        "InstanceType" => {
            let found = types::find(parameters.required(name)?)?;
            interfaces::check_slots(found, &slots)?;
            instance.instance_type = found.name.to_owned();
        }
        "UserData" => instance.user_data = launch::user_data(parameters, name)?,
        "DisableApiStop" | "EbsOptimized" | "EnaSupport" | "SourceDestCheck" => {}
        other => return Err(parameters.invalid("Attribute", other, "No such attribute")),
    }
    Ok(())
}
