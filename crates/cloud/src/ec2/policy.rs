//! Security groups, as a packet filter needs them.

use std::net::Ipv4Addr;

use super::records::{PeerRecord, Permission, Records, TrafficRecord};
use crate::machines::{Group, Peer, Policy, Rule, Traffic};

/// The policy that the records ask for.
pub(crate) fn of(records: &Records) -> Policy {
    let groups = records.groups.iter().map(|(id, group)| Group {
        id: id.clone(),
        members: members(records, id),
        ingress: rules(&group.ingress),
        egress: rules(&group.egress),
    });
    Policy { groups: groups.collect() }
}

/// The addresses of instances that have an interface in the group.
fn members(records: &Records, group: &str) -> Vec<Ipv4Addr> {
    let interfaces = records.interfaces.values();
    let mut members: Vec<_> = interfaces
        .filter(|interface| interface.attachment.is_some())
        .filter(|interface| interface.groups.iter().any(|id| id == group))
        .filter_map(|interface| interface.address)
        .collect();
    members.sort_unstable();
    members
}

fn rules(permissions: &[Permission]) -> Vec<Rule> {
    let rule = |permission: &Permission| {
        let peer = match &permission.peer {
            PeerRecord::Network(network) => Peer::Network(*network),
            PeerRecord::Group(id) => Peer::Group(id.clone()),
            PeerRecord::Network6(_) => return None,
        };
        Some(Rule { traffic: traffic(&permission.traffic)?, peer })
    };
    permissions.iter().filter_map(rule).collect()
}

/// Nothing for a protocol that IPv4 does not have.
fn traffic(record: &TrafficRecord) -> Option<Traffic> {
    let port = |number: i32| u16::try_from(number).ok();
    let ports = || {
        let (first, last) = record.range.filter(|(first, _)| *first >= 0).unwrap_or((0, 65535));
        Some((port(first)?, port(last)?))
    };
    Some(match record.protocol.as_str() {
        "-1" => Traffic::All,
        "tcp" => ports().map(|(first, last)| Traffic::Tcp { first, last })?,
        "udp" => ports().map(|(first, last)| Traffic::Udp { first, last })?,
        "icmp" => {
            let (kind, code) = record.range.unwrap_or((-1, -1));
            Traffic::Icmp { kind: u8::try_from(kind).ok(), code: u8::try_from(code).ok() }
        }
        "icmpv6" => return None,
        number => Traffic::Protocol(number.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_record(protocol: &str, range: Option<(i32, i32)>) -> Option<Traffic> {
        traffic(&TrafficRecord { protocol: protocol.to_owned(), range })
    }

    #[test]
    fn traffic_is_what_the_numbers_mean() {
        assert_eq!(of_record("-1", None), Some(Traffic::All));
        let ssh = Some(Traffic::Tcp { first: 22, last: 22 });
        assert_eq!(of_record("tcp", Some((22, 22))), ssh);
        let all = Some(Traffic::Udp { first: 0, last: 65535 });
        assert_eq!(of_record("udp", Some((-1, -1))), all);
        let ping = Some(Traffic::Icmp { kind: Some(8), code: None });
        assert_eq!(of_record("icmp", Some((8, -1))), ping);
        assert_eq!(of_record("47", None), Some(Traffic::Protocol(47)));
        assert_eq!(of_record("icmpv6", None), None);
    }
}
