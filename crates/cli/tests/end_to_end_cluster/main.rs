//! Clusters with Slurm in a cloud of their own, used as docs/guides/parallelcluster.md uses them.
//!
//! To be run as root and one test at a time, as `cargo xtask test --only end-to-end` does. Needs
//! Debian's packages `slurm-wlm`, `munge`, `openssh-server`, `openssh-client` and `nftables`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[path = "../end_to_end/provider_library.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod provider_library;
#[path = "../end_to_end/running.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod running;

mod fabric;
mod failures;
mod nodes;
mod site;

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use running::{Running, eventually, timed};
use site::{PATIENCE, Site, document, two_queues};

#[test]
fn guide_works_from_configure_to_delete() {
    let site = Site::start(&[]);
    let subnet = site.subnet();
    let mut configure = site.command(Command::new(site.path("pcluster")));
    configure.args(["configure", "--config", "cluster-config.yaml", "--region=eu-west-1"]);
    let answers = format!(
        "hpc-cluster\nslurm\nalinux2\nt3.micro\n\n\n\nt3.micro\n\n\n\nn\n{subnet}\n{subnet}\n"
    );
    site.write("answers", &answers);
    configure.stdin(fs::File::open(site.path("answers")).unwrap());
    configure.stdout(Stdio::piped()).stderr(Stdio::piped());
    let configured = Running::start(configure).finish();
    assert!(configured.success().contains("Configuration file written"), "{configured:?}");
    let text = fs::read_to_string(site.path("cluster-config.yaml")).unwrap();
    assert!(text.contains(&format!("SubnetId: {subnet}")), "{text}");
    // As in the guide, but for the ten minutes of idleness.
    let quick = "Scheduler: slurm\n  SlurmSettings:\n    ScaledownIdletime: 0";
    let text = text.replace("  Ssh:", "  Imds:\n    Secured: false\n  Ssh:");
    site.write("cluster-config.yaml", &text.replace("Scheduler: slurm", quick));

    let create = "create-cluster --cluster-configuration cluster-config.yaml \
                  --cluster-name test-cluster --region eu-west-1";
    let created = document(&site.pcluster(create));
    assert_eq!(created["cluster"]["clusterStatus"], "CREATE_IN_PROGRESS", "{created}");
    let describe = "describe-cluster --cluster-name test-cluster --region=eu-west-1";
    let mut described = Value::Null;
    eventually("the cluster is complete", PATIENCE, || {
        described = document(&site.pcluster(describe));
        described["clusterStatus"] == "CREATE_COMPLETE"
    });
    assert_eq!(described["cloudFormationStackStatus"], "CREATE_COMPLETE", "{described}");
    assert_eq!(described["headNode"]["state"], "running", "{described}");

    let ssh = site.pcluster("ssh --cluster-name test-cluster -i key.pem --region=eu-west-1 sinfo");
    assert!(ssh.success().contains("queue1-dy-t3micro-[1-10]"), "{ssh:?}");
    site.on_head(
        "test-cluster",
        "printf '#!/bin/bash\\nsleep 3\\necho \"Hello World from $(hostname)\"\\n' >script.sh",
    );
    for number in 1..=9 {
        let said = site.on_head("test-cluster", "sbatch script.sh");
        assert_eq!(said, format!("Submitted batch job {number}\n"));
    }
    site.until("test-cluster", "squeue -h -o %t", |said| said.contains("CF"));
    site.until("test-cluster", "squeue -h -o %t", |said| said.contains('R'));
    site.until("test-cluster", "squeue -h", str::is_empty);
    let said = site.on_head("test-cluster", "cat slurm-*.out");
    assert_eq!(said.lines().count(), 9, "{said}");
    for line in said.lines() {
        assert!(line.starts_with("Hello World from queue1-dy-t3micro-"), "{said}");
    }
    eventually("idle nodes end", PATIENCE, || site.live("queue-name", "queue1").is_empty());
    assert_eq!(site.live("node-type", "HeadNode").len(), 1);

    let deleted = site.pcluster("delete-cluster --cluster-name test-cluster --region=eu-west-1");
    assert_eq!(document(&deleted)["cluster"]["clusterStatus"], "DELETE_IN_PROGRESS");
    site.assert_empty();
    let gone = site.pcluster(describe);
    assert_eq!(gone.status, 1, "{gone:?}");
    assert!(document(&gone)["message"].to_string().contains("does not exist"), "{gone:?}");
}

