//! One-sided operations of peers, executed here on registered memory (P§8.11).

use std::ops::Range;

use bytes::Bytes;
use memory::{Access, Atomic, Datatype, Denied, KeyTaken, Operator, Region, Regions, Visit};
use srd::Delivery;
use wire::{MessageSeq, OneSided, OneSidedKind, PeerId, RKey, RefusalCause, RemotePlace};

use super::{
    MAX_ATOMIC_BYTES, Rdm, SendRequest,
    peers::Control,
    ranges::Ranges,
    records::Refusal,
    send::{Kind, Stage},
    stored::MESSAGE_CHARGE,
    stream::Stream,
};
use crate::{
    Completion, Event, OpId,
    numbers::{clamp, key},
};

/// A write or read of a peer that is not over, or that is while an earlier one is not.
#[derive(Debug)]
pub(super) enum Begun {
    /// A write of which these bytes are placed.
    Partly(Ranges, u64),
    /// A write that was turned away; its initiator may not know yet.
    Refused,
    Over,
}

/// An atomic operation ahead of its turn.
#[derive(Debug)]
pub(super) struct HeldAtomic {
    claim: AtomicClaim,
    operands: Vec<u8>,
}

/// What the head of an atomic operation says.
#[derive(Clone, Copy, Debug)]
struct AtomicClaim {
    place: RemotePlace,
    operator: u8,
    datatype: u8,
    fetch: bool,
    count: u16,
}

/// What the head of a write says.
#[derive(Clone, Copy, Debug)]
struct WriteClaim {
    seq: MessageSeq,
    place: RemotePlace,
    offset: u64,
    total: u64,
    data: Option<u64>,
}

/// What is known of a peer's transfer when a frame of it arrives.
enum Standing {
    New,
    Partly,
    Refused,
    Over,
}

impl Rdm {
    /// Offers peers these regions, which other endpoints may share. Without them keys are drawn
    /// under a secret that everybody knows, as a simulation wants it.
    #[must_use]
    pub fn with_regions(mut self, regions: Regions) -> Self {
        self.regions = regions;
        self
    }

    /// Lets peers that know the key do to `region` what `access` says.
    pub fn register(&mut self, region: Region, access: Access) -> RKey {
        RKey(self.regions.register(region, access))
    }

    /// The same under a key of the caller's choice, which peers may guess.
    ///
    /// # Errors
    /// [`KeyTaken`] if another region has the key.
    pub fn register_as(
        &mut self,
        key: RKey,
        region: Region,
        access: Access,
    ) -> Result<(), KeyTaken> {
        self.regions.register_as(key.0, region, access)
    }

    /// Takes a region back. When this returns no peer reaches it any more through any endpoint
    /// that has it: what was begun fails at its initiator. Returns whether there was such a
    /// region.
    pub fn revoke(&mut self, key: RKey) -> bool {
        let was_there = self.regions.revoke(key.0).is_some();
        self.refuse_revoked();
        was_there
    }

    /// Refuses what peers still read of regions that were taken back, here or by another endpoint.
    pub(super) fn refuse_revoked(&mut self) {
        let revoked = self.regions.revoked();
        if std::mem::replace(&mut self.revocations_seen, revoked) == revoked {
            return;
        }
        let regions = &self.regions;
        let is_revoked = |kind: &Kind| match kind {
            Kind::Data { key, region, .. } => !regions.holds(*key, region),
            _ => false,
        };
        let reading = self.sends.iter().filter(|(_, send)| is_revoked(&send.kind));
        let mut reading: Vec<_> = reading.map(|(at, _)| at).collect();
        reading.sort_unstable();
        for at in reading {
            let peer = self.sends[at].peer;
            self.cut(at);
            let send = &mut self.sends[at];
            send.kind = Kind::Result;
            send.stage = Stage::Reported;
            let (seq, kind) = (send.seq, OneSidedKind::Transfer);
            let cause = RefusalCause::UnknownKey;
            self.control(peer, Control::Refusal(Refusal { seq, kind, cause }));
            self.remove_if_over(at);
        }
    }

