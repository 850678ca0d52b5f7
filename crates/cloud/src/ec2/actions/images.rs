//! Images, and the snapshots they consist of.

use super::{Action, Run, instances, tags};
use crate::{
    Element,
    ec2::{
        Settings,
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{Image, ImageState, OWNER, Records, State},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateImage",
        parameters: &["InstanceId", "Name", "Description", "NoReboot", "TagSpecification"],
        without_effect: &["BlockDeviceMapping"],
        run: Run::Change(create),
    },
    Action {
        name: "DescribeImages",
        parameters: &["ImageId", "Owner", "Filter", "MaxResults", "NextToken"],
        without_effect: &["ExecutableBy", "IncludeDeprecated", "IncludeDisabled"],
        run: Run::Read(describe),
    },
    Action {
        name: "DeregisterImage",
        parameters: &["ImageId", "DeleteAssociatedSnapshots"],
        without_effect: &[],
        run: Run::Change(deregister),
    },
    Action {
        name: "DescribeSnapshots",
        parameters: &["SnapshotId", "Owner", "Filter", "MaxResults", "NextToken"],
        without_effect: &["RestorableBy"],
        run: Run::Read(snapshots),
    },
    Action {
        name: "DeleteSnapshot",
        parameters: &["SnapshotId"],
        without_effect: &[],
        run: Run::Change(delete_snapshot),
    },
];

/// Where the root is said to be.
pub(super) const ROOT_DEVICE: &str = "/dev/xvda";
/// The owner of the base images.
const BASE_OWNER: &str = "000000000001";
/// When the base images are said to be made.
const BASE_DATE: &str = "2026-01-01T00:00:00.000Z";
/// The size that a snapshot is said to have, in GiB: what it holds takes as much as was changed.
const VOLUME_GIB: u32 = 8;

/// The base images: this machine's root, once for each user that guides log in as. Their ids
/// are the same in every cloud.
const BASES: [(&str, &str); 4] = [
    ("ami-0e1a57a0000000001", "ec2-user"),
    ("ami-0e1a57a0000000002", "ubuntu"),
    ("ami-0e1a57a0000000003", "admin"),
    ("ami-0e1a57a0000000004", "rocky"),
];

/// The architecture of this machine, as EC2 calls it.
pub(super) const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

/// An image that can be launched.
pub(super) struct Usable {
    pub(super) id: String,
    pub(super) user: String,
}

/// The image with an id, if it can be launched.
pub(super) fn usable(records: &Records, id: &str) -> Result<Usable, ApiError> {
    if let Some((_, user)) = BASES.iter().find(|(base, _)| *base == id) {
        return Ok(Usable { id: id.to_owned(), user: (*user).to_owned() });
    }
    let image = records.images.get(id).filter(|image| !image.deregistered);
    let image = image.ok_or_else(|| unknown(id))?;
    match &image.state {
        ImageState::Available => Ok(Usable { id: id.to_owned(), user: image.user.clone() }),
        state => {
            let message = format!("The image ID '{id}' is not available: it is {}", name_of(state));
            Err(ApiError::new("InvalidAMIID.Unavailable", message))
        }
    }
}

/// Whether an image is this machine's root as it is.
pub(crate) fn is_base(id: &str) -> bool {
    BASES.iter().any(|(base, _)| *base == id)
}

fn unknown(id: &str) -> ApiError {
    let error = ids::unknown("InvalidAMIID", "ami", "image", id);
    if error.code != "InvalidAMIID.NotFound" {
        return error;
    }
    ApiError::new(error.code, format!("The image id '[{id}]' does not exist"))
}

