//! What Debian's `fi_info` says of the library, as users install it.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::ifaddrs::getifaddrs;

/// No data: what libfabric's programs exit with where nothing matches.
const NO_DATA: i32 = 61;

/// The library in a folder of its own, under the name that libfabric looks for.
struct Installed(tempfile::TempDir);

impl Installed {
    fn named(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(library(), folder.path().join(file)).unwrap();
        Self(folder)
    }

    fn ours() -> Self {
        Self::named("libelastane-fi.so")
    }

    fn fi_info(&self, arguments: &[&str]) -> Output {
        self.run(Command::new("fi_info").args(arguments))
    }

    fn run(&self, command: &mut Command) -> Output {
        let command = command
            .env("FI_PROVIDER_PATH", self.0.path())
            .env_remove("FI_PROVIDER")
            .env_remove("FI_ELASTANE_IFACE")
            .env_remove("FI_ELASTANE_NAME");
        command.output().expect("fi_info of the Debian package libfabric-bin")
    }

    /// The entries of the provider of this name.
    fn entries(&self, arguments: &[&str]) -> Vec<Entry> {
        let output = self.fi_info(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Entry::all(&String::from_utf8(output.stdout).unwrap())
    }
}

/// Cargo puts the library beside the tests that it was built with.
fn library() -> PathBuf {
    let test = env::current_exe().unwrap();
    let folders = test.ancestors().skip(1).take(2).map(Path::to_owned);
    let candidates: Vec<_> = folders.map(|folder| folder.join("libelastane_fi.so")).collect();
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = candidates.iter().filter(|path| path.exists()).max_by_key(|path| modified(path));
    newest.unwrap_or_else(|| panic!("none of {candidates:?} was built")).clone()
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
    let entries = Installed::ours().entries(&["-p", "elastane"]);
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
    let all = installed.entries(&["-p", "elastane"]);
    let reliable = of_kind(&all, "FI_EP_RDM");
    let choose = |arguments: &[&str]| installed.entries(&[&["-p", "elastane"], arguments].concat());
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
        let output = installed.fi_info(&[&["-p", "elastane"], arguments].concat());
        assert_eq!(output.status.code(), Some(NO_DATA), "{arguments:?}: {output:?}");
    }
}

#[test]
fn names_choose_also_before_libfabric_compared_them() {
    let installed = Installed::ours();
    for entry in installed.entries(&["-p", "elastane"]) {
        let named =
            installed.entries(&["-p", "elastane", "-d", &entry.domain, "-f", &entry.fabric]);
        assert_eq!(named, [entry]);
    }
    let [loopback] =
        &installed.entries(&["-p", "elastane", "-d", "lo-rdm", "-f", "elastane-127.0.0.0/8"])[..]
    else {
        panic!("one loopback")
    };
    assert_eq!(loopback.kind, "FI_EP_RDM");
}

#[test]
fn nodes_choose_the_interface() {
    let installed = Installed::ours();
    for arguments in [["-s", "127.0.0.1"], ["-n", "127.0.0.1"], ["-s", "localhost"]] {
        let entries = installed.entries(&[&["-p", "elastane"], &arguments[..]].concat());
        let domains: Vec<_> = entries.iter().map(|entry| entry.domain.as_str()).collect();
        assert_eq!(domains, ["lo-rdm", "lo-dgrm"], "{arguments:?}");
    }
    let verbose = installed.fi_info(&["-p", "elastane", "-s", "127.0.0.1", "-P", "9228", "-v"]);
    let verbose = String::from_utf8(verbose.stdout).unwrap();
    assert!(verbose.contains("src_addr: fi_sockaddr_in://127.0.0.1:9228"), "{verbose}");
    assert!(verbose.contains("dest_addr: (null)"), "{verbose}");
}

#[test]
fn an_interface_can_be_set() {
    let installed = Installed::ours();
    let mut command = Command::new("fi_info");
    let path = installed.0.path();
    let output = command
        .args(["-p", "elastane"])
        .env("FI_PROVIDER_PATH", path)
        .env("FI_ELASTANE_IFACE", "lo")
        .output()
        .unwrap();
    let entries = Entry::all(&String::from_utf8(output.stdout).unwrap());
    assert!(!entries.is_empty());
    assert!(entries.iter().all(|entry| entry.domain.starts_with("lo-")), "{entries:?}");
}

#[test]
fn under_the_file_name_of_efa_it_answers_to_efa() {
    let installed = Installed::named("libefa-fi.so");
    let entries = installed.entries(&["-p", "efa"]);
    assert!(!entries.is_empty());
    for entry in &entries {
        assert_eq!((entry.provider.as_str(), entry.protocol.as_str()), ("efa", "FI_PROTO_EFA"));
        assert!(entry.fabric.starts_with("EFA-"), "{entry:?}");
    }
    assert_eq!(installed.fi_info(&["-p", "elastane"]).status.code(), Some(NO_DATA));
}
