//! What a network consists of, worked out before anything is made.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{error::HostsError, qdisc, quantity::Rate};

/// The most hosts of one network.
const MAX_HOSTS: usize = 64;
/// The most parallel paths.
const MAX_PATHS: usize = 64;
/// What `bridge` and `veth` accept, from IPv6's smallest up.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 1280..=65535;
/// Jumbo frames as on EC2.
const JUMBO_MTU: u32 = 9001;
/// Half a mebibyte: 4 ms at 1 Gb/s, about a switch's share of buffer for one port.
const DEFAULT_QUEUE: u32 = 512 * 1024;
/// Interface indexes are chosen by us, so nothing has to be looked up. Links count from here.
const FIRST_LINK_INDEX: u32 = 100;
/// Switches count from here; the loopback device is 1.
const FIRST_SWITCH_INDEX: u32 = 2;

/// Whether a train of packets crosses a link as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// Segmentation offload: the train stays whole, as far as the receiving socket if that asks.
    #[default]
    Offload,
    /// Each packet crosses on its own.
    Off,
}

/// Where the queue in front of a rate limit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bottleneck {
    /// In the sending host, as with a slow network card. The kernel holds each socket back before
    /// such a queue fills: a TCP flow alone never loses a packet in it.
    #[default]
    Sender,
    /// In a switch between the hosts. Senders learn of the queue only by delay and loss.
    Switch,
}

/// All hosts on one link: a cable between two, a switch between more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// The rate of each host's link, in each direction; unlimited where there is none.
    pub rate: Option<Rate>,
    /// The bytes the queue in front of a rate limit holds.
    pub queue: u32,
    /// Where that queue is.
    pub bottleneck: Bottleneck,
    /// Whether trains stay whole.
    pub segmentation: Segmentation,
}

impl Flat {
    /// A link that flows compete for: the rate limit, and the queue in front of it, are in a
    /// switch.
    pub fn shared(rate: Rate) -> Self {
        Self { rate: Some(rate), bottleneck: Bottleneck::Switch, ..Self::default() }
    }
}

impl Default for Flat {
    fn default() -> Self {
        Self {
            mtu: JUMBO_MTU,
            rate: None,
            queue: DEFAULT_QUEUE,
            bottleneck: Bottleneck::default(),
            segmentation: Segmentation::default(),
        }
    }
}

/// Two hosts joined by parallel paths of equal cost. A flow, told apart by addresses, protocol
/// and ports, stays on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// How many paths.
    pub paths: usize,
    /// The rate of each path, in each direction.
    pub rate: Rate,
    /// The bytes the queue in front of each path holds.
    pub queue: u32,
    /// Where that queue is.
    pub bottleneck: Bottleneck,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Whether trains stay whole.
    pub segmentation: Segmentation,
}

impl Default for Multipath {
    fn default() -> Self {
        Self {
            paths: 4,
            rate: Rate::gigabits(1),
            queue: DEFAULT_QUEUE,
            bottleneck: Bottleneck::default(),
            mtu: JUMBO_MTU,
            segmentation: Segmentation::default(),
        }
    }
}

/// The kind of network.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Flat(Flat),
    Multipath(Multipath),
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The namespace it is in: a host's number, or the switches', which comes after the hosts.
    pub namespace: usize,
    pub device: String,
    pub index: u32,
    pub mac: [u8; 6],
    /// The switch it is a port of.
    pub switch: Option<usize>,
}

/// A pair of connected devices.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub ends: [End; 2],
    /// The path it is part of.
    pub path: usize,
}

/// The addresses of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// A rate limit in front of each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shaping {
    pub rate: Rate,
    pub queue: u32,
    pub bottleneck: Bottleneck,
}

/// How the addresses of the others are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All are neighbours on the one link.
    Neighbours,
    /// Each path leads to the other host, at equal cost.
    EqualCost,
}

/// A whole network.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub hosts: Vec<Addresses>,
    pub links: Vec<Link>,
    pub paths: usize,
    /// How many switches there are, all in one namespace.
    pub switches: usize,
    pub reach: Reach,
    pub mtu: u32,
    pub shaping: Option<Shaping>,
    pub segmentation: Segmentation,
}

impl Plan {
    pub(crate) fn new(shape: Shape, hosts: usize) -> Result<Self, HostsError> {
        let plan = match shape {
            Shape::Flat(flat) => Self::flat(flat, hosts)?,
            Shape::Multipath(multipath) => Self::multipath(multipath, hosts)?,
        };
        if !MTU_RANGE.contains(&plan.mtu) {
            return Err(HostsError::Mtu { mtu: plan.mtu });
        }
        if let Some(Shaping { rate, queue, .. }) = plan.shaping
            && (rate < Rate::megabits(1) || queue < qdisc::LEAST_QUEUE)
        {
            return Err(HostsError::Shape { rate, queue, least_queue: qdisc::LEAST_QUEUE });
        }
        Ok(plan)
    }

