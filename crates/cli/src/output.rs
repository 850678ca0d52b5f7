//! Where results go: the terminal, a pipe, files that are whole or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ColorChoice;
use perf::table::Style;
use tempfile::NamedTempFile;

/// A line for whoever watches. Nobody may.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// Text with all white space, line ends included, made single spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Results. A reader that has read enough, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    print_while_read(text).map(drop)
}

/// Results, for as long as somebody reads. Returns whether anybody does.
pub(crate) fn print_while_read(text: &str) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// How a table is to look on standard output.
pub(crate) fn style(color: ColorChoice) -> Style {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let colour = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
    };
    let width = terminal_size::terminal_size_of(io::stdout());
    let width = width.map_or(Style::default().width, |(width, _)| width.0.max(60));
    Style { width, colour }
}

/// Where a document goes: a file, or `-` for standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("an empty name names no file".to_owned()),
            "-" => Ok(Self::Stdout),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// The largest document to be expected, and some more.
const ROOM: usize = 1 << 20;

impl Destination {
    /// Finds out whether it can be written, before there is something to lose.
    pub(crate) fn check(&self, flag: &str) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => check_file(path).map_err(|error| {
                anyhow!("{flag}: cannot write {}: {error:#}; choose another file", path.display())
            }),
        }
    }

    /// Puts `text` there. A file has all of it, or what it had before.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => print(text),
            Self::File(path) => {
                replace(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}

/// Whether a file can be made at `path`, or the one that is there be written.
fn check_file(path: &Path) -> Result<()> {
    if let Some(device) = special(path)? {
        OpenOptions::new().write(true).open(device)?;
        return Ok(());
    }
    let mut attempt = beside(&target(path)?)?;
    attempt.write_all(&[0; ROOM])?;
    attempt.as_file().sync_data()?;
    Ok(())
}

fn replace(path: &Path, text: &str) -> Result<()> {
    if let Some(device) = special(path)? {
        return Ok(OpenOptions::new().write(true).open(device)?.write_all(text.as_bytes())?);
    }
    let target = target(path)?;
    let mut file = beside(&target)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let file: File = file.persist(&target)?;
    drop(file);
    Ok(())
}

/// The path, if what is there is neither a file nor absent: a device or a pipe is not replaced.
fn special(path: &Path) -> Result<Option<&Path>> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => bail!("it is a folder"),
        Ok(found) if found.is_file() => Ok(None),
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The file itself, where the path is a link to it.
fn target(path: &Path) -> io::Result<PathBuf> {
    if path.exists() { path.canonicalize() } else { Ok(path.to_owned()) }
}

/// A file in the same folder, so that it can take the other's place in one step.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".elastane-")
        // What the user's umask leaves of it, as for any other file.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        // The cause alone: nobody asked for a file of this name.
        .map_err(|error| error.kind().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_file_is_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let destination = Destination::File(path.clone());
        destination.check("--json").unwrap();
        assert!(!path.exists());
        for text in ["first, and longer\n", "second\n"] {
            destination.write(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Destination::File(link.clone()).write("after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    }

    #[test]
    fn folder_and_missing_folder_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/such/report.json")] {
            let error = Destination::File(path.clone()).check("--json").unwrap_err();
            let error = format!("{error:#}");
            assert!(error.starts_with("--json: cannot write "), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn device_is_written_not_replaced() {
        let null = Destination::File("/dev/null".into());
        null.check("--json").unwrap();
        null.write("text").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn full_disk_is_reported() {
        let full = Destination::File("/dev/full".into());
        let error = format!("{:#}", full.write("text").unwrap_err());
        assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
    }
}
