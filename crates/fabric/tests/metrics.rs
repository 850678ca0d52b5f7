//! What a live endpoint publishes, as those who scrape it see it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use elastane_fabric::{
    Buffer, Bytes, DatagramEndpoint, Event, Metrics, MetricsPort, Options, PeerRoute, RdmEndpoint,
    SharedMemory, SrdEndpoint, TagMatch,
};

const MESSAGES: u64 = 50;
const MESSAGE_BYTES: u64 = 3000;

fn options() -> Options {
    let mut options = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
    options.metrics = Metrics::On(MetricsPort::Auto);
    // What is published of the transport is about the network.
    options.shared_memory = SharedMemory::Never;
    options
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).expect("it is open");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    (head.to_owned(), body.to_owned())
}

/// A sample of the text: its name, its labels in order, its value.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads the OpenMetrics text as its specification has it, as far as endpoints use it. Panics
/// where it is not kept to.
fn parse(text: &str) -> Vec<Sample> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    let (mut samples, mut seen) = (Vec::new(), Vec::new());
    let mut family: Option<(String, String)> = None;
    for line in body.lines() {
        assert_eq!(line, line.trim(), "stray space");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let [kind, name, rest] = [(); 3].map(|()| words.next().expect("three words"));
            assert!(is_name(name), "{line}");
            match kind {
                "HELP" => assert!(!rest.is_empty(), "{line}"),
                "TYPE" => {
                    assert!(matches!(rest, "counter" | "gauge" | "info"), "{line}");
                    assert!(!seen.contains(&name.to_owned()), "{name} comes twice");
                    seen.push(name.to_owned());
                    family = Some((name.to_owned(), rest.to_owned()));
                }
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                other => panic!("# {other} is no metadata"),
            }
            continue;
        }
        let sample = parse_sample(line);
        let (name, kind) = family.as_ref().expect("a type before its samples");
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert_eq!(sample.name, format!("{name}{suffix}"), "{line}");
        assert!(kind != "counter" || sample.value >= 0.0, "{line}");
        assert!(
            !samples.iter().any(|other: &Sample| {
                other.name == sample.name && other.labels == sample.labels
            }),
            "{line} comes twice"
        );
        samples.push(sample);
    }
    samples
}

