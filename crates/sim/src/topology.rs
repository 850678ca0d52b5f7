//! Networks by shape: which ports a packet passes on its way.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    port::{LinkSpec, Port},
    seed::mix,
};

/// The UDP port every host listens on.
pub const LISTENING_PORT: u16 = 4791;

/// The shape of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topology {
    /// Two hosts on one cable.
    Link,
    /// Two hosts joined by parallel links between which the network hashes.
    MultiPath {
        /// The links, each with the rate of the scenario; the hosts are as fast as all together.
        paths: u16,
    },
    /// Hosts around one switch.
    Star {
        /// The hosts.
        hosts: u32,
    },
    /// Two tiers: every leaf is linked to every spine, and hashes between them.
    Clos {
        /// Switches with hosts.
        leaves: u32,
        /// Switches that join the leaves.
        spines: u16,
        /// Hosts at each leaf.
        hosts_per_leaf: u32,
    },
}

impl Topology {
    /// The number of hosts.
    pub const fn hosts(self) -> usize {
        match self {
            Self::Link | Self::MultiPath { .. } => 2,
            Self::Star { hosts } => hosts as usize,
            Self::Clos { leaves, hosts_per_leaf, .. } => leaves as usize * hosts_per_leaf as usize,
        }
    }

    /// The number of paths between hosts far apart.
    pub const fn paths(self) -> u16 {
        match self {
            Self::Link | Self::Star { .. } => 1,
            Self::MultiPath { paths } => paths,
            Self::Clos { spines, .. } => spines,
        }
    }

    /// Links between hosts far apart.
    pub(crate) const fn links_crossed(self) -> u32 {
        match self {
            Self::Link => 1,
            Self::MultiPath { .. } | Self::Star { .. } => 2,
            Self::Clos { leaves: 1, .. } => 2,
            Self::Clos { .. } => 4,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => write!(f, "link"),
            Self::MultiPath { paths } => write!(f, "multipath:{paths}"),
            Self::Star { hosts } => write!(f, "star:{hosts}"),
            Self::Clos { leaves, spines, hosts_per_leaf } => {
                write!(f, "clos:{leaves}x{spines}x{hosts_per_leaf}")
            }
        }
    }
}

/// A topology that does not read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such topology: `{0}`; write `link`, `multipath:PATHS`, `star:HOSTS` or \
     `clos:LEAVESxSPINESxHOSTS_PER_LEAF`, with 2 to 65,536 hosts and 1 to 256 paths"
)]
pub struct UnknownTopology(String);

impl FromStr for Topology {
    type Err = UnknownTopology;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownTopology(text.to_owned());
        let (name, numbers) = text.split_once(':').unwrap_or((text, ""));
        let numbers: Vec<u16> = if numbers.is_empty() {
            Vec::new()
        } else {
            let parsed: Result<_, _> = numbers.split('x').map(str::parse).collect();
            parsed.map_err(|_| unknown())?
        };
        let topology = match (name, numbers.as_slice()) {
            ("link", []) => Self::Link,
            ("multipath", &[paths]) => Self::MultiPath { paths },
            ("star", &[hosts]) => Self::Star { hosts: hosts.into() },
            ("clos", &[leaves, spines, hosts_per_leaf]) => {
                Self::Clos { leaves: leaves.into(), spines, hosts_per_leaf: hosts_per_leaf.into() }
            }
            _ => return Err(unknown()),
        };
        let possible =
            (2..=65_536).contains(&topology.hosts()) && (1..=256).contains(&topology.paths());
        if possible { Ok(topology) } else { Err(unknown()) }
    }
}

/// The address of host `host`.
#[expect(clippy::cast_possible_truncation, reason = "a network has at most 65,536 hosts")]
pub(crate) fn address_of(host: usize, ipv6: bool) -> SocketAddr {
    let number = host as u32 + 1;
    let ip: IpAddr = if ipv6 {
        Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(number)).into()
    } else {
        Ipv4Addr::from(0x0a00_0000 | number).into()
    };
    SocketAddr::new(ip, LISTENING_PORT)
}

