//! `elastane perf`: both sides, as they are run between two hosts.

use serde_json::Value;

use crate::running::{Finished, Running, elastane, run};

/// A server of a test, and where it listens.
fn server(arguments: &[&str]) -> (Running, String) {
    let listen = ["--listen", "127.0.0.1:0"];
    let all: Vec<&str> = ["perf"].iter().chain(arguments).chain(&listen).copied().collect();
    let mut server = Running::start(elastane(&all));
    let line = server.line();
    let address = line.strip_prefix("listening on ").expect("it says where").to_owned();
    let address = address.split_whitespace().next().expect("an address").to_owned();
    (server, address)
}

/// Runs both sides. The client is given more.
fn measure(arguments: &[&str], more: &[&str]) -> (Finished, Finished) {
    let (server, address) = server(arguments);
    let to = [address.as_str()];
    let all: Vec<&str> = ["perf"].iter().chain(arguments).chain(&to).chain(more).copied().collect();
    (run(&all), server.finish())
}

fn document(finished: &Finished) -> Value {
    serde_json::from_str(finished.success()).expect("JSON")
}

#[test]
fn bandwidth_is_measured_over_fabric_and_tcp_and_every_byte_compared() {
    for transport in [&[][..], &["--tcp"]] {
        for more in [&[][..], &["-q", "3", "-b"], &["--reversed"], &["-l", "4", "-n", "100"]] {
            let mut arguments = vec!["send-bw", "-s", "1,4096,100000", "--verify"];
            if !more.contains(&"-n") {
                arguments.extend(["-n", "60"]);
            }
            arguments.extend(transport.iter().chain(more));
            let (client, server) = measure(&arguments, &["--json"]);
            assert_eq!(server.status, 0, "{arguments:?}: {server:?}");
            let document = document(&client);
            let rows = document["rows"].as_array().expect("rows");
            assert_eq!(rows.len(), 3);
            let number = |value: &Value| value.as_f64().expect("a number");
            for row in rows {
                let (bytes, messages) = (number(&row["bytes"]), number(&row["messages"]));
                let ways = if more.contains(&"-b") { 2.0 } else { 1.0 };
                let lanes = if more.contains(&"-q") { 3.0 } else { 1.0 };
                let each = if more.contains(&"-n") { 100.0 } else { 60.0 };
                assert_eq!(messages, ways * lanes * each, "{arguments:?}: {row}");
                assert_eq!(number(&row["verified_bytes"]), messages * bytes, "{row}");
                let product = number(&row["message_rate"]) * bytes;
                assert!((number(&row["bandwidth"]) / product - 1.0).abs() < 1e-9, "{row}");
                match row["peak_bandwidth"].as_f64() {
                    Some(peak) => assert!(peak * 1.01 > number(&row["bandwidth"]), "{row}"),
                    None => assert!(arguments.contains(&"--tcp"), "{row}"),
                }
                assert!(number(&row["client_cpu"]) > 0.0 && number(&row["server_cpu"]) > 0.0);
            }
        }
    }
}

#[test]
fn one_sided_operations_are_measured_and_what_they_did_is_checked() {
    for (arguments, messages, bytes) in [
        (&["write-bw", "-s", "64,100000", "-n", "300"][..], 300.0, 64.0),
        (&["write-bw", "-b", "-q", "2", "-n", "100", "-s", "4K"], 400.0, 4096.0),
        (&["write-lat", "-n", "100"], 100.0, 2.0),
        (&["read-bw", "-s", "64,100000", "-n", "300"], 300.0, 64.0),
        (&["read-lat", "-n", "100", "-s", "5000"], 100.0, 5000.0),
        (&["atomic-bw", "-n", "300"], 300.0, 8.0),
        (&["atomic-lat", "-n", "100"], 100.0, 8.0),
        (&["write-bw", "-D", "1", "--reversed"], 0.0, 65_536.0),
    ] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--verify"]).collect();
        let (client, server) = measure(&arguments, &["--json"]);
        assert_eq!(server.status, 0, "{arguments:?}: {server:?}");
        let row = &document(&client)["rows"][0];
        let number = |name: &str| row[name].as_f64().expect("a number");
        assert_eq!(number("bytes"), bytes, "{row}");
        if messages > 0.0 {
            assert_eq!(number("messages"), messages, "{arguments:?}: {row}");
        }
        assert!(number("verified_bytes") >= number("messages") * bytes, "{row}");
        assert!(number("message_rate") > 0.0 && number("server_cpu") > 0.0, "{row}");
    }
}