    /// Those of the hosts and, where there are switches, theirs.
    pub(crate) fn namespaces(&self) -> usize {
        self.hosts.len() + usize::from(self.switches > 0)
    }

    /// The ends of all links.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &End> {
        self.links.iter().flat_map(|link| &link.ends)
    }

    /// The ends of the links of one path.
    pub(crate) fn ends_of_path(&self, path: usize) -> impl Iterator<Item = &End> {
        self.links.iter().filter(move |link| link.path == path).flat_map(|link| &link.ends)
    }

    /// The devices of a host, by their paths where these lead to the other.
    pub(crate) fn ends_of_host(&self, host: usize) -> impl Iterator<Item = &End> {
        self.ends().filter(move |end| end.namespace == host)
    }

    /// What stands in front of a device while it is whole.
    pub(crate) fn shaping_at(&self, end: &End) -> Option<Shaping> {
        self.shaping.filter(|shaping| match shaping.bottleneck {
            Bottleneck::Sender => true,
            Bottleneck::Switch => end.switch.is_some(),
        })
    }

    /// One line that says what is emulated.
    pub(crate) fn describe(&self) -> String {
        let layout = match (self.reach, self.switches) {
            (Reach::EqualCost, _) => format!("{} equal-cost paths", self.paths),
            (Reach::Neighbours, 0) => "1 link".to_owned(),
            (Reach::Neighbours, _) => "1 link each to a switch".to_owned(),
        };
        let rate = match self.shaping {
            Some(Shaping { rate, queue, bottleneck }) => {
                let place = match bottleneck {
                    Bottleneck::Sender => "sender",
                    Bottleneck::Switch => "switch",
                };
                format!("of {rate} (queue of {} KiB in the {place})", queue / 1024)
            }
            None => "without a rate limit".to_owned(),
        };
        let segmentation = match self.segmentation {
            Segmentation::Offload => "on",
            Segmentation::Off => "off",
        };
        format!(
            "{} hosts, {layout} {rate}, MTU {}, segmentation offload {segmentation}",
            self.hosts.len(),
            self.mtu,
        )
    }

    fn flat(flat: Flat, hosts: usize) -> Result<Self, HostsError> {
        let Flat { mtu, rate, queue, bottleneck, segmentation } = flat;
        if !(2..=MAX_HOSTS).contains(&hosts) {
            return Err(HostsError::HostCount { hosts, limit: MAX_HOSTS });
        }
        let shaping = rate.map(|rate| Shaping { rate, queue, bottleneck });
        let in_switch = shaping.is_some_and(|shaping| shaping.bottleneck == Bottleneck::Switch);
        let device = || "eth0".to_owned();
        let links: Vec<Link> = if hosts == 2 && !in_switch {
            vec![Link { ends: [host_end(0, 0, device()), host_end(1, 0, device())], path: 0 }]
        } else {
            let link = |host| [host_end(host, host, device()), port_end(hosts, host, 0)];
            (0..hosts).map(|host| Link { ends: link(host), path: host }).collect()
        };
        Ok(Self {
            hosts: (0..hosts).map(addresses).collect(),
            paths: links.len(),
            switches: usize::from(links.len() > 1),
            links,
            reach: Reach::Neighbours,
            mtu,
            shaping,
            segmentation,
        })
    }

    fn multipath(multipath: Multipath, hosts: usize) -> Result<Self, HostsError> {
        let Multipath { paths, rate, queue, bottleneck, mtu, segmentation } = multipath;
        if hosts != 2 {
            return Err(HostsError::HostCount { hosts, limit: 2 });
        }
        if !(1..=MAX_PATHS).contains(&paths) {
            return Err(HostsError::PathCount { paths, limit: MAX_PATHS });
        }
        let links = (0..paths).flat_map(|path| {
            let device = || format!("path{path}");
            let links = match bottleneck {
                Bottleneck::Sender => {
                    vec![[host_end(0, path, device()), host_end(1, path, device())]]
                }
                Bottleneck::Switch => [0, 1]
                    .map(|host| {
                        let link = 2 * path + host;
                        [host_end(host, link, device()), port_end(hosts, link, path)]
                    })
                    .into(),
            };
            links.into_iter().map(move |ends| Link { ends, path })
        });
        Ok(Self {
            hosts: (0..hosts).map(addresses).collect(),
            links: links.collect(),
            paths,
            switches: if bottleneck == Bottleneck::Switch { paths } else { 0 },
            reach: Reach::EqualCost,
            mtu,
            shaping: Some(Shaping { rate, queue, bottleneck }),
            segmentation,
        })
    }
}

