use super::*;
use crate::machines::{Group, Peer, Rule, Traffic};

#[test]
fn self_reference_comes_back_as_it_was_given() {
    let mut cloud = Cloud::new();
    let id = cloud.efa_group("efa");
    let answer = cloud.call("DescribeSecurityGroups", &[&format!("GroupId.1={id}")]);
    let group = answer.items("securityGroupInfo").next().unwrap();
    for list in ["ipPermissions", "ipPermissionsEgress"] {
        let rule = group.items(list).next().unwrap();
        assert_eq!(rule.get("ipProtocol"), Some("-1"));
        assert_eq!(rule.get("fromPort"), None);
        assert_eq!(rule.get("groups/item/groupId"), Some(id.as_str()));
    }
    // The rule that lets everything out was there before.
    let everywhere = group.get("ipPermissionsEgress/item/ipRanges/item/cidrIp");
    assert_eq!(everywhere, Some("0.0.0.0/0"));
}

#[test]
fn rules_hold_as_soon_as_the_call_is_answered() {
    let mut cloud = Cloud::new();
    let id = cloud.efa_group("efa");
    let instance = cloud.launch_one(&["InstanceType=t3.micro", &format!("SecurityGroupId.1={id}")]);
    let address = cloud.machines.notes().machines[&instance].address;
    let all = Rule { traffic: Traffic::All, peer: Peer::Group(id.clone()) };
    let out = Rule { traffic: Traffic::All, peer: Peer::Network("0.0.0.0/0".parse().unwrap()) };
    let expected = Group {
        id: id.clone(),
        members: vec![address],
        ingress: vec![all.clone()],
        egress: vec![out, all.clone()],
    };
    let of = |cloud: &Cloud| {
        cloud.machines.notes().policy.groups.iter().find(|group| group.id == id).cloned()
    };
    assert_eq!(of(&cloud), Some(expected.clone()));
    let group = format!("GroupId={id}");
    let ssh = [
        group.as_str(),
        "IpPermissions.1.IpProtocol=tcp",
        "IpPermissions.1.FromPort=22",
        "IpPermissions.1.ToPort=22",
        "IpPermissions.1.IpRanges.1.CidrIp=10.1.2.3/8",
        "IpPermissions.1.IpRanges.1.Description=the office",
    ];
    cloud.call("AuthorizeSecurityGroupIngress", &ssh);
    let office = Peer::Network("10.0.0.0/8".parse().unwrap());
    let rule = Rule { traffic: Traffic::Tcp { first: 22, last: 22 }, peer: office };
    assert_eq!(of(&cloud).unwrap().ingress, [all, rule]);
    cloud.call("RevokeSecurityGroupIngress", &ssh);
    assert_eq!(of(&cloud), Some(expected));
}

#[test]
fn group_that_the_filter_refuses_is_not_recorded() {
    let mut cloud = Cloud::new();
    cloud.settle();
    cloud.machines.notes().broken = Some("filter".to_owned());
    let made = ["GroupName=web", "GroupDescription=d"];
    assert_eq!(cloud.refusal("CreateSecurityGroup", &made), "InternalError");
    cloud.machines.notes().broken = None;
    assert_eq!(cloud.call("DescribeSecurityGroups", &[]).items("securityGroupInfo").count(), 1);
    cloud.call("CreateSecurityGroup", &made);
}

