//! Starts the workers, disturbs them, and judges.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, IsTerminal as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use elastane_fabric::Clock;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{Failure, worker};

const WORKERS: usize = 8;
/// The faults of those that do not use shared memory.
const FAULTS: &str = "drop=1%,duplicate=0.5%,reorder=2%,corrupt=0.1%";
/// A worker may hold its message stores, its receives and its sends; more is a leak.
const MOST_MEMORY: u64 = 512 << 20;
/// Where to look for ports: below 32768, where `net.ipv4.ip_local_port_range` begins unless told
/// otherwise.
const FIRST_PORT: u16 = 23_000;
/// A socket for each of the 256 source ports, which all are in use while paths to seven peers look
/// for better ones, and the rest.
const MOST_DESCRIPTORS: usize = 320;
/// The same at the end, when a worker has been quiet for some seconds: 16 paths to each of seven
/// peers, and the rest.
const MOST_AT_END: u64 = 160;
/// How long workers may take to come to an end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line that a worker printed, or its end.
enum Said {
    Line(String),
    End,
}

/// Which worker, which start of it, and what.
type Word = (usize, u64, Said);

struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Which start of this worker it is; what an earlier one said does not matter.
    start: u64,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }
}

struct Supervisor {
    addresses: Vec<SocketAddr>,
    workers: Vec<Option<Running>>,
    speak: Sender<Word>,
    hear: Receiver<Word>,
    rng: Xoshiro256PlusPlus,
    starts: u64,
    kills: u64,
    stops: u64,
    memory: u64,
    descriptors: usize,
    at_end: u64,
    broken: Vec<String>,
    /// What each worker's life said last, and what all lives that are over said.
    said: [Counts; WORKERS],
    totals: Counts,
    /// Processes and files that were still there at the end.
    left: (usize, usize),
}

type Counts = BTreeMap<String, u64>;

pub(crate) fn run(minutes: f64, seed: u64) -> Result<bool, Failure> {
    let clock = Clock::start();
    let began = clock.now();
    let duration = Duration::try_from_secs_f64(minutes * 60.0)?;
    let mut supervisor = Supervisor::new(seed)?;
    for index in 0..WORKERS {
        supervisor.start(index)?;
    }
    let mut reported = 0;
    while clock.now().since(began) < duration && supervisor.broken.is_empty() {
        supervisor.disturb()?;
        let minute = clock.now().since(began).as_secs() / 60;
        if minute > reported || std::io::stderr().is_terminal() {
            reported = minute;
            supervisor.report(clock.now().since(began));
        }
    }
    supervisor.end(&clock)?;
    supervisor.look_for_remains();
    Ok(supervisor.conclude(seed, clock.now().since(began)))
}

