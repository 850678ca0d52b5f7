//! Booting an instance, and its end.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::PermissionsExt as _, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::sethostname,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    Enclave, FlowLimits, Router, Volume, flows, root, router::write_settings, volume::Root,
};
use crate::{
    error::HostsError,
    netlink::Netlink,
    plan::{Bottleneck, Shaping},
    qdisc,
};

/// What the first process of an instance runs.
const INIT: &str = include_str!("init.sh");
/// How often to look for the first process, a millisecond apart.
const INIT_ROUNDS: u32 = 2000;
/// How long killed processes may take to go; longer only for one stuck in the kernel.
const KILL_WAIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// The bytes that wait for the card of an instance whose card has a limit.
const CARD_QUEUE: u32 = 1 << 20;
/// The port of an SSH server, and the state of a listening socket, as `/proc/net/tcp` shows them.
const LISTENS_FOR_SSH: (&str, &str) = (":0016", "0A");

/// What to boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its name on the volume and in messages.
    pub id: String,
    /// Its host name.
    pub hostname: String,
    /// The image its root lies over; at a later boot it is the first one's.
    pub image: Option<String>,
    /// Its address, in the router's network.
    pub address: Ipv4Addr,
    /// More addresses in that network, which its one device has as well.
    pub more_addresses: Vec<Ipv4Addr>,
    /// Who logs in, and may become root where `sudo` is installed; made if need be.
    pub user: String,
    /// A line of `authorized_keys` for that user and for root.
    pub authorized_key: Option<String>,
    /// What the first boot runs as root if it begins with `#!`, and otherwise keeps as a file.
    pub user_data: Option<Vec<u8>>,
    /// What it shares with this machine.
    pub mounts: Vec<SharedDirectory>,
    /// Directories of this machine that it sees empty.
    pub hidden: Vec<PathBuf>,
    /// The library that answers in it as libfabric's provider `efa`.
    pub provider: Option<PathBuf>,
    /// Variables of every login; values without white space.
    pub environment: Vec<(String, String)>,
    /// A name server, and what is behind names without a dot; without, no name but its own is
    /// known.
    pub resolver: Option<(Ipv4Addr, String)>,
    /// Lines at the end of files that are there, made anew at each boot.
    pub settings: Vec<Setting>,
    /// What its network card and each flow may carry; unlimited where there is none.
    pub limits: Option<FlowLimits>,
}

/// A directory, or a file, of this machine that an instance sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedDirectory {
    /// What it is here.
    pub source: PathBuf,
    /// Where the instance sees it: an absolute path without `..`, and without links.
    pub target: PathBuf,
}

/// Lines in a file of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file; where there is none, none is made.
    pub file: PathBuf,
    /// The lines; none where only those of an earlier boot are to go.
    pub lines: Vec<String>,
}

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, and nothing listens for SSH yet.
    Starting,
    /// Its SSH server listens.
    Ready,
    /// Its first process has ended.
    Dead,
}

/// A running instance. Dropping it ends it.
#[derive(Debug)]
pub struct Instance {
    id: String,
    address: Ipv4Addr,
    /// The parent of the first process, in the instance's other namespaces.
    shell: Mutex<Child>,
    /// Its number.
    pid: u32,
    /// The first process.
    init: OwnedFd,
}

impl Instance {
    /// Boots an instance; its first process runs when this returns. If it fails, nothing is left
    /// but its root.
    pub fn boot(
        enclave: &Enclave,
        router: &Router,
        volume: &Volume,
        boot: &Boot,
    ) -> Result<Self, HostsError> {
        let start = || start(router, volume, boot);
        let started = enclave.run(start).map_err(|error| failed(boot, "enter", error))?;
        let shell = started.inspect_err(|_error| {
            // The error worth telling is the first one.
            router.detach(enclave, boot.address).ok();
        })?;
        Self::adopt(shell, boot).inspect_err(|_error| {
            router.detach(enclave, boot.address).ok();
        })
    }

    /// Takes hold of the first process.
    fn adopt(mut shell: Child, boot: &Boot) -> Result<Self, HostsError> {
        let init = match first_process(&shell) {
            Ok(init) => init,
            Err(error) => {
                // The first process ends with its parent.
                shell.kill().ok();
                shell.wait().ok();
                return Err(failed(boot, "find the first process", error));
            }
        };
        let (id, address, pid) = (boot.id.clone(), boot.address, shell.id());
        Ok(Self { id, address, shell: Mutex::new(shell), pid, init })
    }

    /// Its name on the volume.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The number here of a process in its network, mount, UTS and IPC namespaces.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it is. Looks, and asks nobody: no connection is made.
    pub fn state(&self) -> State {
        if ended(&self.init, Timespec { tv_sec: 0, tv_nsec: 0 }) {
            // An enclave whose first process was killed is not gone before its last child is
            // reaped. One that has not quite ended is, the next time.
            self.shell.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok();
            return State::Dead;
        }
        let listens = ["tcp", "tcp6"].iter().any(|table| {
            fs::read_to_string(format!("/proc/{}/net/{table}", self.pid()))
                .is_ok_and(|sockets| sockets.lines().any(listens_for_ssh))
        });
        if listens { State::Ready } else { State::Starting }
    }

