//! A reliable datagram endpoint, its memory and its completion queue.

mod calls;
mod opening;

use std::{ffi::c_void, ptr, time::Duration};

use self::{calls::Calls, opening::Parts};
use super::{ClientError, Domain, contexts::Contexts, domain::Open, memory::Memory};
use crate::{
    FI_EAGAIN, FI_EAVAIL, FI_ECANCELED, FI_EINTR, FI_ENOENT, FI_RECV, FI_REMOTE_CQ_DATA,
    FI_REMOTE_WRITE, FI_SUM, FI_UINT64, fi_addr_t, fi_cq_err_entry, fi_cq_tagged_entry, fid_ep,
};

/// How much room an endpoint has.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of memory.
    pub bytes: usize,
    /// Operations on their way at a time, receives among them.
    pub operations: usize,
}

/// Bytes of an endpoint's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the start of the memory.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
}

/// What was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation of this side; the number it was given.
    Done(u64),
    /// A message came in for a receive.
    Received {
        /// The number that the receive was given.
        cookie: u64,
        /// Bytes of the message.
        bytes: usize,
        /// What came with it, if something did.
        data: Option<u64>,
    },
    /// The operation with this number ended without effect: [`Endpoint::cancel`].
    Cancelled(u64),
    /// A peer wrote, and sent this data with it.
    Written(u64),
}

/// What a look at the completion queue found.
pub type Done = Vec<Event>;

/// An endpoint with one peer. Nobody but its peer is told the key of its memory.
#[derive(Debug)]
pub struct Endpoint {
    /// `None` only while this is dropped.
    parts: Option<Parts>,
    calls: Calls,
    contexts: Option<Contexts>,
    memory: Option<Memory>,
    domain: Domain,
    name: Vec<u8>,
    peer: fi_addr_t,
    /// The peer's memory.
    remote: Remote,
}

/// How a peer's memory is reached.
#[derive(Clone, Copy, Debug, Default)]
struct Remote {
    key: u64,
    base: u64,
}

/// Completions that are taken at once.
const BATCH: usize = 32;
/// Bytes of a name at most, and then some zeros: the peer says how many there are.
const NAME_ROOM: usize = 512;

impl Endpoint {
    pub(super) fn open(domain: &Domain, room: Room) -> Result<Self, ClientError> {
        opening::open(domain, room)
    }

    /// Where it is, in the provider's own form; for [`connect`](Self::connect) of the other side.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The key of its memory and the address of its first byte, for
    /// [`reach`](Self::reach) of the other side; `None` where its memory is not for others.
    #[must_use]
    pub fn key(&self) -> Option<(u64, u64)> {
        self.parts().key
    }

    /// Makes the endpoint of this name its peer.
    ///
    /// # Errors
    /// It is no such name, or the provider failed.
    pub fn connect(&mut self, name: &[u8]) -> Result<(), ClientError> {
        const DOING: &str = "take the other side's address";
        let naming = &self.domain.inner.naming;
        if name.len() > NAME_ROOM / 2 {
            return Err(naming.failed(DOING, crate::FI_EINVAL));
        }
        // Whatever length the provider thinks it has, that much is there.
        let mut room = [0_u8; NAME_ROOM];
        room[..name.len()].copy_from_slice(name);
        self.peer = opening::insert(&self.domain.inner, &room, DOING)?;
        Ok(())
    }

    /// Makes this the memory that remote operations work on.
    pub fn reach(&mut self, (key, base): (u64, u64)) {
        self.remote = Remote { key, base };
    }

    /// Copies bytes of its memory.
    ///
    /// # Panics
    /// They are not within.
    pub fn read_memory(&self, offset: usize, into: &mut [u8]) {
        self.memory().read(offset, into);
    }

    /// Changes bytes of its memory.
    ///
    /// # Panics
    /// They are not within.
    pub fn write_memory(&self, offset: usize, from: &[u8]) {
        self.memory().write(offset, from);
    }

    /// Sends a message, and data beside it if there is some: fi_tagged(3). `false` if there is no
    /// room for it now: take what is complete, then try again. The same goes for all the others.
    ///
    /// # Errors
    /// The provider refused.
    ///
    /// # Panics
    /// The place is not within the endpoint's memory. The same goes for all the others.
    pub fn send(
        &mut self,
        from: Place,
        tag: u64,
        data: Option<u64>,
        cookie: u64,
    ) -> Result<bool, ClientError> {
        let (buffer, bytes, peer) = (self.place(from), from.bytes, self.peer);
        self.post("send", cookie, |ep, calls, desc, context| match data {
            // SAFETY: the memory stays as long as the endpoint.
            None => unsafe { (calls.tagged.send)(ep, buffer, bytes, desc, peer, tag, context) },
            // SAFETY: as above.
            Some(data) => unsafe {
                (calls.tagged.senddata)(ep, buffer, bytes, desc, data, peer, tag, context)
            },
        })
    }

