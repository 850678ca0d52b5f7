//! Scripts of the user, run at points of a node's life.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use super::NodeError;
use crate::{
    config::Script,
    journal::{self, Journal},
};

/// How many lines of a script's output an error shows.
const SHOWN: usize = 20;

/// Runs the scripts of an event, `OnNodeStart` for one, one after the other.
pub(crate) fn run(event: &str, scripts: &[Script], journal: &Journal) -> Result<(), NodeError> {
    for script in scripts {
        journal.say(&format!("{event}: {} {}", script.script, script.args.join(" ")));
        let path = fetch(event, script, journal.folder())?;
        let log = journal.folder().join(format!("{event}.log"));
        let status = start(&path, script, &log).map_err(|error| NodeError::Action {
            code: format!("{event}ExecutionFailure"),
            reason: format!("cannot run {}: {error}", script.script),
        })?;
        if !status.success() {
            let said = journal::tail(&log, SHOWN);
            return Err(NodeError::Action {
                code: format!("{event}ExecutionFailure"),
                reason: format!("{} ended with {status}. It said:\n{said}", script.script),
            });
        }
    }
    Ok(())
}

fn start(path: &Path, script: &Script, log: &Path) -> std::io::Result<ExitStatus> {
    let output = File::options().create(true).append(true).open(log)?;
    Command::new(path)
        .args(&script.args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
}

/// The script as a file that can be run.
fn fetch(event: &str, script: &Script, folder: &Path) -> Result<PathBuf, NodeError> {
    let failed =
        |reason: String| NodeError::Action { code: format!("{event}DownloadFailure"), reason };
    let name = script.script.as_str();
    if let Some(path) = name.strip_prefix("file://").or(Some(name).filter(|it| it.starts_with('/')))
    {
        if !Path::new(path).is_file() {
            return Err(failed(format!("there is no file {path} in the node's image")));
        }
        return Ok(path.into());
    }
    if !name.starts_with("https://") && !name.starts_with("http://") {
        return Err(failed(format!(
            "{name} is neither a path nor an http address; other places cannot be reached here"
        )));
    }
    let path = folder.join(format!("{event}.script"));
    let output = Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--max-time", "60", "-o"])
        .arg(&path)
        .arg(name)
        .output()
        .map_err(|error| failed(format!("cannot run curl for {name}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("cannot fetch {name}: {said}")));
    }
    let made = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&path, made).map_err(|error| failed(error.to_string()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(path: &str, args: &[&str]) -> Script {
        Script { script: path.to_owned(), args: args.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn failing_script_is_named_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "boot.log").unwrap();
        let scripts = [script("/bin/sh", &["-c", "echo first"])];
        run("OnNodeStart", &scripts, &journal).unwrap();
        let scripts = [script("file:///bin/sh", &["-c", "echo no room >&2; exit 3"])];
        let error = run("OnNodeConfigured", &scripts, &journal).unwrap_err().to_string();
        assert!(error.starts_with("OnNodeConfiguredExecutionFailure: "), "{error}");
        assert!(error.contains("exit status: 3") && error.contains("no room"), "{error}");
    }

    #[test]
    fn script_that_cannot_be_had_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "boot.log").unwrap();
        for place in ["/no/such/script", "s3://bucket/script.sh"] {
            let error = run("OnNodeStart", &[script(place, &[])], &journal).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("OnNodeStartDownloadFailure: "), "{error}");
            assert!(error.contains(place.trim_start_matches("file://")), "{error}");
        }
    }
}
