//! Making a cluster.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{Cloud, LifeError, folders, groups};
use crate::{
    clock,
    config::Document,
    head::steps as head_steps,
    launch::{Order, VERSION},
    store::{ClusterStatus, Failure, Fleet, FleetStatus, Head, Resources, State, Step, Store},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The name, which passed its validator.
    pub name: &'a str,
    /// The region.
    pub region: &'a str,
    /// A configuration without errors.
    pub document: &'a Document,
    /// Whether what was made is taken away if the creation fails.
    pub rollback: bool,
    /// This program, of which nodes get a copy.
    pub program: &'a Path,
}

const GROUPS: &str = "make security groups and placement groups";
const FOLDERS: &str = "make shared folders";
const LAUNCH: &str = "launch the head node";

/// Begins to make a cluster: when this returns, the head node is launched and goes on by itself.
///
/// # Errors
///
/// When there is one of that name, or it cannot be begun. What was made is then gone again, unless
/// it was asked to stay.
pub fn create(
    cloud: &Cloud,
    request: &Request<'_>,
    mut watch: impl FnMut(&State),
) -> Result<State, LifeError> {
    let store = cloud.store(request.name);
    let state = new_state(request);
    store.create(&state, &request.document.text)?;
    watch(&state);
    begin(cloud, &store, request, &mut watch).or_else(|error| {
        let mut state = store.read().unwrap_or(state);
        fail(&mut state, &error);
        // A full disk keeps the record as it is; what was made goes all the same.
        store.change(|state| fail(state, &error)).ok();
        watch(&state);
        if request.rollback {
            super::delete::undo(cloud, &state).map_err(|why| LifeError::Undone {
                cause: error.to_string(),
                why: why.to_string(),
                name: request.name.to_owned(),
            })?;
        }
        Err(error)
    })
}

/// Notes that the part under way failed, and the creation with it.
fn fail(state: &mut State, error: &LifeError) {
    let open = state.steps.iter().find(|step| step.began.is_some() && step.ended.is_none());
    if let Some(what) = open.map(|step| step.what.clone()) {
        state.fail(&what, &error.to_string());
    }
    state.status = ClusterStatus::CreateFailed;
    state.failures.push(Failure {
        failure_code: "ResourceCreationFailure".to_owned(),
        failure_reason: error.to_string(),
    });
}

fn new_state(request: &Request<'_>) -> State {
    let now = clock::now();
    let config = &request.document.config;
    let actions = &config.head_node.custom_actions;
    let has_static = config.resources().any(|(_, resource)| resource.min_count() > 0);
    let steps = [
        (true, GROUPS),
        (true, FOLDERS),
        (true, LAUNCH),
        (!actions.on_node_start.is_empty(), head_steps::START_ACTIONS),
        (true, head_steps::USERS),
        (true, head_steps::SLURM),
        (has_static, head_steps::STATIC_NODES),
        (!actions.on_node_configured.is_empty(), head_steps::CONFIGURED_ACTIONS),
    ];
    State {
        name: request.name.to_owned(),
        region: request.region.to_owned(),
        version: VERSION.to_owned(),
        created: now,
        updated: now,
        status: ClusterStatus::CreateInProgress,
        rollback: request.rollback,
        configuration: 1,
        applied: 0,
        resources: Resources {
            folders: folders::plan(request.name, config),
            retained: folders::retained(request.name, config),
            ..Resources::default()
        },
        head: None,
        fleet: Fleet { status: FleetStatus::Unknown, since: now },
        steps: steps.into_iter().filter(|(is, _)| *is).map(|(_, what)| Step::new(what)).collect(),
        failures: Vec::new(),
        troubles: BTreeMap::new(),
        bootstrap_failures: BTreeMap::new(),
        waiting: Vec::new(),
    }
}

fn begin(
    cloud: &Cloud,
    store: &Store,
    request: &Request<'_>,
    watch: &mut dyn FnMut(&State),
) -> Result<State, LifeError> {
    let config = &request.document.config;
    let mut step = |what: &str, work: &mut dyn FnMut() -> Result<(), LifeError>| {
        watch(&store.change(|state| {
            state.begin(what);
            state.clone()
        })?);
        work()?;
        let state = store.change(|state| {
            state.end(what);
            state.clone()
        })?;
        watch(&state);
        Ok::<_, LifeError>(state)
    };
    step(GROUPS, &mut || {
        let image = super::checks::image(cloud, config.user())?;
        store.change(|state| state.resources.image = image)?;
        groups::make(cloud, request.name, config, |change| {
            store.change(|state| change(&mut state.resources))?;
            Ok(())
        })
    })?;
    step(FOLDERS, &mut || {
        let state = store.read()?;
        folders::make(cloud, &state.resources.folders, request.program)
    })?;
    step(LAUNCH, &mut || {
        let resources = store.read()?.resources;
        let order = Order { config, resources: &resources, count: (1, 1), is_rehearsal: false };
        let launched = clock::now();
        let instance = cloud.launcher(request.name).head(&order)?;
        let address = instance
            .address
            .ok_or_else(|| LifeError::State(format!("{} was given no address", instance.id)))?;
        let head = Head { instance: instance.id, address, launched, seen: launched };
        store.change(|state| state.head = Some(head))?;
        Ok(())
    })
}

/// Waits until a cluster is made or could not be, and returns its record.
///
/// # Errors
///
/// When its record or EC2 cannot be read.
pub fn wait_created(
    cloud: &Cloud,
    name: &str,
    mut watch: impl FnMut(&State),
) -> Result<State, LifeError> {
    /// Between two looks at the record, and how many of those before one at EC2.
    const PAUSE: Duration = Duration::from_millis(50);
    const LOOKS: u32 = 20;
    let store = cloud.store(name);
    for look in 1.. {
        let state = if look % LOOKS == 0 { cloud.look(name)?.0 } else { store.read()? };
        watch(&state);
        let is_under_way = matches!(
            state.status,
            ClusterStatus::CreateInProgress | ClusterStatus::UpdateInProgress
        );
        if !is_under_way {
            return Ok(state);
        }
        std::thread::park_timeout(PAUSE);
    }
    unreachable!("counting does not end")
}
