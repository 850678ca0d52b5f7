//! Namespaces that hold what a process makes, and go with it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    panic::resume_unwind,
    process::{Child, Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::HostsError;

/// What its first process runs.
const KEEPER: &str = include_str!("keeper.sh");

/// A network, mount and process namespace: devices, packet filters, mounts and processes that are
/// made in it are gone when it is dropped, or when this process ends, however it ends.
///
/// Its first process watches a pipe to this one. Nothing of the enclave has a name outside of it,
/// so that nothing is left when its last process ends.
#[derive(Debug)]
pub struct Enclave {
    keeper: Child,
    network: File,
    mounts: File,
    processes: File,
}

impl Enclave {
    /// Makes one. Mounts of this machine appear in it, its own do not appear here. Needs root.
    pub fn start() -> Result<Self, HostsError> {
        let failed = |action: &str, error| HostsError::Configure {
            action: action.to_owned(),
            host: "the enclave".to_owned(),
            error,
        };
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "slave"])
            .args(["--pid", "--fork", "--kill-child", "sh", "-c", KEEPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, which ends it.
            .process_group(0)
            .spawn()
            .map_err(|error| failed("run `unshare` for the namespaces", error))?;
        if let Err(error) = wait_ready(&mut keeper) {
            // Whether or not it had ended already.
            keeper.kill().ok();
            keeper.wait().ok();
            return Err(failed("make the namespaces", error));
        }
        let open = |namespace: &str| {
            File::open(format!("/proc/{}/ns/{namespace}", keeper.id()))
                .map_err(|error| failed("open a namespace", error))
        };
        // `unshare` itself stays outside of the process namespace it made.
        let namespaces = (open("net")?, open("mnt")?, open("pid_for_children")?);
        let (network, mounts, processes) = namespaces;
        Ok(Self { keeper, network, mounts, processes })
    }

    /// Runs `work` on a thread of its own in the enclave and returns what it returns: the network
    /// and the mounts it sees are the enclave's, and so is every process it starts. Such a thread
    /// cannot start threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let outcome = thread::scope(|scope| scope.spawn(|| self.enter().map(|()| work())).join());
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The number of the process that keeps it.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Whether it still is there: its first process may have been killed.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(None))
    }

    /// Its network namespace.
    pub(super) fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    fn enter(&self) -> io::Result<()> {
        // A thread that shares its working directory with others cannot change its mounts.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
        setns(&self.network, CloneFlags::CLONE_NEWNET)?;
        Ok(setns(&self.processes, CloneFlags::CLONE_NEWPID)?)
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        // Its sign to end.
        drop(self.keeper.stdin.take());
        // The first process ends after every other of the enclave. If it was reaped already,
        // there is nothing to wait for.
        self.keeper.wait().ok();
    }
}

/// Waits for the first line of the first process.
fn wait_ready(keeper: &mut Child) -> io::Result<()> {
    let mut line = String::new();
    if let Some(output) = keeper.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let mut errors = keeper.stderr.take();
    if line == "ready\n" {
        return Ok(());
    }
    let mut cause = String::new();
    if let Some(errors) = &mut errors {
        errors.read_to_string(&mut cause)?;
    }
    Err(io::Error::other(cause.trim().to_owned()))
}
