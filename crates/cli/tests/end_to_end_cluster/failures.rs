//! Creations that fail, step by step, and clouds that are killed: what is said, and what is left.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    running::{Finished, Running, elastane, eventually},
    site::{PATIENCE, Site, document, two_queues},
};

const CREATE: [&str; 5] = ["cluster", "create", "two", "--config", "cluster.yaml"];

/// A creation that fails.
struct Case {
    /// The step that fails.
    step: &'static str,
    /// What is changed in the configuration for it to fail.
    changes: &'static [(&'static str, &'static str)],
    /// What else is said.
    said: &'static [&'static str],
}

/// Steps that fail in the nodes or in EC2 because of what the configuration says.
const CASES: [Case; 7] = [
    Case {
        step: "run OnNodeStart of the head node",
        changes: &[(
            "OnNodeConfigured:",
            "OnNodeStart: {Script: /no/such/script}\n    OnNodeConfigured:",
        )],
        said: &["OnNodeStartDownloadFailure", "/no/such/script", "the end of the head node's log"],
    },
    Case {
        // It takes longer than the head node may.
        step: "run OnNodeStart of the head node",
        changes: &[
            (
                "OnNodeConfigured:",
                "OnNodeStart: {Script: /bin/sleep, Args: ['600']}\n    OnNodeConfigured:",
            ),
            (
                "HeadNode:\n",
                "DevSettings:\n  Timeouts:\n    HeadNodeBootstrapTimeout: 2\nHeadNode:\n",
            ),
        ],
        said: &[
            "HeadNodeBootstrapFailure",
            "was not set up within 2 s",
            "the end of the head node's log",
        ],
    },
    Case {
        // The node lacks what makes keys.
        step: "set up users and keys",
        changes: &[(
            "OnNodeConfigured:",
            "OnNodeStart: {Script: /bin/rm, Args: [/usr/bin/ssh-keygen]}\n    OnNodeConfigured:",
        )],
        said: &["set up the user ubuntu", "No such file", "the end of the head node's log"],
    },
    Case {
        // The node lacks Slurm.
        step: "start munge and Slurm",
        changes: &[(
            "OnNodeConfigured:",
            "OnNodeStart: {Script: /bin/rm, Args: [/usr/sbin/slurmctld]}\n    OnNodeConfigured:",
        )],
        said: &["slurmctld ended 3 times", "the end of the head node's log"],
    },
    Case {
        step: "start munge and Slurm",
        changes: &[(
            "Scheduler: slurm\n",
            "Scheduler: slurm\n  SlurmSettings: {CustomSlurmSettings: [{NoSuchSetting: 1}]}\n",
        )],
        said: &["slurmctld ended 3 times", "NoSuchSetting", "the end of the head node's log"],
    },
    Case {
        step: "start static nodes",
        changes: &[("echo $(hostname) start >>/shared/marks", "echo no licence >&2; exit 9")],
        said: &[
            "StaticNodeBootstrapFailure",
            "efa-st-c5n-1",
            "exit status: 9",
            "no licence",
            "the end of the head node's log",
        ],
    },
    Case {
        step: "run OnNodeConfigured of the head node",
        changes: &[("echo head configured", "echo no room; exit 7; echo")],
        said: &[
            "OnNodeConfiguredExecutionFailure",
            "exit status: 7",
            "no room",
            "the end of the head node's log",
        ],
    },
];

#[track_caller]
fn assert_failed(site: &Site, failed: &Finished, step: &str, said: &[&str]) {
    assert_eq!(failed.status, 1, "{failed:?}");
    let step = format!("two: could not {step}\n");
    let advice = "create it again, or add --keep";
    for expected in said.iter().copied().chain([step.as_str(), advice]) {
        assert!(failed.stderr.contains(expected), "{expected} is not in {failed:?}");
    }
    assert_gone(site);
}