    /// Asks it to end, gives it that long, then ends it.
    pub fn shut_down(self, patience: Duration) -> Result<(), HostsError> {
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // What has ended already needs no signal.
        if pidfd_send_signal(&self.init, Signal::TERM).is_ok() {
            ended(&self.init, patience);
        }
        self.kill()
    }

    /// Ends every process of it at once.
    pub fn kill(mut self) -> Result<(), HostsError> {
        self.end().map_err(|error| HostsError::Configure {
            action: "end every process".to_owned(),
            host: self.id.clone(),
            error,
        })
    }

    fn end(&mut self) -> io::Result<()> {
        match pidfd_send_signal(&self.init, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        // The kernel ends the first process of a namespace after all others of it.
        if !ended(&self.init, KILL_WAIT) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.shell.get_mut().unwrap_or_else(PoisonError::into_inner).wait().map(drop)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Whoever wants to know calls `kill`; a second time does no harm.
        self.end().ok();
    }
}

/// Makes an instance's namespaces and starts its first process. Runs on a thread in the enclave,
/// which is lost to anything else afterwards.
fn start(router: &Router, volume: &Volume, boot: &Boot) -> Result<Child, HostsError> {
    let at = |action: &'static str| move |error| failed(boot, action, error);
    let root = volume.prepare(&boot.id, boot.image.as_deref()).map_err(at("prepare the root"))?;
    root::mount_overlay(&root).map_err(at("mount the root"))?;
    let console = open_console(volume, boot).map_err(at("open the console"))?;
    let mut outside = Netlink::here("the enclave")?;
    let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(kinds).map_err(|errno| at("make the namespaces")(errno.into()))?;
    write_settings(&[("ipv6/conf/default/disable_ipv6", "1")]).map_err(at("write settings"))?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(at("open the namespace"))?;
    let port =
        router.attach(&mut outside, namespace.as_fd(), boot.address, &boot.more_addresses)?;
    let mut inside = Netlink::here(&boot.id)?;
    let card = router.settle(&mut inside, boot.address, &boot.more_addresses)?;
    if let Some(limits) = boot.limits {
        flows::limit(&mut outside, port, limits)?;
        let rate = limits.card;
        let shaping = Shaping { rate, queue: CARD_QUEUE, bottleneck: Bottleneck::Sender };
        inside.set_qdisc(qdisc::token_bucket(card, shaping))?;
    }
    inside.wait_up(card)?;
    sethostname(&boot.hostname).map_err(|errno| at("set the host name")(errno.into()))?;
    start_in(&root, boot, console)
}

/// Does the part that the mounts are changed for.
fn start_in(root: &Root, boot: &Boot, console: File) -> Result<Child, HostsError> {
    let at = |action: &'static str| move |error| failed(boot, action, error);
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| at("make the namespaces")(errno.into()))?;
    root::enter(root, boot).map_err(at("mount what is in the root"))?;
    root::write_files(root, boot).map_err(at("write the files of the root"))?;
    let errors = console.try_clone().map_err(at("open the console"))?;
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sh", "-c", INIT, "init"])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs([("HOME", "/root"), ("LANG", "C.UTF-8"), ("TERM", "linux")])
        .envs(boot.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(console)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(at("start the first process"))
}

/// The console is kept from boot to boot, and readable to root.
fn open_console(volume: &Volume, boot: &Boot) -> io::Result<File> {
    let path = volume.console(&boot.id);
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The one child of `shell`, once it is there.
fn first_process(shell: &Child) -> io::Result<OwnedFd> {
    let id = shell.id();
    for _ in 0..INIT_ROUNDS {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let child = children.split_whitespace().next().and_then(|child| child.parse().ok());
        if let Some(child) = child.and_then(Pid::from_raw) {
            return Ok(pidfd_open(child, PidfdFlags::empty())?);
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // Interrupted or not, it is looked for again.
        poll(&mut [], Some(&pause)).ok();
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether a process has ended, or does so in time.
fn ended(process: &OwnedFd, patience: Timespec) -> bool {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    loop {
        match poll(&mut watched, Some(&patience)) {
            // The time begins anew: signals to this process are rare.
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(ready) => return ready > 0,
        }
    }
}

/// Whether a line of `/proc/net/tcp` is a socket that listens for SSH.
fn listens_for_ssh(line: &str) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next(), fields.nth(1));
    local.is_some_and(|local| local.ends_with(LISTENS_FOR_SSH.0))
        && state == Some(LISTENS_FOR_SSH.1)
}

fn failed(boot: &Boot, action: &str, error: io::Error) -> HostsError {
    HostsError::Configure { action: action.to_owned(), host: boot.id.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_the_ssh_port_counts() {
        let line = |local: &str, state: &str| {
            format!("   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000")
        };
        assert!(listens_for_ssh(&line("00000000:0016", "0A")));
        assert!(!listens_for_ssh(&line("0C00004D0A:0016", "01")));
        assert!(!listens_for_ssh(&line("00000000:0050", "0A")));
        assert!(!listens_for_ssh("  sl  local_address rem_address   st tx_queue rx_queue"));
    }
}
