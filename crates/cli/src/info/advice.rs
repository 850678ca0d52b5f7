//! What stands in the way of an endpoint on this host, and the command that clears it.

use inspect::host::Host;
use serde::Serialize;

use super::document::{Device, Transport, Udp};

/// Something to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// A name that stays, for scripts.
    pub id: &'static str,
    /// What was found.
    pub what: String,
    /// What it costs.
    pub why: &'static str,
    /// The command that changes it.
    pub fix: String,
}

/// The least MTU that is not worth a word.
const LARGE_MTU: usize = 8_000;
/// `/dev/shm` of a container that was not told otherwise.
const SMALL_SHM: u64 = 64 << 20;

/// Everything worth a word, the costliest first.
pub(super) fn warnings(host: &Host, devices: &[Device], transports: &[Transport]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warnings.extend(network(host));
    warnings.extend(receive_buffer(devices));
    let udp = transports.iter().find_map(|transport| match transport {
        Transport::Udp(udp) => Some(udp),
        Transport::SharedMemory(_) | Transport::Cma(_) => None,
    });
    warnings.extend(udp.and_then(send_buffer));
    warnings.extend(udp.and_then(segmentation));
    warnings.extend(host.interfaces.iter().filter_map(mtu));
    warnings.extend(cpus(host));
    warnings.extend(clock(host));
    warnings.extend(shm(host));
    warnings
}

fn network(host: &Host) -> Option<Warning> {
    let leaves = host.interfaces.iter().any(|interface| interface.up && !interface.loopback);
    (!leaves).then(|| Warning {
        id: "no-network",
        what: "no interface but loopback is up and has an address".to_owned(),
        why: "endpoints here reach this host only",
        fix: "ip link set dev INTERFACE up && ip address add ADDRESS/PREFIX dev INTERFACE".into(),
    })
}

fn receive_buffer(devices: &[Device]) -> Option<Warning> {
    let limits = devices.iter().find_map(|device| device.limits)?;
    let (asked, got) = (limits.receive_buffer_asked, limits.receive_buffer);
    (got < asked).then(|| Warning {
        id: "receive-buffer",
        what: format!("an endpoint asks for {asked} bytes of receive buffer and gets {got}"),
        why: "the kernel drops datagrams when many peers send at once",
        fix: format!("sysctl -w net.core.rmem_max={asked}"),
    })
}

fn send_buffer(transport: &Udp) -> Option<Warning> {
    let (asked, got) = (transport.send_buffer_asked, transport.send_buffer?);
    (got < asked).then(|| Warning {
        id: "send-buffer",
        what: format!("a source port asks for {asked} bytes of send buffer and gets {got}"),
        why: "large messages stop for the kernel more often",
        fix: format!("sysctl -w net.core.wmem_max={asked}"),
    })
}

fn segmentation(transport: &Udp) -> Option<Warning> {
    (transport.gso_segments == 1).then(|| Warning {
        id: "no-gso",
        what: "the kernel does not segment UDP trains (UDP_SEGMENT)".to_owned(),
        why: "each datagram costs its own way through the kernel",
        fix: "uname -r    # Linux 4.18 or later segments; some sandboxes do not".to_owned(),
    })
}

fn mtu(interface: &inspect::host::Interface) -> Option<Warning> {
    let mtu = interface.mtu.filter(|_| interface.up && !interface.loopback)?;
    let name = &interface.name;
    (mtu < LARGE_MTU).then(|| Warning {
        id: "small-mtu",
        what: format!("{name} has MTU {mtu}"),
        why: "throughput per CPU grows with the MTU; the whole network has to carry it",
        fix: format!("ip link set dev {name} mtu 9001"),
    })
}

fn cpus(host: &Host) -> Option<Warning> {
    (host.cpu.allowed < 2).then(|| Warning {
        id: "one-cpu",
        what: format!("this process may use 1 of {} CPUs", host.cpu.online),
        why: "endpoints that wait spin for a while, and take the CPU from each other",
        fix: "taskset -c 0-N PROGRAM, or give the job or container more CPUs".to_owned(),
    })
}

fn clock(host: &Host) -> Option<Warning> {
    let source = host.cpu.clock_source.as_deref()?;
    let is_slow = matches!(source, "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies");
    is_slow.then(|| Warning {
        id: "slow-clock",
        what: format!("the kernel's clock source is {source}"),
        why: "each look at the clock is a system call, and messages need several",
        fix: "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource".into(),
    })
}

fn shm(host: &Host) -> Option<Warning> {
    let what = match host.memory.shm {
        None => "/dev/shm cannot be used".to_owned(),
        Some(shm) if shm.total <= SMALL_SHM => format!("/dev/shm has {} bytes", shm.total),
        Some(_) => return None,
    };
    Some(Warning {
        id: "small-shm",
        what,
        why: "processes of one host that share memory, as endpoints do, need room there",
        fix: "mount -o remount,size=1G /dev/shm    # in containers: --shm-size=1g".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::document::Limits;

    fn transport() -> Udp {
        Udp {
            peers: "all",
            gso_segments: 128,
            gro_segments: 16,
            batch_datagrams: 32,
            paths: 16,
            send_buffer_asked: 100,
            send_buffer: Some(100),
        }
    }

    fn device(got: usize) -> Device {
        let limits = Limits {
            datagram_message_bytes: 1400,
            gso_segments: 128,
            train_bytes: 65_000,
            receive_buffer_asked: 8_388_608,
            receive_buffer: got,
        };
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let interface = "lo".to_owned();
        Device { interface, address, loopback: true, error: None, limits: Some(limits) }
    }

    /// A host with nothing to complain about.
    fn host() -> Host {
        let mut host = Host::read();
        host.cpu.allowed = 4;
        host.cpu.clock_source = Some("tsc".to_owned());
        host.memory.shm = Some(inspect::host::Shm { total: 1 << 30, free: 1 << 30 });
        let mut outward = host.interfaces[0].clone();
        outward.name = "eth7".to_owned();
        outward.loopback = false;
        outward.up = true;
        outward.mtu = Some(9001);
        host.interfaces = vec![outward];
        host
    }

    fn ids(host: &Host, got: usize, transport: &Udp) -> Vec<&'static str> {
        let found = warnings(host, &[device(got)], &[Transport::Udp(transport.clone())]);
        found.iter().map(|warning| warning.id).collect()
    }

    #[test]
    fn host_in_good_order_has_no_warnings() {
        assert!(ids(&host(), 8_388_608, &transport()).is_empty());
    }

    #[test]
    fn each_shortage_is_named_once_with_its_command() {
        let mut bad = host();
        bad.cpu.allowed = 1;
        bad.cpu.clock_source = Some("hpet".to_owned());
        bad.memory.shm = Some(inspect::host::Shm { total: 64 << 20, free: 0 });
        bad.interfaces[0].mtu = Some(1500);
        let worse = Udp { gso_segments: 1, send_buffer: Some(50), ..transport() };
        let expected = [
            "receive-buffer",
            "send-buffer",
            "no-gso",
            "small-mtu",
            "one-cpu",
            "slow-clock",
            "small-shm",
        ];
        assert_eq!(ids(&bad, 212_992, &worse), expected);
        let found = warnings(&bad, &[device(212_992)], &[Transport::Udp(worse)]);
        assert_eq!(found[0].fix, "sysctl -w net.core.rmem_max=8388608");
        assert_eq!(found[3].fix, "ip link set dev eth7 mtu 9001");
        bad.interfaces[0].loopback = true;
        assert_eq!(ids(&bad, 8_388_608, &transport())[0], "no-network");
    }
}
