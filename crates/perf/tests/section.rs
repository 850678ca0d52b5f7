//! Whole sections over loopback, driven directly and through a process's pipes.

use std::{
    io::BufReader,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use elastane_perf::{
    Event, FabricTuning, Fault, FaultControl, Job, Metric, Network, RelayError, Section,
    SectionReport, Server, Session, Transport,
    load::{Shape, Test},
    plan::{Condition, Step, Trial},
    relay,
    run::{FaultError, NoFaults, run_section},
};

/// Long enough for a receiver that a busy machine lets wait its turn.
const SHORT: Duration = Duration::from_millis(150);

/// Remembers what it was told to do.
#[derive(Default)]
struct Witness(Vec<Fault>);

impl FaultControl for Witness {
    fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
        self.0.push(fault);
        Ok(())
    }
}

fn section(network: Network, condition: Condition, steps: Vec<Step>) -> Section {
    Section {
        provider: None,
        network,
        condition,
        steps,
        trial: Trial { duration: SHORT, rounds: 1 },
        iperf3: None,
        fabric: FabricTuning::default(),
    }
}

fn step(shape: Shape, bytes: u64, transports: &[Transport], metrics: &[Metric]) -> Step {
    Step {
        test: Test::new(shape, bytes, SHORT),
        transports: transports.to_vec(),
        rounds: 2,
        metrics: metrics.to_vec(),
    }
}

fn measure(
    section: &Section,
    faults: &mut (dyn FaultControl + Send),
) -> (SectionReport, Vec<Event>) {
    let server = Server::listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = server.address().expect("bound");
    thread::scope(|scope| {
        let serving = scope.spawn(move || server.serve_one());
        let mut session = Session::connect(address).expect("the server listens");
        let mut events = Vec::new();
        let report = run_section(&mut session, section, faults, &mut |event| events.push(event));
        drop(session);
        serving.join().expect("no panic").expect("the client left between two tests");
        (report.expect("loopback works"), events)
    })
}

fn row(
    report: &SectionReport,
    transport: Transport,
    metric: Metric,
) -> &elastane_perf::report::Row {
    let mut rows = report.results.iter();
    let found = rows.find(|row| row.transport == transport && row.metric == metric);
    found.unwrap_or_else(|| panic!("no {transport:?} {metric:?} in {report:?}"))
}

#[test]
fn undisturbed_section_has_a_row_for_every_figure() {
    let all = [Transport::Tcp, Transport::TcpDefault, Transport::Tcp4, Transport::UdpRaw];
    let section = section(
        Network::Flat,
        Condition::Undisturbed,
        vec![
            step(Shape::OneWay, 65_536, &all, &[Metric::Bandwidth, Metric::CpuPerGb]),
            step(Shape::BothWays, 65_536, &all, &[Metric::BidirectionalBandwidth]),
            step(Shape::PingPong, 64, &all, &[Metric::LatencyP50, Metric::LatencyP99_9]),
            step(Shape::Windows, 64, &all, &[Metric::MessageRate]),
        ],
    );
    let (report, events) = measure(&section, &mut NoFaults);
    for transport in all {
        for metric in [Metric::Bandwidth, Metric::CpuPerGb] {
            let row = row(&report, transport, metric);
            assert!(row.value > 0.0 && row.samples.len() == 2, "{row:?}");
        }
    }
    let latency = row(&report, Transport::UdpRaw, Metric::LatencyP50);
    assert!(latency.min.expect("the shortest") <= latency.value);
    assert!(row(&report, Transport::Tcp, Metric::MessageRate).value > 1e3);
    let both = |transport| {
        report
            .results
            .iter()
            .any(|row| row.transport == transport && row.metric == Metric::BidirectionalBandwidth)
    };
    assert!(both(Transport::Tcp4) && !both(Transport::UdpRaw));

    let Some(Event::Began { tests }) = events.first() else { panic!("{events:?}") };
    let tested = events.iter().filter(|event| **event == Event::Tested).count();
    assert_eq!(tested, *tests, "the bar ends full");
    assert!(report.notes.iter().any(|note| note.starts_with("tcp for bandwidth is")));
}

#[test]
fn lossy_section_measures_in_turn_without_loss() {
    let steps = vec![step(Shape::OneWay, 65_536, &[Transport::TcpDefault], &[Metric::Bandwidth])];
    let section = section(Network::Loss1, Condition::Loss { percent: 1.0 }, steps);
    let mut witness = Witness::default();
    let (report, events) = measure(&section, &mut witness);
    let row = row(&report, Transport::TcpDefault, Metric::Bandwidth);
    assert!(row.undisturbed.expect("measured in turn") > 0.0 && row.samples.len() == 2);
    let Witness(told) = witness;
    let expected: Vec<Fault> = [1.0, 0.0, 1.0, 0.0, 1.0].map(Fault::Loss).to_vec();
    assert_eq!(told, expected);
    assert_eq!(events.first(), Some(&Event::Began { tests: 4 }));
}

