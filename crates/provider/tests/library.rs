//! What the library asks of a program that loads it, and what it gives it.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod installed;

use std::fs;

use object::{
    Object as _, ObjectSymbol as _,
    elf::{DF_1_NODELETE, DT_FLAGS_1, DT_NEEDED},
    read::elf::{Dyn as _, ElfFile64, FileHeader as _, SectionHeader as _},
};

/// Entries of the dynamic section with this tag: their values.
fn dynamic(file: &ElfFile64<'_>, tag: u32) -> Vec<u64> {
    let header = file.elf_header();
    let endian = file.endian();
    let sections = header.sections(endian, file.data()).unwrap();
    let (entries, _) = sections.dynamic(endian, file.data()).unwrap().unwrap();
    let with_tag = entries.iter().filter(|entry| entry.tag32(endian) == Some(tag));
    with_tag.map(|entry| entry.val32(endian).unwrap().into()).collect()
}

/// Names of the libraries that it needs.
fn needed(file: &ElfFile64<'_>) -> Vec<String> {
    let header = file.elf_header();
    let endian = file.endian();
    let sections = header.sections(endian, file.data()).unwrap();
    let (_, strings) = sections.dynamic(endian, file.data()).unwrap().unwrap();
    let strings = sections.section(strings).unwrap().data(endian, file.data()).unwrap();
    let text = |at: u64| {
        let rest = &strings[usize::try_from(at).unwrap()..];
        let end = rest.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(rest[..end].to_vec()).unwrap()
    };
    dynamic(file, DT_NEEDED).into_iter().map(text).collect()
}

#[test]
fn it_needs_libc_alone_stays_loaded_and_has_one_entry() {
    let bytes = fs::read(installed::library()).unwrap();
    let file = ElfFile64::parse(&bytes[..]).unwrap();
    // The loader is a part of libc.
    let others: Vec<_> = needed(&file)
        .into_iter()
        .filter(|name| !name.starts_with("libc.") && !name.starts_with("ld-linux"))
        .collect();
    assert_eq!(others, [""; 0]);
    let flags = dynamic(&file, DT_FLAGS_1).into_iter().fold(0, |all, flags| all | flags);
    assert_ne!(flags & u64::from(DF_1_NODELETE), 0);
    let exported: Vec<_> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().unwrap().to_owned())
        .collect();
    assert_eq!(exported, ["fi_prov_ini"]);
}
