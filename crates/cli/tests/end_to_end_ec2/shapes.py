"""The same calls to this cloud and to moto, a simulation of AWS by others: answers must have the
same shape. What only one of them has is listed below, with the reason; an entry that is not
needed any more fails as well."""

import os
import sys

import boto3
from moto import mock_aws

TYPE = "describe_instance_types.InstanceTypes[]"
RUN = "run_instances.Instances[]"
INSTANCE = "describe_instances.Reservations[].Instances[]"

# Where answers of moto begin that this cloud does not give, and why.
ONLY_MOTO = {
    "describe_subnets.Subnets[].PrivateDnsNameOptionsOnLaunch": "names follow from addresses",
    f"{TYPE}.VCpuInfo.Valid": "cores cannot be chosen",
    f"{TYPE}.InstanceStorageInfo": "there are no disks",
    f"{TYPE}.EbsInfo": "there are no volumes",
    f"{TYPE}.NetworkInfo.NetworkCards[].DefaultEnaQueueCountPerInterface": "no queues of ENA",
    f"{TYPE}.NetworkInfo.FlexibleEnaQueuesSupport": "no queues of ENA",
    f"{TYPE}.NetworkInfo.Ipv6": "there is no IPv6",
    f"{TYPE}.NetworkInfo.EncryptionInTransitSupported": "links are on one machine",
    f"{TYPE}.NetworkInfo.ConnectionTrackingConfiguration": "the kernel's own times hold",
    f"{TYPE}.NetworkInfo.SecondaryNetworkSupported": "there is one network",
    f"{TYPE}.GpuInfo.Gpus[].LogicalGpuCount": "not in the table of types",
    f"{TYPE}.GpuInfo.Gpus[].GpuPartitionSize": "not in the table of types",
    f"{TYPE}.GpuInfo.Gpus[].Workloads": "not in the table of types",
    f"{TYPE}.HibernationSupported": "instances are not hibernated",
    f"{TYPE}.DedicatedHostsSupported": "there are no dedicated hosts",
    f"{TYPE}.AutoRecoverySupported": "instances are not moved",
    f"{TYPE}.RebootMigrationSupport": "instances are not moved",
    f"{TYPE}.SupportedBootModes": "instances have no firmware",
    f"{TYPE}.NitroEnclavesSupport": "there are no enclaves",
    f"{TYPE}.NitroTpmSupport": "there are no modules of trust",
    f"{TYPE}.PhcSupport": "the clock is this machine's",
    f"{TYPE}.SupportedInRegion": "every type is",
    f"{RUN}.BlockDeviceMappings[]": "there are no volumes",
    f"{RUN}.SriovNetSupport": "there are no virtual functions",
    f"{RUN}.HibernationOptions": "instances are not hibernated",
    f"{RUN}.MetadataOptions": "there is no metadata service",
    f"{RUN}.Platform": "given for Windows only; moto's first image is one",
    f"{INSTANCE}.BlockDeviceMappings[]": "there are no volumes",
    f"{INSTANCE}.SriovNetSupport": "there are no virtual functions",
    f"{INSTANCE}.StateReason": "EC2 gives none of an instance that runs",
    f"{INSTANCE}.HibernationOptions": "instances are not hibernated",
    f"{INSTANCE}.MetadataOptions": "there is no metadata service",
    f"{INSTANCE}.Platform": "given for Windows only; moto's first image is one",
    "describe_network_interfaces.NetworkInterfaces[].RequesterId": "nobody else asks",
    "describe_images.Images[].BootMode": "instances have no firmware",
    "describe_images.Images[].Platform": "given for Windows only; moto's first image is one",
    "describe_snapshots.Snapshots[].StorageTier": "there is one",
}


