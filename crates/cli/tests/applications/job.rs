//! Starting ranks: with `elastane run`, or with an MPI's launcher over something else.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hosts::{Host, Network};
use tempfile::TempDir;

use crate::provider_library::library;

/// An MPI that `cargo xtask test --only applications` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mpi {
    /// Open MPI 4, Debian's package.
    OpenMpi4,
    /// Open MPI 5, the Python package.
    OpenMpi5,
    Mpich,
    Intel,
}

impl Mpi {
    /// What `--mpi` calls it.
    const fn id(self) -> &'static str {
        match self {
            Self::OpenMpi4 | Self::OpenMpi5 => "openmpi",
            Self::Mpich => "mpich",
            Self::Intel => "intel",
        }
    }

    /// The folder of its programs.
    pub(crate) fn bin(self) -> PathBuf {
        match self {
            Self::OpenMpi4 => "/usr/bin".into(),
            Self::OpenMpi5 => installed("openmpi/bin"),
            Self::Mpich => installed("mpich/bin"),
            Self::Intel => installed("impi-rt/bin"),
        }
    }

    fn launcher(self) -> PathBuf {
        self.bin().join(if self.id() == "openmpi" { "mpirun" } else { "mpiexec.hydra" })
    }

    /// Arguments of the launcher by which ranks of one host use libfabric only.
    fn own_shared_memory_off(self) -> &'static [&'static str] {
        match self {
            Self::OpenMpi4 => &["--mca", "coll", "^sm"],
            Self::OpenMpi5 => {
                &["--mca", "coll", "^sm", "--mca", "osc", "^sm", "--mca", "btl", "^sm"]
            }
            Self::Mpich | Self::Intel => &[],
        }
    }
}

/// A path below what the chores install in the target directory.
pub(crate) fn installed(path: &str) -> PathBuf {
    // target/debug/elastane, whatever the target directory is.
    let target = Path::new(env!("CARGO_BIN_EXE_elastane")).ancestors().nth(2).expect("two folders");
    let path = target.join("mpi").join(path);
    let installs = "cargo xtask test --only applications installs it";
    assert!(path.exists(), "no {}: {installs}", path.display());
    path
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Elastane,
    /// libfabric's provider.
    Tcp,
    /// Open MPI's own, without libfabric.
    SharedMemory,
}

/// What a job left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Fails unless the job succeeded, and every rank over the provider if it ran over it.
    #[track_caller]
    pub(crate) fn must_succeed(&self, job: &Job<'_>) {
        assert!(self.success, "{job:?}: {self:#?}");
        if job.over == Over::Elastane {
            let all = format!("{0} of {0} ranks used elastane", job.ranks);
            assert!(self.stderr.contains(&all), "{job:?}: {self:#?}");
        }
    }
}

/// How ranks are started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) mpi: Mpi,
    pub(crate) over: Over,
    pub(crate) ranks: u32,
    /// Where ranks run; this host if there are none.
    pub(crate) hosts: Option<&'a TwoHosts>,
    /// Where they begin, and may leave files.
    pub(crate) folder: &'a Path,
    /// After so many seconds the job is ended, and fails.
    pub(crate) bound: u32,
}

impl Job<'_> {
    /// Runs the program to its end.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Finished {
        let output = self.command(program, arguments).output().expect("the job starts");
        Finished {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The command that starts the ranks.
    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = match self.hosts {
            Some(hosts) => hosts.host(0).command("timeout"),
            None => Command::new("timeout"),
        };
        command.args(["--kill-after=5", &self.bound.to_string()]);
        self.variables(&mut command);
        let launcher = self.mpi.own_shared_memory_off();
        if self.over == Over::Elastane {
            command.arg(env!("CARGO_BIN_EXE_elastane")).args(["run", "--mpi", self.mpi.id()]);
            command.arg("--provider-library").arg(library());
            command.args(launcher.iter().map(|word| format!("--launcher-arg={word}")));
        } else {
            command.arg(self.mpi.launcher());
            self.own_choice(&mut command);
        }
        command.args(["-n", &self.ranks.to_string()]);
        if let Some(hosts) = self.hosts {
            command.arg(&hosts.entrance);
        }
        command.arg(program).args(arguments).current_dir(self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn variables(&self, command: &mut Command) {
        for name in ["FI_PROVIDER_PATH", "FI_PROVIDER", "LD_LIBRARY_PATH", "I_MPI_ROOT"] {
            command.env_remove(name);
        }
        let path = [self.mpi.bin(), "/usr/bin".into(), "/bin".into()];
        command.env("PATH", env::join_paths(path).expect("no colons"));
        // Open MPI starts nothing as root unless it is told twice.
        for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
            command.env(name, "1");
        }
        command.env("OMP_NUM_THREADS", "1").env("GMX_MAXBACKUP", "-1");
        match self.mpi {
            Mpi::OpenMpi4 | Mpi::OpenMpi5 => {}
            Mpi::Mpich => drop(command.env("MPIR_CVAR_NOLOCAL", "1")),
            Mpi::Intel => {
                let root = installed("impi-rt");
                command.env("LD_LIBRARY_PATH", root.join("lib")).env("I_MPI_ROOT", root);
                command.env("I_MPI_FABRICS", "ofi");
            }
        }
    }

    /// Tells a launcher what to use in place of the provider.
    fn own_choice(&self, command: &mut Command) {
        match (self.mpi, self.over) {
            (Mpi::OpenMpi4 | Mpi::OpenMpi5, Over::Tcp) => {
                command.args(self.mpi.own_shared_memory_off());
                command.args(["--mca", "pml", "cm", "--mca", "mtl", "ofi"]);
                command.args(["--mca", "mtl_ofi_provider_include", "tcp"]);
            }
            (Mpi::OpenMpi4 | Mpi::OpenMpi5, _) => {
                command.args(["--mca", "pml", "ob1", "--mca", "btl", "self,vader"]);
            }
            (Mpi::Mpich | Mpi::Intel, _) => {
                command.env("MPIR_CVAR_CH4_NETMOD", "ofi");
            }
        }
        if self.over == Over::Tcp {
            command.env("FI_PROVIDER", "tcp");
        }
        if self.mpi.id() == "openmpi" {
            command.args(["--map-by", ":OVERSUBSCRIBE"]);
        }
    }
}

/// Two hosts of a network; ranks with odd numbers run in the second.
#[derive(Debug)]
pub(crate) struct TwoHosts {
    pub(crate) network: Network,
    /// By it ranks find the second host.
    resident: Child,
    /// What each rank starts with: it enters the host of the rank.
    entrance: PathBuf,
    _folder: TempDir,
}

impl TwoHosts {
    pub(crate) fn new(network: Network) -> Self {
        let mut idle = network.hosts()[1].command("tail");
        idle.args(["-f", "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::null());
        let resident = idle.spawn().expect("tail starts");
        let folder = tempfile::tempdir().expect("a folder");
        let entrance = folder.path().join("entrance");
        // Launchers of MPICH's kind talk to ranks by a file descriptor, which stays open.
        let script = format!(
            "#!/bin/sh\n\
             [ $((PMI_RANK % 2)) = 0 ] && exec \"$@\"\n\
             exec nsenter --net=/proc/{}/ns/net \"$@\"\n",
            resident.id()
        );
        fs::write(&entrance, script).expect("written");
        fs::set_permissions(&entrance, fs::Permissions::from_mode(0o755)).expect("executable");
        Self { network, resident, entrance, _folder: folder }
    }

    fn host(&self, index: usize) -> &Host {
        &self.network.hosts()[index]
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        self.resident.kill().and_then(|()| self.resident.wait()).ok();
    }
}
