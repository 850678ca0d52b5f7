//! The facts about this host that decide how an endpoint behaves.
//!
//! What cannot be read is absent, never guessed. Nothing here needs privileges or changes
//! anything.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::Path,
};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
    sys::{
        resource::{RLIM_INFINITY, Resource, getrlimit},
        socket::{getsockopt, setsockopt, sockopt},
        statvfs::statvfs,
    },
    unistd::geteuid,
};
use serde::Serialize;

/// Everything read at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// Processors.
    pub cpu: Cpu,
    /// Network interfaces with an address, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Limits of UDP socket buffers.
    pub buffers: Buffers,
    /// Memory that matters.
    pub memory: Memory,
    /// What decides whether one process may copy from another's memory.
    pub cma: Cma,
}

/// Processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// The model.
    pub model: String,
    /// CPUs the machine has online.
    pub online: usize,
    /// CPUs this process may run on.
    pub allowed: usize,
    /// NUMA nodes; absent where the kernel does not tell.
    pub numa_nodes: Option<usize>,
    /// What the kernel reads the time from. With another than `tsc` each look at the clock is a
    /// system call.
    pub clock_source: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, link-local ones left out.
    pub addresses: Vec<IpAddr>,
    /// Whether it leads back to this host.
    pub loopback: bool,
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// Largest IP packet, in bytes.
    pub mtu: Option<usize>,
    /// Rate in Mb/s; absent on virtual interfaces.
    pub speed_mbps: Option<u64>,
    /// The driver; absent on virtual interfaces.
    pub driver: Option<String>,
    /// The NUMA node of its slot.
    pub numa_node: Option<u32>,
}

/// Limits of UDP socket buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Buffers {
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Option<u64>,
    /// `net.core.wmem_max`, in bytes.
    pub wmem_max: Option<u64>,
    /// Whether this process may go beyond them (CAP_NET_ADMIN).
    pub may_exceed: bool,
}

/// Memory that matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes of main memory.
    pub total: Option<u64>,
    /// Bytes this process may lock; absent for no limit.
    pub lockable: Option<u64>,
    /// Pools of huge pages.
    pub huge_pages: Vec<HugePages>,
    /// Whether the kernel makes huge pages by itself: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// `/dev/shm`; absent where it cannot be used.
    pub shm: Option<Shm>,
}

/// A pool of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HugePages {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages in the pool.
    pub total: u64,
    /// Those of them that nobody has.
    pub free: u64,
}

/// `/dev/shm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shm {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
}

/// What decides whether one process may copy from another's memory (`process_vm_readv`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cma {
    /// `kernel.yama.ptrace_scope`; absent where the kernel has no Yama.
    pub ptrace_scope: Option<u8>,
    /// Whether this process has CAP_SYS_PTRACE.
    pub may_ptrace: bool,
    /// Whether this process is in a user namespace of its own, where capabilities count less.
    pub in_user_namespace: bool,
    /// Whether a seccomp filter is on, which may forbid the call.
    pub seccomp_filter: bool,
    /// What follows from these.
    pub outlook: CmaOutlook,
}

/// What the settings say. Only a call between the two processes proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CmaOutlook {
    /// Processes of one user may copy from each other.
    SameUser,
    /// A process may copy from its descendants, and from those that allow it
    /// (`PR_SET_PTRACER`).
    Descendants,
    /// Nobody without CAP_SYS_PTRACE may.
    Privileged,
    /// Nobody may.
    Forbidden,
}

impl CmaOutlook {
    /// Yama's scopes, as `Documentation/admin-guide/LSM/Yama.rst` of the kernel has them.
    fn of(ptrace_scope: Option<u8>, may_ptrace: bool) -> Self {
        match (ptrace_scope, may_ptrace) {
            (None | Some(0), _) => Self::SameUser,
            (Some(1 | 2), true) => Self::SameUser,
            (Some(1), false) => Self::Descendants,
            (Some(2), false) => Self::Privileged,
            (Some(_), _) => Self::Forbidden,
        }
    }
}

impl Host {
    /// Reads everything.
    pub fn read() -> Self {
        let status = text("/proc/self/status").unwrap_or_default();
        Self {
            name: text("/proc/sys/kernel/hostname").unwrap_or_default(),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cpu: Cpu::read(&status),
            interfaces: interfaces(),
            buffers: Buffers::read(&status),
            memory: Memory::read(),
            cma: Cma::read(&status),
        }
    }

    /// Whether this process is root's.
    pub fn is_root() -> bool {
        geteuid().is_root()
    }
}

