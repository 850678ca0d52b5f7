//! `elastane cluster ssh`: the head node's shell.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use cluster::{config::Document, life::Cloud};

use super::arguments::SshArgs;
use crate::{Verdict, output};

/// The command that logs in to a cluster's head node.
pub(crate) fn command(
    cloud: &Cloud,
    name: &str,
    identity: Option<&Path>,
    arguments: &[String],
) -> Result<Vec<String>> {
    let (state, instances) = cloud.look(name)?;
    let head = state.head.with_context(|| format!("{name} has no head node yet"))?;
    let is_live = instances.iter().any(|it| it.id == head.instance && it.is_live());
    if !is_live {
        bail!("the head node of {name} does not run: see `elastane cluster describe {name}`");
    }
    let document = Document::read(&cloud.store(name).configuration()?)?;
    let mut command =
        vec!["ssh".to_owned(), format!("{}@{}", document.config.user(), head.address)];
    // An address is another machine's after the next cluster.
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"] {
        command.extend(["-o".to_owned(), option.to_owned()]);
    }
    if let Some(identity) = identity {
        command.extend(["-i".to_owned(), identity.display().to_string()]);
    }
    command.extend_from_slice(arguments);
    Ok(command)
}

pub(super) fn run(args: &SshArgs, cloud: &Cloud) -> Result<Verdict> {
    let command = command(cloud, &args.name, args.identity.as_deref(), &args.arguments)?;
    if args.dryrun {
        output::print(&format!("{}\n", shown(&command)))?;
        return Ok(Verdict::Passed);
    }
    Err(replace(&command))
}

/// A command as a shell would be given it.
pub(crate) fn shown(command: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=@:,+".contains(c))
    };
    let quoted = |word: &String| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Becomes the command; returns only if it cannot.
pub(crate) fn replace(command: &[String]) -> anyhow::Error {
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    anyhow::Error::new(error).context("cannot run ssh: install openssh-client")
}