/// No cluster is listed, and nothing of one is there, processes included.
#[track_caller]
fn assert_gone(site: &Site) {
    let listed = document(&site.run(&["cluster", "list", "--json"]));
    assert_eq!(listed["clusters"].as_array().map(Vec::len), Some(0), "{listed}");
    eventually("processes of instances end", PATIENCE, || processes(site).is_empty());
    site.assert_empty();
}

/// Processes of instances: they alone have folders of a cluster mounted.
fn processes(site: &Site) -> Vec<String> {
    let folder = site.path("cloud/filesystems/two.");
    // A mount is described by its place in its file system, which may begin below the root.
    let folder = folder.strip_prefix("/tmp").unwrap_or(&folder).display().to_string();
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let numbers = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let has_mounts = |number: &String| {
        fs::read_to_string(format!("/proc/{number}/mountinfo"))
            .is_ok_and(|mounts| mounts.contains(&folder))
    };
    numbers.filter(has_mounts).collect()
}

#[test]
fn creation_that_fails_at_any_step_names_it_and_leaves_nothing() {
    let site = Site::start(&[]);
    let text = two_queues(&site);
    site.write("cluster.yaml", &text);
    // So that what is looked for afterwards is what would be found.
    site.run(&CREATE).success();
    assert!(processes(&site).len() > 4, "{:?}", processes(&site));
    site.run(&["cluster", "delete", "two"]).success();
    assert_gone(&site);

    for case in &CASES {
        let changed = case.changes.iter().fold(text.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        site.write("cluster.yaml", &changed);
        assert_failed(&site, &site.run(&CREATE), case.step, case.said);
    }
}

#[test]
fn creation_that_fails_before_the_launch_leaves_nothing() {
    let site = Site::start(&[]);
    site.write("cluster.yaml", &two_queues(&site));

    // The second of the groups is there: the first is made and has to go.
    let name = ("GroupName", "two-ComputeNodes".to_owned());
    let own = [name.clone(), ("GroupDescription", "of somebody else".to_owned())];
    site.ec2().call("CreateSecurityGroup", &own).expect("a group");
    let failed = site.run(&CREATE);
    let answer = site.ec2().call("DescribeSecurityGroups", &[]).expect("groups");
    assert_eq!(answer.items("securityGroupInfo").count(), 2, "{answer:?}");
    site.ec2().call("DeleteSecurityGroup", &[name]).expect("deleted");
    let step = "make security groups and placement groups";
    assert_failed(&site, &failed, step, &["InvalidGroup.Duplicate", "two-ComputeNodes"]);

    // More tags than an instance may have, with those that ask for folders.
    let tags: String = (0..40).map(|number| format!("- Key: k{number}\n  Value: v\n")).collect();
    let folder = "- MountDir: /more\n  Name: more\n  StorageType: Ebs\n";
    site.write("tags.yaml", &format!("{}{folder}Tags:\n{tags}", two_queues(&site)));
    let failed = site.run(&["cluster", "create", "two", "--config", "tags.yaml"]);
    assert_failed(&site, &failed, "launch the head node", &["TagLimitExceeded"]);

    // A disk that is full: of the folders, and of the record itself.
    let folder = site.path("cloud/filesystems");
    fs::create_dir_all(&folder).unwrap();
    let full = Full::mount(&folder, "size=1m");
    assert_failed(&site, &site.run(&CREATE), "make shared folders", &["No space left on device"]);
    drop(full);
    let full = Full::mount(&folder, "nr_inodes=3");
    let failed = site.run(&CREATE);
    assert_eq!(failed.status, 2, "{failed:?}");
    assert!(failed.stderr.contains("No space left on device"), "{failed:?}");
    assert_gone(&site);
    drop(full);

    // This machine lacks Slurm.
    fs::create_dir(site.path("empty")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.args(["mount --bind empty /usr/sbin && exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_elastane")).args(CREATE);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = Running::start(site.command(command)).finish();
    assert_eq!(failed.status, 2, "{failed:?}");
    assert!(failed.stderr.contains("apt-get install slurm-wlm munge openssh-server"), "{failed:?}");
    assert_gone(&site);
    site.run(&CREATE).success();
    site.run(&["cluster", "delete", "two"]).success();
    assert_gone(&site);
}

#[test]
fn killed_creation_is_deleted_whole() {
    let site = Site::start(&[]);
    site.write("cluster.yaml", &two_queues(&site));
    type Point = (&'static str, fn(&Site) -> bool);
    let points: [Point; 3] = [
        ("a record", |site| site.path("cloud/filesystems/two.state/cluster.json").exists()),
        ("shared folders", |site| site.path("cloud/filesystems/two.cluster/bin").exists()),
        ("a head node", |site| !site.live("node-type", "HeadNode").is_empty()),
    ];
    for (what, is_there) in points {
        let creating = Running::start(site.command(elastane(&CREATE)));
        eventually(what, PATIENCE, || is_there(&site));
        creating.signal(Signal::SIGKILL);
        assert_ne!(creating.finish().status, 0, "it was killed");
        site.run(&["cluster", "delete", "two"]).success();
        assert_gone(&site);
    }
}

/// A small file system over a folder.
struct Full<'a>(&'a Path);

impl<'a> Full<'a> {
    fn mount(folder: &'a Path, limit: &str) -> Self {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(limit)).unwrap();
        Self(folder)
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn killed_cloud_starts_its_clusters_again_and_jobs_finish() {
    let site = Site::start(&[]);
    site.write("cluster.yaml", &two_queues(&site));
    site.run(&CREATE).success();
    // Two run, one of them on the static node, and more wait than there are nodes.
    site.on_head(
        "two",
        "sbatch -Q -p efa -w efa-st-c5n-1 -o static.out --wrap 'sleep 20; echo static'; \
         for i in $(seq 12); do \
             sbatch -Q -p small -o job-$i.out --wrap \"sleep 20; echo $i\"; done",
    );
    site.until("two", "squeue -h -t R -o %P | sort -u", |said| said == "efa\nsmall\n");
    // Slurm writes down what it was told within five seconds.
    let written = || {
        let file = fs::metadata(site.path("cloud/filesystems/two.state/slurm/job_state"));
        file.and_then(|file| file.modified()).ok()
    };
    let before = written();
    eventually("Slurm has written its jobs down", PATIENCE, || written() > before);
    let status = document(&site.run(&["cloud", "status", "--json"]));
    let agent = status["agent"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
    kill(Pid::from_raw(agent), Signal::SIGKILL).unwrap();
    eventually("instances end", PATIENCE, || processes(&site).is_empty());

    site.run(&["cloud", "up"]).success();
    eventually("the head node lets in", PATIENCE, || {
        site.run(&["cluster", "ssh", "two", "-i", "key.pem", "--", "scontrol", "ping"]).status == 0
    });
    site.until("two", "squeue -h", str::is_empty);
    let said = site.on_head("two", "cat static.out; cat job-*.out | sort -n | tr '\\n' ' '");
    assert_eq!(said, "static\n1 2 3 4 5 6 7 8 9 10 11 12 ");
    let described = site.run(&["cluster", "describe", "two"]);
    let trouble = "ended while the head node did not run";
    assert!(described.success().contains(trouble), "{described:?}");

    // A head node that somebody stopped stays stopped.
    let head = site.live("node-type", "HeadNode").remove(0);
    site.ec2().call("StopInstances", &[("InstanceId.1", head)]).expect("stopping");
    eventually("it stops", PATIENCE, || site.live("node-type", "HeadNode").is_empty());
    site.run(&["cloud", "down"]).success();
    site.run(&["cloud", "up"]).success();
    assert_eq!(site.live("node-type", "HeadNode"), [""; 0]);
    site.run(&["cluster", "delete", "two"]).success();
    assert_gone(&site);
}
