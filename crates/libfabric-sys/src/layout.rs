//! Whether the declarations are those of the headers.
//!
//! The headers are the installed ones, or those in the folder that `LIBFABRIC_INCLUDE` names. What
//! they lack, as older ones do, is not compared; headers that are as new as the declarations must
//! have everything, of the very same size.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    FI_MAJOR_VERSION, FI_MINOR_VERSION, FI_VERSION, atomic, cm, collective, domain, endpoint, eq,
    errno, ext, fabric, log, prov, rma, tagged,
};

/// A structure, as the macros declared it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    /// Bytes.
    pub(crate) size: usize,
    /// The offset of each field.
    pub(crate) fields: &'static [(&'static str, usize)],
}

const RECORDS: &[&[Record]] = &[
    atomic::RECORDS,
    atomic::TABLES,
    cm::RECORDS,
    cm::TABLES,
    collective::RECORDS,
    collective::TABLES,
    domain::RECORDS,
    domain::TABLES,
    endpoint::RECORDS,
    endpoint::TABLES,
    eq::RECORDS,
    eq::TABLES,
    fabric::RECORDS,
    fabric::INFO_RECORDS,
    fabric::TABLES,
    prov::RECORDS,
    rma::RECORDS,
    rma::TABLES,
    tagged::RECORDS,
    tagged::TABLES,
];

const CONSTANTS: &[&[(&str, i128)]] = &[
    atomic::CONSTANTS,
    domain::CONSTANTS,
    endpoint::CONSTANTS,
    eq::CONSTANTS,
    errno::CONSTANTS,
    ext::CONSTANTS,
    fabric::FLAGS,
    fabric::NAMES,
    log::CONSTANTS,
    tagged::CONSTANTS,
];

/// Names of 1.x that later headers keep as 0, so that old programs compile.
const DUMMIES: [&str; 3] = ["FI_NOTIFY_FLAGS_ONLY", "FI_RESTRICTED_COMP", "FI_VARIABLE_MSG"];

/// Not in the newest public headers: gone since 2.0, or libfabric's own.
const PRIVATE: [&str; 2] = ["FI_BUFFERED_RECV", "OFI_CORE_PROV_ONLY"];

const PROGRAM_HEAD: &str = "\
#include <stdio.h>
#include <stddef.h>
#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_collective.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_ext.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <rdma/providers/fi_log.h>
#include <rdma/providers/fi_prov.h>
";

/// Headers of one version of libfabric.
struct Headers {
    folder: PathBuf,
    /// All of them with what they include, as the preprocessor sees them.
    text: String,
    words: BTreeSet<String>,
}

impl Headers {
    /// `None` where there are none, or no compiler to read them.
    fn find() -> Option<Self> {
        let named = env::var_os("LIBFABRIC_INCLUDE").map(PathBuf::from);
        let folder = named.unwrap_or_else(|| PathBuf::from("/usr/include"));
        if !folder.join("rdma/fabric.h").is_file() {
            return None;
        }
        Command::new("cc").arg("--version").output().ok()?;
        let scratch = tempfile::tempdir().unwrap();
        let source = scratch.path().join("all.c");
        fs::write(&source, PROGRAM_HEAD).unwrap();
        // With the definitions of macros, which most constants are.
        let text = succeed(compiler(&folder).args(["-E", "-dD", "-P"]).arg(&source));
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_part(c)).map(str::to_owned).collect();
        Some(Self { folder, text, words })
    }

    /// What is between the braces of a structure.
    fn body(&self, name: &str) -> Option<&str> {
        let start = self.text.find(&format!("struct {name} {{"))? + format!("struct {name} ").len();
        let mut depth = 0;
        for (at, character) in self.text[start..].char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 1 => return Some(&self.text[start..start + at]),
                '}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The field is in that body, and not the name of an argument of a function there.
    fn has_field(body: &str, field: &str) -> bool {
        let ends = [format!("{field};"), format!("*{field})("), format!("{field}[")];
        ends.iter().any(|end| {
            body.match_indices(end.as_str()).any(|(at, _)| {
                let before = body[..at].chars().next_back();
                before.is_some_and(|c| !c.is_ascii_alphanumeric() && c != '_')
            })
        })
    }

    /// Compiles a program of these statements and gives the lines `name value` that it prints.
    fn evaluate(&self, statements: &str) -> BTreeMap<String, u64> {
        let scratch = tempfile::tempdir().unwrap();
        let (source, program) = (scratch.path().join("print.c"), scratch.path().join("print"));
        let text = format!("{PROGRAM_HEAD}int main(void) {{\n{statements}return 0;\n}}\n");
        fs::write(&source, text).unwrap();
        succeed(compiler(&self.folder).arg("-w").arg("-o").arg(&program).arg(&source));
        let printed = succeed(&mut Command::new(&program));
        let pairs = printed.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
    }

    fn version(&self) -> u32 {
        let found =
            self.evaluate(&statement("version", "FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION)"));
        u32::try_from(found["version"]).unwrap()
    }

    fn are_newest(&self) -> bool {
        self.words.contains("max_xpu_ctx_cnt")
    }
}