def calls(ec2, image):
    """Makes the calls; yields the name and the answer of each."""
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    in_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    yield "describe_vpcs", ec2.describe_vpcs()
    yield "describe_subnets", ec2.describe_subnets(Filters=in_vpc)
    yield "describe_availability_zones", ec2.describe_availability_zones()
    yield "describe_regions", ec2.describe_regions(RegionNames=["eu-west-1"])
    yield "describe_route_tables", ec2.describe_route_tables(Filters=in_vpc)
    yield "describe_vpc_attribute", ec2.describe_vpc_attribute(
        VpcId=vpc, Attribute="enableDnsHostnames"
    )
    group = ec2.create_security_group(GroupName="efa", Description="efa", VpcId=vpc)
    yield "create_security_group", group
    group = group["GroupId"]
    itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    ssh["IpRanges"] = [{"CidrIp": "10.0.0.0/8", "Description": "office"}]
    yield "authorize_security_group_ingress", ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[*itself, ssh]
    )
    yield "authorize_security_group_egress", ec2.authorize_security_group_egress(
        GroupId=group, IpPermissions=itself
    )
    yield "describe_security_groups", ec2.describe_security_groups(GroupIds=[group])
    yield "create_key_pair", ec2.create_key_pair(KeyName="one", KeyType="ed25519")
    yield "describe_key_pairs", ec2.describe_key_pairs(KeyNames=["one"])
    yield "describe_instance_types", ec2.describe_instance_types(InstanceTypes=["p4d.24xlarge"])
    yield "describe_instance_type_offerings", ec2.describe_instance_type_offerings(
        Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}]
    )
    yield "create_launch_template", ec2.create_launch_template(
        LaunchTemplateName="nodes",
        LaunchTemplateData={"ImageId": image, "InstanceType": "c5n.18xlarge"},
    )
    yield "describe_launch_templates", ec2.describe_launch_templates()
    yield "describe_launch_template_versions", ec2.describe_launch_template_versions(
        LaunchTemplateName="nodes"
    )
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "temporary"}]}]
    run = ec2.run_instances(
        ImageId=image,
        InstanceType="c5n.18xlarge",
        MinCount=1,
        MaxCount=1,
        KeyName="one",
        SecurityGroupIds=[group],
        TagSpecifications=tags,
    )
    yield "run_instances", run
    ids = [run["Instances"][0]["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    yield "describe_instances", ec2.describe_instances(InstanceIds=ids)
    yield "describe_instance_status", ec2.describe_instance_status(InstanceIds=ids)
    yield "describe_network_interfaces", ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": ids}]
    )
    yield "describe_tags", ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": ids}])
    made = ec2.create_image(InstanceId=ids[0], Name="image", NoReboot=True)
    yield "create_image", made
    ec2.get_waiter("image_available").wait(ImageIds=[made["ImageId"]])
    yield "describe_images", ec2.describe_images(ImageIds=[made["ImageId"]])
    yield "describe_snapshots", ec2.describe_snapshots(OwnerIds=["self"])
    yield "stop_instances", ec2.stop_instances(InstanceIds=ids)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids)
    yield "start_instances", ec2.start_instances(InstanceIds=ids)
    ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    yield "terminate_instances", ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)


def shape(value, path=""):
    """The places in an answer, and what kind of thing is there."""
    if isinstance(value, dict):
        places = {path: "structure"}
        for name, part in value.items():
            if name not in ("ResponseMetadata", "NextToken"):
                places |= shape(part, f"{path}.{name}")
        return places
    if isinstance(value, list):
        places = {path: "list"}
        for part in value:
            places |= shape(part, f"{path}[]")
        return places
    return {path: type(value).__name__}


def main():
    endpoint = os.environ.pop("AWS_ENDPOINT_URL_EC2")
    region = os.environ["AWS_DEFAULT_REGION"]
    with mock_aws():
        ec2 = boto3.client("ec2", region_name=region)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        theirs = {name: shape(answer, name) for name, answer in calls(ec2, image)}
    ec2 = boto3.client("ec2", endpoint_url=endpoint)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ours = {name: shape(answer, name) for name, answer in calls(ec2, image)}
    wrong = []
    unused = set(ONLY_MOTO)
    for name, places in theirs.items():
        for place, kind in places.items():
            if place not in ours[name]:
                reason = [entry for entry in ONLY_MOTO if place.startswith(entry)]
                unused -= set(reason)
                if not reason:
                    wrong.append(f"{place}: missing, moto has a {kind}")
            elif ours[name][place] != kind:
                wrong.append(f"{place}: a {ours[name][place]}, moto has a {kind}")
    wrong += [f"{entry}: is listed as missing, and is there" for entry in sorted(unused)]
    print("\n".join(wrong) or f"{len(theirs)} answers have the same shape")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