    /// Waits for a message with this tag from the peer: fi_tagged(3).
    ///
    /// # Errors
    /// The provider refused.
    pub fn receive(&mut self, into: Place, tag: u64, cookie: u64) -> Result<bool, ClientError> {
        let (buffer, peer) = (self.place(into), self.peer);
        self.post("receive", cookie, |ep, calls, desc, context| {
            // SAFETY: as above.
            unsafe { (calls.tagged.recv)(ep, buffer, into.bytes, desc, peer, tag, 0, context) }
        })
    }

    /// Writes into the peer's memory, and tells its program if there is data for it: fi_rma(3).
    ///
    /// # Errors
    /// The provider refused.
    pub fn write(
        &mut self,
        from: Place,
        to: u64,
        data: Option<u64>,
        cookie: u64,
    ) -> Result<bool, ClientError> {
        let (buffer, bytes, peer) = (self.place(from), from.bytes, self.peer);
        let Remote { key, base } = self.remote;
        let to = base.wrapping_add(to);
        self.post("write", cookie, |ep, calls, desc, context| match data {
            // SAFETY: as above.
            None => unsafe { (calls.rma.write)(ep, buffer, bytes, desc, peer, to, key, context) },
            // SAFETY: as above.
            Some(data) => unsafe {
                (calls.rma.writedata)(ep, buffer, bytes, desc, data, peer, to, key, context)
            },
        })
    }

    /// Reads the peer's memory: fi_rma(3).
    ///
    /// # Errors
    /// The provider refused.
    pub fn read(&mut self, into: Place, from: u64, cookie: u64) -> Result<bool, ClientError> {
        let (buffer, peer) = (self.place(into), self.peer);
        let Remote { key, base } = self.remote;
        let from = base.wrapping_add(from);
        self.post("read", cookie, |ep, calls, desc, context| {
            // SAFETY: as above.
            unsafe { (calls.rma.read)(ep, buffer, into.bytes, desc, peer, from, key, context) }
        })
    }

    /// Adds eight bytes of this memory, a number, to eight of the peer's, and puts what was there
    /// before into eight others of this memory: fi_atomic(3).
    ///
    /// # Errors
    /// The provider refused.
    pub fn fetch_add(
        &mut self,
        addend: usize,
        result: usize,
        to: u64,
        cookie: u64,
    ) -> Result<bool, ClientError> {
        let word = |offset| Place { offset, bytes: size_of::<u64>() };
        let (addend, result) = (self.place(word(addend)), self.place(word(result)));
        let (peer, Remote { key, base }) = (self.peer, self.remote);
        let to = base.wrapping_add(to);
        self.post("fetch and add", cookie, |ep, calls, desc, context| {
            let add = calls.atomic.readwrite;
            // SAFETY: as above.
            unsafe {
                add(ep, addend, 1, desc, result, desc, peer, to, key, FI_UINT64, FI_SUM, context)
            }
        })
    }

    /// Ends the receives on their way whose numbers are `wanted`. Each is complete afterwards, as
    /// [`Event::Cancelled`] or because a message came. Returns how many there are.
    ///
    /// # Errors
    /// The provider does not do that.
    pub fn cancel(&mut self, wanted: impl Fn(u64) -> bool) -> Result<usize, ClientError> {
        let Some(contexts) = &self.contexts else { return Ok(0) };
        let found = contexts.matching(wanted);
        for context in &found {
            let head = self.parts().ep.head();
            // SAFETY: the endpoint is open; the context is of an operation on its way.
            let status = unsafe { (self.calls.ep.cancel)(head, *context) };
            let status = i32::try_from(status).unwrap_or(-crate::FI_EOTHER);
            // One that is complete already is not there to be ended.
            if !matches!(-status, 0 | FI_ENOENT | FI_EAGAIN) {
                return Err(self.domain.inner.naming.failed("cancel a receive", status));
            }
        }
        Ok(found.len())
    }

    /// Takes what is complete, without waiting.
    ///
    /// # Errors
    /// An operation failed, or the provider did.
    pub fn poll(&mut self, done: &mut Done) -> Result<(), ClientError> {
        let mut entries = [fi_cq_tagged_entry::default(); BATCH];
        let (cq, to) = (self.parts().cq.as_ptr(), entries.as_mut_ptr().cast());
        // SAFETY: the queue is open, of this format, and there is room for so many.
        let count = unsafe { (self.calls.cq.read)(cq, to, BATCH) };
        self.take(&entries, count, done)
    }

