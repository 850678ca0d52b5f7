//! Launch templates: parameters of launches, kept under a name in numbered versions.

use std::collections::BTreeMap;

use super::{Action, Run, launch::WITHOUT_EFFECT, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        parameters::{Form, Parameters},
        records::{LaunchTemplate, OWNER, Records, TemplateVersion, Timestamp},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateLaunchTemplate",
        parameters: &[
            "LaunchTemplateName",
            "LaunchTemplateData",
            "VersionDescription",
            "TagSpecification",
        ],
        // A call that is repeated finds the name taken.
        without_effect: &["ClientToken"],
        run: Run::Change(create),
    },
    Action {
        name: "CreateLaunchTemplateVersion",
        parameters: &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "LaunchTemplateData",
            "SourceVersion",
            "VersionDescription",
        ],
        without_effect: &["ClientToken"],
        run: Run::Change(create_version),
    },
    Action {
        name: "ModifyLaunchTemplate",
        parameters: &["LaunchTemplateId", "LaunchTemplateName", "SetDefaultVersion"],
        without_effect: &["ClientToken"],
        run: Run::Change(modify),
    },
    Action {
        name: "DescribeLaunchTemplates",
        parameters: &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "Filter",
            "MaxResults",
            "NextToken",
        ],
        without_effect: &["IncludeManagedResources"],
        run: Run::Read(describe),
    },
    Action {
        name: "DescribeLaunchTemplateVersions",
        parameters: &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "LaunchTemplateVersion",
            "MinVersion",
            "MaxVersion",
            "Filter",
            "MaxResults",
            "NextToken",
        ],
        without_effect: &["IncludeManagedResources", "ResolveAlias"],
        run: Run::Read(describe_versions),
    },
    Action {
        name: "DeleteLaunchTemplate",
        parameters: &["LaunchTemplateId", "LaunchTemplateName"],
        without_effect: &[],
        run: Run::Change(delete),
    },
];

/// What a template may say.
const CONTENT: &[&str] = &[
    "DisableApiTermination",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "InstanceType",
    "KeyName",
    "NetworkInterface",
    "Placement",
    "SecurityGroup",
    "SecurityGroupId",
    "TagSpecification",
    "UserData",
];

/// The parameters a call wants kept.
fn content(call: &Call<'_>) -> Result<Form, ApiError> {
    let data = call.parameters.below("LaunchTemplateData");
    if data.is_empty() {
        return Err(ApiError::missing("LaunchTemplateData"));
    }
    let known = |name: &&str| CONTENT.contains(name) || WITHOUT_EFFECT.contains(name);
    if let Some(name) = data.names().find(|name| !known(name)) {
        let message = format!("The parameter LaunchTemplateData.{name} is not recognized");
        return Err(ApiError::new("UnknownParameter", message));
    }
    Ok(data.to_form())
}

fn version_of(call: &Call<'_>, form: &Form, now: Timestamp) -> TemplateVersion {
    TemplateVersion {
        created: now,
        description: call.parameters.text("VersionDescription").map(str::to_owned),
        parameters: form.pairs(),
    }
}

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let name = call.parameters.required("LaunchTemplateName")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()./_-".contains(c);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        let message = "A launch template name must be between 3 and 128 characters, and may \
                       contain letters, numbers, and the following characters: - ( ) . / _.";
        return Err(ApiError::new("InvalidLaunchTemplateName.MalformedException", message));
    }
    let records = &mut cloud.records;
    if records.templates.values().any(|template| template.name == name) {
        let code = "InvalidLaunchTemplateName.AlreadyExistsException";
        return Err(ApiError::new(code, "Launch template name already in use."));
    }
    let version = version_of(call, &content(call)?, call.now);
    let id = ids::new("lt")?;
    let tags = tags::Specifications::parse(&call.parameters, &["launch-template"])?;
    tags.apply(records, "launch-template", &id)?;
    let template = LaunchTemplate {
        name: name.to_owned(),
        created: call.now,
        default: 1,
        versions: BTreeMap::from([(1, version)]),
    };
    records.templates.insert(id.clone(), template);
    Ok(Element::new("").with(described(records, "launchTemplate", &id)))
}

