use super::*;

const NIC: &str = "NetworkInterface.1.DeviceIndex=0";

#[test]
fn instances_boot_with_what_the_call_says() {
    let mut cloud = Cloud::new();
    let group = cloud.efa_group("efa");
    cloud.call("CreateKeyPair", &["KeyName=me", "KeyType=ed25519"]);
    cloud.call("CreatePlacementGroup", &["GroupName=near", "Strategy=cluster"]);
    let ids = cloud.launch(&[
        "InstanceType=c5n.18xlarge",
        "MinCount=2",
        "MaxCount=2",
        "KeyName=me",
        "Placement.GroupName=near",
        "UserData=IyEvYmluL3NoCg==",
        NIC,
        "NetworkInterface.1.InterfaceType=efa",
        &format!("NetworkInterface.1.SecurityGroupId.1={group}"),
        "TagSpecification.1.ResourceType=instance",
        "TagSpecification.1.Tag.1.Key=elastane:mount/home",
        "TagSpecification.1.Tag.1.Value=fs-1",
        "TagSpecification.1.Tag.2.Key=elastane:mount/../etc",
        "TagSpecification.1.Tag.2.Value=fs-2",
        "TagSpecification.1.Tag.3.Key=elastane:mount/opt",
        "TagSpecification.1.Tag.3.Value=../..",
    ]);
    let machine = cloud.machines.notes().machines[&ids[0]].clone();
    assert_eq!(machine.user, "ec2-user");
    assert!(machine.efa && machine.image.is_none());
    assert!(machine.authorized_key.unwrap().starts_with("ssh-ed25519 "));
    assert_eq!(machine.user_data.unwrap(), b"#!/bin/sh\n");
    assert_eq!(machine.hostname, format!("ip-{}", machine.address.to_string().replace('.', "-")));
    let link = machine.link.unwrap();
    assert_eq!((link.card, link.flow), (100_000_000_000, 5_000_000_000));
    assert_eq!((link.near_flow, link.near.is_some()), (10_000_000_000, true));
    // Only the mount that stays in its place.
    let mounts: Vec<_> = machine.mounts.iter().map(|mount| mount.target.clone()).collect();
    assert_eq!(mounts, [std::path::Path::new("/home")]);
    assert_eq!(machine.mounts[0].source, cloud.directory.path().join("filesystems/fs-1"));

    let instance = cloud.instance(&ids[0]);
    for (path, expected) in [
        ("instanceState/name", "running"),
        ("instanceType", "c5n.18xlarge"),
        ("imageId", BASE),
        ("keyName", "me"),
        ("placement/groupName", "near"),
        ("placement/availabilityZone", "us-east-1a"),
        ("groupSet/item/groupId", &group),
        ("networkInterfaceSet/item/interfaceType", "efa"),
        ("networkInterfaceSet/item/attachment/deviceIndex", "0"),
        ("privateIpAddress", &machine.address.to_string()),
        ("ipAddress", &machine.address.to_string()),
    ] {
        assert_eq!(instance.get(path), Some(expected), "{path}");
    }
    let efa = cloud.machines.notes().policy.groups.iter().find(|g| g.id == group).cloned();
    assert_eq!(efa.unwrap().members.len(), 2);
}

/// That `RunInstances` with these parameters is refused with this code, and leaves nothing.
fn refused(cases: &[(&[&str], &str)]) {
    let mut cloud = Cloud::new();
    cloud.call("CreatePlacementGroup", &["GroupName=near", "Strategy=cluster"]);
    cloud.call("CreatePlacementGroup", &["GroupName=parts", "PartitionCount=3"]);
    for (parameters, code) in cases {
        assert_eq!(cloud.refusal("RunInstances", parameters), *code, "{parameters:?}");
    }
    let left = cloud.call("DescribeNetworkInterfaces", &[]);
    assert_eq!(left.items("networkInterfaceSet").count(), 0);
}

/// The same for one instance of the base image.
fn one_refused(cases: &[(&[&str], &str)]) {
    let image = format!("ImageId={BASE}");
    let one = [image.as_str(), "MinCount=1", "MaxCount=1"];
    let whole: Vec<_> = cases.iter().map(|(more, code)| ([&one, *more].concat(), *code)).collect();
    let whole: Vec<_> = whole.iter().map(|(parameters, code)| (&parameters[..], *code)).collect();
    refused(&whole);
}