    /// The same, but sleeps if nothing is complete; of endpoints whose [`Wish`](super::Wish) has
    /// that, the others do not.
    ///
    /// # Errors
    /// As above.
    pub fn wait(&mut self, at_most: Duration, done: &mut Done) -> Result<(), ClientError> {
        if !self.domain.inner.sleep {
            return self.poll(done);
        }
        let mut entries = [fi_cq_tagged_entry::default(); BATCH];
        let (cq, to) = (self.parts().cq.as_ptr(), entries.as_mut_ptr().cast());
        let millis = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: as above; there is no condition.
        let count = unsafe { (self.calls.cq.sread)(cq, to, BATCH, ptr::null(), millis) };
        self.take(&entries, count, done)
    }

    fn take(
        &mut self,
        entries: &[fi_cq_tagged_entry; BATCH],
        count: isize,
        done: &mut Done,
    ) -> Result<(), ClientError> {
        const DOING: &str = "read its completion queue";
        if let Ok(count) = usize::try_from(count) {
            done.extend(entries.iter().take(count).filter_map(|entry| self.event(entry)));
            return Ok(());
        }
        match i32::try_from(-count).unwrap_or(i32::MAX) {
            FI_EAGAIN | FI_EINTR => Ok(()),
            FI_EAVAIL => self.take_failure(done),
            error => Err(self.domain.inner.naming.failed(DOING, error)),
        }
    }

    fn event(&mut self, entry: &fi_cq_tagged_entry) -> Option<Event> {
        let fi_cq_tagged_entry { op_context, flags, len: bytes, data, .. } = *entry;
        let data = (flags & FI_REMOTE_CQ_DATA != 0).then_some(data);
        if flags & FI_REMOTE_WRITE != 0 {
            // Its context is nobody's.
            return data.map(Event::Written);
        }
        let cookie = self.ended(op_context)?;
        let received = flags & FI_RECV != 0;
        Some(if received { Event::Received { cookie, bytes, data } } else { Event::Done(cookie) })
    }

    fn ended(&mut self, context: *mut c_void) -> Option<u64> {
        self.contexts.as_mut().and_then(|contexts| contexts.give_back(context))
    }

    /// Takes the operation that failed, which is next in the queue.
    fn take_failure(&mut self, done: &mut Done) -> Result<(), ClientError> {
        const DOING: &str = "tell of an operation that failed";
        let mut entry = fi_cq_err_entry::default();
        let cq = self.parts().cq.as_ptr();
        // SAFETY: the queue is open, and the entry the longest there is.
        let found = unsafe { (self.calls.cq.readerr)(cq, &mut entry, 0) };
        if found < 0 {
            let error = i32::try_from(-found).unwrap_or(crate::FI_EOTHER);
            return Err(self.domain.inner.naming.failed(DOING, error));
        }
        let cookie = self.ended(entry.op_context);
        match (entry.err, cookie) {
            (FI_ECANCELED, Some(cookie)) => {
                done.push(Event::Cancelled(cookie));
                Ok(())
            }
            (error, _) => Err(self.domain.inner.naming.failed("carry out an operation", error)),
        }
    }

    fn post(
        &mut self,
        doing: &'static str,
        cookie: u64,
        call: impl FnOnce(*mut fid_ep, &Calls, *mut c_void, *mut c_void) -> isize,
    ) -> Result<bool, ClientError> {
        let (ep, desc) = (self.parts().ep.as_ptr(), self.parts().desc);
        let Some(contexts) = &mut self.contexts else { return Ok(false) };
        let Some(context) = contexts.take(cookie) else { return Ok(false) };
        let status = call(ep, &self.calls, desc, context);
        if status == 0 {
            return Ok(true);
        }
        contexts.give_back(context);
        match i32::try_from(-status).unwrap_or(i32::MAX) {
            FI_EAGAIN => Ok(false),
            error => Err(self.domain.inner.naming.failed(doing, error)),
        }
    }

    fn place(&self, place: Place) -> *mut c_void {
        self.memory().at(place.offset, place.bytes).cast()
    }

    fn parts(&self) -> &Parts {
        self.parts.as_ref().expect("until it is dropped")
    }

    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("until it is dropped")
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let Some(Parts { ep, cq, mr, .. }) = self.parts.take() else { return };
        let closed = ep.close() && mr.is_none_or(Open::close) && cq.close();
        if !closed {
            // Somebody may work on it still.
            self.memory.take().into_iter().for_each(Memory::leak);
            self.contexts.take().into_iter().for_each(Contexts::leak);
        }
    }
}
