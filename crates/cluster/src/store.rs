//! The one record of a cluster: what it is, what it is to be, and what happened to it.
//!
//! It is a folder that the head node sees too: the commands write what is asked for, the loop of
//! the head node what became of it. Each change is made under a lock and replaces the file whole.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock;

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The version of the program that made it.
    pub version: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// When it last changed on request.
    pub updated: u64,
    /// How far it is.
    pub status: ClusterStatus,
    /// Whether what was made is taken away if the creation fails.
    pub rollback: bool,
    /// Counts the configurations it has had.
    pub configuration: u64,
    /// The configuration that the head node has taken over.
    pub applied: u64,
    /// What was made for it.
    pub resources: Resources,
    /// The head node, once it is launched.
    pub head: Option<Head>,
    /// The compute fleet.
    pub fleet: Fleet,
    /// What creation and update consist of, and how far each part is.
    pub steps: Vec<Step>,
    /// Why the creation failed.
    pub failures: Vec<Failure>,
    /// Nodes that were lost or could not be had, by name.
    pub troubles: BTreeMap<String, Trouble>,
    /// How many nodes of a queue failed one after the other before Slurm knew them.
    pub bootstrap_failures: BTreeMap<String, u32>,
    /// What jobs and nodes wait for, as of the last look.
    pub waiting: Vec<Waiting>,
}

/// How far a cluster is; the names are ParallelCluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterStatus {
    /// It is being made.
    CreateInProgress,
    /// It could not be made.
    CreateFailed,
    /// It is there.
    CreateComplete,
    /// It is being changed.
    UpdateInProgress,
    /// It could not be changed.
    UpdateFailed,
    /// It was changed.
    UpdateComplete,
    /// It is being taken away.
    DeleteInProgress,
    /// It could not be taken away.
    DeleteFailed,
}

impl ClusterStatus {
    /// As ParallelCluster writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateInProgress => "CREATE_IN_PROGRESS",
            Self::CreateFailed => "CREATE_FAILED",
            Self::CreateComplete => "CREATE_COMPLETE",
            Self::UpdateInProgress => "UPDATE_IN_PROGRESS",
            Self::UpdateFailed => "UPDATE_FAILED",
            Self::UpdateComplete => "UPDATE_COMPLETE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
            Self::DeleteFailed => "DELETE_FAILED",
        }
    }
}

/// What was made in EC2 and on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Security groups made for the cluster, by what they are for: `head`, `compute`.
    pub groups: BTreeMap<String, String>,
    /// Placement groups made for the cluster.
    pub placement_groups: Vec<String>,
    /// The image nodes run, where they have none of their own.
    pub image: String,
    /// Folders made for shared storage, by what they are for.
    pub folders: BTreeMap<String, String>,
    /// Those of the folders that stay when the cluster goes.
    pub retained: Vec<String>,
}

/// The head node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its instance.
    pub instance: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// When it was launched, in milliseconds since 1970.
    pub launched: u64,
    /// When its loop last looked around, in milliseconds since 1970.
    pub seen: u64,
}

/// The compute fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Whether it may run.
    pub status: FleetStatus,
    /// When that changed, in milliseconds since 1970.
    pub since: u64,
}

/// Whether compute nodes may run; the names are ParallelCluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FleetStatus {
    /// They may.
    Running,
    /// They are to be allowed to.
    StartRequested,
    /// They are being allowed to.
    Starting,
    /// They are to be stopped.
    StopRequested,
    /// They are being stopped.
    Stopping,
    /// There are none.
    Stopped,
    /// Too many could not be set up, so that a queue was closed.
    Protected,
    /// Nobody knows, for the cluster is not up.
    Unknown,
}

impl FleetStatus {
    /// As ParallelCluster writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::StartRequested => "START_REQUESTED",
            Self::Starting => "STARTING",
            Self::StopRequested => "STOP_REQUESTED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Protected => "PROTECTED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A part of making or changing a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done, in a few words.
    pub what: String,
    /// When it began, in milliseconds since 1970.
    pub began: Option<u64>,
    /// When it ended well, in milliseconds since 1970.
    pub ended: Option<u64>,
    /// Why it failed.
    pub failed: Option<String>,
}

impl Step {
    /// A part that has not begun.
    pub(crate) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), began: None, ended: None, failed: None }
    }
}

/// Why a cluster could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// One of ParallelCluster's codes.
    pub failure_code: String,
    /// What happened, with the end of the log.
    pub failure_reason: String,
}

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What, in a sentence.
    pub what: String,
}

/// A job or a node that waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `job 12` or a node's name.
    pub who: String,
    /// For what.
    pub why: String,
}

/// Why a record could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no such cluster.
    #[error("there is no cluster {0}")]
    Missing(String),
    /// There is one already.
    #[error("Cluster {0} already exists.")]
    Exists(String),
    /// The file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

const RECORD: &str = "cluster.json";
const CONFIGURATION: &str = "cluster-config.yaml";