impl Supervisor {
    fn new(seed: u64) -> Result<Self, Failure> {
        // Held all at once, so that they differ, and let go before the workers take them.
        // Below those that the kernel gives to whoever asks for any: a worker that starts again
        // must find its own free.
        let free =
            (FIRST_PORT..).filter_map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let ports: Vec<_> = free.take(WORKERS).collect();
        let (speak, hear) = mpsc::channel();
        let addresses = ports.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            workers: (0..WORKERS).map(|_| None).collect(),
            speak,
            hear,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            starts: 0,
            kills: 0,
            stops: 0,
            memory: 0,
            descriptors: 0,
            at_end: 0,
            broken: Vec::new(),
            said: Default::default(),
            totals: Counts::new(),
            left: (0, 0),
        })
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        self.starts += 1;
        self.close_account(index);
        let faults = if index.is_multiple_of(2) { "shm" } else { FAULTS };
        let seed: u64 = self.rng.random();
        let mut child = Command::new(env::current_exe()?)
            .args([worker::NAME, &index.to_string(), &seed.to_string(), faults])
            .args(self.addresses.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("standard output is piped")?;
        let (said, start) = (self.speak.clone(), self.starts);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send((index, start, Said::Line(line))).is_err() {
                    return;
                }
            }
            // Nobody listens any more when all is over.
            said.send((index, start, Said::End)).ok();
        });
        let stdin = child.stdin.take();
        self.workers[index] = Some(Running { child, stdin, start });
        Ok(())
    }

    /// Lets the workers work for a while, then kills one and starts it again, or stops one for a
    /// moment.
    fn disturb(&mut self) -> Result<(), Failure> {
        let pause = Duration::from_millis(self.rng.random_range(500..3_000));
        self.listen(pause);
        self.inspect();
        let index = self.rng.random_range(0..WORKERS);
        let moment = Duration::from_millis(self.rng.random_range(10..1_500));
        if self.rng.random_bool(0.5) {
            let Some(mut running) = self.workers[index].take() else { return Ok(()) };
            running.child.kill()?;
            running.child.wait()?;
            self.kills += 1;
            self.listen(moment);
            self.start(index)
        } else {
            let Some(pid) = self.workers[index].as_ref().map(Running::pid) else { return Ok(()) };
            kill(pid, Signal::SIGSTOP)?;
            self.stops += 1;
            self.listen(moment);
            Ok(kill(pid, Signal::SIGCONT)?)
        }
    }

    /// Hears what workers say for this long. None of them should end.
    fn listen(&mut self, time: Duration) {
        let clock = Clock::start();
        let began = clock.now();
        loop {
            let left = time.saturating_sub(clock.now().since(began));
            match self.hear.recv_timeout(left) {
                Ok((index, start, Said::End)) if self.is_current(index, start) => {
                    self.broken.push(format!("worker {index} ended by itself"));
                }
                Ok((index, start, Said::Line(line))) if self.is_current(index, start) => {
                    self.count(index, &line);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn is_current(&self, index: usize, start: u64) -> bool {
        self.workers[index].as_ref().is_some_and(|running| running.start == start)
    }

    /// Looks how much the workers hold.
    fn inspect(&mut self) {
        for pid in self.workers.iter().flatten().map(Running::pid) {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            let pages: u64 =
                text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
            self.memory = self.memory.max(pages * 4096);
            let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            self.descriptors = self.descriptors.max(open);
        }
        if self.memory > MOST_MEMORY {
            self.broken.push(format!("a worker holds {} MiB", self.memory >> 20));
        }
        if self.descriptors > MOST_DESCRIPTORS {
            self.broken.push(format!("a worker holds {} descriptors", self.descriptors));
        }
    }

    fn report(&self, elapsed: Duration) {
        eprintln!(
            "{:5.1} min: {} kills, {} stops, at most {} MiB and {} descriptors in a worker",
            elapsed.as_secs_f64() / 60.0,
            self.kills,
            self.stops,
            self.memory >> 20,
            self.descriptors
        );
    }

    /// Tells all workers to stop and waits for them.
    fn end(&mut self, clock: &Clock) -> Result<(), Failure> {
        for running in self.workers.iter_mut().flatten() {
            running.stdin = None;
        }
        let until = clock.now() + PATIENCE;
        while self.workers.iter().any(Option::is_some) {
            let left = until.since(clock.now());
            let Ok((index, start, said)) = self.hear.recv_timeout(left) else {
                self.broken.push(format!("not all workers ended within {PATIENCE:?}"));
                break;
            };
            if !self.is_current(index, start) {
                continue;
            }
            match said {
                Said::Line(line) => self.count(index, &line),
                Said::End => {
                    let Some(mut running) = self.workers[index].take() else { continue };
                    let status = running.child.wait()?;
                    if !status.success() {
                        self.broken.push(format!("worker {index}: {status}"));
                    }
                }
            }
        }
        for running in self.workers.iter_mut().flatten() {
            running.child.kill()?;
            running.child.wait()?;
        }
        Ok(())
    }

    fn count(&mut self, index: usize, line: &str) {
        let Some(pairs) = line.strip_prefix("tally ") else { return };
        let pair = |pair: &str| {
            let (what, count) = pair.split_once('=')?;
            Some((what.to_owned(), count.parse().ok()?))
        };
        self.said[index] = pairs.split(' ').filter_map(pair).collect();
    }

    /// A worker's life is over: what it said last counts.
    fn close_account(&mut self, index: usize) {
        let mut said = std::mem::take(&mut self.said[index]);
        let at_end = said.remove("descriptors").unwrap_or(0);
        self.at_end = self.at_end.max(at_end);
        for (what, count) in said {
            *self.totals.entry(what).or_default() += count;
        }
    }

    /// Looks for what should be gone.
    fn look_for_remains(&mut self) {
        let files = shared_files(&self.addresses);
        let processes = children();
        if !files.is_empty() {
            self.broken.push(format!("left behind: {files:?}"));
        }
        if !processes.is_empty() {
            self.broken.push(format!("left behind: processes {processes:?}"));
        }
        self.left = (files.len(), processes.len());
    }

    /// Prints what came out. Returns whether every promise was kept.
    fn conclude(&mut self, seed: u64, elapsed: Duration) -> bool {
        (0..WORKERS).for_each(|index| self.close_account(index));
        if self.at_end > MOST_AT_END {
            self.broken.push(format!("a quiet worker holds {} descriptors", self.at_end));
        }
        let count = |what: &str| self.totals.get(what).copied().unwrap_or(0);
        let gigabytes = |what: &str| format!("{:.1} GB", count(what) as f64 / 1e9);
        let failures = self.totals.iter().filter_map(|(what, count)| {
            what.strip_prefix("failed-").map(|kind| format!("{count} {kind}"))
        });
        let failures = failures.collect::<Vec<_>>().join(", ");
        let (files, processes) = self.left;
        let minutes = elapsed.as_secs_f64() / 60.0;
        let lines = [
            ("workers", format!("{WORKERS}, {} lives, {minutes:.1} min, seed {seed}", self.starts)),
            ("faults", format!("{} kills, {} stops; UDP {FAULTS}", self.kills, self.stops)),
            ("messages", format!("{} sent, {} received", count("sent"), count("received"))),
            ("", format!("{}, each whole, once and in its sender's order", gigabytes("bytes"))),
            (
                "one-sided",
                format!(
                    "{} atomics, {} writes, {} reads, {}; what completed was checked",
                    count("atomics"),
                    count("writes"),
                    count("reads"),
                    gigabytes("one-sided-bytes")
                ),
            ),
            ("failed", format!("with peers that were killed: {failures}")),
            (
                "at most",
                format!(
                    "{} descriptors in a worker, {} at its end; {} MiB",
                    self.descriptors,
                    self.at_end,
                    self.memory >> 20
                ),
            ),
            ("left behind", format!("{files} files in /dev/shm, {processes} processes")),
            ("broken", self.broken.len().to_string()),
        ];
        for (name, value) in lines {
            println!("{name:<12} {value}");
        }
        for broken in &self.broken {
            println!("BROKEN: {broken}");
        }
        self.broken.is_empty()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for running in self.workers.iter_mut().flatten() {
            running.child.kill().and_then(|()| running.child.wait().map(drop)).ok();
        }
    }
}

/// Files in shared memory that belong to endpoints at these addresses.
fn shared_files(addresses: &[SocketAddr]) -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of = |address: &SocketAddr| format!(".{}.{}", address.ip(), address.port());
        name.starts_with("elastane.")
            && addresses.iter().any(|address| {
                name.split_once(&of(address))
                    .is_some_and(|(_, rest)| !rest.starts_with(char::is_numeric))
            })
    };
    entries.map(|entry| entry.path()).filter(is_ours).collect()
}

/// Processes whose parent is this one.
fn children() -> Vec<u32> {
    let ours = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before the last parenthesis may hold anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) == Some(ours)
    };
    pids.filter(is_ours).collect()
}
