//! Security groups as rules of the packet filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    net::Ipv4Addr,
};

use super::{Group, Peer, Policy, Rule, Traffic};

/// A datagram of the fabric: the format's version and a kind in its fifth byte, known flags in its
/// sixth, and no shorter than its header.
const EFA: &str = "meta l4proto udp udp length >= 40 @th,96,8 0x11-0x17 @th,104,8 0-3";
/// What tells flows apart, for a hash.
const FLOW: &str = "jhash ip saddr . ip daddr . meta l4proto . th sport . th dport";

/// The flows of a link, as traffic classes that the router has made for each.
pub(super) struct Flows {
    /// How many classes of either kind there are.
    pub(super) classes: u32,
    /// The first class of flows inside of a cluster placement group.
    pub(super) near: u32,
    /// The first class of other flows.
    pub(super) far: u32,
}

/// What the `nft` program is to read: the whole filter, made anew as one.
///
/// `near` are the addresses of the instances of each cluster placement group.
pub(super) fn render(
    policy: &Policy,
    near: &BTreeMap<String, BTreeSet<Ipv4Addr>>,
    flows: &Flows,
) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write(&mut text, policy, near, flows).unwrap_or_default();
    text
}

fn write(
    text: &mut String,
    policy: &Policy,
    near: &BTreeMap<String, BTreeSet<Ipv4Addr>>,
    flows: &Flows,
) -> fmt::Result {
    let known: BTreeSet<&str> = policy.groups.iter().map(|group| group.id.as_str()).collect();
    // A group that is gone has no members.
    let stands = |rule: &&Rule| match &rule.peer {
        Peer::Group(id) => known.contains(id.as_str()),
        Peer::Network(_) => true,
    };
    // Added first, so that deleting cannot fail.
    writeln!(text, "table ip elastane\ndelete table ip elastane\ntable ip elastane {{")?;
    for group in &policy.groups {
        write_set(text, &group.id, &group.members)?;
    }
    for (name, members) in near {
        write_set(text, name, members)?;
    }
    // The fabric's datagrams leave from many ports. Tracking each would only fill a table: their
    // rule needs no state.
    writeln!(text, "chain untracked {{\ntype filter hook prerouting priority raw")?;
    writeln!(text, "{EFA} notrack\n}}")?;
    writeln!(text, "chain efa {{")?;
    for group in policy.groups.iter().filter(|group| lets_efa_pass(group)) {
        writeln!(text, "ip saddr @{0} ip daddr @{0} accept", group.id)?;
    }
    writeln!(text, "drop\n}}")?;
    for direction in [EGRESS, INGRESS] {
        write_direction(text, policy, &direction, stands)?;
    }
    writeln!(text, "chain flows {{\ntype filter hook forward priority filter + 2")?;
    let far = format!("meta priority set {FLOW} mod {} offset {:#x}", flows.classes, flows.far);
    writeln!(text, "{far}")?;
    let to_near =
        format!("meta priority set {FLOW} mod {} offset {:#x}", flows.classes, flows.near);
    for name in near.keys() {
        writeln!(text, "ip saddr @{name} ip daddr @{name} {to_near}")?;
    }
    writeln!(text, "}}\n}}")
}

/// Whether members of the group may exchange anything: only that lets EFA traffic pass.
fn lets_efa_pass(group: &Group) -> bool {
    let all =
        |rule: &Rule| rule.traffic == Traffic::All && rule.peer == Peer::Group(group.id.clone());
    group.ingress.iter().any(all) && group.egress.iter().any(all)
}

/// A direction in which packets pass through the router.
struct Direction {
    chain: &'static str,
    priority: &'static str,
    /// What the fabric's datagrams do, and what passes between instances and this machine.
    beforehand: &'static str,
    /// The sides of a packet at which a group's member and its peer are.
    member: &'static str,
    peer: &'static str,
    rules: fn(&Group) -> &[Rule],
}

/// What may leave instances. What comes from this machine has left none.
const EGRESS: Direction = Direction {
    chain: "egress",
    priority: "filter",
    beforehand: "goto efa\niifname uplink accept",
    member: "saddr",
    peer: "daddr",
    rules: |group| &group.egress,
};

/// What may reach instances, of what may leave its sender.
const INGRESS: Direction = Direction {
    chain: "ingress",
    priority: "filter + 1",
    beforehand: "accept\noifname uplink accept",
    member: "daddr",
    peer: "saddr",
    rules: |group| &group.ingress,
};