/// The record of one cluster.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The record in `folder`, which need not be there.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a record.
    ///
    /// # Errors
    ///
    /// When there is one, or it cannot be written.
    pub fn create(&self, state: &State, configuration: &str) -> Result<(), StoreError> {
        let folder = |cause| StoreError::File { path: self.folder.clone(), cause };
        fs::create_dir_all(&self.folder).map_err(folder)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755)).map_err(folder)?;
        let lock = self.lock()?;
        if self.folder.join(RECORD).exists() {
            return Err(StoreError::Exists(state.name.clone()));
        }
        let written = self.set_configuration(configuration).and_then(|()| self.write(state));
        if written.is_err() {
            // A folder without a record is nothing that could be deleted later.
            fs::remove_dir_all(&self.folder).ok();
        }
        drop(lock);
        written
    }

    /// What is known now.
    ///
    /// # Errors
    ///
    /// When there is no record, or it cannot be read.
    pub fn read(&self) -> Result<State, StoreError> {
        let path = self.folder.join(RECORD);
        let bytes = fs::read(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(self.name()),
            _ => StoreError::File { path: path.clone(), cause },
        })?;
        serde_json::from_slice(&bytes).map_err(|cause| StoreError::Damaged { path, cause })
    }

    /// Changes the record, and returns what `change` returns.
    ///
    /// # Errors
    ///
    /// When there is no record, or it cannot be read or written.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let lock = self.lock()?;
        let before = self.read()?;
        let mut state = before.clone();
        let result = change(&mut state);
        if state != before {
            self.write(&state)?;
        }
        drop(lock);
        Ok(result)
    }

    /// The configuration, as its user wrote it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn configuration(&self) -> Result<String, StoreError> {
        let path = self.configuration_path();
        fs::read_to_string(&path).map_err(|cause| StoreError::File { path, cause })
    }

    /// Where the configuration is.
    pub fn configuration_path(&self) -> PathBuf {
        self.folder.join(CONFIGURATION)
    }

    /// Replaces the configuration.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn set_configuration(&self, text: &str) -> Result<(), StoreError> {
        let path = self.configuration_path();
        replace(&path, text.as_bytes(), 0o644).map_err(|cause| StoreError::File { path, cause })
    }

    fn write(&self, state: &State) -> Result<(), StoreError> {
        let path = self.folder.join(RECORD);
        let text = serde_json::to_vec_pretty(state).expect("a record has text keys only");
        replace(&path, &text, 0o600).map_err(|cause| StoreError::File { path, cause })
    }

    fn lock(&self) -> Result<Flock<File>, StoreError> {
        let path = self.folder.join("lock");
        let open = || File::options().create(true).append(true).mode(0o600).open(&path);
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(self.name()),
            _ => StoreError::File { path: path.clone(), cause },
        };
        let file = open().map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
    }

    fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        name.trim_end_matches(".state").to_owned()
    }
}

impl State {
    /// Begins the part `what`, which is added if it was not foreseen.
    pub(crate) fn begin(&mut self, what: &str) {
        let step = self.step(what);
        *step = Step { began: Some(clock::now()), ..Step::new(what) };
    }

    /// The part `what` ended well.
    pub(crate) fn end(&mut self, what: &str) {
        self.step(what).ended = Some(clock::now());
    }

    /// The part `what` failed.
    pub(crate) fn fail(&mut self, what: &str, why: &str) {
        self.step(what).failed = Some(why.to_owned());
    }

    fn step(&mut self, what: &str) -> &mut Step {
        let at = self.steps.iter().position(|step| step.what == what);
        let at = at.unwrap_or_else(|| {
            self.steps.push(Step::new(what));
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }

    /// Notes what happened to a node.
    pub(crate) fn note(&mut self, node: &str, what: &str) {
        const KEPT: usize = 200;
        self.troubles.insert(node.to_owned(), Trouble { at: clock::now(), what: what.to_owned() });
        while self.troubles.len() > KEPT {
            let oldest = self.troubles.iter().min_by_key(|(_, trouble)| trouble.at);
            let Some(oldest) = oldest.map(|(node, _)| node.clone()) else { break };
            self.troubles.remove(&oldest);
        }
    }

    /// Changes what the fleet is allowed, if it is something else.
    pub(crate) fn set_fleet(&mut self, status: FleetStatus) {
        if self.fleet.status != status {
            self.fleet = Fleet { status, since: clock::now() };
        }
    }
}

/// Writes a file whole, in place of what is there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    // Whatever the umask leaves.
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(name: &str) -> State {
        State {
            name: name.to_owned(),
            region: "eu-west-1".to_owned(),
            version: "3.11.1".to_owned(),
            created: 1,
            updated: 1,
            status: ClusterStatus::CreateInProgress,
            rollback: true,
            configuration: 1,
            applied: 0,
            resources: Resources::default(),
            head: None,
            fleet: Fleet { status: FleetStatus::Unknown, since: 1 },
            steps: Vec::new(),
            failures: Vec::new(),
            troubles: BTreeMap::new(),
            bootstrap_failures: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    #[test]
    fn record_is_made_once_and_changed_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("one.state"));
        assert!(matches!(store.read(), Err(StoreError::Missing(name)) if name == "one"));
        store.create(&sample("one"), "Image: {}\n").unwrap();
        assert!(matches!(store.create(&sample("one"), ""), Err(StoreError::Exists(_))));
        assert_eq!(store.configuration().unwrap(), "Image: {}\n");
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        store.change(|state| state.configuration += 1).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(store.read().unwrap().configuration, 201);
    }

    #[test]
    fn steps_and_troubles_are_kept_in_bounds() {
        let mut state = sample("one");
        state.begin("a");
        state.end("a");
        state.begin("b");
        state.fail("b", "no");
        assert_eq!(state.steps.len(), 2);
        assert!(state.steps[0].ended.is_some() && state.steps[1].failed.is_some());
        for node in 0..300 {
            state.note(&format!("node-{node}"), "lost");
        }
        assert_eq!(state.troubles.len(), 200);
    }

    #[test]
    fn damaged_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD), "{").unwrap();
        let error = Store::at(folder.path()).read().unwrap_err().to_string();
        assert!(error.contains(RECORD) && error.contains("damaged"), "{error}");
    }
}