fn host_end(host: usize, link: usize, device: String) -> End {
    end(host, link, device, None)
}

/// The far end of `link`: a port of `switch`, in the namespace that comes after those of `hosts`.
fn port_end(hosts: usize, link: usize, switch: usize) -> End {
    end(hosts, link, format!("port{link}"), Some(switch))
}

#[expect(clippy::cast_possible_truncation, reason = "at most 65 namespaces and 128 links")]
fn end(namespace: usize, link: usize, device: String, switch: Option<usize>) -> End {
    End {
        namespace,
        device,
        index: FIRST_LINK_INDEX + link as u32,
        mac: [0x02, 0xe1, 0xa5, 0, namespace as u8, link as u8],
        switch,
    }
}

/// The interface index of a switch, below those of the links.
#[expect(clippy::cast_possible_truncation, reason = "at most 64 switches")]
pub(crate) fn switch_index(switch: usize) -> u32 {
    FIRST_SWITCH_INDEX + switch as u32
}

#[expect(clippy::cast_possible_truncation, reason = "hosts are at most 64")]
fn addresses(host: usize) -> Addresses {
    let number = host as u8 + 1;
    Addresses {
        v4: Ipv4Addr::new(10, 75, 0, number),
        v6: Ipv6Addr::new(0xfd75, 0xe1a5, 0, 0, 0, 0, 0, u16::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_flat_hosts_share_a_cable() {
        let plan = Plan::new(Shape::Flat(Flat::default()), 2).unwrap();
        assert_eq!((plan.links.len(), plan.switches, plan.namespaces()), (1, 0, 2));
        assert_eq!(
            plan.describe(),
            "2 hosts, 1 link without a rate limit, MTU 9001, segmentation offload on"
        );
    }

    #[test]
    fn more_flat_hosts_and_a_shared_link_need_a_switch() {
        let plan = Plan::new(Shape::Flat(Flat::default()), 3).unwrap();
        assert_eq!((plan.links.len(), plan.switches, plan.namespaces()), (3, 1, 4));
        let plan = Plan::new(Shape::Flat(Flat::shared(Rate::gigabits(1))), 2).unwrap();
        assert_eq!((plan.links.len(), plan.switches, plan.namespaces()), (2, 1, 3));
    }

    #[test]
    fn each_direction_of_a_path_is_shaped_once() {
        for bottleneck in [Bottleneck::Sender, Bottleneck::Switch] {
            let multipath = Multipath { bottleneck, ..Multipath::default() };
            let plan = Plan::new(Shape::Multipath(multipath), 2).unwrap();
            for path in 0..plan.paths {
                let ends = plan.ends_of_path(path);
                assert_eq!(ends.filter(|end| plan.shaping_at(end).is_some()).count(), 2);
            }
        }
    }

    #[test]
    fn every_end_has_its_own_mac_and_its_own_index_in_its_namespace() {
        let multipath = |bottleneck| {
            Shape::Multipath(Multipath { paths: MAX_PATHS, bottleneck, ..Multipath::default() })
        };
        for (shape, hosts) in [
            (Shape::Flat(Flat::default()), MAX_HOSTS),
            (multipath(Bottleneck::Sender), 2),
            (multipath(Bottleneck::Switch), 2),
        ] {
            let plan = Plan::new(shape, hosts).unwrap();
            assert!(switch_index(plan.switches) < FIRST_LINK_INDEX);
            let ends: Vec<&End> = plan.ends().collect();
            for (at, one) in ends.iter().enumerate() {
                for other in &ends[at + 1..] {
                    assert_ne!(one.mac, other.mac);
                    assert!(one.namespace != other.namespace || one.index != other.index);
                }
            }
        }
    }

    #[test]
    fn impossible_networks_are_refused_with_their_number() {
        let refusal = |shape, hosts| Plan::new(shape, hosts).unwrap_err().to_string();
        assert!(refusal(Shape::Flat(Flat::default()), 1).contains("1 hosts"));
        assert!(refusal(Shape::Multipath(Multipath::default()), 3).contains("3 hosts"));
        let no_paths = Multipath { paths: 0, ..Multipath::default() };
        assert!(refusal(Shape::Multipath(no_paths), 2).contains("0 paths"));
        let small = Flat { mtu: 576, ..Flat::default() };
        assert!(refusal(Shape::Flat(small), 2).contains("mtu 576"));
        let shallow = Multipath { queue: 1000, ..Multipath::default() };
        assert!(refusal(Shape::Multipath(shallow), 2).contains("queue 1000"));
    }
}
