//! Packets cross, in both families, within the MTU and the rate.

use std::{net::IpAddr, thread, time::Duration};

use elastane_hosts::{
    Availability, Bottleneck, Flat, HostsError, Multipath, Network, Rate, available,
};

use crate::{
    build,
    sockets::{addresses, arrivals, tcp_transfer, udp},
    two,
    waiting::timed,
};

fn every_kind_of_network() -> Vec<Network> {
    vec![
        build(Network::builder()),
        build(Network::builder().hosts(3)),
        build(Network::builder().multipath(Multipath::default())),
        build(Network::builder().multipath(behind_switches())),
        build(Network::builder().flat(Flat { rate: Some(Rate::gigabits(1)), ..Flat::default() })),
        build(Network::builder().flat(Flat::shared(Rate::gigabits(1)))),
    ]
}

fn behind_switches() -> Multipath {
    Multipath { bottleneck: Bottleneck::Switch, ..Multipath::default() }
}

#[test]
fn the_first_datagram_between_any_two_hosts_arrives() {
    for network in every_kind_of_network() {
        for from in network.hosts() {
            for to in network.hosts() {
                for (source, target) in addresses(from).zip(addresses(to)) {
                    let (sender, receiver) = (udp(from, source), udp(to, target));
                    sender.send_to(b"datagram", receiver.local_addr().unwrap()).unwrap();
                    let mut buffer = [0; 16];
                    let (length, origin) = receiver.recv_from(&mut buffer).unwrap_or_else(|e| {
                        panic!("{source} to {target}: {e}; {}", network.describe())
                    });
                    assert_eq!((&buffer[..length], origin.ip()), (&b"datagram"[..], source));
                }
            }
        }
    }
}

#[test]
fn a_tcp_stream_arrives_whole() {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    for network in every_kind_of_network() {
        let (from, to) = (&network.hosts()[0], &network.hosts()[1]);
        for address in addresses(to) {
            assert!(
                tcp_transfer(from, to, address, &bytes) == bytes,
                "damaged on the way to {address}; {}",
                network.describe()
            );
        }
    }
}

#[test]
fn a_datagram_of_the_mtu_crosses_and_one_byte_more_is_refused() {
    for mtu in [1500, 9001] {
        for network in [
            build(Network::builder().flat(Flat { mtu, ..Flat::default() })),
            build(Network::builder().hosts(3).flat(Flat { mtu, ..Flat::default() })),
            build(Network::builder().multipath(Multipath { mtu, ..Multipath::default() })),
            build(Network::builder().multipath(Multipath { mtu, ..behind_switches() })),
        ] {
            let (from, to) = (&network.hosts()[0], &network.hosts()[1]);
            for (source, target) in addresses(from).zip(addresses(to)) {
                let (sender, receiver) = (udp(from, source), udp(to, target));
                let headers = match target {
                    IpAddr::V4(_) => {
                        let probe = rustix::net::sockopt::Ipv4PathMtuDiscovery::PROBE;
                        rustix::net::sockopt::set_ip_mtu_discover(&sender, probe).unwrap();
                        20 + 8
                    }
                    IpAddr::V6(_) => {
                        let probe = rustix::net::sockopt::Ipv6PathMtuDiscovery::PROBE;
                        rustix::net::sockopt::set_ipv6_mtu_discover(&sender, probe).unwrap();
                        40 + 8
                    }
                };
                let payload = vec![7; mtu as usize + 1 - headers];
                let peer = receiver.local_addr().unwrap();
                let refusal = sender.send_to(&payload, peer).unwrap_err();
                assert_eq!(refusal.raw_os_error(), Some(libc::EMSGSIZE));
                let mut buffer = vec![0; payload.len()];
                receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                // A busy machine may drop one.
                let arrived = (0..100).find_map(|_| {
                    sender.send_to(&payload[1..], peer).unwrap();
                    receiver.recv(&mut buffer).ok()
                });
                assert_eq!(arrived, Some(payload.len() - 1));
            }
        }
    }
}

