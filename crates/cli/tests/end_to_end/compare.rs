//! `elastane compare` between two hosts on this machine. What it measures on a machine that runs
//! other tests as well says nothing; that it measures, and what it writes, does.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::running::{Running, elastane, run, timed};

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The one row of a document with these values.
#[track_caller]
fn figure(document: &Value, network: &str, transport: &str, metric: &str, bytes: u64) -> f64 {
    let rows = document["results"].as_array().expect("an array");
    let row = rows.iter().find(|row| {
        row["network"] == network
            && row["transport"] == transport
            && row["metric"] == metric
            && row["bytes"] == bytes
    });
    let row = row.unwrap_or_else(|| panic!("{network} {transport} {metric} {bytes}: {document:#}"));
    let unit = match metric {
        "bandwidth" | "bidirectional-bandwidth" => "B/s",
        "message-rate" => "1/s",
        _ => "s",
    };
    assert_eq!(row["unit"], unit, "{row}");
    row["value"].as_f64().expect("a number")
}

#[test]
fn quick_comparison_measures_every_network() {
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    // From another folder, by a relative name.
    let mut command = elastane(&["compare", "--quick", "--json", "-", "--html", "report.html"]);
    command.current_dir(folder.path());
    let (finished, took) = timed(|| Running::start(command).finish());
    let document = document(finished.success());
    assert_eq!(document["format"], "elastane-compare");

    for transport in ["elastane", "tcp", "tcp-default", "tcp-4", "udp-raw"] {
        assert!(figure(&document, "flat", transport, "bandwidth", MIB) > 0.0);
    }
    for transport in ["elastane", "tcp", "udp-raw"] {
        for metric in ["latency-p50", "latency-p99", "latency-p99.9", "message-rate"] {
            assert!(figure(&document, "flat", transport, metric, 64) > 0.0);
        }
        assert!(figure(&document, "flat", transport, "cpu-per-gb", MIB) > 0.0);
    }
    assert!(figure(&document, "flat", "elastane", "bidirectional-bandwidth", MIB) > 0.0);
    for network in ["multipath", "loss-0.1%", "loss-1%", "shared-link"] {
        for transport in ["elastane", "tcp"] {
            assert!(figure(&document, network, transport, "bandwidth", MIB) > 0.0);
        }
    }
    for transport in ["elastane", "tcp"] {
        let stall = figure(&document, "path-cut", transport, "longest-stall", 64 << 10);
        assert!(stall > 0.0 && stall < 5.0, "{stall} s");
    }
    // A link cannot carry more than its rate: the limits are real.
    assert!(figure(&document, "multipath", "tcp", "bandwidth", MIB) < 1.05e9 / 8.0);
    assert!(figure(&document, "multipath", "elastane", "bandwidth", MIB) < 4.2e9 / 8.0);
    assert!(figure(&document, "one-host", "elastane", "latency-p50", 8) > 0.0);
    assert_eq!(document["checks"].as_array().map(Vec::len), Some(9));
    assert_eq!(document["emulated"].as_object().map(serde_json::Map::len), Some(6));

    let page = fs::read_to_string(page).expect("the page was written");
    assert!(page.contains("<svg"), "no charts");
    for external in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(external), "{external}");
    }
    assert!(took < Duration::from_secs(180), "{took:?}");
}

#[test]
fn loopback_is_said_aloud() {
    let finished = run(&["compare", "--quick", "--hosts", "loopback", "--json", "-"]);
    assert!(finished.stderr.contains("loopback"), "{finished:?}");
    let document = document(finished.success());
    assert!(figure(&document, "flat", "elastane", "bandwidth", 1 << 20) > 0.0);
    let emulated = document["emulated"]["flat"].as_str().expect("a string");
    assert!(emulated.contains("loopback"), "{emulated}");
    let rows = document["results"].as_array().expect("an array");
    assert!(rows.iter().all(|row| row["network"] == "flat" || row["network"] == "one-host"));
    assert_eq!(document["emulated"]["one-host"], Value::Null, "one host is what it says");
}

