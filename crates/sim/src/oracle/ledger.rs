//! The ledger: every operation of every host, from its posting to its end.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use srd::PeerError;
use wire::Time;

use crate::{
    Observer,
    application::{Ending, Received, Released, Told},
    oracle::{
        Violation,
        reference::{self, Matched},
        remote::RemoteLedger,
    },
    workload::{Message, Plan, Receive},
};

/// A run that breaks more promises than this is stopped.
const ENOUGH: usize = 16;

#[derive(Clone, Debug)]
struct Record {
    posted: Option<Time>,
    delivered: Option<Time>,
    /// The receive it met, by position among those of its host.
    receive: u64,
    order: u32,
    send: Option<Ending>,
    /// Delivery can no longer be demanded: an end failed, or the send was cancelled.
    excused: bool,
    settled: bool,
}

const UNPOSTED: Record = Record {
    posted: None,
    delivered: None,
    receive: 0,
    order: 0,
    send: None,
    excused: false,
    settled: false,
};

/// A receive as it was posted, and whether it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveRecord {
    pub(super) receive: Receive,
    pub(super) ended: bool,
    /// It was cancelled when everything else was over.
    pub(super) waited_in_vain: bool,
}

/// A message that was delivered, for statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) from: u32,
    pub(crate) bytes: usize,
    pub(crate) posted: Time,
    pub(crate) delivered: Time,
}

/// Follows every operation and notes every promise that is broken.
#[derive(Debug)]
pub(crate) struct Ledger {
    plan: Arc<Plan>,
    messages: Vec<Record>,
    remote: RemoteLedger,
    receives: Vec<Vec<ReceiveRecord>>,
    /// The places of messages in receives that take many, by host and receive.
    packed: FxHashMap<(usize, u64), Vec<(u64, usize)>>,
    killed: Vec<bool>,
    unsettled: usize,
    orders: u32,
    lingering: bool,
    finishing: bool,
    violations: Vec<Violation>,
}

