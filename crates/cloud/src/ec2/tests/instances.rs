use super::*;

#[test]
fn instance_runs_stops_starts_reboots_and_ends() {
    let mut cloud = Cloud::new();
    let image = format!("ImageId={BASE}");
    let run = [&image, "InstanceType=t3.micro", "MinCount=1", "MaxCount=1"];
    let tag = ["ResourceType=instance", "Tag.1.Key=Name", "Tag.1.Value=short-lived"]
        .map(|rest| format!("TagSpecification.1.{rest}"));
    let tag: Vec<_> = tag.iter().map(String::as_str).collect();
    let run = [&run[..], &tag].concat();
    let answer = cloud.call("RunInstances", &run);
    assert_eq!(answer.get("instancesSet/item/instanceState/name"), Some("pending"));
    let id = answer.get("instancesSet/item/instanceId").unwrap().to_owned();
    let only = format!("InstanceId.1={id}");
    cloud.settle();
    assert_eq!(cloud.state(&id), "running");
    let address = cloud.instance(&id).get("privateIpAddress").unwrap().to_owned();

    let stopped = cloud.call("StopInstances", &[&only]);
    assert_eq!(stopped.get("instancesSet/item/previousState/name"), Some("running"));
    assert_eq!(stopped.get("instancesSet/item/currentState/name"), Some("stopping"));
    assert_eq!(cloud.refusal("RebootInstances", &[&only]), "IncorrectInstanceState");
    cloud.settle();
    let instance = cloud.instance(&id);
    assert_eq!(instance.get("instanceState/code"), Some("80"));
    assert_eq!(instance.get("stateReason/code"), Some("Client.UserInitiatedShutdown"));
    assert_eq!(instance.get("privateIpAddress"), Some(address.as_str()));
    assert_eq!(instance.get("ipAddress"), None);

    let started = cloud.call("StartInstances", &[&only]);
    assert_eq!(started.get("instancesSet/item/previousState/name"), Some("stopped"));
    cloud.settle();
    assert_eq!(cloud.state(&id), "running");
    cloud.call("RebootInstances", &[&only]);
    cloud.settle();
    cloud.call("TerminateInstances", &[&only]);
    assert_eq!(cloud.state(&id), "shutting-down");
    cloud.settle();
    assert_eq!(cloud.state(&id), "terminated");
    assert_eq!(cloud.instance(&id).get("privateIpAddress"), None);
    assert_eq!(cloud.refusal("StartInstances", &[&only]), "IncorrectInstanceState");
    // Ending it again is no error; an hour later it is forgotten.
    cloud.call("TerminateInstances", &[&only]);
    cloud.now += Duration::from_secs(3600);
    cloud.settle();
    assert_eq!(cloud.refusal("TerminateInstances", &[&only]), "InvalidInstanceID.NotFound");
    assert_eq!(cloud.call("DescribeTags", &[]).items("tagSet").count(), 0);

    let asked: Vec<_> = cloud.machines.notes().asked.clone();
    let asked: Vec<_> = asked.iter().filter(|what| **what != "filter").collect();
    let word = |word: &str| format!("{word} {id}");
    let expected = ["start", "stop", "start", "stop", "start", "terminate"].map(word);
    assert_eq!(asked, expected.iter().collect::<Vec<_>>());
}

#[test]
fn one_unknown_id_leaves_the_others_alone() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let both = [&*format!("InstanceId.1={id}"), "InstanceId.2=i-00000000000000001"];
    for action in ["StopInstances", "TerminateInstances", "RebootInstances", "StartInstances"] {
        assert_eq!(cloud.refusal(action, &both), "InvalidInstanceID.NotFound");
        assert_eq!(cloud.refusal(action, &["InstanceId.1=x"]), "InvalidInstanceID.Malformed");
        assert_eq!(cloud.refusal(action, &[]), "MissingParameter");
    }
    assert_eq!(cloud.state(&id), "running");
}

#[test]
fn machine_that_dies_stops_or_ends_its_instance() {
    let mut cloud = Cloud::new();
    let stops = cloud.launch_one(&["InstanceType=t3.micro"]);
    let ends =
        cloud.launch_one(&["InstanceType=t3.micro", "InstanceInitiatedShutdownBehavior=terminate"]);
    cloud.machines.notes().health.clear();
    cloud.settle();
    assert_eq!(cloud.state(&stops), "stopped");
    assert_eq!(cloud.state(&ends), "terminated");
    let reason = cloud.instance(&stops);
    assert_eq!(reason.get("stateReason/code"), Some("Client.InstanceInitiatedShutdown"));
}

#[test]
fn machine_that_cannot_start_ends_its_instance_and_says_why() {
    let mut cloud = Cloud::new();
    cloud.machines.notes().broken = Some("start".to_owned());
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let instance = cloud.instance(&id);
    assert_eq!(instance.get("instanceState/name"), Some("terminated"));
    assert_eq!(instance.get("stateReason/code"), Some("Server.InternalError"));
    let message = instance.get("stateReason/message").unwrap();
    assert!(message.contains("broken"), "{message}");
    assert_eq!(
        cloud.call("DescribeNetworkInterfaces", &[]).items("networkInterfaceSet").count(),
        0
    );
}

