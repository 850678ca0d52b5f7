//! Which MPI a program is linked with.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;

use super::{Kind, elf, find_program};

/// What a program's own files say about the MPI it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    pub(crate) program: PathBuf,
    /// The library's name, or what else the MPI is known by.
    pub(crate) name: String,
    /// The MPIs whose library has this name.
    pub(crate) kinds: &'static [Kind],
    /// The file that the loader takes.
    pub(crate) library: Option<PathBuf>,
}

/// Finds out what `program` is linked with. `None` where nothing says so: a script of a shell, a
/// program that starts others.
pub(crate) fn linked(program: &Path) -> Result<Option<Linked>> {
    if is_python(program) {
        return Ok(ask_python(program, program));
    }
    let Some(facts) = elf::read(program)? else {
        let interpreter = interpreter_of(program).filter(|path| is_python(path));
        return Ok(interpreter.and_then(|python| ask_python(&python, program)));
    };
    // Only what has a loader has one to ask.
    if facts.interpreter.is_none() {
        return Ok(None);
    }
    let of_mpi = |needed: elf::Needed| {
        let kinds = kinds_of(&needed.name)?;
        let library = needed.path.and_then(|path| path.canonicalize().ok());
        Some(Linked { program: program.to_owned(), name: needed.name, kinds, library })
    };
    Ok(elf::resolve(program).into_iter().find_map(of_mpi))
}

/// The MPIs that offer a library of this name.
fn kinds_of(library: &str) -> Option<&'static [Kind]> {
    // Open MPI kept its number from 2 to 5; MPICH, Intel MPI and others agreed on theirs.
    match library {
        "libmpi.so.40" => Some(&[Kind::OpenMpi]),
        "libmpi.so.12" | "libmpich.so.12" => Some(&[Kind::Mpich, Kind::Intel]),
        "libmpi_abi.so.1" => Some(&Kind::ALL),
        _ => None,
    }
}

/// Whether a path is that of a Python interpreter: `python`, `python3`, `python3.11`.
fn is_python(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("python")
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Prints the library that mpi4py loads, and what that says of itself. MPI is not initialised.
const ASK: &str = "
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
maps = [line.split()[-1] for line in open('/proc/self/maps')]
print(next((path for path in maps if '/libmpi' in path), ''))
print(MPI.Get_library_version())
";

fn ask_python(python: &Path, program: &Path) -> Option<Linked> {
    let output = Command::new(python).args(["-c", ASK]).stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (library, version) = said.split_once('\n')?;
    let (kinds, name): (&'static [Kind], _) = if version.starts_with("Open MPI") {
        (&[Kind::OpenMpi], "Open MPI")
    } else if version.starts_with("Intel(R) MPI") {
        (&[Kind::Intel], "Intel MPI")
    } else if version.starts_with("MPICH") {
        (&[Kind::Mpich], "MPICH")
    } else {
        return None;
    };
    Some(Linked {
        program: program.to_owned(),
        name: format!("{name}, by mpi4py"),
        kinds,
        library: PathBuf::from(library).canonicalize().ok(),
    })
}

/// The interpreter that the first line of a script names.
fn interpreter_of(script: &Path) -> Option<PathBuf> {
    let mut line = String::new();
    // Linux reads no more than 255 bytes of it.
    BufReader::new(File::open(script).ok()?).take(256).read_line(&mut line).ok()?;
    let mut words = line.strip_prefix("#!")?.split_whitespace();
    let first = Path::new(words.next()?);
    if first.file_name()? != "env" {
        return Some(first.to_owned());
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    find_program(Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn python_is_known_by_its_name() {
        for name in ["python", "/usr/bin/python3", "venv/bin/python3.11"] {
            assert!(is_python(Path::new(name)), "{name}");
        }
        for name in ["pythonic", "/usr/bin/sh", "python3-config"] {
            assert!(!is_python(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn script_names_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/opt/venv/bin/python3 -u\nprint()\n").unwrap();
        assert_eq!(interpreter_of(&script), Some("/opt/venv/bin/python3".into()));
        fs::write(&script, "#!/usr/bin/env -S sh -e\n").unwrap();
        assert_eq!(interpreter_of(&script), find_program(Path::new("sh")));
        fs::write(&script, "echo\n").unwrap();
        assert_eq!(interpreter_of(&script), None);
    }

    #[test]
    fn program_without_mpi_is_linked_with_none() {
        assert_eq!(linked(Path::new("/bin/sh")).unwrap(), None);
    }
}
