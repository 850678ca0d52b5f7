use super::*;

#[test]
fn everything_is_there_after_the_process_was_killed() {
    let mut cloud = Cloud::new();
    cloud.efa_group("efa");
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    cloud.call("CreateTags", &[&format!("ResourceId.1={id}"), "Tag.1.Key=a", "Tag.1.Value=b"]);
    let before = ["DescribeInstances", "DescribeSecurityGroups", "DescribeVpcs", "DescribeTags"]
        .map(|action| (action, cloud.call(action, &[]).without("requestId")));
    let credentials = cloud.service.credentials().clone();
    let mut cloud = cloud.reopened();
    assert_eq!(cloud.service.credentials(), &credentials);
    for (action, answer) in before {
        assert_eq!(cloud.call(action, &[]).without("requestId"), answer);
    }
    cloud.settle();
    assert_eq!(cloud.state(&id), "running");
}

#[test]
fn instances_whose_machine_is_gone_are_stopped_with_a_reason() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let mut cloud = cloud.reopened();
    cloud.machines.notes().health.clear();
    cloud.settle();
    let instance = cloud.instance(&id);
    assert_eq!(instance.get("instanceState/name"), Some("stopped"));
    assert_eq!(instance.get("stateReason/code"), Some("Server.InternalError"));
    cloud.call("StartInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    assert_eq!(cloud.state(&id), "running");
}

#[test]
fn instance_that_was_asked_for_is_started_by_the_next_process() {
    let mut cloud = Cloud::new();
    let image = format!("ImageId={BASE}");
    cloud.call("RunInstances", &[&image, "InstanceType=t3.micro", "MinCount=1", "MaxCount=1"]);
    let mut cloud = cloud.reopened();
    cloud.settle();
    assert_eq!(cloud.machines.notes().machines.len(), 1);
}

#[test]
fn damaged_file_is_an_error_and_stays() {
    let cloud = Cloud::new();
    let path = cloud.directory.path().join("ec2.json");
    for text in ["{", "{\"form\": 99}"] {
        std::fs::write(&path, text).unwrap();
        let opened = Service::open(cloud.settings.clone(), Box::new(cloud.machines.clone()));
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("ec2.json") && error.contains("move the file away"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn call_whose_records_cannot_be_kept_fails_and_changes_nothing() {
    let mut cloud = Cloud::new();
    cloud.settle();
    // A folder in the place of the new file makes writing fail, for root as well.
    let blocker = cloud.directory.path().join("ec2.json.new");
    std::fs::create_dir(&blocker).unwrap();
    let made = ["GroupName=web", "GroupDescription=d"];
    assert_eq!(cloud.refusal("CreateSecurityGroup", &made), "InternalError");
    std::fs::remove_dir(&blocker).unwrap();
    assert_eq!(cloud.call("DescribeSecurityGroups", &[]).items("securityGroupInfo").count(), 1);
}

#[test]
fn network_of_a_cloud_cannot_be_changed() {
    let cloud = Cloud::new();
    let network = "10.0.0.0/16".parse().unwrap();
    let settings = Settings { network, ..cloud.settings.clone() };
    let error = Service::open(settings, Box::new(cloud.machines.clone())).err().unwrap();
    assert!(error.to_string().contains("172.31.0.0/24, not 10.0.0.0/16"), "{error}");
}
