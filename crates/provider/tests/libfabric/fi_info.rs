//! What Debian's `fi_info` says of the library, as users install it.

use std::{net::Ipv4Addr, process::Output};

use nix::ifaddrs::getifaddrs;

use crate::installed::Installed;

/// No data: what libfabric's programs exit with where nothing matches.
const NO_DATA: i32 = 61;

fn fi_info(installed: &Installed, arguments: &[&str]) -> Output {
    installed.command("fi_info").args(arguments).output().unwrap()
}

/// The entries of the provider of this name.
fn entries(installed: &Installed, arguments: &[&str]) -> Vec<Entry> {
    let output = fi_info(installed, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Entry::all(&String::from_utf8(output.stdout).unwrap())
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    provider: String,
    fabric: String,
    domain: String,
    kind: String,
    protocol: String,
}

impl Entry {
    fn all(text: &str) -> Vec<Self> {
        let mut entries = Vec::new();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once(": ") else { continue };
            if key == "provider" {
                entries.push(Self::default());
            }
            let entry: &mut Self = entries.last_mut().unwrap();
            match key {
                "provider" => entry.provider = value.to_owned(),
                "fabric" => entry.fabric = value.to_owned(),
                "domain" => entry.domain = value.to_owned(),
                "type" => entry.kind = value.to_owned(),
                "protocol" => entry.protocol = value.to_owned(),
                "version" => {}
                other => panic!("{other} in {text}"),
            }
        }
        entries
    }
}

fn of_kind(entries: &[Entry], kind: &str) -> Vec<Entry> {
    entries.iter().filter(|entry| entry.kind == kind).cloned().collect()
}

/// Whether this host has an address that leads anywhere.
fn leaves_this_host() -> bool {
    let addresses = getifaddrs().unwrap().filter_map(|entry| entry.address);
    let mut addresses = addresses.filter_map(|address| Some(address.as_sockaddr_in()?.ip()));
    addresses.any(|address: Ipv4Addr| !address.is_loopback())
}

#[test]
fn both_kinds_are_listed_the_reliable_ones_first() {
    let entries = entries(&Installed::ours(), &["-p", "elastane"]);
    assert!(!entries.is_empty());
    for entry in &entries {
        // Also: nothing is layered over us.
        assert_eq!(entry.provider, "elastane");
        assert!(entry.fabric.starts_with("elastane-"), "{entry:?}");
        let suffix = if entry.kind == "FI_EP_RDM" { "-rdm" } else { "-dgrm" };
        assert!(entry.domain.ends_with(suffix), "{entry:?}");
        assert_eq!(entry.fabric.starts_with("elastane-127."), !leaves_this_host());
    }
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    let half = kinds.len() / 2;
    assert!(kinds[..half].iter().all(|kind| *kind == "FI_EP_RDM"), "{kinds:?}");
    assert!(kinds[half..].iter().all(|kind| *kind == "FI_EP_DGRAM"), "{kinds:?}");
    let mut fabrics: Vec<_> = entries[..half].iter().map(|entry| &entry.fabric).collect();
    fabrics.sort();
    fabrics.dedup();
    assert_eq!(fabrics.len(), half, "a subnet twice: {entries:?}");
}

#[test]
fn kinds_and_capabilities_choose() {
    let installed = Installed::ours();
    let all = entries(&installed, &["-p", "elastane"]);
    let reliable = of_kind(&all, "FI_EP_RDM");
    let choose =
        |arguments: &[&str]| entries(&installed, &[&["-p", "elastane"], arguments].concat());
    assert_eq!(choose(&["-t", "FI_EP_RDM"]), reliable);
    assert_eq!(choose(&["-t", "FI_EP_DGRAM"]), of_kind(&all, "FI_EP_DGRAM"));
    assert_eq!(choose(&["-c", "FI_TAGGED"]), reliable);
    assert_eq!(choose(&["-c", "FI_RMA|FI_ATOMIC"]), reliable);
    assert_eq!(choose(&["-c", "FI_MSG"]), all);
    assert_eq!(choose(&["-a", "FI_SOCKADDR_IN"]), all);
    for arguments in [
        &["-t", "FI_EP_MSG"][..],
        &["-c", "FI_HMEM"],
        &["-a", "FI_SOCKADDR_IN6"],
        &["-d", "invalid_domain"],
        &["-n", "g00n13s.invalid"],
        &["-s", "203.0.113.77"],
    ] {
        let output = fi_info(&installed, &[&["-p", "elastane"], arguments].concat());
        assert_eq!(output.status.code(), Some(NO_DATA), "{arguments:?}: {output:?}");
    }
}

