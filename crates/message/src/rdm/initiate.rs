//! One-sided operations posted here: writes, reads and atomics on memory of peers (P§8.11).

use bytes::Bytes;
use memory::{Atomic, Buffer};
use srd::Delivery;
use wire::{MessageSeq, OneSidedKind, PeerId, RemotePlace};

use super::{
    Rdm, SendRequest, TagMatch,
    matching::Receive,
    peers::Control,
    placing::{Arriving, Placing},
    records::Refusal,
    send::{Kind, SendOp, Stage},
    sequel::OperationClass,
    stream::Stream,
    unexpected::Envelope,
};
use crate::{Busy, Completion, Event, OpId, OperationError, numbers::clamp};

/// The most bytes of operands, comparands included, of one atomic operation: with its head it
/// fits the smallest datagram there is.
pub const MAX_ATOMIC_BYTES: usize = 512;

/// Bytes to be written into a region of a peer.
#[derive(Clone, Debug, Default)]
pub struct WriteRequest {
    /// The bytes. They are referred to, not copied, until the write completes.
    pub data: Bytes,
    /// Where they go.
    pub place: RemotePlace,
    /// If given, the write raises [`Event::RemoteWrite`] with it at the peer.
    pub remote_data: Option<u64>,
    /// Comes back in the completion.
    pub context: u64,
    /// Whether success is reported. Failure always is.
    pub complete: bool,
}

/// Bytes to be read from a region of a peer.
#[derive(Debug, Default)]
pub struct ReadRequest {
    /// Where the bytes go: as many are read as it holds.
    pub buffer: Buffer,
    /// Where they are.
    pub place: RemotePlace,
    /// Comes back in the completion.
    pub context: u64,
}

/// An atomic operation on elements in a region of a peer.
#[derive(Clone, Debug)]
pub struct AtomicRequest {
    /// What to do, and on which type.
    pub atomic: Atomic,
    /// The first element.
    pub place: RemotePlace,
    /// How many elements.
    pub count: u16,
    /// An operand for each, then, if the operator compares, a comparand for each; little-endian.
    pub operands: Bytes,
    /// Whether the old values are wanted. Those of reading and comparing operators always come.
    pub fetch: bool,
    /// Comes back in the completion.
    pub context: u64,
    /// Whether success is reported. Failure always is.
    pub complete: bool,
}

/// An atomic operation whose result is awaited.
#[derive(Debug)]
pub(super) struct PendingAtomic {
    op: OpId,
    context: u64,
    complete: bool,
    /// Bytes of old values that will come.
    wanted: usize,
}

impl Rdm {
    /// Posts a write to a region of `peer`. It completes when all bytes are in the region; what
    /// was posted before or after may be there earlier or later.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit.
    pub fn post_write(&mut self, peer: PeerId, request: WriteRequest) -> Result<OpId, Busy> {
        self.admit(0)?;
        let WriteRequest { data, place, remote_data, context, complete } = request;
        let request = SendRequest { data, tag: None, remote_data, context, complete };
        Ok(self.enqueue(peer, Kind::Write { place }, MessageSeq::default(), request))
    }

    /// Posts a read of a region of `peer`. The buffer comes back with the completion.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit, with the buffer.
    pub fn post_read(
        &mut self,
        peer: PeerId,
        request: ReadRequest,
    ) -> Result<OpId, (Busy, Buffer)> {
        let ReadRequest { buffer, place, context } = request;
        if let Err(busy) = self.admit(self.posted.len() + self.placing.len()) {
            return Err((busy, buffer));
        }
        let total = buffer.len() as u64;
        let kind = Kind::Read { place, total, unscheduled: 0, buffer };
        let request = SendRequest { context, complete: true, ..SendRequest::default() };
        Ok(self.enqueue(peer, kind, MessageSeq::default(), request))
    }

    /// A one-sided operation leaves: what comes back has to find it.
    pub(super) fn one_sided_begun(&mut self, peer: PeerId, at: usize) {
        let send = &mut self.sends[at];
        let (seq, context, complete) = (send.seq, send.context, send.complete);
        let op = OpId::send(at, send.serial);
        match &mut send.kind {
            Kind::Read { buffer, .. } => {
                let buffer = std::mem::take(buffer);
                self.read_begun(
                    at,
                    Receive {
                        op,
                        context,
                        from: Some(peer),
                        tag: TagMatch::Untagged,
                        buffer,
                        piece: None,
                    },
                );
            }
            &mut Kind::Atomic { atomic, fetch, count, .. } => {
                let bytes = usize::from(count) * atomic.datatype.size();
                let wanted = if fetch { bytes } else { 0 };
                self.peers.activate(peer).awaited += 1;
                self.atomics.insert((peer, seq), PendingAtomic { op, context, complete, wanted });
            }
            _ => {}
        }
    }

    /// Makes ready for the bytes of a read, and says in the request how many may come at once.
    fn read_begun(&mut self, at: usize, receive: Receive) {
        let SendOp { peer, seq, .. } = self.sends[at];
        let total = receive.buffer.len() as u64;
        let unscheduled = clamp(total, self.config.unscheduled_bytes.max(1)) as u64;
        let envelope = Envelope { peer, seq, tag: None, remote_data: None, total, unscheduled };
        let stream = Stream::Read(seq);
        let to = self.expect_stream(receive, envelope, stream);
        self.open_grants(to);
        // What is granted by now the request itself says.
        let placing = &mut self.placing[to];
        let granted = u32::try_from(placing.authorised).unwrap_or(u32::MAX);
        placing.envelope.unscheduled = granted.into();
        if placing.grant_queued {
            placing.grant_queued = false;
            let control = &mut self.peers.activate(peer).control;
            control.retain(|&waiting| waiting != Control::Grant(stream));
        }
        if let Kind::Read { unscheduled, .. } = &mut self.sends[at].kind {
            *unscheduled = granted;
        }
    }

