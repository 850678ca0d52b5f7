//! Counters (fi_cntr(3)).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many operations are over.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) value: u64,
    pub(crate) errors: u64,
    /// Endpoints whose operations it counts, each once.
    pub(crate) endpoints: Vec<usize>,
    /// Operations of peers on regions that it is bound to, since [`Self::collect`]; present once
    /// there was such a region (fi_mr_bind(3)).
    visits: Option<Arc<AtomicU64>>,
}

impl Counter {
    /// Where operations on a region are counted for it.
    pub(crate) fn visits(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.visits.get_or_insert_default())
    }

    /// Whether it counts operations on regions, which come through any endpoint of the domain.
    pub(crate) const fn counts_visits(&self) -> bool {
        self.visits.is_some()
    }

    /// Adds what was counted of regions.
    pub(crate) fn collect(&mut self) {
        if let Some(visits) = &self.visits {
            self.value = self.value.wrapping_add(visits.swap(0, Ordering::AcqRel));
        }
    }
}
