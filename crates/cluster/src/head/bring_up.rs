//! Setting up the head node, at its first boot and at every later one.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use cloud::{
    Credentials,
    client::{Ec2, Endpoint},
};
use nix::unistd::{User, gethostname};

use super::{reconcile::Loop, register::Register, requests, steps};
use crate::{
    clock,
    config::{Config, Document},
    journal::Journal,
    launch::Launcher,
    node::{
        NodeError, actions, setup,
        supervise::{Plan, Service},
    },
    paths,
    slurm::{
        conf::{self, Site},
        control,
    },
    store::{ClusterStatus, Failure, FleetStatus, State, Store, replace},
};

/// How long munge and slurmctld may take.
const SERVICES: Duration = Duration::from_secs(60);

/// How often slurmctld may end before it is given up.
const ATTEMPTS: u32 = 3;

/// Sets this instance up as a head node, and looks after its cluster until the instance ends.
///
/// # Errors
///
/// When it cannot be set up again, or the record cannot be changed. A creation that fails is no
/// error here: the record says why.
pub fn run() -> Result<(), NodeError> {
    let store = Store::at(paths::STATE);
    let journal = Journal::open(&Path::new(paths::STATE).join("logs"), "head.log");
    let journal = journal.map_err(NodeError::file("open the log"))?;
    // It is launched before its launch can be recorded.
    setup::wait("the record of this head node", SERVICES, || {
        store.read().is_ok_and(|state| state.head.is_some())
    })?;
    let state = store.read()?;
    if matches!(state.status, ClusterStatus::CreateFailed | ClusterStatus::DeleteInProgress) {
        journal.say("there is nothing to look after");
        return Ok(());
    }
    let launcher = launcher(&state)?;
    let is_first = state.status == ClusterStatus::CreateInProgress;
    match bring_up(&store, &state, &launcher, &journal, is_first) {
        Ok((mut looping, asked)) => {
            journal.say("the cluster is up");
            looping.run(&asked);
            Ok(())
        }
        Err(error) => {
            journal.say(&format!("the head node could not be set up: {error}"));
            if !is_first {
                return Err(error);
            }
            give_up(&store, &launcher, &state, &error)
        }
    }
}

fn launcher(state: &State) -> Result<Launcher, NodeError> {
    let path = Path::new(paths::STATE).join("credentials.json");
    let credentials = Credentials::load_or_create(&path)
        .map_err(|error| NodeError::file("read EC2's credentials")(io::Error::other(error)))?;
    let endpoint = Endpoint::Socket(PathBuf::from(paths::EC2_SOCKET));
    let ec2 = Ec2::new(endpoint, &state.region, credentials);
    Ok(Launcher { ec2, cluster: state.name.clone() })
}

/// Says why the cluster could not be made, and takes away what was if that was asked for.
fn give_up(
    store: &Store,
    launcher: &Launcher,
    state: &State,
    error: &NodeError,
) -> Result<(), NodeError> {
    let failure_code = match error {
        NodeError::Action { code, .. } => code.clone(),
        NodeError::Static(_) => "StaticNodeBootstrapFailure".to_owned(),
        _ => "HeadNodeBootstrapFailure".to_owned(),
    };
    let failure_reason = match error {
        NodeError::Action { reason, .. } => reason.clone(),
        error => error.to_string(),
    };
    store.change(|state| {
        let running = state.steps.iter().find(|step| step.began.is_some() && step.ended.is_none());
        let running = running.map(|step| step.what.clone());
        if let Some(step) = running {
            state.fail(&step, &failure_reason);
        }
        state.failures.push(Failure { failure_code, failure_reason });
        state.status = ClusterStatus::CreateFailed;
    })?;
    if state.rollback {
        let (head, others): (Vec<_>, Vec<_>) = launcher
            .instances()?
            .into_iter()
            .partition(|instance| instance.tag("node-type") == Some("HeadNode"));
        let ids = |list: Vec<crate::launch::Instance>| -> Vec<_> {
            list.into_iter().map(|instance| instance.id).collect()
        };
        launcher.terminate(&ids(others))?;
        // This one last: nothing runs here after it.
        launcher.terminate(&ids(head))?;
    }
    Ok(())
}

