//! Processes of this program that do a part of its work, and do not outlive it.

use std::{
    io::{self, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use nix::sys::{prctl, signal::Signal};

use crate::{interrupt::Interrupts, output};

/// This program, whatever became of its file, and wherever that is out of a user's reach.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// In the new process: ends it with its parent. The parent may be gone already, which the caller
/// notices at its pipes.
pub(crate) fn end_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to end with the parent process")
}

/// A child process, killed when dropped and on a signal.
pub(crate) struct Worker {
    child: Arc<Mutex<Child>>,
    /// To the child.
    pub stdin: ChildStdin,
    /// From the child.
    pub stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `command`, which is to run [`THIS_PROGRAM`] somewhere.
    pub(crate) fn start(mut command: Command, interrupts: &Interrupts) -> io::Result<Self> {
        // In a process group of its own, so that Ctrl-C reaches this process alone.
        command.arg0("elastane").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped");
        };
        let child = Arc::new(Mutex::new(child));
        let killed = Arc::clone(&child);
        interrupts.on_interrupt(move || kill(&killed));
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Ends it and returns what it had to say of its failure.
    pub(crate) fn complaint(self) -> String {
        kill(&self.child);
        let mut text = String::new();
        if let Some(mut stderr) = lock(&self.child).stderr.take()
            && let Err(error) = stderr.read_to_string(&mut text)
        {
            text = format!("cannot read what it wrote: {error}");
        }
        let text = output::one_line(&text);
        text.strip_prefix("elastane: ").unwrap_or(&text).to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        kill(&self.child);
    }
}

fn kill(child: &Mutex<Child>) {
    let mut child = lock(child);
    // Both fail only where it is gone and reaped.
    child.kill().and_then(|()| child.wait()).ok();
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
