//! Words that must not be in any file.

use super::{Finding, source::TextFile};

/// Marks of unfinished work. Written in halves, as this file is checked too.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Hosts of package registries: where packages come from is everyone's own setting.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("arti", "factory"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Folders that exist on the machine of whoever wrote the line.
const FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// The one source of packages that every Cargo.lock names.
const PUBLIC_INDEX: &str =
    concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

/// Finds banned words, and packages in the lock file that come from elsewhere.
pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    let complain = |line: usize, message: String| Finding::new(&file.path, line, message);
    if file.path == "Cargo.lock" {
        let sources = file.lines().filter(|(_, line)| line.starts_with("source = "));
        return sources
            .filter(|(_, line)| *line != PUBLIC_INDEX)
            .map(|(number, _)| complain(number, "a package from another source".to_owned()))
            .collect();
    }
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        if let Some(mark) = MARKS.iter().find(|mark| has_word(line, mark)) {
            findings.push(complain(number, format!("{mark}: do it, or open an issue")));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(**host)) {
            findings.push(complain(number, format!("names the package registry {host}")));
        }
        if let Some(folder) = FOLDERS.iter().find(|folder| has_folder(line, folder)) {
            findings.push(complain(number, format!("names a folder of one machine: {folder}")));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next())
    })
}

/// Whether the line has a path that begins with `folder`, and goes on.
fn has_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        let inside = before.is_some_and(|c| c.is_alphanumeric() || "._-*}".contains(c));
        !inside && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(path: &str, text: &str) -> usize {
        check(&sample(path, text)).len()
    }

    #[test]
    fn mark_of_unfinished_work_is_caught_as_a_word() {
        for mark in MARKS {
            assert_eq!(found("a.rs", &format!("// {mark}: later")), 1);
        }
        assert_eq!(found("a.rs", "mkstemp(\"name.XXXXXX\")"), 0);
    }

    #[test]
    fn registry_is_caught() {
        for host in REGISTRIES {
            assert_eq!(found("README.md", &format!("see https://{host}/x")), 1);
        }
    }

    #[test]
    fn folder_of_one_machine_is_caught_and_part_of_a_longer_path_is_not() {
        for folder in FOLDERS {
            assert_eq!(found("a.md", &format!("in {folder}somebody/x")), 1);
            assert_eq!(found("a.md", &format!("in target{folder}somebody/x")), 0);
        }
    }

    #[test]
    fn lock_file_with_another_source_is_caught() {
        let text = format!("{PUBLIC_INDEX}\n");
        assert_eq!(found("Cargo.lock", &text), 0);
        assert_eq!(found("Cargo.lock", &text.replace("github.com", "example.com")), 1);
    }
}
