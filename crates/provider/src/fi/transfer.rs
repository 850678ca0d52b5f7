//! What all calls that move data have in common: fi_msg(3), fi_tagged(3), fi_rma(3).

use std::ffi::c_void;

use fabric::{RKey, Region, RemotePlace, TagMatch};
use libfabric_sys as fi;

use super::{endpoint::Ep, memory};
use crate::{
    domain::State,
    endpoint::{Binding, Call, Message, Posted},
    queue::Failure,
    vector::AddressVector,
};

/// How a call is to end.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) context: *mut c_void,
    /// Flags of the operation.
    pub(super) flags: u64,
    /// Success is never told (fi_inject and its like).
    pub(super) silent: bool,
}

impl Ending {
    /// That of fi_inject and its like.
    pub(super) const SILENT: Self =
        Self { context: std::ptr::null_mut(), flags: fi::FI_INJECT, silent: true };

    pub(super) const fn new(context: *mut c_void, flags: u64) -> Self {
        Self { context, flags, silent: false }
    }

    /// What is told of the operation, for a queue that is bound like this.
    pub(super) fn posted(self, binding: Option<Binding>, class: u64) -> Option<Posted> {
        let report = self.is_reported(binding);
        if !report && self.context.is_null() {
            return None;
        }
        let context = self.context as usize;
        Some(Posted { context, flags: class, report, ..Posted::default() })
    }

    /// Whether success is told in a queue that is bound like this.
    fn is_reported(self, binding: Option<Binding>) -> bool {
        let wanted = match binding {
            None => false,
            Some(Binding { selective, .. }) => !selective || self.flags & fi::FI_COMPLETION != 0,
        };
        wanted && !self.silent
    }
}

/// A message that is to be sent.
pub(super) struct Outgoing<'a> {
    pub(super) pieces: &'a [libc::iovec],
    pub(super) to: u64,
    pub(super) tag: Option<u64>,
    pub(super) data: Option<u64>,
}

/// Sends a message.
///
/// # Safety
/// As fi_msg(3) says of the pieces.
pub(super) unsafe fn send(ep: &Ep, outgoing: &Outgoing<'_>, ending: Ending) -> isize {
    // Of what has just been put together nothing is moved: the processor would wait for it.
    let &Outgoing { pieces, to, ref tag, ref data } = outgoing;
    let class = fi::FI_SEND | if tag.is_some() { fi::FI_TAGGED } else { fi::FI_MSG };
    super::count(ep.call(|endpoint, vector| {
        if ending.flags & fi::FI_FENCE != 0 {
            endpoint.fence(vector, to)?;
        }
        let piece = match pieces {
            // SAFETY: the caller promised that they are readable.
            [piece] => Some(unsafe { memory::array(piece.iov_base.cast(), piece.iov_len) }),
            _ => None,
        };
        let inject = ending.flags & fi::FI_INJECT != 0;
        // SAFETY: the caller promised it.
        let bytes = |endpoint: &mut _| unsafe { memory::outgoing(endpoint, pieces, inject) };
        let posted = ending.posted(endpoint.tx, class);
        endpoint.send(vector, to, (piece, *tag, *data), bytes, posted)
    }))
}

/// Posts a receive, or looks at what has come.
///
/// # Safety
/// As fi_msg(3) says of the pieces.
pub(super) unsafe fn receive(
    ep: &Ep,
    pieces: &[libc::iovec],
    from: u64,
    tag: TagMatch,
    ending: Ending,
) -> isize {
    let class = match tag {
        TagMatch::Untagged => fi::FI_RECV | fi::FI_MSG,
        TagMatch::Tagged { .. } => fi::FI_RECV | fi::FI_TAGGED,
    };
    if ending.flags & (fi::FI_PEEK | fi::FI_CLAIM) != 0 {
        // SAFETY: the caller promised it.
        return super::count(unsafe { probe(ep, pieces, from, tag, (ending, class)) });
    }
    super::count(ep.call(|endpoint, vector| {
        // SAFETY: the caller promised it.
        let (buffer, scatter) = unsafe { memory::incoming(pieces) };
        let from = directed(endpoint.settings.caps, from);
        let many = ending.flags & fi::FI_MULTI_RECV;
        let posted = always(ending, endpoint.rx, class | many, (start(pieces), scatter));
        if many != 0 {
            return endpoint.receive_many(vector, from, tag, buffer, posted);
        }
        endpoint.receive(vector, from, tag, buffer, posted)
    }))
}

/// Where the caller's buffer is, for its completion.
fn start(pieces: &[libc::iovec]) -> usize {
    pieces.first().map_or(0, |piece| piece.iov_base as usize)
}