/// The head node boots again while a job runs and another waits.
fn boot_head_again(site: &Site) {
    site.on_head(
        "two",
        "sbatch -Q -p small -o long.out --wrap 'sleep 12; echo kept'; \
                         sbatch -Q -p small -o later.out --begin=now+10 --wrap 'echo later'",
    );
    site.until("two", "squeue -h -o %t", |said| said.contains('R'));
    let head = site.live("node-type", "HeadNode").remove(0);
    let id = [("InstanceId.1", head)];
    site.ec2().call("StopInstances", &id).expect("stopping");
    eventually("the head node stops", PATIENCE, || site.live("node-type", "HeadNode").is_empty());
    eventually("the head node can start", PATIENCE, || {
        site.ec2().call("StartInstances", &id).is_ok()
    });
    eventually("the head node lets in", PATIENCE, || {
        site.run(&["cluster", "ssh", "two", "-i", "key.pem", "--", "scontrol", "ping"]).status == 0
    });
    site.until("two", "squeue -h", str::is_empty);
    assert_eq!(site.on_head("two", "cat long.out later.out"), "kept\nlater\n");
}

#[test]
fn jobs_of_every_kind_run_and_outlive_what_breaks() {
    let site = Site::start(&[]);
    site.write("cluster.yaml", &two_queues(&site));
    let create = ["cluster", "create", "two", "--config", "cluster.yaml"];
    let (created, time) = timed(|| site.run(&create));
    created.success();
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_eq!(site.live("queue-name", "efa").len(), 1);
    let marks = site.on_head("two", "cat /shared/marks; ls -d /data");
    assert_eq!(marks, "efa-st-c5n-1 start\nhead configured\n/data\n");

    // Ranks on a static and a dynamic node, started by Slurm and by mpirun.
    let efa = "srun -p efa -N 2 -n 4 --ntasks-per-node=2 sh -c 'hostname; echo $FI_PROVIDER_PATH'";
    let said = site.on_head("two", efa);
    for node in ["efa-st-c5n-1", "efa-dy-c5n-1", "/run/elastane/libfabric"] {
        assert!(said.contains(node), "{said}");
    }

    // Fifty jobs through ten nodes: none is lost, and none runs twice.
    site.on_head(
        "two",
        "mkdir many; cd many; for i in $(seq 50); do \
                         sbatch -Q -p small --wrap \"echo $i\"; done",
    );
    site.until("two", "squeue -h", str::is_empty);
    let said = site.on_head("two", "cat many/*.out | sort -n | tr '\\n' ' '");
    let expected: String = (1..=50).map(|number| format!("{number} ")).collect();
    assert_eq!(said, expected);

    // A node is killed under a task of an array, which runs again elsewhere.
    site.on_head(
        "two",
        "sbatch -Q -p small --array=1-3 -o task-%a.out --wrap \
                         'sleep 4; echo task $SLURM_ARRAY_TASK_ID of $(hostname)'",
    );
    site.until("two", "squeue -h -o %t", |said| said == "R\nR\nR\n");
    let victim = site.on_head("two", "squeue -h -r -o %N | head -1");
    let nodes = fs::read_dir(site.path("cloud/filesystems/two.cluster/nodes")).unwrap().flatten();
    let mut nodes = nodes.map(|file| (file.file_name(), fs::read_to_string(file.path()).unwrap()));
    let (instance, _) = nodes.find(|(_, name)| *name == victim).expect("it has an instance");
    let id = ("InstanceId.1", instance.to_string_lossy().into_owned());
    site.ec2().call("TerminateInstances", &[id]).expect("terminated");
    site.until("two", "squeue -h", str::is_empty);
    let said = site.on_head("two", "cat task-*.out | cut -d' ' -f1,2");
    assert_eq!(said, "task 1\ntask 2\ntask 3\n");
    let described = site.run(&["cluster", "describe", "two"]);
    let trouble = format!("{}: its instance", victim.trim());
    assert!(described.success().contains(&trouble), "{described:?}");

    boot_head_again(&site);

    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}

