//! What every device has to do, run against every backend; then what each wrapper adds.

mod capture;
mod fault;
mod traffic;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use elastane_io::{
    CaptureDevice, FaultDevice, FaultSpec, Landing, Layout, OpenError, PacketIo, Scratch,
    SendError, UdpDevice, UdpOptions,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{Ecn, Entropy, Train};

use traffic::{STEP, datagrams, receive, receive_datagrams, receive_into, train};

const V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

fn udp(address: SocketAddr, segmentation: bool) -> Option<UdpDevice> {
    match UdpDevice::open(address, &UdpOptions { segmentation, ..UdpOptions::default() }) {
        Ok(device) => Some(device),
        // A container without IPv6 cannot test it.
        Err(OpenError::NoSuchAddress(_) | OpenError::NoFamily(_)) if address == V6 => None,
        Err(error) => panic!("{error}"),
    }
}

/// Head, body and buffer of a landing.
type Shape = (usize, usize, usize);

fn single_datagram_arrives_unchanged<D: PacketIo>((mut a, mut b): (D, D)) {
    let sent = train(b.local_address(), 32, &[64]);
    a.send(&sent).expect("send failed");
    let mut scratch = Scratch::default();
    let arrival = receive(&mut b, &mut scratch);
    assert_eq!((arrival.bytes, arrival.stride), (64, 64));
    assert_eq!(Some(arrival.source), a.source_address(Entropy(0)));
    assert_eq!(&scratch.bytes[..64], &datagrams(&sent)[0]);
    assert!(b.receive(&mut scratch, None).expect("receive failed").is_none());
    let (sent, received) = (a.counters(), b.counters());
    assert_eq!((sent.tx_trains, sent.tx_packets, sent.tx_bytes), (1, 1, 64));
    assert_eq!((received.rx_trains, received.rx_packets, received.rx_bytes), (1, 1, 64));
    assert!(received.rx_empty >= 1);
}

fn train_of_forty_arrives_unchanged_and_in_order<D: PacketIo>((mut a, mut b): (D, D)) {
    let mut lengths = [1400; 40];
    lengths[39] = 77;
    let sent = train(b.local_address(), 40, &lengths);
    a.send(&sent).expect("send failed");
    assert_eq!(receive_datagrams(&mut b, 40), datagrams(&sent));
    assert_eq!(b.counters().rx_packets, 40);
    assert_eq!(a.counters().gso_fallbacks, 0);
}

fn train_beyond_the_kernels_limits_arrives_unchanged<D: PacketIo>((mut a, mut b): (D, D)) {
    let sent = train(b.local_address(), 8, &[900; 140]);
    a.send(&sent).expect("send failed");
    assert_eq!(receive_datagrams(&mut b, 140), datagrams(&sent));
}

/// Sends a train and receives it into a landing, then compares what the layout says with what was
/// sent. Returns the layouts met.
fn land<D: PacketIo>(
    (a, b): &mut (D, D),
    sent: &Train,
    (head, body, buffer): Shape,
) -> HashSet<&'static str> {
    a.send(sent).expect("send failed");
    let mut scratch = Scratch::default();
    let mut buffer = vec![0xEE; buffer];
    let mut expected = datagrams(sent).into_iter();
    let mut met = HashSet::new();
    while expected.len() > 0 {
        let landing = Landing { head, body, buffer: &mut buffer };
        let arrival = receive_into(b, &mut scratch, Some(landing));
        for index in 0..arrival.bytes.div_ceil(arrival.stride) {
            let expected = expected.next().expect("more arrived than was sent");
            let len = arrival.stride.min(arrival.bytes - index * arrival.stride);
            let got = match arrival.layout {
                Layout::Contiguous => scratch.bytes[index * arrival.stride..][..len].to_vec(),
                Layout::Landed => {
                    let head_bytes = &scratch.bytes[index * head..][..head];
                    [head_bytes, &buffer[index * body..][..len - head]].concat()
                }
            };
            assert!(got == expected, "datagram {index} of {arrival:?}");
        }
        met.insert(match arrival.layout {
            Layout::Contiguous => "contiguous",
            Layout::Landed => "landed",
        });
    }
    met
}

