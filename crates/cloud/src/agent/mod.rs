//! The agent: the process that is the cloud. It owns the machines, keeps the records and serves
//! the API, and its end is the end of all of them.
//!
//! It has one lock, `agent.lock` of the state directory, which the kernel lets go with it. What
//! others need to reach it is in `agent.json` beside it, for as long as it runs.

mod http;
mod network;
mod place;
mod preconditions;
mod server;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hosts::HostsError;
use ipnet::Ipv4Net;
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use crate::{
    Credentials, CredentialsError,
    client::Endpoint,
    ec2::{Capacity, Service, Settings, StateError, region::domain},
    machines::{LocalMachines, Premises},
};
pub use network::USUAL_DIRECTORY;
pub use place::{Agreed, Running, uplink};
use place::{Lock, Place};
use server::Shared;
pub use server::Stopper;

/// The port of the API, if it is free.
pub const PORT: u16 = 4566;

/// What an agent is told.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The state directory.
    pub directory: PathBuf,
    /// The port of the API on the loopback device; [`PORT`] if it is free, else any, without.
    pub port: Option<u16>,
    /// The region's name; that of before, else `us-east-1`, without.
    pub region: Option<String>,
    /// The addresses of the default VPC; those of before, else free ones, without.
    pub network: Option<Ipv4Net>,
    /// By how much links are slower than EC2's.
    pub scale: u64,
    /// How many instances there may be.
    pub capacity: Capacity,
    /// The library that is libfabric's provider `efa` in instances with EFA.
    pub provider: Option<PathBuf>,
}