fn name_of(state: &ImageState) -> &'static str {
    match state {
        ImageState::Pending => "pending",
        ImageState::Available => "available",
        ImageState::Failed(_) => "failed",
    }
}

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let instance_id = parameters.required("InstanceId")?;
    let instance = instances::find(&cloud.records, instance_id)?;
    if !matches!(instance.state, State::Running | State::Stopped) {
        let message = format!(
            "The instance '{instance_id}' is {}: an image is made of one that runs or is stopped",
            instance.state.name()
        );
        return Err(ApiError::new("IncorrectInstanceState", message));
    }
    let name = parameters.required("Name")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        let message = "AMI names must be between 3 and 128 characters long, and may contain \
                       letters, numbers, '(', ')', '.', '-', '/', '_', '[', ']', '@', \"'\" and \
                       spaces";
        return Err(ApiError::new("InvalidAMIName.Malformed", message));
    }
    let mut images = cloud.records.images.iter();
    if let Some((other, _)) = images.find(|(_, i)| i.name == name && !i.deregistered) {
        let message = format!("AMI name {name} is already in use by AMI {other}");
        return Err(ApiError::new("InvalidAMIName.Duplicate", message));
    }
    let id = ids::new("ami")?;
    let image = Image {
        name: name.to_owned(),
        description: parameters.text("Description").unwrap_or_default().to_owned(),
        state: ImageState::Pending,
        created: call.now,
        instance: instance_id.to_owned(),
        user: instance.user.clone(),
        snapshot: ids::new("snap")?,
        reboots: !parameters.flag("NoReboot")?.unwrap_or(false),
        deregistered: false,
    };
    let tags = tags::Specifications::parse(parameters, &["image", "snapshot"])?;
    tags.apply(&mut cloud.records, "image", &id)?;
    tags.apply(&mut cloud.records, "snapshot", &image.snapshot)?;
    cloud.records.images.insert(id.clone(), image);
    Ok(Element::new("").field("imageId", id))
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "imagesSet",
        id: ("ImageId", "imageId"),
        names: &[],
        not_found: "InvalidAMIID.NotFound",
        what: "image id",
        filters: &[
            ("architecture", "architecture"),
            ("block-device-mapping.snapshot-id", "blockDeviceMapping/item/ebs/snapshotId"),
            ("creation-date", "creationDate"),
            ("description", "description"),
            ("ena-support", "enaSupport"),
            ("hypervisor", "hypervisor"),
            ("image-id", "imageId"),
            ("image-type", "imageType"),
            ("is-public", "isPublic"),
            ("name", "name"),
            ("owner-alias", "imageOwnerAlias"),
            ("owner-id", "imageOwnerId"),
            ("platform-details", "platformDetails"),
            ("root-device-name", "rootDeviceName"),
            ("root-device-type", "rootDeviceType"),
            ("source-instance-id", "sourceInstanceId"),
            ("state", "imageState"),
            ("virtualization-type", "virtualizationType"),
        ],
        page: None,
    };
    let owners = call.parameters.texts("Owner");
    let owned = |item: &Element| {
        let owner = item.get("imageOwnerId");
        owners.is_empty()
            || owners.iter().any(|wanted| match *wanted {
                "self" => owner == Some(OWNER),
                wanted => owner == Some(wanted) || item.get("imageOwnerAlias") == Some(wanted),
            })
    };
    let bases = BASES.iter().map(|(id, user)| base_item(&cloud.settings, id, user));
    let images = cloud.records.images.iter().filter(|(_, image)| !image.deregistered);
    let own = images.map(|(id, image)| item(&cloud.records, id, image));
    LISTING.answer(&call.parameters, bases.chain(own).filter(owned).collect())
}

fn shared(id: &str, owner: &str, name: &str, description: &str) -> Element {
    Element::new("item")
        .field("imageId", id)
        .field("imageLocation", format!("{owner}/{name}"))
        .field("imageOwnerId", owner)
        .field("isPublic", owner == BASE_OWNER)
        .list("productCodes", [])
        .field("architecture", architecture())
        .field("imageType", "machine")
        .field("name", name)
        .field("description", description)
        .field("rootDeviceType", "ebs")
        .field("rootDeviceName", ROOT_DEVICE)
        .field("virtualizationType", "hvm")
        .field("hypervisor", "xen")
        .field("enaSupport", true)
        .field("platformDetails", "Linux/UNIX")
        .field("usageOperation", "RunInstances")
}

fn base_item(settings: &Settings, id: &str, user: &str) -> Element {
    let name = format!("elastane-{user}-{}", architecture());
    let description = format!("{}, as this machine has it; log in as {user}", settings.system);
    shared(id, BASE_OWNER, &name, &description)
        .field("imageOwnerAlias", "amazon")
        .field("imageState", "available")
        .field("creationDate", BASE_DATE)
        .list("blockDeviceMapping", [])
        .list("tagSet", [])
}

