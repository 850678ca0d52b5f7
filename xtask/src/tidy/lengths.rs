//! Files, functions and lines of a length that can be read.
//!
//! Exceptions are a ratchet: each names its length, may shrink, never grow, and goes when it is no
//! longer needed.

use std::collections::BTreeMap;

use syn::{
    spanned::Spanned,
    visit::{self, Visit},
};

use super::{Finding, source::RustFile};

/// The list of exceptions: `file PATH LINES` or `function PATH NAME LINES`.
pub(super) const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const LINE_COLUMNS: usize = 100;

/// Finds what is too long, and exceptions that do not fit what they excuse.
pub(super) fn check(files: &[RustFile<'_>], exceptions: &str) -> Vec<Finding> {
    let mut too_long = BTreeMap::new();
    for file in files {
        let lines = lines_without_tests(file);
        if lines > FILE_LINES && !file.is_test() {
            too_long.insert(format!("file {}", file.path()), (lines, 0, FILE_LINES));
        }
        for (name, line, lines) in functions(file) {
            if lines > FUNCTION_LINES {
                let key = format!("function {} {name}", file.path());
                too_long.insert(key, (lines, line, FUNCTION_LINES));
            }
        }
    }
    let mut findings = compare(too_long, exceptions);
    findings.extend(files.iter().flat_map(wide_lines));
    findings
}

type TooLong = BTreeMap<String, (usize, usize, usize)>;

fn compare(mut too_long: TooLong, exceptions: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, entry) in (1..).zip(exceptions.lines()) {
        let entry = entry.trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let mut complain = |message: String| {
            findings.push(Finding::new(EXCEPTIONS, number, message));
        };
        let parsed = entry.rsplit_once(' ').and_then(|(k, n)| Some((k, n.parse::<usize>().ok()?)));
        let Some((key, allowed)) = parsed else {
            complain("an exception is `file PATH LINES` or `function PATH NAME LINES`".to_owned());
            continue;
        };
        match too_long.remove(key) {
            None => complain(format!("{key} needs no exception: remove the line")),
            Some((lines, ..)) if lines > allowed => {
                complain(format!("{key} grew from {allowed} to {lines} lines: split it"));
            }
            Some((lines, ..)) if lines < allowed => {
                complain(format!("{key} shrank to {lines} lines: lower its number"));
            }
            Some(_) => {}
        }
    }
    findings.extend(too_long.into_iter().map(|(key, (lines, line, limit))| {
        let mut words = key.splitn(3, ' ');
        let (kind, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let what = words.next().map_or(kind.to_owned(), |name| format!("{kind} {name}"));
        Finding::new(path, line, format!("{what} has {lines} lines, the limit is {limit}"))
    }));
    findings
}

fn lines_without_tests(file: &RustFile<'_>) -> usize {
    let tests: usize = file.test_lines().iter().map(|range| range.end() - range.start() + 1).sum();
    file.source.text.lines().count() - tests
}

fn functions(file: &RustFile<'_>) -> Vec<(String, usize, usize)> {
    let mut functions = Functions { owner: None, found: Vec::new() };
    functions.visit_file(&file.syntax);
    functions.found
}

fn wide_lines(file: &RustFile<'_>) -> Vec<Finding> {
    // An address cannot be broken.
    let wide = |line: &str| line.chars().count() > LINE_COLUMNS && !line.contains("://");
    let lines = file.source.lines().filter(|(_, line)| wide(line));
    lines
        .map(|(number, _)| {
            let message = format!("the line is wider than {LINE_COLUMNS} columns");
            Finding::new(file.path(), number, message)
        })
        .collect()
}

/// Collects (name, first line, lines) of every function with a body.
struct Functions {
    owner: Option<String>,
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        self.found.push((name, first, last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = self.owner.take();
        self.owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        visit::visit_item_impl(self, item);
        self.owner = outer;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(text: &str, exceptions: &str) -> Vec<Finding> {
        let text = sample("crates/x/src/a.rs", text);
        check(&[RustFile::parse(&text).unwrap()], exceptions)
    }

    fn function_of(lines: usize) -> String {
        format!("impl T {{\nfn f() {{\n{}}}\n}}\n", "g();\n".repeat(lines - 2))
    }

    #[test]
    fn function_above_the_limit_is_caught_and_at_the_limit_is_not() {
        assert_eq!(found(&function_of(70), ""), []);
        let findings = found(&function_of(71), "");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].message, "function T::f has 71 lines, the limit is 70");
        assert_eq!(findings[0].line, 2);
    }

    #[test]
    fn file_length_leaves_out_the_test_module() {
        let long = "use a;\n".repeat(600);
        let tests = "#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(found(&format!("{long}{tests}"), ""), []);
        let findings = found(&format!("{long}use b;\n{tests}"), "");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].message, "file has 601 lines, the limit is 600");
    }

    #[test]
    fn wide_line_is_caught_unless_it_is_an_address() {
        assert_eq!(found(&format!("// {}", "x".repeat(97)), ""), []);
        assert_eq!(found(&format!("// {}", "x".repeat(98)), "").len(), 1);
        assert_eq!(found(&format!("// https://{}", "x".repeat(98)), ""), []);
    }

    #[test]
    fn exception_holds_for_exactly_its_length() {
        let entry = |lines| format!("# why\nfunction crates/x/src/a.rs T::f {lines}\n");
        assert_eq!(found(&function_of(80), &entry(80)), []);
        let grown = found(&function_of(81), &entry(80));
        assert_eq!((grown.len(), grown[0].line), (1, 2));
        assert!(grown[0].message.contains("grew from 80 to 81"));
        let shrunk = found(&function_of(79), &entry(80));
        assert!(shrunk[0].message.contains("shrank to 79"));
    }

    #[test]
    fn exception_that_excuses_nothing_is_caught() {
        let findings = found("fn f() {}", "function crates/x/src/a.rs f 80");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("needs no exception"));
        assert_eq!(found("fn f() {}", "nonsense").len(), 1);
    }
}
