//! A cloud of its own for each test, and what this machine is like around it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use cloud::{
    agent,
    client::{Document, Ec2},
};
use tempfile::TempDir;

use crate::provider_library;

/// Rounds of looking for what takes time, and what one lasts.
const ROUNDS: u32 = 6000;
const ROUND: Duration = Duration::from_millis(10);

/// A state directory, whose cloud ends with the test.
pub(crate) struct Cloud {
    directory: TempDir,
}

impl Cloud {
    /// A state directory without a cloud.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("elastane-cloud").tempdir().unwrap();
        Self { directory }
    }

    /// A cloud that is up.
    pub(crate) fn up() -> Self {
        let cloud = Self::new();
        let output = cloud.elastane(&["up"]);
        assert!(output.status.success(), "{output:?}");
        cloud
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elastane"));
        command.arg("cloud").args(arguments).env("ELASTANE_CLOUD_DIR", self.path());
        command.env_remove("ELASTANE_LOG").stdin(Stdio::null());
        provider_library::offer(&mut command);
        command
    }

    /// Runs `elastane cloud` to its end.
    pub(crate) fn elastane(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn running(&self) -> agent::Running {
        agent::find(self.path()).unwrap().expect("it is up")
    }

    pub(crate) fn ec2(&self) -> Ec2 {
        let (endpoint, region, credentials) = agent::reach(self.path()).unwrap();
        Ec2::new(endpoint, &region, credentials)
    }

    /// Every process that descends from the agent's.
    pub(crate) fn processes(&self) -> Vec<u32> {
        descendants(self.running().pid)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // A test that failed leaves none either.
        agent::stop(self.path()).ok();
    }
}

/// A cloud with a key pair and a group that lets this machine in.
pub(crate) struct Account {
    pub(crate) cloud: Cloud,
    pub(crate) ec2: Ec2,
    pub(crate) key: PathBuf,
}

impl Account {
    pub(crate) fn open(cloud: Cloud) -> Self {
        let ec2 = cloud.ec2();
        let pair = [("KeyName", "key".to_owned()), ("KeyType", "ed25519".to_owned())];
        let made = ec2.call("CreateKeyPair", &pair).unwrap();
        let key = cloud.path().join("key.pem");
        fs::write(&key, made.get("keyMaterial").unwrap()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&key, mode).unwrap();
        Self { cloud, ec2, key }
    }