#[test]
fn wrong_images_and_counts_are_refused_with_ec2s_codes() {
    let image = &*format!("ImageId={BASE}");
    refused(&[
        (&["MinCount=1", "MaxCount=1"], "MissingParameter"),
        (&["MinCount=1", "MaxCount=1", "ImageId=ami-00000000000000001"], "InvalidAMIID.NotFound"),
        (&["MinCount=1", "MaxCount=1", "ImageId=debian"], "InvalidAMIID.Malformed"),
        (&["MaxCount=1", image], "MissingParameter"),
        (&["MinCount=1", "MaxCount=0", image], "InvalidParameterValue"),
        (&["MinCount=2", "MaxCount=1", image], "InvalidParameterCombination"),
    ]);
}

#[test]
fn what_is_not_there_is_refused_with_ec2s_codes() {
    let group = "SecurityGroupId.1=sg-00000000000000001";
    let template = "LaunchTemplate.LaunchTemplateName=x";
    one_refused(&[
        (&["InstanceType=t9.mega"], "InvalidParameterValue"),
        (&["InstanceType=hpc7g.4xlarge"], "InvalidParameterValue"),
        (&["InstanceType=t3.micro", "KeyName=none"], "InvalidKeyPair.NotFound"),
        (&["InstanceType=t3.micro", group], "InvalidGroup.NotFound"),
        (&["InstanceType=t3.micro", "SecurityGroup.1=none"], "InvalidGroup.NotFound"),
        (&[NIC, &format!("NetworkInterface.1.{group}")], "InvalidGroup.NotFound"),
        (&["SubnetId=subnet-00000000000000001"], "InvalidSubnetID.NotFound"),
        (&["InstanceType=t3.micro", template], "InvalidLaunchTemplateName.NotFoundException"),
        (&["InstanceType=t3.micro", "UserData=%%%"], "InvalidUserData.Malformed"),
        (
            &["InstanceType=t3.micro", "HibernationOptions.Configured=true"],
            "UnsupportedHibernationConfiguration",
        ),
        (&["InstanceType=t3.micro", "EnclaveOptions.Enabled=true"], "UnsupportedOperation"),
    ]);
}

#[test]
fn wrong_places_are_refused_with_ec2s_codes() {
    let (large, near) = ("InstanceType=c5.large", "Placement.GroupName=near");
    let elsewhere = "Placement.AvailabilityZone=eu-west-1a";
    let parts = "Placement.GroupName=parts";
    one_refused(&[
        (&[large, "Placement.GroupName=x"], "InvalidPlacementGroup.Unknown"),
        (&["InstanceType=t3.micro", near], "InvalidParameterCombination"),
        (&[large, near, "Placement.PartitionNumber=1"], "InvalidParameterCombination"),
        (&[large, parts, "Placement.PartitionNumber=4"], "InvalidParameterValue"),
        (&[large, elsewhere], "InvalidParameterValue"),
        (&[large, "PrivateIpAddress=172.31.0.3"], "InvalidParameterValue"),
    ]);
}

#[test]
fn wrong_interfaces_are_refused_with_ec2s_codes() {
    let (micro, c5n) = ("InstanceType=t3.micro", "InstanceType=c5n.18xlarge");
    let efa = "NetworkInterface.1.InterfaceType=efa";
    let (second, third) = ("NetworkInterface.2.DeviceIndex=1", "NetworkInterface.3.DeviceIndex=2");
    let second_efa = "NetworkInterface.2.InterfaceType=efa";
    one_refused(&[
        (&[micro, NIC, efa], "UnsupportedOperation"),
        (&[c5n, NIC, efa, "NetworkInterface.1.NetworkCardIndex=1"], "InvalidParameterValue"),
        (&[c5n, NIC, efa, second, second_efa], "AttachmentLimitExceeded"),
        (&[micro, NIC, second, third], "AttachmentLimitExceeded"),
        (&[micro, NIC, "NetworkInterface.2.DeviceIndex=0"], "InvalidParameterValue"),
        (&[micro, "NetworkInterface.1.DeviceIndex=1"], "InvalidParameterCombination"),
        (&[micro, "NetworkInterface.1.Description=x"], "MissingParameter"),
        (&[c5n, NIC, "NetworkInterface.1.InterfaceType=efa-only"], "InvalidParameterCombination"),
        (&[c5n, NIC, "NetworkInterface.1.InterfaceType=laser"], "InvalidParameterValue"),
        (&[NIC, "SecurityGroup.1=default"], "InvalidParameterCombination"),
        (&[NIC, "SubnetId=subnet-00000000000000001"], "InvalidParameterCombination"),
    ]);
}