/// The command on a machine that grants no network namespaces.
fn without_namespaces(arguments: &str) -> Command {
    let limit = "echo 0 > /proc/sys/user/max_net_namespaces";
    let elastane = env!("CARGO_BIN_EXE_elastane");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c"]);
    command.arg(format!("{limit} && exec {elastane} compare --quick {arguments}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn machine_without_namespaces_falls_back_to_loopback() {
    let finished = Running::start(without_namespaces("--json -")).finish();
    assert!(finished.stderr.contains("loopback"), "{finished:?}");
    let document = document(finished.success());
    assert!(figure(&document, "flat", "elastane", "bandwidth", 1 << 20) > 0.0);
}

#[test]
fn machine_without_namespaces_refuses_what_needs_them() {
    for (arguments, names) in [("--only loss", "only flat"), ("--hosts namespaces", "namespace")] {
        let finished = Running::start(without_namespaces(arguments)).finish();
        assert!(finished.error().contains(names), "{finished:?}");
    }
}

#[test]
fn one_host_is_measured_without_namespaces_and_names_its_cpus() {
    let finished = Running::start(without_namespaces("--only one-host --json -")).finish();
    let document = document(finished.success());
    for transport in ["elastane", "tcp"] {
        for bytes in [8, 64] {
            assert!(figure(&document, "one-host", transport, "latency-p50", bytes) > 0.0);
            assert!(figure(&document, "one-host", transport, "message-rate", bytes) > 0.0);
        }
        for bytes in [64 << 10, 1 << 20, 4 << 20] {
            assert!(figure(&document, "one-host", transport, "bandwidth", bytes) > 0.0);
        }
    }
    let notes = document["notes"].to_string();
    assert!(notes.contains("one-host: the client was bound to"), "{notes}");
}

/// Debian's `nobody`, who owns nothing.
const NOBODY: &str = "65534";

#[test]
fn ordinary_user_has_hosts_too() {
    if !nix::unistd::geteuid().is_root() {
        // Then the other tests are being run by such a user already.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The build directory may be out of that user's reach.
    let copy = folder.path().join("elastane");
    fs::copy(env!("CARGO_BIN_EXE_elastane"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(&copy);
    command.args(["compare", "--quick", "--only", "multipath,loss-1%", "--json", "report.json"]);
    command.current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = Running::start(command).finish();
    assert_eq!(finished.status, 0, "{finished:?}");
    let document = document(&fs::read_to_string(folder.path().join("report.json")).unwrap());
    assert!(figure(&document, "multipath", "elastane", "bandwidth", 1 << 20) > 0.0);
    assert!(figure(&document, "loss-1%", "elastane", "bandwidth", 1 << 20) > 0.0);
    let emulated = document["emulated"]["multipath"].as_str().expect("a string");
    assert!(emulated.contains("user namespace"), "{emulated}");
}

#[test]
fn two_comparisons_at_once_do_not_meet() {
    let arguments = ["compare", "--quick", "--only", "shared-link", "--json", "-"];
    let both = [(), ()].map(|()| Running::start(elastane(&arguments)));
    for running in both {
        let finished = running.finish();
        let document = document(finished.success());
        assert!(figure(&document, "shared-link", "elastane", "bandwidth", 1 << 20) > 0.0);
    }
}

#[test]
fn injected_faults_are_felt_and_captured() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("shared.pcap");
    let finished = run(&[
        "compare",
        "--quick",
        "--only",
        "shared-link",
        "--json",
        "-",
        "--inject",
        "drop=2%,seed=7",
        "--pcap",
        capture.to_str().unwrap(),
    ]);
    let document = document(finished.success());
    assert!(figure(&document, "shared-link", "elastane", "bandwidth", 1 << 20) > 0.0);
    let capture = fs::read(capture).expect("the capture was written");
    assert_eq!(capture[..4], 0xa1b2_3c4d_u32.to_be_bytes(), "no pcap in nanoseconds");
    assert!(capture.len() > 10_000, "{} bytes", capture.len());
}

#[test]
fn check_fails_when_a_promise_is_broken() {
    // No transport keeps up when nine of ten datagrams are lost.
    let finished =
        run(&["compare", "--quick", "--only", "multipath", "--check", "--inject", "drop=90%"]);
    assert_eq!(finished.status, 1, "{finished:?}");
    assert!(finished.stderr.contains("not kept: multipath"), "{finished:?}");
    assert!(finished.stdout.contains("MISSED"), "{finished:?}");
}

#[test]
fn colours_are_used_only_when_asked_for() {
    let finished = run(&["compare", "--quick", "--only", "multipath"]);
    assert!(finished.success().contains("multipath"), "{finished:?}");
    assert!(!finished.stdout.contains('\u{1b}'), "{finished:?}");
    let finished = run(&["compare", "--quick", "--only", "multipath", "--color", "always"]);
    assert!(finished.success().contains('\u{1b}'), "{finished:?}");
}
