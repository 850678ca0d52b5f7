//! Both sides over loopback: the control protocol, the baselines, and what happens when a side
//! leaves.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use elastane_perf::{
    ServeError, Server, Session, SessionError,
    baseline::{TcpTuning, Wait, iperf3_version},
    control::{Control, ControlError, Hello, Protocol, Request},
    load::{Contender, Shape, Test},
    session::{MeasureError, Measured},
};

/// Long enough for a receiver that a busy machine lets wait its turn.
const SHORT: Duration = Duration::from_millis(200);

/// Runs `client` against a server on loopback and checks that the server saw it leave.
fn with_server<R>(at: SocketAddr, client: impl FnOnce(&mut Session) -> R) -> R {
    let server = Server::listen(at).expect("loopback has a free port");
    let address = server.address().expect("bound");
    thread::scope(|scope| {
        let serving = scope.spawn(move || server.serve_one());
        let mut session = Session::connect(address).expect("the server listens");
        let result = client(&mut session);
        drop(session);
        serving.join().expect("no panic").expect("the client left between two tests");
        result
    })
}

fn ipv4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn tcp(streams: usize, wait: Wait) -> Contender {
    Contender::Tcp(TcpTuning { streams, wait, ..TcpTuning::system_default() })
}

fn bandwidths(measured: &Measured) -> (Option<f64>, Option<f64>) {
    let of =
        |side: &elastane_perf::control::SideOutcome| side.outcome.flow.map(|flow| flow.bandwidth());
    (of(&measured.client), of(&measured.server))
}

#[test]
fn one_way_flow_is_measured_by_the_receiver() {
    with_server(ipv4(), |session| {
        for contender in [tcp(1, Wait::Block), tcp(4, Wait::Block), Contender::UdpRaw] {
            for bytes in [1, 64, 65_536, 1 << 20] {
                let test = Test::new(Shape::OneWay, bytes, SHORT);
                let measured = session
                    .measure(&contender, &test, None)
                    .unwrap_or_else(|error| panic!("{contender:?} {bytes}: {error}"));
                let (client, server) = bandwidths(&measured);
                assert_eq!(client, None);
                let server = server.expect("the server receives");
                assert!(server > 1e3, "{contender:?} {bytes} B: {server} B/s");
                assert!(measured.client.cpu + measured.server.cpu > Duration::ZERO);
            }
        }
    });
}

#[test]
fn flows_both_ways_are_measured_by_both() {
    with_server(ipv4(), |session| {
        for streams in [1, 4] {
            let test = Test::new(Shape::BothWays, 65_536, SHORT);
            let measured =
                session.measure(&tcp(streams, Wait::Block), &test, None).expect("loopback works");
            let (client, server) = bandwidths(&measured);
            assert!(client.expect("the client receives") > 1e6);
            assert!(server.expect("the server receives") > 1e6);
        }
    });
}

#[test]
fn latency_percentiles_rise_over_ipv4_and_ipv6() {
    for at in [ipv4(), (Ipv6Addr::LOCALHOST, 0).into()] {
        with_server(at, |session| {
            for contender in [tcp(1, Wait::Block), tcp(1, Wait::Poll), Contender::UdpRaw] {
                for bytes in [1, 4096] {
                    let test = Test::new(Shape::PingPong, bytes, SHORT);
                    let measured = session
                        .measure(&contender, &test, None)
                        .unwrap_or_else(|error| panic!("{contender:?} {bytes}: {error}"));
                    let latency = measured.client.outcome.latency.expect("the client pings");
                    assert!(latency.count > 0, "{contender:?}: {latency:?}");
                    assert!(latency.min <= latency.p50 && latency.p50 <= latency.p99);
                    assert!(latency.p99 <= latency.p99_9 && latency.min > Duration::ZERO);
                }
            }
        });
    }
}

