//! Instance types.

use super::{Action, Run};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        listing::Listing,
        region::{self, ZONES},
        service::{Call, Cloud},
        types::{self, InstanceType},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "DescribeInstanceTypes",
        parameters: &["InstanceType", "Filter", "MaxResults", "NextToken"],
        without_effect: &["IncludeUnsupportedInRegion"],
        run: Run::Read(describe),
    },
    Action {
        name: "DescribeInstanceTypeOfferings",
        parameters: &["LocationType", "Filter", "MaxResults", "NextToken"],
        without_effect: &[],
        run: Run::Read(offerings),
    },
];

const LISTING: Listing = Listing {
    set: "instanceTypeSet",
    // Unknown types are told before, all at once.
    id: ("", "instanceType"),
    names: &[],
    not_found: "",
    what: "instance type",
    filters: &[
        ("bare-metal", "bareMetal"),
        ("burstable-performance-supported", "burstablePerformanceSupported"),
        ("current-generation", "currentGeneration"),
        ("free-tier-eligible", "freeTierEligible"),
        ("hypervisor", "hypervisor"),
        ("instance-storage-supported", "instanceStorageSupported"),
        ("instance-type", "instanceType"),
        ("memory-info.size-in-mib", "memoryInfo/sizeInMiB"),
        (
            "network-info.efa-info.maximum-efa-interfaces",
            "networkInfo/efaInfo/maximumEfaInterfaces",
        ),
        ("network-info.efa-supported", "networkInfo/efaSupported"),
        ("network-info.ena-support", "networkInfo/enaSupport"),
        ("network-info.ipv4-addresses-per-interface", "networkInfo/ipv4AddressesPerInterface"),
        ("network-info.maximum-network-cards", "networkInfo/maximumNetworkCards"),
        ("network-info.maximum-network-interfaces", "networkInfo/maximumNetworkInterfaces"),
        ("network-info.network-performance", "networkInfo/networkPerformance"),
        (
            "placement-group-info.supported-strategies",
            "placementGroupInfo/supportedStrategies/item",
        ),
        ("processor-info.supported-architecture", "processorInfo/supportedArchitectures/item"),
        ("processor-info.sustained-clock-speed-in-ghz", "processorInfo/sustainedClockSpeedInGhz"),
        ("supported-root-device-type", "supportedRootDeviceTypes/item"),
        ("supported-usage-class", "supportedUsageClasses/item"),
        ("supported-virtualization-type", "supportedVirtualizationTypes/item"),
        ("vcpu-info.default-cores", "vCpuInfo/defaultCores"),
        ("vcpu-info.default-threads-per-core", "vCpuInfo/defaultThreadsPerCore"),
        ("vcpu-info.default-vcpus", "vCpuInfo/defaultVCpus"),
    ],
    page: Some(100),
};

fn describe(_: &Cloud, call: &Call<'_>) -> Answer {
    let wanted = call.parameters.texts("InstanceType");
    let unknown: Vec<_> =
        wanted.iter().filter(|name| !types::all().contains_key(**name)).copied().collect();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        let message = format!("The following supplied instance types do not exist: [{names}]");
        return Err(ApiError::new("InvalidInstanceType", message));
    }
    let types = types::all().values();
    let chosen = types.filter(|found| wanted.is_empty() || wanted.contains(&found.name));
    LISTING.answer(&call.parameters, chosen.map(item).collect())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Element> {
    values.into_iter().map(|value| Element::of("item", value)).collect()
}