fn create_version(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = named(&cloud.records, &call.parameters)?;
    let mut form = content(call)?;
    let Some(template) = cloud.records.templates.get_mut(&id) else {
        return Err(unknown_id(&id));
    };
    if let Some(source) = call.parameters.text("SourceVersion") {
        form.fill_from(&numbered(template, source)?.1.form());
    }
    let number = template.latest() + 1;
    template.versions.insert(number, version_of(call, &form, call.now));
    let element = version_item(&id, template, number);
    Ok(Element::new("").with(Element::new("launchTemplateVersion").extended(element)))
}

fn modify(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = named(&cloud.records, &call.parameters)?;
    let wanted = call.parameters.required("SetDefaultVersion")?;
    if let Some(template) = cloud.records.templates.get_mut(&id) {
        template.default = numbered(template, wanted)?.0;
    }
    Ok(Element::new("").with(described(&cloud.records, "launchTemplate", &id)))
}

fn unknown_id(id: &str) -> ApiError {
    let message = format!("The specified launch template, with template ID {id}, does not exist.");
    ApiError::new("InvalidLaunchTemplateId.NotFound", message)
}

/// The id of the template that a call names, by id or by name.
fn named(records: &Records, parameters: &Parameters<'_>) -> Result<String, ApiError> {
    match (parameters.text("LaunchTemplateId"), parameters.text("LaunchTemplateName")) {
        (Some(id), None) => match records.templates.contains_key(id) {
            true => Ok(id.to_owned()),
            false => Err(unknown_id(id)),
        },
        (None, Some(name)) => {
            let mut templates = records.templates.iter();
            let found = templates.find(|(_, template)| template.name == name);
            found.map(|(id, _)| id.clone()).ok_or_else(|| {
                let message = format!(
                    "The specified launch template, with template name {name}, does not exist."
                );
                ApiError::new("InvalidLaunchTemplateName.NotFoundException", message)
            })
        }
        (None, None) => Err(ApiError::missing("LaunchTemplateId")),
        (Some(_), Some(_)) => {
            Err(ApiError::combination("Give a launch template's id or its name, not both"))
        }
    }
}

/// The version that a number, `$Default` or `$Latest` means.
fn numbered<'a>(
    template: &'a LaunchTemplate,
    wanted: &str,
) -> Result<(u32, &'a TemplateVersion), ApiError> {
    let number = match wanted {
        "$Default" => Some(template.default),
        "$Latest" => Some(template.latest()),
        number => number.parse().ok(),
    };
    let found = number.and_then(|number| Some((number, template.versions.get(&number)?)));
    found.ok_or_else(|| {
        let message = format!("Could not find version {wanted} of the launch template");
        ApiError::new("InvalidLaunchTemplateId.VersionNotFound", message)
    })
}

/// The version that a launch names; the default one if it names none.
pub(super) fn version<'a>(
    records: &'a Records,
    parameters: &Parameters<'_>,
) -> Result<&'a TemplateVersion, ApiError> {
    let id = named(records, parameters)?;
    let template = records.templates.get(&id).ok_or_else(|| unknown_id(&id))?;
    let wanted = parameters.text("Version").unwrap_or("$Default");
    numbered(template, wanted).map(|(_, version)| version)
}

