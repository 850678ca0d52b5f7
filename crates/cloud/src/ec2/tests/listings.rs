use super::*;

#[test]
fn network_is_there_from_the_start() {
    let mut cloud = Cloud::new();
    let vpcs = cloud.call("DescribeVpcs", &["Filter.1.Name=is-default", "Filter.1.Value.1=true"]);
    let vpc = vpcs.get("vpcSet/item/vpcId").unwrap().to_owned();
    assert_eq!(vpcs.get("vpcSet/item/cidrBlock"), Some("172.31.0.0/24"));
    let in_vpc = ["Filter.1.Name=vpc-id", &format!("Filter.1.Value.1={vpc}")];
    let subnets = cloud.call("DescribeSubnets", &in_vpc);
    let blocks: Vec<_> = subnets.items("subnetSet").filter_map(|s| s.get("cidrBlock")).collect();
    assert_eq!(blocks, ["172.31.0.0/26", "172.31.0.64/26", "172.31.0.128/26"]);
    for (action, set) in
        [("DescribeSecurityGroups", "securityGroupInfo"), ("DescribeRouteTables", "routeTableSet")]
    {
        assert_eq!(cloud.call(action, &in_vpc).items(set).count(), 1, "{action}");
    }
    let attribute = [&*format!("VpcId={vpc}"), "Attribute=enableDnsHostnames"];
    let answer = cloud.call("DescribeVpcAttribute", &attribute);
    assert_eq!(answer.get("enableDnsHostnames/value"), Some("true"));
    assert_eq!(cloud.call("DescribeAddresses", &[]).items("addressesSet").count(), 0);
    assert_eq!(cloud.refusal("DescribeVolumes", &["VolumeId.1=vol-1"]), "InvalidVolume.NotFound");
    let regions = cloud.call("DescribeRegions", &["RegionName.1=eu-west-1"]);
    assert_eq!(regions.items("regionInfo").count(), 1);
}

#[test]
fn subnets_are_made_where_there_is_room() {
    let mut cloud = Cloud::new();
    let vpcs = cloud.call("DescribeVpcs", &[]);
    let vpc = format!("VpcId={}", vpcs.get("vpcSet/item/vpcId").unwrap());
    let block = "CidrBlock=172.31.0.192/27";
    let made = cloud.call("CreateSubnet", &[&vpc, block, "AvailabilityZone=us-east-1c"]);
    let id = made.get("subnet/subnetId").unwrap().to_owned();
    assert_eq!(made.get("subnet/availabilityZone"), Some("us-east-1c"));
    for (block, code) in [
        ("172.31.0.192/28", "InvalidSubnet.Conflict"),
        ("10.0.0.0/26", "InvalidSubnet.Range"),
        ("172.31.0.224/29", "InvalidSubnet.Range"),
        ("nonsense", "InvalidParameterValue"),
    ] {
        let block = format!("CidrBlock={block}");
        assert_eq!(cloud.refusal("CreateSubnet", &[&vpc, &block]), code, "{block}");
    }
    let there = format!("SubnetId={id}");
    let instance = cloud.launch_one(&["InstanceType=t3.micro", &there]);
    assert_eq!(cloud.instance(&instance).get("ipAddress"), None);
    assert_eq!(cloud.refusal("DeleteSubnet", &[&there]), "DependencyViolation");
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={instance}")]);
    cloud.settle();
    cloud.call("DeleteSubnet", &[&there]);
    assert_eq!(cloud.refusal("DeleteSubnet", &[&there]), "InvalidSubnetID.NotFound");
}

#[test]
fn subnet_can_have_the_id_that_a_file_names() {
    let mut cloud = Cloud::new();
    let vpcs = cloud.call("DescribeVpcs", &[]);
    let vpc = format!("VpcId={}", vpcs.get("vpcSet/item/vpcId").unwrap());
    let tag = "TagSpecification.1.Tag.1";
    let of = |id: &str, block: &str| {
        [
            vpc.clone(),
            format!("CidrBlock={block}"),
            "TagSpecification.1.ResourceType=subnet".to_owned(),
            format!("{tag}.Key=elastane:id"),
            format!("{tag}.Value={id}"),
        ]
    };
    let mut create = |id: &str, block: &str| {
        let parameters = of(id, block);
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        cloud.try_call("CreateSubnet", &parameters)
    };
    let made = create("subnet-12121212", "172.31.0.192/28").unwrap();
    assert_eq!(made.get("subnet/subnetId"), Some("subnet-12121212"));
    let again = create("subnet-12121212", "172.31.0.208/28").unwrap_err();
    assert_eq!(again.0, "InvalidSubnet.Conflict");
    let wrong = create("net-1", "172.31.0.208/28").unwrap_err();
    assert_eq!(wrong.0, "InvalidSubnetID.Malformed");
    cloud.launch_one(&["InstanceType=t3.micro", "SubnetId=subnet-12121212"]);
}

