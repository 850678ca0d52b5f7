//! Slurm's commands: what its nodes and jobs are doing, and telling it what becomes of them.

use std::{
    collections::BTreeSet,
    io,
    process::{Command, Stdio},
};

use thiserror::Error;

/// A node as Slurm sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeState {
    pub name: String,
    /// `IDLE`, `CLOUD`, `POWERED_DOWN` and so on.
    pub flags: BTreeSet<String>,
    pub reason: String,
}

impl NodeState {
    fn is(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Whether no instance is behind it, nor is to be.
    pub(crate) fn is_powered_down(&self) -> bool {
        self.is("POWERED_DOWN")
    }

    /// Whether it was told to go, and its name cannot be used yet.
    pub(crate) fn is_powering_down(&self) -> bool {
        self.is("POWERING_DOWN")
    }

    /// Whether it was asked for and has not answered yet.
    pub(crate) fn is_powering_up(&self) -> bool {
        self.is("POWERING_UP") || self.is("POWER_UP")
    }

    /// Whether Slurm has given it up.
    pub(crate) fn is_down(&self) -> bool {
        self.is("DOWN") || self.is("FAIL")
    }

    /// Whether it answers.
    pub(crate) fn is_ready(&self) -> bool {
        let waits = ["NOT_RESPONDING", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"];
        !self.is_powering_up() && !self.is_down() && !waits.iter().any(|flag| self.is(flag))
    }

    /// Whether jobs use it.
    pub(crate) fn is_busy(&self) -> bool {
        self.is("ALLOCATED") || self.is("MIXED") || self.is("COMPLETING")
    }

    /// Its state in a word or two, for people.
    pub(crate) fn shown(&self) -> String {
        let hidden = ["CLOUD", "DYNAMIC_NORM"];
        let flags = self.flags.iter().filter(|flag| !hidden.contains(&flag.as_str()));
        flags.map(|flag| flag.to_lowercase()).collect::<Vec<_>>().join("+")
    }
}

/// A command of Slurm's that failed.
#[derive(Debug, Error)]
pub(crate) enum SlurmError {
    #[error("cannot run {program}: {cause}")]
    Start { program: String, cause: io::Error },
    #[error("{command} failed: {said}")]
    Failed { command: String, said: String },
}

/// Runs a command and returns what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, SlurmError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env("SLURM_TIME_FORMAT", "%s")
        .output()
        .map_err(|cause| SlurmError::Start { program: program.to_owned(), cause })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stderr, output.stdout].map(|text| {
        String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let command = format!("{program} {}", arguments.join(" "));
    Err(SlurmError::Failed { command, said: said.join(" ").trim().to_owned() })
}

/// Whether the controller answers.
pub(crate) fn is_up() -> bool {
    run("scontrol", &["ping"]).is_ok_and(|said| said.contains(" is UP"))
}

/// All nodes.
pub(crate) fn nodes() -> Result<Vec<NodeState>, SlurmError> {
    let said = run("scontrol", &["-o", "show", "nodes"])?;
    Ok(said.lines().filter_map(read_node).collect())
}

/// Reads a line of `scontrol -o show nodes`.
fn read_node(line: &str) -> Option<NodeState> {
    let name = field(line, "NodeName")?.to_owned();
    let flags = field(line, "State")?.trim_end_matches(['*', '~', '#', '%', '$', '@', '!']);
    let flags = flags.split('+').map(|flag| flag.trim_end_matches('*').to_owned()).collect();
    // The reason may hold spaces, and ends with who gave it and when.
    let reason = line.split_once(" Reason=").map_or("", |(_, rest)| rest);
    let reason = reason.rsplit_once(" [").map_or(reason, |(reason, _)| reason);
    Some(NodeState { name, flags, reason: reason.trim().to_owned() })
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split(' ');
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// A job as Slurm sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its number; each task of an array has one of its own.
    pub number: String,
    /// As users see it: `12_3` is the third task of an array.
    pub id: String,
    /// `PENDING`, `CONFIGURING`, `RUNNING` and so on.
    pub state: String,
    pub reason: String,
    pub nodes: String,
    /// When it may begin, in seconds since 1970; 0 if nobody said.
    pub begins: u64,
    pub partition: String,
}

/// All jobs that have not ended.
pub(crate) fn jobs() -> Result<Vec<Job>, SlurmError> {
    let format = "--Format=JobID:|,JobArrayID:|,State:|,Reason:|,NodeList:|,StartTime:|,Partition:";
    let said = run("squeue", &["--noheader", "--array", format])?;
    Ok(said.lines().filter_map(read_job).collect())
}

fn read_job(line: &str) -> Option<Job> {
    let mut fields = line.split('|').map(|field| field.trim().to_owned());
    Some(Job {
        number: fields.next()?,
        id: fields.next()?,
        state: fields.next()?,
        reason: fields.next()?,
        nodes: fields.next()?,
        begins: fields.next()?.parse().unwrap_or(0),
        partition: fields.next()?,
    })
}

/// Changes nodes: `state=power_up` and the like.
pub(crate) fn update_nodes(names: &[String], change: &[&str]) -> Result<(), SlurmError> {
    if names.is_empty() {
        return Ok(());
    }
    let names = format!("nodename={}", names.join(","));
    let mut arguments = vec!["update", names.as_str()];
    arguments.extend(change);
    run("scontrol", &arguments).map(drop)
}

/// Opens or closes a partition.
pub(crate) fn set_partition(name: &str, is_open: bool) -> Result<(), SlurmError> {
    let (name, state) =
        (format!("partitionname={name}"), if is_open { "state=UP" } else { "state=INACTIVE" });
    run("scontrol", &["update", &name, state]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `scontrol -o show nodes` of Slurm 22.05 prints them, cut.
    const NODES: &str = "\
NodeName=queue1-dy-t3micro-1 CoresPerSocket=1 NodeAddr=queue1-dy-t3micro-1 Port=6818 \
State=IDLE+CLOUD+POWERED_DOWN ThreadsPerCore=1 Partitions=queue1
NodeName=queue1-dy-t3micro-2 Arch=x86_64 State=ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP Weight=1
NodeName=queue1-dy-t3micro-3 Arch=x86_64 State=MIXED+CLOUD Weight=1
NodeName=queue1-dy-t3micro-4 State=DOWN+CLOUD Weight=1 Reason=(Code:Capacity)no room [root@1700]
";

    #[test]
    fn nodes_are_read_as_slurm_prints_them() {
        let nodes: Vec<_> = NODES.lines().filter_map(read_node).collect();
        assert_eq!(nodes.len(), 4);
        assert!(nodes[0].is_powered_down() && !nodes[0].is_ready());
        assert!(nodes[1].is_powering_up() && !nodes[1].is_ready() && nodes[1].is_busy());
        assert!(nodes[2].is_ready() && nodes[2].is_busy());
        assert!(nodes[3].is_down() && !nodes[3].is_ready());
        assert_eq!(nodes[3].reason, "(Code:Capacity)no room");
        assert_eq!(nodes[0].shown(), "idle+powered_down");
    }

    #[test]
    fn jobs_are_read_with_what_they_wait_for() {
        let job = read_job("14|12_3|PENDING|BeginTime||1700000000|queue1").unwrap();
        assert_eq!(
            (job.id.as_str(), job.begins, job.number.as_str()),
            ("12_3", 1_700_000_000, "14")
        );
        assert_eq!(read_job("nonsense"), None);
    }
}
