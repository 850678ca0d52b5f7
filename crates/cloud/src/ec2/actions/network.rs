//! The network that is there from the start, its subnets, and where all of it is.

use ipnet::Ipv4Net;

use super::{Action, Run, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{OWNER, Records, Subnet},
        region::{self, REGIONS, ZONES},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "DescribeRegions",
        parameters: &["RegionName", "Filter"],
        without_effect: &["AllRegions"],
        run: Run::Read(regions),
    },
    Action {
        name: "DescribeAvailabilityZones",
        parameters: &["ZoneName", "ZoneId", "Filter"],
        without_effect: &["AllAvailabilityZones"],
        run: Run::Read(zones),
    },
    Action {
        name: "DescribeVpcs",
        parameters: &["VpcId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(vpcs),
    },
    Action {
        name: "DescribeVpcAttribute",
        parameters: &["VpcId", "Attribute"],
        without_effect: &[],
        run: Run::Read(vpc_attribute),
    },
    Action {
        name: "DescribeSubnets",
        parameters: &["SubnetId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(subnets),
    },
    Action {
        name: "CreateSubnet",
        parameters: &[
            "VpcId",
            "CidrBlock",
            "AvailabilityZone",
            "AvailabilityZoneId",
            "TagSpecification",
        ],
        without_effect: &[],
        run: Run::Change(create_subnet),
    },
    Action {
        name: "DeleteSubnet",
        parameters: &["SubnetId"],
        without_effect: &[],
        run: Run::Change(delete_subnet),
    },
    Action {
        name: "DescribeRouteTables",
        parameters: &["RouteTableId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(route_tables),
    },
    Action {
        name: "DescribeInternetGateways",
        parameters: &["InternetGatewayId", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(gateways),
    },
];

/// A tag that says which id a new subnet is to have: files of other people name subnets.
const WISHED_ID: &str = "elastane:id";

/// The addresses of a subnet that EC2 keeps: the first four and the last.
pub(super) const RESERVED: u32 = 5;

fn regions(_: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "regionInfo",
        id: ("RegionName", "regionName"),
        names: &[],
        not_found: "InvalidParameterValue",
        what: "region",
        filters: &[
            ("endpoint", "regionEndpoint"),
            ("opt-in-status", "optInStatus"),
            ("region-name", "regionName"),
        ],
        page: None,
    };
    // The region of the call is one too, whatever its name.
    let other = Some(call.region).filter(|name| !REGIONS.contains(name));
    let item = |name: &str| {
        Element::new("item")
            .field("regionName", name)
            .field("regionEndpoint", format!("ec2.{name}.amazonaws.com"))
            .field("optInStatus", "opt-in-not-required")
    };
    LISTING.answer(&call.parameters, REGIONS.into_iter().chain(other).map(item).collect())
}

fn zones(_: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "availabilityZoneInfo",
        id: ("ZoneName", "zoneName"),
        names: &[("ZoneId", "zoneId")],
        not_found: "InvalidParameterValue",
        what: "availability zone",
        filters: &[
            ("group-name", "groupName"),
            ("opt-in-status", "optInStatus"),
            ("region-name", "regionName"),
            ("state", "zoneState"),
            ("zone-id", "zoneId"),
            ("zone-name", "zoneName"),
            ("zone-type", "zoneType"),
        ],
        page: None,
    };
    let item = |zone: char| {
        Element::new("item")
            .field("zoneName", region::zone_name(call.region, zone))
            .field("zoneId", region::zone_id(call.region, zone))
            .field("zoneState", "available")
            .field("regionName", call.region)
            .field("zoneType", "availability-zone")
            .field("groupName", call.region)
            .field("networkBorderGroup", call.region)
            .field("optInStatus", "opt-in-not-required")
            .list("messageSet", [])
    };
    LISTING.answer(&call.parameters, ZONES.into_iter().map(item).collect())
}

fn vpcs(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "vpcSet",
        id: ("VpcId", "vpcId"),
        names: &[],
        not_found: "InvalidVpcID.NotFound",
        what: "vpc ID",
        filters: &[
            ("cidr", "cidrBlock"),
            ("cidr-block-association.cidr-block", "cidrBlockAssociationSet/item/cidrBlock"),
            ("is-default", "isDefault"),
            ("isDefault", "isDefault"),
            ("owner-id", "ownerId"),
            ("state", "state"),
            ("vpc-id", "vpcId"),
        ],
        page: None,
    };
    let vpc = &cloud.records.vpc;
    let block = Element::new("")
        .field("cidrBlock", vpc.network)
        .field("associationId", vpc.id.replacen("vpc", "vpc-cidr-assoc", 1))
        .with(Element::new("cidrBlockState").field("state", "associated"));
    let item = Element::new("item")
        .field("vpcId", &vpc.id)
        .field("ownerId", OWNER)
        .field("state", "available")
        .field("cidrBlock", vpc.network)
        .list("cidrBlockAssociationSet", [block])
        .list("ipv6CidrBlockAssociationSet", [])
        .field("dhcpOptionsId", "default")
        .field("instanceTenancy", "default")
        .field("isDefault", true)
        .list("tagSet", tags::items(&cloud.records, &vpc.id));
    LISTING.answer(&call.parameters, vec![item])
}

