//! mpi4py's own tests: whatever passes over libfabric's `tcp` passes over the provider.

use std::{collections::BTreeSet, fs};

use crate::job::{Job, Mpi, Over, installed};

/// Some of its modules, by pattern: those that exchange most kinds of messages. The whole takes
/// minutes, and mostly tests the MPI.
const MODULES: [&str; 6] =
    ["p2p_buf", "p2p_obj_matched", "cco_obj$", "cco_nb_vec", "rma_nb", "util_pkl5"];

/// The names of the tests that passed in each rank.
fn passed(mpi: Mpi, over: Over, ranks: u32) -> Vec<BTreeSet<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    // What `tcp` has not come to by then is not asked of the provider either.
    let bound = if over == Over::Tcp { 40 } else { 200 };
    let job = Job { mpi, over, ranks, hosts: None, folder: folder.path(), bound };
    let python = mpi.bin().join("python");
    let main = installed("mpi4py/test/main.py");
    // Each rank says what it ran on standard error.
    let script = "exec \"$@\" 2>\"printed.${PMI_RANK:-$OMPI_COMM_WORLD_RANK}\"";
    let mut arguments = vec!["-c", script, "sh"];
    arguments.extend([python.to_str().expect("UTF-8"), main.to_str().expect("UTF-8"), "-v"]);
    arguments.extend(MODULES.iter().flat_map(|pattern| ["-i", pattern]));
    let finished = job.run("/bin/sh".as_ref(), &arguments);
    // A rank that is alone sends nothing through it.
    if over == Over::Elastane && ranks > 1 {
        let all = format!("{ranks} of {ranks} ranks used elastane");
        assert!(finished.stderr.contains(&all), "{job:?}: {finished:#?}");
    }
    let read = |rank: u32| {
        let printed = fs::read_to_string(folder.path().join(format!("printed.{rank}")));
        let printed = printed.unwrap_or_else(|error| panic!("rank {rank}, {finished:?}: {error}"));
        let ended = printed.lines().any(|line| line.starts_with("Ran "));
        assert!(
            ended || over == Over::Tcp,
            "{job:?}: rank {rank} did not come to the end: {printed}"
        );
        let names = printed.lines().filter_map(|line| line.strip_suffix(" ... ok"));
        names.map(str::to_owned).collect()
    };
    (0..ranks).map(read).collect()
}

#[track_caller]
fn passes_what_tcp_passes(mpi: Mpi, ranks: u32) {
    let reference = passed(mpi, Over::Tcp, ranks);
    let over_provider = passed(mpi, Over::Elastane, ranks);
    for (rank, (reference, provider)) in reference.iter().zip(&over_provider).enumerate() {
        assert!(reference.len() > 50, "{mpi:?}, rank {rank}: {reference:?}");
        let lost: Vec<_> = reference.difference(provider).collect();
        assert!(lost.is_empty(), "{mpi:?}, rank {rank} of {ranks} fails: {lost:#?}");
    }
}

#[test]
fn open_mpi_passes_with_two_ranks() {
    passes_what_tcp_passes(Mpi::OpenMpi5, 2);
}

#[test]
fn mpich_passes_with_one_rank() {
    passes_what_tcp_passes(Mpi::Mpich, 1);
}

#[test]
fn mpich_passes_with_three_ranks() {
    passes_what_tcp_passes(Mpi::Mpich, 3);
}
