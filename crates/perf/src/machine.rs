//! What a measurement ran on.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, TcpStream},
};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    sys::socket::{getsockopt, sockopt},
};
use serde::{Deserialize, Serialize};

use crate::cpu;

/// One side's machine, as a reader of the numbers needs to know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// CPUs online.
    pub cpus: usize,
    /// The CPU's model.
    pub cpu_model: String,
    /// Kernel release.
    pub kernel: String,
    /// MTU of the route to the other side, in bytes.
    pub mtu: usize,
    /// The congestion control TCP uses when not told otherwise.
    pub tcp_default: String,
    /// One-minute load average at the start; above the number of CPUs the figures suffer.
    pub load: f64,
    /// The CPU this side was bound to; absent if it was bound to none, or to several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<usize>,
}

impl Machine {
    /// This machine, seen through a connection to the other side.
    pub fn through(connection: &TcpStream) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            cpus: online_cpus(),
            cpu_model: cpu_model(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease"),
            mtu: mtu(connection),
            tcp_default: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            load: first_number(&read("/proc/loadavg")),
            cpu: cpu::bound_to(),
        }
    }
}

/// CPUs of the machine, whether or not this process may use them all.
pub fn online_cpus() -> usize {
    fs::read_to_string("/proc/cpuinfo")
        .map_or(1, |info| info.lines().filter(|line| line.starts_with("processor")).count().max(1))
}

/// MTU of the route a connection takes; for IPv6, of the interface that has its address.
fn mtu(connection: &TcpStream) -> usize {
    const SMALLEST_IPV6: usize = 1280;
    let Ok(local) = connection.local_addr() else { return SMALLEST_IPV6 };
    let mtu = match local.ip() {
        IpAddr::V4(_) => {
            getsockopt(connection, sockopt::IpMtu).ok().and_then(|mtu| usize::try_from(mtu).ok())
        }
        IpAddr::V6(address) => interface_of(address).and_then(|name| {
            // The sysctl follows the network namespace of the reader, which sysfs does not.
            let path = format!("/proc/sys/net/ipv6/conf/{name}/mtu");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        }),
    };
    mtu.unwrap_or(SMALLEST_IPV6)
}

fn interface_of(address: Ipv6Addr) -> Option<String> {
    let has_it = |candidate: &InterfaceAddress| {
        let candidate = candidate.address.as_ref().and_then(|storage| storage.as_sockaddr_in6());
        candidate.is_some_and(|candidate| candidate.ip() == address)
    };
    getifaddrs().ok()?.find(has_it).map(|interface| interface.interface_name)
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let value = model.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn cpu_model_without_a_name_is_unknown() {
        assert_eq!(cpu_model("processor : 0\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(cpu_model("processor : 0\n"), "unknown");
    }

    #[test]
    fn machine_over_loopback_has_the_mtu_of_loopback() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("loopback has a free port");
            let there = listener.local_addr().expect("bound");
            let connection = TcpStream::connect(there).expect("listening");
            let machine = Machine::through(&connection);
            let interface: usize = fs::read_to_string("/sys/class/net/lo/mtu")
                .expect("loopback has an MTU")
                .trim()
                .parse()
                .expect("a number");
            // An IPv4 packet is at most 65,535 bytes, whatever the interface says.
            assert!(machine.mtu == interface || machine.mtu == 65_535, "{machine:?}");
            assert!(machine.cpus >= 1 && !machine.kernel.is_empty());
        }
    }
}