/// That the VPC a call names is the one there is.
pub(super) fn check_vpc(records: &Records, id: Option<&str>) -> Result<(), ApiError> {
    match id {
        Some(id) if id != records.vpc.id => Err(ids::unknown("InvalidVpcID", "vpc", "vpc", id)),
        _ => Ok(()),
    }
}

fn vpc_attribute(cloud: &Cloud, call: &Call<'_>) -> Answer {
    check_vpc(&cloud.records, Some(call.parameters.required("VpcId")?))?;
    let attribute = call.parameters.required("Attribute")?;
    let value = match attribute {
        "enableDnsSupport" | "enableDnsHostnames" => true,
        "enableNetworkAddressUsageMetrics" => false,
        _ => {
            let wanted = "Expected enableDnsSupport, enableDnsHostnames or \
                          enableNetworkAddressUsageMetrics";
            return Err(call.parameters.invalid("Attribute", attribute, wanted));
        }
    };
    let value = Element::new(attribute.to_owned()).field("value", value);
    Ok(Element::new("").field("vpcId", &cloud.records.vpc.id).with(value))
}

fn subnets(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "subnetSet",
        id: ("SubnetId", "subnetId"),
        names: &[],
        not_found: "InvalidSubnetID.NotFound",
        what: "subnet ID",
        filters: &[
            ("availability-zone", "availabilityZone"),
            ("availabilityZone", "availabilityZone"),
            ("availability-zone-id", "availabilityZoneId"),
            ("availabilityZoneId", "availabilityZoneId"),
            ("available-ip-address-count", "availableIpAddressCount"),
            ("cidr", "cidrBlock"),
            ("cidr-block", "cidrBlock"),
            ("cidrBlock", "cidrBlock"),
            ("default-for-az", "defaultForAz"),
            ("defaultForAz", "defaultForAz"),
            ("map-public-ip-on-launch", "mapPublicIpOnLaunch"),
            ("owner-id", "ownerId"),
            ("state", "state"),
            ("subnet-arn", "subnetArn"),
            ("subnet-id", "subnetId"),
            ("vpc-id", "vpcId"),
        ],
        page: None,
    };
    let subnets = cloud.records.subnets.iter();
    let items = subnets.map(|(id, subnet)| subnet_item(&cloud.records, call.region, id, subnet));
    let mut items: Vec<_> = items.collect();
    items.sort_by_key(|item| item.get("availabilityZone").unwrap_or_default().to_owned());
    LISTING.answer(&call.parameters, items)
}

/// How many addresses of a subnet are free.
pub(super) fn free_addresses(records: &Records, subnet: &Subnet) -> usize {
    let size = 1_usize << (32 - u32::from(subnet.network.prefix_len()));
    let taken = records.addresses().into_iter().filter(|a| subnet.network.contains(a)).count();
    size.saturating_sub(RESERVED as usize + taken)
}

fn subnet_item(records: &Records, region: &str, id: &str, subnet: &Subnet) -> Element {
    Element::new("item")
        .field("subnetId", id)
        .field("subnetArn", format!("arn:aws:ec2:{region}:{OWNER}:subnet/{id}"))
        .field("state", "available")
        .field("ownerId", OWNER)
        .field("vpcId", &records.vpc.id)
        .field("cidrBlock", subnet.network)
        .list("ipv6CidrBlockAssociationSet", [])
        .field("availableIpAddressCount", free_addresses(records, subnet))
        .field("availabilityZone", region::zone_name(region, subnet.zone))
        .field("availabilityZoneId", region::zone_id(region, subnet.zone))
        .field("defaultForAz", subnet.default)
        .field("mapPublicIpOnLaunch", subnet.public)
        .field("assignIpv6AddressOnCreation", false)
        .field("mapCustomerOwnedIpOnLaunch", false)
        .field("enableDns64", false)
        .field("ipv6Native", false)
        .list("tagSet", tags::items(records, id))
}