impl Cpu {
    fn read(status: &str) -> Self {
        let info = text("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
        let list = |text: String| ids_in(&text);
        let online = text("/sys/devices/system/cpu/online").map(list).unwrap_or(1);
        let allowed = field(status, "Cpus_allowed_list").map(ids_in).unwrap_or(online);
        let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        Self {
            model: model.unwrap_or("unknown").to_owned(),
            online,
            allowed,
            numa_nodes: text("/sys/devices/system/node/online").map(list),
            clock_source: text(clock),
        }
    }
}

impl Buffers {
    fn read(status: &str) -> Self {
        Self {
            rmem_max: number("/proc/sys/net/core/rmem_max"),
            wmem_max: number("/proc/sys/net/core/wmem_max"),
            may_exceed: has_capability(status, CAP_NET_ADMIN) && buffer_can_exceed(),
        }
    }
}

/// In a user namespace the capability is worth nothing here: only trying tells.
fn buffer_can_exceed() -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .is_ok_and(|socket| setsockopt(&socket, sockopt::RcvBufForce, &(64 << 10)).is_ok())
}

/// Bytes of send buffer a UDP socket gets that asks for `bytes`, as an endpoint's source ports
/// do.
pub fn send_buffer(bytes: usize) -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    setsockopt(&socket, sockopt::SndBufForce, &bytes)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &bytes))?;
    // The kernel doubles what was asked to pay for its own book-keeping, and says the double.
    Ok(getsockopt(&socket, sockopt::SndBuf)? / 2)
}

impl Memory {
    fn read() -> Self {
        let info = text("/proc/meminfo").unwrap_or_default();
        let total = field(&info, "MemTotal").and_then(kibibytes);
        let lockable = getrlimit(Resource::RLIMIT_MEMLOCK).map(|(soft, _)| soft);
        let enabled = text("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            total,
            lockable: lockable.ok().filter(|limit| *limit != RLIM_INFINITY),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            transparent_huge_pages: enabled.as_deref().and_then(chosen),
            shm: Shm::read(),
        }
    }
}

impl Shm {
    fn read() -> Option<Self> {
        let found = statvfs("/dev/shm").ok()?;
        let unit = found.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(unit);
        Some(Self { total: bytes(found.blocks()), free: bytes(found.blocks_available()) })
    }
}

impl Cma {
    fn read(status: &str) -> Self {
        let ptrace_scope = text("/proc/sys/kernel/yama/ptrace_scope");
        let ptrace_scope = ptrace_scope.and_then(|text| text.parse().ok());
        let may_ptrace = has_capability(status, CAP_SYS_PTRACE);
        let in_user_namespace =
            text("/proc/self/uid_map").is_some_and(|map| !is_initial_user_namespace(&map));
        Self {
            ptrace_scope,
            may_ptrace,
            in_user_namespace,
            seccomp_filter: field(status, "Seccomp").is_some_and(|mode| mode == "2"),
            outlook: CmaOutlook::of(ptrace_scope, may_ptrace),
        }
    }
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;

fn has_capability(status: &str, capability: u32) -> bool {
    let effective = field(status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    effective.is_some_and(|mask| mask >> capability & 1 == 1)
}

/// The initial namespace maps every number to itself.
fn is_initial_user_namespace(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Interfaces that have an address.
fn interfaces() -> Vec<Interface> {
    let Ok(found) = getifaddrs() else { return Vec::new() };
    let mut order = Vec::new();
    let mut by_name: BTreeMap<String, (InterfaceFlags, Vec<IpAddr>)> = BTreeMap::new();
    for entry in found {
        let Some(address) = entry.address else { continue };
        let ip = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let ip = ip.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())));
        let Some(ip) = ip.filter(|ip| !is_link_local(*ip)) else { continue };
        let name = entry.interface_name;
        if !by_name.contains_key(&name) {
            order.push(name.clone());
        }
        by_name.entry(name).or_insert((entry.flags, Vec::new())).1.push(ip);
    }
    let interface = |name: String| {
        let (flags, addresses) = by_name.remove(&name)?;
        Some(Interface::read(name, flags, addresses))
    };
    order.into_iter().filter_map(interface).collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

impl Interface {
    fn read(name: String, flags: InterfaceFlags, addresses: Vec<IpAddr>) -> Self {
        let folder = format!("/sys/class/net/{name}");
        // sysfs may be that of another network namespace, with another interface of this name.
        let index = if_nametoindex(name.as_str()).ok().map(u64::from);
        let is_ours = index.is_some() && number(&format!("{folder}/ifindex")) == index;
        let ours = |file: &str| is_ours.then(|| text(&format!("{folder}/{file}"))).flatten();
        let driver = is_ours.then(|| fs::read_link(format!("{folder}/device/driver")).ok());
        let driver = driver.flatten();
        let driver = driver.as_deref().and_then(Path::file_name);
        let mtu = text(&format!("/proc/sys/net/ipv6/conf/{name}/mtu")).or_else(|| ours("mtu"));
        Self {
            addresses,
            loopback: flags.contains(InterfaceFlags::IFF_LOOPBACK),
            up: flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
            mtu: mtu.and_then(|mtu| mtu.parse().ok()),
            // -1 where there is no carrier, or nothing to say.
            speed_mbps: ours("speed").and_then(|speed| speed.parse().ok()),
            driver: driver.map(|driver| driver.to_string_lossy().into_owned()),
            numa_node: ours("device/numa_node").and_then(|node| node.parse().ok()),
            name,
        }
    }
}

fn huge_pages(folder: &Path) -> Vec<HugePages> {
    let Ok(pools) = fs::read_dir(folder) else { return Vec::new() };
    let pool = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let size = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        let count = |file| number(entry.path().join(file).to_str()?);
        Some(HugePages {
            page_bytes: size.parse::<u64>().ok()? << 10,
            total: count("nr_hugepages")?,
            free: count("free_hugepages")?,
        })
    };
    let mut pools: Vec<_> = pools.flatten().filter_map(pool).collect();
    pools.sort_by_key(|pool| pool.page_bytes);
    pools
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The value of `name: value` in a file of such lines.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    lines.lines().find_map(value).map(str::trim)
}