#[test]
fn capacity_is_shared_between_min_and_max_and_refused_below_min() {
    let of_type = BTreeMap::from([("t3.micro".to_owned(), 3)]);
    let mut cloud = Cloud::with(Capacity { total: Some(4), of_type });
    let ids = cloud.launch(&["InstanceType=t3.micro", "MinCount=1", "MaxCount=10"]);
    assert_eq!(ids.len(), 3);
    let image = format!("ImageId={BASE}");
    let one = |name: &'static str| {
        [image.clone(), name.to_owned(), "MinCount=1".into(), "MaxCount=1".into()]
    };
    let micro = one("InstanceType=t3.micro");
    let micro: Vec<_> = micro.iter().map(String::as_str).collect();
    assert_eq!(cloud.refusal("RunInstances", &micro), "InsufficientInstanceCapacity");
    let large = ["InstanceType=c5.large", "MinCount=2", "MaxCount=2", &image];
    assert_eq!(cloud.refusal("RunInstances", &large), "InsufficientInstanceCapacity");
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={}", ids[0])]);
    cloud.settle();
    assert_eq!(cloud.launch(&["InstanceType=c5.large", "MinCount=1", "MaxCount=2"]).len(), 2);
    // A stopped instance gives its place away and needs one to start.
    cloud.call("StopInstances", &[&format!("InstanceId.1={}", ids[1])]);
    cloud.settle();
    cloud.launch(&["InstanceType=m5.large", "MinCount=1", "MaxCount=1"]);
    let start = [&*format!("InstanceId.1={}", ids[1])];
    assert_eq!(cloud.refusal("StartInstances", &start), "InsufficientInstanceCapacity");
}

#[test]
fn subnet_without_addresses_refuses() {
    let mut cloud = Cloud::new();
    // 64 addresses less the five reserved ones.
    let subnets = cloud.call("DescribeSubnets", &[]);
    let subnet = subnets.get("subnetSet/item/subnetId").unwrap();
    let subnet = format!("SubnetId={subnet}");
    let ids = cloud.launch(&["InstanceType=t3.micro", "MinCount=50", "MaxCount=70", &subnet]);
    assert_eq!(ids.len(), 59);
    let addresses: BTreeSet<_> =
        cloud.machines.notes().machines.values().map(|machine| machine.address).collect();
    assert_eq!(addresses.len(), 59);
    let image = format!("ImageId={BASE}");
    let more = ["InstanceType=t3.micro", "MinCount=1", "MaxCount=1", &subnet, &image];
    assert_eq!(cloud.refusal("RunInstances", &more), "InsufficientFreeAddressesInSubnet");
    // Without a subnet, the next zone has room.
    let other = cloud.launch_one(&["InstanceType=t3.micro"]);
    let zone = cloud.instance(&other);
    assert_eq!(zone.get("placement/availabilityZone"), Some("us-east-1b"));
}

