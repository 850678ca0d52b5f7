//! Nodes that do not come, and nodes that an update replaces.

use crate::{
    running::eventually,
    site::{PATIENCE, Site, two_queues},
};

#[test]
fn node_that_never_registers_is_given_up_and_its_job_runs_elsewhere() {
    let site = Site::start(&[]);
    let slow = "  - Name: small
    CustomActions:
      OnNodeStart:
        Script: /bin/sh
        Args: [-c, 'test ! -e /shared/slow || sleep 600']
";
    let text = two_queues(&site)
        .replace("MinCount: 1", "MinCount: 0")
        .replace("  - Name: small\n", slow)
        .replace(
            "HeadNode:\n",
            "DevSettings:\n  Timeouts:\n    ComputeNodeBootstrapTimeout: 5\nHeadNode:\n",
        );
    site.write("cluster.yaml", &text);
    site.run(&["cluster", "create", "two", "--config", "cluster.yaml"]).success();
    site.on_head("two", "touch /shared/slow; sbatch -Q -p small -o job.out --wrap hostname");
    eventually("the node is launched", PATIENCE, || site.live("queue-name", "small").len() == 1);
    let first = site.live("queue-name", "small");
    eventually("the node is given up", PATIENCE, || {
        let described = site.run(&["cluster", "describe", "two"]).stdout;
        described.contains("was not set up within 5 s (ComputeNodeBootstrapTimeout)")
    });
    site.on_head("two", "rm /shared/slow");
    assert!(!site.live("queue-name", "small").contains(&first[0]));
    site.until("two", "squeue -h", str::is_empty);
    let said = site.on_head("two", "cat job.out");
    assert!(said.starts_with("small-dy-micro-"), "{said}");
    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}

#[test]
fn update_replaces_nodes_after_their_jobs_or_at_once() {
    let site = Site::start(&[]);
    let text = two_queues(&site);
    site.write("cluster.yaml", &text);
    site.run(&["cluster", "create", "two", "--config", "cluster.yaml"]).success();
    let changed = text.replace("$(hostname) start", "$(hostname) changed");
    site.write("changed.yaml", &changed);
    let update = ["cluster", "update", "two", "--config", "changed.yaml"];
    let refused = site.run(&update);
    assert!(refused.stderr.contains("set QueueUpdateStrategy"), "{refused:?}");

    // How often a job begins: once if its node may finish it, twice if not.
    let cases = [("DRAIN", "begun\nended\n"), ("TERMINATE", "begun\nbegun\nended\n")];
    for (strategy, expected) in cases {
        let log = format!("{strategy}.log");
        let job = format!("echo begun >>{log}; sleep 15; echo ended >>{log}");
        site.on_head("two", &format!("sbatch -Q -p efa -w efa-st-c5n-1 --wrap '{job}'"));
        site.until("two", "squeue -h -o %t", |said| said == "R\n");
        let before = site.live("queue-name", "efa");
        let mark = format!("of {strategy}");
        let settings =
            format!("slurm\n  SlurmSettings:\n    QueueUpdateStrategy: {strategy}\n  SlurmQ");
        let changed = text
            .replace("$(hostname) start", &format!("$(hostname) {mark}"))
            .replace("slurm\n  SlurmQ", &settings);
        site.write("changed.yaml", &changed);
        site.run(&update).success();
        site.until("two", "squeue -h", str::is_empty);
        assert_eq!(site.on_head("two", &format!("cat {log}")), expected, "{strategy}");
        let wanted = format!("efa-st-c5n-1 {mark}\n");
        site.until("two", "cat /shared/marks", |said| said.contains(&wanted));
        eventually("the node is another instance", PATIENCE, || {
            let now = site.live("queue-name", "efa");
            now.len() == 1 && now != before
        });
        site.until("two", "sinfo -h -n efa-st-c5n-1 -t idle -o %D", |said| said.trim() == "1");
    }
    site.run(&["cluster", "delete", "two"]).success();
    site.assert_empty();
}
