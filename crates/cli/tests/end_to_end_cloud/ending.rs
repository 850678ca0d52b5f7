//! Beginnings and ends of a cloud.

use std::{
    fs,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::site::{Account, Cloud, Traces, eventually, is_running, text};

fn strike(process: u32, signal: Signal) {
    kill(Pid::from_raw(process.cast_signed()), signal).unwrap();
}

#[test]
fn cloud_says_where_it_is_and_its_end_leaves_nothing() {
    let cloud = Cloud::new();
    let before = Traces::now(cloud.path());
    let status = cloud.elastane(&["status"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let up = cloud.elastane(&["up"]);
    assert!(up.status.success(), "{up:?}");
    let running = cloud.running();
    let endpoint = running.endpoint();
    assert!(text(&up).contains(&endpoint), "{up:?}");
    assert_ne!(Traces::now(cloud.path()), before);
    let status = cloud.elastane(&["status", "--json"]);
    assert!(status.status.success(), "{status:?}");
    let document: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(document["agent"]["endpoint"], endpoint.as_str(), "{document}");
    assert_eq!(document["agent"]["pid"], running.pid, "{document}");
    let processes = cloud.processes();
    assert!(processes.len() > 2, "{processes:?}");
    let down = cloud.elastane(&["down"]);
    assert!(down.status.success(), "{down:?}");
    eventually("every process is gone", || !processes.iter().any(|id| is_running(*id)));
    eventually("nothing is left", || Traces::now(cloud.path()) == before);
    let again = cloud.elastane(&["down", "--delete"]);
    assert!(text(&again).contains("no cloud was up; removed"), "{again:?}");
    assert!(!cloud.path().exists());
}

#[test]
fn second_cloud_of_a_directory_is_told_where_the_first_is() {
    let cloud = Cloud::up();
    let running = cloud.running();
    let second = cloud.elastane(&["up"]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let said = text(&second);
    assert!(said.contains(&format!("process {}, {}", running.pid, running.endpoint())), "{said}");
    let foreground = cloud.elastane(&["up", "--foreground"]);
    assert_eq!(foreground.status.code(), Some(2), "{foreground:?}");
    assert_eq!(cloud.running(), running);
}

#[test]
fn of_two_that_start_at_once_one_is_the_cloud_and_the_other_says_so() {
    let cloud = Cloud::new();
    let start = || {
        let mut up = cloud.command(&["up"]);
        up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|up| up.wait_with_output().unwrap());
    let (winners, losers): (Vec<_>, Vec<_>) = both.iter().partition(|up| up.status.success());
    let ([winner], [loser]) = (&winners[..], &losers[..]) else { panic!("{both:?}") };
    assert!(winner.stderr.is_empty(), "{winner:?}");
    assert_eq!(loser.status.code(), Some(2), "{loser:?}");
    assert_eq!(text(loser).matches("is up already").count(), 1, "{loser:?}");
    assert!(text(winner).contains(&cloud.running().endpoint()), "{winner:?}");
}

#[test]
fn two_clouds_of_two_directories_share_nothing() {
    let clouds = [Cloud::up(), Cloud::up()];
    let [one, other] = clouds.each_ref().map(Cloud::running);
    assert_ne!(one.port, other.port);
    assert_ne!(one.network, other.network);
    assert_ne!(one.access_key_id, other.access_key_id);
    assert!(clouds[0].elastane(&["down"]).status.success());
    assert_eq!(clouds[1].running(), other);
    clouds[1].ec2().call("DescribeVpcs", &[]).unwrap();
}

#[test]
fn interrupted_cloud_in_the_foreground_leaves_nothing() {
    let cloud = Cloud::new();
    let before = Traces::now(cloud.path());
    let mut agent = cloud.command(&["up", "--foreground"]);
    let mut agent = agent.stdout(Stdio::null()).spawn().unwrap();
    eventually("it is up", || cloud::agent::find(cloud.path()).unwrap().is_some());
    let processes = cloud.processes();
    strike(agent.id(), Signal::SIGINT);
    assert_eq!(agent.wait().unwrap().code(), Some(130));
    eventually("every process is gone", || !processes.iter().any(|id| is_running(*id)));
    eventually("nothing is left", || Traces::now(cloud.path()) == before);
}

#[test]
fn killed_cloud_leaves_nothing_and_its_instances_start_again_with_their_files() {
    let cloud = Cloud::new();
    let before = Traces::now(cloud.path());
    assert!(cloud.elastane(&["up"]).status.success());
    let account = Account::open(cloud);
    let cloud = &account.cloud;
    let group = account.make_group("efa");
    let machine = account.launch(1, &account.base_image(), &group, &[]).remove(0);
    account.run(&machine, "echo kept >file; (setsid sleep 1000 >/dev/null 2>&1 &)");
    let processes = cloud.processes();
    assert!(processes.len() > 6, "{processes:?}");
    strike(cloud.running().pid, Signal::SIGKILL);
    eventually("every process is gone", || !processes.iter().any(|id| is_running(*id)));
    eventually("nothing is left", || Traces::now(cloud.path()) == before);
    assert_eq!(cloud.elastane(&["status"]).status.code(), Some(1));
    let up = cloud.elastane(&["up"]);
    assert!(up.status.success(), "{up:?}");
    let account = Account { ec2: account.cloud.ec2(), ..account };
    eventually("it is known to have stopped", || account.state(&machine) == "stopped");
    account.call("StartInstances", &[("InstanceId.1", &machine.id)]);
    account.wait_for(&machine);
    assert_eq!(account.run(&machine, "cat file"), "kept");
}

#[test]
fn instances_end_with_their_keeper() {
    let account = Account::open(Cloud::up());
    let group = account.make_group("efa");
    let machine = account.launch(1, &account.base_image(), &group, &[]).remove(0);
    let processes = account.cloud.processes();
    let running = account.cloud.running();
    strike(running.keeper, Signal::SIGKILL);
    eventually("the instance is known to be dead", || account.state(&machine) == "stopped");
    let left = || processes.iter().filter(|id| **id != running.pid && is_running(**id)).count();
    eventually("its processes are gone", || left() == 0);
    assert!(account.cloud.elastane(&["down"]).status.success());
}

#[test]
fn environment_is_that_of_the_running_cloud() {
    let cloud = Cloud::up();
    let script = cloud.elastane(&["env"]);
    let shell = Command::new("sh")
        .arg("-c")
        .arg(format!("{}\nenv", String::from_utf8_lossy(&script.stdout)))
        .env("AWS_SESSION_TOKEN", "another account's")
        .output()
        .unwrap();
    let variables = text(&shell);
    let running = cloud.running();
    assert!(variables.contains(&format!("AWS_ENDPOINT_URL_EC2={}\n", running.endpoint())));
    assert!(variables.contains(&format!("AWS_ACCESS_KEY_ID={}\n", running.access_key_id)));
    assert!(!variables.contains("AWS_SESSION_TOKEN"), "{variables}");
    let mode = fs::metadata(cloud.path().join("credentials.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}
