//! A cloud of a test's own, and what tests ask of clusters in it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use cloud::client::Ec2;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    provider_library,
    running::{Finished, Running, elastane, eventually},
};

/// How long jobs and nodes may take on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A cloud in a folder of its own, and a key pair to log in with.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn start(capacity: &[&str]) -> Self {
        let site = Self { folder: tempfile::tempdir().expect("a folder") };
        let mut arguments = vec!["cloud", "up"];
        for limit in capacity {
            arguments.extend(["--capacity", limit]);
        }
        site.run(&arguments).success();
        let answer = site.ec2().call("CreateKeyPair", &[("KeyName", "hpc-cluster".to_owned())]);
        let answer = answer.expect("a key pair");
        let key = site.path("key.pem");
        fs::write(&key, answer.get("keyMaterial").expect("a key")).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_elastane"), site.path("pcluster")).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ec2(&self) -> Ec2 {
        let (endpoint, region, credentials) =
            cloud::agent::reach(&self.path("cloud")).expect("the cloud is up");
        Ec2::new(endpoint, &region, credentials)
    }

    pub(crate) fn subnet(&self) -> String {
        let answer = self.ec2().call("DescribeSubnets", &[]).expect("subnets");
        let first = answer.items("subnetSet").next().and_then(|item| item.get("subnetId"));
        first.expect("a subnet").to_owned()
    }

    pub(crate) fn command(&self, mut command: Command) -> Command {
        command.env("ELASTANE_CLOUD_DIR", self.path("cloud")).current_dir(self.folder.path());
        provider_library::offer(&mut command);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        Running::start(self.command(elastane(arguments))).finish()
    }

    /// The program by the name of ParallelCluster's.
    pub(crate) fn pcluster(&self, arguments: &str) -> Finished {
        let mut command = Command::new(self.path("pcluster"));
        command.args(arguments.split(' '));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(self.command(command)).finish()
    }

    /// What a command prints on the head node.
    #[track_caller]
    pub(crate) fn on_head(&self, cluster: &str, line: &str) -> String {
        let finished = self.run(&["cluster", "ssh", cluster, "-i", "key.pem", "--", line]);
        assert_eq!(finished.status, 0, "{line}: {finished:?}");
        finished.stdout
    }

    /// Waits until a command on the head node prints what is expected.
    #[track_caller]
    pub(crate) fn until(&self, cluster: &str, line: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        eventually(line, PATIENCE, || {
            said = self.on_head(cluster, line);
            is_so(&said)
        });
        said
    }

    /// Lives of instances with a tag of ParallelCluster's: their ids.
    pub(crate) fn live(&self, tag: &str, value: &str) -> Vec<String> {
        let filters = [
            ("Filter.1.Name", format!("tag:parallelcluster:{tag}")),
            ("Filter.1.Value.1", value.to_owned()),
            ("Filter.2.Name", "instance-state-name".to_owned()),
            ("Filter.2.Value.1", "running".to_owned()),
            ("Filter.2.Value.2", "pending".to_owned()),
        ];
        let answer = self.ec2().call("DescribeInstances", &filters).expect("instances");
        let instances = answer.items("reservationSet").flat_map(|it| it.items("instancesSet"));
        instances.filter_map(|it| it.get("instanceId").map(str::to_owned)).collect()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Nothing of any cluster is left in the cloud.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.path("cloud/filesystems"))
            .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
            .unwrap_or_default();
        assert_eq!(left, [""; 0]);
        assert_eq!(self.live("version", "3.11.1"), [""; 0]);
        for (action, list, name) in [
            ("DescribeSecurityGroups", "securityGroupInfo", "groupName"),
            ("DescribePlacementGroups", "placementGroupSet", "groupName"),
        ] {
            let answer = self.ec2().call(action, &[]).expect("an answer");
            let names = answer.items(list).filter_map(|item| item.get(name));
            let own: Vec<_> = names.filter(|name| *name != "default").collect();
            assert_eq!(own, [""; 0], "{action}");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed has nothing to add to why it did.
        drop(self.run(&["cloud", "down", "--delete"]));
    }
}

/// What a command printed, as JSON.
pub(crate) fn document(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// Two queues: static and dynamic nodes with EFA, and small ones that run one job each.
pub(crate) fn two_queues(site: &Site) -> String {
    include_str!("two-queues.yaml").replace("@subnet@", &site.subnet())
}
