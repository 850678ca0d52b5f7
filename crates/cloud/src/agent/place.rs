//! The state directory: who has it, what was agreed on at the first start.

use std::{
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{AgentError, AgentOptions, network::number_of};

/// How often to look whether an agent has ended, and how long to wait between.
const END_ROUNDS: u32 = 500;
const END_ROUND: Duration = Duration::from_millis(20);
/// The region of a cloud that nobody gave one.
const REGION: &str = "us-east-1";

/// A state directory.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
}

/// The right to a state directory: the kernel takes it back with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

/// What a cloud keeps from its first start on, because its records hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The region's name.
    pub region: String,
    /// The addresses of the default VPC.
    pub network: Ipv4Net,
}

/// What others need to reach an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The agent's process.
    pub pid: u32,
    /// The process whose end is the end of all instances.
    pub keeper: u32,
    /// The port of the API on the loopback device.
    pub port: u16,
    /// The socket of the API.
    pub socket: PathBuf,
    /// The region's name.
    pub region: String,
    /// The addresses of the default VPC.
    pub network: Ipv4Net,
    /// The address of this machine in it.
    pub address: Ipv4Addr,
    /// By how much links are slower than EC2's.
    pub scale: u64,
    /// The library that answers as libfabric's provider `efa` in instances with EFA; without, no
    /// instance with EFA can start.
    pub efa: Option<PathBuf>,
    /// The id of the key that signs calls.
    pub access_key_id: String,
}

impl Running {
    /// The API's address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Place {
    /// Opens a state directory, and makes it if need be.
    pub(super) fn open(directory: &Path) -> Result<Self, AgentError> {
        let failed = |error| file("make the directory", directory, error);
        fs::create_dir_all(directory).map_err(failed)?;
        // Users of instances reach the API's socket by a path of their own: nobody needs this one.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        Ok(Self { directory })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn credentials(&self) -> PathBuf {
        credentials_of(&self.directory)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("ec2.sock")
    }

    pub(super) fn uplink(&self) -> String {
        uplink(&self.directory)
    }

    /// Takes the directory for this process.
    pub(super) fn lock(&self) -> Result<Lock, AgentError> {
        if let Some(lock) = try_lock(&self.directory)? {
            // What an agent that was killed left. Its instances end with it, but not before it.
            if let Ok(Some(Running { keeper, .. })) = read(&self.directory.join("agent.json")) {
                wait_gone(keeper);
            }
            tidy(&self.directory);
            return Ok(lock);
        }
        let by = match find(&self.directory)? {
            Some(running) => format!("process {}, {}", running.pid, running.endpoint()),
            None => "it is starting or ending".to_owned(),
        };
        Err(AgentError::Taken { directory: self.directory.clone(), by })
    }

    /// What the first start agreed on, if there was one.
    pub(super) fn agreed(&self) -> Result<Option<Agreed>, AgentError> {
        read(&self.directory.join("cloud.json"))
    }

    pub(super) fn agree(&self, agreed: &Agreed) -> Result<(), AgentError> {
        write(&self.directory.join("cloud.json"), agreed)
    }

    /// The region that is asked for or was agreed on.
    pub(super) fn region(
        &self,
        agreed: Option<&Agreed>,
        options: &AgentOptions,
    ) -> Result<String, AgentError> {
        let agreed = agreed.map(|agreed| agreed.region.clone());
        let region = self.one_of("--region", agreed, options.region.clone())?;
        Ok(region.unwrap_or_else(|| REGION.to_owned()))
    }

    /// The network that is asked for or was agreed on.
    pub(super) fn network(
        &self,
        agreed: Option<&Agreed>,
        options: &AgentOptions,
    ) -> Result<Option<Ipv4Net>, AgentError> {
        let asked = options.network.map(|network| network.trunc());
        self.one_of("--network", agreed.map(|agreed| agreed.network), asked)
    }

    fn one_of<T: PartialEq + ToString>(
        &self,
        option: &'static str,
        agreed: Option<T>,
        asked: Option<T>,
    ) -> Result<Option<T>, AgentError> {
        match (agreed, asked) {
            (Some(agreed), Some(asked)) if agreed != asked => Err(AgentError::Disagreement {
                option,
                asked: asked.to_string(),
                agreed: agreed.to_string(),
                directory: self.directory.clone(),
            }),
            (agreed, asked) => Ok(agreed.or(asked)),
        }
    }

    /// Says that this process runs.
    pub(super) fn announce(&self, running: &Running) -> Result<(), AgentError> {
        write(&self.directory.join("agent.json"), running)
    }

    /// Takes back what [`Place::announce`] said.
    pub(super) fn withdraw(&self) {
        tidy(&self.directory);
    }

    /// Removes the directory, unless an agent has it.
    pub(super) fn delete(self) -> Result<(), AgentError> {
        let _lock = self.lock()?;
        fs::remove_dir_all(&self.directory).map_err(|error| file("remove", &self.directory, error))
    }
}

/// The name of the device by which this machine reaches the instances of a state directory: no
/// other directory's.
#[must_use]
pub fn uplink(directory: &Path) -> String {
    format!("elastane{:06x}", number_of(directory) & 0xff_ffff)
}

/// Where the key pair of a state directory is.
pub(super) fn credentials_of(directory: &Path) -> PathBuf {
    directory.join("credentials.json")
}

/// The agent that has a directory.
pub(super) fn find(directory: &Path) -> Result<Option<Running>, AgentError> {
    if !directory.join("agent.lock").exists() || try_lock(directory)?.is_some() {
        return Ok(None);
    }
    read(&directory.join("agent.json"))
}

/// Waits until no agent has a directory; says whether that came about.
pub(super) fn wait_free(directory: &Path) -> Result<bool, AgentError> {
    for _ in 0..END_ROUNDS {
        if try_lock(directory)?.is_some() {
            return Ok(true);
        }
        std::thread::park_timeout(END_ROUND);
    }
    Ok(false)
}

/// Waits until a process has ended, though not for ever: another one may have its number by now.
fn wait_gone(process: u32) {
    let status = PathBuf::from(format!("/proc/{process}/stat"));
    for _ in 0..END_ROUNDS {
        // One that has ended is there until its new parent looks, which may take a second.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return;
        }
        std::thread::park_timeout(END_ROUND);
    }
}

/// Removes what only means something while an agent runs.
pub(super) fn tidy(directory: &Path) {
    for name in ["agent.json", "ec2.sock"] {
        // Most of the time there is none.
        fs::remove_file(directory.join(name)).ok();
    }
}

/// What this machine's system calls itself.
pub(super) fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"')).to_owned()
}

fn try_lock(directory: &Path) -> Result<Option<Lock>, AgentError> {
    let path = directory.join("agent.lock");
    let failed = |error| file("open", &path, error);
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    match Flock::lock(opened.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, AgentError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file("read", path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| file("read", path, error.into()))
}

/// Writes a file whole or not at all.
fn write(path: &Path, value: &impl Serialize) -> Result<(), AgentError> {
    let fresh = path.with_extension("new");
    let write = || {
        fs::write(&fresh, serde_json::to_vec_pretty(value)?)?;
        fs::rename(&fresh, path)
    };
    write().map_err(|error| file("write", path, error))
}

fn file(what: &'static str, path: &Path, error: io::Error) -> AgentError {
    AgentError::File { what, path: path.to_owned(), error }
}
