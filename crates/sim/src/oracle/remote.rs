//! The oracle of one-sided operations: each ends once and as it should, each write is placed
//! once, byte for byte, counts add up exactly, and nothing else of anybody's memory changes.

use std::sync::Arc;

use message::Order;

use crate::{
    application::Ending,
    oracle::Violation,
    remote::{Deed, Remote},
    workload::Plan,
};

/// What an application says of an operation that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemoteEnded {
    pub(crate) number: u32,
    pub(crate) ending: Ending,
    /// What was read is what the target holds, or what came back has the right form.
    pub(crate) intact: bool,
    /// The old value that an atomic operation brought.
    pub(crate) old: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    posted: bool,
    ended: Option<Ending>,
    /// The target heard of it.
    heard: bool,
    /// Whether it took place can no longer be told: an end failed.
    excused: bool,
    old: Option<u64>,
}

/// Follows every one-sided operation.
#[derive(Debug)]
pub(super) struct RemoteLedger {
    plan: Arc<Plan>,
    records: Vec<Record>,
    unsettled: usize,
    /// Hosts that lost their memory.
    killed: Vec<bool>,
}

impl RemoteLedger {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let operations = plan.remote.all.len();
        Self {
            records: vec![Record::default(); operations],
            unsettled: operations,
            killed: vec![false; plan.sends.len()],
            plan,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, Remote, Record)> {
        let all = self.plan.remote.all.iter().zip(&self.records);
        (0..).zip(all).map(|(number, (remote, record))| (number, *remote, *record))
    }

    fn end(&mut self, number: u32, ending: Ending) {
        let record = &mut self.records[number as usize];
        if record.ended.replace(ending).is_none() {
            self.unsettled -= 1;
        }
    }

    pub(super) fn posted(&mut self, number: u32) {
        self.records[number as usize].posted = true;
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.killed[host] = true;
        let touched: Vec<_> = self
            .numbered()
            .filter(|(_, remote, record)| {
                record.posted && (remote.from as usize == host || remote.to as usize == host)
            })
            .collect();
        for (number, remote, record) in touched {
            self.records[number as usize].excused = true;
            if remote.to as usize == host {
                // What was under way may reach the next incarnation as well.
                self.records[number as usize].heard = false;
            }
            if remote.from as usize == host && record.ended.is_none() {
                self.end(number, Ending::PeerLost);
            }
        }
    }

    /// What `host` has not posted is not expected.
    pub(super) fn bury(&mut self, host: usize) {
        let unposted: Vec<_> = self
            .numbered()
            .filter(|(_, remote, record)| !record.posted && remote.from as usize == host)
            .collect();
        for (number, ..) in unposted {
            self.records[number as usize].excused = true;
            self.end(number, Ending::PeerLost);
        }
    }

    pub(super) fn peer_lost(&mut self, host: usize, peer: usize) {
        for (remote, record) in self.plan.remote.all.iter().zip(&mut self.records) {
            let pair = (remote.from as usize, remote.to as usize);
            if record.posted && (pair == (host, peer) || pair == (peer, host)) {
                record.excused = true;
            }
        }
    }

    pub(super) fn ended(&mut self, host: usize, ended: RemoteEnded) -> Vec<Violation> {
        let RemoteEnded { number, ending, intact, old } = ended;
        let Some(&record) = self.records.get(number as usize) else {
            return vec![Violation::Invented { host, number: Some(number) }];
        };
        let remote = self.plan.remote.all[number as usize];
        let (operation, wide) = ("one-sided operation", u64::from(number));
        let mut found = Vec::new();
        if record.ended.is_some() || !record.posted || remote.from as usize != host {
            found.push(Violation::EndedTwice { operation, number: wide, host });
        }
        let expected = match ending {
            Ending::Ok => !remote.bad,
            Ending::Refused => remote.bad,
            Ending::PeerLost => true,
            Ending::Canceled => remote.cancel_after.is_some(),
            _ => false,
        };
        if !expected {
            found.push(Violation::wrong_ending(operation, wide, host, ending));
        }
        let silent = remote.deed == Deed::Write { event: true } && !record.heard;
        if ending == Ending::Ok && (!intact || silent && !record.excused) {
            found.push(Violation::WrongResult(number));
        }
        self.records[number as usize].old = old;
        self.end(number, ending);
        found
    }