/// The host at `ip`, if it is the address of one.
pub(crate) fn host_at(ip: IpAddr) -> Option<usize> {
    let number = match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 10 => u32::from(ip) & 0x00ff_ffff,
        IpAddr::V6(ip) if ip.segments()[0] == 0xfd00 => {
            u32::try_from(u128::from(ip) & 0xffff_ffff).ok()?
        }
        _ => return None,
    };
    usize::try_from(number).ok()?.checked_sub(1)
}

/// The most ports between two hosts.
const MAX_HOPS: usize = 4;

/// The ports a packet passes, and which of the parallel paths that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    ports: [u32; MAX_HOPS],
    hops: u8,
    pub(crate) path: u16,
}

impl Route {
    #[expect(clippy::cast_possible_truncation, reason = "ports number a few per host")]
    fn new(ports: &[usize], path: u16) -> Self {
        let mut route = Self { path, hops: ports.len() as u8, ..Self::default() };
        for (slot, port) in route.ports.iter_mut().zip(ports) {
            *slot = *port as u32;
        }
        route
    }

    /// The port that is passed as number `hop`; `None` at the destination.
    pub(crate) fn port(&self, hop: u8) -> Option<usize> {
        (hop < self.hops).then(|| self.ports[usize::from(hop)] as usize)
    }
}

/// What a switch hashes: the addresses and UDP ports of a packet, hosts for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FiveTuple {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// All ports of a network, and the way between any two hosts.
#[derive(Debug)]
pub(crate) struct Switching {
    topology: Topology,
    salt: u64,
    /// Host interfaces first, then those of the switches, in the order `route` computes.
    pub(crate) ports: Vec<Port>,
}

impl Switching {
    /// Builds the ports. `link` is the link of a host; the links between switches (and the
    /// hosts of a multi-path pair) get the rate at which the network does not block.
    pub(crate) fn new(topology: Topology, link: LinkSpec, salt: u64) -> Self {
        let hosts = topology.hosts();
        let unbounded = LinkSpec { queue: usize::MAX, mark: usize::MAX, ..link };
        let mut ports = Vec::new();
        match topology {
            Topology::Link => ports.resize(2, Port::new(unbounded)),
            Topology::MultiPath { paths } => {
                let rate = link.rate * u64::from(paths);
                ports.resize(2, Port::new(LinkSpec { rate, ..unbounded }));
                ports.resize(2 + 2 * usize::from(paths), Port::new(link));
            }
            Topology::Star { .. } => {
                ports.resize(hosts, Port::new(unbounded));
                ports.resize(2 * hosts, Port::new(link));
            }
            Topology::Clos { leaves, spines, hosts_per_leaf } => {
                let trunks = 2 * leaves as usize * usize::from(spines);
                let rate = link.rate * u64::from(hosts_per_leaf).div_ceil(u64::from(spines));
                ports.resize(hosts, Port::new(unbounded));
                ports.resize(2 * hosts, Port::new(link));
                ports.resize(2 * hosts + trunks, Port::new(LinkSpec { rate, ..link }));
            }
        }
        Self { topology, salt, ports }
    }

    /// The way of a packet.
    pub(crate) fn route(&self, flow: FiveTuple) -> Route {
        let hosts = self.topology.hosts();
        let FiveTuple { from, to, .. } = flow;
        match self.topology {
            Topology::Link => Route::new(&[from], 0),
            Topology::MultiPath { paths } => {
                let path = self.choose(flow, paths);
                Route::new(&[from, 2 + 2 * usize::from(path) + from], path)
            }
            Topology::Star { .. } => Route::new(&[from, hosts + to], 0),
            Topology::Clos { hosts_per_leaf, spines, .. } => {
                let per_leaf = hosts_per_leaf as usize;
                let (leaf, far_leaf) = (from / per_leaf, to / per_leaf);
                if leaf == far_leaf {
                    return Route::new(&[from, hosts + to], 0);
                }
                let path = self.choose(flow, spines);
                let trunk = |leaf: usize, down: usize| {
                    2 * hosts + 2 * (leaf * usize::from(spines) + usize::from(path)) + down
                };
                Route::new(&[from, trunk(leaf, 0), trunk(far_leaf, 1), hosts + to], path)
            }
        }
    }