    /// A frame of a one-sided operation.
    pub(super) fn one_sided_arrived(
        &mut self,
        peer: PeerId,
        frame: OneSided,
        payload: &[u8],
    ) -> Delivery {
        match frame {
            OneSided::Write { seq, place, offset, total, data, .. } => {
                self.write_arrived(peer, WriteClaim { seq, place, offset, total, data }, payload)
            }
            OneSided::Read { seq, place, total, unscheduled } => {
                self.read_arrived(peer, seq, place, total, unscheduled)
            }
            OneSided::Data { seq, offset, .. } => {
                self.segment_arrived(peer, Stream::Read(seq), offset, payload)
            }
            OneSided::Allow { seq, up_to } => {
                self.granted(peer, Stream::Read(seq), up_to);
                Delivery::Accepted
            }
            OneSided::Atomic { seq, place, operator, datatype, fetch, count, .. } => {
                let claim = AtomicClaim { place, operator, datatype, fetch, count };
                self.atomic_arrived(peer, seq, claim, payload)
            }
            OneSided::Result { seq, .. } => self.result_arrived(peer, seq, payload),
            OneSided::Refusal { seq, kind, cause } => {
                self.refused_by_peer(peer, Refusal { seq, kind, cause })
            }
        }
    }

    /// Bytes for a region. They are placed before the datagram is acknowledged, so what is
    /// acknowledged is there. A write that is turned away is therefore not acknowledged until its
    /// initiator has failed it and sends it no more.
    fn write_arrived(&mut self, peer: PeerId, write: WriteClaim, payload: &[u8]) -> Delivery {
        let WriteClaim { seq, place, offset, total, data } = write;
        let is_whole = payload.len() as u64 == total;
        let standing = self.standing(peer, seq);
        match standing {
            Standing::Over => {
                self.counters.repeated += 1;
                return Delivery::Accepted;
            }
            Standing::Refused => return Delivery::NotReady,
            Standing::New if !self.may_begin(peer, seq) => return Delivery::NotReady,
            Standing::New | Standing::Partly => {}
        }
        if data.is_some() && self.completions.len() >= self.config.max_operations {
            return Delivery::NotReady;
        }
        let start = clamp(offset, usize::MAX - payload.len());
        let bytes = start..start + payload.len();
        if self.has_placed(peer, seq, &bytes) {
            self.counters.repeated += 1;
            return Delivery::Accepted;
        }
        let placed =
            self.regions.visit(place.key.0, Access::WRITE, place.offset, total, |region, begin| {
                place_bytes(region, begin, offset, payload)
            });
        if let Err(denied) = placed {
            return self.refuse_write(peer, seq, denied);
        }
        if !is_whole || matches!(standing, Standing::Partly) {
            let active = self.peers.activate(peer);
            let entry = active.begun.entry(seq).or_insert_with(|| {
                self.begun += 1;
                Begun::Partly(Ranges::default(), 0)
            });
            let Begun::Partly(ranges, placed) = entry else { return Delivery::Accepted };
            let added = ranges.insert(bytes);
            *placed += added as u64;
            if added == 0 && total > 0 {
                self.counters.repeated += 1;
                return Delivery::Accepted;
            }
            if *placed < total {
                return Delivery::Accepted;
            }
        }
        self.counters.remote_writes += 1;
        self.has_served(place.key.0, Visit::Write);
        if let Some(data) = data {
            let event = Event::RemoteWrite { data, place, length: total };
            let (op, context) = (OpId::remote(), 0);
            self.completions.push_back(Completion {
                op,
                context,
                peer: Some(peer),
                event,
                result: Ok(()),
            });
        }
        self.transfer_over(peer, seq);
        Delivery::Accepted
    }

    /// Whether all these bytes of a write came before.
    fn has_placed(&self, peer: PeerId, seq: MessageSeq, bytes: &Range<usize>) -> bool {
        let begun = self.peers.active(peer).and_then(|active| active.begun.get(&seq));
        matches!(begun, Some(Begun::Partly(ranges, _)) if ranges.covers(bytes))
    }

    fn refuse_write(&mut self, peer: PeerId, seq: MessageSeq, denied: Denied) -> Delivery {
        let active = self.peers.activate(peer);
        if active.begun.insert(seq, Begun::Refused).is_none() {
            self.begun += 1;
        }
        self.refuse(peer, seq, OneSidedKind::Transfer, cause_of(denied));
        Delivery::NotReady
    }

    /// An operation of a peer on the region behind `key` is over.
    pub(super) fn has_served(&mut self, key: u64, visit: Visit) {
        match visit {
            Visit::Read => self.remote.reads += 1,
            Visit::Write => self.remote.writes += 1,
        }
        self.regions.visited(key, visit);
    }

