//! Faults hit what they are meant to hit, and nothing else.

use std::{collections::BTreeSet, net::UdpSocket};

use elastane_hosts::{Bottleneck, Flat, Host, HostsError, Loss, Multipath, Network, Segmentation};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use crate::{
    build,
    sockets::{addresses, arrivals, arrivals_before_marker, tcp_transfer, udp},
    two,
};

/// Flows per direction: enough that each of four paths has some.
const FLOWS: u64 = 64;

/// Flows in one family and direction, each from a source port of its own.
struct Flows {
    senders: Vec<UdpSocket>,
    receiver: UdpSocket,
}

impl Flows {
    fn all_between(one: &Host, other: &Host) -> Vec<Self> {
        let mut flows = Vec::new();
        for (from, to) in [(one, other), (other, one)] {
            for (source, target) in addresses(from).zip(addresses(to)) {
                let senders = (0..FLOWS).map(|_| udp(from, source)).collect();
                flows.push(Self { senders, receiver: udp(to, target) });
            }
        }
        flows
    }

    /// The numbers of the flows of which a datagram arrives.
    fn alive(&self) -> BTreeSet<u64> {
        let target = self.receiver.local_addr().unwrap();
        for (flow, sender) in (0..).zip(&self.senders) {
            sender.send_to(&u64::to_be_bytes(flow), target).unwrap();
        }
        arrivals(&self.receiver).into_iter().collect()
    }
}

#[test]
fn a_cut_path_silences_its_flows_both_ways_and_no_others() {
    for bottleneck in [Bottleneck::Sender, Bottleneck::Switch] {
        let multipath = Multipath { bottleneck, ..Multipath::default() };
        cut_each_path_in_turn(&build(Network::builder().multipath(multipath)));
    }
}

fn cut_each_path_in_turn(network: &Network) {
    let (one, other) = two(network);
    let everyone: BTreeSet<u64> = (0..FLOWS).collect();
    let all_flows = Flows::all_between(one, other);
    let mut silenced = vec![BTreeSet::new(); all_flows.len()];
    for path in 0..network.paths() {
        network.cut_path(path).unwrap();
        for (flows, silenced) in all_flows.iter().zip(&mut silenced) {
            let silent: BTreeSet<u64> = &everyone - &flows.alive();
            assert!(!silent.is_empty(), "path {path} carried no flow");
            assert!(silenced.is_disjoint(&silent), "a flow was on two paths");
            silenced.extend(silent);
        }
        network.restore_path(path).unwrap();
    }
    for (flows, silenced) in all_flows.iter().zip(silenced) {
        assert_eq!(silenced, everyone, "some flows were on no path");
        assert_eq!(flows.alive(), everyone, "a restored path stays silent");
    }
}

#[test]
fn a_cut_path_keeps_its_devices_up_and_its_routes() {
    let network = build(Network::builder().multipath(Multipath::default()));
    let (one, other) = two(&network);
    let state = |host: &Host| {
        ["/proc/net/route", "/proc/net/ipv6_route"].map(|table| {
            let output = host.command("cat").arg(table).output().unwrap();
            assert!(output.status.success());
            // All but the counters of references and uses.
            let text = String::from_utf8(output.stdout).unwrap();
            let columns = |line: &str| -> Vec<String> {
                let columns = line.split_whitespace().map(str::to_owned);
                columns
                    .enumerate()
                    .filter(|(at, _)| ![4, 5, 6, 7].contains(at))
                    .map(|c| c.1)
                    .collect()
            };
            text.lines().map(columns).collect::<Vec<_>>()
        })
    };
    let before = [state(one), state(other)];
    network.cut_path(0).unwrap();
    // Cutting what is cut is no error.
    network.cut_path(0).unwrap();
    assert_eq!([state(one), state(other)], before);
}

#[test]
fn cutting_the_only_link_silences_it_until_it_is_restored() {
    for hosts in [2, 3] {
        let network = build(Network::builder().hosts(hosts));
        let (one, other) = (&network.hosts()[0], &network.hosts()[1]);
        let all_flows = Flows::all_between(one, other);
        network.cut_path(0).unwrap();
        for flows in &all_flows {
            assert_eq!(flows.alive(), BTreeSet::new());
        }
        network.restore_path(0).unwrap();
        for flows in &all_flows {
            assert_eq!(flows.alive().len(), flows.senders.len());
        }
    }
}

