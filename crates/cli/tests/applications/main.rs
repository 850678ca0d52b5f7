//! Applications from their packages, unmodified, over the provider: Intel's MPI benchmarks, the
//! tests of mpi4py, GROMACS, LAMMPS and HPCC. MPIs' own shared memory is off, so that every byte
//! between ranks goes by libfabric.
//!
//! To be run one test at a time, as `cargo xtask test --only applications` does, which installs
//! what is run: ranks that spin take each other's processors.

#[path = "../end_to_end/provider_library.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod provider_library;

mod imb;
mod job;
mod mpi4py;
mod solvers;