type Up = (Loop, mpsc::Receiver<requests::Asked>);

fn bring_up(
    store: &Store,
    state: &State,
    launcher: &Launcher,
    journal: &Journal,
    is_first: bool,
) -> Result<Up, NodeError> {
    let document = Document::read(&store.configuration()?)?;
    let config = &document.config;
    let step = |what: &'static str, work: &mut dyn FnMut() -> Result<(), NodeError>| {
        store.change(|state| state.begin(what))?;
        journal.say(what);
        work()?;
        store.change(|state| state.end(what))?;
        Ok::<_, NodeError>(())
    };
    let own = &config.head_node.custom_actions;
    if is_first && !own.on_node_start.is_empty() {
        step(steps::START_ACTIONS, &mut || {
            actions::run("OnNodeStart", &own.on_node_start, journal)
        })?;
    }
    step(steps::USERS, &mut || set_up_user(config))?;
    let (asking, asked) = mpsc::channel();
    let mut controller = None;
    step(steps::SLURM, &mut || {
        setup::lead("/etc/hosts", paths::HOSTS)?;
        let register = open_register(state, launcher)?;
        requests::listen(setup::user("slurm", "slurm-wlm")?, &asking)
            .map_err(NodeError::file("listen for Slurm's programs"))?;
        controller = Some((register, start_slurm(&document, state, journal)?));
        Ok(())
    })?;
    let (register, controller) = controller.expect("the step has ended well");
    let mut looping = Loop {
        store: store.clone(),
        launcher: launcher.clone(),
        config: config.clone(),
        register,
        journal: journal.clone(),
        services: controller,
        waiters: Vec::new(),
        full: BTreeMap::new(),
        orphans: BTreeMap::new(),
    };
    looping.lose_gone()?;
    if is_first {
        if config.resources().any(|(_, resource)| resource.min_count() > 0) {
            step(steps::STATIC_NODES, &mut || looping.start_static(&asked))?;
        }
        if !own.on_node_configured.is_empty() {
            step(steps::CONFIGURED_ACTIONS, &mut || {
                actions::run("OnNodeConfigured", &own.on_node_configured, journal)
            })?;
        }
        store.change(|state| {
            state.status = ClusterStatus::CreateComplete;
            state.applied = state.configuration;
            state.updated = clock::now();
            state.set_fleet(FleetStatus::Running);
        })?;
    }
    Ok((looping, asked))
}

fn open_register(state: &State, launcher: &Launcher) -> Result<Register, NodeError> {
    let live = launcher.instances()?.into_iter().filter(crate::launch::Instance::is_live);
    let live = live.filter_map(|instance| Some((instance.id, instance.address?))).collect();
    let head = (address_of(state)?, head_name()?);
    Register::open(paths::NODES, paths::HOSTS, head, &live, clock::now())
        .map_err(NodeError::file("read which instance is which node"))
}

fn head_name() -> Result<String, NodeError> {
    let name =
        gethostname().map_err(|errno| NodeError::file("tell the host name")(errno.into()))?;
    Ok(name.to_string_lossy().into_owned())
}

fn address_of(state: &State) -> Result<Ipv4Addr, NodeError> {
    let head = state.head.as_ref();
    head.map(|head| head.address).ok_or_else(|| NodeError::Late {
        what: "the record of this head node".to_owned(),
        seconds: 0,
    })
}

/// Writes what all nodes read: Slurm's configuration and the cluster's.
pub(super) fn write_configuration(document: &Document, state: &State) -> Result<(), NodeError> {
    let site = Site { cluster: &state.name, head: &head_name()?, address: address_of(state)? };
    let config = &document.config;
    let mut text = conf::slurm_conf(config, &site);
    if let Some(path) = &config.scheduling.slurm_settings.custom_slurm_settings_include_file {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let included = fs::read_to_string(path)
            .map_err(NodeError::file(format!("read CustomSlurmSettingsIncludeFile {path}")))?;
        text.push_str(&included);
    }
    let folder = Path::new(paths::SLURM_CONF);
    let shared = Path::new(paths::SHARED);
    let files = [
        (folder.join("slurm.conf"), text.as_str()),
        (folder.join("cgroup.conf"), conf::CGROUP_CONF),
        (folder.join("plugstack.conf"), ""),
        (shared.join("cluster-config.yaml"), document.text.as_str()),
    ];
    for (path, text) in files {
        replace(&path, text.as_bytes(), 0o644)
            .map_err(NodeError::file(format!("write {}", path.display())))?;
    }
    Ok(())
}

