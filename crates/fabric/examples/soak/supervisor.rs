//! Starts the workers, disturbs them, and judges.

use std::{
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
/// A socket for each of the 256 source ports, and the rest.
const MOST_DESCRIPTORS: usize = 320;
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
    broken: Vec<String>,
    totals: [u64; 4],
}

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
    let left = shared_files(&supervisor.addresses);
    if !left.is_empty() {
        supervisor.broken.push(format!("left behind: {left:?}"));
    }
    Ok(supervisor.conclude(seed, clock.now().since(began)))
}

impl Supervisor {
    fn new(seed: u64) -> Result<Self, Failure> {
        // Held all at once, so that they differ, and let go before the workers take them.
        let ports: Vec<_> = (0..WORKERS)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()?;
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
            broken: Vec::new(),
            totals: [0; 4],
        })
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        self.starts += 1;
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
                Said::Line(line) => self.count(&line),
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

    fn count(&mut self, line: &str) {
        let Some(numbers) = line.strip_prefix("done ") else { return };
        for (total, number) in self.totals.iter_mut().zip(numbers.split(' ')) {
            *total += number.parse::<u64>().unwrap_or(0);
        }
    }

    /// Prints what came out. Returns whether every promise was kept.
    fn conclude(&self, seed: u64, elapsed: Duration) -> bool {
        let [sent, received, bytes, failed] = self.totals;
        println!(
            "{WORKERS} workers for {:.1} min, seed {seed}: {} kills, {} stops",
            elapsed.as_secs_f64() / 60.0,
            self.kills,
            self.stops
        );
        println!(
            "the last lives sent {sent} messages and received {received} of {:.1} GB, all whole, \
             once and in order; {failed} sends failed with peers that were killed",
            bytes as f64 / 1e9
        );
        println!(
            "a worker held at most {} MiB and {} descriptors",
            self.memory >> 20,
            self.descriptors
        );
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
