//! Machines that are instances of this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    time::Duration,
};

use hosts::{
    HostsError, Rate,
    instance::{
        Boot, Enclave, FAR_CLASS, FLOW_CLASSES, FlowLimits, Instance, NEAR_CLASS, Router, Setting,
        SharedDirectory, State, Volume,
    },
};
use ipnet::Ipv4Net;

use super::{
    Health, Link, Machine, MachineError, Machines, Policy,
    names::{NameServer, Zone},
    rules::{self, Flows},
};

/// How long a machine may take to end by itself when it is stopped.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is kept of a console, at least.
const CONSOLE: u64 = 64 << 10;
/// Where the sockets of the cloud are in a machine.
const SOCKET: &str = "/run/elastane/ec2.sock";
/// Open MPI binds the first process of each machine to the first processor, which all share.
const ENVIRONMENT: [(&str, &str); 1] = [("OMPI_MCA_hwloc_base_binding_policy", "none")];
/// Debian's Open MPI reads this file, in which its packager switches libfabric off; of what is left
/// on, one-sided communication by `rdma` crashes. Of several providers it would take the first,
/// which may be one for TCP, and without any go on without libfabric, neither with a word.
const OPEN_MPI: (&str, [&str; 4]) = (
    "/etc/openmpi/openmpi-mca-params.conf",
    ["pml = cm", "mtl = ofi", "mtl_ofi_provider_include = efa", "osc = sm,pt2pt"],
);
const FLOWS: Flows = Flows { classes: FLOW_CLASSES, near: NEAR_CLASS, far: FAR_CLASS };

/// What the machines of a cloud are made with.
#[derive(Clone, Debug)]
pub struct Premises {
    /// The cloud's state directory: files of machines are kept below it, and none of them sees it.
    pub directory: PathBuf,
    /// The addresses of the machines, and of this one among them.
    pub network: Ipv4Net,
    /// What is behind the names of machines that are named after their addresses.
    pub domain: String,
    /// The name of the device that leads to them, 15 bytes at most.
    pub uplink: String,
    /// The library that is libfabric's provider `efa` in machines that have EFA.
    pub provider: Option<PathBuf>,
    /// The socket by which machines reach the cloud's API.
    pub socket: Option<PathBuf>,
    /// By how much links are slower than stated; 1 is full speed.
    pub scale: u64,
}

/// Machines that are [`Instance`]s of this machine. They end with this process, and their roots
/// stay.
#[derive(Debug)]
pub struct LocalMachines {
    // In this order: instances end before what they live in.
    running: BTreeMap<String, Running>,
    names: NameServer,
    volume: Volume,
    router: Router,
    enclave: Enclave,
    policy: Policy,
    premises: Premises,
}

#[derive(Debug)]
struct Running {
    instance: Instance,
    /// All addresses, and the cluster placement group they are in.
    near: Option<(String, Vec<Ipv4Addr>)>,
}

impl LocalMachines {
    /// Makes the place for machines. Nothing passes between them before the first
    /// [`Machines::filter`].
    ///
    /// # Errors
    ///
    /// When this process is not root, the kernel or a missing program refuses, or the network
    /// leads elsewhere on this machine ([`HostsError::NetworkTaken`]).
    pub fn open(premises: Premises) -> Result<Self, HostsError> {
        let enclave = Enclave::start()?;
        let router = Router::open(&enclave, premises.network, &premises.uplink)?;
        let volume = Volume::open(&enclave, &premises.directory)?;
        let zone = Zone { network: premises.network, domain: premises.domain.clone() };
        let names = NameServer::start(&enclave, router.resolver(), zone);
        let names = names.map_err(|error| HostsError::Configure {
            action: "start the name server".to_owned(),
            host: "the enclave".to_owned(),
            error,
        })?;
        let running = BTreeMap::new();
        let policy = Policy::default();
        let machines = Self { running, names, volume, router, enclave, policy, premises };
        machines.apply(&machines.policy)?;
        Ok(machines)
    }

