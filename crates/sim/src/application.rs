//! The application of a host: it posts what the plan says, checks what arrives, and tells the
//! ledger.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use memory::{Buffer, Region};
use message::{
    AtomicRequest, Completion, Event, MultiReceiveRequest, OpId, OperationError, Rdm, ReadRequest,
    ReceiveRequest, SendRequest, WriteRequest,
};
use rustc_hash::FxHashMap;
use srd::PeerError;
use wire::{PeerId, Time};

use crate::{
    oracle::RemoteEnded,
    remote::{ACCESS, ADD, Deed, key_of},
    workload::{Class, Plan, Receive, number_of},
};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Truncated,
    Canceled,
    Aborted,
    /// The peer was given up.
    PeerLost,
    /// The peer turned it away.
    Refused,
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
            Err(OperationError::Refused(_)) => Self::Refused,
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
    /// The bytes of the receive's buffer that are the message's.
    pub(crate) place: (u64, usize),
}

/// How a receive for many messages ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) receive: u64,
    pub(crate) ending: Ending,
    /// Bytes of its buffer that no message took.
    pub(crate) rest: usize,
}

/// What an application tells the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    SendPosted(u32),
    SendEnded(u32, Ending),
    ReceivePosted(u64, Receive),
    ReceiveEnded(Received),
    ReceiveReleased(Released),
    RemotePosted(u32),
    RemoteEnded(RemoteEnded),
    /// A write arrived here and asked for it to be known; whether all of it was there.
    RemoteHeard(u32, bool),
    /// The transport gave the peer up.
    PeerLost(usize, PeerError),
}

const RECEIVE: u64 = 1 << 63;
const REMOTE: u64 = 1 << 62;

/// How many messages, receives and one-sided operations of its plan a host has posted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) sends: usize,
    pub(crate) receives: usize,
    pub(crate) remote: usize,
}