    /// Calls the API; it has to do as told.
    #[track_caller]
    pub(crate) fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Document {
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.ec2.call(action, &parameters).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A security group that allows everything within itself, and SSH from anywhere.
    pub(crate) fn make_group(&self, name: &str) -> String {
        let make = [("GroupName", name), ("GroupDescription", "everything within itself")];
        let group = self.call("CreateSecurityGroup", &make).get("groupId").unwrap().to_owned();
        let itself = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.Groups.1.GroupId", group.as_str()),
        ];
        self.call("AuthorizeSecurityGroupIngress", &itself);
        self.call("AuthorizeSecurityGroupEgress", &itself);
        let ssh = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "22"),
            ("IpPermissions.1.ToPort", "22"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ];
        self.call("AuthorizeSecurityGroupIngress", &ssh);
        group
    }

    /// The image with the user `ec2-user`.
    pub(crate) fn base_image(&self) -> String {
        let images = self.call("DescribeImages", &[("Owner.1", "amazon")]);
        let named = |image: &&Document| image.get("name").is_some_and(|n| n.contains("ec2-user"));
        let image = images.items("imagesSet").find(named).expect("a base image");
        image.get("imageId").unwrap().to_owned()
    }

    /// Launches instances with EFA and waits until they can be logged in to.
    pub(crate) fn launch(
        &self,
        count: usize,
        image: &str,
        group: &str,
        more: &[(&str, &str)],
    ) -> Vec<Machine> {
        let subnets = self.call("DescribeSubnets", &[]);
        let subnet = subnets.items("subnetSet").next().unwrap().get("subnetId").unwrap();
        let count = count.to_string();
        let parameters = [
            ("ImageId", image),
            ("InstanceType", "c5n.18xlarge"),
            ("KeyName", "key"),
            ("MinCount", &count),
            ("MaxCount", &count),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.InterfaceType", "efa"),
            ("NetworkInterface.1.SubnetId", subnet),
            ("NetworkInterface.1.SecurityGroupId.1", group),
        ];
        let launched = self.call("RunInstances", &[&parameters, more].concat());
        let machines: Vec<Machine> = launched.items("instancesSet").map(Machine::of).collect();
        machines.iter().for_each(|machine| self.wait_for(machine));
        machines
    }

    /// Waits until an instance can be logged in to.
    pub(crate) fn wait_for(&self, machine: &Machine) {
        eventually("it can be logged in to", || self.ssh(machine, "true").status.success());
    }

    pub(crate) fn state(&self, machine: &Machine) -> String {
        let found = self.call("DescribeInstances", &[("InstanceId.1", machine.id.as_str())]);
        let reservation = found.items("reservationSet").next().unwrap();
        let instance = reservation.items("instancesSet").next().unwrap();
        instance.get("instanceState/name").unwrap().to_owned()
    }

    pub(crate) fn ssh(&self, machine: &Machine, command: &str) -> Output {
        self.login(machine).arg(command).output().unwrap()
    }

    fn login(&self, machine: &Machine) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes"])
            .arg("-i")
            .arg(&self.key)
            .arg(format!("ec2-user@{}", machine.address));
        ssh.stdin(Stdio::null());
        ssh
    }

    /// What a command in an instance prints; it has to succeed.
    #[track_caller]
    pub(crate) fn run(&self, machine: &Machine, command: &str) -> String {
        let output = self.ssh(machine, command);
        assert!(output.status.success(), "{command}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a command in an instance with a file as its input.
    #[track_caller]
    pub(crate) fn feed(&self, machine: &Machine, file: &Path, command: &str) {
        let input = fs::File::open(file).unwrap();
        let output = self.login(machine).arg(command).stdin(input).output().unwrap();
        assert!(output.status.success(), "{command}: {}", text(&output));
    }
}

/// An instance, as the API named it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) address: String,
}

impl Machine {
    pub(crate) fn of(instance: &Document) -> Self {
        let field = |name| instance.get(name).unwrap().to_owned();
        Self { id: field("instanceId"), address: field("privateIpAddress") }
    }
}

/// What a cloud could leave on this machine, in the words of the programs that show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    devices: BTreeSet<String>,
    routes: BTreeSet<String>,
    loops: BTreeSet<String>,
    mounts: BTreeSet<String>,
    rules: String,
}

impl Traces {
    /// Those of this machine now which have to do with a state directory.
    pub(crate) fn now(directory: &Path) -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let uplink = agent::uplink(directory);
        let with = |text: String, word: &str| -> BTreeSet<String> {
            text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
        };
        let ours = directory.to_string_lossy();
        Self {
            devices: with(said("ip", &["-oneline", "link"]), &uplink),
            routes: with(said("ip", &["route", "show"]), &uplink),
            loops: with(said("losetup", &["--all"]), &ours),
            mounts: with(fs::read_to_string("/proc/self/mountinfo").unwrap(), &ours),
            rules: said("nft", &["list", "ruleset"]),
        }
    }
}

/// The processes that descend from `ancestor`, at any distance.
fn descendants(ancestor: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = processes.filter_map(|id| Some((id, parent_of(id)?))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

/// The parent of a process that has not ended.
fn parent_of(id: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.next()?.parse().ok() }
}

pub(crate) fn is_running(id: u32) -> bool {
    parent_of(id).is_some()
}

/// Fails unless `condition` comes true in time.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..ROUNDS {
        if condition() {
            return;
        }
        std::thread::park_timeout(ROUND);
    }
    panic!("it did not come about in time that {what}");
}

/// What a program printed and said.
pub(crate) fn text(output: &Output) -> String {
    let (printed, said) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(printed), String::from_utf8_lossy(said))
}
