//! MPI jobs of a queue with EFA: whether they use it, as the provider itself reports.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::Value;

use crate::site::{Site, two_queues};

const NODES: [&str; 2] = ["efa-st-c5n-1", "efa-dy-c5n-1"];
const RANKS: usize = 2;

/// Each rank reports to a folder of its node's: process ids of two nodes may be the same.
const WRAPPER: &str = "#!/bin/sh
export FI_ELASTANE_REPORT=/shared/reports-$1/$(hostname)
mkdir -p \"$FI_ELASTANE_REPORT\"
echo \"binding $OMPI_MCA_hwloc_base_binding_policy\"
exec /shared/ring
";

#[test]
fn mpi_jobs_use_efa_without_being_told() {
    let site = Site::start(&[]);
    site.write("cluster.yaml", &two_queues(&site));
    site.run(&["cluster", "create", "two", "--config", "cluster.yaml"]).success();
    let shared = site.path("cloud/filesystems/two.shared");
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/end_to_end/mpi/programs");
    let mut compiler = Command::new("mpicc");
    compiler.arg("-o").arg(shared.join("ring")).arg(format!("{programs}/ring.c"));
    assert!(compiler.status().expect("Debian's libopenmpi-dev").success());
    let wrapper = shared.join("run");
    fs::write(&wrapper, WRAPPER).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();

    let batch = "sbatch -Q -W -p efa -N 2 -n 4 --ntasks-per-node=2";
    for (name, launch) in [("srun", "srun --mpi=pmix"), ("mpirun", "mpirun")] {
        let line = format!("{batch} -o /shared/{name}.log --wrap '{launch} /shared/run {name}'");
        let finished = site.run(&["cluster", "ssh", "two", "-i", "key.pem", "--", &line]);
        let log = site.on_head("two", &format!("cat /shared/{name}.log"));
        assert_eq!(finished.status, 0, "{finished:?}: {log}");
        assert_fabric_used(&site, name, &log);
    }
    // From a login on a node, and by SSH to the other.
    let hosts = NODES.map(|node| format!("{node}:{RANKS}")).join(",");
    let line = format!("ssh {} mpirun --host {hosts} /shared/run login", NODES[0]);
    let said = site.on_head("two", &line);
    assert_fabric_used(&site, "login", &said);

    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}

/// Every rank sent messages through the provider, and some of them to the other node.
#[track_caller]
fn assert_fabric_used(site: &Site, name: &str, log: &str) {
    assert_eq!(log.matches("binding none\n").count(), NODES.len() * RANKS, "{name}: {log}");
    for node in NODES {
        let folder = site.path(&format!("cloud/filesystems/two.shared/reports-{name}/{node}"));
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}: {log}"));
        let reports: Vec<Value> = files
            .flatten()
            .map(|file| serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap())
            .collect();
        assert_eq!(reports.len(), RANKS, "{name}: {reports:?}");
        for report in &reports {
            assert_eq!(report["name"], "efa", "{report}");
            assert!(report["messages_sent"].as_u64() > Some(100), "{report}");
            assert!(report["peers"]["udp"].as_u64() > Some(0), "{report}");
        }
    }
}