#[test]
fn wrong_rules_and_groups_are_refused_with_ec2s_codes() {
    let mut cloud = Cloud::new();
    let id = cloud.efa_group("efa");
    let group = format!("GroupId={id}");
    let own = format!("IpPermissions.1.Groups.1.GroupId={id}");
    let unknown = "IpPermissions.1.Groups.1.GroupId=sg-00000000000000001";
    let all = "IpPermissions.1.IpProtocol=-1";
    let (tcp, world) =
        ("IpPermissions.1.IpProtocol=tcp", "IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0");
    let ports = |from: &'static str, to: &'static str| [from, to];
    let ingress: &[(&[&str], &str)] = &[
        (&[all, &own], "InvalidPermission.Duplicate"),
        (&[all, unknown], "InvalidGroup.NotFound"),
        (&[all], "InvalidParameterValue"),
        (&[], "MissingParameter"),
        (&[tcp, world], "InvalidParameterValue"),
        (
            &[
                &[tcp, world],
                &ports("IpPermissions.1.FromPort=90", "IpPermissions.1.ToPort=80")[..],
            ]
            .concat(),
            "InvalidParameterValue",
        ),
        (&["IpPermissions.1.IpProtocol=smoke", world], "InvalidParameterValue"),
        (&[all, "IpPermissions.1.IpRanges.1.CidrIp=300.0.0.0/8"], "InvalidParameterValue"),
    ];
    for (parameters, code) in ingress {
        let parameters = [&[group.as_str()], *parameters].concat();
        assert_eq!(cloud.refusal("AuthorizeSecurityGroupIngress", &parameters), *code);
    }
    let none = [&group, all, world];
    assert_eq!(cloud.refusal("RevokeSecurityGroupIngress", &none), "InvalidPermission.NotFound");
    for (name, code) in [("efa", "InvalidGroup.Duplicate"), ("sg-x", "InvalidParameterValue")] {
        let parameters = [&*format!("GroupName={name}"), "GroupDescription=d"];
        assert_eq!(cloud.refusal("CreateSecurityGroup", &parameters), code);
    }
    let unknown = "GroupId=sg-00000000000000001";
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &[unknown]), "InvalidGroup.NotFound");
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &["GroupId=web"]), "InvalidGroupId.Malformed");
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &["GroupName=default"]), "CannotDelete");
}

#[test]
fn group_in_use_cannot_be_deleted() {
    let mut cloud = Cloud::new();
    let id = cloud.efa_group("efa");
    let group = format!("GroupId={id}");
    let instance = cloud.launch_one(&["InstanceType=t3.micro", &format!("SecurityGroupId.1={id}")]);
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &[&group]), "DependencyViolation");
    cloud.call("TerminateInstances", &[&format!("InstanceId.1={instance}")]);
    // It is shutting down: its interface is still there.
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &[&group]), "DependencyViolation");
    cloud.settle();
    let other = cloud.call("CreateSecurityGroup", &["GroupName=other", "GroupDescription=d"]);
    let other = format!("GroupId={}", other.get("groupId").unwrap());
    let peer = format!("IpPermissions.1.Groups.1.GroupId={id}");
    cloud.call("AuthorizeSecurityGroupIngress", &[&other, "IpPermissions.1.IpProtocol=-1", &peer]);
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &[&group]), "DependencyViolation");
    cloud.call("DeleteSecurityGroup", &[&other]);
    cloud.call("DeleteSecurityGroup", &[&group]);
    assert_eq!(cloud.refusal("DeleteSecurityGroup", &[&group]), "InvalidGroup.NotFound");
}

#[test]
fn rules_can_be_listed_and_revoked_by_id() {
    let mut cloud = Cloud::new();
    let id = cloud.efa_group("efa");
    let of_group = ["Filter.1.Name=group-id", &format!("Filter.1.Value.1={id}")];
    let rules = cloud.call("DescribeSecurityGroupRules", &of_group);
    let ingress: Vec<_> = rules
        .items("securityGroupRuleSet")
        .filter(|rule| rule.get("isEgress") == Some("false"))
        .map(|rule| rule.get("securityGroupRuleId").unwrap())
        .collect();
    let [rule] = ingress[..] else { panic!("{rules:?}") };
    let revoke = [&*format!("GroupId={id}"), &format!("SecurityGroupRuleId.1={rule}")];
    cloud.call("RevokeSecurityGroupIngress", &revoke);
    let code = cloud.refusal("RevokeSecurityGroupIngress", &revoke);
    assert_eq!(code, "InvalidSecurityGroupRuleId.NotFound");
}
