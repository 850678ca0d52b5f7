//! Making a network, and doing harm to it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use socket2::{Domain, Socket, Type};

use crate::{
    error::HostsError,
    filter,
    host::Host,
    netlink::{LOOPBACK, Netlink},
    plan::{End, Flat, Multipath, Plan, Reach, Segmentation, Shape, switch_index},
    qdisc,
    quantity::Loss,
    sentinel::{Sentinel, Standing},
};

/// The far end of each path, as IPv6 routes name it.
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xe1a5, 1);

/// Describes a network to be made: two flat hosts unless told otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing exists before `build`"]
pub struct NetworkBuilder {
    hosts: usize,
    shape: Shape,
}

impl NetworkBuilder {
    /// How many hosts.
    pub fn hosts(mut self, hosts: usize) -> Self {
        self.hosts = hosts;
        self
    }

    /// All hosts on one link.
    pub fn flat(mut self, flat: Flat) -> Self {
        self.shape = Shape::Flat(flat);
        self
    }

    /// Two hosts joined by parallel paths.
    pub fn multipath(mut self, multipath: Multipath) -> Self {
        self.shape = Shape::Multipath(multipath);
        self
    }

    /// Makes the network. When it returns, packets flow.
    pub fn build(self) -> Result<Network, HostsError> {
        let plan = Plan::new(self.shape, self.hosts)?;
        let sentinel =
            Arc::new(Sentinel::start(plan.namespaces()).map_err(HostsError::Unavailable)?);
        // A machine without IPv6 has IPv4 networks.
        let has_ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok();
        let hosts = plan.hosts.iter().enumerate().map(|(index, addresses)| {
            Host::new(index, *addresses, has_ipv6, Arc::clone(&sentinel))
        });
        let network = Network { hosts: hosts.collect(), plan, sentinel };
        network.make_links()?;
        network.make_addresses()?;
        match network.plan.reach {
            Reach::Neighbours => network.introduce_neighbours()?,
            Reach::EqualCost => network.make_routes()?,
        }
        for path in 0..network.paths() {
            network.restore_path(path)?;
        }
        Ok(network)
    }
}

/// Hosts and what joins them. Dropping it kills what runs in them and takes them away.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    plan: Plan,
    sentinel: Arc<Sentinel>,
}

impl Network {
    /// Begins to describe a network.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder { hosts: 2, shape: Shape::Flat(Flat::default()) }
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// How many paths can be cut: the parallel paths of a multipath network, the cable of two
    /// flat hosts, the link of each host where there is a switch.
    pub fn paths(&self) -> usize {
        self.plan.paths
    }

    /// Makes a path swallow every packet, both ways, and the packets queued in front of it. The
    /// devices stay up and the routes as they are: nothing but silence tells the hosts.
    pub fn cut_path(&self, path: usize) -> Result<(), HostsError> {
        for end in self.ends(path)? {
            self.netlink(end.namespace)?.set_qdisc(qdisc::blackhole(end.index))?;
        }
        Ok(())
    }

    /// Makes a path carry packets again.
    pub fn restore_path(&self, path: usize) -> Result<(), HostsError> {
        for end in self.ends(path)? {
            let mut netlink = self.netlink(end.namespace)?;
            match self.plan.shaping_at(end) {
                Some(shaping) => netlink.set_qdisc(qdisc::token_bucket(end.index, shaping))?,
                None => netlink.clear_qdisc(qdisc::any(end.index))?,
            }
        }
        Ok(())
    }

    /// Loses packets at random, each on its own, as they arrive at each host. The network must
    /// have been built with [`Segmentation::Off`].
    pub fn set_loss(&self, loss: Loss) -> Result<(), HostsError> {
        if loss != Loss::NONE && self.plan.segmentation != Segmentation::Off {
            return Err(HostsError::LossNeedsSingles);
        }
        self.hosts.iter().try_for_each(|host| filter::set_loss(host, loss))
    }

    /// One line that says what is emulated.
    pub fn describe(&self) -> String {
        let standing = match self.sentinel.standing() {
            Standing::Direct => "network namespaces",
            Standing::UserNamespace => "network namespaces in a user namespace",
        };
        format!("{} ({standing} on one machine)", self.plan.describe())
    }

