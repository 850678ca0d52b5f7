use super::*;

#[test]
fn call_signed_with_another_key_is_refused() {
    let mut cloud = Cloud::new();
    let stranger = Credentials::random().unwrap();
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    let request = cloud.request(body, &stranger, "us-east-1");
    assert_eq!(cloud.send(&request).unwrap_err().0, "AuthFailure");
}

#[test]
fn unsigned_and_old_calls_are_refused() {
    let mut cloud = Cloud::new();
    let owner = cloud.service.credentials().clone();
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    let mut request = cloud.request(body, &owner, "us-east-1");
    cloud.now += Duration::from_secs(301);
    assert_eq!(cloud.send(&request).unwrap_err().0, "RequestExpired");
    request.headers_mut().remove("authorization");
    assert_eq!(cloud.send(&request).unwrap_err().0, "MissingAuthenticationToken");
}

#[test]
fn cloud_is_the_region_it_is_asked_as() {
    let mut cloud = Cloud::new();
    let owner = cloud.service.credentials().clone();
    let body = "Action=DescribeAvailabilityZones&Version=2016-11-15";
    let request = cloud.request(body, &owner, "eu-west-1");
    let zones = cloud.send(&request).unwrap();
    let names: Vec<_> =
        zones.items("availabilityZoneInfo").filter_map(|zone| zone.get("zoneName")).collect();
    assert_eq!(names, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    let request = cloud.request(body, &owner, "nowhere");
    assert_eq!(cloud.send(&request).unwrap_err().0, "AuthFailure");
}

#[test]
fn unknown_actions_versions_parameters_and_places_are_named() {
    let mut cloud = Cloud::new();
    let (code, message) = cloud.try_call("LaunchRockets", &[]).unwrap_err();
    assert_eq!(code, "InvalidAction");
    assert!(message.contains("LaunchRockets"), "{message}");
    let (code, message) = cloud.try_call("DescribeVpcs", &["VpcIds.1=vpc-1"]).unwrap_err();
    assert_eq!(code, "UnknownParameter");
    assert!(message.contains("VpcIds"), "{message}");
    let owner = cloud.service.credentials().clone();
    let request = cloud.request("Action=DescribeVpcs&Version=2006-06-26", &owner, "us-east-1");
    assert_eq!(cloud.send(&request).unwrap_err().0, "NoSuchVersion");
    let request = cloud.request("Version=2016-11-15", &owner, "us-east-1");
    assert_eq!(cloud.send(&request).unwrap_err().0, "MissingAction");
}

#[test]
fn dry_run_checks_and_changes_nothing() {
    let mut cloud = Cloud::new();
    let image = format!("ImageId={BASE}");
    let mut dry = vec![image.as_str(), "MinCount=1", "MaxCount=1", "InstanceType=t3.micro"];
    dry.push("DryRun=true");
    assert_eq!(cloud.refusal("RunInstances", &dry), "DryRunOperation");
    assert_eq!(cloud.refusal("DescribeVpcs", &["DryRun=true"]), "DryRunOperation");
    dry.push("KeyName=none");
    assert_eq!(cloud.refusal("RunInstances", &dry), "InvalidKeyPair.NotFound");
    cloud.settle();
    assert_eq!(cloud.call("DescribeInstances", &[]).items("reservationSet").count(), 0);
    let free = cloud.call("DescribeSubnets", &[]);
    let free: Vec<_> =
        free.items("subnetSet").filter_map(|s| s.get("availableIpAddressCount")).collect();
    assert_eq!(free, ["59", "59", "59"]);
}

#[test]
fn answer_has_namespace_request_id_and_content_type() {
    let mut cloud = Cloud::new();
    let owner = cloud.service.credentials().clone();
    let request = cloud.request("Action=DescribeVpcs", &owner, "us-east-1");
    let response = cloud.service.answer(&request, cloud.now);
    assert_eq!(response.headers()["content-type"], "text/xml;charset=UTF-8");
    let text = String::from_utf8(response.into_body()).unwrap();
    let root = "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">";
    assert!(text.contains(root), "{text}");
    assert_eq!(Element::parse(&text).unwrap().get("requestId").map(str::len), Some(36));
}
