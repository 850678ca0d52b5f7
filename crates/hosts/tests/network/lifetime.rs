//! Nothing is left behind, however a network ends.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::MetadataExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStdout, Command, Stdio},
};

use elastane_hosts::{Host, Multipath, Network};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use crate::{build, two, waiting::eventually};

/// A process, and in its background another in a session of its own, as a daemon would be.
const STUBBORN: &str = "trap '' TERM INT HUP; setsid sleep 1000 & while :; do sleep 1000; done";

fn start_stubborn(host: &Host) -> Child {
    let mut shell = host.command("sh");
    let shell = shell.args(["-c", STUBBORN]).stdin(Stdio::null());
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn namespace_of(process: u32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{process}/ns/net")).ok()?.ino())
}

fn processes_in(namespace: u64) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| namespace_of(*process) == Some(namespace)).collect()
}

/// Waits until the shell has its `sleep`s, so that there is a background to find.
fn wait_for_background(namespace: u64) {
    eventually("the host's three processes run", || {
        let sleeps = |process: &u32| {
            fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "sleep\n")
        };
        processes_in(namespace).iter().filter(|process| sleeps(process)).count() == 2
    });
}

fn assert_killed(child: &mut Child) {
    let mut status = None;
    eventually("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.signal()), Some(libc::SIGKILL));
}

#[test]
fn dropping_a_network_kills_what_runs_in_it() {
    let network = build(Network::builder().multipath(Multipath::default()));
    let mut children: Vec<Child> = network.hosts().iter().map(start_stubborn).collect();
    let namespaces: Vec<u64> =
        children.iter().map(|child| namespace_of(child.id()).unwrap()).collect();
    namespaces.iter().for_each(|namespace| wait_for_background(*namespace));
    drop(network);
    for (child, namespace) in children.iter_mut().zip(namespaces) {
        assert_eq!(processes_in(namespace), [0; 0]);
        assert_killed(child);
    }
}

#[test]
fn dropping_one_network_leaves_another_alone() {
    let (ends, stays) = (build(Network::builder()), build(Network::builder()));
    let (host, _) = two(&stays);
    let mut child = start_stubborn(host);
    drop(ends);
    assert!(child.try_wait().unwrap().is_none());
    drop(stays);
    assert_killed(&mut child);
}

#[test]
fn a_command_of_a_network_that_is_gone_does_not_start() {
    let network = build(Network::builder());
    let mut command = network.hosts()[0].command("true");
    drop(network);
    let error = command.status().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
}

#[test]
fn a_killed_parent_leaves_nothing() {
    let parent = Parent::start();
    kill(parent.pid(), Signal::SIGKILL).unwrap();
    parent.assert_nothing_left(Some(Signal::SIGKILL));
}

#[test]
fn an_interrupted_process_group_leaves_nothing() {
    let parent = Parent::start();
    killpg(parent.pid(), Signal::SIGINT).unwrap();
    parent.assert_nothing_left(Some(Signal::SIGINT));
}

#[test]
fn a_parent_that_exits_without_a_drop_leaves_nothing() {
    let mut parent = Parent::start();
    // The end of its input is its sign to exit.
    drop(parent.process.stdin.take());
    parent.assert_nothing_left(None);
}

/// This program again, in the part of the parent below.
struct Parent {
    process: Child,
    output: BufReader<ChildStdout>,
    namespaces: BTreeSet<u64>,
}

impl Parent {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "lifetime::part_of_the_parent"])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let line = output
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("namespaces:")?.1.to_owned()));
        let line = line.expect("the parent says which namespaces it has");
        let namespaces = line.split_whitespace().map(|inode| inode.parse().unwrap()).collect();
        Self { process, output, namespaces }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn assert_nothing_left(mut self, signal: Option<Signal>) {
        let status = self.process.wait().unwrap();
        assert_eq!(status.signal(), signal.map(|signal| signal as i32), "{status}");
        assert_eq!(self.namespaces.len(), 2);
        for namespace in self.namespaces {
            eventually("the namespace is empty", || processes_in(namespace).is_empty());
        }
        // Whoever still held the parent's output would keep this from ending.
        self.output.read_to_string(&mut String::new()).unwrap();
    }
}

#[test]
#[ignore = "the part of the process that is killed, played for the tests above"]
fn part_of_the_parent() {
    let network = build(Network::builder());
    let children: Vec<Child> = network.hosts().iter().map(start_stubborn).collect();
    let namespaces: Vec<u64> =
        children.iter().map(|child| namespace_of(child.id()).unwrap()).collect();
    namespaces.iter().for_each(|namespace| wait_for_background(*namespace));
    let mut output = std::io::stdout();
    writeln!(output, "namespaces: {} {}", namespaces[0], namespaces[1]).unwrap();
    output.flush().unwrap();
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
    std::process::exit(0);
}
