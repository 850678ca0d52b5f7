//! The messages of one peer through its link.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use inspect::live;
use io::shm::{Corrupt, Link, LinkUse, Loan, Received};
use message::{Brief, BriefRequest, OpId};
use srd::{Delivery, PeerError};
use wire::{PeerId, Time, Token, Train};

use super::{LocalCounters, loans::Loans};
use crate::{Clock, engine::Layer, metrics::named};

/// Records sent before others get their turn.
const SEND_TURN: usize = 16;
/// Records received before the application gets its turn.
const RECEIVE_TURN: usize = 16;
/// With this many refused records waiting, new ones leave only beside those.
const MANY_REFUSED: usize = 16;
/// The most refused records sent again at once.
const MAX_RETRIES: u32 = 64;
/// The first pause after a refusal, and the longest.
const FIRST_HOLD: Duration = Duration::from_micros(50);
const LONGEST_HOLD: Duration = Duration::from_millis(10);
/// Looks that find nothing for each time that is asked what the peer took: the answer is in a line
/// of memory that the peer keeps writing, and takes as long to come as a message.
const COLLECT_PAUSE: u32 = 4;
/// The same while nobody waits for the answer.
const LAZY_COLLECT_PAUSE: u32 = 64;
/// How often it is checked whether the peer's process lives.
pub(super) const LIVENESS: Duration = Duration::from_millis(100);

/// What a record holds.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A datagram of the layer.
    Datagram(Token),
    /// A message that left when it was posted.
    Brief(Brief),
    /// It tells of a loan.
    Loan,
}

/// A record that the peer has not dealt with.
#[derive(Clone, Copy, Debug)]
struct Sent {
    content: Content,
    /// Counts datagrams of the layer, the oldest first.
    serial: u64,
    /// How often the peer refused it.
    refusals: u32,
}

/// A link, and what the message layer has on it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: Box<Link>,
    peer: PeerId,
    /// Where the peer listens.
    pub(super) address: SocketAddr,
    /// The layer has something to send.
    pub(super) wants: bool,
    /// In the order sent.
    sent: VecDeque<Sent>,
    /// Refused datagrams, to be sent again, the oldest first: others may be waiting for its turn.
    refused: VecDeque<Sent>,
    serial: u64,
    hold: Duration,
    hold_until: Time,
    /// Refused records that may be sent again now, and then as many as were accepted doubled.
    retries: u32,
    burst: u32,
    checked_at: Time,
    /// Looks at the ring since something came.
    idle_looks: u32,
    /// Somebody waits for the peer to take what was sent.
    is_awaited: bool,
    /// Something was received at the last look, and the peer may have fallen asleep meanwhile.
    is_unsure: bool,
    /// Whether large messages are lent to the peer.
    lends: bool,
    pub(super) loans: Loans,
    /// The rings hold what no peer writes.
    is_corrupt: bool,
    /// How often the peer was woken.
    wakes: u64,
}

impl Line {
    /// `copies`: whether either side may copy what the other lends.
    pub(super) fn new(
        mut link: Box<Link>,
        (peer, address): (PeerId, SocketAddr),
        clock: Clock,
        copies: bool,
    ) -> Self {
        Self {
            address,
            lends: copies,
            loans: if copies { Loans::try_link(&mut link, clock) } else { Loans::off() },
            link,
            peer,
            // What was to be sent before the link was there is not announced again.
            wants: true,
            sent: VecDeque::new(),
            refused: VecDeque::new(),
            serial: 0,
            hold: Duration::ZERO,
            hold_until: Time::ZERO,
            retries: 0,
            burst: 1,
            checked_at: clock.now(),
            idle_looks: 0,
            is_awaited: false,
            is_unsure: false,
            is_corrupt: false,
            wakes: 0,
        }
    }

    /// Whether the peer sleeps and is to be woken now.
    pub(super) fn must_wake_peer(&mut self) -> bool {
        let must = self.link.must_wake_peer();
        self.wakes += u64::from(must);
        must
    }

    /// What the link carried since it is there.
    pub(super) fn counters(&self) -> LocalCounters {
        let LinkUse { sent, received, .. } = self.link.in_use();
        LocalCounters {
            links: 1,
            tx_records: sent.records,
            tx_bytes: sent.bytes,
            tx_refused: sent.refused,
            rx_records: received.records,
            rx_bytes: received.bytes,
            rx_refused: received.refused,
            wakes: self.wakes,
        }
    }

    /// What the link is, for whoever looks at metrics.
    pub(super) fn describe(&self) -> live::Link {
        let LinkUse { waiting_records, waiting_bytes, peer_sleeps, .. } = self.link.in_use();
        let (records, bytes) = Link::ROOM;
        live::Link {
            counters: named(&self.counters()),
            waiting_records,
            most_records: records as u64,
            waiting_bytes,
            most_bytes: bytes as u64,
            refused_records: self.refused.len() as u64,
            peer_sleeps,
        }
    }

