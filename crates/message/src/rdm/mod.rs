//! Reliable messages of any size, in each sender's order: the upper layer of an RDM endpoint.
//!
//! One file per concern: `send` and `fill` make datagrams, `brief` does without them, `receive`
//! takes them apart, `order` holds what is ahead of its turn, `matching` and `unexpected` bring
//! messages and receives together, `claim` takes a message out of that, `placing`, `grants` and
//! `landing` get large messages into their buffers, `loan` by copying them from where they are.
//! `over` keeps what has ended. `initiate` posts one-sided operations, `ledger` counts them, and
//! `serve` executes those of peers.

mod brief;
mod claim;
mod config;
mod counters;
mod failure;
mod fill;
mod grants;
mod initiate;
mod landing;
mod ledger;
mod loan;
mod matching;
mod multi;
mod order;
mod over;
mod peers;
mod placing;
mod ranges;
mod receive;
mod reclaim;
mod records;
mod send;
mod sequel;
mod serve;
mod stored;
mod stream;
mod unexpected;

use bytes::Bytes;
use memory::Regions;
use rustc_hash::FxHashMap;
use slab::Slab;
use srd::{Delivery, Filled, PeerError, Upper};
use wire::{MessageSeq, PeerId, Time, Token, Train};

pub use self::{
    brief::{Brief, BriefRequest, MAX_BRIEF},
    claim::{Claim, ClaimRefused},
    config::Config,
    counters::{Counters, OperationCounters, Served, Tally},
    initiate::{AtomicRefused, AtomicRequest, MAX_ATOMIC_BYTES, ReadRequest, WriteRequest},
    landing::{Landed, LandingOffer},
    loan::{Copying, Lent, LoanUse},
    matching::TagMatch,
    multi::MultiReceiveRequest,
    receive::{PeekInfo, ReceiveRequest},
    send::SendRequest,
    sequel::{OperationClass, Order},
};
use self::{
    grants::Grants,
    initiate::PendingAtomic,
    landing::Landing,
    ledger::Ledger,
    matching::PostedReceives,
    multi::Multi,
    over::Completions,
    peers::Peers,
    placing::{Arriving, Placing},
    records::Records,
    send::{SendOp, Stage},
    stored::Pool,
    stream::Stream,
    unexpected::UnexpectedStore,
};

/// Messages over reliable datagrams.
///
/// Commands post and cancel operations; the transport calls the methods of [`Upper`]; after each
/// of either, [`Rdm::poll_wake`] and [`Rdm::poll_completion`] are drained. [`Upper::fill`] wants
/// room for 576 bytes at least.
///
/// ```
/// use memory::Buffer;
/// use elastane_message::{Config, Rdm, ReceiveRequest, SendRequest, TagMatch};
/// use srd::{Delivery, Upper};
/// use wire::{PeerId, Time, Train};
///
/// let (mut here, mut there) = (Rdm::new(Config::default()), Rdm::new(Config::default()));
/// let peer = PeerId(0);
/// let data = bytes::Bytes::from_static(b"hello");
/// here.post_send(peer, SendRequest { data, complete: true, ..SendRequest::default() })?;
/// let mut train = Train::default();
/// assert_eq!(here.poll_wake(), Some(peer));
/// let filled = here.fill(Time::ZERO, peer, 8_900, &mut train).expect("a message waits");
/// train.close(filled.tail);
///
/// let (head, tail) = train.datagrams().next().expect("one datagram");
/// let datagram = [head, tail].concat();
/// assert_eq!(there.deliver(Time::ZERO, peer, &datagram, 0), Delivery::Accepted);
/// here.acked(Time::ZERO, peer, filled.token);
/// assert!(here.poll_completion().is_some());
///
/// let buffer = Buffer::zeroed(5);
/// there
///     .post_receive(ReceiveRequest { buffer, from: None, tag: TagMatch::Untagged, context: 0 })
///     .map_err(|(busy, _)| busy)?;
/// assert!(there.poll_completion().is_some_and(|received| received.result.is_ok()));
/// # Ok::<(), elastane_message::Busy>(())
/// ```
#[derive(Debug, Default)]
pub struct Rdm {
    config: Config,
    peers: Peers,
    sends: Slab<SendOp>,
    /// Messages that left at once and of which nobody knows yet what became of them.
    briefs: usize,
    /// Large sends that have begun and are not sent entirely.
    open: FxHashMap<(PeerId, Stream), usize>,
    records: Records,
    posted: PostedReceives,
    multis: Slab<Multi>,
    unexpected: UnexpectedStore,
    placing: Slab<Placing>,
    arriving: FxHashMap<(PeerId, Stream), Arriving>,
    grants: Grants,
    landing: Landing,
    pool: Pool,
    /// Bytes held of messages ahead of their turn.
    ahead: usize,
    regions: Regions,
    /// Regions that had been taken back when it was looked last.
    revocations_seen: u64,
    /// Atomic operations on memory of peers that have no result yet.
    atomics: FxHashMap<(PeerId, MessageSeq), PendingAtomic>,
    /// How many of the sends answer operations of peers.
    served: usize,
    /// Operations of peers that have begun, or are over while an earlier one is not.
    begun: usize,
    completions: Completions,
    operations: OperationCounters,
    ledger: Ledger,
    remote: Served,
    serial: u32,
    counters: Counters,
}

