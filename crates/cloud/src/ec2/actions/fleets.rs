//! Fleets of the type `instant`: one call that tries several types and subnets.

use super::{
    Action, Run,
    launch::{self, Launched},
    tags, templates,
};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        parameters::{Form, Parameters},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[Action {
    name: "CreateFleet",
    parameters: &[
        "LaunchTemplateConfigs",
        "OnDemandOptions",
        "SpotOptions",
        "TagSpecification",
        "TargetCapacitySpecification",
        "Type",
    ],
    without_effect: &[
        "ClientToken",
        "Context",
        "ExcessCapacityTerminationPolicy",
        "ReplaceUnhealthyInstances",
        "TerminateInstancesWithExpiration",
        "ValidFrom",
        "ValidUntil",
    ],
    run: Run::Change(create),
}];

/// One way to launch: a template with what is to be otherwise.
struct Choice<'a> {
    template: Parameters<'a>,
    overrides: Option<Parameters<'a>>,
    /// The lower the sooner, where on-demand instances are launched by priority.
    priority: f64,
}

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    match parameters.text("Type") {
        Some("instant") => {}
        other => {
            let other = other.unwrap_or("maintain");
            let message = format!("Fleets of the type {other} are not supported, only instant");
            return Err(ApiError::new("UnsupportedOperation", message));
        }
    }
    let target = parameters.below("TargetCapacitySpecification");
    let total: usize = target
        .number("TotalTargetCapacity")?
        .ok_or_else(|| ApiError::missing("TargetCapacitySpecification.TotalTargetCapacity"))?;
    let spot = match target.text("DefaultTargetCapacityType") {
        Some("spot") => true,
        None | Some("on-demand") => target.number::<usize>("SpotTargetCapacity")? == Some(total),
        Some(other) => {
            let wanted = "Expected spot or on-demand";
            return Err(target.invalid("DefaultTargetCapacityType", other, wanted));
        }
    };
    let options = parameters.below(if spot { "SpotOptions" } else { "OnDemandOptions" });
    let min: usize = options.number("MinTargetCapacity")?.unwrap_or(0);
    let choices = choices(cloud, parameters, &options)?;
    let fleet = ids::new("fleet")?;
    let before = cloud.records.clone();
    let (mut errors, mut launched) = (Vec::new(), Vec::new());
    let mut left = total;
    for choice in &choices {
        if left == 0 {
            break;
        }
        match attempt(cloud, call, choice, left, spot) {
            Ok((form, group)) => {
                left -= group.instances.len();
                launched.push((choice, form, group));
            }
            Err(error) => errors.push(error_item(choice, &error, spot)),
        }
    }
    if total - left < min {
        // All or nothing, as is asked for.
        cloud.records = before;
        launched.clear();
    }
    let tags = tags::Specifications::parse(parameters, &["fleet", "instance"])?;
    for id in launched.iter().flat_map(|(_, _, group)| &group.instances) {
        tags.apply(&mut cloud.records, "instance", id)?;
    }
    let sets = launched.iter().map(|(choice, form, group)| {
        let instances = group.instances.iter().map(|id| Element::of("item", id));
        described(choice)
            .field("lifecycle", lifecycle(spot))
            .list("instanceIds", instances)
            .field("instanceType", form.all().text("InstanceType").unwrap_or_default())
    });
    Ok(Element::new("")
        .field("fleetId", fleet)
        .list("errorSet", errors)
        .list("fleetInstanceSet", sets.collect::<Vec<_>>()))
}

fn lifecycle(spot: bool) -> &'static str {
    if spot { "spot" } else { "on-demand" }
}

/// The ways a call lists, in the order they are tried in.
fn choices<'a>(
    cloud: &Cloud,
    parameters: &Parameters<'a>,
    options: &Parameters<'a>,
) -> Result<Vec<Choice<'a>>, ApiError> {
    let configs = parameters.list("LaunchTemplateConfigs");
    if configs.is_empty() {
        return Err(ApiError::missing("LaunchTemplateConfigs"));
    }
    let mut choices = Vec::new();
    for config in &configs {
        let template = config.below("LaunchTemplateSpecification");
        templates::version(&cloud.records, &template)?;
        let overrides = config.list("Overrides");
        if overrides.is_empty() {
            let template = template.clone();
            choices.push(Choice { template, overrides: None, priority: f64::MAX });
        }
        for one in overrides {
            if !one.below("InstanceRequirements").is_empty() {
                let message = "InstanceRequirements is not supported: name instance types";
                return Err(ApiError::new("UnsupportedOperation", message));
            }
            let priority = one.number("Priority")?.unwrap_or(f64::MAX);
            choices.push(Choice { template: template.clone(), overrides: Some(one), priority });
        }
    }
    if options.text("AllocationStrategy").is_some_and(|strategy| strategy.contains("prioritized")) {
        choices.sort_by(|one, other| one.priority.total_cmp(&other.priority));
    }
    Ok(choices)
}

/// Launches up to `left` instances in one way.
fn attempt(
    cloud: &mut Cloud,
    call: &Call<'_>,
    choice: &Choice<'_>,
    left: usize,
    spot: bool,
) -> Result<(Form, Launched), ApiError> {
    let mut form = Form::default();
    if let Some(overrides) = &choice.overrides {
        for name in ["InstanceType", "ImageId"] {
            if let Some(value) = overrides.text(name) {
                form.set(name, value);
            }
        }
        for (name, value) in overrides.below("Placement").to_form().pairs() {
            form.set(&format!("Placement.{name}"), value);
        }
        if let Some(zone) = overrides.text("AvailabilityZone") {
            form.set("Placement.AvailabilityZone", zone);
        }
    }
    form.fill_from(&templates::version(&cloud.records, &choice.template)?.form());
    if let Some(subnet) = choice.overrides.as_ref().and_then(|one| one.text("SubnetId")) {
        // The subnet goes where the template has its interfaces.
        let count = form.all().list("NetworkInterface").len();
        match count {
            0 => form.set("SubnetId", subnet),
            count => {
                (1..=count)
                    .for_each(|n| form.set(&format!("NetworkInterface.{n}.SubnetId"), subnet));
            }
        }
    }
    form.set("MinCount", "1");
    form.set("MaxCount", left.to_string());
    if spot {
        form.set("InstanceMarketOptions.MarketType", "spot");
    }
    let before = cloud.records.clone();
    let launched = launch::launch(cloud, &form.all(), call.region, call.now);
    if launched.is_err() {
        cloud.records = before;
    }
    Ok((form, launched?))
}

/// Which way it was.
fn described(choice: &Choice<'_>) -> Element {
    let template = &choice.template;
    let specification = Element::new("launchTemplateSpecification")
        .field_if("launchTemplateId", template.text("LaunchTemplateId"))
        .field_if("launchTemplateName", template.text("LaunchTemplateName"))
        .field_if("version", template.text("Version"));
    let mut both = Element::new("launchTemplateAndOverrides").with(specification);
    if let Some(overrides) = &choice.overrides {
        both = both.with(
            Element::new("overrides")
                .field_if("instanceType", overrides.text("InstanceType"))
                .field_if("subnetId", overrides.text("SubnetId"))
                .field_if("availabilityZone", overrides.text("AvailabilityZone")),
        );
    }
    Element::new("item").with(both)
}

fn error_item(choice: &Choice<'_>, error: &ApiError, spot: bool) -> Element {
    described(choice)
        .field("lifecycle", lifecycle(spot))
        .field("errorCode", &error.code)
        .field("errorMessage", &error.message)
}