    /// Records that the peer has not taken.
    pub(super) fn in_flight(&self) -> usize {
        self.sent.len() + self.refused.len()
    }

    /// Somebody waits for the peer to take what was sent.
    pub(super) const fn hurry(&mut self) {
        self.is_awaited = true;
    }

    /// Whether there is nothing to do before something comes. What the peer has not taken it takes
    /// even if this side closes.
    pub(super) fn is_calm(&self) -> bool {
        !self.wants && self.refused.is_empty()
    }

    /// When refused records may be sent again.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.refused.is_empty()).then_some(self.hold_until)
    }

    /// Sends what waits, as far as there is room. Returns whether anything left.
    pub(super) fn flush(&mut self, now: Time, layer: &mut impl Layer, train: &mut Train) -> bool {
        let mut any = false;
        if !self.refused.is_empty() && now >= self.hold_until {
            // Without an answer to these, the next attempt is a pause away.
            self.hold_until = now + self.hold.max(FIRST_HOLD);
            self.retries = self.burst;
        }
        for _ in 0..SEND_TURN {
            if !self.link.has_room() {
                break;
            }
            let again = self.retries > 0 && self.send_refused(layer, train);
            let may_fill = again || self.refused.len() < MANY_REFUSED;
            let new = self.wants && may_fill && self.send_new(now, layer, train);
            if !again && !new {
                break;
            }
            any = true;
        }
        any
    }

    fn send_refused(&mut self, layer: &mut impl Layer, train: &mut Train) -> bool {
        let Some(sent) = self.refused.pop_front() else { return false };
        self.retries -= 1;
        let Content::Datagram(token) = sent.content else { return false };
        train.clear();
        let tail = layer.refill(self.peer, token, train);
        self.put(&tail, sent, train);
        true
    }

    fn send_new(&mut self, now: Time, layer: &mut impl Layer, train: &mut Train) -> bool {
        if !self.link.has_room() {
            return false;
        }
        train.clear();
        let Some(filled) = layer.fill(now, self.peer, Link::MAX_RECORD, train) else {
            self.wants = false;
            return false;
        };
        self.wants = filled.more;
        self.serial += 1;
        let sent =
            Sent { content: Content::Datagram(filled.token), serial: self.serial, refusals: 0 };
        self.put(&filled.tail, sent, train);
        // So ends what begins a long message.
        if filled.ends_train && self.lends && self.link.peer_reads() {
            self.lend(filled.token, layer);
        }
        true
    }

    /// Sends a message now, if there is room and nothing has to be before it. Returns the name of
    /// its operation if it did.
    pub(super) fn send_brief(
        &mut self,
        request: &BriefRequest<'_>,
        layer: &mut impl Layer,
        train: &mut Train,
    ) -> Option<OpId> {
        // What was refused goes first: the peer would only have to keep what comes before it.
        if !self.refused.is_empty() || !self.link.has_room() {
            return None;
        }
        train.clear();
        let brief = layer.leave_at_once(self.peer, request, train.heads())?;
        self.serial += 1;
        self.is_awaited |= request.complete;
        let sent = Sent { content: Content::Brief(brief), serial: self.serial, refusals: 0 };
        self.put(request.data, sent, train);
        Some(brief.op())
    }

    /// Lends the message that begins with this datagram to the peer, if there is room to say so.
    fn lend(&mut self, token: Token, layer: &mut impl Layer) {
        let seal = self.link.next_seal();
        let Some(lent) = layer.lend(token, seal) else { return };
        let loan = Loan {
            name: lent.seq.0,
            address: lent.address,
            length: lent.length,
            seal_address: lent.seal_address,
            seal,
        };
        if self.link.lend(&loan) {
            self.sent.push_back(Sent { content: Content::Loan, serial: self.serial, refusals: 0 });
        }
    }

    /// Sends the datagram that is open in `train`, for which there is room.
    fn put(&mut self, tail: &[u8], sent: Sent, train: &mut Train) {
        let took = self.link.send(train.heads(), tail);
        assert!(took, "there was room for the longest record");
        self.sent.push_back(sent);
    }

    /// Hands what has come to the layer, and tells it what the peer took. Refused records are sent
    /// again at most `retries` times. Returns whether anything happened.
    pub(super) fn receive(
        &mut self,
        now: Time,
        layer: &mut impl Layer,
        retries: Option<u32>,
    ) -> bool {
        let result = self.try_receive(now, layer, retries);
        self.is_corrupt |= result.is_err();
        result.unwrap_or(false)
    }

    fn try_receive(
        &mut self,
        now: Time,
        layer: &mut impl Layer,
        retries: Option<u32>,
    ) -> Result<bool, Corrupt> {
        let mut any = false;
        for _ in 0..RECEIVE_TURN {
            // The application waits for what it has got already.
            if any && layer.has_completions() || !self.receive_one(now, layer)? {
                break;
            }
            any = true;
        }
        self.link.release();
        // If the peer answers, it has just written what it took: what it sent goes to the
        // application first.
        self.idle_looks = if any { 0 } else { self.idle_looks.wrapping_add(1) };
        let pause = if self.is_awaited { COLLECT_PAUSE } else { LAZY_COLLECT_PAUSE };
        if self.idle_looks % pause == pause - 1 || !self.link.has_plenty_of_room() {
            any |= self.collect(now, layer, retries)?;
        }
        self.loans.looked(now, any);
        Ok(self.loans.copy(now, self.peer, &mut self.link, layer) || any)
    }

    /// Whether the peer sleeps and must be told that something was received, which `got` says of
    /// this look at the ring. Whoever waits for that gets it first: only the next look that finds
    /// nothing makes sure that the peer did not fall asleep at the same moment. If there is no next
    /// look, it sees for itself after [`LIVENESS`].
    pub(super) fn must_wake_after(&mut self, got: bool) -> bool {
        let was_unsure = std::mem::replace(&mut self.is_unsure, got);
        // The first alone costs no wait for what was written to reach memory.
        (!got || self.link.is_peer_asleep()) && (got || was_unsure) && self.must_wake_peer()
    }

    fn receive_one(&mut self, now: Time, layer: &mut impl Layer) -> Result<bool, Corrupt> {
        let Self { link, peer, loans, .. } = self;
        link.receive(|received| match received {
            Received::Record(bytes) => layer.deliver(now, *peer, bytes, 0) == Delivery::Accepted,
            Received::Loan(loan) => {
                loans.add(*peer, loan, layer);
                true
            }
        })
    }

    /// Tells the layer which records the peer took.
    fn collect(
        &mut self,
        now: Time,
        layer: &mut impl Layer,
        retries: Option<u32>,
    ) -> Result<bool, Corrupt> {
        let Self { link, peer, sent, refused, hold, hold_until, burst, .. } = self;
        let (mut held, mut is_sound) = (false, true);
        let count = link.collect(|was_refused| {
            let Some(Sent { content, serial, refusals }) = sent.pop_front() else { return };
            let Some(bytes) = was_refused else {
                if refusals > 0 {
                    *burst = (*burst * 2).min(MAX_RETRIES);
                    *hold = Duration::ZERO;
                    *hold_until = now;
                }
                match content {
                    Content::Datagram(token) => layer.acked(now, *peer, token),
                    Content::Brief(brief) => layer.brief_taken(*peer, brief),
                    Content::Loan => {}
                }
                return;
            };
            let token = match content {
                Content::Datagram(token) => token,
                Content::Brief(brief) => match layer.brief_refused(*peer, brief, bytes) {
                    Some(token) => token,
                    None => {
                        layer.brief_lost(*peer, brief, PeerError::Exited);
                        return is_sound = false;
                    }
                },
                Content::Loan => return,
            };
            if retries.is_some_and(|most| refusals >= most) {
                layer.refused(now, *peer, token);
                return;
            }
            // One pause for all that are refused at the same time.
            if !held && (refusals > 0 || refused.is_empty()) {
                held = true;
                *burst = 1;
                *hold = (*hold * 2).clamp(FIRST_HOLD, LONGEST_HOLD);
                *hold_until = now + *hold;
            }
            let at = refused.partition_point(|other| other.serial < serial);
            let refusals = refusals.saturating_add(1);
            refused.insert(at, Sent { content: Content::Datagram(token), serial, refusals });
        })?;
        self.is_awaited &= !self.sent.is_empty();
        if is_sound { Ok(count > 0) } else { Err(Corrupt) }
    }

    /// Takes whatever the peer sent before it went, and what it took.
    pub(super) fn drain(&mut self, now: Time, layer: &mut impl Layer) {
        while let Ok(true) = self.receive_one(now, layer) {}
        // What it refused last is not sent again: it is gone.
        let (Ok(_) | Err(Corrupt)) = self.collect(now, layer, None);
    }

    /// Of what left at once, nobody will know what became of it.
    pub(super) fn lose_briefs(&mut self, layer: &mut impl Layer, error: PeerError) {
        for sent in self.sent.drain(..) {
            if let Content::Brief(brief) = sent.content {
                layer.brief_lost(self.peer, brief, error);
            }
        }
    }

    /// How the peer went, if it did.
    pub(super) fn loss(&mut self, now: Time) -> Option<PeerError> {
        if self.is_corrupt {
            return Some(PeerError::Exited);
        }
        if self.link.peer_has_closed() {
            return Some(PeerError::Closed);
        }
        if now.since(self.checked_at) < LIVENESS {
            return None;
        }
        self.checked_at = now;
        // It may have closed since.
        if self.link.peer_lives() || self.link.peer_has_closed() {
            return None;
        }
        Some(PeerError::Exited)
    }
}
