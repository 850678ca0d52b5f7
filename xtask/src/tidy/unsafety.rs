//! Where unsafe code may be.

use crate::workspace::Package;

use super::{Finding, source::RustFile};

/// Crates with system calls or memory that no safe crate offers, and the folders (or the files of
/// their names) these are in. Every other crate forbids unsafe code.
const UNSAFE_FOLDERS: &[(&str, &[&str])] = &[
    ("io", &["crates/io/src/udp/sys/", "crates/io/src/shm/sys/", "crates/io/src/shm/ring/"]),
    ("hosts", &["crates/hosts/src/sys/"]),
    (
        "libfabric-sys",
        &[
            "crates/libfabric-sys/src/client/",
            "crates/libfabric-sys/src/declare/",
            "crates/libfabric-sys/src/library/",
            "crates/libfabric-sys/src/prov/",
        ],
    ),
    ("memory", &["crates/memory/src/raw/"]),
    ("provider", &["crates/provider/src/fi/"]),
];

const FORBID: &[&str] = &["#", "!", "[", "forbid", "(", "unsafe_code"];

/// Finds crates that should forbid unsafe code and do not, and unsafe code out of its place.
pub(super) fn check(packages: &[Package], files: &[RustFile<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| folders_of(&package.name).is_empty()) {
        let roots = files.iter().filter(|file| package.roots.iter().any(|r| r == file.path()));
        let lax = roots.filter(|root| root.lines_with(FORBID).is_empty());
        findings.extend(lax.map(|root| {
            Finding::new(root.path(), 1, "add #![forbid(unsafe_code)]: this crate needs none")
        }));
    }
    for file in files {
        let folders = folders_of(file.package());
        if folders.iter().any(|folder| is_in(file.path(), folder)) {
            continue;
        }
        let message = match folders {
            [] => "unsafe code, which has no place in this crate".to_owned(),
            folders => format!("unsafe code out of its place, which is {}", folders.join(" or ")),
        };
        let lines = file.lines_with(&["unsafe"]);
        findings.extend(lines.into_iter().map(|line| Finding::new(file.path(), line, &message)));
    }
    findings
}

fn folders_of(package: &str) -> &'static [&'static str] {
    UNSAFE_FOLDERS.iter().find(|(name, _)| *name == package).map_or(&[], |(_, folders)| *folders)
}

fn is_in(path: &str, folder: &str) -> bool {
    // `sys.rs` is the root of the folder `sys/`, or all of it.
    path.starts_with(folder)
        || path.strip_suffix(".rs").is_some_and(|stem| stem == folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    const UNSAFE: &str = "fn f() { unsafe { g() } }";

    fn found(package: &str, path: &str, text: &str) -> Vec<Finding> {
        let text = sample(path, text);
        let root = format!("crates/{package}/src/lib.rs");
        let package = Package { name: package.into(), roots: vec![root], uses: vec![] };
        check(&[package], &[RustFile::parse(&text).unwrap()])
    }

    #[test]
    fn crate_root_without_forbid_is_caught() {
        assert_eq!(found("srd", "crates/srd/src/lib.rs", "mod a;").len(), 1);
        assert_eq!(found("srd", "crates/srd/src/lib.rs", "#![forbid(unsafe_code)]"), []);
    }

    #[test]
    fn forbid_in_a_comment_does_not_count() {
        assert_eq!(found("srd", "crates/srd/src/lib.rs", "// #![forbid(unsafe_code)]").len(), 1);
    }

    #[test]
    fn unsafe_block_outside_the_folder_is_caught() {
        assert_eq!(found("io", "crates/io/src/udp/device.rs", UNSAFE).len(), 1);
        assert_eq!(found("io", "crates/io/src/udp/sys/message.rs", UNSAFE), []);
        assert_eq!(found("io", "crates/io/src/shm/ring.rs", UNSAFE), []);
        assert_eq!(found("io", "crates/io/src/shm/link.rs", UNSAFE).len(), 1);
        assert_eq!(found("hosts", "crates/hosts/src/sys.rs", UNSAFE), []);
    }

    #[test]
    fn unsafe_in_a_safe_crate_is_caught() {
        assert_eq!(found("message", "crates/message/src/eager.rs", UNSAFE).len(), 1);
    }
}
