//! The transport's promises, one situation at a time, over a virtual wire.

extern crate elastane_srd as srd;

mod network;

use std::time::Duration;

use network::{DATAGRAM, Network, endpoint};
use srd::{Config, PathHealth, PeerError};
use wire::PeerId;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Everything sent from side 0 was received exactly once, in whatever order.
fn assert_exactly_once(network: &Network, count: u32) {
    let mut received = network.sides[1].numbers.received.clone();
    received.sort_unstable();
    assert_eq!(received, (0..count).collect::<Vec<_>>());
    assert_eq!(network.sides[0].numbers.acked.len(), count as usize);
    assert_eq!(network.sides[0].numbers.open(), 0);
    assert!(network.sides[0].numbers.failures.is_empty());
}

fn transfer(mut network: Network, count: u32) -> Network {
    network.send(0, 0..count);
    network.run_until(seconds(60), |sides| sides[0].numbers.acked.len() == count as usize);
    assert_exactly_once(&network, count);
    network
}

#[test]
fn clean_network_delivers_everything_without_retransmission() {
    let network = transfer(Network::new(1, &Config::default()), 5_000);
    assert_eq!(network.sides[0].endpoint.counters().retrans_pkts, 0);
}

#[test]
fn loss_duplication_and_corruption_deliver_everything_once() {
    for seed in 0..20 {
        let mut network = Network::new(seed, &Config::default());
        network.loss = 0.05;
        network.duplicate = 0.02;
        network.corrupt = 0.01;
        let network = transfer(network, 3_000);
        let counters = network.sides[0].endpoint.counters();
        assert!(counters.retrans_pkts < 3_000 / 5, "seed {seed}: {counters:?}");
    }
}

#[test]
fn psn_wrap_loses_nothing() {
    let config = Config { first_psn: u64::from(u32::MAX) - 1_000, ..Config::default() };
    let mut network = Network::new(3, &config);
    network.loss = 0.02;
    transfer(network, 5_000);
}

#[test]
fn dead_path_is_left_within_milliseconds_without_error() {
    let mut network = Network::new(4, &Config::default());
    network.send(0, 0..2_000);
    network.run_until(seconds(1), |sides| sides[0].numbers.acked.len() > 500);
    network.cut = vec![2];
    let cut_at = network.now;
    network.run_until(seconds(1), |sides| sides[0].numbers.acked.len() == 2_000);
    let took = network.now.since(cut_at);
    let counters = network.sides[0].endpoint.counters();
    assert!(took < Duration::from_millis(20), "{took:?}: {counters:?}");
    assert_exactly_once(&network, 2_000);
    assert!(network.sides[0].endpoint.counters().path_quarantines > 0);
}

#[test]
fn healed_path_or_a_new_port_comes_back_into_use() {
    let mut network = Network::new(5, &Config::default());
    network.send(0, 0..20_000);
    network.run_until(seconds(1), |sides| sides[0].numbers.acked.len() > 500);
    network.cut = vec![1];
    network.run_until(seconds(5), |sides| sides[0].endpoint.counters().path_quarantines > 2);
    network.run_until(seconds(5), |sides| {
        let reports = sides[0].endpoint.path_reports(PeerId(0));
        reports.iter().all(|report| report.health == PathHealth::Good)
    });
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 20_000);
    assert_exactly_once(&network, 20_000);
}

#[test]
fn all_paths_dead_for_five_seconds_then_back_completes_without_error() {
    let mut network = Network::new(6, &Config::default());
    network.send(0, 0..3_000);
    network.run_until(seconds(1), |sides| sides[0].numbers.acked.len() > 100);
    network.cut = vec![0, 1, 2, 3];
    network.run_for(seconds(5));
    let silent = network.sides[0].endpoint.counters().retrans_pkts;
    assert!(silent < 60, "{silent} datagrams sent into silence");
    network.cut.clear();
    network.run_until(seconds(2), |sides| sides[0].numbers.acked.len() == 3_000);
    assert_exactly_once(&network, 3_000);
}

#[test]
fn peer_that_never_answers_is_unreachable() {
    let mut network = Network::new(7, &Config::default());
    network.sides[1].dead = true;
    network.send(0, 0..3);
    network.run_for(seconds(40));
    assert!(matches!(network.sides[0].numbers.failures[..], [PeerError::Unreachable(_)]));
    assert_eq!(network.sides[0].numbers.open(), 0);
}

