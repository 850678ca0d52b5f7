//! Names that say nothing.

use syn::visit::{self, Visit};

use crate::workspace::Package;

use super::{Finding, source::RustFile};

const EMPTY_NAMES: &[&str] =
    &["core", "common", "util", "utils", "helper", "helpers", "manager", "managers"];

/// Finds crates, files and modules whose name does not tell what is in them.
pub(super) fn check(packages: &[Package], files: &[RustFile<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let mut words = package.name.split(['-', '_']);
        if let Some(word) = words.find(|word| EMPTY_NAMES.contains(word)) {
            findings.push(Finding::new("Cargo.toml", 0, complaint("crate", &package.name, word)));
        }
    }
    for file in files {
        let stem = file.path().trim_end_matches(".rs");
        if let Some(word) = stem.split('/').find(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::new(file.path(), 0, complaint("file", stem, word)));
        }
        let mut modules = Modules(Vec::new());
        modules.visit_file(&file.syntax);
        findings.extend(modules.0.into_iter().map(|(line, name)| {
            Finding::new(file.path(), line, complaint("module", &name, &name))
        }));
    }
    findings
}

fn complaint(what: &str, name: &str, word: &str) -> String {
    format!("{what} {name}: \"{word}\" says nothing, name it after what is in it")
}

struct Modules(Vec<(usize, String)>);

impl<'ast> Visit<'ast> for Modules {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if EMPTY_NAMES.contains(&name.as_str()) {
            self.0.push((module.ident.span().start().line, name));
        }
        visit::visit_item_mod(self, module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(path: &str, text: &str) -> usize {
        let text = sample(path, text);
        check(&[], &[RustFile::parse(&text).unwrap()]).len()
    }

    #[test]
    fn file_and_module_with_an_empty_name_are_caught() {
        assert_eq!(found("crates/x/src/util.rs", ""), 1);
        assert_eq!(found("crates/x/tests/common/mod.rs", ""), 1);
        assert_eq!(found("crates/x/src/a.rs", "mod helpers { fn f() {} }"), 1);
    }

    #[test]
    fn name_that_only_contains_such_a_word_passes() {
        assert_eq!(found("crates/x/src/utilisation.rs", "mod recommendation;"), 0);
    }

    #[test]
    fn crate_with_an_empty_name_is_caught() {
        let package = |name: &str| Package { name: name.into(), roots: vec![], uses: vec![] };
        assert_eq!(check(&[package("io-common")], &[]).len(), 1);
        assert_eq!(check(&[package("io")], &[]).len(), 0);
    }
}