#[test]
fn a_rate_limit_is_kept() {
    let rate = Rate::megabits(100);
    let bytes = vec![1; 2_500_000];
    for network in [
        build(Network::builder().flat(Flat { rate: Some(rate), ..Flat::default() })),
        build(Network::builder().flat(Flat::shared(rate))),
        build(Network::builder().multipath(Multipath { rate, ..Multipath::default() })),
        build(Network::builder().multipath(Multipath { rate, ..behind_switches() })),
    ] {
        let (one, other) = two(&network);
        for (from, to) in [(one, other), (other, one)] {
            let taken = timed(|| {
                assert_eq!(tcp_transfer(from, to, to.address(), &bytes).len(), bytes.len());
            });
            // 200 ms at that rate. A burst goes ahead of it; a busy machine lags far behind.
            assert!(
                (Duration::from_millis(180)..Duration::from_secs(2)).contains(&taken),
                "{taken:?} for 2.5 MB; {}",
                network.describe()
            );
        }
    }
}

#[test]
fn a_command_runs_in_its_host() {
    let network = build(Network::builder());
    let inside = |index: usize| {
        let mut readlink = network.hosts()[index].command("readlink");
        let output = readlink.arg("/proc/self/ns/net").output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(inside(0), inside(1));
    assert_ne!(String::from_utf8(inside(0)).unwrap().trim(), ours.to_str().unwrap());
}

#[test]
fn a_thread_enters_a_host_as_root_and_is_refused_otherwise() {
    let network = build(Network::builder());
    let (one, other) = two(&network);
    let address = one.address();
    let bind = move || std::net::UdpSocket::bind((address, 0));
    match (available(), one.run_in(bind)) {
        (Availability::Root, Ok(bound)) => {
            bound.unwrap();
            // The same address does not exist in the other host, nor outside.
            other.run_in(bind).unwrap().unwrap_err();
            bind().unwrap_err();
        }
        (Availability::UserNamespaces, Err(HostsError::ThreadCannotEnter { host })) => {
            assert_eq!(host, "host0");
        }
        (availability, outcome) => panic!("{availability:?}: {outcome:?}"),
    }
}

#[test]
fn availability_is_that_of_the_user() {
    match available() {
        Availability::Root => assert!(rustix::process::geteuid().is_root()),
        Availability::UserNamespaces => assert!(!rustix::process::geteuid().is_root()),
        Availability::Loopback(reason) => panic!("{reason}"),
    }
}

#[test]
fn a_network_says_what_it_emulates() {
    let network = build(Network::builder().multipath(Multipath::default()));
    let description = network.describe();
    for part in [
        "4 equal-cost paths of 1 Gb/s",
        "queue of 512 KiB in the sender",
        "MTU 9001",
        "one machine",
    ] {
        assert!(description.contains(part), "{description}");
    }
}

#[test]
fn a_queue_in_a_switch_overflows_and_one_in_the_sender_holds_the_sender_back() {
    const DATAGRAMS: usize = 500;
    let datagram = [9; 8000];
    for (bottleneck, megabits) in [(Bottleneck::Sender, 100), (Bottleneck::Switch, 10)] {
        let rate = Some(Rate::megabits(megabits));
        let network = build(Network::builder().flat(Flat { rate, bottleneck, ..Flat::default() }));
        let (from, to) = two(&network);
        let (sender, receiver) = (udp(from, from.address()), udp(to, to.address()));
        let target = receiver.local_addr().unwrap();
        let received = thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..DATAGRAMS {
                    sender.send_to(&datagram, target).unwrap();
                }
            });
            receiver.recv(&mut [0]).unwrap();
            1 + arrivals(&receiver).len()
        });
        // These are 4 MB, and a queue holds half a megabyte. A busy machine may drop some besides.
        let held_back = received > DATAGRAMS * 9 / 10;
        let description = network.describe();
        assert_eq!(held_back, bottleneck == Bottleneck::Sender, "{received}; {description}");
    }
}
