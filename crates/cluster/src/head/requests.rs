//! What the programs that Slurm runs ask of the loop: a line of JSON each way.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
};

use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::paths;

/// A request of Slurm's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Nodes are needed.
    Resume {
        /// A list in Slurm's way.
        nodes: String,
        /// Slurm's account of the jobs they are for: the content of SLURM_RESUME_FILE.
        jobs: Option<String>,
    },
    /// Nodes are not needed any more.
    Suspend {
        /// A list in Slurm's way.
        nodes: String,
    },
    /// A job waits for its nodes. The answer comes when they are there, or never will be.
    Prolog {
        /// The job's number.
        job: String,
        /// A list in Slurm's way.
        nodes: String,
    },
}

/// A request, and where its answer goes.
pub(crate) struct Asked {
    pub request: Request,
    /// Dropping it answers too.
    pub answer: Sender<()>,
}

/// How long a request may be.
const LONGEST: usize = 16 << 20;

/// Asks the loop of this head node, and waits for its answer.
///
/// # Errors
///
/// When there is no loop, or it ends before it answers.
pub fn tell(request: &Request) -> io::Result<()> {
    let mut stream = UnixStream::connect(paths::LOOP_SOCKET)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.trim() == "done" { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Listens for requests of root and of Slurm's user, and passes them to the loop.
pub(crate) fn listen(slurm: (Uid, Gid), to: &Sender<Asked>) -> io::Result<()> {
    let path = Path::new(paths::LOOP_SOCKET);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Slurm's programs run as its user; nobody else has a reason to ask.
    chown(path, Some(slurm.0.as_raw()), Some(slurm.1.as_raw()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let to = to.clone();
    thread::Builder::new().name("requests".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let to = to.clone();
            // A job's prolog may wait for minutes while others ask.
            let spawned = thread::Builder::new().spawn(move || serve(stream, &to).ok());
            drop(spawned);
        }
    })?;
    Ok(())
}

fn serve(stream: UnixStream, to: &Sender<Asked>) -> io::Result<()> {
    let mut line = String::new();
    let limited = io::Read::take(stream.try_clone()?, LONGEST as u64);
    BufReader::new(limited).read_line(&mut line)?;
    let request = serde_json::from_str(&line)?;
    let (answer, answered) = mpsc::channel();
    to.send(Asked { request, answer }).map_err(io::Error::other)?;
    // Answered or dropped: the program has nothing to wait for any more.
    answered.recv().ok();
    (&stream).write_all(b"done\n")
}