    fn refuse(&mut self, peer: PeerId, seq: MessageSeq, kind: OneSidedKind, cause: RefusalCause) {
        self.counters.remote_refused += 1;
        self.control(peer, Control::Refusal(Refusal { seq, kind, cause }));
    }

    /// The initiator knows that an operation was turned away.
    pub(super) fn refusal_known(&mut self, peer: PeerId, refusal: Refusal) {
        let Some(active) = self.peers.active_mut(peer) else { return };
        let was_write = refusal.kind == OneSidedKind::Transfer
            && matches!(active.begun.get(&refusal.seq), Some(Begun::Refused));
        if was_write {
            self.transfer_over(peer, refusal.seq);
        }
    }

    fn read_arrived(
        &mut self,
        peer: PeerId,
        seq: MessageSeq,
        place: RemotePlace,
        total: u64,
        unscheduled: u32,
    ) -> Delivery {
        if !matches!(self.standing(peer, seq), Standing::New) {
            self.counters.repeated += 1;
            return Delivery::Accepted;
        }
        if !self.may_begin(peer, seq) || self.served >= self.config.max_operations {
            return Delivery::NotReady;
        }
        self.transfer_over(peer, seq);
        let key = place.key.0;
        let kind = self.regions.visit(key, Access::READ, place.offset, total, |region, begin| {
            Kind::Data { region: region.clone(), begin, key }
        });
        match kind {
            Ok(kind) => {
                self.counters.remote_reads += 1;
                // What was checked is at most a region's length, so it fits.
                self.begin_data(peer, seq, kind, clamp(total, usize::MAX), unscheduled);
            }
            Err(denied) => self.refuse(peer, seq, OneSidedKind::Transfer, cause_of(denied)),
        }
        Delivery::Accepted
    }

    /// Begins to send what a peer reads.
    fn begin_data(
        &mut self,
        peer: PeerId,
        seq: MessageSeq,
        kind: Kind,
        total: usize,
        unscheduled: u32,
    ) {
        let at = self.insert_send(peer, kind, seq, SendRequest::default());
        self.served += 1;
        let send = &mut self.sends[at];
        send.begin(seq);
        send.end = total;
        send.limit = clamp(unscheduled.into(), total);
        let active = self.peers.activate(peer);
        active.queued_bytes += total as u64;
        if send.waits_for_grant() {
            active.waiting += 1;
        } else {
            active.make_ready(send.serial, key(at));
        }
        self.open.insert((peer, Stream::Read(seq)), at);
        self.peers.announce(peer);
    }

    fn atomic_arrived(
        &mut self,
        peer: PeerId,
        seq: MessageSeq,
        claim: AtomicClaim,
        operands: &[u8],
    ) -> Delivery {
        match seq.distance(self.peers.peer_mut(peer).served_atomics) {
            0 if self.served >= self.config.max_operations => return Delivery::NotReady,
            0 => {}
            ..0 => {
                self.counters.repeated += 1;
                return Delivery::Accepted;
            }
            _ => return self.hold_atomic(peer, seq, claim, operands),
        }
        self.execute(peer, seq, claim, operands);
        while let Some(held) = self.next_held_atomic(peer) {
            let seq = self.peers.peer_mut(peer).served_atomics;
            self.execute(peer, seq, held.claim, &held.operands);
        }
        Delivery::Accepted
    }

    fn hold_atomic(
        &mut self,
        peer: PeerId,
        seq: MessageSeq,
        claim: AtomicClaim,
        operands: &[u8],
    ) -> Delivery {
        let active = self.peers.activate(peer);
        if active.held_atomics.contains_key(&seq) {
            self.counters.repeated += 1;
            return Delivery::Accepted;
        }
        if !self.has_room_ahead(operands.len()) {
            return Delivery::NotReady;
        }
        self.ahead += MESSAGE_CHARGE + operands.len();
        self.counters.ahead_parts += 1;
        let held = HeldAtomic { claim, operands: operands.to_vec() };
        self.peers.activate(peer).held_atomics.insert(seq, held);
        Delivery::Accepted
    }

    fn next_held_atomic(&mut self, peer: PeerId) -> Option<HeldAtomic> {
        let state = self.peers.peer_mut(peer);
        let seq = state.served_atomics;
        let held = state.active_mut()?.held_atomics.remove(&seq)?;
        self.ahead -= MESSAGE_CHARGE + held.operands.len();
        Some(held)
    }

