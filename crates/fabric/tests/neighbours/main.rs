//! Endpoints of one host, in one process and in several: shared memory where it works, UDP where
//! it does not, and nothing left behind.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod barriers;
mod loans;
mod mixed;
mod processes;

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use elastane_fabric::{
    Buffer, Bytes, Clock, Event, Options, PeerId, PeerRoute, RdmEndpoint, SharedMemory, TagMatch,
};
use message::Completion;

/// No test waits longer for one thing; each takes milliseconds unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tells a test that it is the other process of a test, and what it does.
const PART: &str = "ELASTANE_TEST_PART";
/// Longer than any message of these tests.
const LONGEST: usize = 4 << 20;

fn options() -> Options {
    Options::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn open() -> RdmEndpoint {
    RdmEndpoint::open(&options()).expect("the loopback device is there")
}

fn open_without_shared_memory() -> RdmEndpoint {
    let options = Options { shared_memory: SharedMemory::Never, ..options() };
    RdmEndpoint::open(&options).expect("the loopback device is there")
}

/// Calls `attempt` until it returns something.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    let began = clock.now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(clock.now().since(began) < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Bytes that differ from place to place and from message to message.
fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length).map(|at| ((at * 7 + seed) % 251).to_le_bytes()[0]).collect::<Vec<_>>().into()
}

fn post(endpoint: &mut RdmEndpoint, from: Option<PeerId>, length: usize) {
    endpoint.receive(Buffer::zeroed(length), from, TagMatch::Untagged, 0).expect("there is room");
}

/// The next completion.
fn wait(endpoint: &mut RdmEndpoint) -> Completion {
    endpoint.wait(Some(PATIENCE)).expect("the device works").expect("a completion")
}

/// The message and the sender of a completion, if it is a receive.
fn received(completion: Completion) -> Option<(PeerId, Vec<u8>)> {
    completion.result.expect("no failure");
    let Event::Received { buffer, length, .. } = completion.event else { return None };
    let mut bytes = buffer.into_vec();
    bytes.truncate(usize::try_from(length).expect("it is in memory"));
    Some((completion.peer.expect("a sender"), bytes))
}

/// The next message, to a receive from anybody that is posted for it.
fn receive(endpoint: &mut RdmEndpoint) -> (PeerId, Vec<u8>) {
    receive_from(endpoint, None)
}

/// The next message from `from`, to a receive that is posted for it.
fn receive_from(endpoint: &mut RdmEndpoint, from: Option<PeerId>) -> (PeerId, Vec<u8>) {
    post(endpoint, from, LONGEST);
    loop {
        if let Some(message) = received(wait(endpoint)) {
            return message;
        }
    }
}

/// What another process is to do, if this one is the other process.
fn part() -> Option<Vec<String>> {
    let part = env::var(PART).ok()?;
    Some(part.split(' ').map(str::to_owned).collect())
}

/// This program as the other process of `test`, there to do `part`.
fn command(test: &str) -> Vec<String> {
    let program = env::current_exe().unwrap().to_string_lossy().into_owned();
    [&program, test, "--exact", "--nocapture"].map(str::to_owned).to_vec()
}

/// A process that does `part` of `test`. It is killed when this is dropped.
struct Other(Child);

impl Other {
    fn start(test: &str, part: &str) -> Self {
        let words = command(test);
        Self::run(Command::new(&words[0]).args(&words[1..]), part)
    }

    fn run(command: &mut Command, part: &str) -> Self {
        Self(command.env(PART, part).stdin(Stdio::null()).spawn().expect("it starts"))
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ended_well(&mut self) {
        assert!(eventually("exit", || self.0.try_wait().unwrap()).success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        // Sweeps what it left.
        drop(open());
    }
}

/// How many files of shared memory there are of endpoints at this port.
fn files_of(address: SocketAddr) -> usize {
    let end = format!("127.0.0.1.{}", address.port());
    let is_ours = |name: &str| {
        name.starts_with("elastane.") && (name.ends_with(&end) || name.contains(&format!("{end}.")))
    };
    let entries = fs::read_dir("/dev/shm").expect("there is shared memory");
    entries.filter(|entry| is_ours(&entry.as_ref().unwrap().file_name().to_string_lossy())).count()
}

/// Whether messages to `peer` go through shared memory.
fn is_local(endpoint: &RdmEndpoint, peer: PeerId) -> bool {
    endpoint.route(peer) == PeerRoute::SharedMemory
}

/// Exchanges messages with a peer that returns them until shared memory is used.
fn warm_up(near: &mut RdmEndpoint, peer: PeerId) {
    eventually("link", || {
        near.send(peer, "are you there?".into(), 0).unwrap();
        assert_eq!(receive(near).1, b"are you there?");
        is_local(near, peer).then_some(())
    });
}