#[test]
fn types_with_efa_are_found_by_filter() {
    let mut cloud = Cloud::new();
    let filter = ["Filter.1.Name=network-info.efa-supported", "Filter.1.Value.1=true"];
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let next = token.map(|token| format!("NextToken={token}"));
        let parameters: Vec<_> = filter.into_iter().chain(next.as_deref()).collect();
        let page = cloud.call("DescribeInstanceTypes", &parameters);
        let page_names = page.items("instanceTypeSet").filter_map(|item| item.get("instanceType"));
        names.extend(page_names.map(str::to_owned));
        token = page.get("nextToken").map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 303);
    assert!(names.iter().any(|name| name == "c5n.18xlarge"));
    let one = ["InstanceType.1=p4d.24xlarge"];
    let answer = cloud.call("DescribeInstanceTypes", &one);
    let found = answer.items("instanceTypeSet").next().unwrap();
    assert_eq!(found.get("networkInfo/efaInfo/maximumEfaInterfaces"), Some("4"));
    assert_eq!(found.items("networkInfo/networkCards").count(), 4);
    assert_eq!(found.get("gpuInfo/gpus/item/name"), Some("A100"));
    let unknown = ["InstanceType.1=t9.mega"];
    assert_eq!(cloud.refusal("DescribeInstanceTypes", &unknown), "InvalidInstanceType");
    let zones = [
        "LocationType=availability-zone",
        "Filter.1.Name=instance-type",
        "Filter.1.Value.1=t3.micro",
    ];
    let offered = cloud.call("DescribeInstanceTypeOfferings", &zones);
    assert_eq!(offered.items("instanceTypeOfferingSet").count(), 3);
}

#[test]
fn tags_are_made_shown_filtered_and_deleted() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let resource = format!("ResourceId.1={id}");
    cloud.call("CreateTags", &[&resource, "Tag.1.Key=Name", "Tag.1.Value=temporary"]);
    let by_tag = ["Filter.1.Name=tag:Name", "Filter.1.Value.1=temp*"];
    assert_eq!(cloud.call("DescribeInstances", &by_tag).items("reservationSet").count(), 1);
    let tags =
        cloud.call("DescribeTags", &["Filter.1.Name=resource-type", "Filter.1.Value.1=instance"]);
    assert_eq!(tags.get("tagSet/item/resourceId"), Some(id.as_str()));
    // Only the value that is given is deleted.
    cloud.call("DeleteTags", &[&resource, "Tag.1.Key=Name", "Tag.1.Value=other"]);
    assert_eq!(cloud.call("DescribeTags", &[]).items("tagSet").count(), 1);
    cloud.call("DeleteTags", &[&resource, "Tag.1.Key=Name"]);
    assert_eq!(cloud.call("DescribeTags", &[]).items("tagSet").count(), 0);
    for (parameters, code) in [
        (&["Tag.1.Key=a"][..], "MissingParameter"),
        (&[&resource], "MissingParameter"),
        (&[&resource, "Tag.1.Key=aws:x"], "InvalidParameterValue"),
        (&["ResourceId.1=i-00000000000000001", "Tag.1.Key=a"], "InvalidInstanceID.NotFound"),
        (&["ResourceId.1=what", "Tag.1.Key=a"], "InvalidID"),
    ] {
        assert_eq!(cloud.refusal("CreateTags", parameters), code, "{parameters:?}");
    }
}

#[test]
fn key_pairs_are_made_imported_and_deleted() {
    let mut cloud = Cloud::new();
    let made = cloud.call("CreateKeyPair", &["KeyName=one", "KeyType=ed25519"]);
    let material = made.get("keyMaterial").unwrap();
    let private = ssh_key::PrivateKey::from_openssh(material).unwrap();
    let public = private.public_key().to_openssh().unwrap();
    assert_eq!(cloud.refusal("CreateKeyPair", &["KeyName=one"]), "InvalidKeyPair.Duplicate");
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = format!("PublicKeyMaterial={}", STANDARD.encode(&public));
    let imported = cloud.call("ImportKeyPair", &["KeyName=two", &encoded]);
    assert_eq!(imported.get("keyFingerprint"), made.get("keyFingerprint"));
    for material in ["!!", "aGVsbG8="] {
        let encoded = format!("PublicKeyMaterial={material}");
        let code = cloud.refusal("ImportKeyPair", &["KeyName=three", &encoded]);
        assert_eq!(code, "InvalidKey.Format");
    }
    let names = ["KeyName.1=two", "IncludePublicKey=true"];
    let described = cloud.call("DescribeKeyPairs", &names);
    // The comment of a key is its pair's name.
    let renamed = public.replace(" one", " two");
    assert_eq!(described.get("keySet/item/publicKey"), Some(renamed.as_str()));
    cloud.call("DeleteKeyPair", &["KeyName=two"]);
    cloud.call("DeleteKeyPair", &["KeyName=two"]);
    let unknown = cloud.refusal("DescribeKeyPairs", &["KeyName.1=two"]);
    assert_eq!(unknown, "InvalidKeyPair.NotFound");
}

#[test]
fn rsa_key_opens_what_its_public_half_locks() {
    let mut cloud = Cloud::new();
    let made = cloud.call("CreateKeyPair", &["KeyName=rsa"]);
    let private = ssh_key::PrivateKey::from_openssh(made.get("keyMaterial").unwrap()).unwrap();
    let id = cloud.launch_one(&["InstanceType=t3.micro", "KeyName=rsa"]);
    let line = cloud.machines.notes().machines[&id].authorized_key.clone().unwrap();
    let public = ssh_key::PublicKey::from_openssh(&line).unwrap();
    assert_eq!(private.public_key().key_data(), public.key_data());
    assert!(line.starts_with("ssh-rsa ") && line.ends_with(" rsa"), "{line}");
}