#[test]
fn names_choose_also_before_libfabric_compared_them() {
    let installed = Installed::ours();
    for entry in entries(&installed, &["-p", "elastane"]) {
        let named =
            entries(&installed, &["-p", "elastane", "-d", &entry.domain, "-f", &entry.fabric]);
        assert_eq!(named, [entry]);
    }
    let [loopback] =
        &entries(&installed, &["-p", "elastane", "-d", "lo-rdm", "-f", "elastane-127.0.0.0/8"])[..]
    else {
        panic!("one loopback")
    };
    assert_eq!(loopback.kind, "FI_EP_RDM");
}

#[test]
fn nodes_choose_the_interface() {
    let installed = Installed::ours();
    for arguments in [["-s", "127.0.0.1"], ["-n", "127.0.0.1"], ["-s", "localhost"]] {
        let entries = entries(&installed, &[&["-p", "elastane"], &arguments[..]].concat());
        let domains: Vec<_> = entries.iter().map(|entry| entry.domain.as_str()).collect();
        assert_eq!(domains, ["lo-rdm", "lo-dgrm"], "{arguments:?}");
    }
    let verbose = fi_info(&installed, &["-p", "elastane", "-s", "127.0.0.1", "-P", "9228", "-v"]);
    let verbose = String::from_utf8(verbose.stdout).unwrap();
    assert!(verbose.contains("src_addr: fi_sockaddr_in://127.0.0.1:9228"), "{verbose}");
    assert!(verbose.contains("dest_addr: (null)"), "{verbose}");
}

#[test]
fn an_interface_can_be_set() {
    let installed = Installed::ours();
    let mut command = installed.command("fi_info");
    let output = command.args(["-p", "elastane"]).env("FI_ELASTANE_IFACE", "lo").output().unwrap();
    let entries = Entry::all(&String::from_utf8(output.stdout).unwrap());
    assert!(!entries.is_empty());
    assert!(entries.iter().all(|entry| entry.domain.starts_with("lo-")), "{entries:?}");
}

#[test]
fn under_the_file_name_of_efa_it_answers_to_efa() {
    let installed = Installed::named("libefa-fi.so");
    let entries = entries(&installed, &["-p", "efa"]);
    assert!(!entries.is_empty());
    for entry in &entries {
        assert_eq!((entry.provider.as_str(), entry.protocol.as_str()), ("efa", "FI_PROTO_EFA"));
        assert!(entry.fabric.starts_with("EFA-"), "{entry:?}");
    }
    assert_eq!(fi_info(&installed, &["-p", "elastane"]).status.code(), Some(NO_DATA));
}

#[test]
fn parameters_are_listed_with_help() {
    let listed = fi_info(&Installed::ours(), &["-e"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.strip_prefix("# FI_ELASTANE_"));
    let names: Vec<_> =
        names.filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let expected = [
        "IFACE",
        "NAME",
        "HIDE_EFA",
        "REPORT",
        "SHARED_MEMORY",
        "CMA",
        "PORTS",
        "PROGRESS_THREAD",
        "LINGER",
        "PEER_TIMEOUT",
        "CONNECT_TIMEOUT",
        "PATHS",
    ];
    assert_eq!(names, expected, "{listed}");
    assert!(listed.contains("# elastane: seconds, 0 to 3600: how long closing"), "{listed}");
    // They are called the same whatever the provider is.
    let other = fi_info(&Installed::named("libefa-fi.so"), &["-e"]);
    assert!(String::from_utf8_lossy(&other.stdout).contains("# FI_ELASTANE_PATHS: String"));
}

#[test]
fn where_a_parameter_means_nothing_nothing_is_offered_and_the_log_says_why() {
    for (name, value, allowed) in [
        ("FI_ELASTANE_PATHS", "many", "a number from 1 to 256"),
        ("FI_ELASTANE_NAME", "eth0", "elastane or efa"),
        ("FI_ELASTANE_SHARED_MEMORY", "maybe", "on (1, true, yes) or off (0, false, no)"),
    ] {
        let installed = Installed::ours();
        let mut command = installed.command("fi_info");
        let command = command.args(["-p", "elastane"]).env(name, value).env("FI_LOG_LEVEL", "warn");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(NO_DATA), "{output:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        let text = format!("{name}={value}: it must be {allowed}; nothing is offered until it is");
        assert!(log.contains(&text), "{log}");
    }
}
