//! The application of a host: it posts what the plan says, checks what arrives, and tells the
//! ledger.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use memory::Buffer;
use message::{Completion, Event, OpId, OperationError, Rdm, ReceiveRequest, SendRequest};
use rustc_hash::FxHashMap;
use srd::PeerError;
use wire::{PeerId, Time};

use crate::workload::{Class, Plan, Receive, number_of};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Truncated,
    Canceled,
    Aborted,
    /// The peer was given up.
    PeerLost,
    /// In a way no operation of this kind should.
    Wrong(OperationError),
}

impl From<Result<(), OperationError>> for Ending {
    fn from(result: Result<(), OperationError>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(OperationError::Truncated { .. }) => Self::Truncated,
            Err(OperationError::Canceled) => Self::Canceled,
            Err(OperationError::PeerAborted) => Self::Aborted,
            Err(OperationError::Peer(_)) => Self::PeerLost,
            Err(error) => Self::Wrong(error),
        }
    }
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The receive, by its position among all that this incarnation posted.
    pub(crate) receive: u64,
    pub(crate) ending: Ending,
    /// The sender's host.
    pub(crate) from: Option<usize>,
    /// The message's number, as its labels say.
    pub(crate) number: Option<u32>,
    /// Bytes of the message, as the completion says.
    pub(crate) message_length: u64,
    /// The buffer holds the beginning of that message, and as much as the completion says.
    pub(crate) intact: bool,
}

/// What an application tells the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    SendPosted(u32),
    SendEnded(u32, Ending),
    ReceivePosted(u64, Receive),
    ReceiveEnded(Received),
    /// The transport gave the peer up.
    PeerLost(usize, PeerError),
}

const RECEIVE: u64 = 1 << 63;

/// The application of one host in one incarnation.
#[derive(Debug)]
pub(crate) struct Application {
    plan: Arc<Plan>,
    host: usize,
    /// What the host's clock showed when the simulation began.
    epoch: Time,
    next_send: usize,
    next_receive: usize,
    sends: usize,
    /// The last message that arrived here.
    latest: Option<u32>,
    pool_open: bool,
    pool_left: [usize; 2],
    finishing: bool,
    receives: FxHashMap<u64, (OpId, Receive)>,
    posted: u64,
    cancels: BinaryHeap<Reverse<(Time, u64)>>,
    cancelable: FxHashMap<u64, OpId>,
    spare: Vec<Buffer>,
    busy: bool,
    pub(crate) told: std::collections::VecDeque<Told>,
}

impl Application {
    /// The application of `host`. The first `sent` messages and `received` receives of its plan
    /// are the business of earlier incarnations.
    pub(crate) fn new(plan: Arc<Plan>, host: usize, epoch: Time, done: (usize, usize)) -> Self {
        let pool_left = [plan.pool.receives, if plan.pool.tagged { plan.pool.receives } else { 0 }];
        let regular = plan.receives.iter().all(Vec::is_empty) && !plan.pool.tagged;
        Self {
            plan,
            host,
            epoch,
            next_send: done.0,
            next_receive: done.1,
            sends: 0,
            latest: None,
            pool_open: regular,
            pool_left,
            finishing: false,
            receives: FxHashMap::default(),
            posted: 0,
            cancels: BinaryHeap::new(),
            cancelable: FxHashMap::default(),
            spare: Vec::new(),
            busy: false,
            told: std::collections::VecDeque::new(),
        }
    }

    /// How much of the plan was posted, for the next incarnation.
    pub(crate) fn progress(&self) -> (usize, usize) {
        (self.next_send, self.next_receive)
    }

    /// Posts receives for whatever comes, from now on.
    pub(crate) fn open_pool(&mut self) {
        self.pool_open = true;
    }

    /// Posts nothing more, and cancels the receives that wait.
    pub(crate) fn finish(&mut self, rdm: &mut Rdm) {
        self.finishing = true;
        let mut waiting: Vec<_> = self.receives.iter().map(|(&n, &(op, _))| (n, op)).collect();
        waiting.sort_unstable_by_key(|&(number, _)| number);
        for (_, op) in waiting {
            rdm.cancel(op);
        }
    }

    /// When [`Application::act`] has something to do again though nothing happens before.
    pub(crate) fn due(&self) -> Option<Time> {
        let cancel = self.cancels.peek().map(|Reverse((at, _))| *at);
        if self.busy || self.finishing {
            return cancel;
        }
        let receive = self.plan.receives[self.host].get(self.next_receive);
        let send = self.sendable().map(|number| self.plan.messages[number as usize].at);
        [cancel, receive.map(|r| self.at(r.at)), send.map(|at| self.at(at))]
            .into_iter()
            .flatten()
            .min()
    }

    /// Posts and cancels what is due.
    pub(crate) fn act(
        &mut self,
        now: Time,
        rdm: &mut Rdm,
        peer_of: &mut impl FnMut(usize) -> PeerId,
    ) {
        while let Some(&Reverse((at, context))) = self.cancels.peek()
            && at <= now
        {
            self.cancels.pop();
            if let Some(op) = self.cancelable.remove(&context) {
                rdm.cancel(op);
            }
        }
        self.busy = false;
        if self.finishing {
            return;
        }
        self.post_receives(now, rdm, peer_of);
        self.post_sends(now, rdm, peer_of);
    }