#[test]
fn windows_of_messages_are_counted_by_the_receiver() {
    with_server(ipv4(), |session| {
        for contender in [tcp(1, Wait::Block), tcp(1, Wait::Poll), Contender::UdpRaw] {
            let test = Test::new(Shape::Windows, 64, SHORT);
            let measured = session
                .measure(&contender, &test, None)
                .unwrap_or_else(|error| panic!("{contender:?}: {error}"));
            let (_, server) = bandwidths(&measured);
            assert!(server.expect("the server counts") / 64.0 > 1e3);
        }
    });
}

#[test]
fn rival_runs_beside_and_both_are_measured() {
    with_server(ipv4(), |session| {
        let test = Test::new(Shape::OneWay, 65_536, SHORT);
        let rival = TcpTuning::system_default();
        let measured = session
            .measure(&tcp(1, Wait::Block), &test, Some(&rival))
            .expect("two streams fit on loopback");
        let beside = measured.server.rival.as_ref().and_then(|outcome| outcome.flow);
        assert!(beside.expect("the rival was measured").bandwidth() > 1e6);
        assert!(bandwidths(&measured).1.expect("and so was the other") > 1e6);
    });
}

#[test]
fn transports_say_what_they_cannot_run() {
    with_server(ipv4(), |session| {
        let cannot = |contender: &Contender, shape, bytes| {
            !session.can_run(contender, &Test::new(shape, bytes, SHORT))
        };
        assert!(cannot(&Contender::UdpRaw, Shape::BothWays, 64));
        assert!(cannot(&Contender::UdpRaw, Shape::PingPong, 1 << 20));
        assert!(cannot(&tcp(4, Wait::Block), Shape::PingPong, 64));
        assert!(!cannot(&tcp(1, Wait::Block), Shape::PingPong, 1 << 20));
    });
}

#[test]
fn half_that_cannot_be_made_fails_that_test_only() {
    with_server(ipv4(), |session| {
        let unknown = TcpTuning {
            congestion: Some("no-such-control".to_owned()),
            ..TcpTuning::system_default()
        };
        let test = Test::new(Shape::OneWay, 65_536, SHORT);
        let error = session
            .measure(&Contender::Tcp(unknown.clone()), &test, None)
            .expect_err("there is no such congestion control");
        assert!(matches!(&error, MeasureError::There(_)), "{error:?}");
        assert!(error.to_string().contains("no-such-control"), "{error}");
        let error = session
            .measure(&tcp(1, Wait::Block), &test, Some(&unknown))
            .expect_err("nor for the rival");
        assert!(error.to_string().contains("no-such-control"), "{error}");
        session.measure(&tcp(1, Wait::Block), &test, None).expect("the session goes on");
    });
}

#[test]
fn iperf3_gives_its_own_figure_where_installed() {
    if iperf3_version().is_none() {
        let test = Test::new(Shape::OneWay, 131_072, SHORT);
        let error = with_server(ipv4(), |session| {
            session
                .measure(&Contender::Iperf3 { congestion: None }, &test, None)
                .expect_err("it is not installed")
        });
        assert!(error.to_string().contains("start iperf3"), "{error}");
        return;
    }
    with_server(ipv4(), |session| {
        let test = Test::new(Shape::OneWay, 131_072, Duration::from_secs(1));
        let measured = session
            .measure(&Contender::Iperf3 { congestion: None }, &test, None)
            .expect("iperf3 runs over loopback");
        assert!(bandwidths(&measured).0.expect("iperf3's client knows the sum") > 1e6);
    });
}

#[test]
fn busy_port_says_what_to_do() {
    let taken = TcpListener::bind(ipv4()).expect("loopback has a free port");
    let address = taken.local_addr().expect("bound");
    let error = Server::listen(address).expect_err("the port is taken");
    assert!(matches!(error, ServeError::PortInUse(_)));
    assert!(error.to_string().ends_with("is in use; choose another"), "{error}");
}