fn described(records: &Records, name: &'static str, id: &str) -> Element {
    let Some(template) = records.templates.get(id) else { return Element::new(name) };
    Element::new(name)
        .field("launchTemplateId", id)
        .field("launchTemplateName", &template.name)
        .field("createTime", template.created)
        .field("createdBy", format!("arn:aws:iam::{OWNER}:root"))
        .field("defaultVersionNumber", template.default)
        .field("latestVersionNumber", template.latest())
        .list("tagSet", tags::items(records, id))
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "launchTemplates",
        id: ("LaunchTemplateId", "launchTemplateId"),
        names: &[],
        not_found: "InvalidLaunchTemplateId.NotFound",
        what: "launch template ID",
        filters: &[("create-time", "createTime"), ("launch-template-name", "launchTemplateName")],
        page: None,
    };
    let names = call.parameters.texts("LaunchTemplateName");
    let records = &cloud.records;
    if let Some(name) = names.iter().find(|n| !records.templates.values().any(|t| t.name == **n)) {
        let message =
            "At least one of the launch templates specified in the request does not exist.";
        let message = format!("{message} ({name})");
        return Err(ApiError::new("InvalidLaunchTemplateName.NotFoundException", message));
    }
    let chosen =
        records.templates.iter().filter(|(_, t)| names.is_empty() || names.contains(&&*t.name));
    let items = chosen.map(|(id, _)| described(records, "item", id)).collect();
    LISTING.answer(&call.parameters, items)
}

fn version_item(id: &str, template: &LaunchTemplate, number: u32) -> Element {
    let element = Element::new("item")
        .field("launchTemplateId", id)
        .field("launchTemplateName", &template.name)
        .field("versionNumber", number);
    let Some(version) = template.versions.get(&number) else { return element };
    let form = version.form();
    element
        .field_if("versionDescription", version.description.as_ref())
        .field("createTime", version.created)
        .field("createdBy", format!("arn:aws:iam::{OWNER}:root"))
        .field("defaultVersion", number == template.default)
        .with(Element::new("launchTemplateData").extended(shown(&form.all())))
}

/// Parameters as they are shown: names begin with small letters, lists are called sets.
fn shown(parameters: &Parameters<'_>) -> Element {
    let mut element = Element::new("");
    for name in parameters.names() {
        let below = parameters.below(name);
        let small = small(name);
        if let Some(value) = below.value() {
            element = element.field(small, value);
            continue;
        }
        let members = parameters.list(name);
        if members.is_empty() {
            element = element.with(Element::new(small).extended(shown(&below)));
            continue;
        }
        let (set, item) = match (small.as_str(), parameters.path()) {
            // An interface's groups are its only list with items of another name.
            ("securityGroupId", path) if !path.is_empty() => ("groupSet".to_owned(), "groupId"),
            _ => (format!("{small}Set"), "item"),
        };
        let items = members.iter().map(|member| match member.value() {
            Some(value) => Element::of(item, value),
            None => Element::new(item).extended(shown(member)),
        });
        element = element.with(items.fold(Element::new(set), Element::with));
    }
    element
}

fn small(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn describe_versions(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "launchTemplateVersionSet",
        id: ("", "versionNumber"),
        names: &[],
        not_found: "",
        what: "version",
        filters: &[
            ("image-id", "launchTemplateData/imageId"),
            ("instance-type", "launchTemplateData/instanceType"),
            ("is-default-version", "defaultVersion"),
        ],
        page: None,
    };
    let parameters = &call.parameters;
    let id = named(&cloud.records, parameters)?;
    let template = cloud.records.templates.get(&id).ok_or_else(|| unknown_id(&id))?;
    let wanted = parameters.texts("LaunchTemplateVersion");
    let mut numbers = Vec::new();
    for version in &wanted {
        numbers.push(numbered(template, version)?.0);
    }
    if wanted.is_empty() {
        let min = parameters.number("MinVersion")?.unwrap_or(1);
        let max = parameters.number("MaxVersion")?.unwrap_or(u32::MAX);
        numbers.extend(template.versions.keys().rev().filter(|n| (min..=max).contains(*n)));
    }
    numbers.dedup();
    let items = numbers.iter().map(|number| version_item(&id, template, *number)).collect();
    LISTING.answer(parameters, items)
}

fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = named(&cloud.records, &call.parameters)?;
    let described = described(&cloud.records, "launchTemplate", &id);
    cloud.records.templates.remove(&id);
    cloud.records.tags.remove(&id);
    Ok(Element::new("").with(described))
}
