//! What the records of EC2 ask of real machines.

mod local;
mod names;
mod rules;

pub use local::{LocalMachines, Premises};

use std::{net::Ipv4Addr, path::PathBuf};

use ipnet::Ipv4Net;

/// Machines behind the instances. The caller serialises the calls; none of them waits for a
/// machine's services, [`Machines::health`] is asked for those.
pub trait Machines: Send {
    /// Boots a machine, or boots it again after [`Machines::stop`]. Returns once its first process
    /// runs. What it writes to its root stays until [`Machines::terminate`].
    ///
    /// # Errors
    ///
    /// Nothing is left of a machine that could not boot, but for its root if it had one before.
    fn start(&mut self, machine: &Machine) -> Result<(), MachineError>;

    /// Ends every process of a machine and keeps its root. A machine that does not run is stopped
    /// already.
    ///
    /// # Errors
    ///
    /// When the machine is unknown, or a process of it cannot be ended.
    fn stop(&mut self, id: &str) -> Result<(), MachineError>;

    /// Ends every process of a machine and removes its root. An unknown machine is terminated
    /// already.
    ///
    /// # Errors
    ///
    /// When a process cannot be ended or the root cannot be removed; calling again tries again.
    fn terminate(&mut self, id: &str) -> Result<(), MachineError>;

    /// How a machine is now; [`Health::Dead`] when it does not run or is unknown.
    fn health(&self, id: &str) -> Health;

    /// Keeps what a machine has changed in its root, over the image it was started from, as the
    /// image `image`. The machine may run: whoever wants what it has not written yet stops it
    /// before.
    ///
    /// # Errors
    ///
    /// When the machine is unknown or the changes cannot be copied; then there is no image.
    fn keep_image(&mut self, id: &str, image: &str) -> Result<(), MachineError>;

    /// Removes an image. Machines started from it keep what they have of it.
    ///
    /// # Errors
    ///
    /// When the image cannot be removed. An unknown image is removed already.
    fn drop_image(&mut self, image: &str) -> Result<(), MachineError>;

    /// What a machine has written to its console, from its first boot on, its last 64 KiB at
    /// least. Stays after the machine has died, until [`Machines::terminate`].
    ///
    /// # Errors
    ///
    /// When the machine is unknown.
    fn console(&self, id: &str) -> Result<Vec<u8>, MachineError>;

    /// Lets pass what the policy allows, and nothing else, from now on. Replaces the policy before
    /// as one: no packet meets a part of it.
    ///
    /// # Errors
    ///
    /// When the packet filter refuses it; then the policy before holds.
    fn filter(&mut self, policy: &Policy) -> Result<(), MachineError>;
}

/// A machine to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The instance's id, `i-` and 17 hexadecimal digits.
    pub id: String,
    /// Its host name, without a domain.
    pub hostname: String,
    /// The image whose changes lie below its root; without one, this machine's root itself.
    pub image: Option<String>,
    /// Its address in the cloud's network, free for it until it is terminated.
    pub address: Ipv4Addr,
    /// The addresses of its further interfaces, which it has as well.
    pub more_addresses: Vec<Ipv4Addr>,
    /// Whether the provider `efa` answers in it.
    pub efa: bool,
    /// A line of `authorized_keys` for [`Machine::user`].
    pub authorized_key: Option<String>,
    /// The user who logs in and may become root, `ec2-user` for one.
    pub user: String,
    /// What runs as root at the first boot when it begins with `#!`, and otherwise is kept as a
    /// file.
    pub user_data: Option<Vec<u8>>,
    /// Directories of this machine that it shares.
    pub mounts: Vec<Mount>,
    /// What its network card may carry; unlimited without.
    pub link: Option<Link>,
}

/// A directory that appears in a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory here, made if it is not there.
    pub source: PathBuf,
    /// Where the machine sees it: an absolute path without `..`.
    pub target: PathBuf,
}

/// The limits EC2 states for an instance's network, at full scale. By what factor an emulation
/// slows all of them down is up to [`Machines`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What all flows of the instance may carry together, in bits per second.
    pub card: u64,
    /// What one flow may carry, in bits per second.
    pub flow: u64,
    /// What one flow may carry towards an instance of the same cluster placement group, in bits
    /// per second.
    pub near_flow: u64,
    /// The id of the cluster placement group the instance is in.
    pub near: Option<String>,
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Its first process runs, its SSH server does not answer yet.
    Starting,
    /// Its SSH server answers.
    Ready,
    /// Its first process has ended, or was never started.
    Dead,
}

/// All security groups at once: what may pass to and from the cloud's addresses.
///
/// A packet passes if a group of its sender allows it out and a group of its receiver allows it
/// in. Answers to what has passed pass. A machine reaches itself whatever the rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// In order of their ids.
    pub groups: Vec<Group>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `sg-` and 17 hexadecimal digits.
    pub id: String,
    /// The addresses of its members, in order.
    pub members: Vec<Ipv4Addr>,
    /// What members may receive.
    pub ingress: Vec<Rule>,
    /// What members may send.
    pub egress: Vec<Rule>,
}

/// Traffic that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of what kind.
    pub traffic: Traffic,
    /// From or to whom.
    pub peer: Peer,
}

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Everything. Only this lets EFA traffic pass, as on EC2.
    All,
    /// TCP to ports `first..=last`.
    Tcp {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// UDP to ports `first..=last`.
    Udp {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// ICMP messages of a type and code; `None` is any.
    Icmp {
        /// The message's type.
        kind: Option<u8>,
        /// The message's code.
        code: Option<u8>,
    },
    /// Another protocol, by its number in the IP header.
    Protocol(u8),
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses of a network.
    Network(Ipv4Net),
    /// The members of a group, by its id.
    Group(String),
}

/// Why a machine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no such machine.
    #[error("no machine {0}")]
    UnknownMachine(String),
    /// There is no such image.
    #[error("no image {0}")]
    UnknownImage(String),
    /// This machine has no room for it now: memory, disk, processes, addresses.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// Something else failed.
    #[error("cannot {what}: {cause}")]
    Failed {
        /// What was tried, and on what.
        what: String,
        /// The error behind it.
        cause: String,
    },
}