fn start_slurm(
    document: &Document,
    state: &State,
    journal: &Journal,
) -> Result<[Service; 2], NodeError> {
    let slurm = setup::user("slurm", "slurm-wlm")?;
    let owner = Some(slurm);
    for folder in [paths::SLURM_CONF, paths::FAILURES, paths::LOGS] {
        setup::folder(folder, None, 0o755)?;
    }
    setup::lead("/etc/slurm", paths::SLURM_CONF)?;
    setup::write_profile()?;
    write_configuration(document, state)?;
    setup::folder(paths::SLURM_STATE, owner, 0o700)?;
    setup::folder("/run/slurm", owner, 0o755)?;
    fs::File::options()
        .create(true)
        .append(true)
        .open("/var/log/slurmctld.log")
        .and_then(|_| chown("/var/log/slurmctld.log", Some(slurm.0.as_raw()), None))
        .map_err(NodeError::file("write /var/log/slurmctld.log"))?;
    let munge = setup::start_munge(journal)?;
    setup::wait("munge's socket", SERVICES, || Path::new("/run/munge/munge.socket.2").exists())?;
    let plan = Plan {
        name: "slurmctld",
        arguments: vec!["-D".to_owned()],
        user: owner,
        log: journal.folder().join("slurmctld.out"),
    };
    let controller = setup::start(plan, journal)?;
    let mut is_up = false;
    // One that cannot read its configuration ends at once, and will again.
    let waited = setup::wait("slurmctld", SERVICES, || {
        is_up = control::is_up();
        is_up || controller.ends() >= ATTEMPTS
    });
    if is_up {
        return Ok([controller, munge]);
    }
    let why = match waited {
        Ok(()) => format!("slurmctld ended {ATTEMPTS} times"),
        Err(error) => error.to_string(),
    };
    let logs = [PathBuf::from("/var/log/slurmctld.log"), journal.folder().join("slurmctld.out")];
    let said = logs.map(|log| crate::journal::tail(&log, 10)).join("\n");
    Err(NodeError::Slurm(format!("{why}. It said:\n{}", said.trim())))
}

/// The user that logs in: a key of its own that every node takes, for their homes are shared.
fn set_up_user(config: &Config) -> Result<(), NodeError> {
    let name = config.user();
    let missing = || NodeError::NoUser { user: name, package: "the image's own users" };
    let user = User::from_name(name).ok().flatten().ok_or_else(missing)?;
    let folder = user.dir.join(".ssh");
    let owned = |path: &Path, mode: u32| -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
    };
    let work = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        owned(&folder, 0o700)?;
        let key = folder.join("id_ed25519");
        if !key.exists() {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(&key)
                .stdin(Stdio::null())
                .status()?;
            if !status.success() {
                return Err(io::Error::other(format!("ssh-keygen ended with {status}")));
            }
        }
        let public = fs::read_to_string(folder.join("id_ed25519.pub"))?;
        let known = folder.join("authorized_keys");
        let mut keys = fs::read_to_string(&known).unwrap_or_default();
        if !keys.contains(public.trim()) {
            keys.push_str(&public);
            fs::write(&known, keys)?;
        }
        let settings = folder.join("config");
        if !settings.exists() {
            fs::write(&settings, include_str!("ssh-config"))?;
        }
        for (path, mode) in [
            (&key, 0o600),
            (&folder.join("id_ed25519.pub"), 0o644),
            (&known, 0o600),
            (&settings, 0o600),
        ] {
            owned(path, mode)?;
        }
        Ok(())
    };
    work().map_err(NodeError::file(format!("set up the user {name}")))
}