fn kibibytes(text: &str) -> Option<u64> {
    Some(text.strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// How many a kernel list such as `0-3,8` names.
fn ids_in(list: &str) -> usize {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>(), last.trim().parse::<usize>());
        first.ok().zip(last.ok()).map_or(0, |(first, last)| (last + 1).saturating_sub(first))
    };
    list.split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lists_are_counted() {
        for (list, count) in [("0", 1), ("0-3", 4), ("0-1,4,6-7", 5), ("", 0), ("3-1", 0)] {
            assert_eq!(ids_in(list), count, "{list}");
        }
    }

    #[test]
    fn status_fields_are_found_whole() {
        let status = "Seccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t0000000000081000\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Sec"), None);
        assert!(has_capability(status, CAP_NET_ADMIN) && has_capability(status, CAP_SYS_PTRACE));
        assert!(!has_capability(status, 0) && !has_capability("", 12));
    }

    #[test]
    fn outlook_of_cma_follows_yama() {
        use CmaOutlook::{Descendants, Forbidden, Privileged, SameUser};
        for (scope, plain, privileged) in [
            (None, SameUser, SameUser),
            (Some(0), SameUser, SameUser),
            (Some(1), Descendants, SameUser),
            (Some(2), Privileged, SameUser),
            (Some(3), Forbidden, Forbidden),
        ] {
            assert_eq!(CmaOutlook::of(scope, false), plain);
            assert_eq!(CmaOutlook::of(scope, true), privileged);
        }
    }

    #[test]
    fn only_the_whole_map_is_the_initial_namespace() {
        assert!(is_initial_user_namespace("         0          0 4294967295"));
        assert!(!is_initial_user_namespace("0 1000 1"));
    }

    #[test]
    fn chosen_word_and_kibibytes_are_read() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
        assert_eq!(kibibytes("16 kB"), Some(16_384));
    }

    #[test]
    fn this_host_agrees_with_the_kernel() {
        let host = Host::read();
        assert_eq!(Some(host.kernel), text("/proc/sys/kernel/osrelease"));
        assert!(host.cpu.allowed >= 1 && host.cpu.allowed <= host.cpu.online);
        assert!(host.memory.total > Some(0));
        let loopback = host.interfaces.iter().find(|interface| interface.loopback).unwrap();
        assert!(loopback.addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{loopback:?}");
        assert!(loopback.mtu > Some(1500) && loopback.speed_mbps.is_none(), "{loopback:?}");
    }

    #[test]
    fn send_buffer_is_granted_up_to_the_limit() {
        let granted = send_buffer(64 << 10).unwrap();
        assert_eq!(granted, 64 << 10);
        let limit = number("/proc/sys/net/core/wmem_max").unwrap();
        assert!(send_buffer(1 << 20).unwrap() >= usize::try_from(limit).unwrap().min(1 << 20));
    }
}
