//! The network of instances: each has a link to the enclave, which leads packets between them.
//!
//! Instances share no link. What one sends to another crosses the enclave's forwarding path,
//! where the packet filter sees it, as it crosses EC2's own network between two hosts.

use std::{
    fs,
    io::{self, Write as _},
    net::Ipv4Addr,
    os::fd::BorrowedFd,
    process::{Command, Stdio},
};

use ipnet::Ipv4Net;

use super::{Enclave, flows::QUEUE};
use crate::{
    error::HostsError,
    filter::find_nft,
    netlink::{LOOPBACK, Netlink},
};

/// Jumbo frames, as on EC2.
const MTU: u32 = 9001;
/// How instances name their device.
const DEVICE: &str = "eth0";
/// Settings of the enclave's network namespace. Whoever sends with an address that is not its own
/// is not heard.
const SETTINGS: [(&str, &str); 6] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "1"),
    ("ipv4/conf/default/rp_filter", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// The network of the instances of an [`Enclave`]: who is behind which link.
///
/// This machine is a neighbour with an address of its own, [`Router::here`]; its one device for
/// that disappears with the enclave.
#[derive(Debug)]
pub struct Router {
    network: Ipv4Net,
}

impl Router {
    /// Leads `network` from this machine into the enclave, by a device named `uplink` (15 bytes at
    /// most).
    ///
    /// Fails with [`HostsError::NetworkTaken`] where this machine leads that network elsewhere.
    pub fn open(enclave: &Enclave, network: Ipv4Net, uplink: &str) -> Result<Self, HostsError> {
        let router = Self { network };
        let mut here = Netlink::here("this machine")?;
        here.add_pair(uplink, "uplink", enclave.network(), MTU)?;
        let opened = router.lead_here(&mut here, uplink).and_then(|()| {
            let inside = || -> Result<(), HostsError> {
                write_settings(&SETTINGS).map_err(|error| failed("write the settings", error))?;
                router.lead_inside()
            };
            enclave.run(inside).map_err(|error| failed("enter the enclave", error))?
        });
        if opened.is_err() {
            here.delete_link(uplink)?;
        }
        opened.map(|()| router)
    }

    /// Takes away the device of that name of a process that was killed: the kernel does so too,
    /// some time later. Whoever calls this knows that nobody else uses the name.
    pub fn clear(uplink: &str) -> Result<(), HostsError> {
        Netlink::here("this machine")?.delete_link(uplink)
    }

    /// The addresses of the network.
    pub const fn network(&self) -> Ipv4Net {
        self.network
    }

    /// The address of the enclave, by which instances reach others.
    pub fn gateway(&self) -> Ipv4Addr {
        self.numbered(1)
    }

    /// Another address of the enclave, for a name server.
    pub fn resolver(&self) -> Ipv4Addr {
        self.numbered(2)
    }

    /// The address of this machine in the network.
    pub fn here(&self) -> Ipv4Addr {
        self.numbered(3)
    }

    /// Replaces the packet filter of the enclave's network as one, by what the `nft` program reads
    /// in `rules`.
    pub fn set_rules(&self, enclave: &Enclave, rules: &str) -> Result<(), HostsError> {
        let refused = |message| HostsError::Filter { host: "the enclave".to_owned(), message };
        let program = find_nft()?;
        let load = || -> io::Result<_> {
            let mut nft = Command::new(program)
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut input) = nft.stdin.take() {
                input.write_all(rules.as_bytes())?;
            }
            nft.wait_with_output()
        };
        let output = enclave.run(load).flatten().map_err(|error| refused(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Links the network namespace `instance` to that of the calling thread, the enclave's.
    /// Returns the number of the device here.
    pub(super) fn attach(
        &self,
        enclave: &mut Netlink,
        instance: BorrowedFd<'_>,
        address: Ipv4Addr,
        more: &[Ipv4Addr],
    ) -> Result<u32, HostsError> {
        let name = device_of(address);
        // Of an earlier boot, whose namespace the kernel has not taken away yet.
        enclave.delete_link(&name)?;
        enclave.add_pair(&name, DEVICE, instance, MTU)?;
        let index = known(enclave, &name)?;
        enclave.set_queue(index, QUEUE)?;
        enclave.set_up(index)?;
        for address in [address].iter().chain(more) {
            enclave.add_route(index, (*address).into(), None, None)?;
        }
        Ok(index)
    }

    /// Gives the instance in whose network namespace the calling thread is its address. Returns
    /// the number of its device.
    pub(super) fn settle(
        &self,
        instance: &mut Netlink,
        address: Ipv4Addr,
        more: &[Ipv4Addr],
    ) -> Result<u32, HostsError> {
        instance.set_up(LOOPBACK)?;
        let index = known(instance, DEVICE)?;
        // The others' addresses are in its network, though all are behind the gateway: MPIs take
        // that as the sign that they can reach each other.
        let own = Ipv4Net::new_assert(address, self.network.prefix_len());
        instance.add_address_only(index, own)?;
        for address in more {
            instance.add_address_only(index, (*address).into())?;
        }
        instance.set_up(index)?;
        instance.add_route(index, Ipv4Net::default(), Some(self.gateway()), Some(address))?;
        Ok(index)
    }

    /// Takes away the link of the instance with that address, if it has one.
    pub fn detach(&self, enclave: &Enclave, address: Ipv4Addr) -> Result<(), HostsError> {
        let delete = || Netlink::here("the enclave")?.delete_link(&device_of(address));
        enclave.run(delete).map_err(|error| failed("enter the enclave", error))?
    }

    fn lead_here(&self, netlink: &mut Netlink, uplink: &str) -> Result<(), HostsError> {
        let index = known(netlink, uplink)?;
        netlink.add_address_only(index, self.here().into())?;
        netlink.set_up(index)?;
        let (gateway, source) = (Some(self.gateway()), Some(self.here()));
        netlink.add_route(index, self.network, gateway, source).map_err(|error| match error {
            HostsError::Configure { error, .. } if error.kind() == io::ErrorKind::AlreadyExists => {
                HostsError::NetworkTaken { network: self.network }
            }
            other => other,
        })
    }

    fn lead_inside(&self) -> Result<(), HostsError> {
        let mut netlink = Netlink::here("the enclave")?;
        netlink.set_up(LOOPBACK)?;
        for address in [self.gateway(), self.resolver()] {
            netlink.add_address_only(LOOPBACK, address.into())?;
        }
        let index = known(&mut netlink, "uplink")?;
        netlink.set_up(index)?;
        netlink.add_route(index, self.here().into(), None, None)?;
        netlink.add_route(index, Ipv4Net::default(), Some(self.here()), None)?;
        netlink.wait_up(index)
    }

    fn numbered(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.network().to_bits() + number)
    }
}

/// Where an instance's packets enter the enclave.
fn device_of(address: Ipv4Addr) -> String {
    format!("v{address}")
}

fn known(netlink: &mut Netlink, name: &str) -> Result<u32, HostsError> {
    let missing = || failed(&format!("find link {name}"), io::ErrorKind::NotFound.into());
    netlink.index_of(name)?.ok_or_else(missing)
}

/// Writes settings of the calling thread's network namespace. One that this kernel does not have
/// is left out.
pub(super) fn write_settings(settings: &[(&str, &str)]) -> io::Result<()> {
    for (name, value) in settings {
        match fs::write(format!("/proc/sys/net/{name}"), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn failed(action: &str, error: io::Error) -> HostsError {
    HostsError::Configure { action: action.to_owned(), host: "the enclave".to_owned(), error }
}
