//! Two processes on this machine, side by side with others of the same kind: Open MPI's shared
//! memory (`vader`) and libfabric's (`shm`). All do the same work, on the same two processors, in
//! turn; what counts is the ratio of two that followed each other.
//!
//! `cargo run --release -p elastane-fabric --example one_host -- [--quick] FILE`
//!
//! Writes the figures of every run and the medians of their ratios to FILE, as JSON. Needs
//! `mpicc`, `mpirun` and libfabric's headers: Debian's `libopenmpi-dev`, `openmpi-bin` and
//! `libfabric-dev`.

mod work;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde::Serialize;
use work::{Figures, Side};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;

/// All that was measured in one round.
#[derive(Clone, Copy, Serialize)]
struct Round {
    elastane: Figures,
    vader: Figures,
    libfabric_shm: Figures,
}

#[derive(Serialize)]
struct Document {
    format: &'static str,
    version: u32,
    /// Medians over all rounds of the ratio within a round.
    ratios: Ratios,
    /// The same for the figures themselves.
    medians: Round,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Ratios {
    latency_over_vader: f64,
    rate_over_libfabric_shm: f64,
    bandwidth_64k_over_best: f64,
    bandwidth_4m_over_best: f64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["first"] => first(),
        ["second", address] => Side::second(address)?.run().map(drop),
        [file, "--quick"] | ["--quick", file] => measure(Path::new(file), QUICK_ROUNDS),
        [file] if !file.starts_with('-') => measure(Path::new(file), ROUNDS),
        _ => Err("usage: one_host [--quick] FILE".into()),
    }
}

/// The first process of this project's pair.
fn first() -> Result<(), Failure> {
    let mut other = None;
    let side = Side::first(|address| {
        let command = Command::new(env::current_exe()?)
            .args(["second", &address])
            .stdin(Stdio::null())
            .spawn()?;
        other = Some(Other(command));
        Ok(())
    })?;
    let figures = side.run()?;
    if let Some(mut other) = other {
        other.0.wait()?;
    }
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// The second process, which must not outlive the first.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // After a wait there is nothing to kill.
        self.0.kill().ok();
    }
}

fn measure(file: &Path, count: usize) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    let mpi = build("mpicc", "mpi_pairs.c", &[], &folder)?;
    let libfabric = build("cc", "libfabric_pairs.c", &["-lfabric"], &folder)?;
    let mut rounds = Vec::new();
    for round in 1..=count {
        eprintln!("round {round} of {count}");
        rounds.push(Round {
            elastane: run(Command::new(env::current_exe()?).arg("first"))?,
            vader: run(&mut vader(&mpi))?,
            libfabric_shm: run(Command::new(&libfabric).arg("shm"))?,
        });
    }
    let document = Document::new(rounds);
    fs::write(file, serde_json::to_string_pretty(&document)?)?;
    document.print();
    Ok(())
}

fn build(compiler: &str, source: &str, last: &[&str], to: &Path) -> Result<PathBuf, Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/one_host").join(source);
    let program = to.join(source.file_stem().unwrap_or_default());
    let status = Command::new(compiler)
        .args(["-O2", "-o"])
        .args([&program, &source])
        .args(last)
        .status()
        .map_err(|error| format!("cannot run {compiler}: {error}"))?;
    if !status.success() {
        return Err(format!("{compiler} does not build {}: {status}", source.display()).into());
    }
    Ok(program)
}

/// The processes bind themselves; `mpirun` refuses to run as root unless told twice.
fn vader(program: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["-n", "2", "--oversubscribe", "--bind-to", "none"])
        .args(["--mca", "pml", "ob1", "--mca", "btl", "vader,self"])
        .arg(program)
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

fn run(command: &mut Command) -> Result<Figures, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    if !out.status.success() {
        return Err(format!("{name}: {}", out.status).into());
    }
    Ok(serde_json::from_slice(&out.stdout)?)
}

impl Document {
    fn new(rounds: Vec<Round>) -> Self {
        let best = |of: fn(&Figures) -> f64, round: &Round| {
            of(&round.elastane) / of(&round.vader).max(of(&round.libfabric_shm))
        };
        let ratios = Ratios {
            latency_over_vader: median_of(&rounds, |round| {
                round.elastane.latency / round.vader.latency
            }),
            rate_over_libfabric_shm: median_of(&rounds, |round| {
                round.elastane.rate / round.libfabric_shm.rate
            }),
            bandwidth_64k_over_best: median_of(&rounds, |round| best(|f| f.bandwidth_64k, round)),
            bandwidth_4m_over_best: median_of(&rounds, |round| best(|f| f.bandwidth_4m, round)),
        };
        let middle = |of: fn(&Round) -> &Figures| Figures {
            latency: median_of(&rounds, |round| of(round).latency),
            rate: median_of(&rounds, |round| of(round).rate),
            bandwidth_64k: median_of(&rounds, |round| of(round).bandwidth_64k),
            bandwidth_4m: median_of(&rounds, |round| of(round).bandwidth_4m),
        };
        let medians = Round {
            elastane: middle(|round| &round.elastane),
            vader: middle(|round| &round.vader),
            libfabric_shm: middle(|round| &round.libfabric_shm),
        };
        Self { format: "elastane-one-host", version: 1, ratios, medians, rounds }
    }

    fn print(&self) {
        println!("{:24}{:>12}{:>12}{:>12}{:>12}", "", "8 B", "8 B", "64 KiB", "4 MiB");
        let Round { elastane, vader, libfabric_shm } = &self.medians;
        for (name, f) in
            [("elastane", elastane), ("vader", vader), ("libfabric shm", libfabric_shm)]
        {
            println!(
                "{name:24}{:>9.0} ns{:>8.2} M/s{:>7.1} GB/s{:>7.1} GB/s",
                f.latency * 1e9,
                f.rate / 1e6,
                f.bandwidth_64k / 1e9,
                f.bandwidth_4m / 1e9
            );
        }
        let ratios = &self.ratios;
        println!("8 B latency over vader's {:.2}", ratios.latency_over_vader);
        println!("8 B rate over libfabric shm's {:.2}", ratios.rate_over_libfabric_shm);
        println!("64 KiB bandwidth over the better's {:.2}", ratios.bandwidth_64k_over_best);
        println!("4 MiB bandwidth over the better's {:.2}", ratios.bandwidth_4m_over_best);
    }
}

fn median_of(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
