//! What each verb does, and the document it prints.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use cluster::{
    config::Document,
    documents::{
        Accepted, ClusterList, Complaint, Description, FleetDescription, InstanceList,
        InstanceSummary, Message, RefusedChange, Summary,
    },
    finding::{Finding, Level},
    launch::{Instance, VERSION},
    life::{self, Cloud, LifeError},
    store::{State, StoreError},
    validate::{self, Suppressed},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Ended, Outcome,
    arguments::{
        Checks, CreateArgs, DeleteArgs, DeleteInstancesArgs, ExportArgs, FailureLevel, FleetArgs,
        FleetStatus, InstancesArgs, ListArgs, LogArgs, NodeType, Pcluster, SshArgs, UpdateArgs,
        Verb,
    },
};
use crate::{
    cluster::{
        configure,
        making::{examine, region, request_fleet},
        reach,
        showing::archive,
        ssh,
    },
    output,
};

pub(super) fn perform(arguments: &Pcluster) -> Outcome {
    let cloud = || reach(&arguments.state.path);
    match &arguments.verb {
        Verb::ListClusters(args) => list(args, &cloud()?),
        Verb::CreateCluster(args) => create(args, &cloud()?),
        Verb::DeleteCluster(args) => delete(args, &cloud()?),
        Verb::DescribeCluster(args) => describe(&args.cluster_name, &cloud()?),
        Verb::UpdateCluster(args) => update(args, &cloud()?),
        Verb::DescribeComputeFleet(args) => {
            let (state, _) = look(&cloud()?, &args.cluster_name)?;
            well(&FleetDescription::of(&state))
        }
        Verb::UpdateComputeFleet(args) => update_fleet(args, &cloud()?),
        Verb::DeleteClusterInstances(args) => delete_instances(args, &cloud()?),
        Verb::DescribeClusterInstances(args) => instances(args, &cloud()?),
        Verb::ListClusterLogStreams(args) => streams(&args.cluster_name, &cloud()?),
        Verb::GetClusterLogEvents(args) => events(args, &cloud()?),
        Verb::GetClusterStackEvents(args) => steps(&args.cluster_name, &cloud()?),
        Verb::ExportClusterLogs(args) => export(args, &cloud()?),
        Verb::ListImages(_) => well(&json!({ "images": [] })),
        Verb::Configure(args) => {
            configure::configure(&args.config, args.region.as_deref(), &cloud()?)?;
            Ok(Ended::Said)
        }
        Verb::Ssh(args) => connect(args, &cloud()?),
        Verb::Version(_) => well(&json!({ "version": VERSION })),
    }
}

fn well(document: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(document)?;
    Ok(Ended::Well { text, json: serde_json::to_value(document)? })
}

fn wrong(message: impl Into<String>) -> Outcome {
    Ok(Ended::Wrong(Box::new(Complaint::of(message))))
}

fn missing(name: &str) -> String {
    format!(
        "Cluster '{name}' does not exist or belongs to an incompatible ParallelCluster major \
         version."
    )
}

/// A cluster's record and instances; the original's words if there is none.
fn look(cloud: &Cloud, name: &str) -> Result<(State, Vec<Instance>)> {
    check_name(name)?;
    cloud.look(name).map_err(|error| match error {
        LifeError::Store(StoreError::Missing(_)) => anyhow!(missing(name)),
        other => other.into(),
    })
}

/// The check of the name as an argument, which is wider than that of a new name.
fn check_name(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let rest = letters.all(|c| c.is_ascii_alphanumeric() || c == '-');
    if first && rest && name.len() > 1 {
        return Ok(());
    }
    bail!("Bad Request: '{name}' does not match '^[a-zA-Z][a-zA-Z0-9-]+$' - 'cluster-name'")
}

fn list(args: &ListArgs, cloud: &Cloud) -> Outcome {
    let mut clusters = Vec::new();
    for name in cloud.clusters()? {
        let (state, _) = cloud.look(&name)?;
        let is_asked = args.cluster_status.is_empty()
            || args.cluster_status.iter().any(|status| status == state.status.name());
        if is_asked {
            clusters.push(Summary::of(&state));
        }
    }
    well(&ClusterList { clusters })
}