fn create_subnet(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let parameters = &call.parameters;
    let records = &mut cloud.records;
    check_vpc(records, Some(parameters.required("VpcId")?))?;
    let block = parameters.required("CidrBlock")?;
    let network: Ipv4Net = block
        .parse()
        .map_err(|_| parameters.invalid("CidrBlock", block, "This is not a valid CIDR block."))?;
    let network = network.trunc();
    if !records.vpc.network.contains(&network) || network.prefix_len() > 28 {
        let message = format!(
            "The CIDR '{network}' is invalid: it must lie in {} and be a /28 at least",
            records.vpc.network
        );
        return Err(ApiError::new("InvalidSubnet.Range", message));
    }
    if let Some(other) = records.subnets.values().find(|s| overlap(s.network, network)) {
        let other = other.network;
        let message =
            format!("The CIDR '{network}' conflicts with another subnet, which has {other}");
        return Err(ApiError::new("InvalidSubnet.Conflict", message));
    }
    let zone = match (parameters.text("AvailabilityZone"), parameters.text("AvailabilityZoneId")) {
        (None, None) => ZONES[0],
        (Some(name), None) => region::zone_of(call.region, name)
            .ok_or_else(|| parameters.invalid("AvailabilityZone", name, "No such zone"))?,
        (None, Some(id)) => ZONES
            .into_iter()
            .find(|zone| region::zone_id(call.region, *zone) == id)
            .ok_or_else(|| parameters.invalid("AvailabilityZoneId", id, "No such zone"))?,
        (Some(_), Some(_)) => {
            return Err(ApiError::combination("Give a zone's name or its id, not both"));
        }
    };
    let tags = tags::Specifications::parse(parameters, &["subnet"])?;
    let id = match tags.value("subnet", WISHED_ID) {
        None => ids::new("subnet")?,
        Some(id) if !ids::is_id("subnet", id) => {
            return Err(ids::unknown("InvalidSubnetID", "subnet", "subnet", id));
        }
        Some(id) if records.subnets.contains_key(id) => {
            let message = format!("There is a subnet '{id}' already");
            return Err(ApiError::new("InvalidSubnet.Conflict", message));
        }
        Some(id) => id.to_owned(),
    };
    tags.apply(records, "subnet", &id)?;
    let subnet = Subnet { network, zone, default: false, public: false, last: None };
    records.subnets.insert(id.clone(), subnet.clone());
    let item = subnet_item(records, call.region, &id, &subnet);
    Ok(Element::new("").with(Element::new("subnet").extended(item)))
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn delete_subnet(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let id = call.parameters.required("SubnetId")?;
    let records = &mut cloud.records;
    if !records.subnets.contains_key(id) {
        return Err(ids::unknown("InvalidSubnetID", "subnet", "subnet", id));
    }
    if let Some((user, _)) = records.interfaces.iter().find(|(_, i)| i.subnet == id) {
        let message = format!("The subnet '{id}' has dependencies and cannot be deleted: {user}");
        return Err(ApiError::in_use(message));
    }
    records.subnets.remove(id);
    records.tags.remove(id);
    Ok(Element::new("").field("return", true))
}

fn route_tables(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "routeTableSet",
        id: ("RouteTableId", "routeTableId"),
        names: &[],
        not_found: "InvalidRouteTableID.NotFound",
        what: "routeTable ID",
        filters: &[
            ("association.main", "associationSet/item/main"),
            ("association.route-table-id", "associationSet/item/routeTableId"),
            ("association.subnet-id", "associationSet/item/subnetId"),
            ("owner-id", "ownerId"),
            ("route-table-id", "routeTableId"),
            ("route.destination-cidr-block", "routeSet/item/destinationCidrBlock"),
            ("route.gateway-id", "routeSet/item/gatewayId"),
            ("route.state", "routeSet/item/state"),
            ("vpc-id", "vpcId"),
        ],
        page: None,
    };
    let vpc = &cloud.records.vpc;
    let route = |to: String, gateway: &str, origin: &str| {
        Element::new("")
            .field("destinationCidrBlock", to)
            .field("gatewayId", gateway)
            .field("state", "active")
            .field("origin", origin)
    };
    let local = route(vpc.network.to_string(), "local", "CreateRouteTable");
    let out = route("0.0.0.0/0".to_owned(), &vpc.gateway, "CreateRoute");
    let main = Element::new("")
        .field("routeTableAssociationId", vpc.route_table.replacen("rtb", "rtbassoc", 1))
        .field("routeTableId", &vpc.route_table)
        .field("main", true)
        .with(Element::new("associationState").field("state", "associated"));
    let item = Element::new("item")
        .field("routeTableId", &vpc.route_table)
        .field("vpcId", &vpc.id)
        .field("ownerId", OWNER)
        .list("routeSet", [local, out])
        .list("associationSet", [main])
        .list("propagatingVgwSet", [])
        .list("tagSet", tags::items(&cloud.records, &vpc.route_table));
    LISTING.answer(&call.parameters, vec![item])
}

fn gateways(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "internetGatewaySet",
        id: ("InternetGatewayId", "internetGatewayId"),
        names: &[],
        not_found: "InvalidInternetGatewayID.NotFound",
        what: "internetGateway ID",
        filters: &[
            ("attachment.state", "attachmentSet/item/state"),
            ("attachment.vpc-id", "attachmentSet/item/vpcId"),
            ("internet-gateway-id", "internetGatewayId"),
            ("owner-id", "ownerId"),
        ],
        page: None,
    };
    let vpc = &cloud.records.vpc;
    let attachment = Element::new("").field("vpcId", &vpc.id).field("state", "available");
    let item = Element::new("item")
        .field("internetGatewayId", &vpc.gateway)
        .field("ownerId", OWNER)
        .list("attachmentSet", [attachment])
        .list("tagSet", tags::items(&cloud.records, &vpc.gateway));
    LISTING.answer(&call.parameters, vec![item])
}