/// `name{label="value",...} number`.
fn parse_sample(line: &str) -> Sample {
    let (name, rest) = line.split_once('{').expect("every sample has labels");
    let (labels, value) = rest.rsplit_once("} ").expect("labels end");
    assert!(is_name(name), "{line}");
    let labels = labels.split("\",").map(|label| {
        let (label, value) = label.split_once("=\"").expect("a label has a value");
        assert!(is_name(label), "{line}");
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    let labels = labels.collect();
    Sample { name: name.to_owned(), labels, value: value.parse().expect("a number") }
}

/// Sends messages from one to the other until all are complete on both sides.
fn exchange(from: &mut RdmEndpoint, to: &mut RdmEndpoint) {
    let peer = from.peer(to.address()).expect("room for one");
    let data = Bytes::from(vec![7; usize::try_from(MESSAGE_BYTES).expect("it is small")]);
    for context in 0..MESSAGES {
        let buffer = Buffer::zeroed(data.len());
        to.receive(buffer, None, TagMatch::Untagged, context).expect("room for it");
        from.send(peer, data.clone(), context).expect("room for it");
    }
    let (mut sent, mut received) = (0, 0);
    while (sent, received) != (MESSAGES, MESSAGES) {
        for endpoint in [&mut *from, &mut *to] {
            if let Some(completion) = endpoint.poll().expect("the device works") {
                match completion.event {
                    Event::Sent => sent += 1,
                    _ => received += 1,
                }
            }
        }
    }
}

/// Whether what is published says of all operations that they ended.
fn has_ended(published: &inspect::live::Endpoint, endpoint: &RdmEndpoint) -> bool {
    let operations = endpoint.operations();
    [("sends_completed", operations.sends), ("receives_completed", operations.receives)]
        .iter()
        .all(|(name, tally)| published.operations.get(*name) == Some(&tally.completed))
}

/// Waits, in all, until what happened last is put up.
fn settle<const N: usize>(endpoints: [&mut RdmEndpoint; N]) {
    for endpoint in endpoints {
        let source = endpoint.metrics_address().expect("it is published").into();
        let mut is_current = false;
        for _ in 0..200 {
            assert!(
                endpoint.wait(Some(Duration::from_millis(20))).expect("it is published").is_none()
            );
            let document = inspect::watch::fetch(&source).expect("it is published");
            let ours = document.endpoints.iter().find(|ours| ours.address == endpoint.address());
            let published = serde_json::to_value(&ours.expect("it is published").transport)
                .expect("it is published");
            is_current = published
                == serde_json::to_value(endpoint.transport().counters()).expect("it is published")
                && ours.is_some_and(|ours| has_ended(ours, endpoint));
            if is_current {
                break;
            }
        }
        assert!(is_current, "the last snapshot is never put up");
    }
}

#[test]
fn scraped_text_is_well_formed_and_agrees_with_the_endpoints() {
    let mut sender = RdmEndpoint::open(&options()).unwrap();
    let mut receiver = RdmEndpoint::open(&options()).unwrap();
    exchange(&mut sender, &mut receiver);
    settle([&mut sender, &mut receiver]);

    let address = sender.metrics_address().unwrap();
    assert_eq!(receiver.metrics_address(), Some(address));
    let (head, text) = get(address, "/metrics");
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    let samples = parse(&text);
    let value = |name: &str, endpoint: SocketAddr| {
        let endpoint = endpoint.to_string();
        let of_it =
            |sample: &&Sample| sample.name == name && sample.label("endpoint") == Some(&endpoint);
        let found: Vec<_> = samples.iter().filter(of_it).collect();
        let [sample] = found[..] else { panic!("{name}: {found:?}") };
        sample.value
    };
    let [tx, rx] = [sender.address(), receiver.address()];
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let payload = (MESSAGES * MESSAGE_BYTES) as f64;
    assert!(value("elastane_transport_tx_bytes_total", tx) >= payload);
    assert!(value("elastane_device_rx_bytes_total", rx) >= payload);
    assert!(value("elastane_device_tx_bytes_total", tx) < 2.0 * payload);
    let sent = f64::from(u32::try_from(sender.transport().counters().tx_pkts).unwrap());
    assert_eq!(value("elastane_transport_tx_pkts_total", tx), sent);
    assert_eq!(value("elastane_transport_rx_pkts_total", rx), sent);
    let expected = value("elastane_messages_expected_messages_total", rx);
    let unexpected = value("elastane_messages_unexpected_messages_total", rx);
    assert_eq!(expected + unexpected, 50.0);
    assert_eq!(value("elastane_endpoint_sends", tx), 0.0);
    assert_eq!(value("elastane_endpoint_peers", tx), 1.0);
    assert!(value("elastane_peer_rtt_seconds", tx) > 0.0);
    let paths = samples.iter().filter(|sample| {
        sample.name == "elastane_path_good" && sample.label("endpoint") == Some(&tx.to_string())
    });
    assert_eq!(paths.map(|sample| sample.value).sum::<f64>(), 16.0);
}

#[test]
fn peer_of_this_host_is_published_with_its_link_and_operations() {
    let mut options = options();
    options.shared_memory = SharedMemory::Automatic;
    let mut sender = RdmEndpoint::open(&options).unwrap();
    let mut receiver = RdmEndpoint::open(&options).unwrap();
    let peer = sender.peer(receiver.address()).unwrap();
    // The first messages go by UDP until the peer has answered.
    for _ in 0..200 {
        exchange(&mut sender, &mut receiver);
        if sender.route(peer) == PeerRoute::SharedMemory {
            break;
        }
    }
    exchange(&mut sender, &mut receiver);
    settle([&mut sender, &mut receiver]);
    let source = sender.metrics_address().unwrap().into();
    let document = inspect::watch::fetch(&source).unwrap();
    let [tx, rx] = [sender.address(), receiver.address()]
        .map(|at| document.endpoints.iter().find(|found| found.address == at).unwrap());
    let [described] = &tx.peers[..] else { panic!("{:?}", tx.peers) };
    assert_eq!(described.transport, inspect::live::SHARED_MEMORY, "{described:?}");
    let link = described.link.as_ref().unwrap();
    assert!(link.counters["tx_bytes"] >= MESSAGES * MESSAGE_BYTES, "{link:?}");
    assert_eq!(tx.shared_memory["tx_records"], link.counters["tx_records"]);
    assert_eq!(tx.shared_memory["tx_records"], rx.shared_memory["rx_records"]);
    assert_eq!(link.waiting_records, 0, "all is done");
    assert!(tx.operations["sends_completed"] >= 2 * MESSAGES, "{:?}", tx.operations);
    assert_eq!(tx.operations["sends_completed"], rx.operations["receives_completed"]);
    parse(&get(sender.metrics_address().unwrap(), "/metrics").1);

    drop(receiver);
    while sender.route(peer) == PeerRoute::SharedMemory {
        sender.poll().unwrap();
    }
    settle([&mut sender]);
    let after = inspect::watch::fetch(&source).unwrap().endpoints.remove(0);
    assert_eq!(after.shared_memory["links"], 1, "what was carried stays counted");
    assert_eq!(after.shared_memory["tx_bytes"], tx.shared_memory["tx_bytes"]);
}

#[test]
fn process_is_found_by_its_number_until_its_last_endpoint_is_gone() {
    let mut rdm = RdmEndpoint::open(&options()).unwrap();
    let mut srd = SrdEndpoint::open(&options()).unwrap();
    let mut dgram = DatagramEndpoint::open(&options()).unwrap();
    assert!(rdm.poll().unwrap().is_none());
    assert!(srd.poll().unwrap().is_none());
    assert!(dgram.poll().unwrap().is_none());

    let found = inspect::announce::find(std::process::id()).unwrap();
    assert_eq!(Some(found.port), rdm.metrics_address().map(|address| address.port()));
    let source = inspect::watch::Source::new("127.0.0.1", found.port);
    let document = inspect::watch::fetch(&source).unwrap();
    let kinds: Vec<_> = document.endpoints.iter().map(|found| found.kind.as_str()).collect();
    assert_eq!(kinds, ["rdm", "srd", "dgram"]);
    assert_eq!(document.endpoints[1].address, srd.address());
    drop((rdm, srd));
    assert_eq!(inspect::watch::fetch(&source).unwrap().endpoints.len(), 1);
    drop(dgram);
    assert_eq!(inspect::announce::find(std::process::id()), None);
    // The thread that served may take a moment to close the port.
    let is_closed = |_| {
        let after = inspect::watch::fetch(&source);
        matches!(after, Err(inspect::watch::WatchError::Refused(_)))
    };
    assert!((0..100_000).any(is_closed), "the port stays open");
}

#[test]
fn endpoint_without_metrics_opens_no_port() {
    let mut silent = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
    silent.metrics = Metrics::Off;
    let endpoint = RdmEndpoint::open(&silent).unwrap();
    assert_eq!(endpoint.metrics_address(), None);
}

#[test]
fn port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut options = options();
    options.metrics = Metrics::On(MetricsPort::Number(port));
    let error = RdmEndpoint::open(&options).unwrap_err().to_string();
    let expected = format!(
        "metrics port {port} is in use; choose another, or auto, which takes any that is free"
    );
    assert_eq!(error, expected);
}