#[test]
fn address_of_another_host_is_refused() {
    let elsewhere = (Ipv4Addr::new(192, 0, 2, 77), 0).into();
    let error = Server::listen(elsewhere).expect_err("not an address of this host");
    assert!(matches!(error, ServeError::NotOurs(_)), "{error}");
}

#[test]
fn port_nobody_listens_on_says_to_start_a_server() {
    let free = TcpListener::bind(ipv4()).expect("loopback has a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let error = Session::connect(address).expect_err("nobody listens");
    assert!(matches!(error, SessionError::Refused(_)), "{error}");
    assert!(error.to_string().contains("elastane serve"), "{error}");
}

#[test]
fn stranger_at_either_end_is_recognised() {
    let stranger = TcpListener::bind(ipv4()).expect("loopback has a free port");
    let address = stranger.local_addr().expect("bound");
    let greeting = thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("a client comes");
        stream.write_all(b"220 mail.example ESMTP\r\n").expect("it listens");
        let mut rest = Vec::new();
        // Ends with an error if the client resets the connection, which is as well.
        drop(stream.read_to_end(&mut rest));
    });
    let error = Session::connect(address).expect_err("that is a mail server");
    assert!(matches!(error, SessionError::Control(ControlError::Foreign { .. })), "{error}");
    greeting.join().expect("no panic");

    let server = Server::listen(ipv4()).expect("loopback has a free port");
    let address = server.address().expect("bound");
    let serving = thread::spawn(move || server.serve_one());
    let mut browser = TcpStream::connect(address).expect("the server listens");
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    let error = serving.join().expect("no panic").expect_err("that was a browser");
    assert!(matches!(error, ServeError::Client(ControlError::Foreign { .. })), "{error}");
}

#[test]
fn other_version_is_named() {
    let newer = TcpListener::bind(ipv4()).expect("loopback has a free port");
    let address = newer.local_addr().expect("bound");
    let greeting = thread::spawn(move || {
        let (mut stream, _) = newer.accept().expect("a client comes");
        let hello =
            Hello { version: Protocol::COMPARE.version + 1, ..Hello::from(Protocol::COMPARE) };
        let body = serde_json::to_vec(&hello).expect("plain data");
        let length = u32::try_from(body.len()).expect("short");
        stream.write_all(&[&length.to_le_bytes()[..], &body].concat()).expect("it listens");
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let error = Session::connect(address).expect_err("another version");
    assert!(error.to_string().contains("run the same elastane on both"), "{error}");
    greeting.join().expect("no panic");
}

#[test]
fn client_that_vanishes_in_mid_test_ends_the_server_with_an_error() {
    let server = Server::listen(ipv4()).expect("loopback has a free port");
    let address = server.address().expect("bound");
    let serving = thread::spawn(move || server.serve_one());
    let stream = TcpStream::connect(address).expect("the server listens");
    let (mut control, _) = Control::open(stream, Protocol::COMPARE).expect("same version");
    let prepare = Request::Prepare {
        contender: tcp(1, Wait::Block),
        test: Test::new(Shape::OneWay, 64, SHORT),
        rival: None,
    };
    control.send(&prepare).expect("the server reads");
    drop(control);
    let error = serving.join().expect("no panic").expect_err("the client is gone");
    assert!(matches!(error, ServeError::Client(ControlError::Vanished { .. })), "{error}");
}

#[test]
fn server_that_vanishes_ends_the_session_with_an_error() {
    let listener = TcpListener::bind(ipv4()).expect("loopback has a free port");
    let address = listener.local_addr().expect("bound");
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client comes");
        let (mut control, _) = Control::open(stream, Protocol::COMPARE).expect("same version");
        control.receive::<Request>(None).expect("the client asks for a test");
    });
    let mut session = Session::connect(address).expect("it listens");
    let test = Test::new(Shape::OneWay, 64, SHORT);
    let error = session.measure(&Contender::UdpRaw, &test, None).expect_err("it left");
    assert!(matches!(error, MeasureError::Control(ControlError::Vanished { .. })), "{error}");
    serving.join().expect("no panic");
}