    /// Takes away what a killed process left for the kernel to take away. Whoever calls this knows
    /// that no other process has these premises.
    ///
    /// # Errors
    ///
    /// When the device of that name is there and cannot be removed.
    pub fn clear(uplink: &str) -> Result<(), HostsError> {
        Router::clear(uplink)
    }

    /// The number of the process whose end is the end of all machines.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.enclave.pid()
    }

    /// The addresses of the machines.
    #[must_use]
    pub fn network(&self) -> Ipv4Net {
        self.router.network()
    }

    /// The address of this machine in the machines' network.
    #[must_use]
    pub fn here(&self) -> Ipv4Addr {
        self.router.here()
    }

    fn boot(&self, machine: &Machine) -> Result<Instance, MachineError> {
        let sources = machine.mounts.iter().map(|mount| &mount.source);
        for source in sources.filter(|source| !source.exists()) {
            fs::create_dir_all(source)
                .map_err(|error| failed(&format!("make {}", source.display()), &error))?;
        }
        let provider = match (&self.premises.provider, machine.efa) {
            (None, true) => {
                let what = format!("give {} EFA", machine.id);
                let cause = "the provider's library is not installed".to_owned();
                return Err(MachineError::Failed { what, cause });
            }
            (provider, efa) => provider.clone().filter(|_| efa),
        };
        let mounts = machine.mounts.iter();
        let mounts = mounts.map(|mount| (mount.source.clone(), mount.target.clone()));
        let socket = self.premises.socket.iter().map(|path| (path.clone(), SOCKET.into()));
        let shared = mounts.chain(socket);
        let boot = Boot {
            id: machine.id.clone(),
            hostname: machine.hostname.clone(),
            image: machine.image.clone(),
            address: machine.address,
            more_addresses: machine.more_addresses.clone(),
            user: machine.user.clone(),
            authorized_key: machine.authorized_key.clone(),
            user_data: machine.user_data.clone(),
            mounts: shared.map(|(source, target)| SharedDirectory { source, target }).collect(),
            hidden: vec![self.premises.directory.clone()],
            provider,
            environment: ENVIRONMENT.map(|(name, value)| (name.into(), value.into())).to_vec(),
            resolver: Some((self.router.resolver(), self.premises.domain.clone())),
            settings: vec![Setting {
                file: OPEN_MPI.0.into(),
                lines: OPEN_MPI.1.iter().filter(|_| machine.efa).map(ToString::to_string).collect(),
            }],
            limits: machine.link.as_ref().map(|link| self.scaled(link)),
        };
        Instance::boot(&self.enclave, &self.router, &self.volume, &boot)
            .map_err(|error| failed(&format!("start {}", machine.id), &error))
    }

    fn scaled(&self, link: &Link) -> FlowLimits {
        let rate = |full: u64| Rate::bits_per_second((full / self.premises.scale.max(1)).max(1));
        FlowLimits { card: rate(link.card), near: rate(link.near_flow), far: rate(link.flow) }
    }

    fn apply(&self, policy: &Policy) -> Result<(), HostsError> {
        let mut near: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        let members = self.running.values().filter_map(|running| running.near.as_ref());
        for (group, addresses) in members {
            near.entry(group.clone()).or_default().extend(addresses);
        }
        self.router.set_rules(&self.enclave, &rules::render(policy, &near, &FLOWS))
    }

    /// Forgets a machine that does not run any more, and its link.
    fn forget(&mut self, id: &str, address: Ipv4Addr) -> Result<(), MachineError> {
        let detached = self.router.detach(&self.enclave, address);
        detached.map_err(|error| failed(&format!("take away the link of {id}"), &error))
    }
}

impl Drop for LocalMachines {
    fn drop(&mut self) {
        self.names.stop(&self.enclave);
        // The kernel takes it away some time after the last process of its network namespace,
        // and whoever waited for our end shall find nothing.
        Router::clear(&self.premises.uplink).ok();
    }
}

