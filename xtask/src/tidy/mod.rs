//! The rules that compilers and lints do not know.

mod attributes;
mod dependencies;
mod lengths;
mod links;
mod names;
mod sans_io;
mod source;
mod unsafety;
mod words;

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use source::{RustFile, TextFile};

/// A rule broken at a place. Line 0 means the file as a whole.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

/// Checks the checkout and prints what is wrong. `true` if nothing is.
pub(crate) fn report(workspace: &Workspace) -> Result<bool> {
    let mut findings = check(workspace)?;
    findings.sort();
    for Finding { path, line, message } in &findings {
        match line {
            0 => println!("{path}: {message}"),
            _ => println!("{path}:{line}: {message}"),
        }
    }
    match findings.len() {
        0 => println!("tidy: nothing to complain about"),
        count => println!("tidy: {count} broken rules"),
    }
    Ok(findings.is_empty())
}

fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let texts = read(workspace)?;
    let packages = workspace.packages();
    let mut findings = Vec::new();
    let mut rust = Vec::new();
    for text in texts.iter().filter(|text| text.path.ends_with(".rs")) {
        match RustFile::parse(text) {
            Ok(file) => rust.push(file),
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(dependencies::check(&packages));
    findings.extend(dependencies::check_map(find(&texts, dependencies::MAP)));
    findings.extend(unsafety::check(&packages, &rust));
    findings.extend(lengths::check(&rust, find(&texts, lengths::EXCEPTIONS)));
    findings.extend(names::check(&packages, &rust));
    findings.extend(links::check(&texts, &|path| workspace.root().join(path).exists()));
    findings.extend(rust.iter().flat_map(attributes::check));
    findings.extend(rust.iter().flat_map(sans_io::check));
    findings.extend(texts.iter().flat_map(words::check));
    Ok(findings)
}

fn find<'a>(texts: &'a [TextFile], path: &str) -> &'a str {
    texts.iter().find(|text| text.path == path).map_or("", |text| &text.text)
}

/// Reads the files that are text.
fn read(workspace: &Workspace) -> Result<Vec<TextFile>> {
    let mut texts = Vec::new();
    for path in workspace.files()? {
        let bytes = fs::read(workspace.root().join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            texts.push(TextFile { path: path.into_string(), text });
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_zero_sorts_before_the_lines_of_the_same_file() {
        let mut findings =
            [Finding::new("a", 3, "x"), Finding::new("b", 0, "x"), Finding::new("a", 0, "x")];
        findings.sort();
        assert_eq!(findings.iter().map(|f| f.line).collect::<Vec<_>>(), [0, 3, 0]);
    }
}