#[test]
fn a_path_beyond_the_last_is_refused() {
    let network = build(Network::builder());
    let error = network.cut_path(1).unwrap_err();
    assert!(matches!(error, HostsError::NoSuchPath { path: 1, paths: 1 }), "{error}");
}

#[test]
fn loss_is_refused_where_trains_would_be_lost_whole() {
    let network = build(Network::builder());
    let error = network.set_loss(Loss::percent(1.0).unwrap()).unwrap_err();
    assert!(matches!(error, HostsError::LossNeedsSingles), "{error}");
}

#[test]
fn loss_hits_each_packet_of_a_train_on_its_own() {
    const TRAINS: u64 = 100;
    const TRAIN: u64 = 40;
    const PACKET: usize = 1000;
    let singles = Flat { segmentation: Segmentation::Off, ..Flat::default() };
    let shaped = Multipath { segmentation: Segmentation::Off, ..Multipath::default() };
    for network in
        [build(Network::builder().flat(singles)), build(Network::builder().multipath(shaped))]
    {
        let (one, other) = two(&network);
        network.set_loss(Loss::percent(10.0).unwrap()).unwrap();
        for Flows { senders, receiver } in Flows::all_between(one, other) {
            let sender = &senders[0];
            setsockopt(sender, UdpGsoSegment, &i32::try_from(PACKET).unwrap()).unwrap();
            let mut received = Vec::new();
            for train in 0..TRAINS {
                let mut bytes = vec![0; usize::try_from(TRAIN).unwrap() * PACKET];
                for (packet, number) in bytes.chunks_exact_mut(PACKET).zip(train * TRAIN..) {
                    packet[..8].copy_from_slice(&number.to_be_bytes());
                }
                sender.send_to(&bytes, receiver.local_addr().unwrap()).unwrap();
                received.extend(arrivals_before_marker(sender, &receiver, u64::MAX - train));
            }
            received.retain(|number| *number < TRAINS * TRAIN);
            let lost = TRAINS * TRAIN - received.len() as u64;
            // 400 are expected, with a standard deviation of 19.
            assert!((300..=500).contains(&lost), "{lost} lost; {}", network.describe());
            let lost_in = |train: u64| {
                TRAIN - received.iter().filter(|number| **number / TRAIN == train).count() as u64
            };
            let hit = (0..TRAINS).filter(|train| lost_in(*train) > 0).count();
            let whole = (0..TRAINS).filter(|train| lost_in(*train) == TRAIN).count();
            // Of 40 packets at least one is lost with a chance of 98.5%, all with none.
            assert!(hit >= 85 && whole == 0, "{hit} trains hit, {whole} lost whole");
        }
        network.set_loss(Loss::NONE).unwrap();
        for flows in Flows::all_between(one, other) {
            assert_eq!(flows.alive().len(), flows.senders.len(), "loss goes on after its end");
        }
    }
}

#[test]
fn tcp_crosses_in_single_packets_only_where_segmentation_is_off() {
    let bytes = vec![1; 4_000_000];
    for (segmentation, single) in [(Segmentation::Off, true), (Segmentation::Offload, false)] {
        let network = build(Network::builder().flat(Flat { segmentation, ..Flat::default() }));
        let (from, to) = two(&network);
        assert_eq!(tcp_transfer(from, to, to.address(), &bytes).len(), bytes.len());
        let (received, packets) = received_by_device(to, "eth0");
        // With its Ethernet header.
        let largest = 9001 + 14;
        assert_eq!(received / packets <= largest, single, "{received} bytes in {packets} packets");
    }
}

#[test]
fn tcp_survives_loss() {
    let bytes = vec![5; 1_000_000];
    let singles = Flat { segmentation: Segmentation::Off, ..Flat::default() };
    let network = build(Network::builder().flat(singles));
    let (from, to) = two(&network);
    network.set_loss(Loss::percent(1.0).unwrap()).unwrap();
    assert!(tcp_transfer(from, to, to.address(), &bytes) == bytes);
}

/// Bytes and packets a device of a host has received, by the kernel's own count.
fn received_by_device(host: &Host, device: &str) -> (u64, u64) {
    let output = host.command("cat").arg("/proc/net/dev").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    let mut fields = line.unwrap().split_whitespace().map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}
