//! This program by the name of ParallelCluster's: its verbs, options, JSON and exit status.

mod arguments;
mod verbs;

use std::{ffi::OsString, path::Path, process::ExitCode};

use anyhow::anyhow;
use clap::Parser as _;
use cluster::documents::{Complaint, to_text};

use arguments::Pcluster;

use crate::output;

/// The name.
pub(crate) const NAME: &str = "pcluster";

/// Whether this process was started by that name.
pub(crate) fn is_invoked() -> bool {
    let called = std::env::args_os().next().unwrap_or_default();
    Path::new(&called).file_name().is_some_and(|name| name == NAME)
}

/// How a command ends.
enum Ended {
    /// With a document, whose keys are in the original's order as text only.
    Well { text: String, json: serde_json::Value },
    /// With text of its own, which is printed already.
    Said,
    /// With a document that says why not.
    Wrong(Box<Complaint>),
}

type Outcome = Result<Ended, anyhow::Error>;

/// The whole life of a process called by that name.
pub(crate) fn run() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let arguments = match Pcluster::try_parse_from(sorted(words)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // argparse's own: usage and error on standard error, status 2.
            error.print().ok();
            return if error.use_stderr() { 2.into() } else { ExitCode::SUCCESS };
        }
    };
    let query = arguments.query().map(str::to_owned);
    let ended = verbs::perform(&arguments)
        .unwrap_or_else(|error| Ended::Wrong(Box::new(Complaint::of(sentence(&error)))));
    let printed = match &ended {
        Ended::Well { text, .. } if query.is_none() => Ok(text.clone()),
        Ended::Well { json, .. } => to_text(json, query.as_deref()),
        Ended::Said => return ExitCode::SUCCESS,
        Ended::Wrong(complaint) => to_text(complaint, None),
    };
    let printed = printed.map_err(|error| anyhow!("--query: {error}"));
    match printed.and_then(|text| output::print(&(text + "\n"))) {
        Ok(()) if matches!(ended, Ended::Well { .. }) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            output::say(&format!("pcluster: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The words of a command; those of `ssh` that are not ours come last, as the original lets users
/// mix them.
fn sorted(words: Vec<OsString>) -> Vec<OsString> {
    const WITH_VALUE: [&str; 5] = ["-n", "--cluster-name", "-r", "--region", "--dryrun"];
    const ALONE: [&str; 3] = ["--debug", "-h", "--help"];
    if words.get(1).is_none_or(|verb| verb != "ssh") {
        return words;
    }
    let mut words = words.into_iter();
    let mut ours: Vec<_> = words.by_ref().take(2).collect();
    let mut others = Vec::new();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let name = text.split_once('=').map(|(name, _)| name);
        if WITH_VALUE.contains(&text.as_str()) {
            ours.push(word);
            ours.extend(words.next());
        } else if ALONE.contains(&text.as_str()) || name.is_some_and(|it| WITH_VALUE.contains(&it))
        {
            ours.push(word);
        } else {
            others.push(word);
        }
    }
    if !others.is_empty() {
        ours.push("--".into());
        ours.extend(others);
    }
    ours
}

/// An error in the original's form: what is wrong with the request begins with those words.
fn sentence(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let is_request = error.downcast_ref::<cluster::config::ReadError>().is_some();
    if is_request && !text.starts_with("Bad Request") {
        format!("Bad Request: {text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ssh_may_stand_between_ours() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(Into::into).collect() };
        let mixed = words("pcluster ssh --cluster-name a -i key.pem --region=eu-west-1 -n b ls -l");
        let expected =
            words("pcluster ssh --cluster-name a --region=eu-west-1 -n b -- -i key.pem ls -l");
        assert_eq!(sorted(mixed), expected);
        let other = words("pcluster describe-cluster -n a");
        assert_eq!(sorted(other.clone()), other);
    }
}