    fn make_links(&self) -> Result<(), HostsError> {
        let Plan { links, mtu, segmentation, .. } = &self.plan;
        for switch in 0..self.plan.switches {
            let mut netlink = self.netlink(self.hosts.len())?;
            netlink.add_bridge(switch_index(switch), *mtu)?;
            netlink.set_up(switch_index(switch))?;
        }
        for link in links {
            let [near, far] = &link.ends;
            let peer = self.sentinel.namespace(far.namespace);
            self.netlink(near.namespace)?.add_link(&link.ends, peer, *mtu)?;
        }
        for end in self.plan.ends() {
            let mut netlink = self.netlink(end.namespace)?;
            netlink.set_segmentation(end.index, *segmentation)?;
            if let Some(switch) = end.switch {
                netlink.join_bridge(end.index, switch_index(switch))?;
            }
            netlink.set_up(end.index)?;
        }
        for end in self.plan.ends() {
            self.netlink(end.namespace)?.wait_up(end.index)?;
        }
        Ok(())
    }

    /// Gives hosts their addresses: on the link where all are neighbours, else on the loopback
    /// device, so that they belong to no path.
    fn make_addresses(&self) -> Result<(), HostsError> {
        for host in 0..self.hosts.len() {
            let mut netlink = self.netlink(host)?;
            netlink.set_up(LOOPBACK)?;
            for address in self.addresses(host) {
                let (device, prefix) = match (self.plan.reach, address) {
                    (Reach::Neighbours, IpAddr::V4(_)) => (self.link_index(host), 24),
                    (Reach::Neighbours, IpAddr::V6(_)) => (self.link_index(host), 64),
                    (Reach::EqualCost, IpAddr::V4(_)) => (LOOPBACK, 32),
                    (Reach::EqualCost, IpAddr::V6(_)) => (LOOPBACK, 128),
                };
                netlink.add_address(device, address, prefix)?;
            }
        }
        Ok(())
    }

    fn introduce_neighbours(&self) -> Result<(), HostsError> {
        for host in 0..self.hosts.len() {
            let mut netlink = self.netlink(host)?;
            for other in (0..self.hosts.len()).filter(|other| *other != host) {
                for end in self.plan.ends_of_host(other) {
                    for address in self.addresses(other) {
                        netlink.add_neighbour(self.link_index(host), address, end.mac)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn make_routes(&self) -> Result<(), HostsError> {
        for (host, other) in [(0, 1), (1, 0)] {
            let mut netlink = self.netlink(host)?;
            let paths = self.plan.ends_of_host(host).zip(self.plan.ends_of_host(other));
            for (near, far) in paths {
                netlink.add_neighbour(near.index, self.hosts[other].address(), far.mac)?;
                if self.hosts[other].address6().is_some() {
                    netlink.add_neighbour(near.index, GATEWAY.into(), far.mac)?;
                }
            }
            for (source, destination) in self.addresses(host).zip(self.addresses(other)) {
                let devices = self.plan.ends_of_host(host).map(|end| end.index);
                netlink.add_equal_cost_route(source, destination, devices, GATEWAY)?;
            }
        }
        Ok(())
    }

    fn addresses(&self, host: usize) -> impl Iterator<Item = IpAddr> {
        let host = &self.hosts[host];
        [Some(host.address()), host.address6().map(IpAddr::from)].into_iter().flatten()
    }

    /// The index of the one link device of a host whose network is flat.
    fn link_index(&self, host: usize) -> u32 {
        self.plan.ends_of_host(host).next().map_or(0, |end| end.index)
    }

    fn ends(&self, path: usize) -> Result<impl Iterator<Item = &End>, HostsError> {
        let paths = self.paths();
        if path < paths {
            Ok(self.plan.ends_of_path(path))
        } else {
            Err(HostsError::NoSuchPath { path, paths })
        }
    }

    fn netlink(&self, namespace: usize) -> Result<Netlink, HostsError> {
        let name = self.hosts.get(namespace).map_or("the switch", Host::name);
        Netlink::open(&self.sentinel, namespace, name)
    }
}
