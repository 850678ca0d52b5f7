//! GROMACS, LAMMPS and HPCC of Debian, with its Open MPI: what they compute is the same over the
//! provider as over Open MPI's shared memory, digit by digit.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::job::{Job, Mpi, Over};

fn input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/applications/inputs").join(name)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs the program, and returns what it left in `file`.
#[track_caller]
fn left_by(program: &str, arguments: &[&str], over: Over, folder: &Path, file: &str) -> String {
    let job = Job { mpi: Mpi::OpenMpi4, over, ranks: 2, hosts: None, folder, bound: 120 };
    let program = Path::new("/usr/bin").join(program);
    let finished = job.run(&program, arguments);
    finished.must_succeed(&job);
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{finished:#?}: {error}"))
}

/// LAMMPS's lines about steps: temperature, energies and pressure.
fn steps(over: Over) -> Vec<String> {
    let folder = folder();
    let input = input("mixture.lammps");
    let arguments = ["-in", input.to_str().expect("UTF-8"), "-log", "log", "-screen", "none"];
    let log = left_by("lmp", &arguments, over, folder.path(), "log");
    let lines = log.lines().skip_while(|line| !line.trim_start().starts_with("Step"));
    lines.take_while(|line| !line.starts_with("Loop time")).map(str::to_owned).collect()
}

#[test]
fn lammps_computes_the_same() {
    let reference = steps(Over::SharedMemory);
    // The headline, the beginning, and every twentieth of 200 steps.
    assert_eq!(reference.len(), 12, "{reference:#?}");
    assert_eq!(steps(Over::Elastane), reference);
}

/// Runs a tool of GROMACS that prepares a simulation.
fn prepare(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/gmx");
    command.arg("-quiet").args(arguments).current_dir(folder).env("GMX_MAXBACKUP", "-1");
    let output = command.output().expect("gmx starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The blocks of energies that GROMACS writes about steps.
fn energies(over: Over, folder: &Path) -> Vec<String> {
    let options = "-quiet mdrun -s water.tpr -deffnm run -ntomp 1 -nb cpu -reprod -notunepme \
                   -dlb no -noconfout";
    let arguments: Vec<_> = options.split_whitespace().collect();
    let log = left_by("gmx_mpi", &arguments, over, folder, "run.log");
    let mut blocks = Vec::new();
    let mut rest = log.lines();
    while let Some(line) = rest.find(|line| line.trim_start().starts_with("Energies (kJ/mol)")) {
        let block: Vec<_> = rest.by_ref().take_while(|line| !line.trim().is_empty()).collect();
        blocks.push(format!("{line}\n{}", block.join("\n")));
    }
    blocks
}

#[test]
fn gromacs_computes_the_same() {
    let folder = folder();
    let path = folder.path();
    for name in ["topol.top", "water.mdp"] {
        fs::copy(input(name), path.join(name)).expect("copied");
    }
    // Twice the box that comes with GROMACS, in each direction: nothing is out of balance.
    let side = "3.72412";
    prepare(
        path,
        &["solvate", "-cs", "-box", side, side, side, "-o", "box.gro", "-p", "topol.top"],
    );
    prepare(path, &["grompp", "-f", "water.mdp", "-c", "box.gro", "-o", "water.tpr"]);
    let reference = energies(Over::SharedMemory, path);
    // The beginning, every tenth of 50 steps, and the average.
    assert_eq!(reference.len(), 7, "{reference:#?}");
    assert_eq!(energies(Over::Elastane, path), reference);
}

/// The lines of HPCC's summary that do not tell a time or a rate.
fn checks(over: Over) -> Vec<String> {
    let folder = folder();
    fs::copy(input("hpccinf.txt"), folder.path().join("hpccinf.txt")).expect("copied");
    let left = left_by("hpcc", &[], over, folder.path(), "hpccoutf.txt");
    assert!(!left.contains("FAILED"), "{left}");
    assert!(left.lines().any(|line| line == "Success=1"), "{left}");
    assert!(left.contains("PASSED"), "{left}");
    let told = ["Success=", "CommWorldProcs=", "HPL_N=", "HPL_NB=", "HPL_nprow=", "HPL_npcol="];
    let computed = ["PTRANS_residual=", "MPIRandomAccess_Errors=", "HPL_RnormI=", "HPL_Anorm"];
    let names = || told.iter().chain(&computed);
    let lines = left.lines().filter(|line| names().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

#[test]
fn hpcc_computes_the_same() {
    let reference = checks(Over::SharedMemory);
    assert!(reference.len() > 8, "{reference:#?}");
    assert_eq!(checks(Over::Elastane), reference);
}