#[test]
fn peer_that_goes_silent_is_unresponsive_and_works_again_when_it_returns() {
    let config = Config { unresponsive_after: seconds(5), ..Config::default() };
    let mut network = transfer(Network::new(8, &config), 100);
    network.sides[1].dead = true;
    network.send(0, 100..110);
    network.run_for(seconds(8));
    assert!(matches!(network.sides[0].numbers.failures[..], [PeerError::Unresponsive(_)]));
    network.sides[1].dead = false;
    // The peer knows nothing of the failure: what is sent first tells both sides to begin anew.
    network.send(0, 200..210);
    network.run_for(seconds(2));
    assert_eq!(network.sides[1].numbers.failures, [PeerError::Restarted]);
    network.send(0, 300..310);
    network.run_until(seconds(2), |sides| sides[1].numbers.received.ends_with(&[309]));
    let failures = &network.sides[0].numbers.failures;
    assert!(failures.len() <= 2 && failures[1..].iter().all(|e| *e == PeerError::Restarted));
}

#[test]
fn refused_port_fails_sooner_than_silence() {
    let mut network = transfer(Network::new(9, &Config::default()), 10);
    network.sides[1].dead = true;
    network.send(0, 10..12);
    let address = network.sides[1].address;
    for _ in 0..8 {
        let now = network.now;
        network.sides[0].endpoint.handle_unreachable(now, address);
        network.run_for(Duration::from_millis(500));
    }
    assert!(matches!(network.sides[0].numbers.failures[..], [PeerError::Unresponsive(_)]));
}

#[test]
fn application_that_computes_for_minutes_is_not_declared_dead() {
    let mut network = transfer(Network::new(10, &Config::default()), 10);
    network.sides[1].dead = true;
    network.send(0, 10..20);
    network.run_for(seconds(300));
    network.sides[1].dead = false;
    network.run_until(seconds(2), |sides| sides[0].numbers.acked.len() == 20);
    assert_exactly_once(&network, 20);
}

#[test]
fn restarted_peer_is_told_apart_from_its_past_self() {
    let config = Config::default();
    let mut network = transfer(Network::new(11, &config), 50);
    network.sides[1].endpoint = endpoint(&config, 7000, 999);
    network.sides[1].numbers = Default::default();
    network.send(0, 50..60);
    network.run_until(seconds(5), |sides| !sides[0].numbers.failures.is_empty());
    assert_eq!(network.sides[0].numbers.failures, [PeerError::Restarted]);
    assert!(network.sides[1].numbers.received.is_empty(), "nothing meant for the old peer");
    network.send(0, 60..70);
    network.run_until(seconds(5), |sides| sides[1].numbers.received.len() == 10);
}

#[test]
fn restarted_peer_that_speaks_first_is_accepted_after_a_challenge() {
    let config = Config::default();
    let mut network = transfer(Network::new(12, &config), 50);
    network.sides[1].endpoint = endpoint(&config, 7000, 998);
    network.sides[1].numbers = Default::default();
    network.send(1, 0..20);
    network.run_until(seconds(5), |sides| sides[1].numbers.acked.len() == 20);
    assert_eq!(network.sides[0].numbers.failures, [PeerError::Restarted]);
    assert_eq!(network.sides[0].numbers.received.len(), 20);
}

#[test]
fn replayed_datagrams_of_a_past_incarnation_change_nothing() {
    let config = Config::default();
    let mut network = Network::new(13, &config);
    network.send(0, 0..40);
    let captured = network.on_the_wire(1);
    assert!(!captured.is_empty());
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 40);
    network.sides[0].endpoint = endpoint(&config, 7000, 997);
    network.sides[0].numbers = Default::default();
    network.send(0, 40..80);
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 40);
    let received = network.sides[1].numbers.received.len();
    for (source, bytes) in captured {
        network.inject(1, source, bytes);
    }
    network.run_for(seconds(5));
    assert_eq!(network.sides[1].numbers.received.len(), received);
    network.send(0, 80..90);
    network.run_until(seconds(5), |sides| sides[1].numbers.received.len() == received + 10);
    assert!(network.sides[0].numbers.failures.is_empty());
}

#[test]
fn receiver_without_room_holds_the_sender_back_and_loses_nothing() {
    let mut network = Network::new(14, &Config::default());
    network.sides[1].numbers.room = Some(10);
    network.send(0, 0..500);
    network.run_for(seconds(1));
    assert_eq!(network.sides[1].numbers.received.len(), 10);
    let sent = network.sides[0].endpoint.counters().retrans_pkts;
    assert!(sent < 20_000, "{sent} retransmissions in a second of back-off");
    network.sides[1].numbers.room = None;
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 500);
    assert_exactly_once(&network, 500);
}