impl Rdm {
    /// An endpoint's message layer, which knows no peer yet.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Whether [`Self::poll_completion`] has one.
    pub fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// A peer for which [`Upper::fill`] has something again. Each is reported once until it had
    /// nothing.
    pub fn poll_wake(&mut self) -> Option<PeerId> {
        self.peers.poll_wake()
    }

    /// Whether [`Self::poll_wake`] has one.
    pub fn has_wakes(&self) -> bool {
        self.peers.has_wakes()
    }

    /// Message bytes for `peer` that were posted and not yet put into a datagram.
    pub fn queued_bytes(&self, peer: PeerId) -> u64 {
        self.peers.active(peer).map_or(0, |active| active.queued_bytes)
    }

    /// Whether nothing is queued for `peer`, in flight to it, or on its way from it.
    pub fn idle(&self, peer: PeerId) -> bool {
        self.peers.active(peer).is_none()
    }

    /// Sends that are not complete.
    pub fn sends_outstanding(&self) -> usize {
        let unfinished = self.sends.iter().filter(|(_, send)| send.stage != Stage::Reported);
        unfinished.count() + self.briefs
    }

    /// Operations that are not complete, and cancelled sends of which datagrams are in flight.
    pub fn outstanding(&self) -> usize {
        self.sends.len() + self.briefs + self.posted.len() + self.placing.len() + self.atomics.len()
    }

    /// Receives posted that no message has met.
    pub fn receives_posted(&self) -> usize {
        self.posted.len()
    }

    /// Completions that wait to be polled.
    pub fn completions(&self) -> usize {
        self.completions.len()
    }

    /// Bytes stored for messages that have no receive, or are ahead of their turn. Each message
    /// counts with an allowance beside its payload.
    pub fn stored_bytes(&self) -> usize {
        self.unexpected.charge() + self.ahead
    }

    /// What happened since the endpoint was made.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many operations of each kind ended since the endpoint was made, and how (`fi_cntr`).
    pub fn operations(&self) -> OperationCounters {
        self.operations
    }

    /// How many operations of peers on memory here are over: bytes that were read have left for
    /// good, and what was written is there.
    pub fn served(&self) -> Served {
        self.remote
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

impl Upper for Rdm {
    fn fill(&mut self, _now: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        self.fill_datagram(peer, room, train)
    }

    fn next_is_bulk(&self, peer: PeerId) -> bool {
        self.next_is_part(peer)
    }

    fn refill(&mut self, _peer: PeerId, token: Token, train: &mut Train) -> Bytes {
        self.refill_datagram(token, train)
    }

    fn acked(&mut self, _now: Time, peer: PeerId, token: Token) {
        self.datagram_acked(peer, token);
    }

    fn refused(&mut self, _now: Time, peer: PeerId, token: Token) {
        self.datagram_refused(peer, token);
    }

    fn reclaim(&mut self, _now: Time, peer: PeerId, token: Token) {
        self.datagram_reclaimed(peer, token);
    }

    fn deliver(&mut self, _now: Time, peer: PeerId, head: &[u8], landed: usize) -> Delivery {
        self.landing.assert_returned();
        if landed == 0 {
            self.datagram_arrived(peer, head)
        } else {
            self.landed_arrived(peer, head, landed)
        }
    }

    fn peer_failed(&mut self, _now: Time, peer: PeerId, error: PeerError) {
        self.landing.assert_returned();
        self.fail_peer(peer, error);
    }

    fn is_owed(&self, peer: PeerId) -> bool {
        // What was begun or held must go on; if it does not, its sender may be gone.
        self.peers.active(peer).is_some_and(|active| {
            active.arriving > 0
                || active.waiting > 0
                || active.awaited > 0
                || !active.held.is_empty()
                || !active.begun.is_empty()
                || !active.held_atomics.is_empty()
        })
    }
}
