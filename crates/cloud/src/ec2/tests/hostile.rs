use proptest::prelude::*;

use super::*;
use crate::ec2::actions;

/// A parameter: a name that the action has, perhaps with more after it, and some value.
fn parameter(names: Vec<&'static str>) -> impl Strategy<Value = (String, String)> {
    let below = prop_oneof![
        Just(""),
        Just(".1"),
        Just(".2"),
        Just(".0"),
        Just(".99999999999"),
        Just(".Value"),
        Just(".1.Value.1"),
        Just(".1.Name"),
        Just(".1.DeviceIndex"),
        Just(".1.InterfaceType"),
        Just(".1.IpProtocol"),
        Just(".1.FromPort"),
        Just(".1.IpRanges.1.CidrIp"),
        Just(".1.Groups.1.GroupId"),
        Just(".1.Key"),
        Just(".1.ResourceType"),
        Just(".GroupName"),
        Just(".PartitionNumber"),
        Just(".InstanceType"),
        Just(".LaunchTemplateName"),
        Just("."),
    ];
    let value = prop_oneof![
        Just(String::new()),
        Just("1".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("true".to_owned()),
        Just("tcp".to_owned()),
        Just("efa".to_owned()),
        Just("t3.micro".to_owned()),
        Just("near".to_owned()),
        Just("nodes".to_owned()),
        Just("default".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("instance".to_owned()),
        Just("$Latest".to_owned()),
        Just(BASE.to_owned()),
        // A place in the list of ids there are.
        (0usize..20).prop_map(|index| format!("#{index}")),
        any::<String>(),
    ];
    (prop::sample::select(names), below, value)
        .prop_map(|(name, below, value)| (format!("{name}{below}"), value))
}

fn any_call() -> impl Strategy<Value = (&'static str, Vec<(String, String)>)> {
    let actions: Vec<_> = actions::all().collect();
    prop::sample::select(actions).prop_flat_map(|action| {
        let names = [action.parameters, action.without_effect, &["DryRun"]].concat();
        (Just(action.name), prop::collection::vec(parameter(names), 0..8))
    })
}

/// A cloud with something of each kind, and the ids of it all.
fn inhabited() -> (Cloud, Vec<String>) {
    let mut cloud = Cloud::new();
    cloud.call("CreatePlacementGroup", &["GroupName=near"]);
    let group = cloud.efa_group("efa");
    let image = format!("LaunchTemplateData.ImageId={BASE}");
    cloud.call("CreateLaunchTemplate", &["LaunchTemplateName=nodes", &image]);
    let id = cloud.launch_one(&["InstanceType=t3.micro", &format!("SecurityGroupId.1={group}")]);
    cloud.call("CreateImage", &[&format!("InstanceId={id}"), "Name=image", "NoReboot=true"]);
    cloud.settle();
    let mut ids = vec![id, group];
    for (action, set, path) in [
        ("DescribeVpcs", "vpcSet", "vpcId"),
        ("DescribeSubnets", "subnetSet", "subnetId"),
        ("DescribeImages", "imagesSet", "imageId"),
        ("DescribeSnapshots", "snapshotSet", "snapshotId"),
        ("DescribeNetworkInterfaces", "networkInterfaceSet", "networkInterfaceId"),
        ("DescribeLaunchTemplates", "launchTemplates", "launchTemplateId"),
        ("DescribePlacementGroups", "placementGroupSet", "groupId"),
    ] {
        let answer = cloud.call(action, &[]);
        ids.extend(answer.items(set).filter_map(|item| item.get(path)).map(str::to_owned));
    }
    (cloud, ids)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is asked, the answer is a document, a refused call changes nothing, and what is
    /// recorded can be read again.
    #[test]
    fn any_calls_are_answered_or_refused(calls in prop::collection::vec(any_call(), 1..24)) {
        let (mut cloud, ids) = inhabited();
        for (action, parameters) in calls {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.append_pair("Action", action);
            for (name, value) in &parameters {
                let id = value.strip_prefix('#').and_then(|index| index.parse::<usize>().ok());
                let value = id.and_then(|index| ids.get(index)).unwrap_or(value);
                body.append_pair(name, value);
            }
            let credentials = cloud.service.credentials().clone();
            let request = cloud.request(&body.finish(), &credentials, "us-east-1");
            let before = cloud.service.records().clone();
            match cloud.send(&request) {
                Ok(answer) => prop_assert!(answer.get("requestId").is_some()),
                Err((code, _)) => {
                    prop_assert!(code != "InternalError");
                    prop_assert_eq!(cloud.service.records(), &before);
                }
            }
            cloud.now += Duration::from_millis(20);
            cloud.service.poll(cloud.now);
        }
        let records = cloud.service.records().clone();
        let cloud = cloud.reopened();
        prop_assert_eq!(cloud.service.records(), &records);
    }
}
