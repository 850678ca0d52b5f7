//! One-sided operations of a random workload: which memory each host offers, and who writes,
//! reads and counts where.
//!
//! A host's memory begins with a counter, then come the bytes that others read, then a slot for
//! each write, then one for each other host that writes numbers into it again and again, with
//! bytes between that nobody may touch.

use memory::{Access, Atomic, Datatype, Operator};
use message::{OperationClass, Order};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::{RKey, RemotePlace};

use crate::{
    scenario::Scenario,
    seed::{Purpose, mix, stream},
};

/// Bytes between slots.
const GUARD: usize = 16;
/// Bytes that others read.
const LIBRARY: usize = 200_000;
const LIBRARY_AT: usize = 8 + GUARD;
/// The largest write.
const WRITE_MAX: usize = 150_000;
/// What counting does.
pub(crate) const ADD: Atomic = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Writes into a slot of its own; with `event` the target hears of it.
    Write { event: bool },
    /// Reads from the library.
    Read,
    /// Adds to the counter.
    Add(u64),
    /// Writes this number, larger than those before it, into the slot of the initiator.
    Log(u64),
}

/// A one-sided operation. Its position in the plan is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// When it is posted, in nanoseconds.
    pub(crate) at: u64,
    pub(crate) deed: Deed,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    /// It claims what it may not: it must be refused.
    pub(crate) bad: bool,
    /// It is cancelled after so many nanoseconds.
    pub(crate) cancel_after: Option<u64>,
}

impl Remote {
    /// What it names at the target.
    pub(crate) fn place(&self, number: u32) -> RemotePlace {
        let key = key_of(self.to as usize);
        let offset = self.offset as u64;
        match (self.bad, number % 2) {
            (false, _) => RemotePlace { key, offset },
            (true, 0) => RemotePlace { key: RKey(key.0 ^ 1), offset },
            (true, _) => RemotePlace { key, offset: u64::MAX - offset },
        }
    }
}

/// The key of a host's memory.
pub(crate) fn key_of(host: usize) -> RKey {
    RKey(mix(host as u64))
}

/// What peers may do to it.
pub(crate) const ACCESS: Access = Access::ALL;

/// All one-sided operations of a run.
#[derive(Debug, Default)]
pub(crate) struct RemotePlan {
    pub(crate) all: Vec<Remote>,
    /// The numbers of each host's operations, in the order they are posted.
    pub(crate) posts: Vec<Vec<u32>>,
    /// Bytes of each host's memory.
    pub(crate) memory: Vec<usize>,
    /// Which operations wait for which.
    pub(crate) order: Order,
}

impl RemotePlan {
    /// Nothing at all.
    pub(crate) fn none(hosts: usize) -> Self {
        let (all, posts, memory) = (Vec::new(), vec![Vec::new(); hosts], vec![0; hosts]);
        Self { all, posts, memory, order: Order::NONE }
    }

    /// As many operations as a third of the messages, at random times below `horizon`.
    pub(crate) fn draw(scenario: &Scenario, hosts: usize, horizon: u64) -> Self {
        let rng = &mut stream(scenario.seed, Purpose::Remote);
        let mut plan = Self::none(hosts);
        plan.memory = vec![LIBRARY_AT + LIBRARY + GUARD; hosts];
        for number in 0..scenario.workload.messages.div_ceil(3) {
            let from = rng.random_range(0..hosts);
            let to = (from + rng.random_range(1..hosts)) % hosts;
            let bad = rng.random_bool(0.08);
            let (deed, offset, bytes) = match rng.random_range(0..3) {
                0 => {
                    let bytes = size(scenario, rng);
                    let offset = plan.memory[to];
                    plan.memory[to] += bytes + GUARD;
                    (Deed::Write { event: rng.random_bool(0.4) }, offset, bytes)
                }
                1 => {
                    let bytes = size(scenario, rng);
                    let offset = LIBRARY_AT + rng.random_range(0..=LIBRARY - bytes);
                    (Deed::Read, offset, bytes)
                }
                _ => (Deed::Add(rng.random_range(1..1_000)), 0, 8),
            };
            let at = rng.random_range(0..horizon);
            let [from, to] = [from, to].map(|host| u32::try_from(host).unwrap_or(0));
            let cancel_after = None;
            plan.all.push(Remote { from, to, at, deed, offset, bytes, bad, cancel_after });
            plan.posts[from as usize].push(number);
        }
        plan.draw_order(scenario.seed, horizon);
        for posts in &mut plan.posts {
            posts.sort_by_key(|&number| plan.all[number as usize].at);
        }
        plan
    }

