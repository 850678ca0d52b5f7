//! `fi_pingpong` over the library: data verified, in one host and between two.

use std::{
    io::Read as _,
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

use fabric::Clock;
use hosts::{Host, Network};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::installed::Installed;

/// No test waits longer for one thing; each takes a second or so unless something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where both sides of a run listen that is sent garbage.
const GARBAGE_PORT: u16 = 5_200;

/// Both sides of a run.
struct Pair {
    server: Running,
    client: Running,
}

/// A side, which does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and that it did is what is wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("fi_pingpong of the Debian package libfabric-bin"))
    }

    fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).unwrap_or_else(|| panic!("it runs after {PATIENCE:?}"))
    }

    fn ended_within(&mut self, most: Duration) -> Option<ExitStatus> {
        let clock = Clock::start();
        let began = clock.now();
        loop {
            match self.0.try_wait().unwrap() {
                None if clock.now().since(began) < most => thread::yield_now(),
                status => return status,
            }
        }
    }

    /// What it printed, once it has ended.
    fn printed(&mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

/// Where the sides run.
enum Place<'a> {
    OneHost,
    Hosts(&'a [Host]),
}

impl Place<'_> {
    fn command(&self, installed: &Installed, side: usize) -> Command {
        match self {
            Place::OneHost => installed.command("fi_pingpong"),
            Place::Hosts(hosts) => installed.set_up(hosts[side].command("fi_pingpong")),
        }
    }

    fn server_address(&self) -> Ipv4Addr {
        match self {
            Place::OneHost => Ipv4Addr::LOCALHOST,
            Place::Hosts(hosts) => hosts[0].address4(),
        }
    }
}

impl Pair {
    fn start(installed: &Installed, place: &Place<'_>, arguments: &[&str]) -> Self {
        Self::start_on(installed, place, arguments, None)
    }

    /// Starts both, with endpoints on this UDP port if it is given. The client tries until the
    /// server listens.
    fn start_on(
        installed: &Installed,
        place: &Place<'_>,
        arguments: &[&str],
        udp: Option<u16>,
    ) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(0);
        let offset = u16::try_from(std::process::id() % 1_000).unwrap() * 8;
        // Below those that the kernel gives to whoever connects.
        let port = (20_000 + offset + PORT.fetch_add(1, Ordering::Relaxed)).to_string();
        let start = |side, more: &[&str]| {
            let mut command = place.command(installed, side);
            command.args(["-p", "elastane"]).args(arguments).args(more);
            command.envs(udp.map(|port| ("FI_ELASTANE_PORTS", port.to_string())));
            Running::start(command)
        };
        let server = start(0, &["-B", &port]);
        let address = place.server_address().to_string();
        let clock = Clock::start();
        let began = clock.now();
        loop {
            let mut client = start(1, &["-P", &port, &address]);
            // One that cannot connect ends at once.
            while clock.now().since(began) < PATIENCE {
                match client.0.try_wait().unwrap() {
                    Some(status) if !status.success() => break,
                    Some(_) => return Self { server, client },
                    None if has_endpoint(&client.0) => return Self { server, client },
                    None => thread::yield_now(),
                }
            }
            assert!(clock.now().since(began) < PATIENCE, "{}", client.printed());
        }
    }

    /// Both end well, and the client prints a line for each size that the kind of endpoint has: all
    /// that are no longer than `most`.
    fn ends_well(mut self, most: &str) {
        let status = self.client.ended();
        let printed = self.client.printed();
        assert!(status.success(), "{printed}");
        let status = self.server.ended();
        assert!(status.success(), "{}", self.server.printed());
        let first_words = printed.lines().filter_map(|line| line.split_whitespace().next());
        let found: Vec<_> = first_words.skip_while(|word| *word != "bytes").skip(1).collect();
        let longest = ALL.iter().position(|size| *size == most).unwrap();
        assert_eq!(found, ALL[..=longest], "{printed}");
    }
}

/// Whether the progress thread of a domain runs: what goes wrong from now on is not the connecting.
fn has_endpoint(process: &Child) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id()));
    tasks.is_ok_and(|tasks| tasks.count() > 1)
}

/// The sizes, in bytes, as `fi_pingpong` prints them.
const ALL: [&str; 6] = ["64", "256", "1k", "4k", "64k", "1m"];

fn every_kind(place: &Place<'_>, datagram: &str) {
    let installed = Installed::ours();
    Pair::start(&installed, place, &["-e", "rdm", "-c"]).ends_well("1m");
    Pair::start(&installed, place, &["-e", "rdm", "-m", "tagged", "-c"]).ends_well("1m");
    Pair::start(&installed, place, &["-e", "dgram", "-c"]).ends_well(datagram);
}

/// The longest size that a packet of this host's first interface has room for.
fn longest_datagram() -> &'static str {
    let verbose = Installed::ours().command("fi_info").args(["-p", "elastane", "-v"]).output();
    let verbose = String::from_utf8(verbose.unwrap().stdout).unwrap();
    let (_, datagram) = verbose.split_once("type: FI_EP_DGRAM").unwrap();
    let (_, rest) = datagram.split_once("max_msg_size: ").unwrap();
    match rest.lines().next().unwrap().parse::<usize>().unwrap() {
        65_536.. => "64k",
        4_096.. => "4k",
        _ => "1k",
    }
}

#[test]
fn all_sizes_arrive_in_one_host() {
    every_kind(&Place::OneHost, longest_datagram());
}

#[test]
fn all_sizes_arrive_between_two_hosts() {
    let network = Network::builder().build().unwrap();
    every_kind(&Place::Hosts(network.hosts()), "4k");
}

/// Kills the server of a run that would go on for hours. A client that has nothing on its way, and
/// waits for whoever may send, never hears of it: long messages are on their way nearly always.
fn survivor_ends(place: &Place<'_>) {
    let installed = Installed::ours();
    let arguments = ["-e", "rdm", "-S", "1048576", "-I", "1000000000"];
    for _ in 0..3 {
        let Pair { server, mut client } = Pair::start(&installed, place, &arguments);
        kill(Pid::from_raw(server.0.id().cast_signed()), Signal::SIGKILL).unwrap();
        if let Some(status) = client.ended_within(PATIENCE / 4) {
            return assert!(!status.success(), "{}", client.printed());
        }
    }
    panic!("three clients have gone on waiting");
}

#[test]
fn killed_peer_of_this_host_is_an_error_in_time() {
    survivor_ends(&Place::OneHost);
}

#[test]
fn killed_peer_of_another_host_is_an_error_in_time() {
    let network = Network::builder().build().unwrap();
    survivor_ends(&Place::Hosts(network.hosts()));
}

#[test]
fn garbage_changes_nothing() {
    let network = Network::builder().hosts(3).build().unwrap();
    let [server, client, stranger] = network.hosts() else { panic!("three hosts") };
    let socket =
        stranger.socket(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP));
    let socket = UdpSocket::from(socket.unwrap());
    let installed = Installed::ours();
    let place = Place::Hosts(network.hosts());
    let arguments = ["-e", "rdm", "-c"];
    let pair = Pair::start_on(&installed, &place, &arguments, Some(GARBAGE_PORT));
    for number in 0..5_000_usize {
        let garbage = vec![u8::try_from(number % 256).unwrap(); number * 37 % 1_400];
        for host in [server, client] {
            // It fails where an earlier one was refused as nobody listens yet, or any more.
            socket.send_to(&garbage, (host.address4(), GARBAGE_PORT)).ok();
        }
    }
    pair.ends_well("1m");
}
