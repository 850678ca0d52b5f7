//! A program, compiled by an MPI's own compiler, and the hosts its ranks run on.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hosts::{Flat, Host, Multipath, Network};
use tempfile::TempDir;

use super::super::{Mpi, as_root, finish, path};
use crate::running::Finished;

/// Where the ranks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    OneHost,
    /// In equal shares, joined by a cable.
    TwoHosts,
    /// The same, joined by parallel paths.
    Multipath,
}

/// A program that is ready to run.
pub(super) struct Job {
    mpi: Mpi,
    place: Place,
    folder: TempDir,
    program: PathBuf,
    network: Network,
    /// By it the launch agent finds the second host.
    resident: Child,
}

impl Job {
    pub(super) fn new(mpi: Mpi, program: &str, place: Place) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let compiled = folder.path().join(program);
        compile(mpi, program, &compiled);
        let network = match place {
            Place::OneHost | Place::TwoHosts => Network::builder().flat(Flat::default()),
            Place::Multipath => Network::builder().multipath(Multipath::default()),
        };
        let network = network.build().expect("a network");
        let mut idle = network.hosts()[1].command("tail");
        idle.args(["-f", "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::null());
        let resident = idle.spawn().expect("tail starts");
        Self { mpi, place, folder, program: compiled, network, resident }
    }

    /// Runs it by `elastane run`.
    pub(super) fn run(&self, library: &Path, ranks: u32) -> Finished {
        let mut command = self.in_first_host(Path::new(env!("CARGO_BIN_EXE_elastane")));
        command.args(["run", "--mpi", self.mpi.id(), "-n", &ranks.to_string()]);
        command.arg("--provider-library").arg(library);
        let mut for_launcher = self.own_shared_memory_off();
        if self.place != Place::OneHost {
            let addresses = self.hosts().map(|host| host.address().to_string());
            command.args(["--hosts", &addresses.join(",")]);
            for_launcher.extend(self.agent(&addresses));
        }
        command.args(for_launcher.iter().map(|argument| format!("--launcher-arg={argument}")));
        command.arg(&self.program);
        finish(command)
    }

    /// Runs it in one host by the MPI's launcher, over a provider of libfabric's own.
    pub(super) fn run_over_tcp(&self, ranks: u32) -> Finished {
        let launcher = match self.mpi {
            Mpi::Debian | Mpi::Wheel => "mpirun",
            Mpi::Mpich | Mpi::Intel => "mpiexec.hydra",
        };
        let mut command = self.in_first_host(&self.mpi.bin().join(launcher));
        command.args(self.own_shared_memory_off()).env("FI_PROVIDER", "tcp");
        if matches!(self.mpi, Mpi::Debian | Mpi::Wheel) {
            command.args([
                "--map-by",
                ":OVERSUBSCRIBE",
                "--mca",
                "pml",
                "cm",
                "--mca",
                "mtl",
                "ofi",
            ]);
            command.args(["--mca", "mtl_ofi_provider_include", "tcp"]);
        }
        command.env("MPIR_CVAR_CH4_NETMOD", "ofi");
        command.args(["-n", &ranks.to_string()]).arg(&self.program);
        finish(command)
    }

    fn hosts(&self) -> [&Host; 2] {
        let [first, second] = self.network.hosts() else { unreachable!("two by default") };
        [first, second]
    }

    /// A command in the first host. Its name is its address, which everyone can resolve.
    fn in_first_host(&self, program: &Path) -> Command {
        let [first, _] = self.hosts();
        let mut command = first.command("/usr/bin/unshare");
        command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\""]);
        command.arg(first.address().to_string()).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        as_root(&mut command);
        command.env("PATH", path(&[&self.mpi.bin(), Path::new("/usr/bin"), Path::new("/bin")]));
        match self.mpi {
            Mpi::Debian | Mpi::Wheel => {}
            Mpi::Mpich => drop(command.env("MPIR_CVAR_NOLOCAL", "1")),
            Mpi::Intel => {
                let root = intel_root();
                command.env("LD_LIBRARY_PATH", root.join("lib")).env("I_MPI_ROOT", root);
                command.env("I_MPI_FABRICS", "ofi").env("I_MPI_SPAWN", "on");
            }
        }
        command
    }

    /// What Open MPI's launcher is told, so that ranks of a host talk by libfabric alone.
    fn own_shared_memory_off(&self) -> Vec<String> {
        let of = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match self.mpi {
            Mpi::Debian => of(&["--mca", "coll", "^sm", "--mca", "osc", "pt2pt"]),
            Mpi::Wheel => {
                of(&["--mca", "coll", "^sm", "--mca", "osc", "^sm", "--mca", "btl", "^sm"])
            }
            Mpi::Mpich | Mpi::Intel => Vec::new(),
        }
    }

    /// What makes a launcher start its daemons in these hosts, as it would by ssh.
    fn agent(&self, addresses: &[String; 2]) -> Vec<String> {
        let agent = self.folder.path().join("agent");
        let [first, second] = addresses;
        let resident = self.resident.id();
        let script = format!(
            "#!/bin/sh\n\
             # OPTIONS HOST COMMAND\n\
             while [ \"${{1#-}}\" != \"$1\" ]; do shift; done\n\
             host=$1\n\
             shift\n\
             case $host in\n\
             {first}) exec sh -c \"$*\" ;;\n\
             {second}) exec nsenter --net=/proc/{resident}/ns/net unshare --uts \\\n\
             sh -c 'hostname \"$0\" && exec sh -c \"$1\"' \"$host\" \"$*\" ;;\n\
             esac\n\
             echo \"no host $host\" >&2\n\
             exit 1\n"
        );
        fs::write(&agent, script).expect("written");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("made executable");
        let agent = agent.to_str().expect("UTF-8");
        let words: &[&str] = match self.mpi {
            // Children of ranks need more slots than hosts are given.
            Mpi::Debian => &["--map-by", ":OVERSUBSCRIBE", "--mca", "plm_rsh_agent", agent],
            Mpi::Wheel => &["--map-by", ":OVERSUBSCRIBE", "--prtemca", "plm_ssh_agent", agent],
            Mpi::Mpich => &["-launcher", "ssh", "-launcher-exec", agent, "-localhost", first],
            Mpi::Intel => &["-bootstrap", "ssh", "-bootstrap-exec", agent],
        };
        words.iter().map(|&word| word.to_owned()).collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.resident.kill().and_then(|()| self.resident.wait()).ok();
    }
}

/// The environment that Intel MPI's packages are in.
fn intel_root() -> PathBuf {
    Mpi::Intel.bin().parent().expect("it is in an environment").to_owned()
}

fn compile(mpi: Mpi, program: &str, to: &Path) {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/mpi/programs");
    let mut command = Command::new(mpi.bin().join("mpicc"));
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]);
    command.arg(programs.join(program).with_extension("c")).arg("-o").arg(to);
    if mpi == Mpi::Intel {
        command.env("I_MPI_ROOT", intel_root());
    }
    assert!(command.status().expect("mpicc runs").success(), "{command:?}");
}