    /// Draws what waits for what, numbers that are written one over another, and what is
    /// cancelled.
    fn draw_order(&mut self, seed: u64, horizon: u64) {
        use OperationClass::{Atomic, Read, Send, Write};
        let rng = &mut stream(seed, Purpose::Order);
        for later in [Send, Write, Read, Atomic] {
            for earlier in [Send, Write, Read, Atomic] {
                if rng.random_bool(0.2) {
                    self.order = self.order | Order::of(later, earlier);
                }
            }
        }
        let hosts = self.posts.len();
        for from in 0..hosts {
            let to = (from + rng.random_range(1..hosts)) % hosts;
            let offset = self.memory[to];
            self.memory[to] += 8 + GUARD;
            let mut times: Vec<u64> =
                (0..rng.random_range(0..8)).map(|_| rng.random_range(0..horizon)).collect();
            times.sort_unstable();
            let number = |host| u32::try_from(host).unwrap_or(0);
            for (serial, at) in (1..).zip(times) {
                self.posts[from].push(number(self.all.len()));
                self.all.push(Remote {
                    from: number(from),
                    to: number(to),
                    at,
                    deed: Deed::Log(serial),
                    offset,
                    bytes: 8,
                    bad: false,
                    cancel_after: None,
                });
            }
        }
        for remote in &mut self.all {
            if rng.random_bool(0.1) {
                remote.cancel_after = Some(rng.random_range(0..horizon / 8));
            }
        }
    }

    /// The bytes that a write carries.
    pub(crate) fn payload(&self, number: u32) -> Vec<u8> {
        if let Deed::Log(serial) = self.all[number as usize].deed {
            return serial.to_le_bytes().to_vec();
        }
        let bytes = self.all[number as usize].bytes;
        // Never zero, so that none of them can be mistaken for memory that was not written.
        (0..bytes).map(|at| byte_at(number, at) | 1).collect()
    }

    /// A host's memory as it is at first.
    pub(crate) fn fresh(&self, host: usize) -> Vec<u8> {
        let mut memory = vec![0; self.memory[host]];
        if let Some(library) = memory.get_mut(LIBRARY_AT..LIBRARY_AT + LIBRARY) {
            library.copy_from_slice(&self.library(LIBRARY_AT, LIBRARY));
        }
        memory
    }

    /// What a read of these bytes brings.
    pub(crate) fn library(&self, offset: usize, bytes: usize) -> Vec<u8> {
        (offset..offset + bytes).map(|at| byte_at(u32::MAX, at)).collect()
    }
}

fn byte_at(stream: u32, at: usize) -> u8 {
    let word = mix(u64::from(stream) << 32 | (at / 8) as u64);
    word.to_le_bytes()[at % 8]
}

/// Sizes on both sides of a datagram and of what comes without a grant.
fn size(scenario: &Scenario, rng: &mut Xoshiro256PlusPlus) -> usize {
    let datagram = scenario.network.datagram_bytes();
    let most = match rng.random_range(0..8) {
        0 => return 0,
        1..4 => 200,
        4 | 5 => 2 * datagram,
        6 => 80 << 10,
        _ => WRITE_MAX,
    };
    rng.random_range(1..most)
}