/// Why there is no agent, or it has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Another agent has this state directory.
    #[error("a cloud of {} is up already: {by}", directory.display())]
    Taken {
        /// The state directory.
        directory: PathBuf,
        /// Where the other one is.
        by: String,
    },
    /// No agent has this state directory.
    #[error("no cloud of {} is up: start it with `elastane cloud up`", directory.display())]
    Down {
        /// The state directory.
        directory: PathBuf,
    },
    /// What has to be there before anything is made, all that is missing.
    #[error("{}", .0.join("; "))]
    Preconditions(Vec<String>),
    /// An option is not what the cloud began with.
    #[error(
        "{option} {asked}: this cloud began with {agreed}; for another one, remove {} or name \
         another directory with ELASTANE_CLOUD_DIR", directory.display()
    )]
    Disagreement {
        /// The option.
        option: &'static str,
        /// What it says.
        asked: String,
        /// What it said at the first start.
        agreed: String,
        /// The state directory.
        directory: PathBuf,
    },
    /// No private network is free on this machine.
    #[error(
        "every network from 10.64.0.0/16 to 10.127.0.0/16 leads elsewhere: name a free one with \
         --network"
    )]
    NoNetwork,
    /// The network asked for cannot be a VPC's.
    #[error("--network {0}: a VPC here has 16 to 24 bits, for example 10.77.0.0/16")]
    Network(Ipv4Net),
    /// A file or socket of the state directory cannot be used.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Nothing can listen on the port.
    #[error("cannot listen on 127.0.0.1:{port}: {error}")]
    Listen {
        /// The port.
        port: u16,
        /// Why it failed.
        error: io::Error,
    },
    /// The agent does not end.
    #[error("the cloud of process {pid} does not end: {error}")]
    Stop {
        /// Its process.
        pid: u32,
        /// Why it cannot be ended.
        error: io::Error,
    },
    /// The machines' place cannot be made.
    #[error(transparent)]
    Machines(#[from] HostsError),
    /// The records cannot be used.
    #[error(transparent)]
    Records(#[from] StateError),
    /// The API's key pair cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// A cloud that is up: the agent, in this process. Dropping it ends every instance; their roots
/// and the records stay.
pub struct Agent {
    // In this order: what says that it runs goes first, its lock last.
    shared: Arc<Shared>,
    running: Running,
    place: Place,
    _lock: Lock,
}

impl Agent {
    /// Starts the agent of a state directory, which is made if need be. When it returns, the API
    /// answers.
    ///
    /// # Errors
    ///
    /// When another agent has it, something is missing, or an option contradicts an earlier start.
    pub fn start(options: &AgentOptions) -> Result<Self, AgentError> {
        check(options)?;
        let place = Place::open(&options.directory)?;
        let lock = place.lock()?;
        let agreed = place.agreed()?;
        let region = place.region(agreed.as_ref(), options)?;
        let credentials = Credentials::load_or_create(&place.credentials())?;
        let unix = server::bind_socket(&place.socket())?;
        let tcp = server::bind_port(options.port)?;
        let machines = place.open_machines(agreed.as_ref(), options, &region)?;
        let (network, keeper, here) = (machines.network(), machines.keeper(), machines.here());
        place.agree(&Agreed { region: region.clone(), network })?;
        let settings = Settings {
            directory: place.directory().to_owned(),
            region: region.clone(),
            network,
            system: place::system(),
            capacity: options.capacity.clone(),
        };
        let service = Service::open(settings, Box::new(machines))?;
        let shared = server::serve(service, tcp.0, unix);
        let running = Running {
            pid: std::process::id(),
            keeper,
            port: tcp.1,
            socket: place.socket(),
            region,
            network,
            address: here,
            scale: options.scale,
            efa: options.provider.clone(),
            access_key_id: credentials.access_key_id,
        };
        place.announce(&running)?;
        Ok(Self { shared, running, place, _lock: lock })
    }

    /// What others need to reach it.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// What ends [`Agent::run`].
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper::of(&self.shared)
    }

    /// Moves instances on until it is stopped.
    pub fn run(&self) {
        self.shared.run();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Nobody shall find it from here on.
        self.place.withdraw();
        self.shared.close();
    }
}

/// Finds out whether this machine can have a cloud, before anything is made.
///
/// # Errors
///
/// [`AgentError::Preconditions`], with all that is missing, and [`AgentError::Network`].
pub fn check(options: &AgentOptions) -> Result<(), AgentError> {
    preconditions::check(options)
}

/// The agent that has a state directory, if one has.
///
/// # Errors
///
/// When the directory cannot be looked at; its agent needs a moment to begin and to end, in which
/// it is not there.
pub fn find(directory: &Path) -> Result<Option<Running>, AgentError> {
    place::find(directory)
}

/// How the API of a state directory's agent is reached: its address, region and key pair.
///
/// # Errors
///
/// When no agent has it, or its key pair cannot be read: it is the user's who started the cloud.
pub fn reach(directory: &Path) -> Result<(Endpoint, String, Credentials), AgentError> {
    let down = || AgentError::Down { directory: directory.to_owned() };
    let running = find(directory)?.ok_or_else(down)?;
    let credentials = Credentials::load_or_create(&place::credentials_of(directory))?;
    Ok((Endpoint::Url(running.endpoint()), running.region, credentials))
}

/// Ends the agent of a state directory and every instance with it, and waits until it is gone.
/// Returns what it was, `None` where there was none.
///
/// # Errors
///
/// When it belongs to another user, or does not end.
pub fn stop(directory: &Path) -> Result<Option<Running>, AgentError> {
    use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
    let Some(running) = find(directory)? else { return Ok(None) };
    let failed = |error: io::Error| AgentError::Stop { pid: running.pid, error };
    let pid = i32::try_from(running.pid).map_err(|error| failed(io::Error::other(error)))?;
    for signal in [SIGTERM, SIGKILL] {
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        // Killed, it leaves nothing either: only what it has not said to instances is lost.
        if place::wait_free(directory)? {
            place::tidy(directory);
            return Ok(Some(running));
        }
    }
    Err(failed(io::ErrorKind::TimedOut.into()))
}

/// Removes a state directory: its records, key pair, images and the files of its instances.
///
/// # Errors
///
/// When an agent has it, or it cannot be removed.
pub fn delete(directory: &Path) -> Result<(), AgentError> {
    Place::open(directory)?.delete()
}

impl Agent {
    /// What instances are started with.
    fn premises(place: &Place, options: &AgentOptions, region: &str, network: Ipv4Net) -> Premises {
        Premises {
            directory: place.directory().to_owned(),
            network,
            domain: domain(region),
            uplink: place.uplink(),
            provider: options.provider.clone(),
            socket: Some(place.socket()),
            scale: options.scale,
        }
    }
}

impl Place {
    /// Makes the machines' place, in the network that was agreed on or a free one.
    fn open_machines(
        &self,
        agreed: Option<&Agreed>,
        options: &AgentOptions,
        region: &str,
    ) -> Result<LocalMachines, AgentError> {
        let chosen = self.network(agreed, options)?;
        LocalMachines::clear(&self.uplink())?;
        let candidates = match chosen {
            Some(network) => vec![network],
            None => network::candidates(self.directory()),
        };
        for network in candidates {
            if network::leads_elsewhere(network) {
                if chosen.is_some() {
                    return Err(HostsError::NetworkTaken { network }.into());
                }
                continue;
            }
            match LocalMachines::open(Agent::premises(self, options, region, network)) {
                Err(HostsError::NetworkTaken { .. }) if chosen.is_none() => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(AgentError::NoNetwork)
    }
}
