//! The client in a process of its own. Whoever holds the emulated network starts it inside one of
//! the hosts and talks to it over its standard input and output: one JSON document per line.
//! Progress and requests for faults come up, what was measured comes last.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    sync::Mutex,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    cpu::{self, Side},
    plan::Section,
    report::SectionReport,
    run::{Event, Fault, FaultControl, FaultError, run_section},
    session::Session,
};

/// What the client process is started for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Where the server listens.
    pub server: SocketAddr,
    /// What to measure with it.
    pub section: Section,
}

/// Why a client process brought no result.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The process ended, or its pipe broke.
    #[error("the measuring process ended before it was done")]
    Ended,
    /// The pipe failed.
    #[error("the pipe to the measuring process failed: {0}")]
    Os(#[from] io::Error),
    /// A line that is none of ours.
    #[error("the measuring process wrote what is not understood: {0}")]
    Malformed(serde_json::Error),
    /// It could not measure; its own words.
    #[error("{0}")]
    Failed(String),
}

/// A line from the client process.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Up {
    Event(Event),
    Fault(Fault),
    Done(Box<SectionReport>),
    Failed(String),
}

/// A line to the client process.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Down {
    Job(Box<Job>),
    Applied,
    Refused(String),
}

/// In the process that holds the network: hands the job down, applies the faults the client asks
/// for, passes its progress on and returns what it measured.
pub fn delegate(
    job: Job,
    from_client: impl BufRead,
    to_client: impl Write,
    faults: &mut dyn FaultControl,
    progress: &mut dyn FnMut(Event),
) -> Result<SectionReport, RelayError> {
    let (mut from, mut to) = (from_client, to_client);
    write_line(&mut to, &Down::Job(Box::new(job)))?;
    loop {
        match read_line(&mut from)? {
            Up::Event(event) => progress(event),
            Up::Fault(fault) => {
                let reply = match faults.apply(fault) {
                    Ok(()) => Down::Applied,
                    Err(error) => Down::Refused(error.why),
                };
                write_line(&mut to, &reply)?;
            }
            Up::Done(report) => return Ok(*report),
            Up::Failed(why) => return Err(RelayError::Failed(why)),
        }
    }
}

/// In the client process: takes the job, binds the calling thread to its CPU, measures, and sends
/// up what came of it. A failure to measure is sent up as well and is none of this function.
pub fn work(
    from_holder: impl BufRead + Send,
    to_holder: impl Write + Send,
) -> Result<(), RelayError> {
    let mut from = from_holder;
    let job = match read_line(&mut from)? {
        Down::Job(job) => *job,
        Down::Applied | Down::Refused(_) => return Err(RelayError::Ended),
    };
    let to = Mutex::new(to_holder);
    let up = match measure(&job, from, &to) {
        Ok(report) => Up::Done(Box::new(report)),
        Err(why) => Up::Failed(why),
    };
    let mut to = to.into_inner().expect("no thread panicked while writing");
    write_line(&mut to, &up)
}

fn measure<R, W>(job: &Job, from: R, to: &Mutex<W>) -> Result<SectionReport, String>
where
    R: BufRead + Send,
    W: Write + Send,
{
    cpu::pin(Side::Client).map_err(|error| format!("cannot choose a CPU: {error}"))?;
    let mut session = Session::connect(job.server).map_err(|error| error.to_string())?;
    let mut lost = None;
    let mut progress = |event| {
        if let Err(error) = send_up(to, &Up::Event(event)) {
            lost = Some(error);
        }
    };
    let mut holder = Holder { from, to };
    let report = run_section(&mut session, &job.section, &mut holder, &mut progress);
    match (report, lost) {
        (_, Some(error)) => Err(error.to_string()),
        (Ok(report), None) => Ok(report),
        (Err(error), None) => Err(error.to_string()),
    }
}

/// The network, held by the process above.
struct Holder<'a, R, W> {
    from: R,
    to: &'a Mutex<W>,
}

impl<R: BufRead, W: Write> FaultControl for Holder<'_, R, W> {
    fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
        let refused = |why: String| FaultError { fault, why };
        let asked = send_up(self.to, &Up::Fault(fault));
        asked.map_err(|error| refused(error.to_string()))?;
        match read_line(&mut self.from) {
            Ok(Down::Applied) => Ok(()),
            Ok(Down::Refused(why)) => Err(refused(why)),
            Ok(Down::Job(_)) => Err(refused("a second job came instead".to_owned())),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

fn send_up<W: Write>(to: &Mutex<W>, line: &Up) -> Result<(), RelayError> {
    let mut to = to.lock().expect("no thread panicked while writing");
    write_line(&mut *to, line)
}

fn write_line<T: Serialize>(to: &mut impl Write, line: &T) -> Result<(), RelayError> {
    let mut text = serde_json::to_vec(line).expect("lines are plain data");
    text.push(b'\n');
    to.write_all(&text).and_then(|()| to.flush()).map_err(pipe)
}

fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T, RelayError> {
    let mut line = String::new();
    if from.read_line(&mut line).map_err(pipe)? == 0 {
        return Err(RelayError::Ended);
    }
    serde_json::from_str(&line).map_err(RelayError::Malformed)
}

fn pipe(error: io::Error) -> RelayError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => RelayError::Ended,
        _ => RelayError::Os(error),
    }
}