#[test]
fn machine_that_cannot_be_ended_is_tried_again() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    cloud.machines.notes().broken = Some("terminate".to_owned());
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={id}")]);
    cloud.service.poll(cloud.now);
    assert_eq!(cloud.state(&id), "shutting-down");
    cloud.machines.notes().broken = None;
    cloud.settle();
    assert_eq!(cloud.state(&id), "terminated");
}

#[test]
fn status_is_initializing_until_the_instance_can_be_reached() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let status = |cloud: &mut Cloud, more: &[&str]| {
        let answer = cloud.call("DescribeInstanceStatus", more);
        let item = answer.items("instanceStatusSet").next()?;
        Some(item.get("instanceStatus/status").unwrap().to_owned())
    };
    assert_eq!(status(&mut cloud, &[]).as_deref(), Some("ok"));
    cloud.machines.notes().health.insert(id.clone(), Health::Starting);
    cloud.call("RebootInstances", &[&format!("InstanceId.1={id}")]);
    assert_eq!(status(&mut cloud, &[]).as_deref(), Some("initializing"));
    cloud.settle();
    cloud.call("StopInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    assert_eq!(status(&mut cloud, &[]), None);
    let all = status(&mut cloud, &["IncludeAllInstances=true"]);
    assert_eq!(all.as_deref(), Some("not-applicable"));
}

#[test]
fn console_is_what_the_machine_wrote() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let answer = cloud.call("GetConsoleOutput", &[&format!("InstanceId={id}")]);
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let output = STANDARD.decode(answer.get("output").unwrap()).unwrap();
    assert_eq!(output, format!("console of {id}").as_bytes());
}

#[test]
fn attributes_are_changed_where_the_state_allows() {
    let mut cloud = Cloud::new();
    let group = cloud.efa_group("efa");
    let id = cloud.launch_one(&["InstanceType=t3.micro"]);
    let only = format!("InstanceId={id}");
    let listed = format!("InstanceId.1={id}");
    cloud.call("ModifyInstanceAttribute", &[&only, "DisableApiTermination.Value=true"]);
    assert_eq!(cloud.refusal("TerminateInstances", &[&listed]), "OperationNotPermitted");
    cloud.call(
        "ModifyInstanceAttribute",
        &[&only, "Attribute=disableApiTermination", "Value=false"],
    );
    let attribute = ["Attribute=disableApiTermination", &only];
    let answer = cloud.call("DescribeInstanceAttribute", &attribute);
    assert_eq!(answer.get("disableApiTermination/value"), Some("false"));

    cloud.call("ModifyInstanceAttribute", &[&only, &format!("GroupId.1={group}")]);
    assert_eq!(cloud.instance(&id).get("groupSet/item/groupId"), Some(group.as_str()));
    let members = |cloud: &Cloud| {
        let notes = cloud.machines.notes();
        notes.policy.groups.iter().find(|g| g.id == group).unwrap().members.len()
    };
    assert_eq!(members(&cloud), 1);

    let larger = [&*only, "InstanceType.Value=c5n.18xlarge"];
    assert_eq!(cloud.refusal("ModifyInstanceAttribute", &larger), "IncorrectInstanceState");
    cloud.call("StopInstances", &[&listed]);
    cloud.settle();
    cloud.call("ModifyInstanceAttribute", &larger);
    assert_eq!(cloud.instance(&id).get("instanceType"), Some("c5n.18xlarge"));
}

#[test]
fn efa_is_attached_only_while_the_instance_is_stopped() {
    let mut cloud = Cloud::new();
    let id = cloud.launch_one(&["InstanceType=c5n.18xlarge"]);
    assert!(!cloud.machines.notes().machines[&id].efa);
    let subnet = cloud.instance(&id).get("subnetId").unwrap().to_owned();
    let made =
        cloud.call("CreateNetworkInterface", &[&format!("SubnetId={subnet}"), "InterfaceType=efa"]);
    let eni = made.get("networkInterface/networkInterfaceId").unwrap().to_owned();
    assert_eq!(made.get("networkInterface/status"), Some("available"));
    let attach =
        [format!("InstanceId={id}"), format!("NetworkInterfaceId={eni}"), "DeviceIndex=1".into()];
    let attach: Vec<_> = attach.iter().map(String::as_str).collect();
    assert_eq!(cloud.refusal("AttachNetworkInterface", &attach), "IncorrectInstanceState");
    cloud.call("StopInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    let attachment = cloud.call("AttachNetworkInterface", &attach);
    let attachment = format!("AttachmentId={}", attachment.get("attachmentId").unwrap());
    assert_eq!(cloud.refusal("AttachNetworkInterface", &attach), "InvalidNetworkInterface.InUse");
    cloud.call("StartInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    let machine = cloud.machines.notes().machines[&id].clone();
    assert!(machine.efa);
    assert_eq!(machine.more_addresses.len(), 1);
    assert_eq!(cloud.refusal("DetachNetworkInterface", &[&attachment]), "IncorrectInstanceState");
    let delete = [&*format!("NetworkInterfaceId={eni}")];
    assert_eq!(cloud.refusal("DeleteNetworkInterface", &delete), "InvalidParameterValue");
    // It was not made with the instance and does not end with it.
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={id}")]);
    cloud.settle();
    cloud.call("DeleteNetworkInterface", &delete);
    let code = cloud.refusal("DeleteNetworkInterface", &delete);
    assert_eq!(code, "InvalidNetworkInterfaceID.NotFound");
}
