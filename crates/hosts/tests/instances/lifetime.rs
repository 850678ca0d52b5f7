//! Nothing is left behind, however the process that made the instances ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use elastane_hosts::instance::Router;

use crate::site::{Site, device, is_mounted, unique, wait_until};

/// The processes in the process namespaces whose inodes are given.
fn processes_in(namespaces: &[u64]) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let inside = entries.filter(|entry| {
        fs::metadata(entry.path().join("ns/pid"))
            .is_ok_and(|namespace| namespaces.contains(&namespace.ino()))
    });
    inside.count()
}

fn has_device(name: &str) -> bool {
    fs::exists(format!("/sys/class/net/{name}")).unwrap()
}

#[test]
fn a_killed_process_leaves_nothing() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "lifetime::part_of_the_owner"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(owner.stdout.take().unwrap());
    let line = output
        .by_ref()
        .lines()
        .map(Result::unwrap)
        .find_map(|line| Some(line.split_once("made:")?.1.to_owned()));
    let line = line.expect("the owner says what it made");
    let mut words = line.split_whitespace();
    let directory = std::path::PathBuf::from(words.next().unwrap());
    let uplink = words.next().unwrap();
    let namespaces: Vec<u64> = words.map(|inode| inode.parse().unwrap()).collect();
    assert_eq!(namespaces.len(), 2);
    assert!(processes_in(&namespaces) >= 4, "two instances' processes");
    assert!(has_device(uplink));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("every process has ended", || processes_in(&namespaces) == 0);
    wait_until("the device is gone", || !has_device(uplink));
    wait_until("no mount is left", || !is_mounted(&directory));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn device_that_is_gone_already_is_no_error() {
    let number = unique();
    let directory = tempfile::Builder::new().prefix("elastane-site").tempdir().unwrap();
    let site = Site::open_in(directory, number);
    assert!(has_device(&device(number)));
    for _ in 0..2 {
        Router::clear(&device(number)).unwrap();
        assert!(!has_device(&device(number)));
        site.router.detach(&site.enclave, site.plan(1).address).unwrap();
    }
}

#[test]
#[ignore = "the part of the process that is killed, played for the test above"]
fn part_of_the_owner() {
    let directory = tempfile::Builder::new().prefix("elastane-site").tempdir().unwrap();
    let number = unique();
    let site = Site::open_in(directory, number);
    let instances = [1, 2].map(|number| site.bring_up(&site.plan(number)));
    let namespace =
        |pid: u32| fs::metadata(format!("/proc/{pid}/ns/pid_for_children")).unwrap().ino();
    let inodes = instances.each_ref().map(|instance| namespace(instance.pid()));
    let mut output = std::io::stdout();
    let directory = site.directory.path().display();
    writeln!(output, "made: {directory} {} {} {}", device(number), inodes[0], inodes[1]).unwrap();
    output.flush().unwrap();
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
}