fn arrival_of_the_expected_shape_lands<D: PacketIo>(mut pair: (D, D)) {
    let to = pair.1.local_address();
    let full = train(to, 40, &[1400; 40]);
    assert_eq!(land(&mut pair, &full, (40, 1360, 40 * 1360)), ["landed"].into());
    let mut lengths = [1400; 10];
    lengths[9] = 41;
    let shorter_last = train(to, 40, &lengths);
    assert_eq!(land(&mut pair, &shorter_last, (40, 1360, 9 * 1360 + 1)), ["landed"].into());
    let single = train(to, 40, &[900]);
    assert_eq!(land(&mut pair, &single, (40, 1360, 5000)), ["landed"].into());
    let larger_buffer = train(to, 40, &[1400; 3]);
    assert_eq!(land(&mut pair, &larger_buffer, (40, 1360, 1 << 20)), ["landed"].into());
}

fn arrival_of_another_shape_is_put_in_order<D: PacketIo>(mut pair: (D, D)) {
    let to = pair.1.local_address();
    let contiguous: HashSet<_> = ["contiguous"].into();
    let cases: [(&[usize], Shape); 8] = [
        (&[30], (40, 1360, 5000)),           // shorter than a head
        (&[1401], (40, 1360, 5000)),         // one byte longer than head and body
        (&[1400], (40, 1360, 1359)),         // one byte longer than the buffer
        (&[9000], (32, 100, 50 * 100)),      // as long as many heads and bodies
        (&[4000; 9], (40, 1360, 40_000)),    // longer datagrams
        (&[64; 20], (40, 1360, 40_000)),     // shorter datagrams
        (&[45_000], (40, 1360, 40_000)),     // one long datagram
        (&[20, 20, 20], (40, 1360, 40_000)), // shorter than a head, several
    ];
    for (lengths, landing) in cases {
        let sent = train(to, 16, lengths);
        let met = land(&mut pair, &sent, landing);
        // Datagram by datagram, a short one has the shape of a landing's last.
        let singles_may_land = lengths == [64; 20] && met == ["landed"].into();
        assert!(met == contiguous || singles_may_land, "{lengths:?} {landing:?}: {met:?}");
    }
}

fn train_longer_than_the_landing_loses_nothing<D: PacketIo>(mut pair: (D, D)) {
    let sent = train(pair.1.local_address(), 40, &[1400; 40]);
    land(&mut pair, &sent, (40, 1360, 20 * 1360));
    let mut lengths = [1400; 10];
    lengths[9] = 12;
    let runt = train(pair.1.local_address(), 40, &lengths);
    land(&mut pair, &runt, (40, 1360, 20 * 1360));
}

fn no_shape_of_train_and_landing_loses_a_byte<D: PacketIo>(mut pair: (D, D)) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    for _ in 0..200 {
        let len = random.random_range(1..=1500);
        let mut lengths = vec![len; random.random_range(1..=40)];
        if let Some(last) = lengths.last_mut() {
            *last = random.random_range(1..=len);
        }
        let sent = train(pair.1.local_address(), random.random_range(1..64), &lengths);
        let head = random.random_range(1..64);
        // Often the shape of the train, and often not.
        let body = match random.random_range(0..3) {
            0 => random.random_range(1..=1500),
            _ => len.saturating_sub(head).max(1),
        };
        land(&mut pair, &sent, (head, body, random.random_range(0..=40 * 1500)));
    }
}

fn unusable_landing_is_as_none<D: PacketIo>(mut pair: (D, D)) {
    let sent = train(pair.1.local_address(), 40, &[1400; 4]);
    for unusable in [(0, 1360, 5440), (40, 0, 5440), (40, 1360, 0)] {
        assert_eq!(land(&mut pair, &sent, unusable), ["contiguous"].into());
    }
}

