//! Source files as tidy reads them: text, tokens, syntax.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::Finding;

/// A text file of the checkout; the path is relative to its root.
pub(super) struct TextFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl TextFile {
    /// The lines, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().zip(1..).map(|(line, number)| (number, line))
    }
}

/// A Rust file. Tokens leave out comments and the insides of literals, so a rule is not broken by
/// writing about it.
pub(super) struct RustFile<'a> {
    pub(super) source: &'a TextFile,
    pub(super) tokens: Vec<Token>,
    pub(super) syntax: syn::File,
}

#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl<'a> RustFile<'a> {
    pub(super) fn parse(source: &'a TextFile) -> Result<Self, Finding> {
        let stream: TokenStream = source.text.parse().map_err(|error: proc_macro2::LexError| {
            let line = error.span().start().line;
            Finding::new(&source.path, line, "does not parse")
        })?;
        let mut tokens = Vec::new();
        flatten(stream.clone(), &mut tokens);
        let syntax = syn::parse2(stream).map_err(|error| {
            let line = error.span().start().line;
            Finding::new(&source.path, line, format!("does not parse: {error}"))
        })?;
        Ok(Self { source, tokens, syntax })
    }

    pub(super) fn path(&self) -> &str {
        &self.source.path
    }

    /// The crate of the workspace the file belongs to.
    pub(super) fn package(&self) -> &str {
        let mut parts = self.path().split('/');
        match parts.next() {
            Some("crates") => parts.next().unwrap_or(""),
            first => first.unwrap_or(""),
        }
    }

    /// Whether all of the file is test code.
    pub(super) fn is_test(&self) -> bool {
        let (folders, file) = self.path().rsplit_once('/').unwrap_or(("", self.path()));
        file == "tests.rs" || folders.split('/').any(|f| f == "tests" || f == "benches")
    }

    /// The lines of modules that are compiled for tests only.
    pub(super) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let mut modules = TestModules(Vec::new());
        modules.visit_file(&self.syntax);
        modules.0
    }

    /// The lines on which the tokens of `pattern` stand in a row.
    pub(super) fn lines_with(&self, pattern: &[&str]) -> Vec<usize> {
        let windows = self.tokens.windows(pattern.len());
        windows
            .filter(|window| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
            .map(|window| window[0].line)
            .collect()
    }
}

struct TestModules(Vec<RangeInclusive<usize>>);

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let for_tests = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
        });
        if for_tests {
            self.0.push(module.span().start().line..=module.span().end().line);
        } else {
            visit::visit_item_mod(self, module);
        }
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), tokens);
                let line = group.span_close().start().line;
                tokens.push(Token { text: close.to_owned(), line });
            }
            // A marker no pattern contains: what literals say is not code.
            TokenTree::Literal(_) => tokens.push(Token { text: "\"\"".to_owned(), line }),
            TokenTree::Ident(_) | TokenTree::Punct(_) => {
                tokens.push(Token { text: tree.to_string(), line });
            }
        }
    }
}

/// A file for the tests of rules.
#[cfg(test)]
pub(super) fn sample(path: &str, text: &str) -> TextFile {
    TextFile { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_leave_out_comments_and_literals() {
        let text =
            sample("crates/x/src/a.rs", "// unsafe\nfn f() -> &'static str {\n\"unsafe\"}\n");
        let file = RustFile::parse(&text).unwrap();
        assert_eq!(file.lines_with(&["unsafe"]), [0; 0]);
        assert_eq!(file.lines_with(&["fn", "f", "("]), [2]);
    }

    #[test]
    fn package_is_the_folder_below_crates_or_the_first() {
        let package = |path| {
            let text = sample(path, "");
            RustFile::parse(&text).unwrap().package().to_owned()
        };
        assert_eq!(package("crates/wire/src/lib.rs"), "wire");
        assert_eq!(package("xtask/src/main.rs"), "xtask");
    }

    #[test]
    fn test_lines_are_those_of_the_test_module() {
        let text = sample("crates/x/src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(RustFile::parse(&text).unwrap().test_lines(), [2..=4]);
    }

    #[test]
    fn file_that_is_not_rust_is_a_finding() {
        let text = sample("crates/x/src/a.rs", "fn f() {}\nfn fn");
        let finding = RustFile::parse(&text).err().unwrap();
        assert_eq!(finding.line, 2);
    }
}
