//! What a cloud cannot be made of: one line that says so, and nothing made.

use std::{fs, net::TcpListener, os::unix::process::CommandExt as _, path::Path};

use crate::site::{Cloud, Traces, eventually, text};

/// Starts a cloud that cannot start, and returns what it says.
#[track_caller]
fn refused(cloud: &Cloud, arguments: &[&str]) -> String {
    let before = Traces::now(cloud.path());
    let output = cloud.elastane(&[&["up"], arguments].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    eventually("nothing is left", || Traces::now(cloud.path()) == before);
    assert!(cloud::agent::find(cloud.path()).unwrap().is_none());
    text(&output)
}

/// Each step of a start, made to fail.
#[test]
fn failure_at_any_step_of_a_start_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cloud = Cloud::new();
    assert!(refused(&cloud, &["--port", &port]).contains(&format!("127.0.0.1:{port}")));
    assert!(refused(&cloud, &["--network", "10.77.0.0/8"]).contains("16 to 24 bits"));
    assert!(refused(&cloud, &["--provider-library", "/bin/true"]).contains("/bin/true"));
    let write = |name: &str, bytes: &[u8]| fs::write(cloud.path().join(name), bytes).unwrap();
    write("volume.img", &[0; 4096]);
    assert!(refused(&cloud, &[]).contains("mount the file system"));
    fs::remove_file(cloud.path().join("volume.img")).unwrap();
    write("credentials.json", b"nonsense");
    assert!(refused(&cloud, &[]).contains("credentials.json"));
    fs::remove_file(cloud.path().join("credentials.json")).unwrap();
    write("ec2.json", b"nonsense");
    assert!(refused(&cloud, &[]).contains("ec2.json"));
    fs::remove_file(cloud.path().join("ec2.json")).unwrap();
    write("cloud.json", b"nonsense");
    assert!(refused(&cloud, &[]).contains("cloud.json"));
    fs::remove_file(cloud.path().join("cloud.json")).unwrap();
    // Mended, it starts.
    assert!(cloud.elastane(&["up"]).status.success());
}

#[test]
fn options_of_the_first_start_are_kept() {
    let cloud = Cloud::new();
    let before = Traces::now(cloud.path());
    assert!(cloud.elastane(&["up", "--region", "eu-central-1"]).status.success());
    let network = cloud.running().network;
    assert!(cloud.elastane(&["down"]).status.success());
    eventually("nothing is left", || Traces::now(cloud.path()) == before);
    let said = refused(&cloud, &["--region", "us-west-2"]);
    assert!(said.contains("--region us-west-2: this cloud began with eu-central-1"), "{said}");
    let said = refused(&cloud, &["--network", "10.1.0.0/16"]);
    assert!(said.contains(&format!("began with {network}")), "{said}");
    assert!(cloud.elastane(&["up"]).status.success());
    assert_eq!(cloud.running().region, "eu-central-1");
    assert_eq!(cloud.running().network, network);
}

#[test]
fn network_of_another_cloud_is_refused() {
    let first = Cloud::up();
    let network = first.running().network.to_string();
    let said = refused(&Cloud::new(), &["--network", &network]);
    assert!(said.contains(&network) && said.contains("leads elsewhere"), "{said}");
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let cloud = Cloud::new();
    let directory = cloud.path().join("state");
    let mut up = cloud.command(&["up"]);
    // A user who is nobody in particular, for whom nothing is installed.
    up.env("ELASTANE_CLOUD_DIR", &directory).env("PATH", "/nowhere").uid(65534);
    let output = up.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output);
    assert!(said.contains("needs root") && said.contains("elastane compare"), "{said}");
    assert!(said.contains("apt-get install") && said.contains("util-linux"), "{said}");
    assert!(!Path::new(&directory).exists());
}

#[test]
fn commands_without_a_cloud_say_how_to_start_one() {
    let cloud = Cloud::new();
    let output = cloud.elastane(&["env"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output).contains("elastane cloud up"), "{output:?}");
    let output = cloud.elastane(&["up", "--capacity", "many"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output).contains("TYPE=NUMBER"), "{output:?}");
}
