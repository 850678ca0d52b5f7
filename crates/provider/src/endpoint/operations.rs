//! What is asked of an endpoint: messages, one-sided operations, and looks at what has come.

use bytes::Bytes;
use fabric::{
    AtomicRefused, AtomicRequest, BriefRequest, Buffer, MultiReceiveRequest, RemotePlace,
    SendError, SendRequest, Tag, TagMatch, WriteRequest,
};
use libfabric_sys as fi;

use super::{Call, Endpoint, Message, Posted, Transport};
use crate::{queue::Entry, vector::AddressVector};

impl Endpoint {
    /// Sends a message; without `posted`, success is not told. One that lies in one `piece` may
    /// leave out of it during this call; `data` makes of it what can wait.
    #[inline]
    pub(crate) fn send(
        &mut self,
        vector: &AddressVector,
        to: u64,
        (piece, tag, remote_data): (Option<&[u8]>, Option<u64>, Option<u64>),
        data: impl FnOnce(&mut Self) -> Bytes,
        posted: Option<Posted>,
    ) -> Call {
        let peer = self.peer(vector, to)?;
        let complete = posted.is_some();
        let context = self.remember(posted);
        let tag = tag.map(Tag);
        if let (Some(data), Some(Transport::Rdm(endpoint))) = (piece, &mut self.transport) {
            let request = BriefRequest { data, tag, remote_data, context, complete };
            if endpoint.send_brief(peer, &request).is_some() {
                self.count(data.len() as u64);
                return Ok(());
            }
        }
        let data = data(self);
        let length = data.len() as u64;
        let op = match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => {
                let request = SendRequest { data, tag, remote_data, context, complete };
                endpoint.post_send(peer, request).map_err(|_| fi::FI_EAGAIN)
            }
            Some(Transport::Datagram(endpoint)) => {
                endpoint.send(peer, data, context).map_err(|error| match error {
                    SendError::Full => fi::FI_EAGAIN,
                    SendError::TooLarge(_) => fi::FI_EMSGSIZE,
                    SendError::Os(error) => error.raw_os_error().unwrap_or(fi::FI_EIO),
                })
            }
            None => Err(fi::FI_EOPBADSTATE),
        };
        self.settle(context, op)?;
        self.count(length);
        Ok(())
    }

    /// Posts a receive of one message, from anybody unless `from` is a number in the vector.
    pub(crate) fn receive(
        &mut self,
        vector: &AddressVector,
        from: Option<u64>,
        tag: TagMatch,
        buffer: Buffer,
        posted: Posted,
    ) -> Call {
        let from = from.map(|from| self.peer(vector, from)).transpose()?;
        let context = self.remember(Some(posted));
        let op = match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => endpoint.receive(buffer, from, tag, context),
            Some(Transport::Datagram(endpoint)) => endpoint.receive(buffer, context),
            None => return self.settle(context, Err(fi::FI_EOPBADSTATE)),
        };
        self.settle(context, op.map_err(|_| fi::FI_EAGAIN))
    }

    /// Posts a buffer for many messages (`FI_MULTI_RECV`).
    pub(crate) fn receive_many(
        &mut self,
        vector: &AddressVector,
        from: Option<u64>,
        tag: TagMatch,
        buffer: Buffer,
        posted: Posted,
    ) -> Call {
        let from = from.map(|from| self.peer(vector, from)).transpose()?;
        let context = self.remember(Some(posted));
        let least = self.least_multi;
        let op = self.rdm().and_then(|endpoint| {
            let request = MultiReceiveRequest { buffer, least, from, tag, context };
            endpoint.multi_receive(request).map_err(|_| fi::FI_EAGAIN)
        });
        self.settle(context, op)
    }

    /// Writes memory of a peer.
    pub(crate) fn write(
        &mut self,
        vector: &AddressVector,
        to: u64,
        place: RemotePlace,
        message: Message,
        posted: Option<Posted>,
    ) -> Call {
        let peer = self.peer(vector, to)?;
        let complete = posted.is_some();
        let context = self.remember(posted);
        let Message { data, remote_data } = message;
        let length = data.len() as u64;
        let op = self.rdm().and_then(|endpoint| {
            let request = WriteRequest { data, place, remote_data, context, complete };
            endpoint.post_write(peer, request).map_err(|_| fi::FI_EAGAIN)
        });
        self.settle(context, op)?;
        self.count(length);
        Ok(())
    }

    /// Reads memory of a peer.
    pub(crate) fn read(
        &mut self,
        vector: &AddressVector,
        from: u64,
        place: RemotePlace,
        buffer: Buffer,
        posted: Posted,
    ) -> Call {
        let peer = self.peer(vector, from)?;
        let context = self.remember(Some(posted));
        let op = self.rdm().and_then(|endpoint| {
            endpoint.read(peer, place, buffer, context).map_err(|_| fi::FI_EAGAIN)
        });
        self.settle(context, op)
    }

    /// Executes an atomic operation on memory of a peer.
    pub(crate) fn atomic(
        &mut self,
        vector: &AddressVector,
        at: u64,
        mut request: AtomicRequest,
        posted: Option<Posted>,
    ) -> Call {
        let peer = self.peer(vector, at)?;
        request.complete = posted.is_some();
        request.context = self.remember(posted);
        let context = request.context;
        let op = self.rdm().and_then(|endpoint| {
            endpoint.atomic(peer, request).map_err(|refused| match refused {
                AtomicRefused::Busy(_) => fi::FI_EAGAIN,
                _ => fi::FI_EOPNOTSUPP,
            })
        });
        self.settle(context, op)
    }

    /// What is posted to this peer from now on waits for all that was posted before (`FI_FENCE`).
    pub(crate) fn fence(&mut self, vector: &AddressVector, to: u64) -> Call {
        let peer = self.peer(vector, to)?;
        self.rdm()?.fence(peer);
        Ok(())
    }

    /// Cancels the operation with this context (fi_cancel(3)). Returns whether there was one.
    pub(crate) fn cancel(&mut self, context: usize) -> bool {
        let Some(Transport::Rdm(endpoint)) = &mut self.transport else { return false };
        let with_context = self.posted.iter().filter(|(_, posted)| posted.context == context);
        with_context.filter_map(|(_, posted)| posted.op).any(|op| endpoint.cancel(op))
    }

    /// The oldest message that a receive would get, as the completion of that receive.
    pub(crate) fn peek(
        &mut self,
        vector: &AddressVector,
        from: Option<u64>,
        tag: TagMatch,
    ) -> Call<Option<Entry>> {
        let from = from.map(|from| self.peer(vector, from)).transpose()?;
        let Some(found) = self.rdm()?.peek(from, tag) else { return Ok(None) };
        let remote = if found.remote_data.is_some() { fi::FI_REMOTE_CQ_DATA } else { 0 };
        let class = if found.tag.is_some() { fi::FI_TAGGED } else { fi::FI_MSG };
        Ok(Some(Entry {
            flags: fi::FI_RECV | class | remote,
            length: usize::try_from(found.length).unwrap_or(usize::MAX),
            data: found.remote_data.unwrap_or(0),
            tag: found.tag.map_or(0, |tag| tag.0),
            source: self.number(Some(vector), found.peer),
            ..Entry::default()
        }))
    }

    /// Reserves that message for a receive with this context (`FI_CLAIM`).
    pub(crate) fn claim(
        &mut self,
        vector: &AddressVector,
        from: Option<u64>,
        tag: TagMatch,
        context: usize,
    ) -> Call<Option<Entry>> {
        let found = self.peek(vector, from, tag)?;
        let from = from.map(|from| self.peer(vector, from)).transpose()?;
        if let Some((claim, _)) = self.rdm()?.claim(from, tag) {
            self.claims.insert(context, (claim, found.unwrap_or_default()));
        }
        Ok(found)
    }

    /// Drops that message (`FI_DISCARD`).
    pub(crate) fn discard(
        &mut self,
        vector: &AddressVector,
        from: Option<u64>,
        tag: TagMatch,
    ) -> Call<Option<Entry>> {
        let found = self.peek(vector, from, tag)?;
        let from = from.map(|from| self.peer(vector, from)).transpose()?;
        let endpoint = self.rdm()?;
        if let Some((claim, _)) = endpoint.claim(from, tag) {
            endpoint.discard_claimed(claim);
        }
        Ok(found)
    }

    /// Receives the message that was reserved with this context.
    pub(crate) fn receive_claimed(
        &mut self,
        context: usize,
        buffer: Buffer,
        posted: Posted,
    ) -> Call {
        let (claim, entry) = self.claims.remove(&context).ok_or(fi::FI_EINVAL)?;
        let number = self.remember(Some(posted));
        let received = self.rdm()?.receive_claimed(claim, buffer, number);
        let op = received.map_err(|refused| {
            self.claims.insert(context, (refused.claim, entry));
            fi::FI_EAGAIN
        });
        self.settle(number, op)
    }

    /// Drops the message that was reserved with this context.
    pub(crate) fn discard_claimed(&mut self, context: usize) -> Call<Entry> {
        let (claim, entry) = self.claims.remove(&context).ok_or(fi::FI_EINVAL)?;
        self.rdm()?.discard_claimed(claim);
        Ok(Entry { context, ..entry })
    }
}
