//! The real `iperf3`, when it is installed: its figure stands beside ours, so that ours can be
//! believed.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use crate::{
    clock::Clock,
    load::{Half, Link, Load, LoadError, Offer, Outcome, Prepared, Shape, Test},
    meter::Flow,
};

/// The first line of `iperf3 --version`; `None` where it is not installed.
pub fn installed_version() -> Option<String> {
    let output = Command::new("iperf3").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = text.lines().next()?.split_whitespace().take(2).collect();
    (words.len() == 2).then(|| words.join(" "))
}

/// `iperf3` as a load. Its whole seconds are the duration of the test, rounded up.
#[derive(Clone, Debug)]
pub struct Iperf3 {
    congestion: Option<String>,
}

impl Iperf3 {
    /// One TCP stream with this congestion control; `None` for the system's default.
    pub const fn new(congestion: Option<String>) -> Self {
        Self { congestion }
    }
}

impl Load for Iperf3 {
    fn can_run(&self, test: &Test, _link: Link) -> bool {
        matches!(test.shape, Shape::OneWay)
    }

    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError> {
        // iperf3 cannot be told to take any free port, so one is found for it.
        let address = TcpListener::bind(SocketAddr::new(link.local, 0))
            .and_then(|free| free.local_addr())
            .map_err(LoadError::os("find a free port for iperf3"))?;
        let mut command = Command::new("iperf3");
        command.args(["--server", "--one-off", "--forceflush"]);
        command.args(["--port", &address.port().to_string()]);
        command.args(["--bind", &link.local.to_string()]);
        let mut running = Running::start(command)?;
        running.wait_until_listening()?;
        let offer = Offer { addresses: vec![address], token: Vec::new() };
        Ok(Prepared { offer, half: Box::new(ServerHalf { running, patience: test.patience() }) })
    }

    fn answer(&self, test: &Test, link: Link, offered: &Offer) -> Result<Prepared, LoadError> {
        let server = *offered.addresses.first().ok_or(LoadError::NoAddress)?;
        let mut arguments: Vec<String> = ["--json", "--client"].map(str::to_owned).to_vec();
        arguments.push(server.ip().to_string());
        arguments.extend(["--port".to_owned(), server.port().to_string()]);
        arguments.extend(["--bind".to_owned(), link.local.to_string()]);
        let seconds = test.duration.as_secs_f64().ceil().max(1.0);
        arguments.extend(["--time".to_owned(), seconds.to_string()]);
        if let Some(name) = &self.congestion {
            arguments.extend(["--congestion".to_owned(), name.clone()]);
        }
        let half = ClientHalf { arguments, patience: test.patience() };
        Ok(Prepared { offer: Offer::default(), half: Box::new(half) })
    }
}

struct ServerHalf {
    running: Running,
    patience: Duration,
}

impl Half for ServerHalf {
    fn run(&mut self, _peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        self.running.read_to_end(clock, self.patience)?;
        Ok(Outcome::default())
    }
}

struct ClientHalf {
    arguments: Vec<String>,
    patience: Duration,
}

impl Half for ClientHalf {
    fn run(&mut self, _peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        let mut command = Command::new("iperf3");
        command.args(&self.arguments);
        let output = Running::start(command)?.read_to_end(clock, self.patience)?;
        Ok(Outcome { flow: Some(parse(&output)?), latency: None })
    }
}

/// What of `iperf3 --json` is used.
#[derive(Deserialize)]
struct Document {
    error: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    sum_received: Option<Sum>,
}

#[derive(Deserialize)]
struct Sum {
    bytes: u64,
    seconds: f64,
}

fn parse(output: &[u8]) -> Result<Flow, LoadError> {
    let document: Document = serde_json::from_slice(output)
        .map_err(|error| LoadError::Iperf3(format!("its output is not understood: {error}")))?;
    if let Some(error) = document.error {
        return Err(LoadError::Iperf3(error));
    }
    let sum = document.end.and_then(|end| end.sum_received).filter(|sum| sum.seconds > 0.0);
    let Sum { bytes, seconds } =
        sum.ok_or_else(|| LoadError::Iperf3("its output has no sum_received".to_owned()))?;
    Ok(Flow {
        bytes,
        elapsed: Duration::from_secs_f64(seconds),
        total_bytes: bytes,
        longest_gap: Duration::ZERO,
    })
}

/// A running iperf3, which does not outlive this.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, LoadError> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LoadError::os("start iperf3"))?;
        let output = child.stdout.take().expect("stdout was asked for above");
        Ok(Self { child, output: BufReader::new(output) })
    }

    fn wait_until_listening(&mut self) -> Result<(), LoadError> {
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            let read = self.output.read_line(&mut line);
            if read.map_err(LoadError::os("read from iperf3"))? == 0 {
                return Err(LoadError::Iperf3("its server ended at once".to_owned()));
            }
        }
        Ok(())
    }

    fn read_to_end(&mut self, clock: &Clock, patience: Duration) -> Result<Vec<u8>, LoadError> {
        let give_up = clock.now() + patience;
        let mut all = self.output.buffer().to_vec();
        loop {
            let left = give_up.since(clock.now());
            let mut waiting = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut waiting, timeout) {
                Ok(0) => return Err(LoadError::NothingArrived(patience)),
                Err(nix::Error::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(LoadError::os("wait for iperf3")(error)),
            }
            let mut chunk = [0; 4096];
            let read = self.output.get_mut().read(&mut chunk);
            match read.map_err(LoadError::os("read from iperf3"))? {
                0 => return Ok(all),
                bytes => all.extend_from_slice(&chunk[..bytes]),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let killed = self.child.kill();
        let reaped = self.child.wait();
        drop((killed, reaped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_of_iperf3_has_its_received_sum_read() {
        let text = br#"{"start":{},"end":{"sum_sent":{"bytes":9,"seconds":1.0},
            "sum_received":{"start":0,"seconds":2.0,"bytes":3000,"bits_per_second":12000.0}}}"#;
        let flow = parse(text).expect("the shape iperf3 writes");
        assert_eq!(flow.bytes, 3000);
        assert!((flow.bandwidth() - 1500.0).abs() < 1e-9);
    }

    #[test]
    fn document_with_an_error_gives_the_words_of_iperf3() {
        let error = parse(br#"{"start":{},"error":"unable to connect"}"#).expect_err("an error");
        assert_eq!(error.to_string(), "iperf3 failed: unable to connect");
        assert!(parse(b"iperf3: usage").is_err());
    }
}