impl Ledger {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let hosts = plan.sends.len();
        Self {
            messages: vec![UNPOSTED; plan.messages.len()],
            receives: vec![Vec::new(); hosts],
            packed: FxHashMap::default(),
            killed: vec![false; hosts],
            remote: RemoteLedger::new(plan.clone()),
            unsettled: plan.messages.len(),
            orders: 0,
            lingering: false,
            finishing: false,
            violations: Vec::new(),
            plan,
        }
    }

    /// Whether every message was delivered, or need not be, and every send ended.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0 && self.remote.is_settled()
    }

    /// All messages are settled; from now on there is no reason to stop.
    pub(crate) fn go_on(&mut self) {
        self.lingering = true;
    }

    /// From now on hosts cancel what is left.
    pub(crate) fn begin_finish(&mut self) {
        self.finishing = true;
    }

    pub(crate) fn add(&mut self, violation: Violation) {
        if self.violations.len() < ENOUGH {
            self.violations.push(violation);
        }
    }

    fn add_all(&mut self, found: Vec<Violation>) {
        found.into_iter().for_each(|violation| self.add(violation));
    }

    /// Checks a host's memory at the end.
    pub(crate) fn check_memory(&mut self, host: usize, memory: &[u8]) {
        self.add_all(self.remote.check_memory(host, memory));
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// `host` lost its memory. What it had sent may arrive or not, and nobody will hear of it.
    pub(crate) fn kill(&mut self, host: usize) {
        self.killed[host] = true;
        self.remote.kill(host);
        self.receives[host].clear();
        self.packed.retain(|&(of, _), _| of != host);
        for number in 0..self.messages.len() {
            let Message { from, to, .. } = self.plan.messages[number];
            let record = &mut self.messages[number];
            if record.posted.is_none() || (from as usize != host && to as usize != host) {
                continue;
            }
            record.excused = true;
            if from as usize == host {
                record.send.get_or_insert(Ending::PeerLost);
            } else {
                // At most once is promised to each incarnation: a datagram that was under way
                // before its sender knew any may reach the next one too.
                record.delivered = None;
            }
            self.settle(number);
        }
        self.give_up_answers();
    }

    /// `host` will not come back: what it has not sent is not expected.
    pub(crate) fn bury(&mut self, host: usize) {
        self.remote.bury(host);
        self.give_up_unposted(|message| message.from as usize == host);
    }

    /// After a loss nobody may be left who knows that it is his turn to answer.
    fn give_up_answers(&mut self) {
        self.give_up_unposted(|message| message.answers);
    }

    fn give_up_unposted(&mut self, is_lost: impl Fn(&Message) -> bool) {
        for number in 0..self.messages.len() {
            let record = &mut self.messages[number];
            if record.posted.is_none() && is_lost(&self.plan.messages[number]) {
                record.posted = Some(Time::ZERO);
                record.send = Some(Ending::PeerLost);
                record.excused = true;
                self.settle(number);
            }
        }
    }

    /// All messages delivered, in the order of the plan.
    pub(crate) fn flows(&self) -> impl Iterator<Item = Flow> {
        self.plan.messages.iter().zip(&self.messages).filter_map(|(message, record)| {
            let Message { from, bytes, .. } = *message;
            Some(Flow { from, bytes, posted: record.posted?, delivered: record.delivered? })
        })
    }

    /// Notes what never ended.
    pub(crate) fn note_stuck(&mut self) {
        for number in 0..self.messages.len() {
            let record = &self.messages[number];
            if record.settled || self.violations.len() >= ENOUGH {
                continue;
            }
            let state = match (record.posted, record.send, record.delivered) {
                (None, ..) => "its application could not post it",
                (_, None, None) => "neither delivered nor failed",
                (_, None, Some(_)) => "delivered, but the send never ended",
                (_, Some(_), _) => "the send ended well, but nothing was delivered",
            };
            let Message { from, to, .. } = self.plan.messages[number];
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.add(Violation::Stuck { number, from, to, state });
        }
        self.add_all(self.remote.stuck());
        if !self.finishing {
            return;
        }
        for (host, receives) in self.receives.clone().iter().enumerate() {
            for (receive, _) in (0..).zip(receives).filter(|(_, record)| !record.ended) {
                self.add(Violation::ReceivePending { host, receive });
            }
        }
    }

    /// Compares all matching with the reference model.
    pub(crate) fn check_matching(&mut self) {
        self.add_all(self.remote.check_order());
        let mut pairs: FxHashMap<(u32, u32), Vec<usize>> = FxHashMap::default();
        for (number, message) in self.plan.messages.iter().enumerate() {
            let record = &self.messages[number];
            let known = record.posted.is_some() && !record.excused;
            if known && !self.killed[message.to as usize] && !self.killed[message.from as usize] {
                pairs.entry((message.from, message.to)).or_default().push(number);
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        for ((_, to), mut numbers) in pairs {
            numbers.sort_unstable_by_key(|&number| self.messages[number].order);
            let matched: Vec<_> = numbers
                .iter()
                .map(|&number| {
                    let record = &self.messages[number];
                    Matched {
                        number: u32::try_from(number).unwrap_or(u32::MAX),
                        message: &self.plan.messages[number],
                        receive: record.delivered.map(|_| record.receive),
                    }
                })
                .collect();
            let found = reference::check(&matched, &self.receives[to as usize]);
            found.into_iter().for_each(|violation| self.add(violation));
        }
    }

    fn settle(&mut self, number: usize) {
        let record = &mut self.messages[number];
        let arrived = record.delivered.is_some() || record.excused;
        if !record.settled && record.posted.is_some() && record.send.is_some() && arrived {
            record.settled = true;
            self.unsettled -= 1;
        }
    }

    fn send_posted(&mut self, now: Time, number: u32) {
        let inject = self.plan.messages[number as usize].inject;
        let record = &mut self.messages[number as usize];
        record.posted = Some(now);
        record.order = self.orders;
        self.orders += 1;
        record.send = inject.then_some(Ending::Ok);
        self.settle(number as usize);
    }

    fn send_ended(&mut self, host: usize, number: u32, ending: Ending) {
        let Some(&Message { inject, cancel_after, from, .. }) =
            self.plan.messages.get(number as usize)
        else {
            return self.add(Violation::Invented { host, number: Some(number) });
        };
        let record = &mut self.messages[number as usize];
        let twice = record.send.is_some_and(|earlier| !inject || earlier != Ending::Ok);
        let expected = match ending {
            Ending::Ok => !inject,
            Ending::Canceled => cancel_after.is_some(),
            Ending::PeerLost => true,
            Ending::Truncated | Ending::Aborted | Ending::Refused | Ending::Wrong(_) => false,
        };
        record.send = Some(ending);
        record.excused |= ending != Ending::Ok;
        let (operation, wide) = ("send", u64::from(number));
        if twice || from as usize != host {
            self.add(Violation::EndedTwice { operation, number: wide, host });
        }
        if !expected {
            self.add(Violation::wrong_ending(operation, wide, host, ending));
        }
        self.settle(number as usize);
    }

    fn receive_ended(&mut self, now: Time, host: usize, received: Received) {
        let Received { receive, ending, .. } = received;
        let position = usize::try_from(receive).unwrap_or(usize::MAX);
        let finishing = self.finishing;
        let Some(record) = self.receives[host].get_mut(position).filter(|record| !record.ended)
        else {
            return self.add(Violation::EndedTwice { operation: "receive", number: receive, host });
        };
        let posted = record.receive;
        if posted.least.is_some() {
            self.packed.entry((host, receive)).or_default().push(received.place);
        } else {
            record.ended = true;
            record.waited_in_vain = finishing && ending == Ending::Canceled;
        }
        match ending {
            Ending::Ok | Ending::Truncated => self.delivered(now, host, posted, received),
            Ending::Canceled if finishing || posted.cancel_after.is_some() => {}
            Ending::Aborted | Ending::PeerLost => {}
            Ending::Canceled | Ending::Refused | Ending::Wrong(_) => {
                self.add(Violation::wrong_ending("receive", receive, host, ending));
            }
        }
    }

    /// A receive for many messages takes no more: they lie one right behind another, and there is
    /// a cause for its end.
    fn released(&mut self, host: usize, released: Released) {
        let Released { receive, ending, rest } = released;
        let finishing = self.finishing;
        let record = usize::try_from(receive).ok().and_then(|at| self.receives[host].get_mut(at));
        let Some(record) = record.filter(|record| !record.ended) else {
            return self.add(Violation::EndedTwice { operation: "receive", number: receive, host });
        };
        record.ended = true;
        record.waited_in_vain = finishing && ending == Ending::Canceled;
        let posted = record.receive;
        let mut places = self.packed.remove(&(host, receive)).unwrap_or_default();
        places.sort_unstable();
        let mut end = 0;
        let gapless = places.iter().all(|&(offset, length)| {
            let follows = offset == end;
            end += length as u64;
            follows
        });
        let whole = end + rest as u64 == posted.capacity as u64;
        let too_long = |message: &Message| {
            message.to as usize == host && posted.accepts(message) && message.bytes > rest
        };
        let full = rest < posted.least.unwrap_or(0).max(1)
            || !places.is_empty() && self.plan.messages.iter().any(too_long);
        let rightly = match ending {
            Ending::Ok => full,
            Ending::Canceled => finishing || posted.cancel_after.is_some(),
            Ending::PeerLost => posted.from.is_some(),
            _ => false,
        };
        if !gapless || !whole || !rightly {
            self.add(Violation::BadPacking { host, receive });
        }
    }

    fn delivered(&mut self, now: Time, host: usize, posted: Receive, received: Received) {
        let Received { receive, ending, from, number, message_length, intact, .. } = received;
        let known = number.filter(|&number| (number as usize) < self.messages.len());
        let Some(number) = known else {
            return self.add(Violation::Invented { host, number });
        };
        let message = self.plan.messages[number as usize];
        let record = &mut self.messages[number as usize];
        let (twice, unsent) = (record.delivered.is_some(), record.posted.is_none());
        record.delivered = Some(now);
        record.receive = receive;
        let truncated = message.bytes > posted.capacity;
        if twice {
            self.add(Violation::DeliveredTwice(number));
        }
        if unsent {
            self.add(Violation::DeliveredUnsent(number));
        }
        if message.to as usize != host || from != Some(message.from as usize) {
            self.add(Violation::WrongPlace { number, host, from });
        }
        if !intact || message_length != message.bytes as u64 {
            self.add(Violation::WrongBytes(number));
        }
        if !posted.accepts(&message) {
            self.add(Violation::NotAccepted(number));
        }
        if truncated != (ending == Ending::Truncated) {
            self.add(Violation::wrong_ending("receive", receive, host, ending));
        }
        self.settle(number as usize);
    }

    fn peer_lost(&mut self, host: usize, peer: usize, error: PeerError) {
        if peer >= self.killed.len() {
            return;
        }
        if !self.killed[host] && !self.killed[peer] {
            self.add(Violation::PeerLost { host, peer, error });
        }
        self.remote.peer_lost(host, peer);
        for number in 0..self.messages.len() {
            let Message { from, to, .. } = self.plan.messages[number];
            let pair = (from as usize, to as usize);
            let between = pair == (host, peer) || pair == (peer, host);
            if between && self.messages[number].posted.is_some() {
                self.messages[number].excused = true;
                self.settle(number);
            }
        }
        self.give_up_answers();
    }
}

impl Observer<Told> for Ledger {
    fn observe(&mut self, now: Time, host: usize, told: Told) -> bool {
        match told {
            Told::SendPosted(number) => self.send_posted(now, number),
            Told::SendEnded(number, ending) => self.send_ended(host, number, ending),
            Told::ReceivePosted(_, receive) => {
                let record = ReceiveRecord { receive, ended: false, waited_in_vain: false };
                self.receives[host].push(record);
            }
            Told::ReceiveEnded(received) => self.receive_ended(now, host, received),
            Told::ReceiveReleased(ended) => self.released(host, ended),
            Told::RemotePosted(number) => self.remote.posted(number),
            Told::RemoteEnded(ended) => {
                let found = self.remote.ended(host, ended);
                self.add_all(found);
            }
            Told::RemoteHeard(number, intact) => {
                let found = self.remote.heard(host, number, intact);
                self.add_all(found);
            }
            Told::PeerLost(peer, error) => self.peer_lost(host, peer, error),
        }
        self.violations.len() < ENOUGH && (self.lingering || !self.is_settled())
    }
}
