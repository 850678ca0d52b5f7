//! What can go wrong. A message holds that of its cause, which is therefore not also a `source`.

use std::io;

/// Why hosts cannot be made, or a network not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// This machine does not let us have network namespaces; measure over loopback instead.
    #[error("hosts are not available here: {0}")]
    Unavailable(Unavailable),
    /// The network asked for cannot exist.
    #[error("{hosts} hosts: a network has 2 to {limit}, and a multipath network has 2")]
    HostCount {
        /// Hosts asked for.
        hosts: usize,
        /// The most hosts of this kind of network.
        limit: usize,
    },
    /// The number of paths asked for is outside its range.
    #[error("{paths} paths: a multipath network has 1 to {limit}")]
    PathCount {
        /// Paths asked for.
        paths: usize,
        /// The most paths.
        limit: usize,
    },
    /// The MTU is outside what the links and IPv6 can carry.
    #[error("mtu {mtu}: choose 1280 to 65535 bytes")]
    Mtu {
        /// The MTU asked for.
        mtu: u32,
    },
    /// The rate is too low to shape with, or the queue does not hold one train of packets.
    #[error("rate {rate}, queue {queue} bytes: choose at least 1 Mb/s and {least_queue} bytes")]
    Shape {
        /// The rate asked for.
        rate: crate::Rate,
        /// The queue asked for.
        queue: u32,
        /// The smallest queue that can be had.
        least_queue: u32,
    },
    /// The kernel refused to set something up in a host.
    #[error("cannot {action} in {host}: {error}")]
    Configure {
        /// What was to be done.
        action: String,
        /// Where.
        host: String,
        /// Why it failed.
        error: io::Error,
    },
    /// This machine leads packets for the addresses of a network elsewhere.
    #[error("{network} leads elsewhere on this machine already: choose another network")]
    NetworkTaken {
        /// The network asked for.
        network: ipnet::Ipv4Net,
    },
    /// The network has no path of that number.
    #[error("no path {path}: the network has paths 0 to {}", paths - 1)]
    NoSuchPath {
        /// The path asked for.
        path: usize,
        /// How many paths there are.
        paths: usize,
    },
    /// A packet filter counts a train of packets as one, so loss would hit whole trains.
    #[error("loss needs single packets: build the network with Segmentation::Off")]
    LossNeedsSingles,
    /// A program that does part of the work is not installed.
    #[error("{program} is not installed: apt-get install {package}")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// The packet filter refused the rules.
    #[error("nft refused the rules in {host}: {message}")]
    Filter {
        /// The host whose rules were to be changed.
        host: String,
        /// What nft printed.
        message: String,
    },
    /// A socket could not be opened in a host.
    #[error("cannot open a socket in {host}: {error}")]
    Socket {
        /// The host.
        host: String,
        /// Why it failed.
        error: io::Error,
    },
    /// A thread could not be moved into a host.
    #[error("cannot run a thread in {host}: {error}")]
    Enter {
        /// The host.
        host: String,
        /// Why it failed.
        error: io::Error,
    },
    /// The kernel does not let a thread join a user namespace, and the hosts are in one.
    #[error(
        "a thread cannot enter {host} without root: use Host::socket or Host::command, or run as \
         root"
    )]
    ThreadCannotEnter {
        /// The host.
        host: String,
    },
}

/// Why this machine does not let us have network namespaces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The process that keeps the namespaces could not be started, or died.
    #[error("cannot start the process that keeps the namespaces: {0}")]
    Sentinel(io::Error),
    /// Without root, namespaces need a user namespace, and the kernel refused one.
    #[error(
        "the kernel refused a user namespace ({0}): run as root, or see sysctl \
         user.max_user_namespaces, kernel.unprivileged_userns_clone and the container's seccomp \
         profile"
    )]
    UserNamespace(io::Error),
    /// A user namespace was made, but the user could not be mapped to root in it.
    #[error(
        "the user cannot be mapped to root in a user namespace ({0}): run as root, or see \
         sysctl kernel.apparmor_restrict_unprivileged_userns"
    )]
    UserMap(io::Error),
    /// Network namespaces were refused, as root or in a user namespace.
    #[error(
        "the kernel refused a network namespace ({0}): run as root with CAP_SYS_ADMIN, or see \
         sysctl user.max_net_namespaces and kernel.apparmor_restrict_unprivileged_userns"
    )]
    NetworkNamespace(io::Error),
    /// A setting inside the new namespace could not be written.
    #[error(
        "the settings of a new network namespace cannot be written ({0}): is /proc/sys read-only?"
    )]
    Settings(io::Error),
}