#[test]
fn fleet_and_configuration_change_under_way() {
    let site = Site::start(&[]);
    let text = two_queues(&site);
    site.write("cluster.yaml", &text);
    site.run(&["cluster", "create", "two", "--config", "cluster.yaml"]).success();
    site.write("more.yaml", &text.replace("MaxCount: 10", "MaxCount: 12"));
    let update = ["cluster", "update", "two", "--config", "more.yaml"];
    assert!(site.run(&update).success().contains("MaxCount: 10 -> 12"));
    let nodes = site.on_head("two", "sinfo -h -p small -o %D");
    assert_eq!(nodes.trim(), "12");
    site.write("other.yaml", &text.replace("Os: ubuntu2204", "Os: rhel8"));
    let refused = site.run(&["cluster", "update", "two", "--config", "other.yaml"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("Image.Os: it cannot be changed"), "{refused:?}");

    let status = |status: &str| {
        eventually(status, PATIENCE, || {
            let described = site.pcluster("describe-compute-fleet -n two --query status");
            described.stdout.trim().trim_matches('"') == status
        });
    };
    site.run(&["cluster", "update-fleet", "two", "--status", "STOP_REQUESTED"]).success();
    status("STOPPED");
    assert_eq!(site.live("node-type", "Compute"), [""; 0]);
    let refused =
        site.run(&["cluster", "ssh", "two", "-i", "key.pem", "--", "sbatch --wrap hostname"]);
    assert!(refused.stderr.contains("not available"), "{refused:?}");
    site.run(&["cluster", "update-fleet", "two", "--status", "START_REQUESTED"]).success();
    status("RUNNING");
    eventually("static nodes are back", PATIENCE, || site.live("queue-name", "efa").len() == 1);
    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}

#[test]
fn no_capacity_is_said_and_the_job_runs_when_there_is_some() {
    // The head node and two others.
    let site = Site::start(&["t3.micro=3"]);
    let text = two_queues(&site).replace("MinCount: 1", "MinCount: 0");
    site.write("cluster.yaml", &text);
    site.run(&["cluster", "create", "two", "--config", "cluster.yaml"]).success();
    site.on_head("two", "sbatch -Q -p small -N 3 -o wide.out --wrap 'srun hostname | sort'");
    eventually("the reason is said", PATIENCE, || {
        let described = site.run(&["cluster", "describe", "two"]).stdout;
        described.contains("(Code:InsufficientInstanceCapacity)")
            && described.contains("no capacity for micro of small")
    });
    // All or nothing: what came was given back.
    eventually("no part stays", PATIENCE, || site.live("queue-name", "small").is_empty());
    site.on_head("two", "scancel --user=ubuntu");
    // Nodes of the resource are kept from jobs for a while, and come back by themselves.
    site.until("two", "sinfo -h -p small -t down -o %D", |said| said.trim().is_empty());
    site.on_head("two", "sbatch -Q -p small -N 2 -o narrow.out --wrap 'srun hostname | sort'");
    site.until("two", "squeue -h", str::is_empty);
    let said = site.on_head("two", "cat narrow.out");
    assert_eq!(said.lines().count(), 2, "{said}");
    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}

#[test]
fn wrong_configuration_makes_nothing_and_is_told_as_a_whole() {
    let site = Site::start(&[]);
    let text = two_queues(&site)
        .replace("  InstanceType: t3.micro\n", "  InstanceTyp: t3.micro\n")
        .replace("Name: small", "Name: Small")
        .replace("KeyName: hpc-cluster", "KeyName: other");
    site.write("wrong.yaml", &text);
    let refused = site.run(&["cluster", "create", "two", "--config", "wrong.yaml"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    for expected in [
        "did you mean InstanceType?",
        "[NameValidator]",
        "[KeyPairValidator]",
        "3 errors: nothing was made",
    ] {
        assert!(refused.stderr.contains(expected), "{expected} is not in {refused:?}");
    }
    let refused = site.pcluster("create-cluster -n two -c wrong.yaml");
    assert_eq!(refused.status, 1, "{refused:?}");
    let found = document(&refused);
    assert_eq!(found["message"], "Invalid cluster configuration.", "{found}");
    assert_eq!(found["configurationValidationErrors"].as_array().map(Vec::len), Some(3), "{found}");
    let missing = site.pcluster("create-cluster -n two -c none.yaml");
    assert_eq!(document(&missing)["message"], "Bad Request: File not found: 'none.yaml'");
    site.assert_empty();
    let rehearsed = {
        site.write("cluster.yaml", &two_queues(&site));
        site.pcluster("create-cluster -n two -c cluster.yaml --dryrun true")
    };
    assert_eq!(rehearsed.status, 1, "{rehearsed:?}");
    let message = &document(&rehearsed)["message"];
    assert_eq!(message, "Request would have succeeded, but DryRun flag is set.");
    site.assert_empty();
}
