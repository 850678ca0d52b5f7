//! What an instance is like from inside.

use std::time::Duration;

use elastane_hosts::instance::{Router, SharedDirectory, State};

use crate::site::{Site, device, unique, wait_until};

#[test]
fn instance_has_its_own_name_address_files_and_processes() {
    let site = Site::open();
    let instance = site.bring_up(&site.plan(1));
    assert_eq!(site.run(&instance, "hostname; id -un"), "host-1\nec2-user");
    let address = instance.address().to_string();
    assert!(site.run(&instance, "ip -4 -o address show dev eth0").contains(&address));
    assert_eq!(site.run(&instance, "getent hosts host-1 | cut -d' ' -f1"), address);
    assert_eq!(site.run(&instance, "cat /proc/1/comm"), "sh");
    assert_eq!(site.run(&instance, "ls -A /tmp /dev/shm | tr -d '\\n'"), "/dev/shm:/tmp:");
    // Its directory on this machine, with the key, is not to be seen.
    let hidden = site.directory.path().display();
    assert_eq!(site.run(&instance, &format!("ls {hidden} 2>/dev/null | wc -l")), "0");
    assert!(site.ssh("root", &instance, "true").status.success());
    let left = "mount | grep -c elastane";
    assert_eq!(site.run(&instance, left), "1", "{}", site.run(&instance, "mount"));
}

#[test]
fn stopped_instance_keeps_its_files_and_a_terminated_one_none() {
    let site = Site::open();
    let plan = site.plan(1);
    let instance = site.bring_up(&plan);
    let key = site.run(&instance, "echo kept >~/file; cat /etc/ssh/ssh_host_ed25519_key.pub");
    instance.shut_down(Duration::from_secs(2)).unwrap();
    let instance = site.bring_up(&plan);
    assert_eq!(
        site.run(&instance, "cat ~/file /etc/ssh/ssh_host_ed25519_key.pub"),
        format!("kept\n{key}")
    );
    instance.kill().unwrap();
    site.volume.remove(&site.enclave, &plan.id).unwrap();
    assert!(!site.volume.has(&site.enclave, &plan.id).unwrap());
    let instance = site.bring_up(&plan);
    assert_eq!(site.run(&instance, "ls ~"), "");
}

#[test]
fn files_outlive_the_enclave() {
    let directory = tempfile::Builder::new().prefix("elastane-site").tempdir().unwrap();
    let number = unique();
    let site = Site::open_in(directory, number);
    let plan = site.plan(1);
    let instance = site.bring_up(&plan);
    site.run(&instance, "echo kept >~/file");
    drop(instance);
    // As if it had been killed while it made an image.
    let images = site.directory.path().join("volume/images");
    site.enclave.run(|| std::fs::create_dir_all(images.join(".ami-1/layer"))).unwrap().unwrap();
    let Site { directory, enclave, .. } = site;
    drop(enclave);
    // As whoever uses a name again: the kernel takes the device away some time later.
    Router::clear(&device(number)).unwrap();
    let site = Site::open_in(directory, number);
    let left = site.enclave.run(|| std::fs::read_dir(&images).unwrap().count());
    assert_eq!(left.unwrap(), 0);
    let instance = site.bring_up(&plan);
    assert_eq!(site.run(&instance, "cat ~/file"), "kept");
}

#[test]
fn image_holds_what_its_instance_changed_and_the_image_below_it() {
    let site = Site::open();
    let first = site.bring_up(&site.plan(1));
    let key = site.run(&first, "echo one >~/one; cat /etc/ssh/ssh_host_ed25519_key.pub");
    assert!(site.ssh("root", &first, "rm /etc/motd; mkdir /opt/own").status.success());
    site.volume.keep(&site.enclave, first.id(), "ami-1").unwrap();
    let mut plan = site.plan(2);
    plan.image = Some("ami-1".to_owned());
    let second = site.bring_up(&plan);
    assert_eq!(
        site.run(&second, "cat ~/one; ls -d /opt/own; ls /etc/motd || true"),
        "one\n/opt/own"
    );
    assert_eq!(site.run(&second, "hostname; cat /etc/hostname"), "host-2\nhost-2");
    assert_ne!(site.run(&second, "cat /etc/ssh/ssh_host_ed25519_key.pub"), key);
    site.run(&second, "echo two >~/two");
    site.volume.keep(&site.enclave, second.id(), "ami-2").unwrap();
    // The second image and the second instance lie over the first image.
    site.volume.drop_image(&site.enclave, "ami-1").unwrap();
    assert!(!site.volume.has_image(&site.enclave, "ami-1").unwrap());
    let mut plan = site.plan(3);
    plan.image = Some("ami-2".to_owned());
    let third = site.bring_up(&plan);
    assert_eq!(site.run(&third, "cat ~/one ~/two"), "one\ntwo");
    // With the last that needs it, it goes.
    let images = || std::fs::read_dir(site.directory.path().join("volume/images")).unwrap().count();
    assert_eq!(site.enclave.run(images).unwrap(), 2);
    site.volume.drop_image(&site.enclave, "ami-2").unwrap();
    for instance in [first, second, third] {
        let id = instance.id().to_owned();
        instance.kill().unwrap();
        site.volume.remove(&site.enclave, &id).unwrap();
    }
    assert_eq!(site.enclave.run(images).unwrap(), 0);
}

#[test]
fn user_data_runs_as_root_at_the_first_boot_only() {
    let site = Site::open();
    let mut plan = site.plan(1);
    plan.user_data = Some(b"#!/bin/sh\nid -un >>/opt/ran\necho said by user data\n".to_vec());
    let instance = site.bring_up(&plan);
    wait_until("user data has run", || site.console("i-1").contains("said by user data"));
    instance.shut_down(Duration::from_secs(2)).unwrap();
    let instance = site.bring_up(&plan);
    wait_until("it is up again", || site.console("i-1").matches("i-1: up").count() == 2);
    assert_eq!(site.run(&instance, "cat /opt/ran"), "root");
}

#[test]
fn shared_directory_is_the_same_in_two_instances() {
    let site = Site::open();
    let source = site.directory.path().join("shared");
    std::fs::create_dir(&source).unwrap();
    let instances = [1, 2].map(|number| {
        let mut plan = site.plan(number);
        plan.mounts.push(SharedDirectory { source: source.clone(), target: "/shared/a".into() });
        site.bring_up(&plan)
    });
    assert!(site.ssh("root", &instances[0], "echo seen >/shared/a/file").status.success());
    assert_eq!(site.run(&instances[1], "cat /shared/a/file"), "seen");
}

#[test]
fn instance_whose_first_process_is_gone_is_dead() {
    let site = Site::open();
    let instance = site.bring_up(&site.plan(1));
    // Its first process ends when it is asked to, as by `poweroff`.
    site.ssh("root", &instance, "kill -TERM 1");
    wait_until("it is dead", || instance.state() == State::Dead);
}
