//! A capture holds what was sent and received, in packets that other tools read.

use std::{fs::File, net::SocketAddr, path::Path, time::Duration};

use elastane_io::{CaptureDevice, Landing, Layout, PacketIo, Scratch};
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use pcap_file::{DataLink, pcap::PcapReader};
use wire::{Ecn, Entropy};

use crate::{
    V4, V6,
    traffic::{datagrams, receive, receive_into, train},
    udp,
};

const TIME: Duration = Duration::new(1_700_000_000, 123_456_789);

#[derive(Debug, PartialEq)]
struct Captured {
    from: SocketAddr,
    to: SocketAddr,
    ecn: u8,
    payload: Vec<u8>,
}

/// Reads a capture back with checksums verified.
fn read(path: &Path) -> Vec<Captured> {
    let mut reader = PcapReader::new(File::open(path).expect("no capture")).expect("not a pcap");
    assert_eq!(reader.header().datalink, DataLink::RAW);
    let mut all = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("damaged capture");
        assert_eq!(packet.timestamp, TIME);
        assert_eq!(packet.orig_len as usize, packet.data.len());
        let headers = PacketHeaders::from_ip_slice(&packet.data).expect("not an IP packet");
        let payload = headers.payload.slice();
        let Some(TransportHeader::Udp(udp)) = headers.transport else { panic!("not UDP") };
        let (from, to, ecn, checksum): (std::net::IpAddr, std::net::IpAddr, _, _) =
            match headers.net.expect("no IP header") {
                NetHeaders::Ipv4(ip, _) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    let checksum = udp.calc_checksum_ipv4(&ip, payload);
                    (ip.source.into(), ip.destination.into(), ip.ecn.value(), checksum)
                }
                NetHeaders::Ipv6(ip, _) => {
                    let checksum = udp.calc_checksum_ipv6(&ip, payload);
                    (ip.source.into(), ip.destination.into(), ip.traffic_class & 3, checksum)
                }
                NetHeaders::Arp(_) => panic!("not IP"),
            };
        assert_eq!(Ok(udp.checksum), checksum.map_err(|_| ()));
        all.push(Captured {
            from: SocketAddr::new(from, udp.source_port),
            to: SocketAddr::new(to, udp.destination_port),
            ecn,
            payload: payload.to_vec(),
        });
    }
    all
}

#[test]
fn capture_read_back_equals_what_was_sent_and_received() {
    let directory = tempfile::tempdir().expect("no temporary directory");
    for address in [V4, V6] {
        let (Some(a), Some(b)) = (udp(address, true), udp(address, true)) else { continue };
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        let mut a = CaptureDevice::create(a, &paths[0], || TIME).expect("no capture");
        let mut b = CaptureDevice::create(b, &paths[1], || TIME).expect("no capture");
        let mut lengths = [1400; 7];
        lengths[6] = 77;
        let mut sent = train(b.local_address(), 40, &lengths);
        (sent.entropy, sent.ecn) = (Entropy(5), Ecn::Capable);
        // Once into a landing, once not.
        let mut scratch = Scratch::default();
        let mut buffer = vec![0; 7 * 1360];
        a.send(&sent).expect("send failed");
        let landing = Landing { head: 40, body: 1360, buffer: &mut buffer };
        assert_eq!(receive_into(&mut b, &mut scratch, Some(landing)).layout, Layout::Landed);
        a.send(&sent).expect("send failed");
        receive(&mut b, &mut scratch);
        let from = a.source_address(Entropy(5)).expect("nothing was sent");
        let to = b.local_address();
        drop(a);
        b.finish().expect("the capture is incomplete");
        let twice = [datagrams(&sent), datagrams(&sent)].concat();
        let expected: Vec<_> =
            twice.into_iter().map(|payload| Captured { from, to, ecn: 2, payload }).collect();
        assert!(read(&paths[0]) == expected);
        assert!(read(&paths[1]) == expected);
    }
}

#[test]
fn full_disk_ends_the_capture_and_not_the_traffic() {
    let (a, mut b) = (udp(V4, true).expect("no UDP"), udp(V4, true).expect("no UDP"));
    let mut a = CaptureDevice::create(a, "/dev/full", || TIME).expect("no capture");
    let sent = train(b.local_address(), 40, &[1400; 40]);
    let mut scratch = Scratch::default();
    for _ in 0..3 {
        a.send(&sent).expect("send failed");
        assert_eq!(receive(&mut b, &mut scratch).bytes, 40 * 1400);
    }
    let error = a.capture_error().expect("no error");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn file_that_cannot_be_written_is_named() {
    let Err(error) = CaptureDevice::create((), "/no/such/directory/x.pcap", || TIME) else {
        panic!("a file in no directory");
    };
    assert_eq!(
        error.to_string(),
        "cannot capture to /no/such/directory/x.pcap; name a file that can be written"
    );
}
