//! The program by perftest's names, run on both sides.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::running::{BOUND, Finished, Running, eventually, is_listening, run};

/// All of them.
pub(crate) const TOOLS: [&str; 8] = [
    "ib_send_bw",
    "ib_send_lat",
    "ib_write_bw",
    "ib_write_lat",
    "ib_read_bw",
    "ib_read_lat",
    "ib_atomic_bw",
    "ib_atomic_lat",
];

/// A folder with the links.
pub(crate) struct Links(TempDir);

impl Links {
    /// Makes them.
    pub(crate) fn install() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let installed = run(&["install-links", folder.path().to_str().expect("a plain name")]);
        // And the one of ParallelCluster.
        assert_eq!(installed.success().lines().count(), TOOLS.len() + 1, "{installed:?}");
        Self(folder)
    }

    /// Where one is.
    pub(crate) fn path(&self, tool: &str) -> PathBuf {
        self.0.path().join(tool)
    }

    /// A tool with what is written after it.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.path(words.next().expect("a tool")));
        command.args(words).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs one alone.
    pub(crate) fn run(&self, line: &str) -> Finished {
        Running::start(self.command(line)).finish()
    }

    /// Runs a server and then a client of it, on a port of their own.
    pub(crate) fn measure(&self, line: &str) -> (Finished, Finished) {
        self.measure_with(line, "")
    }

    /// The same, with more options for the client.
    pub(crate) fn measure_with(&self, line: &str, more: &str) -> (Finished, Finished) {
        let (client, server) = self.start(line, more);
        (client.finish(), server.finish())
    }

    /// Starts a server, and a client when that listens.
    pub(crate) fn start(&self, line: &str, more: &str) -> (Running, Running) {
        let port = free_port();
        let server = Running::start(self.command(&format!("{line} -p {port}")));
        eventually("the server listens", BOUND, || is_listening(port));
        let client = self.command(&format!("{line} -p {port} 127.0.0.1 {more}"));
        (Running::start(client), server)
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// What the usual `awk` takes: lines that begin with a number, field by field.
pub(crate) fn rows(text: &str) -> Vec<Vec<f64>> {
    text.lines()
        .filter(|line| line.split_whitespace().next().is_some_and(|w| w.parse::<u64>().is_ok()))
        .map(|line| line.split_whitespace().map(|word| word.parse().expect("figures")).collect())
        .collect()
}
