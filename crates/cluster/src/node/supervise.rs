//! Services that are started again when they end.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Gid, Pid, Uid},
};

use crate::journal::Journal;

/// Between an end and the next start, so that one that cannot run does not use up the machine.
const PAUSE: Duration = Duration::from_secs(1);

/// What a service runs.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub name: &'static str,
    pub arguments: Vec<String>,
    /// As whom, if not root.
    pub user: Option<(Uid, Gid)>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A service that runs until this process ends.
#[derive(Debug)]
pub(crate) struct Service {
    /// The process, 0 if there is none.
    process: Arc<AtomicI32>,
    /// How often it has ended.
    ends: Arc<AtomicU32>,
    /// Ends the pause before a start.
    wake: Sender<()>,
}

impl Service {
    /// Starts it, for the first time and from then on whenever it has ended.
    pub(crate) fn start(plan: Plan, journal: Journal) -> io::Result<Self> {
        let process = Arc::new(AtomicI32::new(0));
        let ends = Arc::new(AtomicU32::new(0));
        let (wake, awakened) = mpsc::channel();
        let (shared, counted) = (Arc::clone(&process), Arc::clone(&ends));
        thread::Builder::new().name(plan.name.to_owned()).spawn(move || {
            loop {
                match run(&plan, &shared) {
                    Ok(how) => journal.say(&format!("{} ended: {how}", plan.name)),
                    Err(error) => journal.say(&format!("cannot start {}: {error}", plan.name)),
                }
                counted.fetch_add(1, Ordering::SeqCst);
                if awakened.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        })?;
        Ok(Self { process, ends, wake })
    }

    /// How often it has ended, or could not be started.
    pub(crate) fn ends(&self) -> u32 {
        self.ends.load(Ordering::SeqCst)
    }

    /// Ends it, so that it starts anew.
    pub(crate) fn restart(&self) {
        let process = self.process.load(Ordering::SeqCst);
        if process != 0 {
            // It may have ended by itself: then it is started anew all the same.
            kill(Pid::from_raw(process), Signal::SIGTERM).ok();
        }
        self.wake.send(()).ok();
    }
}

fn run(plan: &Plan, process: &AtomicI32) -> io::Result<String> {
    let log = File::options().create(true).append(true).open(&plan.log)?;
    // It ends with this process: whoever starts this one anew starts its services anew too.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", plan.name]).args(&plan.arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if let Some((user, group)) = plan.user {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    let mut child = command.spawn()?;
    process.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let status = child.wait();
    process.store(0, Ordering::SeqCst);
    status.map(|status| status.to_string())
}
