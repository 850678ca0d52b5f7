//! Running the command, within bounds. The one place with a clock.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::PollTimeout,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a whole quick comparison may take on a machine that does other things as well.
pub(crate) const BOUND: Duration = Duration::from_secs(240);

/// The command with these arguments, as a script would run it.
pub(crate) fn elastane(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elastane"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("NO_COLOR");
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    Running::start(elastane(arguments)).finish()
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Finished {
    /// Standard error, which must be the one line of an error, and the status that goes with it.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.status, 2, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("elastane: "), "{self:?}");
        &self.stderr
    }

    /// Standard output of a command that did its work.
    #[track_caller]
    pub(crate) fn success(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        &self.stdout
    }
}

/// A command that runs, and is killed if a test fails meanwhile.
pub(crate) struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.spawn().expect("the command starts");
        Self { child, lines: None }
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"))
    }

    /// The next line it prints.
    pub(crate) fn line(&mut self) -> String {
        let stdout = &mut self.child.stdout;
        let lines = self.lines.get_or_insert_with(|| {
            BufReader::new(stdout.take().expect("standard output is piped"))
        });
        let mut line = String::new();
        lines.read_line(&mut line).expect("the pipe works");
        line
    }

    /// Nobody reads what it prints any more.
    pub(crate) fn close_output(&mut self) {
        self.child.stdout = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let mut printed = String::new();
        let (mut stdout, mut stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let mut lines = self.lines.take();
        let (printed, said) = std::thread::scope(|scope| {
            let said = scope.spawn(move || {
                let mut said = String::new();
                stderr.as_mut().map(|stderr| stderr.read_to_string(&mut said));
                said
            });
            let read = scope.spawn(move || {
                stdout.as_mut().map(|stdout| stdout.read_to_string(&mut printed));
                lines.as_mut().map(|lines| lines.read_to_string(&mut printed));
                printed
            });
            eventually("the command ends", BOUND, || {
                self.child.try_wait().expect("it is our child").is_some()
            });
            (read.join().expect("reads"), said.join().expect("reads"))
        });
        let status = self.child.wait().expect("it is our child");
        Finished { status: status.code().unwrap_or(-1), stdout: printed, stderr: said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it ended, as it should have.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// The processes that descend from `ancestor`, at any distance.
pub(crate) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let parents: Vec<(i32, i32)> = processes()
        .into_iter()
        .filter_map(|id| Some((id, stat_field(id, 1)?.parse().ok()?)))
        .collect();
    let mut found = vec![ancestor.as_raw()];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// Whether a process runs; one that only waits to be reaped does not.
pub(crate) fn is_running(id: Pid) -> bool {
    stat_field(id.as_raw(), 0).is_some_and(|state| state != "Z" && state != "X")
}

/// The arguments a process was started with.
pub(crate) fn arguments_of(id: Pid) -> String {
    let arguments = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    arguments.replace('\0', " ")
}

/// The network namespace of a process.
pub(crate) fn network_of(id: Pid) -> Option<String> {
    let link = fs::read_link(format!("/proc/{id}/ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Whether any process is in this network namespace.
pub(crate) fn is_inhabited(network: &str) -> bool {
    processes().into_iter().any(|id| network_of(Pid::from_raw(id)).as_deref() == Some(network))
}

/// CPU time a process used, in clock ticks (usually of 10 ms).
pub(crate) fn cpu_ticks(id: Pid) -> u64 {
    let field = |at| stat_field(id.as_raw(), at).and_then(|text| text.parse::<u64>().ok());
    field(11).unwrap_or(0) + field(12).unwrap_or(0)
}

/// Whether a TCP port is listened on, asked without connecting to it.
pub(crate) fn is_listening(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| {
        let sockets = fs::read_to_string(path).unwrap_or_default();
        sockets.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.len() > 3 && fields[1].ends_with(&wanted) && fields[3] == LISTEN
        })
    })
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A field of `/proc/ID/stat` after the name, counted from the state.
fn stat_field(id: i32, field: usize) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split_whitespace().nth(field).map(str::to_owned)
}

/// Fails unless `condition` comes true in time.
#[track_caller]
pub(crate) fn eventually(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = now() + bound;
    while !condition() {
        assert!(now() < deadline, "not within {bound:?}: {what}");
        nix::poll::poll(&mut [], PollTimeout::from(5u8)).ok();
    }
}

/// How long `work` takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = now();
    let result = work();
    (result, now() - before)
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn now() -> Instant {
    Instant::now()
}