fn singles_in_a_row_arrive_in_order<D: PacketIo>((mut a, mut b): (D, D)) {
    let all: Vec<_> = (0..300).map(|i| train(b.local_address(), 8, &[8 + i % 90])).collect();
    for sent in &all {
        a.send(sent).expect("send failed");
    }
    let expected: Vec<_> = all.iter().flat_map(datagrams).collect();
    assert!(receive_datagrams(&mut b, 300) == expected);
    let mut scratch = Scratch::default();
    assert!(b.receive(&mut scratch, None).expect("receive failed").is_none());
    // And a train after them.
    let sent = train(b.local_address(), 8, &[1000; 30]);
    a.send(&sent).expect("send failed");
    assert!(receive_datagrams(&mut b, 30) == datagrams(&sent));
}

fn oversize_datagram_is_refused_with_the_path_mtu<D: PacketIo>((mut a, mut b): (D, D)) {
    let to = b.local_address();
    let known = a.path_datagram_bytes(to);
    let Err(SendError::TooLarge(bytes)) = a.send(&train(to, 100, &[65_535])) else {
        panic!("a datagram beyond 64 KiB left");
    };
    assert_eq!(bytes, known);
    let fits = train(to, 100, &[bytes]);
    a.send(&fits).expect("what is said to fit has to fit");
    assert!(receive_datagrams(&mut b, 1) == datagrams(&fits));
}

fn entropy_chooses_the_source_port<D: PacketIo>((mut a, mut b): (D, D)) {
    let mut scratch = Scratch::default();
    let mut sources = HashSet::new();
    for round in 0..2 {
        for entropy in (0..=255).step_by(15).map(Entropy) {
            let mut sent = train(b.local_address(), 32, &[64]);
            sent.entropy = entropy;
            assert_eq!(a.source_address(entropy).is_some(), round == 1);
            a.send(&sent).expect("send failed");
            let arrival = receive(&mut b, &mut scratch);
            assert_eq!(Some(arrival.source), a.source_address(entropy));
            sources.insert(arrival.source);
        }
    }
    assert_eq!(sources.len(), 18);
    assert!(sources.iter().all(|source| source.ip() == a.local_address().ip()));
    assert!(!sources.contains(&a.local_address()));
}

fn ecn_field_arrives<D: PacketIo>((mut a, mut b): (D, D)) {
    let mut scratch = Scratch::default();
    for lengths in [&[64][..], &[1200, 1200, 300]] {
        for ecn in [Ecn::NotCapable, Ecn::Capable, Ecn::CongestionExperienced] {
            let mut sent = train(b.local_address(), 32, lengths);
            sent.ecn = ecn;
            a.send(&sent).expect("send failed");
            let mut missing = sent.len();
            while missing > 0 {
                let arrival = receive(&mut b, &mut scratch);
                assert_eq!(arrival.ecn, ecn);
                missing -= arrival.bytes.div_ceil(arrival.stride);
            }
        }
    }
}

fn arrival_wakes_a_sleeper<D: PacketIo + Send>((mut a, mut b): (D, D)) {
    let to = b.local_address();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            let mut scratch = Scratch::default();
            loop {
                if let Some(arrival) = b.receive(&mut scratch, None).expect("receive failed") {
                    return arrival.bytes;
                }
                b.wait(None).expect("wait failed");
            }
        });
        a.send(&train(to, 32, &[64])).expect("send failed");
        assert_eq!(sleeper.join().expect("the sleeper panicked"), 64);
    });
}

fn wait_ends_when_nothing_comes<D: PacketIo>((mut a, _b): (D, D)) {
    a.wait(Some(Duration::from_micros(50))).expect("wait failed");
    a.wait(Some(Duration::ZERO)).expect("wait failed");
}

/// Where nobody listens. Not a port just closed: another test may open it again.
fn closed_port<D: PacketIo>(device: &D) -> SocketAddr {
    SocketAddr::new(device.local_address().ip(), 1)
}

fn closed_port_is_reported<D: PacketIo>((mut a, _b): (D, D)) {
    let closed = closed_port(&a);
    assert_eq!(a.take_unreachable(), None);
    a.send(&train(closed, 32, &[64])).expect("send failed");
    assert_eq!(first_unreachable(&mut a), Some(closed));
    assert_eq!(a.take_unreachable(), None);
}