fn write_direction(
    text: &mut String,
    policy: &Policy,
    direction: &Direction,
    stands: impl Fn(&&Rule) -> bool,
) -> fmt::Result {
    let Direction { chain, priority, beforehand, member, peer: side, rules } = direction;
    writeln!(text, "chain {chain} {{\ntype filter hook forward priority {priority}; policy drop")?;
    writeln!(text, "{EFA} {beforehand}")?;
    writeln!(text, "ct state established,related accept")?;
    for group in &policy.groups {
        for rule in rules(group).iter().filter(&stands) {
            let (peer, traffic) = (peer(&rule.peer, side), traffic(rule.traffic));
            writeln!(text, "ip {member} @{} {peer}{traffic}accept", group.id)?;
        }
    }
    writeln!(text, "}}")
}

fn write_set<'a>(
    text: &mut String,
    name: &str,
    members: impl IntoIterator<Item = &'a Ipv4Addr>,
) -> fmt::Result {
    let members: BTreeSet<String> = members.into_iter().map(Ipv4Addr::to_string).collect();
    writeln!(text, "set {name} {{\ntype ipv4_addr")?;
    if !members.is_empty() {
        let members = members.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(text, "elements = {{ {members} }}")?;
    }
    writeln!(text, "}}")
}

fn peer(peer: &Peer, side: &str) -> String {
    match peer {
        Peer::Network(network) if network.prefix_len() == 0 => String::new(),
        Peer::Network(network) => format!("ip {side} {} ", network.trunc()),
        Peer::Group(id) => format!("ip {side} @{id} "),
    }
}

fn traffic(traffic: Traffic) -> String {
    let ports = |protocol: &str, first: u16, last: u16| match first == last {
        true => format!("{protocol} dport {first} "),
        false => format!("{protocol} dport {first}-{last} "),
    };
    match traffic {
        Traffic::All => String::new(),
        Traffic::Tcp { first, last } => ports("tcp", first, last),
        Traffic::Udp { first, last } => ports("udp", first, last),
        Traffic::Icmp { kind, code } => {
            let kind = kind.map(|kind| format!("icmp type {kind} ")).unwrap_or_default();
            let code = code.map(|code| format!("icmp code {code} ")).unwrap_or_default();
            format!("ip protocol icmp {kind}{code}")
        }
        Traffic::Protocol(number) => format!("ip protocol {number} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: Flows = Flows { classes: 64, near: 0x1_0100, far: 0x1_0200 };

    fn group(ingress: Vec<Rule>, egress: Vec<Rule>) -> Group {
        Group { id: "sg-1".to_owned(), members: vec![[10, 0, 0, 4].into()], ingress, egress }
    }

    fn rendered(group: Group) -> String {
        render(&Policy { groups: vec![group] }, &BTreeMap::new(), &FLOWS)
    }

    fn all(peer: Peer) -> Rule {
        Rule { traffic: Traffic::All, peer }
    }

    #[test]
    fn efa_passes_only_where_a_group_allows_everything_to_itself_both_ways() {
        let own = || all(Peer::Group("sg-1".to_owned()));
        let everybody = || all(Peer::Network("0.0.0.0/0".parse().unwrap()));
        let passes = |text: String| text.contains("ip saddr @sg-1 ip daddr @sg-1 accept\ndrop");
        assert!(passes(rendered(group(vec![own()], vec![own()]))));
        assert!(!passes(rendered(group(vec![own()], vec![everybody()]))));
        assert!(!passes(rendered(group(vec![everybody()], vec![own()]))));
        let udp = Rule { traffic: Traffic::Udp { first: 0, last: 65535 }, peer: own().peer };
        assert!(!passes(rendered(group(vec![udp.clone()], vec![udp]))));
    }

    #[test]
    fn rule_matches_its_protocol_ports_and_peer() {
        let peer = Peer::Network("192.0.2.9/24".parse().unwrap());
        let rule = |traffic| Rule { traffic, peer: peer.clone() };
        let text = rendered(group(
            vec![
                rule(Traffic::Tcp { first: 22, last: 22 }),
                rule(Traffic::Udp { first: 1, last: 9 }),
                rule(Traffic::Icmp { kind: Some(8), code: None }),
            ],
            vec![rule(Traffic::Protocol(47))],
        ));
        for line in [
            "ip daddr @sg-1 ip saddr 192.0.2.0/24 tcp dport 22 accept",
            "ip daddr @sg-1 ip saddr 192.0.2.0/24 udp dport 1-9 accept",
            "ip daddr @sg-1 ip saddr 192.0.2.0/24 ip protocol icmp icmp type 8 accept",
            "ip saddr @sg-1 ip daddr 192.0.2.0/24 ip protocol 47 accept",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    }
}
