//! Sleeping on descriptors: fi_cq(3), fi_cntr(3), fi_trywait(3).

use std::{path::Path, process::Command};

use crate::installed::Installed;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libfabric/programs/sleeper.c");

/// Runs the program that sleeps on the descriptor of `what`.
fn sleep_on(what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sleeper");
    compile(&program);
    let library = Installed::ours();
    let mut command = library.set_up(Command::new("timeout"));
    let output = command.arg("120").arg(&program).arg(what).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"20 rounds\n", "{output:?}");
}

fn compile(program: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", PROGRAM, "-lfabric", "-lpthread", "-o"]);
    let output = compiler.arg(program).output().expect("a compiler of C");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn message_wakes_who_sleeps_on_a_queue_though_others_make_progress() {
    sleep_on("queue");
}

#[test]
fn message_wakes_who_sleeps_on_a_counter_though_others_make_progress() {
    sleep_on("counter");
}
