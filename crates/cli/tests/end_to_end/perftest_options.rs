//! perftest's options beyond the guide's, each seen in what it does.

use nix::sys::signal::Signal;

use crate::{
    links::{Links, rows},
    running::{BOUND, cpu_ticks, eventually, is_running},
};

#[test]
fn datagrams_are_as_long_as_a_packet_and_what_is_lost_is_said() {
    let links = Links::install();
    let (client, server) = links.measure("ib_send_bw -c UD -n 2000 --data_validation");
    let (sent, arrived) = (rows(client.success()), rows(server.success()));
    assert!(client.stderr.contains("Max msg size in UD is MTU"), "{client:?}");
    assert!(client.stdout.contains("Connection type : UD"), "{client:?}");
    assert!(sent[0][0] < 65_536.0 && sent[0][1] == 2000.0, "{client:?}");
    let lost: f64 = server
        .stderr
        .lines()
        .find(|line| line.contains("did not arrive"))
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0.0);
    assert_eq!(arrived[0][1] + lost, 2000.0, "{server:?}");
    let (client, server) = links.measure("ib_send_lat -c UD -n 200 -s 64");
    assert_eq!(rows(client.success())[0][..2], [64.0, 200.0]);
    assert_eq!(rows(server.success()).len(), 1);
    let (client, _) = links.measure("ib_send_bw -c UD -s 70000");
    assert_eq!(client.status, 1, "{client:?}");
    assert!(client.stderr.contains("-s 70000: a message to this host holds"), "{client:?}");
    let (client, _) = links.measure("ib_send_bw -c UD -a -n 50");
    assert_eq!(rows(client.success()).last().expect("sizes")[0], 32_768.0);
}

#[test]
fn rows_run_until_either_side_is_interrupted_and_both_end_in_order() {
    let links = Links::install();
    for (stopped, line) in [
        ("client", "ib_send_bw -c SRD --run_infinitely -D 1"),
        ("server", "ib_write_bw -c SRD --run_infinitely -D 60 -b"),
        ("server", "ib_send_bw --transport tcp --run_infinitely -D 60"),
    ] {
        let (client, server) = links.start(line, "");
        eventually("both measure", BOUND, || {
            cpu_ticks(client.id()) > 20 && cpu_ticks(server.id()) > 20
        });
        let side = if stopped == "client" { &client } else { &server };
        side.signal(Signal::SIGINT);
        let ids = [client.id(), server.id()];
        eventually("both end", BOUND, || !ids.iter().any(|id| is_running(*id)));
        for finished in [client.finish(), server.finish()] {
            let found = rows(finished.success());
            assert!(!found.is_empty() && found.iter().all(|row| row[3] > 0.0), "{finished:?}");
            assert!(finished.stdout.ends_with("-----\n"), "{finished:?}");
        }
    }
}

#[test]
fn rows_without_a_reader_end() {
    let links = Links::install();
    let (mut client, server) = links.start("ib_send_bw -c SRD --run_infinitely -D 1", "");
    client.close_output();
    let finished = client.finish();
    assert_eq!((finished.status, server.finish().status), (0, 0), "{finished:?}");
}

#[test]
fn rate_is_limited_in_each_unit() {
    let links = Links::install();
    for (line, column, most) in [
        ("ib_send_bw -c SRD -n 500 --rate_limit 0.5 --rate_limit_type SW", 3, 59.7),
        ("ib_write_bw -c SRD -n 500 --rate_limit 50 --rate_units M", 3, 50.0),
        ("ib_send_bw -c SRD -n 250 -q 2 -s 8 --rate_limit 500 --rate_units p", 4, 500e-6),
    ] {
        let (client, _) = links.measure(&format!("{line} --burst_size 10"));
        let row = &rows(client.success())[0];
        // 500 messages, of which the first burst is not waited for.
        let most = most * 500.0 / 490.0;
        assert!(row[column] > 0.0 && row[column] <= most * 1.01, "{line}: {client:?}");
    }
}

#[test]
fn remote_data_comes_with_each_operation() {
    let links = Links::install();
    for line in [
        "ib_write_bw -c SRD --write_with_imm -n 300 -b -s 4096",
        "ib_send_bw -c SRD --send_with_imm -n 300 --data_validation",
    ] {
        let (client, server) = links.measure(line);
        assert!(rows(client.success())[0][3] > 0.0, "{client:?}");
        assert_eq!(server.status, 0, "{server:?}");
    }
}

#[test]
fn latency_takes_gaps_and_cycles_and_a_cpu() {
    let links = Links::install();
    let (client, server) = links.measure("ib_send_lat -c SRD -n 50 --latency_gap 2000 --on_cpu 0");
    let [_, _, _, _, typical, ..] = rows(client.success())[0][..] else { panic!("{client:?}") };
    assert!(typical > 0.0, "{client:?}");
    assert_eq!(rows(server.success()).len(), 0, "{server:?}");
    let (client, _) = links.measure("ib_send_lat -c SRD -n 50 -C");
    if perftest_has_clock() {
        let note = client.stderr.lines().find(|line| line.contains("-C: cycles of"));
        assert!(rows(client.success())[0][2] > 100.0 && note.is_some(), "{client:?}");
    } else {
        assert!(client.stderr.contains("names no clock"), "{client:?}");
    }
}

/// Whether the kernel names the CPU's clock; it does on x86.
fn perftest_has_clock() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").expect("it is there").contains("cpu MHz")
}

#[test]
fn time_bounded_tcp_shows_what_the_other_side_got() {
    let links = Links::install();
    let (client, server) = links.measure("ib_send_bw --transport tcp -D 1");
    assert_eq!(rows(client.success()), rows(server.success()));
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let links = Links::install();
    for (line, names) in [
        ("ib_write_bw -c UD", "-c UD: datagrams have sends only"),
        ("ib_send_bw -c UD --transport tcp", "leave out one"),
        ("ib_send_bw -c UD -e", "-e: datagrams are polled for"),
        ("ib_send_bw -c UD --send_with_imm", "no more than its bytes"),
        ("ib_read_bw --write_with_imm", "of sends and writes"),
        ("ib_send_bw --run_infinitely -n 10", "leave out -a, -n and -f"),
        ("ib_send_lat --run_infinitely", "of the bandwidth tests"),
        ("ib_send_bw --rate_limit 1 --rate_limit_type HW", "give SW"),
        ("ib_send_bw --burst_size 3", "go with --rate_limit"),
        ("ib_send_bw --rate_limit 0", "give for example 1"),
        ("ib_send_bw -C", "-C is of the latency tests"),
        ("ib_send_bw --latency_gap 1", "of the latency tests"),
        ("ib_send_bw --on_cpu 5000", "--on_cpu: `5000` is no CPU that this process may use"),
        ("ib_send_bw --strict", "RC is not available; give -c SRD"),
        ("ib_send_bw --strict -c SRD -R", "SRD does not support RDMA_CM"),
        ("ib_send_bw --strict -c SRD -T 90", "TOS only valid for rdma_cm"),
        ("ib_send_bw --kek_path x", "encryption is not there"),
    ] {
        let finished = links.run(line);
        assert_eq!((finished.status, finished.stdout.as_str()), (1, ""), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        assert!(finished.stderr.contains(names), "{line}: {finished:?}");
    }
}
