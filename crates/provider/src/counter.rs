//! Counters (fi_cntr(3)).

/// How many operations are over.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) value: u64,
    pub(crate) errors: u64,
    /// Endpoints whose operations it counts, each once.
    pub(crate) endpoints: Vec<usize>,
}
