//! What can be said of a configuration without asking EC2.
//!
//! Validators have the names of ParallelCluster's, which users suppress by name.

mod compute;
mod efa;
mod names;
mod scheduler;
mod storage;
mod unsupported;

use crate::{
    config::{Config, Document},
    finding::{Finding, Level},
};

pub use names::check_name;

/// Which findings are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// All of them.
    pub all: bool,
    /// Those of validators with these names.
    pub validators: Vec<String>,
}

impl Suppressed {
    /// Reads `ALL` and `type:NAME`.
    ///
    /// # Errors
    ///
    /// When a word is neither; the message says so.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let mut suppressed = Self::default();
        for word in words {
            match (word.as_str(), word.strip_prefix("type:")) {
                ("ALL", _) => suppressed.all = true,
                (_, Some(name)) if !name.is_empty() => suppressed.validators.push(name.to_owned()),
                _ => return Err(format!("`{word}` is neither ALL nor type:VALIDATOR")),
            }
        }
        Ok(suppressed)
    }

    fn has(&self, finding: &Finding) -> bool {
        // What does not fit the schema cannot be made at all.
        finding.validator != "ConfigSchemaValidator"
            && (self.all || self.validators.iter().any(|name| name == finding.validator))
    }
}

/// Everything found in a document without asking EC2, in the order of its lines.
pub fn validate(document: &Document, suppressed: &Suppressed) -> Vec<Finding> {
    let mut found = Findings { list: document.schema_findings.clone() };
    let config = &document.config;
    names::check(config, &mut found);
    compute::check(config, &mut found);
    efa::check(config, &mut found);
    scheduler::check(config, &mut found);
    storage::check(config, &mut found);
    unsupported::check(config, &mut found);
    let mut findings = found.list;
    for finding in &mut findings {
        if finding.line.is_none() {
            finding.line = document.line_of(&finding.path);
        }
    }
    suppress(&mut findings, suppressed);
    findings.sort_by_key(|finding| (finding.line, finding.path.clone()));
    findings
}

/// Leaves out what is suppressed.
pub fn suppress(findings: &mut Vec<Finding>, suppressed: &Suppressed) {
    findings.retain(|finding| !suppressed.has(finding));
}

/// Whether any finding is of this level or above.
pub fn fails(findings: &[Finding], level: Level) -> bool {
    findings.iter().any(|finding| finding.level >= level)
}

/// Collects findings.
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn error(&mut self, validator: &'static str, path: &str, message: impl Into<String>) {
        self.list.push(Finding::error(validator, path, message.into()));
    }

    fn warn(&mut self, validator: &'static str, path: &str, message: impl Into<String>) {
        self.list.push(Finding::warning(validator, path, message.into()));
    }
}

/// Queues with their paths.
fn queues(config: &Config) -> impl Iterator<Item = (String, &crate::config::Queue)> {
    let queues = config.scheduling.slurm_queues.iter().enumerate();
    queues.map(|(number, queue)| (format!("Scheduling.SlurmQueues[{number}]"), queue))
}

/// Compute resources of a queue with their paths.
fn resources<'a>(
    path: &'a str,
    queue: &'a crate::config::Queue,
) -> impl Iterator<Item = (String, &'a crate::config::ComputeResource)> {
    let resources = queue.compute_resources.iter().enumerate();
    resources.map(move |(number, it)| (format!("{path}.ComputeResources[{number}]"), it))
}

#[cfg(test)]
mod tests;
