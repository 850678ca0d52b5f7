//! Endings before the end: nothing is left behind.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::running::{
    BOUND, Running, arguments_of, descendants, elastane, eventually, is_inhabited, is_running,
    network_of, timed,
};

/// How long what is left behind may take to go.
const SOON: Duration = Duration::from_secs(10);

/// A comparison in the midst of measuring, with its processes and their networks.
struct Midway {
    running: Running,
    processes: Vec<nix::unistd::Pid>,
    networks: Vec<String>,
}

impl Midway {
    fn start(arguments: &[&str]) -> Self {
        let running = Running::start(elastane(arguments));
        let mut processes = Vec::new();
        eventually("both sides run", BOUND, || {
            processes = descendants(running.id());
            let is_side = |wanted| processes.iter().any(|id| arguments_of(*id).contains(wanted));
            is_side("measure") && is_side("serve")
        });
        let ours = network_of(running.id());
        let networks = processes.iter().filter_map(|id| network_of(*id));
        let networks = networks.filter(|network| Some(network) != ours.as_ref()).collect();
        Self { running, processes, networks }
    }

    #[track_caller]
    fn leaves_nothing(processes: &[nix::unistd::Pid], networks: &[String]) {
        eventually("every process is gone", SOON, || !processes.iter().any(|id| is_running(*id)));
        eventually("every network is empty", SOON, || !networks.iter().any(|n| is_inhabited(n)));
    }
}

#[test]
fn interrupt_ends_it_at_once_and_leaves_nothing() {
    for arguments in
        [&["compare", "--hosts", "namespaces"][..], &["compare", "--hosts", "loopback"]]
    {
        let Midway { running, processes, networks } = Midway::start(arguments);
        assert_eq!(networks.is_empty(), arguments.contains(&"loopback"));
        running.signal(Signal::SIGINT);
        let (finished, took) = timed(|| running.finish());
        assert_eq!(finished.status, 130, "{finished:?}");
        assert_eq!(finished.stdout, "", "{finished:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        Midway::leaves_nothing(&processes, &networks);
    }
}

#[test]
fn killed_comparison_leaves_nothing() {
    for arguments in
        [&["compare", "--hosts", "namespaces"][..], &["compare", "--hosts", "loopback"]]
    {
        let Midway { running, processes, networks } = Midway::start(arguments);
        running.signal(Signal::SIGKILL);
        assert_eq!(running.finish().status, -1);
        Midway::leaves_nothing(&processes, &networks);
    }
}

#[test]
fn killed_server_is_an_error() {
    let Midway { running, processes, networks } = Midway::start(&["compare"]);
    let server = processes.iter().find(|id| arguments_of(**id).contains("serve"));
    kill(*server.expect("it runs"), Signal::SIGKILL).expect("it runs");
    let finished = running.finish();
    assert_eq!(finished.status, 2, "{finished:?}");
    let error = finished.stderr.lines().last().expect("an error");
    assert!(error.starts_with("elastane: flat was not measured: "), "{finished:?}");
    Midway::leaves_nothing(&processes, &networks);
}