#[test]
fn latency_has_ordered_percentiles_on_both_transports() {
    for arguments in [
        &["send-lat", "-n", "200"][..],
        &["send-lat", "-n", "200", "--tcp", "--verify", "-s", "1000"],
        &["send-lat", "-D", "1", "-e"],
        &["send-lat", "-D", "1", "--tcp", "-e"],
    ] {
        let (client, server) = measure(arguments, &["--json"]);
        assert_eq!(server.status, 0, "{server:?}");
        let document = document(&client);
        let latency = &document["rows"][0]["latency_us"];
        let names = ["min", "median", "p90", "p99", "p99_9", "max"];
        let figures: Vec<f64> =
            names.iter().map(|name| latency[name].as_f64().expect("a number")).collect();
        assert!(figures.is_sorted() && figures[0] > 0.0, "{arguments:?}: {latency}");
        if arguments.contains(&"200") {
            assert_eq!(latency["count"], 200, "{latency}");
        }
    }
}

#[test]
fn time_bounds_a_test_on_both_transports_and_both_ways() {
    for arguments in [
        &["send-bw", "-D", "1"][..],
        &["send-bw", "-D", "1", "--tcp", "-b"],
        &["send-bw", "-D", "1", "-q", "2", "-b", "-s", "64,8192"],
    ] {
        let (client, server) = measure(arguments, &["--csv"]);
        assert_eq!(server.status, 0, "{server:?}");
        let csv = client.success();
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        let wanted = if arguments.contains(&"64,8192") { 3 } else { 2 };
        assert_eq!(rows.len(), wanted, "{csv}");
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
        let rate = rows[0].iter().position(|name| *name == "messages_per_s").expect("a column");
        assert!(rows[1..].iter().all(|row| row[rate].parse::<f64>().is_ok_and(|r| r > 0.0)));
    }
}

#[test]
fn datagrams_that_arrive_are_counted_and_the_others_too() {
    let arguments =
        ["send-bw", "--unreliable", "-n", "500", "-s", "64,1000", "--verify", "-q", "2"];
    let (client, server) = measure(&arguments, &["--json"]);
    assert_eq!(server.status, 0, "{server:?}");
    let document = document(&client);
    for row in document["rows"].as_array().expect("rows") {
        let number = |name: &str| row[name].as_f64().expect("a number");
        assert_eq!(number("messages") + number("lost"), 1000.0, "{row}");
        assert_eq!(number("verified_bytes"), number("messages") * number("bytes"), "{row}");
    }
    let (client, _) = measure(&["send-lat", "--unreliable", "-n", "200"], &[]);
    assert!(client.success().contains("send-lat over unreliable datagrams"), "{client:?}");
    let (client, server) = measure(&["send-bw", "--unreliable", "-s", "64,1M"], &[]);
    assert!(client.error().contains("-s 1048576: a message to this host holds"), "{client:?}");
    assert_eq!(server.status, 2, "{server:?}");
}

#[test]
fn sides_run_on_the_cpus_they_are_bound_to_and_no_faster_than_they_may() {
    let (server, address) = server(&["send-bw", "-n", "100", "-s", "10000", "--rate", "40M"]);
    let client = ["perf", "send-bw", "-n", "100", "-s", "10000", "--rate", "40M", "--cpu", "0"];
    let arguments: Vec<&str> = client.into_iter().chain([address.as_str(), "--json"]).collect();
    let row = &document(&run(&arguments))["rows"][0];
    assert_eq!(server.finish().status, 0);
    assert_eq!(row["client_on_cpu"], 0, "{row}");
    // The first message is not waited for.
    let bandwidth = row["bandwidth"].as_f64().expect("a number");
    assert!(bandwidth > 0.0 && bandwidth * 0.99 <= 5e6 * 1.01, "{row}");
}

