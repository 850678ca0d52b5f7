//! What separates two endpoints of one machine: they use UDP, and say why.

use std::process::Command;

use elastane_fabric::{Event, LocalError, PeerCopies, PeerRoute, RdmEndpoint, UdpReason};
use hosts::Network;

use crate::{Other, PATIENCE, command, eventually, files_of, open, options, part, receive};

/// Has `one` and `other` exchange messages; returns the way that they go.
fn exchange(one: &mut RdmEndpoint, other: &mut RdmEndpoint) -> PeerRoute {
    let to = one.peer(other.address()).unwrap();
    for _ in 0..100 {
        crate::post(other, None, 100);
        one.send(to, "message".into(), 0).unwrap();
        eventually("message", || {
            one.poll().unwrap();
            other.poll().unwrap().and_then(crate::received)
        });
    }
    one.route(to)
}

#[test]
fn hosts_in_namespaces_of_one_machine_are_not_one_host() {
    if let Some(words) = part() {
        let listen = words[0].parse().unwrap();
        let mut here =
            RdmEndpoint::open(&elastane_fabric::Options { listen, ..options() }).unwrap();
        let Some(there) = words.get(1) else {
            let (peer, message) = receive(&mut here);
            here.send(peer, message.into(), 0).unwrap();
            return here.close(PATIENCE).unwrap();
        };
        let peer = here.peer(there.parse().unwrap()).unwrap();
        here.send(peer, "across".into(), 0).unwrap();
        assert_eq!(receive(&mut here).1, b"across");
        let reason = UdpReason::Unavailable(LocalError::OtherHost);
        assert_eq!(here.route(peer), PeerRoute::Udp(reason));
        return here.close(PATIENCE).unwrap();
    }
    let network = Network::builder().build().unwrap();
    let [one, other] = network.hosts() else { panic!("not two hosts") };
    let words = command("barriers::hosts_in_namespaces_of_one_machine_are_not_one_host");
    let start = |host: &hosts::Host, part: String| {
        Other::run(host.command(&words[0]).args(&words[1..]), &part)
    };
    let there = format!("{}:4791", other.address());
    let mut far = start(other, there.clone());
    let mut near = start(one, format!("{}:0 {there}", one.address()));
    near.ended_well();
    far.ended_well();
}

#[test]
fn full_directory_leaves_udp_and_says_so() {
    if let Some(words) = part() {
        // Of two announcements of a page each, 4 KiB have room for the first.
        let (mut other, mut one) = (open(), open());
        let expected = match words[0].as_str() {
            // Room for the announcements, not for a link.
            "256k" => UdpReason::Unavailable(LocalError::Full),
            _ => UdpReason::NotPresent(LocalError::Full),
        };
        assert_eq!(exchange(&mut one, &mut other), PeerRoute::Udp(expected));
        assert_eq!(files_of(one.address()), usize::from(words[0] == "256k"));
        return;
    }
    let words = command("barriers::full_directory_leaves_udp_and_says_so");
    for size in ["256k", "4k"] {
        let script = format!("mount -t tmpfs -o size={size} none /dev/shm && exec \"$@\"");
        let mut other = Other::run(
            Command::new("unshare")
                .args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script, "sh"])
                .args(&words),
            size,
        );
        other.ended_well();
    }
}

/// Starts the other process of `test` through `unshare` with these arguments; it must not find the
/// endpoint here though it reaches it, and this one must not find it.
fn is_no_neighbour(test: &str, unshare: &[&str], script: &str) {
    let reason = PeerRoute::Udp(UdpReason::Unavailable(LocalError::NotAnnounced));
    if let Some(words) = part() {
        let mut here = open();
        let peer = here.peer(words[0].parse().unwrap()).unwrap();
        here.send(peer, "hello".into(), 0).unwrap();
        receive(&mut here);
        assert_eq!(here.route(peer), reason);
        return here.close(PATIENCE).unwrap();
    }
    let words = command(test);
    let mut near = open();
    let script = format!("{script} exec \"$@\"");
    let mut other = Other::run(
        Command::new("unshare").args(unshare).args(["sh", "-ec", &script, "sh"]).args(&words),
        &near.address().to_string(),
    );
    let (peer, _) = receive(&mut near);
    near.send(peer, "welcome".into(), 0).unwrap();
    assert_eq!(near.route(peer), reason);
    eventually("end", || {
        near.poll().unwrap();
        other.0.try_wait().unwrap()
    });
    other.ended_well();
}

#[test]
fn other_mount_namespace_has_other_neighbours() {
    let unshare = ["--user", "--map-root-user", "--mount"];
    let test = "barriers::other_mount_namespace_has_other_neighbours";
    is_no_neighbour(test, &unshare, "mount -t tmpfs none /dev/shm;");
}

#[test]
fn other_user_has_other_neighbours() {
    // Without a mapping the process is nobody.
    is_no_neighbour("barriers::other_user_has_other_neighbours", &["--user"], "");
}

#[test]
fn process_in_another_pid_namespace_is_a_neighbour_and_its_death_is_noticed() {
    if let Some(words) = part() {
        let mut here = open();
        let peer = here.peer(words[0].parse().unwrap()).unwrap();
        here.send(peer, "hello".into(), 0).unwrap();
        loop {
            let (peer, message) = receive(&mut here);
            here.send(peer, message.into(), 0).unwrap();
        }
    }
    let test = "barriers::process_in_another_pid_namespace_is_a_neighbour_and_its_death_is_noticed";
    let words = command(test);
    let mut near = open();
    let mut other = Other::run(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"])
            .args(&words),
        &near.address().to_string(),
    );
    let (peer, _) = receive(&mut near);
    // In its user namespace it is another user: unless that is this one, UDP is right.
    if nix::unistd::geteuid().is_root() {
        crate::warm_up(&mut near, peer);
        // Its process number means another process here, or none.
        let copies = near.copies_from(peer);
        assert!(matches!(copies, Some(PeerCopies::Rings(Some(_)))), "{copies:?}");
        near.send(peer, crate::pattern(1 << 20, 3), 0).unwrap();
        assert_eq!(receive(&mut near).1, crate::pattern(1 << 20, 3));
        assert_eq!(near.message_counters().copied_bytes, 0);
        crate::post(&mut near, Some(peer), 8);
        other.kill();
        let failed = eventually("failure", || {
            let completion = crate::wait(&mut near);
            matches!(completion.event, Event::Received { .. }).then_some(completion)
        });
        let exited = message::OperationError::Peer(elastane_fabric::PeerError::Exited);
        assert_eq!(failed.result, Err(exited));
    }
}