fn compiler(include: &Path) -> Command {
    let mut command = Command::new("cc");
    command.arg("-I").arg(include);
    command
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn statement(name: &str, expression: &str) -> String {
    format!("printf(\"{name} %llu\\n\", (unsigned long long)({expression}));\n")
}

fn c_name(rust: &str) -> &str {
    rust.trim_start_matches("r#")
}

/// The headers, or a line that says why nothing is compared.
fn headers() -> Option<Headers> {
    let headers = Headers::find();
    if headers.is_none() {
        eprintln!("not compared: no C compiler, or no headers of libfabric (libfabric-dev)");
    }
    headers
}

#[test]
fn structures_are_those_of_the_headers() {
    let Some(headers) = headers() else { return };
    let mut statements = String::new();
    let mut lacking = Vec::new();
    for record in RECORDS.iter().copied().flatten() {
        let name = record.name;
        let Some(body) = headers.body(name) else {
            lacking.push(name.to_owned());
            continue;
        };
        statements += &statement(name, &format!("sizeof(struct {name})"));
        for field in record.fields.iter().map(|(field, _)| c_name(field)) {
            if Headers::has_field(body, field) {
                let expression = format!("offsetof(struct {name}, {field})");
                statements += &statement(&format!("{name}.{field}"), &expression);
            } else {
                lacking.push(format!("{name}.{field}"));
            }
        }
    }
    let theirs = headers.evaluate(&statements);
    let newest = headers.are_newest();
    let mut wrong = Vec::new();
    for record in RECORDS.iter().copied().flatten() {
        let Some(&size) = theirs.get(record.name) else { continue };
        let fits = if newest { record.size == size as usize } else { record.size >= size as usize };
        if !fits {
            wrong.push(format!("{}: {} bytes here, {size} there", record.name, record.size));
        }
        for &(field, offset) in record.fields {
            let name = format!("{}.{}", record.name, c_name(field));
            if theirs.get(&name).is_some_and(|&there| there != offset as u64) {
                wrong.push(format!("{name}: at {offset} here, at {} there", theirs[&name]));
            }
        }
    }
    println!("{} sizes and offsets compared, lacking there: {lacking:?}", theirs.len());
    assert_eq!(wrong, [""; 0]);
    assert!(!newest || lacking.is_empty(), "the newest headers lack {lacking:?}");
    assert!(theirs.len() > 450, "only {} were found in the headers", theirs.len());
}

#[test]
fn constants_are_those_of_the_headers() {
    let Some(headers) = headers() else { return };
    let all = || CONSTANTS.iter().copied().flatten();
    let (there, lacking): (Vec<_>, Vec<_>) =
        all().partition(|(name, _)| headers.words.contains(*name));
    let statements: String = there.iter().map(|(name, _)| statement(name, name)).collect();
    let theirs = headers.evaluate(&statements);
    println!("{} constants compared, lacking there: {lacking:?}", theirs.len());
    let is_dummy = |name: &str| DUMMIES.contains(&name) && theirs[name] == 0;
    // C prints the bits, with the sign in front where there is one.
    let bits = |value: i128| u64::try_from(value & i128::from(u64::MAX)).unwrap();
    let wrong: Vec<_> = there
        .iter()
        .map(|(name, value)| (*name, bits(*value)))
        .filter(|(name, value)| theirs[*name] != *value && !is_dummy(name))
        .map(|(name, value)| format!("{name}: {value:#x} here, {:#x} there", theirs[name]))
        .collect();
    assert_eq!(wrong, [""; 0]);
    let unknown: Vec<_> = lacking.iter().filter(|(name, _)| !PRIVATE.contains(name)).collect();
    assert!(!headers.are_newest() || unknown.is_empty(), "the newest headers lack {unknown:?}");
    assert!(there.len() > 400, "only {} were found in the headers", there.len());
}

#[test]
fn version_is_that_of_the_newest_headers() {
    let Some(headers) = headers() else { return };
    let ours = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
    let theirs = headers.version();
    assert!(theirs >= FI_VERSION(1, 17), "no version in the headers: {theirs:#x}");
    assert!(theirs <= ours, "headers of {theirs:#x} may have more than is declared here");
    assert!(!headers.are_newest() || theirs == ours);
}

#[test]
fn sizes_are_those_of_2_7() {
    let expected = [
        ("fi_info", 120),
        ("fi_tx_attr", 80),
        ("fi_rx_attr", 64),
        ("fi_ep_attr", 104),
        ("fi_domain_attr", 232),
        ("fi_fabric_attr", 32),
        ("fi_av_attr", 48),
        ("fi_eq_attr", 32),
        ("fi_cq_attr", 48),
        ("fi_cntr_attr", 32),
        ("fi_mr_attr", 112),
        ("fi_cq_tagged_entry", 48),
        ("fi_cq_err_entry", 88),
        ("fi_eq_err_entry", 48),
        ("fi_ops", 56),
        ("fi_ops_fabric", 56),
        ("fi_ops_domain", 104),
        ("fi_ops_ep", 72),
        ("fi_ops_cm", 80),
        ("fi_ops_msg", 80),
        ("fi_ops_tagged", 80),
        ("fi_ops_rma", 80),
        ("fi_ops_atomic", 112),
        ("fi_ops_collective", 96),
        ("fi_ops_av", 96),
        ("fi_ops_cq", 72),
        ("fi_ops_cntr", 72),
        ("fi_ops_eq", 48),
        ("fi_ops_mr", 32),
        ("fid", 24),
        ("fid_fabric", 40),
        ("fid_domain", 40),
        ("fid_ep", 80),
        ("fid_av", 32),
        ("fid_cq", 32),
        ("fid_cntr", 32),
        ("fid_eq", 32),
        ("fid_mr", 40),
        ("fi_provider", 72),
    ];
    let ours: BTreeMap<_, _> =
        RECORDS.iter().copied().flatten().map(|record| (record.name, record.size)).collect();
    for (name, size) in expected {
        assert_eq!(ours[name], size, "{name}");
    }
}
