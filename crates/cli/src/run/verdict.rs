//! Which provider the ranks really used: what each process's provider reports.
//!
//! Where `FI_ELASTANE_REPORT` names a folder, the provider writes a file `PID-NUMBER.json` there
//! for each endpoint that is closed: one JSON object.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;
use serde::Deserialize;

use crate::mpi::{Kind, launchers::Launcher};

/// What the provider says of an endpoint. Fields that are not listed are for others.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Report {
    pid: u32,
    /// `elastane`, or `efa` where it answers to that.
    name: String,
    version: String,
    address: SocketAddr,
    peers: Peers,
    messages_sent: u64,
    bytes_sent: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
struct Peers {
    shared_memory: u64,
    udp: u64,
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub(super) struct Reports {
    endpoints: Vec<Report>,
    /// Files that are no report.
    unreadable: usize,
}

/// Reads every report in `folder`.
pub(super) fn read(folder: &Path) -> Result<Reports> {
    let mut reports = Reports::default();
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        // What begins otherwise is being written, by a process that did not end in order.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        match serde_json::from_str(&text) {
            Ok(report) => reports.endpoints.push(report),
            Err(_) => reports.unreadable += 1,
        }
    }
    Ok(reports)
}

impl Reports {
    /// Processes with an endpoint. Two hosts may use one process id.
    fn processes(&self) -> usize {
        let ids = self.endpoints.iter().map(|report| (report.pid, report.address.ip()));
        ids.collect::<BTreeSet<_>>().len()
    }

    fn sum(&self, field: impl Fn(&Report) -> u64) -> u64 {
        self.endpoints.iter().map(field).fold(0, u64::saturating_add)
    }

    /// The provider's name and version, as one of the ranks says.
    fn provider(&self) -> String {
        let first = self.endpoints.first();
        first.map_or_else(
            || "elastane".to_owned(),
            |report| match report.name.as_str() {
                "elastane" => format!("elastane {}", report.version),
                name => format!("elastane {} under the name {name}", report.version),
            },
        )
    }
}

/// The line on which provider `ranks` ranks used. `only_here`: ranks on other hosts had no way to
/// report.
pub(super) fn sentence(
    reports: &Reports,
    ranks: u32,
    launcher: &Launcher,
    only_here: bool,
) -> String {
    let ranks = ranks as usize;
    let used = reports.processes();
    let provider = reports.provider();
    let messages = reports.sum(|report| report.messages_sent);
    // An endpoint alone carries nothing.
    let did = if messages > 0 { "used" } else { "opened an endpoint of" };
    let who = match used > ranks {
        false => format!("{used} of {ranks} ranks"),
        // The ranks started others.
        true => format!("{used} processes of {ranks} ranks"),
    };
    let mut text = format!("elastane: {who} {did} {provider}");
    if messages > 0 {
        let bytes = HumanBytes(reports.sum(|report| report.bytes_sent));
        let near = reports.sum(|report| report.peers.shared_memory);
        let far = reports.sum(|report| report.peers.udp);
        text += &format!(
            ": {messages} messages, {bytes}; peers: {near} by shared memory, {far} by UDP"
        );
    } else if used > 0 {
        text += " and sent nothing through it";
    }
    if reports.unreadable > 0 {
        text += &format!("; {} reports cannot be read", reports.unreadable);
    }
    if used < ranks && only_here {
        text += "; ranks of other hosts report only where hosts share a folder: --reports DIR";
    } else if used < ranks || messages == 0 {
        text += &format!("; {}", hint(launcher));
    }
    text
}

/// How to learn why an MPI took something else.
fn hint(launcher: &Launcher) -> &'static str {
    match launcher.kind {
        Kind::OpenMpi => "OMPI_MCA_mtl_base_verbose=10 shows what Open MPI chose",
        Kind::Mpich => {
            "inside a host MPICH uses its own shared memory (MPIR_CVAR_NOLOCAL=1 changes that); \
             MPIR_CVAR_DEBUG_SUMMARY=1 shows what it chose"
        }
        Kind::Intel => {
            "inside a host Intel MPI uses its own shared memory (I_MPI_FABRICS=ofi changes that); \
             I_MPI_DEBUG=2 shows what it chose"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pid: u32, address: &str, messages: u64) -> String {
        format!(
            r#"{{"pid":{pid},"name":"elastane","version":"0.1.0","address":"{address}",
               "peers":{{"shared_memory":1,"udp":2}},"messages_sent":{messages},
               "bytes_sent":1024,"later":true}}"#
        )
    }

    fn told(files: &[(&str, String)], ranks: u32, kind: Kind, only_here: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let launcher = Launcher { kind, version: "5".to_owned(), path: "/bin/mpirun".into() };
        sentence(&read(folder.path()).unwrap(), ranks, &launcher, only_here)
    }

    #[test]
    fn processes_are_counted_once_and_hosts_kept_apart() {
        let files = [
            ("1-0.json", report(1, "192.0.2.1:4000", 3)),
            ("1-1.json", report(1, "192.0.2.1:4001", 4)),
            ("1-2.json", report(1, "192.0.2.2:4000", 5)),
            (".2-0.tmp", "{".to_owned()),
        ];
        assert_eq!(
            told(&files, 2, Kind::OpenMpi, false),
            "elastane: 2 of 2 ranks used elastane 0.1.0: 12 messages, 3.00 KiB; \
             peers: 3 by shared memory, 6 by UDP"
        );
        let text = told(&files, 1, Kind::OpenMpi, false);
        assert!(text.starts_with("elastane: 2 processes of 1 ranks used"), "{text}");
        let text = told(&files, 3, Kind::OpenMpi, false);
        assert!(text.contains("2 of 3") && text.contains("OMPI_MCA_mtl_base_verbose"), "{text}");
    }

    #[test]
    fn no_report_is_no_use_unless_ranks_could_not_report() {
        let text = told(&[], 4, Kind::Intel, false);
        assert!(text.contains("0 of 4 ranks opened an endpoint of elastane"), "{text}");
        assert!(text.contains("I_MPI_FABRICS=ofi"), "{text}");
        let text = told(&[], 4, Kind::Intel, true);
        assert!(text.contains("--reports DIR") && !text.contains("I_MPI"), "{text}");
    }

    #[test]
    fn silent_endpoint_and_broken_report_are_told() {
        let text = told(&[("1-0.json", report(1, "[::1]:4000", 0))], 1, Kind::Mpich, false);
        assert!(text.contains("sent nothing") && text.contains("MPIR_CVAR_NOLOCAL"), "{text}");
        let text = told(&[("1-0.json", "{}".to_owned())], 1, Kind::Mpich, false);
        assert!(text.contains("0 of 1 ranks") && text.contains("1 reports cannot"), "{text}");
    }
}
