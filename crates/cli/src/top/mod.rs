//! `elastane top`: a live endpoint, watched through what its process publishes.

mod history;
mod live;
mod view;

use std::{sync::mpsc, time::Duration};

use anyhow::{Result, bail};
use inspect::{
    announce::{self, Announcement},
    live::Document,
    watch::{self, Source, WatchError},
};
use std::io::IsTerminal as _;

use crate::{
    Verdict,
    args::{Target, TopArgs},
    interrupt::Interrupts,
    output,
};
use history::History;

pub(crate) fn run(args: &TopArgs, interrupts: &Interrupts) -> Result<Verdict> {
    let TopArgs { target, once, json, interval, color } = args;
    let Some(target) = target else {
        return list(*json);
    };
    let watched = Watched::find(target)?;
    let first = watched.fetch()?;
    match (once, json) {
        (true, true) => output::print(&to_line(&first)?)?,
        (true, false) => {
            let mut history = History::default();
            history.push(first);
            let style = output::style(*color);
            output::print(&view::page(&history, &watched.name, style))?;
        }
        (false, true) => stream(&watched, first, *interval)?,
        (false, false) if !std::io::stdout().is_terminal() => {
            bail!("standard output is no terminal: use --once or --json");
        }
        (false, false) => {
            let colour = output::style(*color).colour;
            live::run(&watched, first, *interval, colour, interrupts)?;
        }
    }
    Ok(Verdict::Passed)
}

/// Which processes can be watched.
fn list(json: bool) -> Result<Verdict> {
    let found = announce::list();
    let mut text = String::new();
    if json {
        for announcement in &found {
            text += &(serde_json::to_string(announcement)? + "\n");
        }
    } else if found.is_empty() {
        output::say("no process of this user publishes; start one with ELASTANE_METRICS=auto");
    } else {
        text += &format!("{:>9}  {:>5}  program\n", "pid", "port");
        for Announcement { pid, port, program, .. } in &found {
            text += &format!("{pid:>9}  {port:>5}  {program}\n");
        }
    }
    output::print(&text)?;
    Ok(Verdict::Passed)
}

/// What is watched, and how people call it.
struct Watched {
    name: String,
    source: Source,
}

impl Watched {
    fn find(target: &Target) -> Result<Self> {
        match target {
            Target::Port(at) => {
                let source = Source::new(at.host(), at.port());
                Ok(Self { name: source.to_string(), source })
            }
            Target::Pid(pid) => {
                let Some(found) = announce::find(*pid) else {
                    bail!(
                        "process {pid} does not publish, or is another user's: start it with \
                         ELASTANE_METRICS=auto; `elastane top` lists those that can be watched"
                    );
                };
                if found.is_in_another_network() {
                    bail!(
                        "process {pid} publishes in another network namespace: \
                         nsenter --target {pid} --net elastane top 127.0.0.1:{}",
                        found.port
                    );
                }
                let source = Source::new("127.0.0.1", found.port);
                Ok(Self { name: format!("pid {pid}"), source })
            }
        }
    }

    fn fetch(&self) -> Result<Document, WatchError> {
        watch::fetch(&self.source)
    }

    /// What is said when there is nothing more to watch.
    fn farewell(&self, error: &WatchError) -> String {
        match error {
            // The port closed before, or in the middle of, an answer.
            WatchError::Refused(_) | WatchError::Foreign(_) => {
                format!("{} publishes no more", self.name)
            }
            WatchError::Io(_, cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => {
                format!("{} publishes no more", self.name)
            }
            other => other.to_string(),
        }
    }
}

/// A document per line until the process ends, or nobody reads.
fn stream(watched: &Watched, first: Document, interval: Duration) -> Result<()> {
    let mut document = first;
    // Nobody ever sends: receiving is waiting.
    let (_keep, never) = mpsc::channel::<()>();
    loop {
        if !output::print_while_read(&to_line(&document)?)? {
            return Ok(());
        }
        never.recv_timeout(interval).ok();
        document = match watched.fetch() {
            Ok(document) => document,
            Err(error) => {
                output::say(&watched.farewell(&error));
                return Ok(());
            }
        };
    }
}

fn to_line(document: &Document) -> Result<String> {
    Ok(serde_json::to_string(document)? + "\n")
}
