//! `elastane install-links`: other programs' names for this one.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{Verdict, output, pcluster, perftest::Tool};

/// Make links by which this program takes the place of perftest's and of ParallelCluster's.
///
/// A link for each of ib_send_bw, ib_send_lat, ib_write_bw, ib_write_lat, ib_read_bw, ib_read_lat,
/// ib_atomic_bw, ib_atomic_lat and pcluster. Called by one of these names, this program takes the
/// other's options and prints the other's output. Links that are there are left; whatever else is
/// there by one of the names is not touched, and then no link is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane install-links ~/bin
  elastane install-links /usr/local/bin")]
pub(crate) struct InstallLinksArgs {
    /// A folder that exists; best one on the PATH.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What is at the place of a link.
enum Found {
    Nothing,
    /// A link to this program.
    Ours,
    /// A link to another file of this program's name, perhaps one that was moved.
    Older,
}

pub(crate) fn run(args: &InstallLinksArgs) -> Result<Verdict> {
    let InstallLinksArgs { folder } = args;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    if !folder.is_dir() {
        bail!("{} is not a folder: make it first, or give another", folder.display());
    }
    let names = Tool::ALL.iter().map(|tool| tool.name()).chain([pcluster::NAME]);
    let links: Result<Vec<_>> = names
        .map(|name| {
            let link = folder.join(name);
            let found = look(&link, &program)?;
            Ok((link, found))
        })
        .collect();
    for (link, found) in links? {
        let said = match found {
            Found::Ours => "is there",
            Found::Nothing => {
                make(&link, &program)?;
                "made"
            }
            Found::Older => {
                replace(&link, &program)?;
                "led to another elastane, now to this one"
            }
        };
        output::print(&format!("{} -> {}: {said}\n", link.display(), program.display()))?;
    }
    Ok(Verdict::Passed)
}

fn look(link: &Path, program: &Path) -> Result<Found> {
    match fs::read_link(link) {
        Ok(target) if target == program => Ok(Found::Ours),
        Ok(target) if target.file_name() == program.file_name() => Ok(Found::Older),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        // EINVAL: what is there is no link.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(error).with_context(|| format!("cannot look at {}", link.display()))
        }
        _ => bail!(
            "{} is there and is not a link to elastane: remove it, or give another folder",
            link.display()
        ),
    }
}

fn make(link: &Path, program: &Path) -> Result<()> {
    symlink(program, link).with_context(|| format!("cannot make {}", link.display()))
}

fn replace(link: &Path, program: &Path) -> Result<()> {
    fs::remove_file(link).with_context(|| format!("cannot remove {}", link.display()))?;
    make(link, program)
}
