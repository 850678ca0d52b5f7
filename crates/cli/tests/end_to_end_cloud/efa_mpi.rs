//! The steps of docs/guides/efa-mpi.md, on a cloud of their own.

use std::{fs, path::Path, process::Command};

use crate::site::{Account, Cloud, Machine, Traces, eventually, is_running, text};

/// Sums the ranks up over everybody, and passes a megabyte around.
const PROGRAM: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    int rank, size, sum, length, bytes = 1 << 20;
    char name[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_processor_name(name, &length);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    char *sent = malloc(bytes), *received = malloc(bytes);
    memset(sent, 'a' + rank, bytes);
    int left = (rank + size - 1) % size;
    MPI_Sendrecv(sent, bytes, MPI_CHAR, (rank + 1) % size, 7, received, bytes, MPI_CHAR, left, 7,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < bytes; i++)
        if (received[i] != 'a' + left)
            MPI_Abort(MPI_COMM_WORLD, 1);
    printf("rank %d of %d on %s: sum %d\n", rank, size, name, sum);
    MPI_Finalize();
    return 0;
}
"#;

/// How many instances the cluster has, and ranks on each.
const INSTANCES: usize = 3;
const RANKS: usize = 2;

#[test]
fn every_step_of_the_guide_does_what_it_says() {
    let cloud = Cloud::new();
    let before = Traces::now(cloud.path());
    assert!(cloud.elastane(&["up"]).status.success());
    let account = Account::open(cloud);
    // Step 1: a security group that allows all traffic to and from itself.
    let group = account.make_group("EFA-enabled security group");
    // Step 2: a temporary instance.
    let temporary = account.launch(1, &account.base_image(), &group, &[]).remove(0);
    // Step 3: the software is there.
    let info = account.run(&temporary, "fi_info -p efa");
    assert!(info.contains("provider: efa") && info.contains("type: FI_EP_RDM"), "{info}");
    an_instance_without_efa_has_none(&account, &group);
    // Step 4: processes of one instance may read each other's memory.
    let protection = "cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0";
    assert_eq!(account.run(&temporary, protection), "0");
    // Steps 5 and 6: Intel MPI, and an application for either MPI.
    install(&account, &temporary);
    // Step 7: an image of all that.
    let image = make_image(&account, &temporary);
    // Step 8: instances of that image in a cluster placement group.
    let near = [("GroupName", "cluster"), ("Strategy", "cluster")];
    account.call("CreatePlacementGroup", &near);
    let members = account.launch(INSTANCES, &image, &group, &[("Placement.GroupName", "cluster")]);
    // Step 9: the temporary instance is not needed any more.
    account.call("TerminateInstances", &[("InstanceId.1", &temporary.id)]);
    eventually("it is gone", || account.state(&temporary) == "terminated");
    // Step 10: the leader logs in to the members without a password.
    introduce(&account, &members);
    let leader = &members[0];
    for member in &members {
        let name = format!("ip-{}", member.address.replace('.', "-"));
        assert_eq!(account.run(leader, &format!("ssh {} hostname", member.address)), name);
        assert_eq!(account.run(leader, &format!("ssh {name} hostname")), name);
    }
    let hosts: Vec<_> = members.iter().map(|member| member.address.as_str()).collect();
    let open = hosts.iter().map(|host| format!("{host}:{RANKS}")).collect::<Vec<_>>().join(",");
    check(
        &account,
        &members,
        &format!(
            "mpirun --host {open} -x FI_PROVIDER=efa -x FI_ELASTANE_REPORT \
           /opt/application/open"
        ),
    );
    check(
        &account,
        &members,
        &format!(
            "PATH=/opt/intel/bin:$PATH LD_LIBRARY_PATH=/opt/intel/lib FI_PROVIDER=efa \
             mpirun -hosts {} -ppn {RANKS} -n {} /opt/application/intel",
            hosts.join(","),
            INSTANCES * RANKS
        ),
    );
    tear_down(account, &members, &group, &image, &before);
}

