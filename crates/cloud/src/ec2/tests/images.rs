use super::*;

#[test]
fn image_of_an_instance_can_be_launched_and_goes_with_its_snapshot() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let source = format!("InstanceId={id}");
    let made = cloud.call("CreateImage", &[&source, "Name=efa-ready", "Description=with MPI"]);
    let image = made.get("imageId").unwrap().to_owned();
    let listed = format!("ImageId.1={image}");
    let state = |cloud: &mut Cloud| {
        let answer = cloud.call("DescribeImages", &[&listed]);
        answer.get("imagesSet/item/imageState").unwrap().to_owned()
    };
    assert_eq!(state(&mut cloud), "pending");
    let parameters = [&*format!("ImageId={image}"), "MinCount=1", "MaxCount=1"];
    assert_eq!(cloud.refusal("RunInstances", &parameters), "InvalidAMIID.Unavailable");
    cloud.settle();
    assert_eq!(state(&mut cloud), "available");
    assert_eq!(cloud.state(&id), "running");
    let asked = cloud.machines.notes().asked.join(", ");
    assert!(asked.contains(&format!("stop {id}, keep {id}, start {id}")), "{asked}");

    let launched = cloud.call("RunInstances", &parameters);
    let second = launched.get("instancesSet/item/instanceId").unwrap().to_owned();
    cloud.settle();
    assert_eq!(cloud.machines.notes().machines[&second].image, Some(image.clone()));

    let snapshots = cloud.call("DescribeSnapshots", &["Owner.1=self"]);
    let snapshot = snapshots.get("snapshotSet/item/snapshotId").unwrap();
    let snapshot = format!("SnapshotId={snapshot}");
    assert_eq!(cloud.refusal("DeleteSnapshot", &[&snapshot]), "InvalidSnapshot.InUse");
    cloud.call("DeregisterImage", &[&format!("ImageId={image}")]);
    assert_eq!(cloud.refusal("DescribeImages", &[&listed]), "InvalidAMIID.NotFound");
    assert_eq!(cloud.refusal("RunInstances", &parameters), "InvalidAMIID.NotFound");
    assert!(cloud.machines.notes().images.contains(&image));
    cloud.call("DeleteSnapshot", &[&snapshot]);
    cloud.settle();
    assert!(cloud.machines.notes().images.is_empty());
    assert_eq!(cloud.refusal("DeleteSnapshot", &[&snapshot]), "InvalidSnapshot.NotFound");
}

#[test]
fn image_without_reboot_leaves_the_instance_alone() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    cloud.call("CreateImage", &[&format!("InstanceId={id}"), "Name=warm", "NoReboot=true"]);
    cloud.settle();
    let asked = cloud.machines.notes().asked.join(", ");
    assert!(asked.ends_with(&format!("start {id}, keep {id}")), "{asked}");
}

#[test]
fn image_that_cannot_be_kept_fails_and_its_instance_runs_on() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    cloud.machines.notes().broken = Some("keep".to_owned());
    cloud.call("CreateImage", &[&format!("InstanceId={id}"), "Name=broken"]);
    cloud.settle();
    let answer = cloud.call("DescribeImages", &["Owner.1=self"]);
    assert_eq!(answer.get("imagesSet/item/imageState"), Some("failed"));
    assert!(answer.get("imagesSet/item/stateReason/message").unwrap().contains("broken"));
    assert_eq!(cloud.state(&id), "running");
}

#[test]
fn wrong_images_are_refused() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let source = format!("InstanceId={id}");
    cloud.call("CreateImage", &[&source, "Name=taken"]);
    for (parameters, code) in [
        (&[source.as_str(), "Name=taken"][..], "InvalidAMIName.Duplicate"),
        (&[&source, "Name=x"], "InvalidAMIName.Malformed"),
        (&[&source, "Name=with;semicolon"], "InvalidAMIName.Malformed"),
        (&[&source], "MissingParameter"),
        (&["InstanceId=i-00000000000000001", "Name=abc"], "InvalidInstanceID.NotFound"),
    ] {
        assert_eq!(cloud.refusal("CreateImage", parameters), code, "{parameters:?}");
    }
    let base = format!("ImageId={BASE}");
    assert_eq!(cloud.refusal("DeregisterImage", &[&base]), "AuthFailure");
    cloud.settle();
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    let ended = cloud.refusal("CreateImage", &[&source, "Name=late"]);
    assert_eq!(ended, "IncorrectInstanceState");
}

#[test]
fn base_images_are_found_by_owner_and_name() {
    let mut cloud = Cloud::new();
    let filter = ["Owner.1=amazon", "Filter.1.Name=name", "Filter.1.Value.1=elastane-*-x86_64"];
    let answer = cloud.call("DescribeImages", &filter);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(answer.items("imagesSet").count(), 4);
    }
    assert_eq!(cloud.call("DescribeImages", &["Owner.1=self"]).items("imagesSet").count(), 0);
}
