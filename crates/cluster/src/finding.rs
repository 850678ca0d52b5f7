//! What is found wrong with a configuration, in the words of its file.

use serde::{Deserialize, Serialize};

/// How much a finding matters. The order is that of the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Good to know.
    Info,
    /// It works, though perhaps not as meant.
    Warning,
    /// It cannot work.
    Error,
}

/// Something to know about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// The validator's name, which `--suppress-validators type:NAME` takes.
    #[serde(rename = "type")]
    pub validator: &'static str,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// Where in the document, as `Scheduling.SlurmQueues[0].Name`; empty for the whole of it.
    pub path: String,
    /// The line in the file, counted from 1; none if the file has no such place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Finding {
    /// An error at `path`.
    pub(crate) fn error(validator: &'static str, path: &str, message: String) -> Self {
        Self { level: Level::Error, validator, message, path: path.to_owned(), line: None }
    }

    /// A warning at `path`.
    pub(crate) fn warning(validator: &'static str, path: &str, message: String) -> Self {
        Self { level: Level::Warning, ..Self::error(validator, path, message) }
    }
}
