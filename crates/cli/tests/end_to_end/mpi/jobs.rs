//! Ranks that are started: what they get, how they end, what is said of them.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;

use super::{Mpi, Provider, finish};
use crate::running::{Running, descendants, eventually, is_running};

/// How long the processes of a job may take to go.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_rank_gets_the_variables_and_the_arguments() {
    let provider = Provider::build();
    let script = "echo \"$FI_PROVIDER_PATH $FI_PROVIDER $OMPI_MCA_mtl $MPIR_CVAR_CH4_NETMOD|$*\"";
    for (mpi, values) in [
        (Mpi::Debian, "elastane ofi "),
        (Mpi::Wheel, "  "),
        (Mpi::Mpich, "elastane  ofi"),
        (Mpi::Intel, "elastane  "),
    ] {
        let arguments = ["-n", "3", "sh", "-c", script, "sh", "-n", "two words"];
        let finished = finish(mpi.run(&provider, &arguments));
        let line = format!("{} {values}|-n two words", provider.linked_folder().display());
        let lines: Vec<_> = finished.success().lines().collect();
        assert_eq!(lines, [line.as_str(); 3], "{mpi:?}");
        // A shell opens no endpoint.
        assert!(finished.stderr.contains("elastane: 0 of 3 ranks opened"), "{finished:?}");
    }
}

#[test]
fn hosts_are_named_in_each_launchers_words() {
    let provider = Provider::build();
    for mpi in Mpi::ALL {
        let arguments = ["-n", "2", "--hosts", "localhost", "sh", "-c", "echo $FI_PROVIDER_PATH"];
        let finished = finish(mpi.run(&provider, &arguments));
        let line = provider.linked_folder().display().to_string();
        assert_eq!(finished.success().lines().collect::<Vec<_>>(), [&line; 2], "{mpi:?}");
        assert!(finished.stderr.contains("--reports DIR"), "{finished:?}");
    }
}

#[test]
fn exit_status_is_that_of_the_launcher() {
    let provider = Provider::build();
    for mpi in Mpi::ALL {
        let finished = finish(mpi.run(&provider, &["-n", "1", "sh", "-c", "exit 7"]));
        assert_eq!(finished.status, 7, "{mpi:?} {finished:?}");
    }
}

#[test]
fn mpis_load_the_provider_and_its_reports_are_counted() {
    let provider = Provider::build();
    let reports = tempfile::tempdir().unwrap();
    let reports = reports.path();
    for mpi in [Mpi::Wheel, Mpi::Mpich, Mpi::Intel] {
        let program = "from mpi4py import MPI; print(MPI.COMM_WORLD.size)";
        let python = mpi.python();
        let mut command = mpi.run(
            &provider,
            &["-n", "2", "--reports", reports.to_str().unwrap(), python.to_str().unwrap()],
        );
        // Without it Intel MPI needs no provider inside a host.
        command.args(["-c", program]).env("I_MPI_FABRICS", "ofi");
        let finished = finish(command);
        // The provider offers nothing: Open MPI falls back, the others cannot.
        match mpi {
            Mpi::Wheel => assert_eq!(finished.success(), "2\n2\n"),
            _ => assert!(!matches!(finished.status, 0 | 2), "{finished:?}"),
        }
        let line = finished.stderr.lines().last().unwrap();
        if mpi == Mpi::Wheel {
            assert_eq!(
                line,
                "elastane: 2 of 2 ranks used elastane 9.8.7: 6 messages, 1.00 KiB; \
                 peers: 2 by shared memory, 4 by UDP"
            );
        } else {
            assert!(line.contains("of 2 ranks used elastane 9.8.7"), "{finished:?}");
        }
        assert_eq!(fs::read_dir(reports).unwrap().count(), 0, "the folder of the run is left");
    }
}

#[test]
fn signal_reaches_the_launcher_and_nothing_is_left() {
    let provider = Provider::build();
    for mpi in Mpi::ALL {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let script = "echo $$; exec tail -f /dev/null";
            let mut running = Running::start(mpi.run(&provider, &["-n", "2", "sh", "-c", script]));
            for _ in 0..2 {
                assert!(running.line().trim().parse::<u32>().is_ok());
            }
            let processes = descendants(running.id());
            assert!(processes.len() >= 3, "{processes:?}");
            running.signal(signal);
            let finished = running.finish();
            assert_ne!(finished.status, 0, "{mpi:?} {finished:?}");
            assert!(!finished.stderr.contains("elastane: "), "{finished:?}");
            eventually("every process is gone", SOON, || {
                !processes.iter().any(|id| is_running(*id))
            });
        }
    }
}
