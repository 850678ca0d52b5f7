//! The programs that start the ranks of an MPI job.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, anyhow, bail};

use super::{Kind, is_program, path_folders, program::Linked};

/// `mpirun` or `mpiexec` of an MPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launcher {
    pub(crate) kind: Kind,
    /// As it says itself, for example `4.1.4`.
    pub(crate) version: String,
    pub(crate) path: PathBuf,
}

impl Launcher {
    /// The first number of the version.
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The folder that the MPI is installed under: above the one its programs are in.
    pub(crate) fn prefix(&self) -> Option<PathBuf> {
        // A link in the folder, Debian's alternatives, leads out of it: the folder counts.
        let folder = self.path.parent()?.canonicalize().ok()?;
        folder.parent().map(Path::to_owned)
    }

    fn describe(&self) -> String {
        format!("{} {} at {}", self.kind, self.version, self.path.display())
    }
}

/// The usual names; Debian keeps several MPIs apart by a suffix.
const NAMES: [&str; 3] = ["mpirun", "mpiexec", HYDRA];
const SUFFIXED: [&str; 2] = ["mpirun.openmpi", "mpirun.mpich"];
/// What Intel's `mpirun`, a script, starts. The script passes no signal on, and takes the first of
/// this name on the `PATH`.
const HYDRA: &str = "mpiexec.hydra";

/// The launchers in these folders, in their order.
pub(crate) fn discover(folders: &[PathBuf]) -> Vec<Launcher> {
    let mut found: Vec<Launcher> = Vec::new();
    let mut seen = Vec::new();
    for folder in folders {
        // Often /bin is /usr/bin.
        let Ok(real) = folder.canonicalize() else { continue };
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        let usual = NAMES.iter().find_map(|name| probe(&folder.join(name))).map(without_script);
        let suffixed = SUFFIXED.iter().filter_map(|name| probe(&folder.join(name)));
        let mut here: Vec<Launcher> = Vec::new();
        for launcher in usual.into_iter().chain(suffixed) {
            if !here.iter().any(|other| other.kind == launcher.kind) {
                here.push(launcher);
            }
        }
        found.append(&mut here);
    }
    found
}

/// The launcher itself where one of Intel's was found by its script.
fn without_script(launcher: Launcher) -> Launcher {
    if launcher.kind != Kind::Intel {
        return launcher;
    }
    let hydra = probe(&launcher.path.with_file_name(HYDRA));
    hydra.filter(|hydra| hydra.kind == Kind::Intel).unwrap_or(launcher)
}

/// Asks a program which MPI it belongs to.
fn probe(path: &Path) -> Option<Launcher> {
    if !is_program(path) {
        return None;
    }
    let own = path.parent().map(Path::to_owned);
    let folders = env::join_paths(own.into_iter().chain(path_folders())).ok()?;
    let mut command = Command::new(path);
    let output =
        command.arg("--version").env("PATH", folders).stdin(Stdio::null()).output().ok()?;
    let (kind, version) = identify(&String::from_utf8_lossy(&output.stdout))?;
    Some(Launcher { kind, version, path: path.to_owned() })
}