    /// Takes note of a completion; `host_of` knows the hosts of peers.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        host_of: impl Fn(PeerId) -> Option<usize>,
    ) {
        let Completion { context, peer, event, result, .. } = completion;
        self.cancelable.remove(&context);
        match event {
            Event::Sent => {
                let number = u32::try_from(context).unwrap_or(u32::MAX);
                if self.plan.messages.get(number as usize).is_some_and(|m| !m.inject) {
                    self.sends = self.sends.saturating_sub(1);
                }
                self.told.push_back(Told::SendEnded(number, result.into()));
            }
            Event::Received { tag, remote_data, length, message_length, buffer } => {
                let receive = context & !RECEIVE;
                let number = number_of(tag, remote_data);
                let from = peer.and_then(host_of);
                let intact = self.is_intact(number, &buffer, length);
                let ending = result.into();
                if let Some((_, Receive { at: u64::MAX, class, .. })) =
                    self.receives.remove(&receive)
                {
                    self.pool_left[usize::from(class == Class::AnyTag)] += 1;
                    self.spare.push(buffer);
                }
                if matches!(ending, Ending::Ok | Ending::Truncated) {
                    self.latest = number;
                }
                self.told.push_back(Told::ReceiveEnded(Received {
                    receive,
                    ending,
                    from,
                    number,
                    message_length,
                    intact,
                }));
            }
        }
    }

    fn is_intact(&self, number: Option<u32>, buffer: &Buffer, length: u64) -> bool {
        let Some(number) = number.filter(|&n| (n as usize) < self.plan.messages.len()) else {
            return false;
        };
        let expected = self.plan.payload(number);
        let wanted = expected.len().min(buffer.len());
        length == wanted as u64 && buffer.as_slice()[..wanted] == expected[..wanted]
    }

    fn at(&self, nanos: u64) -> Time {
        self.epoch + Duration::from_nanos(nanos)
    }

    /// The next message, if nothing but its time stands against sending it.
    fn sendable(&self) -> Option<u32> {
        let number = *self.plan.sends[self.host].get(self.next_send)?;
        let message = &self.plan.messages[number as usize];
        let waits = message.answers && self.latest.map(|latest| latest + 1) != Some(number);
        (self.sends < self.plan.window && !waits).then_some(number)
    }

    fn post_sends(&mut self, now: Time, rdm: &mut Rdm, peer_of: &mut impl FnMut(usize) -> PeerId) {
        while let Some(number) = self.sendable() {
            let message = self.plan.messages[number as usize];
            if self.at(message.at) > now {
                break;
            }
            let (tag, remote_data) = message.labels(number);
            let request = SendRequest {
                data: self.plan.payload(number),
                tag,
                remote_data,
                context: number.into(),
                complete: !message.inject,
            };
            let Ok(op) = rdm.post_send(peer_of(message.to as usize), request) else {
                self.busy = true;
                break;
            };
            self.next_send += 1;
            self.sends += usize::from(!message.inject);
            self.told.push_back(Told::SendPosted(number));
            if !message.inject {
                self.plan_cancel(now, message.cancel_after, number.into(), op);
            }
        }
    }

    fn post_receives(
        &mut self,
        now: Time,
        rdm: &mut Rdm,
        peer_of: &mut impl FnMut(usize) -> PeerId,
    ) {
        while let Some(&receive) = self.plan.receives[self.host].get(self.next_receive) {
            if self.at(receive.at) > now {
                break;
            }
            let buffer = Buffer::zeroed(receive.capacity);
            if !self.post_receive(now, receive, buffer, rdm, peer_of) {
                return;
            }
            self.next_receive += 1;
        }
        for (kind, class) in [Class::Untagged, Class::AnyTag].into_iter().enumerate() {
            while self.pool_open && self.pool_left[kind] > 0 {
                let capacity = self.plan.pool.capacity;
                let receive =
                    Receive { from: None, class, capacity, at: u64::MAX, cancel_after: None };
                let buffer = self.spare.pop().unwrap_or_else(|| Buffer::zeroed(capacity));
                if !self.post_receive(now, receive, buffer, rdm, peer_of) {
                    return;
                }
                self.pool_left[kind] -= 1;
            }
        }
    }

    fn post_receive(
        &mut self,
        now: Time,
        receive: Receive,
        buffer: Buffer,
        rdm: &mut Rdm,
        peer_of: &mut impl FnMut(usize) -> PeerId,
    ) -> bool {
        let context = RECEIVE | self.posted;
        let from = receive.from.map(|from| peer_of(from as usize));
        let request = ReceiveRequest { buffer, from, tag: receive.class.tag_match(), context };
        let Ok(op) = rdm.post_receive(request) else {
            self.busy = true;
            return false;
        };
        self.receives.insert(self.posted, (op, receive));
        self.told.push_back(Told::ReceivePosted(self.posted, receive));
        self.plan_cancel(now, receive.cancel_after, context, op);
        self.posted += 1;
        true
    }

    fn plan_cancel(&mut self, now: Time, after: Option<u64>, context: u64, op: OpId) {
        if let Some(after) = after {
            self.cancels.push(Reverse((now + Duration::from_nanos(after), context)));
            self.cancelable.insert(context, op);
        }
    }
}