#[test]
fn paths_are_cut_while_messages_flow() {
    let paths = 2;
    let (cut, whole) = (Duration::from_millis(20), Duration::from_millis(10));
    let steps =
        vec![step(Shape::OneWay, 65_536, &[Transport::TcpDefault], &[Metric::LongestStall])];
    let condition = Condition::CutEachPath { paths, cut, whole };
    let mut witness = Witness::default();
    let (report, _) = measure(&section(Network::PathCut, condition, steps), &mut witness);
    assert!(row(&report, Transport::TcpDefault, Metric::LongestStall).value > 0.0);
    let Witness(told) = witness;
    for path in 0..paths {
        let count = |fault| told.iter().filter(|one| **one == fault).count();
        assert_eq!(count(Fault::CutPath(path)), 2, "once in each round: {told:?}");
        assert_eq!(count(Fault::RestorePath(path)), 2, "{told:?}");
    }
}

#[test]
fn shared_link_reports_both_shares() {
    let steps = vec![step(Shape::OneWay, 65_536, &[Transport::UdpRaw], &[Metric::Bandwidth])];
    let section = section(Network::SharedLink, Condition::TcpBeside, steps);
    let (report, _) = measure(&section, &mut NoFaults);
    if report.results.is_empty() {
        let refused = report.notes.iter().any(|note| note.contains("cubic is not available"));
        assert!(refused, "{:?}", report.notes);
        return;
    }
    assert!(row(&report, Transport::UdpRaw, Metric::Bandwidth).value > 0.0);
    assert!(row(&report, Transport::Tcp, Metric::Bandwidth).value > 0.0);
}

/// A client behind pipes, as a process would be.
fn delegated(
    server: SocketAddr,
    section: Section,
    faults: &mut dyn FaultControl,
) -> Result<SectionReport, RelayError> {
    let (holder, client) = UnixStream::pair().expect("a socket pair");
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            let input = BufReader::new(client.try_clone().expect("a descriptor is free"));
            relay::work(input, client)
        });
        let input = BufReader::new(holder.try_clone().expect("a descriptor is free"));
        let job = Job { server, section };
        let result = relay::delegate(job, input, &holder, faults, &mut |_| ());
        client.join().expect("no panic").expect("the holder read to the end");
        result
    })
}

#[test]
fn client_behind_pipes_asks_for_faults_and_reports() {
    let server = Server::listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = server.address().expect("bound");
    let serving = thread::spawn(move || server.serve_one());
    let steps = vec![step(Shape::OneWay, 65_536, &[Transport::TcpDefault], &[Metric::Bandwidth])];
    let section = section(Network::Loss1, Condition::Loss { percent: 1.0 }, steps);
    let mut witness = Witness::default();
    let report = delegated(address, section, &mut witness).expect("loopback works");
    assert!(row(&report, Transport::TcpDefault, Metric::Bandwidth).value > 0.0);
    let Witness(told) = witness;
    assert_eq!(told.len(), 5);
    serving.join().expect("no panic").expect("the client left between two tests");
}

#[test]
fn client_behind_pipes_says_why_it_failed() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let section = section(Network::Flat, Condition::Undisturbed, Vec::new());
    let error = delegated(address, section, &mut NoFaults).expect_err("nobody listens");
    assert!(error.to_string().contains("elastane serve"), "{error}");
}

#[test]
fn client_process_that_dies_is_reported() {
    let (holder, client) = UnixStream::pair().expect("a socket pair");
    drop(client);
    let input = BufReader::new(holder.try_clone().expect("a descriptor is free"));
    let section = section(Network::Flat, Condition::Undisturbed, Vec::new());
    let job = Job { server: (Ipv4Addr::LOCALHOST, 1).into(), section };
    let error = relay::delegate(job, input, &holder, &mut NoFaults, &mut |_| ());
    assert!(matches!(error, Err(RelayError::Ended)), "{error:?}");
}

#[test]
fn one_host_is_measured_through_shared_memory_and_tcp() {
    let both = [Transport::Elastane, Transport::Tcp];
    let steps = vec![
        step(Shape::PingPong, 8, &both, &[Metric::LatencyP50]),
        step(Shape::OneWay, 1 << 20, &both, &[Metric::Bandwidth]),
    ];
    let (report, _) =
        measure(&section(Network::OneHost, Condition::Undisturbed, steps), &mut NoFaults);
    for transport in both {
        assert!(row(&report, transport, Metric::LatencyP50).value > 0.0, "{report:?}");
        assert!(row(&report, transport, Metric::Bandwidth).value > 0.0, "{report:?}");
    }
    let notes = report.notes.join("\n");
    assert!(notes.contains("the client was bound to"), "{notes}");
    assert!(!notes.contains("failed"), "{notes}");
}
