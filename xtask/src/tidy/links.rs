//! Links between documents, and citations of the protocol in the code.

use std::collections::BTreeSet;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::{Finding, source::TextFile};

const PROTOCOL: &str = "docs/protocol.md";
const CITATION: &str = "P§";

/// Finds links to files or headings that are not there, and cited sections that the protocol
/// does not have.
pub(super) fn check(files: &[TextFile], exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            if let Err(message) = follow(files, exists, &file.path, &target) {
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings.extend(check_citations(files));
    findings
}

fn check_citations(files: &[TextFile]) -> Vec<Finding> {
    let protocol = files.iter().find(|file| file.path == PROTOCOL);
    let sections = protocol.map_or_else(BTreeSet::new, |file| sections(&file.text));
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (number, line) in file.lines() {
            for section in citations(line).filter(|section| !sections.contains(section)) {
                let message = format!("cites {CITATION}{section}, which {PROTOCOL} does not have");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// The links of a Markdown text that are not to the outside, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (event, range) in Parser::new(text).into_offset_iter() {
        let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) =
            event
        else {
            continue;
        };
        if !dest_url.contains(':') {
            let line = text[..range.start].matches('\n').count() + 1;
            links.push((line, dest_url.into_string()));
        }
    }
    links
}

fn follow(
    files: &[TextFile],
    exists: &dyn Fn(&str) -> bool,
    from: &str,
    target: &str,
) -> Result<(), String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(p, a)| (p, Some(a)));
    let path = if path.is_empty() { from.to_owned() } else { resolve(from, path) };
    if !exists(&path) {
        return Err(format!("links to {target}, which is not there"));
    }
    let document = files.iter().find(|file| file.path == path && path.ends_with(".md"));
    match (document, anchor) {
        (Some(document), Some(anchor)) if !anchors(&document.text).contains(anchor) => {
            Err(format!("links to {target}, but {path} has no such heading"))
        }
        _ => Ok(()),
    }
}

/// `target` as seen from the folder of `from`, relative to the checkout.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The names that headings can be linked by, as the forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(|h| anchor(&h))),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// The numbers that lines of the protocol begin with, as `2` or `2.4`.
fn sections(text: &str) -> BTreeSet<String> {
    let numbers = text.lines().map(|line| {
        let line = line.trim_start_matches(|c: char| " #*-|§P".contains(c));
        leading_number(line)
    });
    numbers.filter(|number| !number.is_empty()).map(str::to_owned).collect()
}

fn citations(line: &str) -> impl Iterator<Item = String> {
    line.match_indices(CITATION)
        .map(|(at, _)| leading_number(&line[at + CITATION.len()..]))
        .filter(|number| !number.is_empty())
        .map(str::to_owned)
}

fn leading_number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| sample(path, text)).collect();
        let exists = |path: &str| files.iter().any(|file| file.path == path);
        check(&files, &exists).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn link_to_a_missing_file_is_caught() {
        let index = "see [the protocol](protocol.md) and [up](../README.md)";
        let both = [("docs/README.md", index), ("docs/protocol.md", ""), ("README.md", "")];
        assert_eq!(found(&both), [""; 0]);
        assert_eq!(found(&both[..2]), ["links to ../README.md, which is not there"]);
    }

    #[test]
    fn link_to_a_missing_heading_is_caught() {
        let target = ("a.md", "# What it is, and `why`\n");
        assert_eq!(found(&[("b.md", "[x](a.md#what-it-is-and-why)"), target]), [""; 0]);
        assert_eq!(found(&[("b.md", "[x](a.md#when)"), target]).len(), 1);
    }

    #[test]
    fn links_to_the_outside_and_in_code_are_left_alone() {
        let text = "[a](https://example.com) `[b](none.md)`\n\n```\n[c](none.md)\n```\n";
        assert_eq!(found(&[("a.md", text)]), [""; 0]);
    }

    #[test]
    fn citation_of_a_missing_section_is_caught() {
        let protocol = ("docs/protocol.md", "## 2 Header\n\n**2.4** A receiver must ...\n");
        let cites = |section: &str| format!("//! ({CITATION}2, {CITATION}{section}).");
        assert_eq!(found(&[("a.rs", &cites("2.4")), protocol]), [""; 0]);
        let missing = found(&[("a.rs", &cites("2.5")), protocol]);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].ends_with("2.5, which docs/protocol.md does not have"));
    }
}
