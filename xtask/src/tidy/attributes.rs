//! Attributes that switch a check off for good, or without a word.

use super::{Finding, source::RustFile};

/// Finds banned attributes, also inside `cfg_attr`.
pub(super) fn check(file: &RustFile<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // How many brackets of the attribute that is being read are open; 0 outside of attributes.
    let mut depth = 0;
    let mut before = ["", ""];
    for (token, after) in file.tokens.iter().zip(file.tokens.iter().skip(1)) {
        let text = token.text.as_str();
        let opens = text == "[" && (before[1] == "#" || before == ["#", "!"]);
        match text {
            "[" if opens || depth > 0 => depth += 1,
            "]" if depth > 0 => depth -= 1,
            _ if depth > 0 => {
                let why = why_banned(text, &after.text);
                findings.extend(why.map(|why| Finding::new(file.path(), token.line, why)));
            }
            _ => {}
        }
        before = [before[1], text];
    }
    findings
}

fn why_banned(word: &str, after: &str) -> Option<&'static str> {
    match (word, after) {
        ("allow", _) => {
            Some("an allowed lint stays allowed unnoticed: #[expect(lint, reason = \"...\")]")
        }
        ("ignore", "]") => Some("an ignored test says why, and who runs it instead"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::sample;

    fn found(text: &str) -> Vec<usize> {
        let text = sample("crates/x/src/a.rs", text);
        check(&RustFile::parse(&text).unwrap()).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn allow_is_caught_in_every_form() {
        assert_eq!(found("#[allow(dead_code)]\nfn f() {}"), [1]);
        assert_eq!(found("#![allow(dead_code)]"), [1]);
        assert_eq!(found("fn f() {}\n#[cfg_attr(test, allow(dead_code))]\nfn g() {}"), [2]);
    }

    #[test]
    fn ignored_test_without_a_reason_is_caught() {
        assert_eq!(found("#[test]\n#[ignore]\nfn f() {}"), [2]);
        assert_eq!(found("#[test]\n#[ignore = \"started by g\"]\nfn f() {}"), [0; 0]);
    }

    #[test]
    fn expectation_and_a_function_called_allow_pass() {
        let text = "#[expect(dead_code, reason = \"allow\")]\nfn allow() { allow() }";
        assert_eq!(found(text), [0; 0]);
    }
}
