//! The protocol crates hold no clock, no socket, no thread and no chance of their own: all of
//! that comes in as arguments, or a simulation would not be the program that ships.

use super::{Finding, source::RustFile};

const SANS_IO: &[&str] = &["wire", "srd", "message"];

const BANNED: &[(&[&str], &str)] = &[
    (&["Instant"], "time is an argument: wire::Time"),
    (&["SystemTime"], "time is an argument: wire::Time"),
    (&["sleep"], "waiting is the caller's: return a timeout"),
    (&["thread_rng"], "randomness is a seed handed in"),
    (&["rand", ":", ":", "rng"], "randomness is a seed handed in"),
    (&["rand", ":", ":", "random"], "randomness is a seed handed in"),
    (&["from_os_rng"], "randomness is a seed handed in"),
    (&["OsRng"], "randomness is a seed handed in"),
    (&["getrandom"], "randomness is a seed handed in"),
    (&["RandomState"], "its order changes from run to run: rustc_hash"),
    (&["HashMap"], "its order changes from run to run: rustc_hash::FxHashMap"),
    (&["HashSet"], "its order changes from run to run: rustc_hash::FxHashSet"),
    (&["UdpSocket"], "datagrams come and go through the caller"),
    (&["TcpStream"], "datagrams come and go through the caller"),
    (&["std", ":", ":", "fs"], "the protocol has no files"),
    (&["std", ":", ":", "env"], "settings are arguments"),
    (&["std", ":", ":", "os"], "the protocol has no operating system"),
    (&["std", ":", ":", "process"], "the protocol has no operating system"),
    (&["std", ":", ":", "thread"], "the protocol has no threads"),
    (&["println"], "the protocol does not print"),
    (&["eprintln"], "the protocol does not print"),
];

/// Finds what would make a protocol crate depend on the world.
pub(super) fn check(file: &RustFile<'_>) -> Vec<Finding> {
    let shipped = file.path().contains("/src/") && !file.is_test();
    if !SANS_IO.contains(&file.package()) || !shipped {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (pattern, why) in BANNED {
        for line in file.lines_with(pattern) {
            let message = format!("{} in a sans-IO crate: {why}", pattern.concat());
            findings.push(Finding::new(file.path(), line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(path: &str, text: &str) -> usize {
        let text = sample(path, text);
        check(&RustFile::parse(&text).unwrap()).len()
    }

    #[test]
    fn clock_sleep_and_chance_in_the_transport_are_caught() {
        let path = "crates/srd/src/a.rs";
        assert_eq!(found(path, "fn f() { std::time::Instant::now(); }"), 1);
        assert_eq!(found(path, "use std::thread;\nfn f() { thread::sleep(d); }"), 2);
        assert_eq!(found(path, "fn f() -> u8 { rand::rng().random() }"), 1);
        assert_eq!(found(path, "use std::collections::HashMap;"), 1);
        assert_eq!(found(path, "fn f() { println!(); }"), 1);
    }

    #[test]
    fn deterministic_counterparts_pass() {
        let text = "use rustc_hash::FxHashMap;\nfn f(now: Time, rng: &mut Xoshiro256PlusPlus) {}";
        assert_eq!(found("crates/srd/src/a.rs", text), 0);
    }

    #[test]
    fn crates_that_touch_the_world_may() {
        assert_eq!(found("crates/fabric/src/clock.rs", "use std::time::Instant;"), 0);
    }
}
