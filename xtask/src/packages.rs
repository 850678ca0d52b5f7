//! The programs that tests run, and the Debian packages that bring them.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace::Workspace;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
pub(crate) struct Package {
    pub(crate) debian: &'static str,
    /// A program it brings, or the path of a file if it brings none.
    pub(crate) program: &'static str,
}

pub(crate) const GIT: Package = Package { debian: "git", program: "git" };
/// Packet loss and cut paths are nftables rules.
pub(crate) const NFTABLES: Package = Package { debian: "nftables", program: "nft" };
/// `compare` puts iperf3's figure beside its own.
pub(crate) const IPERF3: Package = Package { debian: "iperf3", program: "iperf3" };
/// What the declarations of libfabric are compared with, and the library that they call.
pub(crate) const LIBFABRIC: Package =
    Package { debian: "libfabric-dev", program: "/usr/include/rdma/fabric.h" };
/// Reads those headers.
pub(crate) const CC: Package = Package { debian: "gcc", program: "cc" };
/// `fi_info` shows what the provider offers.
pub(crate) const FI_INFO: Package = Package { debian: "libfabric-bin", program: "fi_info" };

/// What instances of the cloud are made with, and reached by.
pub(crate) const INSTANCES: [Package; 5] = [
    Package { debian: "openssh-server", program: "sshd" },
    Package { debian: "openssh-client", program: "ssh-keygen" },
    Package { debian: "sudo", program: "sudo" },
    Package { debian: "e2fsprogs", program: "mkfs.ext4" },
    NFTABLES,
];

/// What nodes of clusters run.
pub(crate) const SLURM: [Package; 3] = [
    Package { debian: "slurm-wlm", program: "slurmctld" },
    Package { debian: "slurm-client", program: "scontrol" },
    Package { debian: "munge", program: "munged" },
];

/// Gives hosts of the benchmark of MPI one more device.
pub(crate) const IPROUTE: Package = Package { debian: "iproute2", program: "ip" };

/// Runs the ranks of Debian's programs of MPI.
pub(crate) const OPEN_MPI: Package = Package { debian: "openmpi-bin", program: "mpirun" };

/// What the benchmark of one host is held against, and what builds its peers.
pub(crate) const PEERS: [Package; 4] =
    [OPEN_MPI, Package { debian: "libopenmpi-dev", program: "mpicc" }, LIBFABRIC, CC];

/// Applications of MPI, built with Debian's Open MPI.
pub(crate) const SOLVERS: [Package; 3] = [
    Package { debian: "gromacs", program: "gmx_mpi" },
    Package { debian: "lammps", program: "lmp" },
    Package { debian: "hpcc", program: "hpcc" },
];

/// What the MPIs that are Python packages are installed with.
pub(crate) const PYTHON_VENV: Package =
    Package { debian: "python3-venv", program: "/usr/lib/python3.11/ensurepip/__init__.py" };

/// Makes sure that every program is there, by installing packages where that is allowed.
pub(crate) fn provide(workspace: &Workspace, packages: &[Package]) -> Result<()> {
    let missing = missing(packages, &directories());
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.debian).collect();
    if !is_root()? {
        bail!("{}", how_to_install(&names));
    }
    eprintln!("installing {}", names.join(" "));
    apt_get(workspace, &["update"])?;
    apt_get(workspace, &[&["install", "-y", "--no-install-recommends"], &names[..]].concat())?;
    if let Some(package) = self::missing(packages, &directories()).first() {
        bail!("{} is installed, but there is no {}", package.debian, package.program);
    }
    Ok(())
}

fn missing(packages: &[Package], directories: &[PathBuf]) -> Vec<Package> {
    let mut missing: Vec<_> =
        packages.iter().copied().filter(|package| !is_there(package, directories)).collect();
    missing.sort();
    missing.dedup();
    missing
}

fn is_there(package: &Package, directories: &[PathBuf]) -> bool {
    if package.program.starts_with('/') {
        return std::path::Path::new(package.program).exists();
    }
    directories.iter().any(|directory| is_program(&directory.join(package.program)))
}

/// Where programs are: an ordinary user's `PATH` on Debian leaves out the system directories.
fn directories() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).collect()
}

fn is_program(path: &std::path::Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn is_root() -> Result<bool> {
    let this = fs::metadata("/proc/self").context("cannot tell which user this is: no /proc")?;
    Ok(this.uid() == 0)
}

fn how_to_install(names: &[&str]) -> String {
    let names = names.join(" ");
    format!(
        "missing Debian packages: {names}; install them as root, then run this again:\n  \
         apt-get update && apt-get install -y --no-install-recommends {names}"
    )
}

fn apt_get(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let status = workspace
        .command("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot run apt-get: install the programs above by your system's own means")?;
    ensure!(status.success(), "apt-get {} failed: {status}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Package = Package { debian: "no-such-package", program: "no-such-program" };

    #[test]
    fn program_on_the_path_is_not_missing() {
        let shell = Package { debian: "dash", program: "sh" };
        assert_eq!(missing(&[shell], &directories()), []);
    }

    #[test]
    fn absent_program_is_missing_once() {
        assert_eq!(missing(&[ABSENT, ABSENT], &directories()), [ABSENT]);
    }

    #[test]
    fn file_that_cannot_be_executed_is_not_a_program() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        assert!(root.join("Cargo.toml").is_file());
        assert!(!is_program(&root.join("Cargo.toml")));
    }

    #[test]
    fn advice_names_the_packages_and_one_command() {
        let advice = how_to_install(&["nftables", "iperf3"]);
        assert!(advice.starts_with("missing Debian packages: nftables iperf3;"));
        assert!(advice.ends_with("install -y --no-install-recommends nftables iperf3"));
    }
}
