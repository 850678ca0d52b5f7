//! `elastane serve` and `elastane compare HOST`, as between two machines.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::running::{Running, elastane, run};

/// A server on a free port, and where it is.
fn serve(arguments: &[&str]) -> (Running, String) {
    let mut server = Running::start(elastane(&[&["serve", "--json"], arguments].concat()));
    let line: Value = serde_json::from_str(&server.line()).expect("JSON");
    let address = line["listening"]["address"].as_str().expect("an address").to_owned();
    (server, address)
}

#[test]
fn server_measures_with_a_client_and_ends_with_it() {
    for host in ["127.0.0.1", "[::1]"] {
        if TcpListener::bind(format!("{host}:0")).is_err() {
            // This machine has no IPv6.
            continue;
        }
        let (server, address) = serve(&["--listen", &format!("{host}:0")]);
        assert!(address.starts_with(host), "{address}");
        let finished = run(&["compare", &address, "--quick", "--json", "-"]);
        let document: Value = serde_json::from_str(finished.success()).expect("JSON");
        let rows = document["results"].as_array().expect("an array");
        let row = rows.iter().find(|row| {
            row["transport"] == "elastane"
                && row["metric"] == "bandwidth"
                && row["bytes"] == 1 << 20
        });
        let bandwidth = row.and_then(|row| row["value"].as_f64());
        assert!(bandwidth.is_some_and(|bandwidth| bandwidth > 0.0), "{host}: {document:#}");
        assert!(rows.iter().all(|row| row["network"] == "flat"));
        assert_eq!(document["emulated"].as_object().map(serde_json::Map::len), Some(0));
        let served = server.finish();
        let line: Value = serde_json::from_str(served.success()).expect("JSON");
        assert!(line["served"]["tests"].as_u64().is_some_and(|tests| tests > 10), "{line}");
    }
}

#[test]
fn server_says_where_it_listens_and_ends_by_interrupt() {
    let mut server = Running::start(elastane(&["serve", "--listen", "127.0.0.1:0"]));
    let line = server.line();
    assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
    server.signal(Signal::SIGINT);
    let finished = server.finish();
    assert_eq!((finished.status, finished.stderr.as_str()), (130, ""));
}

#[test]
fn busy_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let finished = run(&["serve", "--listen", &address.to_string()]);
    let port = address.port().to_string();
    assert!(
        finished.error().contains(&port) && finished.error().contains("in use"),
        "{finished:?}"
    );
    assert!(finished.error().contains("--listen"), "{finished:?}");
}

#[test]
fn foreign_address_is_named() {
    // An address for documentation: nobody has it.
    let finished = run(&["serve", "--listen", "192.0.2.1"]);
    assert!(finished.error().contains("192.0.2.1 is not an address of this host"), "{finished:?}");
}

#[test]
fn host_that_cannot_be_reached_is_named() {
    let finished = run(&["compare", "no-such-host.invalid"]);
    assert!(finished.error().contains("unknown host no-such-host.invalid"), "{finished:?}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let finished = run(&["compare", &free.to_string()]);
    assert!(finished.error().contains(&format!("nothing listens on {free}")), "{finished:?}");
    assert!(finished.error().contains("elastane serve"), "{finished:?}");
}

/// Says `greeting` to the first client, in a frame.
fn imposter(greeting: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client comes");
        client.write_all(greeting).expect("it listens");
        // Until it has enough.
        client.read_to_end(&mut Vec::new()).ok();
    });
    address
}

#[test]
fn server_of_another_kind_is_refused() {
    let finished = run(&["compare", &imposter(b"HTTP/1.1 400 Bad Request\r\n\r\n")]);
    assert!(finished.error().contains("is the other side elastane?"), "{finished:?}");
}

#[test]
fn client_that_is_none_does_not_end_a_server_that_keeps_serving() {
    let (server, address) = serve(&["--listen", "127.0.0.1:0", "--keep"]);
    for _ in 0..2 {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        client.read_to_end(&mut Vec::new()).ok();
    }
    let finished = run(&["compare", &address, "--quick", "--json", "-"]);
    finished.success();
    server.signal(Signal::SIGTERM);
    let finished = server.finish();
    assert_eq!(finished.status, 128 + 15, "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 2, "{finished:?}");
}
