//! Completion queues (fi_cq(3)): what is over, until the application takes it.

use std::{collections::VecDeque, sync::Arc};

use crate::wake::{Sleeper, Wake};

/// A completion, with all that any format of fi_cq(3) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The pointer that the operation was given, as a number: it is handed back and never followed.
    pub(crate) context: usize,
    pub(crate) flags: u64,
    pub(crate) length: usize,
    /// Where the bytes are, for receives.
    pub(crate) buffer: usize,
    /// Remote completion data.
    pub(crate) data: u64,
    pub(crate) tag: u64,
    /// Whose message it was (`fi_addr_t`).
    pub(crate) source: u64,
}

/// An operation that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) entry: Entry,
    /// Bytes that did not fit.
    pub(crate) excess: usize,
    /// A positive number of fi_errno(3).
    pub(crate) error: i32,
    /// What happened, for people.
    pub(crate) text: String,
}

/// An operation that is over.
#[derive(Debug)]
pub(crate) enum Item {
    Done(Entry),
    Failed(Box<Failure>),
}

/// What stands at the head of a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Nothing,
    Entries,
    Failure,
}

/// A queue. It grows as needed: to lose a completion would be fatal to whoever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    /// Endpoints that report here, each once.
    pub(crate) endpoints: Vec<usize>,
    /// `fi_cq_signal` was called, and no waiting call has returned since.
    pub(crate) signalled: bool,
    /// Who waits for something to come.
    pub(crate) sleeper: Sleeper,
}

impl Queue {
    #[inline]
    pub(crate) fn add(&mut self, item: Item) {
        self.items.push_back(item);
        self.sleeper.rouse();
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.add(Item::Done(entry));
    }

    pub(crate) fn push_failure(&mut self, failure: Failure) {
        self.add(Item::Failed(Box::new(failure)));
    }

    pub(crate) fn head(&self) -> Head {
        match self.items.front() {
            None => Head::Nothing,
            Some(Item::Done(_)) => Head::Entries,
            Some(Item::Failed(_)) => Head::Failure,
        }
    }

    /// An empty queue, whose callers can wait if there is a wake object.
    pub(crate) fn new(wake: Option<Arc<Wake>>) -> Queue {
        Queue { sleeper: Sleeper::of(wake), ..Queue::default() }
    }

    /// The next completion, if it is one of success, as `read` makes it out.
    #[inline]
    pub(crate) fn take<R>(&mut self, read: impl FnOnce(&Entry) -> R) -> Option<R> {
        let Item::Done(entry) = self.items.front()? else { return None };
        let read = read(entry);
        self.items.pop_front();
        Some(read)
    }

    /// The next completion, if it is one of failure.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        match self.items.pop_front()? {
            Item::Failed(failure) => Some(*failure),
            done @ Item::Done(_) => {
                self.items.push_front(done);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(context: usize) -> Entry {
        Entry { context, ..Entry::default() }
    }

    #[test]
    fn failures_stay_in_their_place_until_they_are_taken() {
        let mut queue = Queue::default();
        queue.push(entry(1));
        let text = String::new();
        queue.push_failure(Failure { entry: entry(2), excess: 0, error: 5, text });
        queue.push(entry(3));
        assert_eq!(queue.head(), Head::Entries);
        assert!(queue.take_failure().is_none());
        assert_eq!(queue.take(|entry| entry.context), Some(1));
        assert_eq!((queue.head(), queue.take(|_| ())), (Head::Failure, None));
        assert_eq!(queue.take_failure().map(|failure| failure.entry), Some(entry(2)));
        assert_eq!(queue.take(|&entry| entry), Some(entry(3)));
        assert_eq!(queue.head(), Head::Nothing);
    }
}