#[test]
fn receiver_without_room_is_reported_when_retries_are_used_up() {
    let config = Config { rnr_retries: Some(3), ..Config::default() };
    let mut network = Network::new(15, &config);
    network.sides[1].numbers.room = Some(5);
    network.send(0, 0..8);
    network.run_until(seconds(5), |sides| sides[0].numbers.refused.len() == 3);
    network.sides[1].numbers.room = None;
    network.send(0, 8..20);
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 17);
    assert_eq!(network.sides[0].numbers.open(), 0);
}

#[test]
fn idle_context_is_dropped_and_continues_where_it_was() {
    let mut network = transfer(Network::new(16, &Config::default()), 100);
    network.run_for(seconds(10));
    for side in &network.sides {
        assert_eq!(side.endpoint.context_count(), 0);
        assert_eq!(side.endpoint.poll_timeout(), None, "an idle endpoint sets no timer");
    }
    network.send(0, 100..200);
    network.run_until(seconds(5), |sides| sides[0].numbers.acked.len() == 200);
    assert_exactly_once(&network, 200);
}

#[test]
fn closing_peer_is_reported_as_closed() {
    let mut network = transfer(Network::new(17, &Config::default()), 100);
    network.sides[1].endpoint.close();
    network.flush(1);
    network.sides[1].dead = true;
    network.run_for(seconds(1));
    assert_eq!(network.sides[0].numbers.failures, [PeerError::Closed]);
}

#[test]
fn silent_peer_is_probed_only_when_it_owes_something() {
    let mut network = transfer(Network::new(18, &Config::default()), 10);
    network.run_for(seconds(5));
    assert_eq!(network.sides[0].endpoint.counters().tx_probes, 0);
    network.sides[0].numbers.owed = true;
    network.send(0, 10..20);
    network.run_for(seconds(5));
    let probes = network.sides[0].endpoint.counters().tx_probes;
    assert!((3..=8).contains(&probes), "{probes} probes in 5 s");
}

#[test]
fn stranger_is_never_sent_more_than_it_sent() {
    let mut network = Network::new(19, &Config::default());
    network.send(0, 0..1);
    let (source, bytes) = network.on_the_wire(1).remove(0);
    network.sides[0].dead = true;
    for _ in 0..50 {
        network.inject(1, source, bytes.clone());
    }
    let mut answered = 0;
    for _ in 0..200 {
        network.run_for(Duration::from_micros(20));
        answered += network.on_the_wire(0).iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(answered > 0 && answered <= 51 * bytes.len(), "{answered}");
}

#[test]
fn idle_peer_takes_less_than_two_kibibytes() {
    assert!(srd::Endpoint::idle_peer_bytes() <= 1024, "{}", srd::Endpoint::idle_peer_bytes());
    let mut endpoint = endpoint(&Config::default(), 7000, 1);
    for n in 0..10_000u32 {
        let [_, a, b, c] = n.to_be_bytes();
        endpoint.connect(([10, a, b, c], 7000).into()).unwrap();
    }
    assert_eq!((endpoint.peer_count(), endpoint.context_count()), (10_000, 0));
}

#[test]
fn link_that_silently_drops_large_datagrams_is_survived() {
    let mut network = Network::new(22, &Config::default());
    network.send(0, 0..2_000);
    network.run_until(seconds(1), |sides| sides[0].numbers.acked.len() > 300);
    network.mtu = 1_500;
    network.run_until(seconds(10), |sides| sides[0].numbers.acked.len() >= 2_000);
    assert!(network.sides[0].endpoint.datagram_bytes(PeerId(0)) < 1_500);
    let mut received = network.sides[1].numbers.received.clone();
    received.sort_unstable();
    received.dedup();
    assert_eq!(received, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut network = Network::new(seed, &Config::default());
        network.loss = 0.03;
        let network = transfer(network, 1_000);
        (
            network.now,
            *network.sides[0].endpoint.counters(),
            network.sides[1].numbers.received.clone(),
        )
    };
    assert_eq!(run(20), run(20));
    assert_ne!(run(20).0, run(21).0);
}

const _: () = assert!(DATAGRAM >= 128);
