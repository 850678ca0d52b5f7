//! What is written on the command line, and what is wrong with it.

use crate::running::{elastane, run};

#[test]
fn help_of_each_command_shows_an_example() {
    for command in
        ["compare", "serve", "simulate", "info", "top", "perf", "run", "install", "install-links"]
    {
        let help = run(&[command, "--help"]);
        let example = format!("\n  elastane {command} ");
        assert!(help.success().contains(&example), "{command}: {help:?}");
    }
    let help = run(&["--help"]);
    for command in [
        "compare",
        "serve",
        "simulate",
        "info",
        "top",
        "perf",
        "run",
        "install",
        "install-links",
        "help",
    ] {
        assert!(help.success().contains(command), "{help:?}");
    }
    assert!(!help.stdout.contains("measure "), "{help:?}");
    assert_eq!(run(&["help"]).success(), help.stdout);
}

#[test]
fn version_is_printed() {
    let version = run(&["--version"]);
    assert_eq!(version.success(), concat!("elastane ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_is_one_line_that_names_it() {
    for (arguments, names) in [
        (&["simulate", "--size", "12x"][..], &["--size", "`12x`", "1MiB"][..]),
        (&["simulate", "--delay", "soon"], &["--delay", "soon", "10us"]),
        (&["simulate", "--topology", "ring:3"], &["--topology", "ring:3", "star:HOSTS"]),
        (&["simulate", "--bad-paths", "3", "--hosts", "4"], &["--bad-paths", "star:4"]),
        (&["simulate", "--seed"], &["--seed"]),
        (&["compare", "--mtu", "3"], &["--mtu", "1280"]),
        (&["compare", "--only", "flatt"], &["--only", "flatt", "path-cut"]),
        (&["compare", "--inject", "dro=1%"], &["--inject", "`dro`", "drop"]),
        (&["compare", "--hosts", "loopback", "--only", "loss"], &["--only", "flat"]),
        (&["compare", "node1", "--hosts", "auto"], &["--hosts", "HOST"]),
        (&["compare", "[::1]9"], &["`[::1]9`", "HOST:PORT"]),
        (&["serve", "--listen", "7472"], &["--listen", "`7472`"]),
        (&["info", "--jsno"], &["--jsno", "elastane info --help"]),
        (&["top", "node1"], &["`node1`", "HOST:PORT"]),
        (&["top", "1", "--interval", "1ms"], &["--interval", "100ms"]),
        (&["comparr"], &["comparr", "elastane --help"]),
    ] {
        let finished = run(arguments);
        for name in names {
            assert!(finished.error().contains(name), "{arguments:?} without {name}: {finished:?}");
        }
    }
}

#[test]
fn file_that_cannot_be_written_is_refused_before_measuring() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/report");
    let missing = missing.to_str().unwrap();
    for flag in ["--json", "--html", "--pcap"] {
        let finished = run(&["compare", "--quick", flag, missing]);
        assert!(finished.error().contains(missing), "{finished:?}");
        assert!(finished.error().contains(flag), "{finished:?}");
    }
    let finished = run(&["compare", "--json", folder.path().to_str().unwrap()]);
    assert!(finished.error().contains("folder"), "{finished:?}");
    let finished = run(&["compare", "--json", "-", "--html", "-"]);
    assert!(finished.error().contains("same place"), "{finished:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn argument_that_is_no_unicode_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let mut command = elastane(&["compare"]);
    command.arg(OsStr::from_bytes(b"\xff"));
    crate::running::Running::start(command).finish().error();
}