impl Machines for LocalMachines {
    fn start(&mut self, machine: &Machine) -> Result<(), MachineError> {
        if let Some(Running { instance, .. }) = self.running.remove(&machine.id) {
            let address = instance.address();
            instance.kill().map_err(|error| failed(&format!("end {}", machine.id), &error))?;
            self.forget(&machine.id, address)?;
        }
        if let Some(image) = &machine.image {
            let known = |error| failed(&format!("look for {image}"), &error);
            let booted = self.volume.has(&self.enclave, &machine.id).map_err(known)?;
            if !booted && !self.volume.has_image(&self.enclave, image).map_err(known)? {
                return Err(MachineError::UnknownImage(image.clone()));
            }
        }
        let instance = self.boot(machine)?;
        let addresses = [machine.address].into_iter().chain(machine.more_addresses.clone());
        let group = machine.link.as_ref().and_then(|link| link.near.clone());
        let near = group.map(|group| (group, addresses.collect()));
        let is_near = near.is_some();
        self.running.insert(machine.id.clone(), Running { instance, near });
        if is_near {
            self.apply(&self.policy)
                .map_err(|error| failed(&format!("classify {}", machine.id), &error))?;
        }
        Ok(())
    }

    fn stop(&mut self, id: &str) -> Result<(), MachineError> {
        let Some(Running { instance, .. }) = self.running.remove(id) else {
            return match self.volume.has(&self.enclave, id) {
                Ok(true) => Ok(()),
                Ok(false) => Err(MachineError::UnknownMachine(id.to_owned())),
                Err(error) => Err(failed(&format!("look for {id}"), &error)),
            };
        };
        let address = instance.address();
        let ended = instance.shut_down(PATIENCE);
        ended.map_err(|error| failed(&format!("stop {id}"), &error))?;
        self.forget(id, address)
    }

    fn terminate(&mut self, id: &str) -> Result<(), MachineError> {
        if let Some(Running { instance, .. }) = self.running.remove(id) {
            let address = instance.address();
            instance.kill().map_err(|error| failed(&format!("end {id}"), &error))?;
            self.forget(id, address)?;
        }
        let removed = self.volume.remove(&self.enclave, id);
        removed.map_err(|error| failed(&format!("terminate {id}"), &error))
    }

    fn health(&self, id: &str) -> Health {
        match self.running.get(id).map(|running| running.instance.state()) {
            Some(State::Starting) => Health::Starting,
            Some(State::Ready) => Health::Ready,
            Some(State::Dead) | None => Health::Dead,
        }
    }

    fn keep_image(&mut self, id: &str, image: &str) -> Result<(), MachineError> {
        let failed = |error| failed(&format!("keep {id} as {image}"), &error);
        if !self.volume.has(&self.enclave, id).map_err(failed)? {
            return Err(MachineError::UnknownMachine(id.to_owned()));
        }
        self.volume.keep(&self.enclave, id, image).map_err(failed)
    }

    fn drop_image(&mut self, image: &str) -> Result<(), MachineError> {
        let dropped = self.volume.drop_image(&self.enclave, image);
        dropped.map_err(|error| failed(&format!("drop {image}"), &error))
    }

    fn console(&self, id: &str) -> Result<Vec<u8>, MachineError> {
        match self.volume.read_console(&self.enclave, id, CONSOLE) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(MachineError::UnknownMachine(id.to_owned())),
            Err(error) => Err(failed(&format!("read the console of {id}"), &error)),
        }
    }

    fn filter(&mut self, policy: &Policy) -> Result<(), MachineError> {
        let applied = self.apply(policy);
        applied.map_err(|error| failed("replace the security groups' rules", &error))?;
        self.policy = policy.clone();
        Ok(())
    }
}

fn failed(what: &str, cause: &impl ToString) -> MachineError {
    MachineError::Failed { what: what.to_owned(), cause: cause.to_string() }
}
