//! Counters (fi_cntr(3)).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::wake::{Sleeper, Wake};

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
    /// Who waits for it to change.
    pub(crate) sleeper: Sleeper,
    /// What the application was told last.
    told: (u64, u64),
}

impl Counter {
    /// One that stands at 0.
    pub(crate) fn new(wake: Option<Arc<Wake>>) -> Self {
        Self { sleeper: Sleeper::of(wake), ..Self::default() }
    }

    /// Counts operations that are over.
    pub(crate) fn count(&mut self, done: u64, failed: u64) {
        self.value = self.value.wrapping_add(done);
        self.errors = self.errors.wrapping_add(failed);
        if done + failed > 0 {
            self.sleeper.rouse();
        }
    }

    /// The application sees it.
    pub(crate) const fn tell(&mut self) {
        self.told = (self.value, self.errors);
    }

    /// Whether the application, which is to be told, has seen all of it; then it may sleep.
    pub(crate) fn may_sleep(&mut self) -> bool {
        self.sleeper.is_there = self.told == (self.value, self.errors);
        self.tell();
        self.sleeper.is_there
    }

    /// Where operations on a region are counted for it.
    pub(crate) fn visits(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.visits.get_or_insert_default())
    }

    /// Whether it counts operations on regions, which come through any endpoint of the domain.
    pub(crate) const fn counts_visits(&self) -> bool {
        self.visits.is_some()
    }

    /// Whether somebody sleeps until it changes, which it may by what happens on an endpoint.
    pub(crate) fn has_sleeper_for(&self, endpoint: usize) -> bool {
        self.sleeper.is_there && (self.counts_visits() || self.endpoints.contains(&endpoint))
    }

    /// Adds what was counted of regions, if that is to end somebody's sleep.
    pub(crate) fn collect_for_sleeper(&mut self) {
        if self.sleeper.is_there {
            self.collect();
        }
    }

    /// Adds what was counted of regions.
    pub(crate) fn collect(&mut self) {
        if let Some(visits) = &self.visits {
            let visits = visits.swap(0, Ordering::AcqRel);
            self.count(visits, 0);
        }
    }
}
