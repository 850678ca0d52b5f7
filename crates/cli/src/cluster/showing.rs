//! What clusters are and have.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use cluster::{
    clock,
    documents::{
        ClusterList, Description, Diagnosis, FleetDescription, InstanceList, InstanceSummary,
        Summary, to_text,
    },
    launch::Instance,
    life::Cloud,
    store::State,
};
use serde::Serialize;

use super::arguments::{ExportLogsArgs, ListArgs, ShowArgs};
use crate::{Verdict, output, output::Destination};

pub(super) fn list(args: &ListArgs, cloud: &Cloud) -> Result<Verdict> {
    let mut clusters = Vec::new();
    for name in cloud.clusters()? {
        clusters.push(cloud.look(&name)?.0);
    }
    if args.json {
        return print_json(&ClusterList { clusters: clusters.iter().map(Summary::of).collect() });
    }
    for state in clusters {
        let line = format!("{:20} {:20} {}\n", state.name, state.status.name(), state.region);
        output::print(&line)?;
    }
    Ok(Verdict::Passed)
}

fn print_json(document: &impl Serialize) -> Result<Verdict> {
    output::print(&(to_text(document, None).map_err(|error| anyhow!(error))? + "\n"))?;
    Ok(Verdict::Passed)
}

pub(super) fn describe(args: &ShowArgs, cloud: &Cloud) -> Result<Verdict> {
    let (state, instances) = cloud.look(&args.name)?;
    let path = cloud.store(&args.name).configuration_path();
    if args.json {
        let description = Description::of(&state, &instances, &path.display().to_string());
        return print_json(&Diagnosis::of(description, &state));
    }
    output::print(&described(&state, &instances, &path))?;
    Ok(Verdict::Passed)
}

fn described(state: &State, instances: &[Instance], configuration: &Path) -> String {
    let mut text = format!("{}: {}\n", state.name, state.status.name());
    let mut line = |name: &str, value: &str| {
        // Under its first line, where there are several.
        let value = value.replace('\n', &format!("\n{:17}", ""));
        writeln!(text, "  {name:14} {value}").expect("a text has room");
    };
    line("region", &state.region);
    line("created", &clock::shown(state.created));
    line("configuration", &configuration.display().to_string());
    if let Some(head) = &state.head {
        let found = instances.iter().find(|it| it.id == head.instance);
        let how = found.map_or("gone", |it| it.state.as_str());
        line("head node", &format!("{} {} {how}", head.instance, head.address));
    }
    line("compute fleet", state.fleet.status.name());
    let nodes = instances.iter().filter(|it| it.tag("node-type") == Some("Compute"));
    line("compute nodes", &nodes.filter(|it| it.is_live()).count().to_string());
    for failure in &state.failures {
        line("failure", &format!("{}: {}", failure.failure_code, failure.failure_reason));
    }
    for waiting in &state.waiting {
        line("waits", &format!("{}: {}", waiting.who, waiting.why));
    }
    for (node, trouble) in &state.troubles {
        line("trouble", &format!("{} {node}: {}", clock::shown(trouble.at), trouble.what));
    }
    text
}

pub(super) fn instances(args: &ShowArgs, cloud: &Cloud) -> Result<Verdict> {
    let (_, instances) = cloud.look(&args.name)?;
    let instances: Vec<_> = instances.into_iter().filter(Instance::is_live).collect();
    if args.json {
        let instances = instances.iter().map(InstanceSummary::of).collect();
        return print_json(&InstanceList { instances });
    }
    for it in instances {
        let address = it.address.map(|address| address.to_string()).unwrap_or_default();
        let kind = it.tag("node-type").unwrap_or("");
        let queue = it.tag("queue-name").unwrap_or("");
        let line = format!("{} {address:15} {:12} {:10} {kind} {queue}", it.id, it.kind, it.state);
        output::print(&format!("{}\n", line.trim_end()))?;
    }
    Ok(Verdict::Passed)
}

pub(super) fn fleet(args: &ShowArgs, cloud: &Cloud) -> Result<Verdict> {
    let (state, _) = cloud.look(&args.name)?;
    print_fleet(&state, args.json)
}

pub(super) fn print_fleet(state: &State, is_json: bool) -> Result<Verdict> {
    if is_json {
        return print_json(&FleetDescription::of(state));
    }
    let since = clock::shown(state.fleet.since);
    output::print(&format!("{} since {since}\n", state.fleet.status.name()))?;
    Ok(Verdict::Passed)
}

pub(super) fn export_logs(args: &ExportLogsArgs, cloud: &Cloud) -> Result<Verdict> {
    let file = match &args.output_file {
        Some(Destination::Stdout) => {
            archive(cloud, &args.name, Path::new("-"))?;
            return Ok(Verdict::Passed);
        }
        Some(Destination::File(path)) => path.clone(),
        None => PathBuf::from(format!("{}-logs.tar.gz", args.name)),
    };
    archive(cloud, &args.name, &file)?;
    output::print(&format!("{}\n", file.display()))?;
    Ok(Verdict::Passed)
}

/// Writes the logs of all nodes, those that are gone included, and the record of the cluster.
pub(crate) fn archive(cloud: &Cloud, name: &str, file: &Path) -> Result<()> {
    let state = cloud.store(name).read()?;
    let folders = &state.resources.folders;
    let find = |suffix: &str| folders.values().find(|folder| folder.ends_with(suffix)).cloned();
    let (own, shared) = (format!("{name}.state"), find(".cluster").unwrap_or_default());
    // What signs calls and what nodes know each other by are no logs.
    let mut parts = vec![format!("{own}/logs"), format!("{own}/cluster.json")];
    parts.push(format!("{own}/cluster-config.yaml"));
    parts.push(format!("{shared}/logs"));
    parts.push(format!("{shared}/slurm"));
    parts.retain(|part| cloud.filesystems.join(part).exists());
    let file = match file == Path::new("-") {
        true => file.to_owned(),
        false => std::path::absolute(file)?,
    };
    let status = Command::new("tar")
        .arg("--create")
        .arg("--gzip")
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .arg(&cloud.filesystems)
        .args(parts)
        .status()
        .context("cannot run tar")?;
    if !status.success() {
        bail!("cannot write {}: tar ended with {status}", file.display());
    }
    Ok(())
}