/// What is told of an operation that must be remembered in any case: where its buffer is, and where
/// bytes go that were received in one piece for several.
#[inline]
pub(super) fn always(
    ending: Ending,
    binding: Option<Binding>,
    flags: u64,
    (buffer, scatter): (usize, Vec<Region>),
) -> Posted {
    let (context, report) = (ending.context as usize, ending.is_reported(binding));
    Posted { context, flags, report, buffer, scatter, op: None }
}

/// Whose messages are wanted: only where that was asked for is the address looked at.
const fn directed(caps: u64, from: u64) -> Option<u64> {
    if caps & fi::FI_DIRECTED_RECV == 0 || from == fi::FI_ADDR_UNSPEC { None } else { Some(from) }
}

/// `FI_PEEK`, `FI_CLAIM` and `FI_DISCARD` of fi_tagged(3).
///
/// # Safety
/// As [`receive`].
unsafe fn probe(
    ep: &Ep,
    pieces: &[libc::iovec],
    from: u64,
    tag: TagMatch,
    (ending, class): (Ending, u64),
) -> Call {
    let has = |flag| ending.flags & flag != 0;
    let mut state = ep.domain.lock();
    if has(fi::FI_PEEK) {
        state.progress(ep.key);
    }
    let State { endpoints, queues, vectors, .. } = &mut *state;
    let endpoint = &mut endpoints[ep.key];
    let vector = endpoint.vector.and_then(|vector| vectors.get(vector)).ok_or(fi::FI_ENOAV)?;
    let context = ending.context as usize;
    if has(fi::FI_CLAIM) && !has(fi::FI_PEEK) {
        if has(fi::FI_DISCARD) {
            let entry = endpoint.discard_claimed(context)?;
            if let Some(queue) = endpoint.rx.and_then(|rx| queues.get_mut(rx.queue)) {
                queue.push(entry);
            }
            return Ok(());
        }
        // SAFETY: the caller promised it.
        let (buffer, scatter) = unsafe { memory::incoming(pieces) };
        let posted = always(ending, endpoint.rx, class, (start(pieces), scatter));
        return endpoint.receive_claimed(context, buffer, posted);
    }
    let from = directed(endpoint.settings.caps, from);
    let found = if has(fi::FI_DISCARD) {
        endpoint.discard(vector, from, tag)?
    } else if has(fi::FI_CLAIM) {
        endpoint.claim(vector, from, tag, context)?
    } else {
        endpoint.peek(vector, from, tag)?
    };
    let queue = endpoint.rx.and_then(|rx| queues.get_mut(rx.queue)).ok_or(fi::FI_ENOCQ)?;
    let mut entry = found.unwrap_or_default();
    entry.context = context;
    entry.flags |= class;
    if found.is_some() {
        queue.push(entry);
    } else {
        if let TagMatch::Tagged { tag, .. } = tag {
            entry.tag = tag.0;
        }
        let text = "no message was met".to_owned();
        queue.push_failure(Failure { entry, excess: 0, error: fi::FI_ENOMSG, text });
    }
    Ok(())
}

/// A place in a peer's memory, as fi_rma(3) names it.
pub(super) const fn place(offset: u64, key: u64) -> RemotePlace {
    RemotePlace { key: RKey(key), offset }
}

/// Puts bytes into a peer's memory.
///
/// # Safety
/// As fi_rma(3) says of the pieces.
pub(super) unsafe fn write(
    ep: &Ep,
    outgoing: &Outgoing<'_>,
    place: RemotePlace,
    ending: Ending,
) -> isize {
    let Outgoing { pieces, to, data, .. } = *outgoing;
    super::count(ep.call(|endpoint, vector| {
        let inject = ending.flags & fi::FI_INJECT != 0;
        // SAFETY: the caller promised it.
        let bytes = unsafe { memory::outgoing(endpoint, pieces, inject) };
        if ending.flags & fi::FI_FENCE != 0 {
            endpoint.fence(vector, to)?;
        }
        let message = Message { data: bytes, remote_data: data };
        let posted = ending.posted(endpoint.tx, fi::FI_RMA | fi::FI_WRITE);
        endpoint.write(vector, to, place, message, posted)
    }))
}

/// Takes bytes from a peer's memory.
///
/// # Safety
/// As fi_rma(3) says of the pieces.
pub(super) unsafe fn read(
    ep: &Ep,
    pieces: &[libc::iovec],
    from: u64,
    place: RemotePlace,
    ending: Ending,
) -> isize {
    super::count(ep.call(|endpoint, vector: &AddressVector| {
        // SAFETY: the caller promised it.
        let (buffer, scatter) = unsafe { memory::incoming(pieces) };
        if ending.flags & fi::FI_FENCE != 0 {
            endpoint.fence(vector, from)?;
        }
        let class = fi::FI_RMA | fi::FI_READ;
        let posted = always(ending, endpoint.tx, class, (0, scatter));
        endpoint.read(vector, from, place, buffer, posted)
    }))
}
