//! A configuration file that was read.

use std::{collections::HashMap, fs, io, path::Path};

use serde::Deserialize as _;
use thiserror::Error;

use super::{Config, TreeError, check, schema, tree};
use crate::finding::Finding;

/// A configuration, its text, and where in it everything is.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says. Values that do not fit are left out.
    pub config: Config,
    /// The same as JSON.
    pub json: serde_json::Value,
    /// As it was written.
    pub text: String,
    /// What does not fit the schema.
    pub schema_findings: Vec<Finding>,
    lines: HashMap<String, usize>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("File not found: '{0}'")]
    Missing(String),
    /// It cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// It is larger than any configuration.
    #[error("{0} is larger than {LARGEST} bytes")]
    TooLarge(String),
    /// It is not YAML.
    #[error("Configuration must be a valid YAML document. {0}")]
    Syntax(TreeError),
    /// It is YAML of something else.
    #[error("configuration is required and cannot be empty: it has to hold keys such as Image")]
    NoMapping,
}

impl From<TreeError> for ReadError {
    fn from(error: TreeError) -> Self {
        // What it says is said already: it is no source of this one.
        Self::Syntax(error)
    }
}

/// Some 10000 lines.
const LARGEST: u64 = 1 << 20;

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not a YAML mapping. What is in it is not an error here: see
    /// [`Document::schema_findings`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let name = || path.display().to_string();
        let unreadable = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => ReadError::Missing(name()),
            _ => ReadError::Unreadable { path: name(), cause },
        };
        if fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
            return Err(ReadError::TooLarge(name()));
        }
        Self::read(&fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// As [`Document::open`].
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let root = tree::read(text)?;
        if !matches!(root.value, tree::Value::Map(_)) {
            return Err(ReadError::NoMapping);
        }
        let checked = check::check(&root, schema::CLUSTER);
        let config = Config::deserialize(&checked.json)
            .expect("what fits the schema fits the structure made for it");
        Ok(Self {
            config,
            json: checked.json,
            text: text.to_owned(),
            schema_findings: checked.findings,
            lines: checked.lines,
        })
    }

    /// The line of a place, or of the nearest one around it that was written.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of guide 003, as it is there.
    pub(crate) const GUIDE: &str = include_str!("../../tests/guide.yaml");

    fn messages(text: &str) -> Vec<String> {
        let document = Document::read(text).unwrap();
        let findings = document.schema_findings.into_iter();
        findings.map(|it| format!("{}:{} {}", it.line.unwrap(), it.path, it.message)).collect()
    }

    #[test]
    fn file_of_the_guide_fits() {
        let document = Document::read(GUIDE).unwrap();
        assert_eq!(document.schema_findings, []);
        let config = &document.config;
        assert_eq!(config.user(), "ec2-user");
        let (queue, resource) = config.resources().next().unwrap();
        assert_eq!((queue.name.as_str(), resource.types()), ("queue1", vec!["t3.micro"]));
        assert_eq!((resource.min_count(), resource.max_count()), (0, 10));
        assert_eq!(
            document.line_of("Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount"),
            Some(21)
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = GUIDE
            .replace("InstanceType: t3.micro\n  Networking", "InstanceTyp: t3.micro\n  Networking")
            .replace("Os: alinux2", "Os: alinux")
            .replace("MaxCount: 10", "MaxCount: ten")
            .replace("Secured: false", "Secured: perhaps")
            .replace("SubnetId: subnet-12121212", "SubnetId: net-1");
        let said = messages(&text);
        let expected = [
            "3:Image.Os `alinux` is not one of",
            "5:HeadNode.InstanceTyp unknown key InstanceTyp: did you mean InstanceType?",
            "7:HeadNode.Networking.SubnetId `net-1` is not a subnet id",
            "11:HeadNode.Imds.Secured `perhaps` is neither true nor false",
            "21:Scheduling.SlurmQueues[0].ComputeResources[0].MaxCount `ten` is not a whole number",
        ];
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said} is not {expected}");
        }
        assert!(said[0].contains("did you mean alinux2"), "{}", said[0]);
    }

    #[test]
    fn missing_keys_and_values_are_named() {
        let said = messages("Image:\nHeadNode: {}\nScheduling: [slurm]\n");
        assert_eq!(said.len(), 4, "{said:#?}");
        assert!(said[0].starts_with("1:Image it has no value"), "{said:#?}");
        assert!(said[1].contains("InstanceType is missing"), "{said:#?}");
        assert!(said[2].contains("Networking is missing"), "{said:#?}");
        assert!(said[3].contains("Scheduling it has to hold keys"), "{said:#?}");
    }

    #[test]
    fn actions_are_one_script_or_a_sequence() {
        let text = "HeadNode:\n  CustomActions:\n    OnNodeStart: {Script: /a, Args: [1, x]}\n    \
                    OnNodeConfigured:\n      Sequence:\n      - Script: /b\n      - Script: /c\n";
        let actions = Document::read(text).unwrap().config.head_node.custom_actions;
        assert_eq!(actions.on_node_start[0].args, ["1", "x"]);
        let scripts: Vec<_> = actions.on_node_configured.iter().map(|it| &it.script).collect();
        assert_eq!(scripts, ["/b", "/c"]);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in ["- a\n", "word\n", ""] {
            assert!(Document::read(text).is_err(), "{text}");
        }
    }
}