    /// Posts an atomic operation. Those to one peer are executed in the order they were posted,
    /// each exactly once.
    ///
    /// # Errors
    /// [`AtomicRefused`] if it is not one, or at the operation limit.
    pub fn post_atomic(
        &mut self,
        peer: PeerId,
        request: AtomicRequest,
    ) -> Result<OpId, AtomicRefused> {
        let AtomicRequest { atomic, place, count, operands, fetch, context, complete } = request;
        let elements = usize::from(count);
        if !atomic.is_supported() {
            return Err(AtomicRefused::Unsupported(atomic));
        }
        let bytes = elements * atomic.datatype.size();
        if bytes.max(atomic.operand_bytes(elements)) > MAX_ATOMIC_BYTES {
            return Err(AtomicRefused::TooLong { bytes });
        }
        let wanted = atomic.operand_bytes(elements);
        if operands.len() != wanted {
            return Err(AtomicRefused::Operands { wanted, given: operands.len() });
        }
        self.admit(self.atomics.len())?;
        let fetch = fetch || atomic.operator.operands() != 1;
        let kind = Kind::Atomic { place, atomic, fetch, count };
        let data = operands;
        let request = SendRequest { data, context, complete, ..SendRequest::default() };
        Ok(self.enqueue(peer, kind, MessageSeq::default(), request))
    }

    /// The result of an atomic operation.
    pub(super) fn result_arrived(&mut self, peer: PeerId, seq: MessageSeq, old: &[u8]) -> Delivery {
        let Some(pending) = self.take_atomic(peer, seq) else { return Delivery::Accepted };
        let result = if old.len() == pending.wanted {
            Ok(())
        } else {
            self.counters.malformed += 1;
            Err(OperationError::BadResult)
        };
        self.complete_atomic(peer, pending, old.to_vec(), result);
        Delivery::Accepted
    }

    fn take_atomic(&mut self, peer: PeerId, seq: MessageSeq) -> Option<PendingAtomic> {
        let pending = self.atomics.remove(&(peer, seq))?;
        if let Some(active) = self.peers.active_mut(peer) {
            active.awaited -= 1;
        }
        self.finished(peer, OperationClass::Atomic);
        Some(pending)
    }

    fn complete_atomic(
        &mut self,
        peer: PeerId,
        pending: PendingAtomic,
        old: Vec<u8>,
        result: Result<(), OperationError>,
    ) {
        self.ledger.end(pending.op.serial(), result.is_ok(), &mut self.operations);
        if pending.complete || result.is_err() {
            self.completions.push_back(Completion {
                op: pending.op,
                context: pending.context,
                peer: Some(peer),
                event: Event::Atomic { old },
                result,
            });
        }
    }

    /// A read is over.
    pub(super) fn complete_read(&mut self, placing: Placing, result: Result<(), OperationError>) {
        let Receive { op, context, from, buffer, .. } = placing.receive;
        self.ledger.end(op.serial(), result.is_ok(), &mut self.operations);
        self.finished(placing.envelope.peer, OperationClass::Read);
        let event = Event::Read { buffer };
        self.completions.push_back(Completion { op, context, peer: from, event, result });
    }

    /// The peer turned an operation away.
    pub(super) fn refused_by_peer(&mut self, peer: PeerId, refusal: Refusal) -> Delivery {
        let Refusal { seq, kind, cause } = refusal;
        let error = Err(OperationError::Refused(cause));
        if kind == OneSidedKind::Atomic {
            if let Some(pending) = self.take_atomic(peer, seq) {
                self.complete_atomic(peer, pending, Vec::new(), error);
            }
        } else if let Some(&Arriving::Placing(at)) = self.arriving.get(&(peer, Stream::Read(seq))) {
            let placing = self.end_placing(at);
            self.complete_read(placing, error);
            self.issue_grants();
        } else {
            let mut sends = self.sends.iter();
            let refused = sends.find(|(_, send)| {
                (send.peer, send.seq, send.stage) == (peer, seq, Stage::Begun)
                    && matches!(send.kind, Kind::Write { .. })
            });
            if let Some((at, _)) = refused {
                self.cut(at);
                self.report_send(at, error);
                self.remove_if_over(at);
            }
        }
        Delivery::Accepted
    }

    /// The atomic operations on a lost peer's memory fail, oldest first.
    pub(super) fn fail_atomics(&mut self, peer: PeerId, error: OperationError) {
        let lost = self.atomics.keys().filter(|(of, _)| *of == peer);
        let mut lost: Vec<_> = lost.map(|&(_, seq)| seq).collect();
        lost.sort_unstable_by(|one, other| one.distance(*other).cmp(&0));
        for seq in lost {
            if let Some(pending) = self.take_atomic(peer, seq) {
                self.complete_atomic(peer, pending, Vec::new(), Err(error));
            }
        }
    }
}

/// An atomic operation that could not be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtomicRefused {
    /// Too many operations wait.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The operator does not exist for the type.
    #[error("no such atomic: {:?} does not exist for {:?}", .0.operator, .0.datatype)]
    Unsupported(Atomic),
    /// The elements, or their operands, are too many.
    #[error(
        "atomic too long: {bytes} bytes of elements; elements, and operands with comparands, may \
         take {MAX_ATOMIC_BYTES} each"
    )]
    TooLong {
        /// Bytes of the elements.
        bytes: usize,
    },
    /// Operands and elements do not go together.
    #[error("wrong operands: {given} bytes are given, the elements need {wanted}")]
    Operands {
        /// Bytes that the elements need.
        wanted: usize,
        /// Bytes given.
        given: usize,
    },
}