fn closed_port_is_reported_to_a_sleeper<D: PacketIo>((mut a, _b): (D, D)) {
    let closed = closed_port(&a);
    a.send(&train(closed, 32, &[64])).expect("send failed");
    a.wait(Some(STEP)).expect("wait failed");
    assert_eq!(a.take_unreachable(), Some(closed));
}

fn closed_port_does_not_fail_sends_to_others<D: PacketIo>((mut a, mut b): (D, D)) {
    let closed = closed_port(&a);
    for _ in 0..3 {
        a.send(&train(closed, 32, &[64])).expect("send to the closed port failed");
        let sent = train(b.local_address(), 32, &[1000; 5]);
        a.send(&sent).expect("send to the open port failed");
        assert!(receive_datagrams(&mut b, 5) == datagrams(&sent));
    }
    // The failed send told: no need to look.
    assert_eq!(a.take_unreachable(), Some(closed));
}

/// Polls as a busy caller does, with a bound.
fn first_unreachable(device: &mut impl PacketIo) -> Option<SocketAddr> {
    (0..100_000).find_map(|_| device.take_unreachable())
}

fn overrun_is_counted<D: PacketIo>((mut a, mut b): (D, D)) {
    let to = b.local_address();
    let room = b.limits().receive_buffer;
    let sent = train(to, 32, &[1400; 40]);
    let trains = 2 * room / sent.total_bytes() + 200;
    for _ in 0..trains {
        a.send(&sent).expect("send failed");
    }
    let mut scratch = Scratch::default();
    while b.receive(&mut scratch, None).expect("receive failed").is_some() {}
    assert!(b.counters().rx_packets < 40 * trains as u64, "the buffer held everything");
    // The counter comes with the next datagram.
    a.send(&train(to, 32, &[64])).expect("send failed");
    receive(&mut b, &mut scratch);
    assert!(b.counters().rx_drops > 0);
}

macro_rules! conformance {
    ($backend:ident, $open:expr) => {
        mod $backend {
            use super::*;

            macro_rules! cases {
                ($case:ident) => {
                    #[test]
                    fn $case() {
                        if let (Some(a), Some(b)) = ($open, $open) {
                            super::$case((a, b));
                        }
                    }
                };
            }

            cases!(single_datagram_arrives_unchanged);
            cases!(train_of_forty_arrives_unchanged_and_in_order);
            cases!(train_beyond_the_kernels_limits_arrives_unchanged);
            cases!(arrival_of_the_expected_shape_lands);
            cases!(arrival_of_another_shape_is_put_in_order);
            cases!(train_longer_than_the_landing_loses_nothing);
            cases!(no_shape_of_train_and_landing_loses_a_byte);
            cases!(unusable_landing_is_as_none);
            cases!(singles_in_a_row_arrive_in_order);
            cases!(oversize_datagram_is_refused_with_the_path_mtu);
            cases!(entropy_chooses_the_source_port);
            cases!(ecn_field_arrives);
            cases!(arrival_wakes_a_sleeper);
            cases!(wait_ends_when_nothing_comes);
            cases!(closed_port_is_reported);
            cases!(closed_port_is_reported_to_a_sleeper);
            cases!(overrun_is_counted);
            cases!(closed_port_does_not_fail_sends_to_others);
        }
    };
}

conformance!(udp_v4, udp(V4, true));
conformance!(udp_v6, udp(V6, true));
conformance!(udp_v4_without_segmentation, udp(V4, false));
conformance!(fault_without_faults, {
    udp(V4, true).map(|device| FaultDevice::new(device, FaultSpec::default()))
});
conformance!(boxed, udp(V4, true).map(|device| Box::new(device) as Box<dyn PacketIo + Send>));
conformance!(capture_v4, captured(V4));
conformance!(capture_v6, captured(V6));

fn captured(address: SocketAddr) -> Option<CaptureDevice<UdpDevice>> {
    let directory = tempfile::tempdir().expect("no temporary directory");
    let path = directory.path().join("traffic.pcap");
    let clock = || Duration::from_secs(1);
    udp(address, true).map(|device| CaptureDevice::create(device, path, clock).expect("no capture"))
}