#[test]
fn placement_groups_keep_their_promises() {
    let mut cloud = Cloud::new();
    cloud.call("CreatePlacementGroup", &["GroupName=near", "Strategy=cluster"]);
    cloud.call("CreatePlacementGroup", &["GroupName=far", "Strategy=spread"]);
    cloud.call(
        "CreatePlacementGroup",
        &["GroupName=parts", "Strategy=partition", "PartitionCount=2"],
    );
    let near = ["InstanceType=c5.large", "Placement.GroupName=near"];
    let member =
        cloud.launch_one(&[&near[..], &["Placement.AvailabilityZone=us-east-1b"]].concat());
    // A cluster group is in one zone: where its members are, and nowhere else.
    let second = cloud.launch_one(&near);
    let second = cloud.instance(&second);
    assert_eq!(second.get("placement/availabilityZone"), Some("us-east-1b"));
    let image = format!("ImageId={BASE}");
    let elsewhere =
        [&near[..], &[&image, "MinCount=1", "MaxCount=1", "Placement.AvailabilityZone=us-east-1a"]];
    assert_eq!(cloud.refusal("RunInstances", &elsewhere.concat()), "InvalidPlacementGroup.InUse");
    let spread = ["InstanceType=t3.micro", "Placement.GroupName=far", "MinCount=1", "MaxCount=9"];
    assert_eq!(cloud.launch(&spread).len(), 7);
    let eighth = [&spread[..2], &[&image, "MinCount=1", "MaxCount=1"]].concat();
    assert_eq!(cloud.refusal("RunInstances", &eighth), "InsufficientInstanceCapacity");
    let parts = ["InstanceType=c5.large", "Placement.GroupName=parts", "MinCount=4", "MaxCount=4"];
    let mut partitions: Vec<_> = cloud
        .launch(&parts)
        .iter()
        .map(|id| cloud.instance(id).get("placement/partitionNumber").unwrap().to_owned())
        .collect();
    partitions.sort();
    assert_eq!(partitions, ["1", "1", "2", "2"]);
    let delete = ["GroupName=near"];
    assert_eq!(cloud.refusal("DeletePlacementGroup", &delete), "InvalidPlacementGroup.InUse");
    for id in [member.as_str(), second.get("instanceId").unwrap()] {
        cloud.call("TerminateInstances", &[&format!("InstanceId.1={id}")]);
    }
    cloud.settle();
    cloud.call("DeletePlacementGroup", &delete);
    assert_eq!(cloud.refusal("DeletePlacementGroup", &delete), "InvalidPlacementGroup.Unknown");
}

#[test]
fn wrong_placement_groups_are_refused() {
    let mut cloud = Cloud::new();
    cloud.call("CreatePlacementGroup", &["GroupName=near"]);
    for (parameters, code) in [
        (&["GroupName=near", "Strategy=cluster"][..], "InvalidPlacementGroup.Duplicate"),
        (&["Strategy=cluster"], "MissingParameter"),
        (&["GroupName=x", "Strategy=scatter"], "InvalidParameterValue"),
        (&["GroupName=x", "Strategy=cluster", "PartitionCount=2"], "InvalidParameterCombination"),
        (&["GroupName=x", "Strategy=cluster", "SpreadLevel=rack"], "InvalidParameterCombination"),
        (&["GroupName=x", "PartitionCount=8"], "InvalidParameterValue"),
    ] {
        assert_eq!(cloud.refusal("CreatePlacementGroup", parameters), code, "{parameters:?}");
    }
    let unknown = ["GroupName.1=none"];
    assert_eq!(cloud.refusal("DescribePlacementGroups", &unknown), "InvalidPlacementGroup.Unknown");
}

#[test]
fn repeated_call_with_a_token_launches_once() {
    let mut cloud = Cloud::new();
    let token = ["InstanceType=t3.micro", "ClientToken=once", "MinCount=2", "MaxCount=2"];
    let first = cloud.launch(&token);
    let again = cloud.launch(&token);
    assert_eq!(first.iter().collect::<BTreeSet<_>>(), again.iter().collect());
    assert_eq!(cloud.machines.notes().machines.len(), 2);
    let image = format!("ImageId={BASE}");
    let other = ["InstanceType=t3.small", "ClientToken=once", "MinCount=2", "MaxCount=2", &image];
    assert_eq!(cloud.refusal("RunInstances", &other), "IdempotentParameterMismatch");
    // A day later the token is forgotten.
    cloud.now += Duration::from_secs(24 * 3600);
    cloud.launch(&token);
    assert_eq!(cloud.machines.notes().machines.len(), 4);
}

