//! What the library asks of a program that loads it, and what it gives it.

use std::process::Command;

use crate::installed::library;

/// What one of the binary utilities says of the library.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg(library()).output();
    let output = output.expect("the Debian package binutils, which gcc brings");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_needs_libc_alone_and_is_never_unloaded() {
    let dynamic = said("readelf", &["--dynamic", "--wide"]);
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let names = needed.filter_map(|line| line.split_once('[')).map(|(_, name)| name);
    // The loader is a part of libc.
    let others: Vec<_> = names
        .filter(|name| !name.starts_with("libc.so.") && !name.starts_with("ld-linux"))
        .collect();
    assert_eq!(others, [""; 0], "{dynamic}");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)"));
    assert!(flags.is_some_and(|flags| flags.contains("NODELETE")), "{dynamic}");
}

#[test]
fn it_exports_what_libfabric_looks_up_and_nothing_else() {
    let symbols = said("nm", &["--dynamic", "--defined-only"]);
    let names: Vec<_> = symbols.lines().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(names, ["fi_prov_ini"], "{symbols}");
}
