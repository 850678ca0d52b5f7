//! `elastane top`, watching an endpoint of this test's own process.

use std::{
    fs::File,
    io::Read as _,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use fabric::{Buffer, Event, Metrics, MetricsPort, Options, RdmEndpoint, TagMatch};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::{Pid, write},
};
use serde_json::Value;

use crate::running::{Running, elastane, eventually, run};

const SOON: Duration = Duration::from_secs(10);

/// An endpoint that publishes, and has sent a message to itself.
fn endpoint() -> RdmEndpoint {
    let mut options = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
    options.metrics = Metrics::On(MetricsPort::Auto);
    let mut endpoint = RdmEndpoint::open(&options).expect("loopback has a free port");
    let peer = endpoint.peer(endpoint.address()).expect("room for one");
    endpoint.receive(Buffer::zeroed(64), None, TagMatch::Untagged, 1).expect("room for one");
    endpoint.send(peer, vec![1; 64].into(), 2).expect("room for one");
    let (mut sent, mut received) = (false, false);
    // Ends with a wait in which nothing happens, and the last snapshot is put up.
    for _ in 0..100 {
        let completion = endpoint.wait(Some(Duration::from_millis(150))).expect("it works");
        match completion.map(|completion| completion.event) {
            Some(Event::Sent) => sent = true,
            Some(_) => received = true,
            None if sent && received => return endpoint,
            None => {}
        }
    }
    panic!("the message does not arrive")
}

fn pid() -> String {
    std::process::id().to_string()
}

#[test]
fn one_snapshot_shows_endpoint_peer_and_paths() {
    let endpoint = endpoint();
    let address = endpoint.address().to_string();
    let shown = run(&["top", &pid(), "--once"]);
    let text = shown.success();
    assert!(text.contains(&format!("  rdm {address}  up ")), "{text}");
    assert!(text.contains("\nretransmitted "), "{text}");
    assert!(text.lines().any(|line| line.starts_with(&address)), "{text}");
    assert!(text.contains("  16/16\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");

    let by_port = endpoint.metrics_address().expect("it publishes").to_string();
    let document = run(&["top", &by_port, "--once", "--json"]);
    assert_eq!(document.success().lines().count(), 1);
    let document: Value = serde_json::from_str(document.success()).expect("JSON");
    assert_eq!(document["pid"], std::process::id());
    let ours = &document["endpoints"][0];
    assert_eq!(ours["address"], address);
    assert_eq!(ours["transport"]["tx_pkts"], endpoint.transport().counters().tx_pkts);

    let listed = run(&["top"]);
    assert!(listed.success().lines().any(|line| line.trim().starts_with(&pid())), "{listed:?}");
}

#[test]
fn json_streams_until_the_process_publishes_no_more() {
    let endpoint = endpoint();
    let mut running = Running::start(elastane(&["top", &pid(), "--json", "--interval", "100ms"]));
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&running.line()).expect("JSON");
        assert_eq!(line["format"], "elastane-metrics");
    }
    drop(endpoint);
    let finished = running.finish();
    assert_eq!(finished.status, 0, "{finished:?}");
    assert_eq!(finished.stderr, format!("pid {} publishes no more\n", pid()));
}

#[test]
fn what_cannot_be_watched_is_one_line() {
    let nobody = run(&["top", &pid(), "--once"]);
    assert!(nobody.error().contains("ELASTANE_METRICS=auto"), "{nobody:?}");
    let closed = run(&["top", "127.0.0.1:1", "--once"]);
    assert!(closed.error().contains("nothing publishes at 127.0.0.1:1"), "{closed:?}");
    let endpoint = endpoint();
    let piped = run(&["top", &pid()]);
    assert!(piped.error().contains("--once"), "{piped:?}");
    drop(endpoint);
}

/// `top` on a terminal of 80 by 24.
struct OnTerminal {
    child: Child,
    terminal: OwnedFd,
    /// Keeps the terminal's settings to look at.
    ours: OwnedFd,
    seen: Vec<u8>,
}

impl OnTerminal {
    fn start(colourless: bool) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let side = || Stdio::from(slave.try_clone().expect("it is open"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_elastane"));
        command.args(["top", &pid(), "--interval", "100ms"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        if colourless {
            command.env("NO_COLOR", "1");
        }
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("starts");
        Self { child, terminal: master, ours: slave, seen: Vec::new() }
    }

    fn is_raw(&self) -> bool {
        let settings = tcgetattr(&self.ours).expect("it is a terminal");
        !settings.local_flags.contains(LocalFlags::ICANON)
    }

    /// Reads until the screen has shown `wanted`.
    fn wait_for(&mut self, wanted: &str) {
        let mut terminal = File::from(self.terminal.try_clone().expect("it is open"));
        // Each redraw writes something, so reading ends.
        eventually(wanted, SOON, || {
            let mut piece = [0; 4096];
            let count = terminal.read(&mut piece).expect("it writes");
            self.seen.extend_from_slice(&piece[..count]);
            String::from_utf8_lossy(&self.seen).contains(wanted)
        });
    }

    fn press(&self, keys: &[u8]) {
        assert_eq!(write(&self.terminal, keys), Ok(keys.len()));
    }

    /// Waits for the end; what it wrote last has left the alternate screen.
    fn end(mut self) -> ExitStatus {
        self.wait_for("\u{1b}[?1049l");
        let mut status = None;
        eventually("it ends", SOON, || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        assert!(!self.is_raw(), "the terminal is left raw");
        status.expect("it ended")
    }
}

#[test]
fn terminal_is_given_back_however_it_ends() {
    let endpoint = endpoint();
    let keys: [(&[u8], i32); 3] = [(b"q", 0), (b"\x1b", 0), (b"\x03", 0)];
    for (key, status) in keys {
        let mut top = OnTerminal::start(false);
        top.wait_for("retransmitted");
        assert!(top.is_raw());
        top.press(key);
        assert_eq!(top.end().code(), Some(status));
    }
    let mut top = OnTerminal::start(false);
    top.wait_for("retransmitted");
    let id = Pid::from_raw(i32::try_from(top.child.id()).expect("process ids are positive"));
    kill(id, Signal::SIGTERM).expect("it runs");
    assert_eq!(top.end().code(), Some(128 + 15));

    let mut top = OnTerminal::start(false);
    top.wait_for("retransmitted");
    drop(endpoint);
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn no_color_is_honoured_on_a_terminal() {
    let endpoint = endpoint();
    let mut top = OnTerminal::start(true);
    top.wait_for("16/16");
    // Set foreground: by number of the palette, of 256, or of 16 million.
    let seen = String::from_utf8_lossy(&top.seen).into_owned();
    let codes = ["\u{1b}[38;", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];
    for code in codes {
        assert!(!seen.contains(code), "{seen:?}");
    }
    top.press(b"q");
    assert!(top.end().success());
    drop(endpoint);
}