    /// Executes the atomic operation whose turn it is.
    fn execute(&mut self, peer: PeerId, seq: MessageSeq, claim: AtomicClaim, operands: &[u8]) {
        self.peers.peer_mut(peer).served_atomics = seq.next();
        match self.executed(claim, operands) {
            Ok(old) => {
                self.counters.remote_atomics += 1;
                let visit = if claim.fetch { Visit::Read } else { Visit::Write };
                self.has_served(claim.place.key.0, visit);
                self.served += 1;
                let data = Bytes::from(old);
                let request = SendRequest { data, ..SendRequest::default() };
                self.enqueue(peer, Kind::Result, seq, request);
            }
            Err(cause) => self.refuse(peer, seq, OneSidedKind::Atomic, cause),
        }
    }

    fn executed(&self, claim: AtomicClaim, operands: &[u8]) -> Result<Vec<u8>, RefusalCause> {
        let AtomicClaim { place, operator, datatype, fetch, count } = claim;
        let count = usize::from(count);
        let codes = Operator::from_code(operator).zip(Datatype::from_code(datatype));
        let atomic = codes.map(|(operator, datatype)| Atomic { operator, datatype });
        let atomic = atomic
            .filter(|atomic| atomic.is_supported())
            .filter(|atomic| operands.len() == atomic.operand_bytes(count))
            .filter(|atomic| count * atomic.datatype.size() <= MAX_ATOMIC_BYTES)
            .ok_or(RefusalCause::Unsupported)?;
        let length = (count * atomic.datatype.size()) as u64;
        let mut old = Vec::new();
        let (key, offset) = (place.key.0, place.offset);
        let executed = self.regions.visit(key, Access::ATOMIC, offset, length, |region, at| {
            region.atomic(at, atomic, count, operands, &mut old)
        });
        executed.map_err(cause_of)?.map_err(|_| RefusalCause::Range)?;
        if !fetch {
            old.clear();
        }
        Ok(old)
    }

    fn standing(&mut self, peer: PeerId, seq: MessageSeq) -> Standing {
        let state = self.peers.peer_mut(peer);
        if seq.distance(state.served_transfers) < 0 {
            return Standing::Over;
        }
        match state.active().and_then(|active| active.begun.get(&seq)) {
            None => Standing::New,
            Some(Begun::Partly(..)) => Standing::Partly,
            Some(Begun::Refused) => Standing::Refused,
            Some(Begun::Over) => Standing::Over,
        }
    }

    /// Whether there is room to remember one more transfer. The oldest of each peer has it
    /// always, as the others may be waiting for it.
    fn may_begin(&mut self, peer: PeerId, seq: MessageSeq) -> bool {
        self.begun < self.config.max_operations || self.peers.peer_mut(peer).served_transfers == seq
    }

    /// Nothing of a transfer will be taken any more.
    fn transfer_over(&mut self, peer: PeerId, seq: MessageSeq) {
        let state = self.peers.peer_mut(peer);
        if seq != state.served_transfers {
            let active = self.peers.activate(peer);
            self.begun += usize::from(active.begun.insert(seq, Begun::Over).is_none());
            return;
        }
        let mut next = seq.next();
        if let Some(active) = state.active_mut().filter(|active| !active.begun.is_empty()) {
            self.begun -= usize::from(active.begun.remove(&seq).is_some());
            while matches!(active.begun.get(&next), Some(Begun::Over)) {
                active.begun.remove(&next);
                self.begun -= 1;
                next = next.next();
            }
        }
        state.served_transfers = next;
    }

    /// Forgets what a lost peer had begun here.
    pub(super) fn forget_served(&mut self, peer: PeerId) {
        let Some(active) = self.peers.active_mut(peer) else { return };
        self.begun -= active.begun.len();
        active.begun.clear();
        for (_, held) in active.held_atomics.drain() {
            self.ahead -= MESSAGE_CHARGE + held.operands.len();
        }
    }
}

fn place_bytes(region: &Region, begin: usize, offset: u64, payload: &[u8]) {
    let at = begin + clamp(offset, usize::MAX - begin);
    region.write(at, payload).expect("all of the write was checked, and this is part of it");
}

fn cause_of(denied: Denied) -> RefusalCause {
    match denied {
        Denied::UnknownKey => RefusalCause::UnknownKey,
        Denied::Access => RefusalCause::Access,
        Denied::Range => RefusalCause::Range,
    }
}