#[test]
fn remote_data_is_measured() {
    for arguments in
        [["write-bw", "--remote-data", "-n", "200"], ["send-bw", "--remote-data", "-n", "200"]]
    {
        let (client, server) = measure(&arguments, &["--json", "--verify"]);
        assert!(client.stderr.contains("data verification"), "{client:?}");
        assert_eq!(server.status, 2);
        let (client, server) = measure(&[&arguments[..], &["--verify"]].concat(), &["--json"]);
        assert_eq!(server.status, 0, "{server:?}");
        assert_eq!(document(&client)["rows"][0]["messages"], 200);
    }
}

#[test]
fn table_has_the_figures_of_both_sides() {
    let (client, server) = measure(&["send-bw", "-n", "50", "-s", "4K"], &[]);
    let table = client.success();
    for words in ["send-bw over fabric", "4 KiB", "b/s", "CPU client", "user and system time"] {
        assert!(table.contains(words), "{table}");
    }
    assert!(!table.contains('\x1b'), "{table}");
    assert_eq!(server.success().lines().filter(|line| line.contains("4 KiB")).count(), 1);
}

#[test]
fn sides_that_differ_say_in_what() {
    let (server, address) = server(&["send-bw", "-s", "64", "-q", "2"]);
    let client = run(&["perf", "send-bw", &address, "-s", "128", "-q", "2"]);
    assert!(client.error().contains("message size (-s, -a) (128 here, 64 there)"), "{client:?}");
    let server = server.finish();
    assert_eq!(server.status, 2, "{server:?}");
    assert!(server.stderr.contains("(64 here, 128 there)"), "{server:?}");
}

#[test]
fn side_whose_peer_dies_ends_with_an_error() {
    let (server, address) = server(&["send-bw", "-D", "60"]);
    let client = Running::start(elastane(&["perf", "send-bw", &address, "-D", "60"]));
    crate::running::eventually("both measure", crate::running::BOUND, || {
        crate::running::cpu_ticks(client.id()) > 5
    });
    server.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(server.finish().status, 130);
    let client = client.finish();
    assert!(client.error().contains("closed the connection"), "{client:?}");
}

#[test]
fn wrong_options_are_one_line_that_names_them() {
    for (arguments, names) in [
        (&["send-lat", "-b"][..], &["-b", "bandwidth"][..]),
        (&["send-lat", "-q", "2"], &["-q 2", "one endpoint"]),
        (&["send-bw", "-l", "200"], &["-l 200", "-t 200"]),
        (&["send-bw", "-s", "2G"], &["1GiB"]),
        (&["send-bw", "-n", "3"], &["3", "5.."]),
        (&["send-bw", "--json", "--csv"], &["--json and --csv"]),
        (&["write-bw", "--tcp"], &["TCP has no write"]),
        (&["atomic-bw", "-s", "4"], &["atomic"]),
        (&["sendbw"], &["sendbw", "send-bw"]),
        (&["write-bw", "--unreliable"], &["datagrams have no write"]),
        (&["read-bw", "--remote-data"], &["--remote-data", "sends and writes"]),
        (&["send-lat", "--rate", "1M"], &["--rate", "bandwidth"]),
        (&["send-bw", "--cpu", "9999"], &["--cpu", "choose one of"]),
        (&["send-bw", "127.0.0.1:1"], &["nothing listens on 127.0.0.1:1"]),
    ] {
        let all: Vec<&str> = ["perf"].iter().chain(arguments).copied().collect();
        let finished = run(&all);
        for name in names {
            assert!(finished.error().contains(name), "{arguments:?} without {name}: {finished:?}");
        }
    }
}
