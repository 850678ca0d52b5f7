//! One-sided operations are counted in the order they were posted (`fi_cntr(3)`).
//!
//! A counter is read by who waits for all operations posted up to now: so many were posted, so many
//! must be over. If one that is posted during the wait is over first and counts, the wait ends with
//! an older one unfinished, whose bytes are then reused. MPIs do that: a flush of a window serves
//! active messages of others by reads on the same counter.

use std::collections::VecDeque;

use super::{OperationClass, OperationCounters, counters::Tally, send::Kind};

/// What an operation counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Write,
    Read,
    Atomic,
    Fetch,
}

#[derive(Debug)]
struct Entry {
    serial: u32,
    item: Item,
    /// Once it is over: whether it succeeded.
    ended: Option<bool>,
}

/// One-sided operations that are not counted yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
}

impl Ledger {
    /// Notes an operation that is posted; messages and answers are not kept here.
    pub(super) fn post(&mut self, serial: u32, kind: &Kind) {
        let item = match (kind.class(), kind) {
            (Some(OperationClass::Write), _) => Item::Write,
            (Some(OperationClass::Read), _) => Item::Read,
            (_, Kind::Atomic { fetch: false, .. }) => Item::Atomic,
            (_, Kind::Atomic { fetch: true, .. }) => Item::Fetch,
            _ => return,
        };
        self.entries.push_back(Entry { serial, item, ended: None });
    }

    /// An operation is over: it counts, and so does what is behind it and waited for it, unless
    /// it has to wait itself.
    pub(super) fn end(&mut self, serial: u32, success: bool, counters: &mut OperationCounters) {
        let Some(oldest) = self.entries.front().map(|entry| entry.serial) else { return };
        // Serials wrap around.
        let age = |entry: &Entry| entry.serial.wrapping_sub(oldest);
        let Ok(at) = self.entries.binary_search_by_key(&serial.wrapping_sub(oldest), age) else {
            return;
        };
        self.entries[at].ended = Some(success);
        while let Some(&Entry { item, ended: Some(success), .. }) = self.entries.front() {
            item.tally(counters).count(success);
            self.entries.pop_front();
        }
    }
}

impl Item {
    const fn tally(self, counters: &mut OperationCounters) -> &mut Tally {
        match self {
            Self::Write => &mut counters.writes,
            Self::Read => &mut counters.reads,
            Self::Atomic => &mut counters.atomics,
            Self::Fetch => &mut counters.fetches,
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::RemotePlace;

    use super::*;

    #[test]
    fn operations_count_in_the_order_they_were_posted_across_the_wrap_of_serials() {
        let mut ledger = Ledger::default();
        let mut counters = OperationCounters::default();
        let first = u32::MAX - 1;
        for index in 0..4 {
            ledger.post(first.wrapping_add(index), &Kind::Write { place: RemotePlace::default() });
            // A message between them is nobody's business.
            ledger.post(first.wrapping_add(index), &Kind::Message);
        }
        for (ended, success, completed, failed) in
            [(2, true, 0, 0), (1, false, 0, 0), (0, true, 2, 1), (3, true, 3, 1), (3, true, 3, 1)]
        {
            ledger.end(first.wrapping_add(ended), success, &mut counters);
            assert_eq!(counters.writes, Tally { completed, failed }, "after {ended}");
        }
        assert!(ledger.entries.is_empty());
    }
}