fn item(records: &Records, id: &str, image: &Image) -> Element {
    let disk = Element::new("ebs")
        .field("snapshotId", &image.snapshot)
        .field("volumeSize", VOLUME_GIB)
        .field("deleteOnTermination", true)
        .field("volumeType", "gp3")
        .field("encrypted", false);
    let mapping = Element::new("").field("deviceName", ROOT_DEVICE).with(disk);
    let item = shared(id, OWNER, &image.name, &image.description)
        .field("imageState", name_of(&image.state))
        .field("creationDate", image.created)
        .field("sourceInstanceId", &image.instance)
        .list("blockDeviceMapping", [mapping])
        .list("tagSet", tags::items(records, id));
    match &image.state {
        ImageState::Failed(why) => {
            let reason = Element::new("stateReason").field("code", "Server.InternalError");
            item.with(reason.field("message", why))
        }
        _ => item,
    }
}

fn deregister(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = call.parameters.required("ImageId")?;
    if is_base(id) {
        let message = format!("You are not authorized to deregister the public image {id}");
        return Err(ApiError::new("AuthFailure", message));
    }
    let records = &mut cloud.records;
    let image = records.images.get_mut(id).filter(|image| !image.deregistered);
    let image = image.ok_or_else(|| unknown(id))?;
    image.deregistered = true;
    let snapshot = image.snapshot.clone();
    let mut results = Vec::new();
    let failed = matches!(image.state, ImageState::Failed(_));
    if call.parameters.flag("DeleteAssociatedSnapshots")?.unwrap_or(false) || failed {
        results
            .push(Element::new("").field("snapshotId", &snapshot).field("returnCode", "success"));
        drop_image(records, id);
    }
    records.tags.remove(id);
    Ok(Element::new("").field("return", true).list("deleteSnapshotResultSet", results))
}

/// Removes an image for good; its layer goes with the next look at the machines.
fn drop_image(records: &mut Records, id: &str) {
    if let Some(image) = records.images.remove(id) {
        records.tags.remove(&image.snapshot);
        records.dropped_images.insert(id.to_owned());
    }
}

fn snapshots(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "snapshotSet",
        id: ("SnapshotId", "snapshotId"),
        names: &[],
        not_found: "InvalidSnapshot.NotFound",
        what: "snapshot",
        filters: &[
            ("description", "description"),
            ("encrypted", "encrypted"),
            ("owner-id", "ownerId"),
            ("progress", "progress"),
            ("snapshot-id", "snapshotId"),
            ("start-time", "startTime"),
            ("status", "status"),
            ("volume-size", "volumeSize"),
        ],
        page: None,
    };
    let owners = call.parameters.texts("Owner");
    let ours = owners.is_empty() || owners.contains(&"self") || owners.contains(&OWNER);
    let images = cloud.records.images.iter().filter(|_| ours);
    let item = |(id, image): (&String, &Image)| {
        let (status, progress) = match image.state {
            ImageState::Pending => ("pending", "0%"),
            ImageState::Available => ("completed", "100%"),
            ImageState::Failed(_) => ("error", "0%"),
        };
        Element::new("item")
            .field("snapshotId", &image.snapshot)
            .field("volumeId", "vol-ffffffff")
            .field("status", status)
            .field("startTime", image.created)
            .field("progress", progress)
            .field("ownerId", OWNER)
            .field("volumeSize", VOLUME_GIB)
            .field("description", format!("Created by CreateImage({}) for {id}", image.instance))
            .field("encrypted", false)
            .list("tagSet", tags::items(&cloud.records, &image.snapshot))
    };
    LISTING.answer(&call.parameters, images.map(item).collect())
}

fn delete_snapshot(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let snapshot = call.parameters.required("SnapshotId")?;
    let records = &mut cloud.records;
    let mut images = records.images.iter();
    let found = images.find(|(_, image)| image.snapshot == snapshot);
    let (id, image) = found.ok_or_else(|| {
        let mut error = ids::unknown("InvalidSnapshot", "snap", "snapshot", snapshot);
        if error.code == "InvalidSnapshot.Malformed" {
            error.code = "InvalidSnapshotID.Malformed".to_owned();
        }
        error
    })?;
    if !image.deregistered {
        let message = format!("The snapshot {snapshot} is currently in use by {id}");
        return Err(ApiError::new("InvalidSnapshot.InUse", message));
    }
    let id = id.clone();
    drop_image(records, &id);
    Ok(Element::new("").field("return", true))
}