    /// The ports that belong to one of the parallel paths; all of them where there is one path.
    pub(crate) fn ports_of_path(&self, path: u16) -> Vec<usize> {
        let hosts = self.topology.hosts();
        match self.topology {
            Topology::Link | Topology::Star { .. } => (0..self.ports.len()).collect(),
            Topology::MultiPath { .. } => {
                let first = 2 + 2 * usize::from(path);
                vec![first, first + 1]
            }
            Topology::Clos { leaves, spines, .. } => (0..leaves as usize)
                .flat_map(|leaf| {
                    let up = 2 * hosts + 2 * (leaf * usize::from(spines) + usize::from(path));
                    [up, up + 1]
                })
                .collect(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder is below its divisor")]
    fn choose(&self, flow: FiveTuple, paths: u16) -> u16 {
        let addresses = (flow.from as u64) << 32 | flow.to as u64;
        let ports = u64::from(flow.source_port) << 16 | u64::from(flow.destination_port);
        (mix(mix(addresses ^ self.salt) ^ ports) % u64::from(paths)) as u16
    }
}

/// The time light and switches need there and back, without any queue.
pub(crate) fn base_round_trip(topology: Topology, link: LinkSpec) -> Duration {
    link.delay * topology.links_crossed() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkSpec =
        LinkSpec { rate: 1_000_000, delay: Duration::ZERO, queue: 1_000, mark: 1_000 };

    fn flow(from: usize, to: usize, source_port: u16) -> FiveTuple {
        FiveTuple { from, to, source_port, destination_port: LISTENING_PORT }
    }

    #[test]
    fn every_topology_reads_as_it_is_written() {
        for text in ["link", "multipath:4", "star:65", "clos:32x16x32"] {
            let topology: Topology = text.parse().unwrap();
            assert_eq!(topology.to_string(), text);
        }
        for text in ["", "star", "star:1", "star:x", "clos:2x2", "link:2", "multipath:0"] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
    }

    #[test]
    fn source_ports_spread_over_all_spines_and_one_port_stays_on_one() {
        let topology = Topology::Clos { leaves: 4, spines: 8, hosts_per_leaf: 4 };
        let switching = Switching::new(topology, LINK, 42);
        let path = |port| switching.route(flow(0, 15, port)).path;
        let mut used: Vec<_> = (0..256).map(|i| path(40_000 + i)).collect();
        assert_eq!(path(40_000), used[0]);
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 8);
    }

    #[test]
    fn routes_of_different_pairs_share_only_the_ports_they_must() {
        let topology = Topology::Clos { leaves: 3, spines: 2, hosts_per_leaf: 2 };
        let switching = Switching::new(topology, LINK, 1);
        let near = switching.route(flow(0, 1, 1));
        assert_eq!((near.port(0), near.port(1), near.port(2)), (Some(0), Some(7), None));
        let far = switching.route(flow(0, 5, 1));
        let back = switching.route(flow(5, 0, 1));
        let ports = |route: Route| (0..4).map(|hop| route.port(hop).unwrap()).collect::<Vec<_>>();
        assert!(ports(far).iter().all(|port| !ports(back).contains(port)));
        assert!(ports(far).iter().all(|&port| port < switching.ports.len()));
        assert!(switching.ports_of_path(far.path).contains(&ports(far)[1]));
        assert!(switching.ports_of_path(far.path).contains(&ports(far)[2]));
    }

    #[test]
    fn addresses_lead_back_to_their_hosts() {
        for ipv6 in [false, true] {
            for host in [0, 1, 1_023, 65_535] {
                assert_eq!(host_at(address_of(host, ipv6).ip()), Some(host));
            }
        }
        assert_eq!(host_at(Ipv4Addr::new(192, 0, 2, 1).into()), None);
    }
}
