//! Starting jobs: on this host, and on two hosts that are network namespaces.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hosts::Network;
use serde::de::DeserializeOwned;

use crate::{Failure, MTU};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The provider of this project.
    Elastane,
    /// libfabric's provider over TCP.
    Tcp,
    /// Open MPI's own, within a host.
    SharedMemory,
}

/// No job takes so many seconds, unless it hangs.
const PATIENCE: &str = "120";

/// A command line that a host's launcher runs on the other: `HOST COMMAND…`. Each host has a name.
const AGENT: &str = r#"#!/bin/sh
host=$1
shift
exec nsenter --target PROCESS --net unshare --uts \
    sh -c 'hostname "$0"; exec sh -c "$*"' "$host" "$@"
"#;

/// Open MPI, the program, and the folder with the provider.
pub(crate) struct Launcher {
    mpirun: PathBuf,
    program: PathBuf,
    provider: PathBuf,
    folder: PathBuf,
}

impl Launcher {
    pub(crate) fn prepare(folder: &Path) -> Result<Self, Failure> {
        // target/release/examples/mpi, whatever the target directory is.
        let this = env::current_exe()?;
        let release = this.ancestors().nth(2).ok_or("no target directory")?;
        let library = release.join("libelastane_fi.so");
        let open_mpi = release.with_file_name("mpi").join("openmpi/bin");
        for (path, advice) in [
            (&library, "cargo build --release -p elastane-provider"),
            (&open_mpi.join("mpicc"), "cargo xtask bench installs it"),
        ] {
            if !path.exists() {
                return Err(format!("no {}: {advice}", path.display()).into());
            }
        }
        let provider = folder.join("provider");
        fs::create_dir_all(&provider)?;
        let link = provider.join("libelastane-fi.so");
        fs::remove_file(&link).ok();
        symlink(&library, link)?;
        let program = folder.join("rows");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mpi/rows.c");
        let compiler = open_mpi.join("mpicc");
        let status =
            Command::new(&compiler).args(["-O2", "-o"]).args([&program, &source]).status()?;
        if !status.success() {
            return Err(format!("{} does not build rows.c: {status}", compiler.display()).into());
        }
        let mpirun = open_mpi.join("mpirun");
        Ok(Self { mpirun, program, provider, folder: folder.to_owned() })
    }

    /// So many processes on this host.
    pub(crate) fn here(&self, ranks: usize, transport: Transport, what: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(&self.mpirun).args(["-n", &ranks.to_string()]);
        command.args(["--map-by", ":OVERSUBSCRIBE"]);
        self.finish(command, transport, what)
    }

    /// Lets providers see the addresses of hosts that have them on the loopback device: they leave
    /// that one out.
    pub(crate) fn show_addresses(network: &Network) -> Result<(), Failure> {
        for host in network.hosts() {
            let address = format!("{}/32", host.address());
            for arguments in [
                "link add fab0 type veth peer name fab1".to_owned(),
                format!("link set fab1 mtu {MTU} up"),
                format!("link set fab0 mtu {MTU} up"),
                format!("address add {address} dev fab0"),
            ] {
                let status = host.command("ip").args(arguments.split(' ')).status();
                let status = status.map_err(|error| format!("cannot run ip: {error}"))?;
                if !status.success() {
                    return Err(format!("ip {arguments}: {status}").into());
                }
            }
        }
        Ok(())
    }

    /// A process on each of two hosts.
    pub(crate) fn between(
        &self,
        network: &Network,
        transport: Transport,
        what: &str,
    ) -> Result<Job, Failure> {
        let [first, second] = network.hosts() else { return Err("two hosts are needed".into()) };
        let mut sleeper = second.command("sleep");
        let sleeper = Sleeper(sleeper.arg("infinity").stdin(Stdio::null()).spawn()?);
        let agent = self.folder.join("agent");
        fs::write(&agent, AGENT.replace("PROCESS", &sleeper.0.id().to_string()))?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
        let mut command = first.command("timeout");
        command.args([PATIENCE, "unshare", "--uts", "sh", "-c"]);
        command.args(["hostname \"$0\"; exec \"$@\"", first.name()]).arg(&self.mpirun);
        command.args(["--prtemca", "plm_ssh_agent"]).arg(&agent);
        let hosts = format!("{}:1,{}:1", first.name(), second.name());
        command.args(["-n", "2", "--host", &hosts]);
        Ok(Job { command: self.finish(command, transport, what), _sleeper: sleeper })
    }

    fn finish(&self, mut command: Command, transport: Transport, what: &str) -> Command {
        command.args(["--bind-to", "none"]);
        let name = match transport {
            Transport::Elastane => {
                let path = format!("FI_PROVIDER_PATH={}", self.provider.display());
                command.args(["-x", &path]);
                Some("elastane")
            }
            Transport::Tcp => Some("tcp"),
            Transport::SharedMemory => None,
        };
        match name {
            // Nothing else may take its place.
            Some(name) => command
                .args(["-x", &format!("FI_PROVIDER={name}"), "--mca", "pml", "cm"])
                .args(["--mca", "mtl", "ofi", "--mca", "mtl_ofi_provider_include", name]),
            None => command.args(["--mca", "pml", "ob1", "--mca", "btl", "sm,self"]),
        };
        command.arg(&self.program).arg(what);
        // Open MPI refuses root unless it is told twice.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command
    }
}

/// A job on two hosts.
pub(crate) struct Job {
    pub(crate) command: Command,
    _sleeper: Sleeper,
}

/// The process by which the second host is found.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a job. What its processes say, one JSON object on a line.
pub(crate) fn run<T: DeserializeOwned>(command: &mut Command) -> Result<Vec<T>, Failure> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    if !out.status.success() {
        return Err(format!("{command:?}: {}", out.status).into());
    }
    let text = String::from_utf8(out.stdout)?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}
