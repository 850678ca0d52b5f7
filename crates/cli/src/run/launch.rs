//! The launcher as a process: its arguments, its signals, its end.

use std::{
    env,
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::Cause,
};

use crate::mpi::{Kind, launchers::Launcher, variables::Variable};

/// What to start, and how.
pub(super) struct Plan<'a> {
    pub(super) launcher: &'a Launcher,
    pub(super) ranks: u32,
    pub(super) hosts: &'a [String],
    pub(super) variables: &'a [Variable],
    /// For the launcher, as the user wrote it.
    pub(super) extra: &'a [OsString],
    pub(super) program: &'a [OsString],
}

impl Plan<'_> {
    /// The launcher with all its arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.launcher.path);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(self.placement(has_scheduler()));
        command.args(self.exports());
        command.args(self.extra);
        command.args(["-n", &self.ranks.to_string()]).args(self.program);
        command
    }

    /// Which rank runs where.
    fn placement(&self, scheduled: bool) -> Vec<String> {
        let of = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        if hosts == 0 {
            // Open MPI starts no more ranks than there are cores unless it is told to.
            let crowded = self.launcher.kind == Kind::OpenMpi && !scheduled;
            return if crowded { of(&["--map-by", ":OVERSUBSCRIBE"]) } else { Vec::new() };
        }
        let share = self.ranks.div_ceil(hosts);
        match self.launcher.kind {
            Kind::OpenMpi => {
                let slots: Vec<_> =
                    self.hosts.iter().map(|host| format!("{host}:{share}")).collect();
                of(&["--host", &slots.join(",")])
            }
            Kind::Mpich | Kind::Intel => {
                of(&["-hosts", &self.hosts.join(","), "-ppn", &share.to_string()])
            }
        }
    }

    /// What takes the variables to other hosts.
    fn exports(&self) -> Vec<String> {
        let flags = self.variables.iter().flat_map(|(name, value)| match self.launcher.kind {
            // Its own variables travel by themselves.
            Kind::OpenMpi if name.starts_with("OMPI_") => Vec::new(),
            Kind::OpenMpi => vec!["-x".to_owned(), format!("{name}={value}")],
            Kind::Mpich | Kind::Intel => {
                vec!["-genv".to_owned(), String::from(*name), value.clone()]
            }
        });
        flags.collect()
    }
}

/// Whether a batch system decides where ranks may run.
fn has_scheduler() -> bool {
    ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE"]
        .iter()
        .any(|name| env::var_os(name).is_some())
}

/// How a launcher ended.
pub(super) struct Ended {
    /// Its exit status, or 128 and the number of the signal that ended it.
    pub(super) status: u8,
    /// Whether a signal reached this process meanwhile.
    pub(super) signalled: bool,
}

/// The launcher while it runs, shared with the thread that passes signals on.
#[derive(Default)]
struct Shared {
    child: Option<Pid>,
    /// Signals that came before it ran.
    early: Vec<Signal>,
    signalled: bool,
}

const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Runs it to its end, and passes on what signals this process gets.
pub(super) fn run(mut command: Command) -> Result<Ended> {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let mut signals = SignalsInfo::<WithOrigin>::new(PASSED_ON).context("cannot get signals")?;
    let listening = Arc::clone(&shared);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for origin in signals.forever() {
            if let Ok(signal) = Signal::try_from(origin.signal) {
                // A terminal sends it to the launcher too; Open MPI takes a second one for
                // impatience and kills.
                listen(&listening, signal, origin.cause == Cause::Kernel);
            }
        }
    })?;
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let status = wait(&mut child, &shared).context("cannot wait for the launcher")?;
    Ok(Ended { status: code(status), signalled: lock(&shared).signalled })
}

fn listen(shared: &Mutex<Shared>, signal: Signal, has_it: bool) {
    let mut shared = lock(shared);
    shared.signalled |= !matches!(signal, Signal::SIGUSR1 | Signal::SIGUSR2);
    match shared.child {
        _ if has_it => {}
        // Fails only where it has just ended.
        Some(child) => drop(kill(child, signal)),
        None => shared.early.push(signal),
    }
}

fn wait(child: &mut Child, shared: &Mutex<Shared>) -> Result<ExitStatus> {
    let id = Pid::from_raw(i32::try_from(child.id())?);
    let mut now = lock(shared);
    now.child = Some(id);
    for signal in now.early.drain(..) {
        kill(id, signal).ok();
    }
    drop(now);
    // Left as it is until nobody sends it a signal any more: its number could become another's.
    while let Err(error) = waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
        if error != nix::Error::EINTR {
            return Err(error.into());
        }
    }
    lock(shared).child = None;
    Ok(child.wait()?)
}

/// The exit status as a shell would give it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn line(kind: Kind, hosts: &[&str], ranks: u32) -> String {
        let launcher = Launcher { kind, version: "5".to_owned(), path: "/bin/mpirun".into() };
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let variables = [("FI_PROVIDER_PATH", "/p".to_owned()), ("OMPI_MCA_mtl", "ofi".to_owned())];
        let plan = Plan {
            launcher: &launcher,
            ranks,
            hosts: &hosts,
            variables: &variables,
            extra: &["--verbose".into()],
            program: &["a.out".into(), "-x".into()],
        };
        let words = plan.placement(false).into_iter().chain(plan.exports()).map(OsString::from);
        let ours: Vec<_> = words.collect();
        let command = plan.command();
        let all: Vec<&OsStr> = command.get_args().collect();
        assert!(all.ends_with(&["-n", &ranks.to_string(), "a.out", "-x"].map(OsStr::new)));
        let ours: Vec<_> = ours.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        ours.join(" ")
    }

    #[test]
    fn ranks_are_shared_among_hosts_in_each_launchers_words() {
        let hosts = ["a", "b"];
        let open = line(Kind::OpenMpi, &hosts, 5);
        assert_eq!(open, "--host a:3,b:3 -x FI_PROVIDER_PATH=/p");
        for kind in [Kind::Mpich, Kind::Intel] {
            let line = line(kind, &hosts, 4);
            let genv = "-genv FI_PROVIDER_PATH /p -genv OMPI_MCA_mtl ofi";
            assert_eq!(line, format!("-hosts a,b -ppn 2 {genv}"));
        }
    }

    #[test]
    fn more_ranks_than_cores_are_allowed_on_this_host() {
        let open = line(Kind::OpenMpi, &[], 64);
        assert_eq!(open, "--map-by :OVERSUBSCRIBE -x FI_PROVIDER_PATH=/p");
        assert!(line(Kind::Mpich, &[], 64).starts_with("-genv "));
    }
}