#[test]
fn template_stands_for_what_a_call_leaves_out() {
    let mut cloud = Cloud::new();
    let group = cloud.efa_group("efa");
    let image = format!("LaunchTemplateData.ImageId={BASE}");
    let in_group = format!("LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1={group}");
    let created = cloud.call(
        "CreateLaunchTemplate",
        &[
            "LaunchTemplateName=nodes",
            &image,
            "LaunchTemplateData.InstanceType=c5n.18xlarge",
            "LaunchTemplateData.NetworkInterface.1.DeviceIndex=0",
            "LaunchTemplateData.NetworkInterface.1.InterfaceType=efa",
            &in_group,
            "LaunchTemplateData.TagSpecification.1.ResourceType=instance",
            "LaunchTemplateData.TagSpecification.1.Tag.1.Key=Name",
            "LaunchTemplateData.TagSpecification.1.Tag.1.Value=Compute",
        ],
    );
    let id = created.get("launchTemplate/launchTemplateId").unwrap();
    let template = format!("LaunchTemplate.LaunchTemplateId={id}");
    let launched = cloud.call("RunInstances", &[&template, "MinCount=1", "MaxCount=1"]);
    let instance = launched.items("instancesSet").next().unwrap();
    assert_eq!(instance.get("instanceType"), Some("c5n.18xlarge"));
    assert_eq!(instance.get("networkInterfaceSet/item/interfaceType"), Some("efa"));
    assert_eq!(instance.get("tagSet/item/value"), Some("Compute"));
    let larger = [&template, "MinCount=1", "MaxCount=1", "InstanceType=c5n.metal"];
    let launched = cloud.call("RunInstances", &larger);
    assert_eq!(launched.get("instancesSet/item/instanceType"), Some("c5n.metal"));

    let of_template = format!("LaunchTemplateId={id}");
    let source = [&*of_template, "SourceVersion=1", "LaunchTemplateData.InstanceType=c6i.32xlarge"];
    cloud.call("CreateLaunchTemplateVersion", &source);
    let versions = cloud
        .call("DescribeLaunchTemplateVersions", &[&of_template, "LaunchTemplateVersion.1=$Latest"]);
    let latest = versions.items("launchTemplateVersionSet").next().unwrap();
    assert_eq!(latest.get("versionNumber"), Some("2"));
    let data = latest.at("launchTemplateData").unwrap();
    assert_eq!(data.get("instanceType"), Some("c6i.32xlarge"));
    let nic = data.items("networkInterfaceSet").next().unwrap();
    assert_eq!(nic.get("groupSet/groupId"), Some(group.as_str()));
    let version = [&template, "LaunchTemplate.Version=9", "MinCount=1", "MaxCount=1"];
    let code = cloud.refusal("RunInstances", &version);
    assert_eq!(code, "InvalidLaunchTemplateId.VersionNotFound");
    cloud.call("DeleteLaunchTemplate", &[&of_template]);
    let code = cloud.refusal("DeleteLaunchTemplate", &[&of_template]);
    assert_eq!(code, "InvalidLaunchTemplateId.NotFound");
}

#[test]
fn fleet_goes_on_with_the_next_type_where_one_is_used_up() {
    let of_type = BTreeMap::from([("c5n.18xlarge".to_owned(), 1)]);
    let mut cloud = Cloud::with(Capacity { total: None, of_type });
    let image = format!("LaunchTemplateData.ImageId={BASE}");
    cloud.call("CreateLaunchTemplate", &["LaunchTemplateName=nodes", &image]);
    let config = "LaunchTemplateConfigs.1";
    let mut fleet = vec![
        "Type=instant".to_owned(),
        "TargetCapacitySpecification.TotalTargetCapacity=3".to_owned(),
        format!("{config}.LaunchTemplateSpecification.LaunchTemplateName=nodes"),
        format!("{config}.LaunchTemplateSpecification.Version=1"),
        format!("{config}.Overrides.1.InstanceType=c5n.18xlarge"),
        format!("{config}.Overrides.2.InstanceType=c6i.32xlarge"),
    ];
    let texts: Vec<_> = fleet.iter().map(String::as_str).collect();
    let answer = cloud.call("CreateFleet", &texts);
    let sets: Vec<_> = answer
        .items("fleetInstanceSet")
        .map(|set| (set.get("instanceType").unwrap(), set.items("instanceIds").count()))
        .collect();
    assert_eq!(sets, [("c5n.18xlarge", 1), ("c6i.32xlarge", 2)]);
    // With nothing left of the one type, and all or nothing:
    fleet.pop();
    fleet.push("OnDemandOptions.MinTargetCapacity=3".to_owned());
    let texts: Vec<_> = fleet.iter().map(String::as_str).collect();
    let answer = cloud.call("CreateFleet", &texts);
    assert_eq!(answer.items("fleetInstanceSet").count(), 0);
    let code = answer.get("errorSet/item/errorCode");
    assert_eq!(code, Some("InsufficientInstanceCapacity"));
    assert_eq!(cloud.refusal("CreateFleet", &["Type=maintain"]), "UnsupportedOperation");
}
