//! Security groups have effect on packets.

use elastane_cloud::machines::{Machines as _, Peer, Rule, Traffic};

use crate::place::{Place, all, everywhere, group, policy, ssh_from, wait_until};

#[test]
fn member_reaches_member_and_a_stranger_reaches_nobody() {
    let mut place = Place::open();
    (1..=3).for_each(|number| place.start(number));
    let own = Peer::Group("sg-own".to_owned());
    let from_here = ssh_from(place.this_machine());
    let groups = |members: &[u8]| {
        policy(vec![
            group(&place, "sg-own", members, vec![all(own.clone())], vec![all(own.clone())]),
            group(&place, "sg-login", &[1, 2, 3], vec![from_here.clone()], Vec::new()),
        ])
    };
    let (two, three) = (groups(&[1, 2]), groups(&[1, 2, 3]));
    // Before there are rules, not even this machine reaches anything.
    assert!(!place.ssh(1, "true").status.success());
    place.machines.filter(&two).unwrap();
    assert!(place.reaches(1, 2) && place.reaches(2, 1));
    assert!(!place.reaches(3, 1) && !place.reaches(1, 3));
    place.machines.filter(&three).unwrap();
    assert!(place.reaches(3, 1) && place.reaches(1, 3));
    place.machines.filter(&two).unwrap();
    assert!(!place.reaches(3, 1) && !place.reaches(1, 3));
}

#[test]
fn rules_of_both_sides_have_to_allow_it() {
    let mut place = Place::open();
    (1..=2).for_each(|number| place.start(number));
    let here = || ssh_from(place.this_machine());
    let groups = |out: Vec<Rule>, into: Vec<Rule>| {
        policy(vec![
            group(&place, "sg-a", &[1], vec![here()], out),
            group(&place, "sg-b", &[2], [vec![here()], into].concat(), Vec::new()),
        ])
    };
    let from_a = || ssh_from(Peer::Group("sg-a".to_owned()));
    let neither = groups(Vec::new(), Vec::new());
    let only_out = groups(vec![all(everywhere())], Vec::new());
    let only_in = groups(Vec::new(), vec![from_a()]);
    let both = groups(vec![all(everywhere())], vec![from_a()]);
    let other_port = groups(
        vec![all(everywhere())],
        vec![Rule { traffic: Traffic::Tcp { first: 23, last: 80 }, peer: everywhere() }],
    );
    for (policy, reaches) in
        [(neither, false), (only_out, false), (only_in, false), (both, true), (other_port, false)]
    {
        place.machines.filter(&policy).unwrap();
        assert_eq!(place.reaches(1, 2), reaches, "{policy:?}");
        // The other direction is nobody's wish.
        assert!(!place.reaches(2, 1));
    }
}

#[test]
fn stranger_with_the_address_of_a_member_is_not_heard() {
    let mut place = Place::open();
    (1..=3).for_each(|number| place.start(number));
    let own = Peer::Group("sg-own".to_owned());
    let login = vec![ssh_from(place.this_machine())];
    let groups = vec![
        group(&place, "sg-own", &[1, 2], vec![all(own.clone())], vec![all(own)]),
        group(&place, "sg-login", &[1, 2, 3], login, Vec::new()),
    ];
    place.machines.filter(&policy(groups)).unwrap();
    let gateway = place.numbered(1);
    let (member, listener) = (place.address(1), place.address(2));
    let listen = "python3 -c \"import socket; \
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); \
         s.settimeout(20); print(s.recvfrom(99)[0].decode())\"";
    let heard = std::thread::scope(|scope| {
        let heard = scope.spawn(|| place.ssh(2, listen));
        wait_until("it listens", || place.ssh(2, "ss -lun | grep -q :7000").status.success());
        let send = |word: &str| format!("echo -n {word} >/dev/udp/{listener}/7000");
        let steal = format!(
            "ip address add {member}/32 dev lo && ip route replace {listener} \
             via {gateway} dev eth0 onlink src {member}"
        );
        let stolen = place.ssh(3, &format!("{steal} && bash -c '{}'", send("stranger")));
        assert!(stolen.status.success(), "{stolen:?}");
        let sent = place.ssh(1, &format!("bash -c '{}'", send("member")));
        assert!(sent.status.success(), "{sent:?}");
        heard.join().unwrap()
    });
    assert_eq!(String::from_utf8_lossy(&heard.stdout).trim(), "member", "{heard:?}");
}

/// Datagrams that begin as the fabric's do are EFA traffic; others are UDP.
#[test]
fn efa_traffic_passes_only_where_a_group_allows_everything_to_itself_both_ways() {
    let mut place = Place::open();
    (1..=2).for_each(|number| place.start(number));
    let own = || Peer::Group("sg-own".to_owned());
    let udp = || Rule { traffic: Traffic::Udp { first: 0, last: 65535 }, peer: own() };
    let login = || ssh_from(place.this_machine());
    let groups = |ingress: Rule, egress: Rule| {
        policy(vec![group(&place, "sg-own", &[1, 2], vec![login(), ingress], vec![egress])])
    };
    let cases = [
        (groups(udp(), udp()), "udp"),
        (groups(all(own()), all(everywhere())), "udp"),
        (groups(udp(), all(own())), "udp"),
        (groups(all(own()), all(own())), "efa udp"),
    ];
    let (from, to) = (place.address(1), place.address(2));
    for (policy, heard) in cases {
        place.machines.filter(&policy).unwrap();
        // An acknowledgement's header: four bytes of checksum, version and kind, no flags.
        let send = format!(
            "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
             s.bind(('{from}', 0)); e = bytes(4) + bytes([0x12]) + bytes(27); \
             [s.sendto(m, ('{to}', 7000)) for m in (e, b'udp' + bytes(40), b'end' + bytes(40))]\""
        );
        let listen = "python3 -c \"import socket; \
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); \
             s.settimeout(20); m = b''; r = []\nwhile m[:3] != b'end': m = s.recv(99); \
             r.append('efa' if m[4] == 0x12 else m[:3].decode())\nprint(' '.join(r[:-1]))\"";
        let listen = listen.replace("\\n", "\n");
        let printed = std::thread::scope(|scope| {
            let printed = scope.spawn(|| place.ssh(2, &listen));
            wait_until("it listens", || place.ssh(2, "ss -lun | grep -q :7000").status.success());
            let sent = place.ssh(1, &send);
            assert!(sent.status.success(), "{sent:?}");
            printed.join().unwrap()
        });
        let text = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
        assert_eq!(text, heard, "{policy:?} {printed:?}");
    }
}