/// What has no EFA interface has no provider for one.
fn an_instance_without_efa_has_none(account: &Account, group: &str) {
    let image = account.base_image();
    let launched = account.call(
        "RunInstances",
        &[
            ("ImageId", image.as_str()),
            ("InstanceType", "t3.micro"),
            ("KeyName", "key"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SecurityGroupId.1", group),
        ],
    );
    let plain = launched.items("instancesSet").map(Machine::of).next().unwrap();
    account.wait_for(&plain);
    let output = account.ssh(&plain, "fi_info -p efa");
    assert!(!output.status.success() && !text(&output).contains("provider: efa"), "{output:?}");
    account.call("TerminateInstances", &[("InstanceId.1", &plain.id)]);
}

/// Installs Intel MPI below `/opt/intel`, and the application for both.
fn install(account: &Account, machine: &Machine) {
    // target/debug/elastane, whatever the target directory is.
    let target = Path::new(env!("CARGO_BIN_EXE_elastane")).ancestors().nth(2).unwrap();
    let intel = target.join("mpi/impi-rt");
    assert!(intel.exists(), "no {}: cargo xtask test --only end-to-end makes it", intel.display());
    let archive = account.cloud.path().join("intel.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&intel).arg("-cf").arg(&archive);
    // The wheel is of Python's layout; these are Intel MPI.
    tar.args(["--exclude=IMB*", "--exclude=python3*", "bin", "lib", "include", "etc", "opt"]);
    assert!(tar.status().unwrap().success());
    account.feed(machine, &archive, "sudo mkdir -p /opt/intel && sudo tar -C /opt/intel -xf -");
    let source = account.cloud.path().join("application.c");
    fs::write(&source, PROGRAM).unwrap();
    account.feed(
        machine,
        &source,
        "sudo mkdir -p /opt/application && \
        sudo tee /opt/application/application.c >/dev/null",
    );
    account.run(
        machine,
        "cd /opt/application && sudo mpicc.openmpi -o open application.c && \
        sudo cc -I/opt/intel/include -o intel application.c -L/opt/intel/lib -lmpi \
        -Wl,-rpath,/opt/intel/lib",
    );
}

fn make_image(account: &Account, machine: &Machine) -> String {
    let make = [("InstanceId", machine.id.as_str()), ("Name", "EFA-enabled")];
    let image = account.call("CreateImage", &make).get("imageId").unwrap().to_owned();
    eventually("the image is available", || {
        let found = account.call("DescribeImages", &[("ImageId.1", &image)]);
        let described = found.items("imagesSet").next().unwrap();
        described.get("imageState") == Some("available")
    });
    image
}

/// Makes a key pair on the leader, which is the first, and authorizes it on all.
fn introduce(account: &Account, members: &[Machine]) {
    let leader = &members[0];
    account.run(
        leader,
        "printf 'Host *\\n    ForwardAgent yes\\nHost *\\n    \
        StrictHostKeyChecking no\\n    LogLevel ERROR\\n' >~/.ssh/config && \
        chmod 600 ~/.ssh/config && \
        ssh-keygen -q -t rsa -N '' -f ~/.ssh/id_rsa && chmod 600 ~/.ssh/id_rsa",
    );
    let key = account.run(leader, "cat ~/.ssh/id_rsa.pub");
    for member in members {
        account.run(member, &format!("echo '{key}' >>~/.ssh/authorized_keys"));
    }
}

/// Runs the application from the leader; each rank has to sum up and to have used EFA to others.
fn check(account: &Account, members: &[Machine], launch: &str) {
    let report = "/tmp/report";
    for member in members {
        account.run(member, &format!("rm -rf {report} && mkdir {report}"));
    }
    let printed =
        account.run(&members[0], &format!("export FI_ELASTANE_REPORT={report}; {launch}"));
    let ranks = INSTANCES * RANKS;
    let sum = ranks * (ranks - 1) / 2;
    for (rank, member) in (0..ranks).map(|rank| (rank, &members[rank / RANKS])) {
        let name = format!("ip-{}", member.address.replace('.', "-"));
        let line = format!("rank {rank} of {ranks} on {name}: sum {sum}");
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    for member in members {
        let reports = account.run(member, &format!("cat {report}/*"));
        let documents = serde_json::Deserializer::from_str(&reports).into_iter();
        let mut count = 0;
        for document in documents {
            let document: serde_json::Value = document.unwrap();
            assert_eq!(document["name"], "efa", "{document}");
            assert!(document["peers"]["udp"].as_u64() > Some(0), "{document}");
            count += 1;
        }
        assert_eq!(count, RANKS, "{reports}");
    }
}

/// Takes everything away, in the order EC2 asks for.
fn tear_down(account: Account, members: &[Machine], group: &str, image: &str, before: &Traces) {
    let in_use = account.ec2.call("DeleteSecurityGroup", &[("GroupId", group.to_owned())]);
    assert_eq!(in_use.unwrap_err().code, "DependencyViolation");
    for member in members {
        account.call("TerminateInstances", &[("InstanceId.1", &member.id)]);
    }
    for member in members {
        eventually("it is gone", || account.state(member) == "terminated");
    }
    account.call("DeletePlacementGroup", &[("GroupName", "cluster")]);
    account.call("DeleteSecurityGroup", &[("GroupId", group)]);
    account.call("DeregisterImage", &[("ImageId", image)]);
    account.call("DeleteKeyPair", &[("KeyName", "key")]);
    let processes = account.cloud.processes();
    let output = account.cloud.elastane(&["down", "--delete"]);
    assert!(output.status.success(), "{output:?}");
    eventually("every process is gone", || !processes.iter().any(|id| is_running(*id)));
    eventually("nothing is left", || Traces::now(account.cloud.path()) == *before);
    assert!(!account.cloud.path().exists());
}
