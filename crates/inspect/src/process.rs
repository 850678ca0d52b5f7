//! What tells one process from another that had, or elsewhere has, the same number.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

/// When a process began, in the kernel's ticks since boot; none if there is no such process.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    started_in(&stat)
}

/// The 22nd field; the second is a name that may hold anything.
fn started_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// What a process was started as, without the folder; else the name the kernel has for it.
pub(crate) fn program(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if let Some(name) = name_in(&arguments) {
        return name;
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned())
}

/// The file name of the first argument. A program may put anything there.
fn name_in(arguments: &[u8]) -> Option<String> {
    let first = String::from_utf8_lossy(arguments.split(|byte| *byte == 0).next()?).into_owned();
    let name = first.rsplit('/').next()?.replace(char::is_control, "?");
    (!name.is_empty()).then_some(name)
}

/// A namespace (`net`, `pid`) of a process: equal for processes that share it.
pub(crate) fn namespace(pid: u32, kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

/// The user a process runs as; none if there is no such process.
pub(crate) fn owner(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_found_behind_any_name() {
        let fields: Vec<_> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b ) c) {}", fields.join(" "));
        assert_eq!(started_in(&stat), Some(22));
    }

    #[test]
    fn name_is_the_file_of_the_first_argument() {
        assert_eq!(name_in(b"/usr/bin/train\0--fast\0").as_deref(), Some("train"));
        assert_eq!(name_in(b"a\x1b[2J\0").as_deref(), Some("a?[2J"));
        assert_eq!(name_in(b""), None);
        assert_eq!(name_in(b"\0x"), None);
    }

    #[test]
    fn this_process_has_a_start_a_name_and_an_owner() {
        let pid = std::process::id();
        assert_eq!(started(pid), started(pid));
        assert!(started(pid).is_some());
        assert!(!program(pid).is_empty());
        assert_eq!(owner(pid), Some(nix::unistd::geteuid().as_raw()));
        assert!(namespace(pid, "net").is_some());
    }

    #[test]
    fn number_no_process_can_have_is_nobody() {
        assert_eq!(started(u32::MAX), None);
        assert_eq!(owner(u32::MAX), None);
    }
}
