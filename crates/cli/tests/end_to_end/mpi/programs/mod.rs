//! Programs in C that verify what an MPI does, over the provider itself: in one host, between two
//! hosts, and over parallel paths between them. The MPIs' own shared memory is switched off, so
//! that every byte goes by libfabric.

mod job;

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::Mpi;
use crate::provider_library::library;
use job::{Job, Place};

/// How many ranks run where; parallel paths are for the programs that send most.
const PLACES: [(Place, u32); 3] =
    [(Place::OneHost, 3), (Place::TwoHosts, 4), (Place::Multipath, 4)];
const OVER_MANY_PATHS: [&str; 6] =
    ["collectives", "flood", "irregular", "large", "locks", "threads"];

/// What an MPI cannot do over libfabric's own `tcp` either, as `docs/mpi.md` tells users: Open MPI
/// 4's children on another host fail in `MPI_Init` ("PML add procs failed").
const BEYOND_THE_MPI: [(Mpi, &str, Place); 1] = [(Mpi::Debian, "spawn", Place::TwoHosts)];

/// Runs the program everywhere.
#[track_caller]
fn passes(mpi: Mpi, program: &str) {
    let library = library();
    for (place, ranks) in PLACES {
        if place == Place::Multipath && !OVER_MANY_PATHS.contains(&program) {
            continue;
        }
        if BEYOND_THE_MPI.contains(&(mpi, program, place)) {
            eprintln!("{program}, {mpi:?}, {place:?}: beyond the MPI");
            continue;
        }
        let finished = Job::new(mpi, program, place).run(&library, ranks);
        let what = format!("{program}, {mpi:?}, {place:?}, {ranks} ranks: {finished:#?}");
        assert_eq!(finished.status, 0, "{what}");
        assert!(finished.stdout.lines().any(|line| line == "passed"), "{what}");
        let used = if program == "spawn" {
            format!("processes of {ranks} ranks used elastane")
        } else {
            format!("{ranks} of {ranks} ranks used elastane")
        };
        assert!(finished.stderr.contains(&used), "{what}");
    }
}

/// A rank is killed: the job ends with an error, and by itself.
#[track_caller]
fn ends_without_a_rank(mpi: Mpi) {
    let library = library();
    for (place, ranks) in [(Place::OneHost, 3), (Place::TwoHosts, 4)] {
        let before = files_of_mpich();
        let finished = Job::new(mpi, "killed", place).run(&library, ranks);
        // MPICH leaves them where a rank was killed, with any provider.
        files_of_mpich().difference(&before).for_each(|file| drop(fs::remove_file(file)));
        let what = format!("{mpi:?}, {place:?}, {ranks} ranks: {finished:#?}");
        assert_ne!(finished.status, 0, "{what}");
        assert!(finished.stdout.lines().any(|line| line == "killed"), "{what}");
        assert!(!finished.stderr.contains("hangs while"), "{what}");
    }
}

/// What jobs of MPICH keep outside of their folders while they run.
fn files_of_mpich() -> BTreeSet<PathBuf> {
    let files = ["/dev/shm", "/tmp"].into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    let paths = files.flatten().flatten().map(|entry| entry.path());
    let is_theirs = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("mpich_shm_") || name.starts_with("hydra_hwloc_xmlfile_")
    };
    paths.filter(is_theirs).collect()
}

macro_rules! with_each_mpi {
    ($($program:ident)*) => {
        with_each_mpi!(openmpi4 = Debian: $($program)*);
        with_each_mpi!(openmpi5 = Wheel: $($program)*);
        with_each_mpi!(mpich = Mpich: $($program)*);
        with_each_mpi!(intel = Intel: $($program)*);
    };
    ($module:ident = $mpi:ident: $($program:ident)*) => {
        mod $module {
            use super::{Mpi, ends_without_a_rank, passes};

            $(#[test]
            fn $program() {
                passes(Mpi::$mpi, stringify!($program));
            })*

            #[test]
            fn killed_rank_ends_the_job() {
                ends_without_a_rank(Mpi::$mpi);
            }
        }
    };
}

with_each_mpi! {
    atomics cancel collectives datatypes fence flood flush hello intercomm irregular large
    last_words locks modes overlap probe ring spawn threads truncation
}

/// The programs ask for nothing that only this provider does: libfabric's own `tcp` passes too.
#[test]
fn programs_pass_over_tcp() {
    for mpi in Mpi::ALL {
        for program in ["collectives", "fence", "modes"] {
            let finished = Job::new(mpi, program, Place::OneHost).run_over_tcp(2);
            assert_eq!(finished.status, 0, "{program}, {mpi:?}: {finished:#?}");
            assert!(
                finished.stdout.lines().any(|line| line == "passed"),
                "{program}: {finished:?}"
            );
        }
    }
}
