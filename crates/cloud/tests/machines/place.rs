//! Machines, made for one test.

use std::{
    net::Ipv4Addr,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use elastane_cloud::machines::{
    Group, Health, Link, LocalMachines, Machine, Machines as _, Peer, Policy, Premises, Rule,
    Traffic,
};
use ipnet::Ipv4Net;
use tempfile::TempDir;

const ROUNDS: u32 = 1000;
const ROUND: Duration = Duration::from_millis(10);

pub(crate) struct Place {
    pub(crate) machines: LocalMachines,
    directory: TempDir,
    network: Ipv4Net,
}

impl Place {
    pub(crate) fn open() -> Self {
        let network = unique_network();
        let directory = tempfile::Builder::new().prefix("elastane-place").tempdir().unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.path().join("key"));
        assert!(keygen.status().unwrap().success());
        let machines = LocalMachines::open(Premises {
            directory: directory.path().to_owned(),
            network,
            domain: "ec2.internal".to_owned(),
            uplink: format!("elp{}", network.network().to_bits() >> 8 & 0xffff),
            provider: None,
            socket: None,
            scale: 10,
        });
        Self { machines: machines.unwrap(), directory, network }
    }

    pub(crate) fn address(&self, machine: u8) -> String {
        self.numbered(10 + machine)
    }

    /// The address of that number in the network.
    pub(crate) fn numbered(&self, number: u8) -> String {
        Ipv4Addr::from_bits(self.network.network().to_bits() + u32::from(number)).to_string()
    }

    /// This machine, as a peer of rules.
    pub(crate) fn this_machine(&self) -> Peer {
        Peer::Network(format!("{}/32", self.numbered(3)).parse().unwrap())
    }

    /// Starts machine `number` and waits until it answers.
    pub(crate) fn start(&mut self, number: u8) {
        self.start_with(number, None);
    }

    /// The same, with a link that has limits.
    pub(crate) fn start_with(&mut self, number: u8, link: Option<Link>) {
        let id = format!("i-{number}");
        let key = std::fs::read_to_string(self.directory.path().join("key.pub")).unwrap();
        let machine = Machine {
            id: id.clone(),
            hostname: format!("machine-{number}"),
            image: None,
            address: self.address(number).parse().unwrap(),
            more_addresses: Vec::new(),
            efa: false,
            authorized_key: Some(key),
            user: "ec2-user".to_owned(),
            user_data: None,
            mounts: Vec::new(),
            link,
        };
        self.machines.start(&machine).unwrap();
        wait_until("it answers", || match self.machines.health(&id) {
            Health::Starting => false,
            Health::Ready => true,
            Health::Dead => panic!("{}", self.console(&id)),
        });
    }

    fn console(&self, id: &str) -> String {
        String::from_utf8_lossy(&self.machines.console(id).unwrap()).into_owned()
    }

    /// Runs a command in a machine, for at most so many seconds.
    pub(crate) fn ssh(&self, machine: u8, command: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3", "-o", "BatchMode=yes"])
            .arg("-i")
            .arg(self.directory.path().join("key"));
        ssh.arg(format!("root@{}", self.address(machine))).arg(command).output().unwrap()
    }

    /// Whether a machine reaches another's SSH server.
    pub(crate) fn reaches(&self, from: u8, to: u8) -> bool {
        let probe = format!("timeout 1 bash -c '</dev/tcp/{}/22'", self.address(to));
        self.ssh(from, &probe).status.success()
    }
}

/// A network that no other test uses at the same time.
fn unique_network() -> Ipv4Net {
    static USED: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id() * 16 + USED.fetch_add(1, Ordering::Relaxed)) % 16384;
    // From 10.192.0.0/24 on.
    Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0ac0_0000 + (number << 8)), 24)
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..ROUNDS {
        if holds() {
            return;
        }
        std::thread::park_timeout(ROUND);
    }
    panic!("it did not come about in time that {what}");
}

pub(crate) fn everywhere() -> Peer {
    Peer::Network("0.0.0.0/0".parse().unwrap())
}

pub(crate) fn ssh_from(peer: Peer) -> Rule {
    Rule { traffic: Traffic::Tcp { first: 22, last: 22 }, peer }
}

pub(crate) fn all(peer: Peer) -> Rule {
    Rule { traffic: Traffic::All, peer }
}

pub(crate) fn group(
    place: &Place,
    id: &str,
    members: &[u8],
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
) -> Group {
    let members = members.iter().map(|member| place.address(*member).parse().unwrap()).collect();
    Group { id: id.to_owned(), members, ingress, egress }
}

pub(crate) fn policy(groups: Vec<Group>) -> Policy {
    Policy { groups }
}