/// The application of one host in one incarnation.
#[derive(Debug)]
pub(crate) struct Application {
    plan: Arc<Plan>,
    host: usize,
    /// What the host's clock showed when the simulation began.
    epoch: Time,
    next_send: usize,
    next_receive: usize,
    next_remote: usize,
    /// What peers write, read and count in.
    memory: Region,
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
    /// The application of `host`. What of its plan is `done` is the business of earlier
    /// incarnations.
    pub(crate) fn new(plan: Arc<Plan>, host: usize, epoch: Time, done: Progress) -> Self {
        let memory = Region::from(plan.remote.fresh(host));
        let pool_left = [plan.pool.receives, if plan.pool.tagged { plan.pool.receives } else { 0 }];
        let regular = plan.receives.iter().all(Vec::is_empty) && !plan.pool.tagged;
        Self {
            plan,
            host,
            epoch,
            next_send: done.sends,
            next_receive: done.receives,
            next_remote: done.remote,
            memory,
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
    pub(crate) fn progress(&self) -> Progress {
        Progress { sends: self.next_send, receives: self.next_receive, remote: self.next_remote }
    }

    /// Offers the host's memory to everybody.
    pub(crate) fn offer_memory(&self, rdm: &mut Rdm) {
        if !self.memory.is_empty() {
            let registered = rdm.register_as(key_of(self.host), self.memory.clone(), ACCESS);
            registered.expect("a host has one region");
        }
    }

    /// What the host's memory holds.
    pub(crate) fn memory(&self) -> Vec<u8> {
        self.memory.to_vec()
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
        let remote = self.plan.remote.posts[self.host].get(self.next_remote);
        let remote = remote.map(|&number| self.plan.remote.all[number as usize].at);
        let remote = remote.map(|at| self.at(at));
        [cancel, receive.map(|r| self.at(r.at)), send.map(|at| self.at(at)), remote]
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
        self.post_remote(now, rdm, peer_of);
    }

    /// Takes note of a completion; `host_of` knows the hosts of peers.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        host_of: impl Fn(PeerId) -> Option<usize>,
    ) {
        let Completion { context, peer, event, result, .. } = completion;
        self.forget_cancel(context, &event);
        match event {
            Event::Sent => {
                let number = u32::try_from(context).unwrap_or(u32::MAX);
                if self.plan.messages.get(number as usize).is_some_and(|m| !m.inject) {
                    self.sends = self.sends.saturating_sub(1);
                }
                self.told.push_back(Told::SendEnded(number, result.into()));
            }
            Event::Written => self.remote_ended(context, result.into(), |_, _| (true, None)),
            Event::Read { buffer } => {
                self.remote_ended(context, result.into(), |plan, number| {
                    let remote = plan.remote.all[number as usize];
                    let library = plan.remote.library(remote.offset, remote.bytes);
                    (buffer.as_slice() == library, None)
                });
            }
            Event::Atomic { old } => {
                self.remote_ended(context, result.into(), |_, _| {
                    let old = <[u8; 8]>::try_from(old).ok().map(u64::from_le_bytes);
                    (old.is_some(), old)
                });
            }
            Event::RemoteWrite { data, .. } => {
                self.remote_heard(u32::try_from(data).unwrap_or(u32::MAX));
            }
            Event::Released { rest } => {
                let receive = context & !RECEIVE;
                self.receives.remove(&receive);
                let (ending, rest) = (result.into(), rest.len());
                self.told.push_back(Told::ReceiveReleased(Released { receive, ending, rest }));
            }
            Event::Received { tag, remote_data, length, message_length, offset, buffer } => {
                let receive = context & !RECEIVE;
                let place = (offset, buffer.len());
                let number = number_of(tag, remote_data);
                let from = peer.and_then(host_of);
                let intact = self.is_intact(number, &buffer, length);
                let ending = result.into();
                if self.is_multi(receive) {
                    drop(buffer);
                } else if let Some((_, Receive { at: u64::MAX, class, .. })) =
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
                    place,
                }));
            }
        }
    }

    /// What is over need not be cancelled.
    fn forget_cancel(&mut self, context: u64, event: &Event) {
        let key = match event {
            Event::RemoteWrite { .. } => return,
            Event::Received { .. } if self.is_multi(context & !RECEIVE) => return,
            Event::Sent | Event::Released { .. } | Event::Received { .. } => context,
            Event::Written | Event::Read { .. } | Event::Atomic { .. } => REMOTE | context,
        };
        self.cancelable.remove(&key);
    }

    /// Whether a receive takes many messages.
    fn is_multi(&self, receive: u64) -> bool {
        self.receives.get(&receive).is_some_and(|(_, receive)| receive.least.is_some())
    }

    /// An operation on a peer's memory ended; `look` says of a success whether it is as it should
    /// be, and which old value it brought.
    fn remote_ended(
        &mut self,
        context: u64,
        ending: Ending,
        look: impl FnOnce(&Plan, u32) -> (bool, Option<u64>),
    ) {
        let number = u32::try_from(context).unwrap_or(u32::MAX);
        let (intact, old) = match ending {
            Ending::Ok => look(&self.plan, number),
            _ => (true, None),
        };
        self.told.push_back(Told::RemoteEnded(RemoteEnded { number, ending, intact, old }));
    }

    /// A peer wrote here: looks whether all is there and empties the slot, so that what is placed
    /// twice shows.
    fn remote_heard(&mut self, number: u32) {
        let remote = self.plan.remote.all.get(number as usize);
        let intact = remote.is_some_and(|remote| {
            let mut bytes = vec![0; remote.bytes];
            let inside = self.memory.read(remote.offset, &mut bytes).is_ok();
            let empty = vec![0; remote.bytes];
            inside
                && bytes == self.plan.remote.payload(number)
                && self.memory.write(remote.offset, &empty).is_ok()
        });
        self.told.push_back(Told::RemoteHeard(number, intact));
    }

    fn post_remote(&mut self, now: Time, rdm: &mut Rdm, peer_of: &mut impl FnMut(usize) -> PeerId) {
        while let Some(&number) = self.plan.remote.posts[self.host].get(self.next_remote) {
            let remote = self.plan.remote.all[number as usize];
            if self.at(remote.at) > now {
                break;
            }
            let (peer, place) = (peer_of(remote.to as usize), remote.place(number));
            let context = number.into();
            let posted = match remote.deed {
                Deed::Write { .. } | Deed::Log(_) => {
                    let data = self.plan.remote.payload(number).into();
                    let event = remote.deed == Deed::Write { event: true };
                    let remote_data = event.then_some(context);
                    let request =
                        WriteRequest { data, place, remote_data, context, complete: true };
                    rdm.post_write(peer, request).ok()
                }
                Deed::Read => {
                    let buffer = Buffer::zeroed(remote.bytes);
                    rdm.post_read(peer, ReadRequest { buffer, place, context }).ok()
                }
                Deed::Add(value) => {
                    let operands = value.to_le_bytes().to_vec().into();
                    let (atomic, fetch, complete) = (ADD, true, true);
                    let request = AtomicRequest {
                        atomic,
                        place,
                        count: 1,
                        operands,
                        fetch,
                        context,
                        complete,
                    };
                    rdm.post_atomic(peer, request).ok()
                }
            };
            let Some(op) = posted else {
                self.busy = true;
                break;
            };
            self.next_remote += 1;
            self.plan_cancel(now, remote.cancel_after, REMOTE | context, op);
            self.told.push_back(Told::RemotePosted(number));
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
                let receive = Receive {
                    from: None,
                    class,
                    capacity,
                    least: None,
                    at: u64::MAX,
                    cancel_after: None,
                };
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
        let tag = receive.class.tag_match();
        let posted = match receive.least {
            None => rdm.post_receive(ReceiveRequest { buffer, from, tag, context }),
            Some(least) => {
                let request = MultiReceiveRequest { buffer, least, from, tag, context };
                rdm.post_multi_receive(request)
            }
        };
        let Ok(op) = posted else {
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
