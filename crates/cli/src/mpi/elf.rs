//! What a program or library says of itself, and what the dynamic loader finds for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use goblin::elf::Elf;

/// What matters of an ELF file.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The names of what it offers to others.
    pub(crate) exports: Vec<String>,
    /// The dynamic loader; a library and a static program name none.
    pub(crate) interpreter: Option<PathBuf>,
}

/// Reads the file. `None` if it is no ELF file.
pub(crate) fn read(path: &Path) -> Result<Option<Facts>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !bytes.starts_with(goblin::elf::header::ELFMAG) {
        return Ok(None);
    }
    let elf = Elf::parse(&bytes)
        .with_context(|| format!("{} begins as an ELF file and is none", path.display()))?;
    let defined = elf.dynsyms.iter().filter(|symbol| !symbol.is_import());
    let exports = defined.filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name));
    Ok(Some(Facts {
        exports: exports.map(str::to_owned).collect(),
        interpreter: elf.interpreter.map(PathBuf::from),
    }))
}

/// A library that is needed, at any distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) name: String,
    /// `None` if the loader does not find it.
    pub(crate) path: Option<PathBuf>,
}

/// Asks the dynamic loader, as ldd does, what it would load for `path`. Nothing of it is executed.
pub(crate) fn resolve(path: &Path) -> Vec<Needed> {
    // A library names no loader; every system's shell does.
    let loader = [path, Path::new("/bin/sh")]
        .into_iter()
        .find_map(|file| read(file).ok().flatten()?.interpreter);
    let Some(loader) = loader else { return Vec::new() };
    // Without a slash the loader would search for it.
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    let output = Command::new(loader)
        .arg(path)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .stdin(Stdio::null())
        .output();
    output.map_or_else(
        |_| Vec::new(),
        |output| String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect(),
    )
}

/// `libmpi.so.40 => /lib/libmpi.so.40 (0x00007fe92c4b6000)` or `libmpi.so.12 => not found`.
fn parse(line: &str) -> Option<Needed> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let path = rest.rsplit_once(" (0x").map(|(path, _)| PathBuf::from(path));
    Some(Needed { name: name.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_loader_is_understood() {
        let found = parse("\tlibmpi.so.40 => /lib/a b/libmpi.so.40 (0x00007fe92c4b6000)").unwrap();
        assert_eq!(found.path.as_deref(), Some(Path::new("/lib/a b/libmpi.so.40")));
        assert_eq!(parse("\tlibmpi.so.12 => not found").unwrap().path, None);
        assert_eq!(parse("\tlinux-vdso.so.1 (0x00007fe92c4b6000)"), None);
    }

    #[test]
    fn this_test_needs_the_c_library_and_a_script_is_no_elf_file() {
        let this = std::env::current_exe().unwrap();
        let facts = read(&this).unwrap().unwrap();
        assert!(facts.interpreter.is_some());
        let resolved = resolve(&this);
        let libc = resolved.iter().find(|needed| needed.name.starts_with("libc.so")).unwrap();
        assert!(libc.path.as_ref().unwrap().is_file());
        assert!(
            read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap().is_none()
        );
    }
}
