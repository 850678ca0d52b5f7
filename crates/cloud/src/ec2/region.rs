//! Regions, their availability zones, and the names that follow from them.
//!
//! The cloud is one region under every name: the one a call is signed for. Records hold the
//! letter of a zone, so that the same file of a user works for whichever region it names.

use std::net::Ipv4Addr;

/// The letters of the zones.
pub(crate) const ZONES: [char; 3] = ['a', 'b', 'c'];

/// The regions that every account has.
pub(crate) const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Whether a text has the form of a region's name.
pub(crate) fn is_region(name: &str) -> bool {
    let parts: Vec<_> = name.split('-').collect();
    let [area, middle @ .., number] = &parts[..] else { return false };
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    letters(area)
        && !middle.is_empty()
        && middle.iter().all(letters)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && name.len() <= 32
}

/// The name of a zone.
pub(crate) fn zone_name(region: &str, zone: char) -> String {
    format!("{region}{zone}")
}

/// The zone of a name, if the region has it.
pub(crate) fn zone_of(region: &str, name: &str) -> Option<char> {
    ZONES.into_iter().find(|zone| zone_name(region, *zone) == name)
}

/// The id of a zone: `use1-az1` is the first of `us-east-1`.
pub(crate) fn zone_id(region: &str, zone: char) -> String {
    let mut short = String::new();
    for (index, part) in region.split('-').enumerate() {
        match (index, part) {
            (0, area) => short.push_str(area),
            (_, "northeast") => short.push_str("ne"),
            (_, "northwest") => short.push_str("nw"),
            (_, "southeast") => short.push_str("se"),
            (_, "southwest") => short.push_str("sw"),
            (_, part) => short.extend(part.chars().next()),
        }
    }
    let number = ZONES.iter().position(|letter| *letter == zone).unwrap_or(0) + 1;
    format!("{short}-az{number}")
}

/// The host name of an instance with this address.
pub(crate) fn host_name(address: Ipv4Addr) -> String {
    format!("ip-{}", address.to_string().replace('.', "-"))
}

/// The host name with its domain.
pub(crate) fn private_dns_name(region: &str, address: Ipv4Addr) -> String {
    format!("{}.{}", host_name(address), domain(region))
}

/// What is behind the host names of a region's instances.
pub(crate) fn domain(region: &str) -> String {
    match region {
        "us-east-1" => "ec2.internal".to_owned(),
        _ => format!("{region}.compute.internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_regions_have_the_form_and_zones_their_ids() {
        assert!(REGIONS.iter().all(|name| is_region(name)));
        assert!(is_region("us-gov-west-1"));
        for wrong in ["", "us", "us-1", "us-east-", "us-east-x", "US-east-1", "us--1"] {
            assert!(!is_region(wrong), "{wrong}");
        }
        assert_eq!(zone_id("us-east-1", 'a'), "use1-az1");
        assert_eq!(zone_id("ap-southeast-2", 'c'), "apse2-az3");
        assert_eq!(zone_of("eu-west-1", "eu-west-1b"), Some('b'));
        assert_eq!(zone_of("eu-west-1", "us-east-1b"), None);
    }
}
