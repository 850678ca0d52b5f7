//! What there is none of in this cloud, and programs ask for all the same.

use super::{Action, Run};
use crate::ec2::{error::Answer, listing::Listing, service::Call};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "DescribeAddresses",
        parameters: &["PublicIp", "AllocationId", "Filter"],
        without_effect: &[],
        run: Run::Read(|_, call| none(&ADDRESSES, call)),
    },
    Action {
        name: "DescribeCapacityReservations",
        parameters: &["CapacityReservationId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(|_, call| none(&RESERVATIONS, call)),
    },
    Action {
        name: "DescribeNatGateways",
        parameters: &["NatGatewayId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(|_, call| none(&NAT_GATEWAYS, call)),
    },
    Action {
        name: "DescribeVolumes",
        parameters: &["VolumeId", "Filter", "MaxResults", "NextToken"],
        without_effect: &["IncludeManagedResources"],
        run: Run::Read(|_, call| none(&VOLUMES, call)),
    },
];

const ADDRESSES: Listing = Listing {
    set: "addressesSet",
    id: ("PublicIp", "publicIp"),
    names: &[("AllocationId", "allocationId")],
    not_found: "InvalidAddress.NotFound",
    what: "address",
    filters: &[
        ("allocation-id", "allocationId"),
        ("association-id", "associationId"),
        ("domain", "domain"),
        ("instance-id", "instanceId"),
        ("network-interface-id", "networkInterfaceId"),
        ("private-ip-address", "privateIpAddress"),
        ("public-ip", "publicIp"),
    ],
    page: None,
};

const RESERVATIONS: Listing = Listing {
    set: "capacityReservationSet",
    id: ("CapacityReservationId", "capacityReservationId"),
    names: &[],
    not_found: "InvalidCapacityReservationId.NotFound",
    what: "capacity reservation",
    filters: &[
        ("availability-zone", "availabilityZone"),
        ("instance-type", "instanceType"),
        ("placement-group-arn", "placementGroupArn"),
        ("state", "state"),
    ],
    page: None,
};

const NAT_GATEWAYS: Listing = Listing {
    set: "natGatewaySet",
    id: ("NatGatewayId", "natGatewayId"),
    names: &[],
    not_found: "NatGatewayNotFound",
    what: "NAT gateway",
    filters: &[
        ("nat-gateway-id", "natGatewayId"),
        ("state", "state"),
        ("subnet-id", "subnetId"),
        ("vpc-id", "vpcId"),
    ],
    page: None,
};

const VOLUMES: Listing = Listing {
    set: "volumeSet",
    id: ("VolumeId", "volumeId"),
    names: &[],
    not_found: "InvalidVolume.NotFound",
    what: "volume",
    filters: &[
        ("attachment.instance-id", "attachmentSet/item/instanceId"),
        ("availability-zone", "availabilityZone"),
        ("snapshot-id", "snapshotId"),
        ("status", "status"),
        ("volume-id", "volumeId"),
        ("volume-type", "volumeType"),
    ],
    page: None,
};

fn none(listing: &Listing, call: &Call<'_>) -> Answer {
    listing.answer(&call.parameters, Vec::new())
}
