//! This program by the names of perftest's: perftest's options, output and exit status.

mod checks;
mod document;
mod flags;
mod options;
mod reading;
mod session;
mod usage;

use std::{ffi::OsString, path::Path, process::ExitCode};

use perf::bench::{Goal, Verb};

use crate::output;
use options::{Ending, Options};

/// One of perftest's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    name: &'static str,
    verb: Verb,
    goal: Goal,
}

impl Tool {
    /// All whose place is taken.
    pub(crate) const ALL: [Self; 8] = [
        Self { name: "ib_send_bw", verb: Verb::Send, goal: Goal::Bandwidth },
        Self { name: "ib_send_lat", verb: Verb::Send, goal: Goal::Latency },
        Self { name: "ib_write_bw", verb: Verb::Write, goal: Goal::Bandwidth },
        Self { name: "ib_write_lat", verb: Verb::Write, goal: Goal::Latency },
        Self { name: "ib_read_bw", verb: Verb::Read, goal: Goal::Bandwidth },
        Self { name: "ib_read_lat", verb: Verb::Read, goal: Goal::Latency },
        Self { name: "ib_atomic_bw", verb: Verb::Atomic, goal: Goal::Bandwidth },
        Self { name: "ib_atomic_lat", verb: Verb::Atomic, goal: Goal::Latency },
    ];

    /// The one by whose name this process was started, if any.
    pub(crate) fn invoked() -> Option<Self> {
        let called: OsString = std::env::args_os().next()?;
        let called = Path::new(&called).file_name()?;
        Self::ALL.into_iter().find(|tool| called == tool.name)
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        self.name
    }
}

/// The whole life of a process called by `tool`'s name.
pub(crate) fn run(tool: Tool) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let ended = Options::read(tool, &arguments).and_then(|options| {
        for note in &options.notes {
            output::say(&format!("{}: {note}", tool.name));
        }
        session::run(tool, &options).map_err(|error| Ending::Wrong(format!("{error:#}")))
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        // It has said so.
        Ok(false) => ExitCode::FAILURE,
        Err(Ending::Said(text)) => {
            output::print(&text).ok();
            // perftest's own status for -h and -V.
            ExitCode::FAILURE
        }
        Err(Ending::Wrong(why)) => {
            output::say(&format!("{}: {}", tool.name, output::one_line(&why)));
            ExitCode::FAILURE
        }
    }
}
