//! What a node's processes say of their work: on its console, and in a file that outlives it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::clock;

/// A log. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    file: Arc<Mutex<File>>,
    folder: PathBuf,
}

impl Journal {
    /// Opens the log `name` in `folder`, which is made.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = File::options().create(true).append(true).open(folder.join(name))?;
        Ok(Self { file: Arc::new(Mutex::new(file)), folder: folder.to_owned() })
    }

    /// Where other logs of the node are to be.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says one line. A full disk stops no cluster.
    pub(crate) fn say(&self, line: &str) {
        let line = format!("{} {line}\n", clock::shown(clock::now()));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).ok();
        io::stderr().write_all(line.as_bytes()).ok();
    }
}

/// The last lines of a file, at most so many; nothing if there is no file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    const READ: u64 = 16 << 10;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
        let mut bytes = Vec::new();
        file.take(READ).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    last_lines(&read().unwrap_or_default(), lines)
}

/// The last lines of a text, at most so many.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_has_the_last_lines_said() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "a.log").unwrap();
        for number in 0..10 {
            journal.say(&format!("line {number}"));
        }
        let tail = tail(&folder.path().join("a.log"), 2);
        let ends: Vec<_> = tail.lines().map(|line| &line[line.len() - 6..]).collect();
        assert_eq!(ends, ["line 8", "line 9"]);
        assert_eq!(super::tail(&folder.path().join("none"), 3), "");
    }
}