fn item(found: &InstanceType) -> Element {
    let processor = Element::new("processorInfo")
        .list("supportedArchitectures", texts(found.architectures.iter().copied()))
        .field_if("sustainedClockSpeedInGhz", Some(found.clock_ghz).filter(|clock| *clock > 0.0))
        .field("manufacturer", found.processor);
    let cpus = Element::new("vCpuInfo")
        .field("defaultVCpus", found.vcpus)
        .field("defaultCores", found.cores)
        .field("defaultThreadsPerCore", found.threads_per_core);
    let placement = Element::new("placementGroupInfo")
        .list("supportedStrategies", texts(found.placement.iter().copied()));
    let item = Element::new("item")
        .field("instanceType", found.name)
        .field("currentGeneration", found.is_current())
        .field("freeTierEligible", found.is_free())
        .list("supportedUsageClasses", texts(found.usage_classes()))
        .list("supportedRootDeviceTypes", texts(found.root_devices.iter().copied()))
        .list("supportedVirtualizationTypes", texts(found.virtualization.iter().copied()))
        .field("bareMetal", found.is_metal())
        .field_if("hypervisor", found.hypervisor)
        .with(processor)
        .with(cpus)
        .with(Element::new("memoryInfo").field("sizeInMiB", found.memory_mib))
        .field("instanceStorageSupported", found.has_disks())
        .with(network(found))
        .with(placement)
        .field("burstablePerformanceSupported", found.is_burstable());
    if found.gpus.is_empty() { item } else { item.with(gpus(found)) }
}

fn network(found: &InstanceType) -> Element {
    let cards = found.cards.iter().enumerate().map(|(index, card)| {
        Element::new("item")
            .field("networkCardIndex", index)
            .field("networkPerformance", found.network)
            .field("maximumNetworkInterfaces", card.interfaces)
            .field("baselineBandwidthInGbps", card.baseline_gbps)
            .field("peakBandwidthInGbps", card.peak_gbps)
    });
    let element = Element::new("networkInfo")
        .field("networkPerformance", found.network)
        .field("maximumNetworkInterfaces", found.interfaces)
        .field("maximumNetworkCards", found.cards.len())
        .field("defaultNetworkCardIndex", 0)
        .list("networkCards", cards)
        .field("ipv4AddressesPerInterface", found.addresses_per_interface)
        .field("enaSupport", found.ena)
        .field("enaSrdSupported", found.has_ena_srd())
        .field("efaSupported", found.efa_interfaces > 0);
    match found.efa_interfaces {
        0 => element,
        most => element.with(Element::new("efaInfo").field("maximumEfaInterfaces", most)),
    }
}

fn gpus(found: &InstanceType) -> Element {
    let total: u64 = found.gpus.iter().map(|gpu| u64::from(gpu.count) * gpu.memory_mib).sum();
    let gpus = found.gpus.iter().map(|gpu| {
        Element::new("item")
            .field("name", gpu.name)
            .field("manufacturer", gpu.maker)
            .field("count", gpu.count)
            .with(Element::new("memoryInfo").field("sizeInMiB", gpu.memory_mib))
    });
    Element::new("gpuInfo").list("gpus", gpus).field("totalGpuMemoryInMiB", total)
}

/// Every type is offered everywhere.
fn offerings(_: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "instanceTypeOfferingSet",
        id: ("", "position"),
        names: &[],
        not_found: "",
        what: "offering",
        filters: &[("instance-type", "instanceType"), ("location", "location")],
        page: None,
    };
    let kind = call.parameters.text("LocationType").unwrap_or("region");
    let locations: Vec<_> = match kind {
        "region" => vec![call.region.to_owned()],
        "availability-zone" => ZONES.map(|zone| region::zone_name(call.region, zone)).into(),
        "availability-zone-id" => ZONES.map(|zone| region::zone_id(call.region, zone)).into(),
        other => {
            let wanted = "Expected region, availability-zone or availability-zone-id";
            return Err(call.parameters.invalid("LocationType", other, wanted));
        }
    };
    let mut items = Vec::new();
    for name in types::all().keys() {
        items.extend(locations.iter().map(|location| {
            Element::new("item")
                .field("instanceType", name)
                .field("locationType", kind)
                .field("location", location)
                .field("position", format!("{name} {location}"))
        }));
    }
    let (items, next) = LISTING.select(&call.parameters, items)?;
    let items = items.into_iter().map(|item| item.without("position"));
    Ok(Element::new("").list("instanceTypeOfferingSet", items).field_if("nextToken", next))
}