/// A configuration that was checked, or the complaint about it.
fn checked(
    cloud: &Cloud,
    name: &str,
    file: &Path,
    checks: &Checks,
) -> Result<Result<(Document, Vec<Finding>), Ended>> {
    check_name(name)?;
    let suppressed = Suppressed::read(&checks.suppress_validators)
        .map_err(|error| anyhow!("Bad Request: {error}"))?;
    let document = Document::open(file)?;
    let findings = examine(cloud, name, &document, &suppressed)?;
    let level = match checks.validation_failure_level {
        FailureLevel::Info => Level::Info,
        FailureLevel::Warning => Level::Warning,
        FailureLevel::Error => Level::Error,
    };
    if !validate::fails(&findings, level) {
        return Ok(Ok((document, findings)));
    }
    Ok(Err(Ended::Wrong(Box::new(Complaint {
        configuration_validation_errors: Message::all(&findings),
        ..Complaint::of("Invalid cluster configuration.")
    }))))
}

/// What the original says of a rehearsal that went well, with status 1.
const REHEARSED: &str = "Request would have succeeded, but DryRun flag is set.";

fn create(args: &CreateArgs, cloud: &Cloud) -> Outcome {
    let name = &args.cluster_name;
    check_name(name)?;
    if cloud.store(name).read().is_ok() {
        return wrong(format!("Cluster {name} already exists."));
    }
    let checked = checked(cloud, name, &args.cluster_configuration, &args.checks)?;
    let (document, findings) = match checked {
        Ok(checked) => checked,
        Err(ended) => return Ok(ended),
    };
    let region = region(&document, args.common.region.as_deref(), cloud)
        .map_err(|error| anyhow!("Bad Request: {error}"))?;
    if args.checks.dryrun {
        return Ok(Ended::Wrong(Box::new(Complaint {
            validation_messages: Message::all(&findings),
            ..Complaint::of(REHEARSED)
        })));
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let request = life::Request {
        name,
        region: &region,
        document: &document,
        rollback: args.rollback_on_failure,
        program: &program,
    };
    let mut state = life::create(cloud, &request, |_| {})?;
    if args.wait {
        state = life::wait_created(cloud, name, |_| {})?;
        return described(cloud, &state);
    }
    well(&Accepted {
        cluster: Summary::of(&state),
        validation_messages: Message::all(&findings),
        change_set: Vec::new(),
    })
}

fn update(args: &UpdateArgs, cloud: &Cloud) -> Outcome {
    let name = &args.cluster_name;
    look(cloud, name)?;
    let checked = checked(cloud, name, &args.cluster_configuration, &args.checks)?;
    let (document, findings) = match checked {
        Ok(checked) => checked,
        Err(ended) => return Ok(ended),
    };
    let (mut state, changes, refused) =
        life::update(cloud, name, &document, args.checks.dryrun, args.force_update)?;
    let complaint = |message: &str| Complaint {
        validation_messages: Message::all(&findings),
        update_validation_errors: refused.iter().map(RefusedChange::of).collect(),
        change_set: changes.clone(),
        ..Complaint::of(message)
    };
    if changes.is_empty() {
        return wrong("Bad Request: No changes found in your cluster configuration.");
    }
    if !refused.is_empty() {
        return Ok(Ended::Wrong(Box::new(complaint("Update failure"))));
    }
    if args.checks.dryrun {
        return Ok(Ended::Wrong(Box::new(complaint(REHEARSED))));
    }
    if args.wait {
        state = life::wait_created(cloud, name, |_| {})?;
    }
    well(&Accepted {
        cluster: Summary::of(&state),
        validation_messages: Message::all(&findings),
        change_set: changes,
    })
}

fn delete(args: &DeleteArgs, cloud: &Cloud) -> Outcome {
    let name = &args.cluster_name;
    check_name(name)?;
    if let Err(StoreError::Missing(_)) = cloud.store(name).read() {
        return wrong(format!(
            "{} In case you have running instances belonging to a deleted cluster please use the \
             DeleteClusterInstances API.",
            missing(name)
        ));
    }
    let state = life::delete(cloud, name)?;
    if args.wait {
        return well(&json!({ "message": format!("Successfully deleted cluster '{name}'.") }));
    }
    well(&Accepted {
        cluster: Summary::of(&state),
        validation_messages: Vec::new(),
        change_set: Vec::new(),
    })
}

fn describe(name: &str, cloud: &Cloud) -> Outcome {
    let (state, _) = look(cloud, name)?;
    described(cloud, &state)
}

fn described(cloud: &Cloud, state: &State) -> Outcome {
    let (state, instances) = look(cloud, &state.name)?;
    let path = cloud.store(&state.name).configuration_path();
    well(&Description::of(&state, &instances, &path.display().to_string()))
}

fn update_fleet(args: &FleetArgs, cloud: &Cloud) -> Outcome {
    look(cloud, &args.cluster_name)?;
    let state = request_fleet(cloud, &args.cluster_name, args.status == FleetStatus::Start)?;
    well(&FleetDescription::of(&state))
}

fn delete_instances(args: &DeleteInstancesArgs, cloud: &Cloud) -> Outcome {
    check_name(&args.cluster_name)?;
    if !args.force {
        look(cloud, &args.cluster_name)?;
    }
    let launcher = cloud.launcher(&args.cluster_name);
    let compute = launcher.instances()?.into_iter();
    let compute = compute.filter(|instance| instance.tag("node-type") == Some("Compute"));
    let ids: Vec<_> = compute.map(|instance| instance.id).collect();
    launcher.terminate(&ids)?;
    Ok(Ended::Said)
}

fn instances(args: &InstancesArgs, cloud: &Cloud) -> Outcome {
    check_name(&args.cluster_name)?;
    // A cluster that is not there has none.
    let all = cloud.launcher(&args.cluster_name).instances()?;
    let kind = args.node_type.map(|kind| match kind {
        NodeType::Head => "HeadNode",
        NodeType::Compute => "Compute",
        NodeType::Login => "LoginNode",
    });
    let asked = all.iter().filter(|instance| {
        kind.is_none_or(|kind| instance.tag("node-type") == Some(kind))
            && args.queue_name.as_deref().is_none_or(|it| instance.tag("queue-name") == Some(it))
    });
    well(&InstanceList { instances: asked.map(InstanceSummary::of).collect() })
}

/// The logs of a cluster: names, which are paths below the folder of shared directories.
fn logs(cloud: &Cloud, name: &str) -> Result<Vec<PathBuf>> {
    let (state, _) = look(cloud, name)?;
    let folders = state.resources.folders.values();
    let mut found = Vec::new();
    for folder in folders.filter(|it| it.ends_with(".state") || it.ends_with(".cluster")) {
        collect(&cloud.filesystems, &Path::new(folder).join("logs"), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn streams(name: &str, cloud: &Cloud) -> Outcome {
    let streams = logs(cloud, name)?.into_iter();
    let streams: Vec<_> = streams.map(|path| json!({ "logStreamName": path })).collect();
    well(&json!({ "logStreams": streams }))
}

fn events(args: &LogArgs, cloud: &Cloud) -> Outcome {
    let path = Path::new(&args.log_stream_name);
    // Only what was listed is read.
    if !logs(cloud, &args.cluster_name)?.iter().any(|known| known == path) {
        return wrong("The specified log stream does not exist.");
    }
    let bytes = fs::read(cloud.filesystems.join(path))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let skipped = args.limit.map_or(0, |limit| lines.len().saturating_sub(limit));
    let events: Vec<_> = lines[skipped..].iter().map(|line| json!({ "message": line })).collect();
    well(&json!({ "events": events }))
}

fn steps(name: &str, cloud: &Cloud) -> Outcome {
    let (state, _) = look(cloud, name)?;
    let events = state.steps.iter().map(|step| {
        let status = match (step.began, step.ended, &step.failed) {
            (_, _, Some(_)) => "CREATE_FAILED",
            (_, Some(_), _) => "CREATE_COMPLETE",
            (Some(_), None, _) => "CREATE_IN_PROGRESS",
            (None, ..) => "NOT_STARTED",
        };
        let time = step.ended.or(step.began).map(cluster::clock::shown);
        json!({
            "stackName": name, "logicalResourceId": step.what, "resourceStatus": status,
            "timestamp": time, "resourceStatusReason": step.failed,
        })
    });
    well(&json!({ "events": events.collect::<Vec<_>>() }))
}

fn export(args: &ExportArgs, cloud: &Cloud) -> Outcome {
    look(cloud, &args.cluster_name)?;
    if args.bucket.is_some() && args.output_file.is_none() {
        return wrong("Bad Request: there is no S3 here: give --output-file instead of --bucket");
    }
    let default = || PathBuf::from(format!("{}-logs.tar.gz", args.cluster_name));
    let file = std::path::absolute(args.output_file.clone().unwrap_or_else(default))?;
    archive(cloud, &args.cluster_name, &file)?;
    well(&json!({ "path": file }))
}

fn connect(args: &SshArgs, cloud: &Cloud) -> Outcome {
    look(cloud, &args.cluster_name)?;
    let command = ssh::command(cloud, &args.cluster_name, None, &args.arguments)?;
    if args.dryrun {
        return well(&json!({ "command": ssh::shown(&command) }));
    }
    output::say(&format!("Connecting to the head node: {}", command[1]));
    Err(ssh::replace(&command))
}