    /// The target heard of a write.
    pub(super) fn heard(&mut self, host: usize, number: u32, intact: bool) -> Vec<Violation> {
        let Some(record) = self.records.get_mut(number as usize) else {
            return vec![Violation::Invented { host, number: Some(number) }];
        };
        let remote = self.plan.remote.all[number as usize];
        let twice = std::mem::replace(&mut record.heard, true);
        let rightly = record.posted
            && !remote.bad
            && remote.to as usize == host
            && remote.deed == Deed::Write { event: true };
        let mut found = Vec::new();
        if twice {
            found.push(Violation::DeliveredTwice(number));
        }
        if !rightly || !intact {
            found.push(Violation::WrongResult(number));
        }
        found
    }

    pub(super) fn stuck(&self) -> Vec<Violation> {
        let stuck = self.numbered().filter(|(.., record)| record.ended.is_none());
        stuck
            .map(|(number, remote, record)| Violation::Stuck {
                number,
                from: remote.from,
                to: remote.to,
                state: if record.posted {
                    "a one-sided operation that neither succeeded nor failed"
                } else {
                    "a one-sided operation that its application could not post"
                },
            })
            .collect()
    }

    /// Compares a host's memory at the end with what must be there.
    pub(super) fn check_memory(&self, host: usize, memory: &[u8]) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut free = vec![true; memory.len()];
        let (mut least, mut most) = (0, 0);
        for (number, remote, record) in self.numbered() {
            if remote.to as usize != host {
                continue;
            }
            let sure = !record.excused && record.ended == Some(Ending::Ok);
            let canceled = record.ended == Some(Ending::Canceled);
            match remote.deed {
                Deed::Add(value) if !remote.bad => {
                    least += if sure { value } else { 0 };
                    most += if record.posted && !canceled { value } else { 0 };
                }
                Deed::Write { event } if !remote.bad => {
                    let slot = remote.offset..remote.offset + remote.bytes;
                    free[slot.clone()].fill(false);
                    // The application empties a slot when it hears of the write.
                    let wanted = if event || canceled {
                        vec![0; remote.bytes]
                    } else {
                        self.plan.remote.payload(number)
                    };
                    let known = sure || canceled;
                    if known && !self.killed[host] && memory[slot] != wanted {
                        found.push(Violation::WrongMemory { host, number });
                    }
                }
                Deed::Log(_) => {
                    free[remote.offset..remote.offset + remote.bytes].fill(false);
                    if !self.killed[host] && !self.log_is_right(&remote, memory) {
                        found.push(Violation::WrongMemory { host, number });
                    }
                }
                _ => {}
            }
        }
        let fresh = self.plan.remote.fresh(host);
        let counter = memory
            .get(..8)
            .map_or(0, |bytes| u64::from_le_bytes(std::array::from_fn(|at| bytes[at])));
        if !self.killed[host] && (counter < least || counter > most) {
            found.push(Violation::WrongCount { host, counter, least, most });
        }
        let touched = (8..memory.len()).find(|&at| free[at] && memory[at] != fresh[at]);
        found.extend(touched.map(|at| Violation::MemoryTouched { host, at }));
        found
    }

    /// Whether the number that others are written over may be the last of them: at least one that
    /// was certainly written; if writes are in order, none before that.
    fn log_is_right(&self, one: &Remote, memory: &[u8]) -> bool {
        let slot = &memory[one.offset..one.offset + 8];
        let shown = u64::from_le_bytes(std::array::from_fn(|at| slot[at]));
        let (mut possible, mut certain) = (shown == 0, 0);
        for (_, remote, record) in self.numbered() {
            let Deed::Log(serial) = remote.deed else { continue };
            if (remote.from, remote.to) != (one.from, one.to) || !record.posted {
                continue;
            }
            possible |= serial == shown && record.ended != Some(Ending::Canceled);
            if !record.excused && record.ended == Some(Ending::Ok) {
                certain = certain.max(serial);
            }
        }
        let in_order = self.plan.remote.order.includes(Order::WRITE_AFTER_WRITE);
        possible && if in_order { shown >= certain } else { certain == 0 || shown > 0 }
    }

    /// Atomic operations of one host on another's memory, in the order they were posted, must
    /// have seen rising values.
    pub(super) fn check_order(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (from, posts) in self.plan.remote.posts.iter().enumerate() {
            let mut latest = vec![None; self.killed.len()];
            for &number in posts {
                let (remote, record) =
                    (self.plan.remote.all[number as usize], self.records[number as usize]);
                let target = remote.to as usize;
                let Some(old) = record.old.filter(|_| !self.killed[from] && !self.killed[target])
                else {
                    continue;
                };
                if latest[target].is_some_and(|latest| latest >= old) {
                    found.push(Violation::WrongResult(number));
                }
                latest[target] = Some(old);
            }
        }
        found
    }
}