fn identify(said: &str) -> Option<(Kind, String)> {
    let word_after = |mark: &str| {
        let (_, rest) = said.split_once(mark)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    if let Some(version) = word_after("(Open MPI)") {
        return Some((Kind::OpenMpi, version));
    }
    let kind = if said.contains("Intel(R) MPI Library") {
        Kind::Intel
    } else if said.contains("HYDRA build details") {
        Kind::Mpich
    } else {
        return None;
    };
    let version = word_after("Version:").or_else(|| word_after("Version "))?;
    Some((kind, version))
}

/// The launcher for a program: of the kind that is `wanted`, if one is, and of the MPI that the
/// program is linked with, if it is; the first of those that remain.
pub(crate) fn choose(
    launchers: Vec<Launcher>,
    wanted: Option<Kind>,
    linked: Option<&Linked>,
) -> Result<Launcher> {
    if let (Some(wanted), Some(linked)) = (wanted, linked)
        && !linked.kinds.contains(&wanted)
    {
        bail!(
            "{} is linked with {}, which is none of {wanted}: leave --mpi out, or name another \
             program",
            linked.program.display(),
            linked.name
        );
    }
    let list: Vec<_> = launchers.iter().map(Launcher::describe).collect();
    let fits = |launcher: &Launcher| {
        wanted.is_none_or(|kind| kind == launcher.kind)
            && linked.is_none_or(|linked| linked.kinds.contains(&launcher.kind))
    };
    let mut fitting: Vec<_> = launchers.into_iter().filter(fits).collect();
    if let Some(library) = linked.and_then(|linked| linked.library.as_deref()) {
        // The sort is stable: the order stays where the library tells nothing.
        fitting.sort_by_key(|launcher| std::cmp::Reverse(kinship(launcher, library)));
    }
    fitting.into_iter().next().ok_or_else(|| missing(&list, wanted, linked))
}

/// How much a launcher's place has in common with the library's: the length of the folder under
/// which both are installed.
fn kinship(launcher: &Launcher, library: &Path) -> usize {
    let Some(prefix) = launcher.prefix() else { return 0 };
    if library.starts_with(&prefix) { prefix.components().count() } else { 0 }
}

fn missing(list: &[String], wanted: Option<Kind>, linked: Option<&Linked>) -> anyhow::Error {
    let found =
        if list.is_empty() { String::new() } else { format!(" (there is {})", list.join(", ")) };
    let kinds = match (wanted, linked) {
        (Some(kind), _) => vec![kind],
        (None, Some(linked)) => linked.kinds.to_vec(),
        (None, None) => Vec::new(),
    };
    let Some(&kind) = kinds.first() else {
        let install = Kind::OpenMpi.install();
        return anyhow!("no MPI: there is no mpirun and no mpiexec on the PATH; {install}");
    };
    let names: Vec<_> = kinds.iter().map(Kind::to_string).collect();
    let names = names.join(" or ");
    let why = linked.map_or_else(String::new, |linked| {
        format!("{} is linked with {}, but ", linked.program.display(), linked.name)
    });
    anyhow!("{why}no launcher of {names} is on the PATH{found}: {}", kind.install())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(kind: Kind, path: &str) -> Launcher {
        Launcher { kind, version: "5.0.2".to_owned(), path: path.into() }
    }

    fn linked(name: &str, kinds: &'static [Kind]) -> Linked {
        Linked { program: "a.out".into(), name: name.to_owned(), kinds, library: None }
    }

    #[test]
    fn launchers_are_known_by_what_they_say() {
        for (said, kind, version) in [
            ("mpirun (Open MPI) 4.1.4\n\nReport bugs to ...", Kind::OpenMpi, "4.1.4"),
            (
                "HYDRA build details:\n    Version:                    5.0.2\n    Release Date:",
                Kind::Mpich,
                "5.0.2",
            ),
            (
                "Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626 (id: b4)",
                Kind::Intel,
                "2021.18.1",
            ),
        ] {
            assert_eq!(identify(said), Some((kind, version.to_owned())));
        }
        assert_eq!(identify("prterun (PRRTE) 3.0"), None);
    }

    #[test]
    fn program_decides_and_the_path_decides_among_equals() {
        let all = vec![
            launcher(Kind::OpenMpi, "/usr/bin/mpirun"),
            launcher(Kind::Intel, "/i/bin/mpirun"),
            launcher(Kind::Mpich, "/m/bin/mpirun"),
        ];
        let first = choose(all.clone(), None, None).unwrap();
        assert_eq!(first.kind, Kind::OpenMpi);
        let either = linked("libmpi.so.12", &[Kind::Mpich, Kind::Intel]);
        assert_eq!(choose(all.clone(), None, Some(&either)).unwrap().kind, Kind::Intel);
        assert_eq!(
            choose(all.clone(), Some(Kind::Mpich), Some(&either)).unwrap().kind,
            Kind::Mpich
        );
        let error = choose(all, Some(Kind::OpenMpi), Some(&either)).unwrap_err().to_string();
        assert!(error.starts_with("a.out is linked with libmpi.so.12"), "{error}");
    }

    #[test]
    fn missing_launcher_is_named_with_what_installs_it() {
        let error = choose(Vec::new(), None, None).unwrap_err().to_string();
        assert!(error.contains("apt-get install openmpi-bin"), "{error}");
        let debian = vec![launcher(Kind::OpenMpi, "/usr/bin/mpirun")];
        let error = choose(debian.clone(), Some(Kind::Intel), None).unwrap_err().to_string();
        assert!(error.contains("pip install impi-rt"), "{error}");
        assert!(error.contains("there is Open MPI 5.0.2 at /usr/bin/mpirun"), "{error}");
        let mpich = linked("libmpi.so.12", &[Kind::Mpich, Kind::Intel]);
        let error = choose(debian, None, Some(&mpich)).unwrap_err().to_string();
        assert!(error.contains("no launcher of MPICH or Intel MPI"), "{error}");
        assert!(error.contains("pip install mpich"), "{error}");
    }
}
