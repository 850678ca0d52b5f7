//! Flows have limits, and many of them carry more than one.

use elastane_cloud::machines::{Link, Machines as _, Peer};

use crate::place::{Place, all, group, policy, ssh_from, wait_until};

const GIGABIT: u64 = 1_000_000_000;
/// Takes what comes from any number of flows.
const SINK: &str = "import socket, threading
l = socket.create_server(('', 5001))
def take(c):
    while c.recv(1 << 20): pass
while True: threading.Thread(target=take, args=(l.accept()[0],), daemon=True).start()";
/// Sends for two seconds over some flows, and prints the bits per second that were taken.
const SOURCE: &str = "import socket, sys, threading, time
until, sent = time.time() + 2, []
def send():
    s, n = socket.create_connection((sys.argv[1], 5001)), 0
    while time.time() < until: n += s.send(bytes(1 << 16))
    sent.append(n)
flows = [threading.Thread(target=send) for _ in range(int(sys.argv[2]))]
[flow.start() for flow in flows]
[flow.join() for flow in flows]
print(sum(sent) * 4)";

fn link(near: bool) -> Option<Link> {
    let near = near.then(|| "pg-1".to_owned());
    Some(Link { card: 100 * GIGABIT, flow: 5 * GIGABIT, near_flow: 10 * GIGABIT, near })
}

/// What flows from one machine to another carry, in Gb/s.
fn measure(place: &Place, from: u8, to: u8, flows: u32) -> f64 {
    let program = SOURCE.replace('\'', "'\\''");
    let to = place.address(to);
    let output = place.ssh(from, &format!("python3 -c '{program}' {to} {flows}"));
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    printed.parse::<f64>().unwrap_or_else(|_| panic!("{output:?}")) / 1e9
}

#[test]
fn a_flow_has_the_limit_of_its_placement_and_four_carry_more() {
    let mut place = Place::open();
    for (number, near) in [(1, true), (2, true), (3, false)] {
        place.start_with(number, link(near));
    }
    let own = || all(Peer::Group("sg-own".to_owned()));
    let login = ssh_from(place.this_machine());
    let groups = vec![group(&place, "sg-own", &[1, 2, 3], vec![own(), login], vec![own()])];
    place.machines.filter(&policy(groups)).unwrap();
    let sink = SINK.replace('\'', "'\\''");
    let background = format!("(setsid python3 -c '{sink}' >/dev/null 2>&1 &)");
    assert!(place.ssh(1, &background).status.success());
    wait_until("it listens", || place.ssh(1, "ss -ltn | grep -q :5001").status.success());
    let one = measure(&place, 2, 1, 1);
    let four = measure(&place, 2, 1, 4);
    let far = measure(&place, 3, 1, 1);
    // At a tenth of EC2's speed: 1 Gb/s and 0.5 Gb/s, and what the first burst adds.
    assert!((0.5..1.1).contains(&one), "one near flow: {one} Gb/s");
    assert!((0.25..0.6).contains(&far), "one far flow: {far} Gb/s");
    assert!(four > 1.5 * one, "four near flows: {four} Gb/s, one: {one} Gb/s");
}
