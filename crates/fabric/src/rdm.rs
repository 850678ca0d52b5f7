//! The full endpoint: reliable messages of any size, in order.

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Duration};

use bytes::Bytes;
use inspect::live::{Counters, Queues};
use io::{PacketIo, UdpDevice};
use memory::Buffer;
use message::{
    Brief, BriefRequest, Busy, Claim, ClaimRefused, Completion, Copying, Landed, LandingOffer,
    Lent, LoanUse, MultiReceiveRequest, OpId, PeekInfo, Rdm, ReceiveRequest, SendRequest, TagMatch,
};
use srd::PeerError;
use wire::{MessageSeq, PeerId, Tag, Token};

use crate::{
    Clock, Error, Options, PeerCopies, PeerRoute, SharedMemory,
    engine::{Engine, Layer},
    metrics,
    one_sided::new_regions,
};

impl Layer for Rdm {
    fn poll_wake(&mut self) -> Option<PeerId> {
        Self::poll_wake(self)
    }

    fn has_wakes(&self) -> bool {
        Self::has_wakes(self)
    }

    fn has_completions(&self) -> bool {
        Self::has_completions(self)
    }

    fn queued_bytes(&self, peer: PeerId) -> u64 {
        Self::queued_bytes(self, peer)
    }

    fn sends_outstanding(&self) -> usize {
        Self::sends_outstanding(self)
    }

    fn kind(&self) -> &'static str {
        "rdm"
    }

    fn queues(&self) -> Queues {
        Queues {
            sends: self.sends_outstanding() as u64,
            receives: self.receives_posted() as u64,
            completions: self.completions() as u64,
            stored_bytes: self.stored_bytes() as u64,
        }
    }

    fn counters(&self) -> Counters {
        metrics::named(&Self::counters(self))
    }

    fn operations(&self) -> Counters {
        metrics::tallies(&Self::operations(self))
    }

    fn offer_landing(&mut self) -> Option<LandingOffer> {
        Self::offer_landing(self)
    }

    fn return_landing(&mut self, offer: LandingOffer) {
        Self::return_landing(self, offer);
    }

    fn lend(&mut self, token: Token, seal: u64) -> Option<Lent> {
        Self::lend(self, token, seal)
    }

    fn use_loan(&mut self, peer: PeerId, seq: MessageSeq, length: u64, most: usize) -> LoanUse {
        Self::use_loan(self, peer, seq, length, most)
    }

    fn copied(&mut self, copying: Copying, copied: bool) {
        Self::copied(self, copying, copied);
    }

    fn leave_at_once(
        &mut self,
        peer: PeerId,
        request: &BriefRequest<'_>,
        head: &mut Vec<u8>,
    ) -> Option<Brief> {
        Self::leave_at_once(self, peer, request, head)
    }

    fn brief_taken(&mut self, peer: PeerId, brief: Brief) {
        Self::brief_taken(self, peer, brief);
    }

    fn brief_refused(&mut self, peer: PeerId, brief: Brief, datagram: &[u8]) -> Option<Token> {
        Self::brief_refused(self, peer, brief, datagram)
    }

    fn brief_lost(&mut self, peer: PeerId, brief: Brief, error: PeerError) {
        Self::brief_lost(self, peer, brief, error);
    }

    fn prepare_landed(
        &mut self,
        offer: LandingOffer,
        heads: &[u8],
        count: usize,
        last_body: usize,
        source: Option<u32>,
    ) -> Landed {
        Self::prepare_landed(self, offer, heads, count, last_body, source)
    }
}

/// How long a waiting call keeps the processor while nothing comes from peers of this host: some
/// round trips through shared memory between two processors.
const YIELD_AFTER: Duration = Duration::from_micros(3);

/// A reliable, connectionless endpoint (`FI_EP_RDM`): tagged and untagged messages of any size,
/// matched in the order each sender sent them.
///
/// Progress is manual: it happens inside [`poll`](Self::poll), [`wait`](Self::wait) and
/// [`progress`](Self::progress). Dropping an endpoint tells its peers goodbye without waiting;
/// [`close`](Self::close) waits for what is in flight first.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use elastane_fabric::{Buffer, Event, Options, RdmEndpoint, TagMatch};
///
/// let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
/// let mut alice = RdmEndpoint::open(&Options::listen(here))?;
/// let mut bob = RdmEndpoint::open(&Options::listen(here))?;
///
/// bob.receive(Buffer::zeroed(64), None, TagMatch::Untagged, 1)?;
/// let to = alice.peer(bob.address())?;
/// alice.send(to, "hello".into(), 2)?;
/// let completion = loop {
///     alice.progress()?;
///     if let Some(completion) = bob.poll()? {
///         break completion;
///     }
/// };
/// let Event::Received { buffer, length: 5, .. } = completion.event else { panic!() };
/// assert_eq!(&buffer.as_slice()[..5], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RdmEndpoint<D: PacketIo = UdpDevice> {
    pub(crate) engine: Engine<D, Rdm>,
    spin: Duration,
    closed: bool,
}

impl RdmEndpoint {
    /// Opens an endpoint on a UDP device of its own, with shared memory to peers on this host
    /// unless the options say otherwise.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let device = UdpDevice::open(options.listen, &options.device)?;
        let mut endpoint = Self::on_device(device, options)?;
        if options.shared_memory == SharedMemory::Automatic {
            endpoint.engine.use_shared_memory(options.cross_memory)?;
        }
        Ok(endpoint)
    }
}

impl<D: PacketIo> RdmEndpoint<D> {
    /// Opens an endpoint on `device`.
    pub fn on_device(device: D, options: &Options) -> Result<Self, Error> {
        let regions = match &options.regions {
            Some(regions) => regions.clone(),
            None => new_regions()?,
        };
        let layer = Rdm::new(options.messages.clone()).with_regions(regions);
        let engine = Engine::new(device, options, layer)?;
        Ok(Self { engine, spin: options.spin, closed: false })
    }

    /// Where peers reach this endpoint.
    pub fn address(&self) -> SocketAddr {
        self.engine.device.local_address()
    }

    /// The endpoint's clock.
    pub fn clock(&self) -> Clock {
        self.engine.watch.clock()
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.engine.device
    }

    /// The transport's state: counters, windows, paths.
    pub fn transport(&self) -> &srd::Endpoint {
        &self.engine.transport
    }

    /// Where the endpoint's metrics are to be had, if [`Options::metrics`] asks for them.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.engine.metrics_address()
    }

    /// What the message layer counted.
    pub fn message_counters(&self) -> message::Counters {
        self.engine.layer.counters()
    }

    /// The peer that listens at `address` (an address-vector insertion). Sends nothing.
    pub fn peer(&mut self, address: SocketAddr) -> Result<PeerId, Error> {
        self.engine.connect(address)
    }

    /// Where `peer` listens.
    pub fn peer_address(&self, peer: PeerId) -> SocketAddr {
        self.engine.transport.peer_address(peer)
    }

    /// The way that messages to `peer` take. It can change from UDP to shared memory once the peer
    /// has answered.
    pub fn route(&self, peer: PeerId) -> PeerRoute {
        self.engine.locals.route(peer)
    }

    /// How large messages come from `peer`; `None` if it is not reached through shared memory.
    pub fn copies_from(&self, peer: PeerId) -> Option<PeerCopies> {
        self.engine.locals.copies(peer)
    }

    /// Sends an untagged message. `context` comes back in the completion.
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn send(&mut self, to: PeerId, data: Bytes, context: u64) -> Result<OpId, Busy> {
        let request = SendRequest { data, context, complete: true, ..SendRequest::default() };
        self.post_send(to, request)
    }

    /// Sends a tagged message.
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn send_tagged(
        &mut self,
        to: PeerId,
        tag: Tag,
        data: Bytes,
        context: u64,
    ) -> Result<OpId, Busy> {
        let tag = Some(tag);
        let request = SendRequest { data, tag, context, complete: true, remote_data: None };
        self.post_send(to, request)
    }

    /// Sends a message with everything that can be said of one.
    ///
    /// It leaves at once if nothing is in flight to the peer; else it may wait for the next call
    /// that makes progress, to share a datagram with others.
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn post_send(&mut self, to: PeerId, request: SendRequest) -> Result<OpId, Busy> {
        let SendRequest { ref data, tag, remote_data, context, complete } = request;
        let brief = BriefRequest { data, tag, remote_data, context, complete };
        if let Some(op) = self.send_brief(to, &brief) {
            return Ok(op);
        }
        let op = self.engine.layer.post_send(to, request)?;
        self.engine.kick(to);
        Ok(op)
    }

    /// Sends a short message if it can leave during this call: its peer is reached through shared
    /// memory with room for it, and nothing that was posted before has to be before it. Its bytes
    /// are copied. Returns the name of its operation if it left; else nothing has changed, and
    /// [`post_send`](Self::post_send) is for it.
    #[inline]
    pub fn send_brief(&mut self, to: PeerId, request: &BriefRequest<'_>) -> Option<OpId> {
        self.engine.send_brief(to, request)
    }

    /// Posts a receive for a message from `from`, or from anybody. The buffer comes back with the
    /// completion.
    ///
    /// # Errors
    /// [`ReceiveRefused`], with the buffer, while too many operations wait for completion.
    pub fn receive(
        &mut self,
        buffer: Buffer,
        from: Option<PeerId>,
        tag: TagMatch,
        context: u64,
    ) -> Result<OpId, ReceiveRefused> {
        let request = ReceiveRequest { buffer, from, tag, context };
        self.engine
            .layer
            .post_receive(request)
            .map_err(|(busy, buffer)| ReceiveRefused { busy, buffer })
    }

    /// Posts a receive that takes many messages, one right behind another, until too little of its
    /// buffer is left (`FI_MULTI_RECV`). Each completes with its part of the buffer, and
    /// [`message::Event::Released`] comes last. A message that does not fit what is left goes to
    /// the next receive.
    ///
    /// # Errors
    /// [`ReceiveRefused`], with the buffer, while too many operations wait for completion.
    pub fn multi_receive(&mut self, request: MultiReceiveRequest) -> Result<OpId, ReceiveRefused> {
        self.engine
            .layer
            .post_multi_receive(request)
            .map_err(|(busy, buffer)| ReceiveRefused { busy, buffer })
    }

    /// Cancels an operation that has not begun, or a large message that is not sent entirely.
    /// Returns whether it did; then the operation completes with
    /// [`message::OperationError::Canceled`].
    pub fn cancel(&mut self, op: OpId) -> bool {
        self.engine.layer.cancel(op)
    }

    /// The oldest message that no receive was posted for yet and that such a receive would get.
    pub fn peek(&self, from: Option<PeerId>, tag: TagMatch) -> Option<PeekInfo> {
        self.engine.layer.peek(from, tag)
    }

    /// Claims the message that [`peek`](Self::peek) tells of (`FI_PEEK | FI_CLAIM`): no receive,
    /// peek or other claim meets it any more. It stays stored until it is received or discarded.
    pub fn claim(&mut self, from: Option<PeerId>, tag: TagMatch) -> Option<(Claim, PeekInfo)> {
        self.engine.layer.claim(from, tag)
    }

    /// Receives a message that this endpoint claimed (`FI_CLAIM`). It completes like any receive,
    /// or with the error of its peer, if that failed meanwhile.
    ///
    /// # Errors
    /// [`ClaimRefused`], with claim and buffer, while too many operations wait for completion.
    pub fn receive_claimed(
        &mut self,
        claim: Claim,
        buffer: Buffer,
        context: u64,
    ) -> Result<OpId, ClaimRefused> {
        self.engine.layer.receive_claimed(claim, buffer, context)
    }

    /// Drops a message that this endpoint claimed (`FI_CLAIM | FI_DISCARD`). Its sender's operation
    /// succeeds; nothing completes here.
    pub fn discard_claimed(&mut self, claim: Claim) {
        self.engine.layer.discard_claimed(claim);
    }

    /// Sends, receives and does what is due, without waiting. Returns whether anything happened.
    pub fn progress(&mut self) -> Result<bool, Error> {
        self.engine.progress()
    }

    /// The next completion if there is one; makes progress if not.
    pub fn poll(&mut self) -> Result<Option<Completion>, Error> {
        if self.engine.layer.has_completions() {
            self.engine.end_burst();
        } else {
            self.engine.progress()?;
        }
        Ok(self.engine.layer.poll_completion())
    }

    /// The next completion if there is one; makes no progress.
    pub fn take_completion(&mut self) -> Option<Completion> {
        self.engine.layer.poll_completion()
    }

    /// Waits for a completion, at most `timeout`; `None` waits without bound. Spins first, then
    /// sleeps.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Completion>, Error> {
        if !self.engine.layer.has_completions() {
            self.wait_for_one(timeout)?;
        }
        Ok(self.engine.layer.poll_completion())
    }

    /// Waits until there is a completion, at most `timeout`.
    fn wait_for_one(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let mut busy = self.engine.progress()?;
        let began = self.engine.watch.last();
        let mut busy_at = began;
        loop {
            if self.engine.layer.has_completions() {
                return Ok(());
            }
            let now = self.engine.watch.last();
            if std::mem::take(&mut busy) {
                busy_at = now;
                busy = self.engine.progress()?;
                continue;
            }
            let waited = now.since(began);
            if timeout.is_some_and(|timeout| waited >= timeout) {
                return Ok(());
            }
            // The neighbour that is waited for may need this very processor.
            if now.since(busy_at) >= YIELD_AFTER && self.engine.locals.has_links() {
                std::thread::yield_now();
            }
            if now.since(busy_at) >= self.spin {
                self.engine.sleep(timeout.map(|timeout| timeout - waited))?;
            }
            busy = self.engine.progress()?;
        }
    }

    /// A descriptor to sleep on, alone or in a set of poll(2) or epoll(7) (`FI_WAIT_FD`): it
    /// becomes readable when a call that makes progress has something to do. Ask
    /// [`may_sleep`](Self::may_sleep) each time before sleeping. Valid as long as the endpoint.
    ///
    /// # Errors
    /// [`Error::Device`] if the process has no descriptors left.
    pub fn descriptor(&mut self) -> Result<BorrowedFd<'_>, Error> {
        Ok(self.engine.wait_object()?.descriptor())
    }

    /// Makes progress until there is nothing more to do. Returns whether the caller may now sleep
    /// on [`descriptor`](Self::descriptor) without missing anything (fi_trywait(3)); `false` if a
    /// completion waits to be taken.
    ///
    /// Another thread may post operations meanwhile; the sleeper wakes for what they need.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or the process has no descriptors left.
    pub fn may_sleep(&mut self) -> Result<bool, Error> {
        self.engine.may_sleep()
    }

    /// Operations that are not complete.
    pub fn outstanding(&self) -> usize {
        self.engine.layer.outstanding()
    }

    /// Closes the endpoint: waits until what was sent is acknowledged, at most `linger`, and
    /// tells every peer goodbye.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if the time did not suffice; the endpoint is closed all the same.
    pub fn close(mut self, linger: Duration) -> Result<(), Error> {
        self.closed = true;
        self.engine.close(linger)
    }
}

impl<D: PacketIo> Drop for RdmEndpoint<D> {
    fn drop(&mut self) {
        if !self.closed {
            self.engine.say_goodbye();
        }
    }
}

/// A receive, or a read, that could not be posted, with its buffer.
#[derive(Debug, thiserror::Error)]
#[error("{busy}")]
pub struct ReceiveRefused {
    /// Why.
    pub busy: Busy,
    /// The buffer.
    pub buffer: Buffer,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn endpoint_dropped_by_a_child_process_says_no_goodbye() {
        let options = Options::listen((Ipv4Addr::LOCALHOST, 0).into());
        for is_child in [true, false] {
            let mut near = RdmEndpoint::open(&options).expect("a free port");
            let mut far = RdmEndpoint::open(&options).expect("a free port");
            let peer = near.peer(far.address()).expect("there is room");
            far.receive(Buffer::zeroed(8), None, TagMatch::Untagged, 0).expect("there is room");
            near.send(peer, "hello".into(), 0).expect("there is room");
            let bound = Some(Duration::from_secs(20));
            assert!(far.wait(bound).expect("the device works").is_some());
            while near.outstanding() > 0 {
                far.progress().expect("the device works");
                near.poll().expect("the device works");
            }
            // A child has another process id than the one that opened the endpoint.
            near.engine.owner = if is_child { 0 } else { near.engine.owner };
            drop(near);
            let back = PeerId(0);
            far.receive(Buffer::zeroed(8), Some(back), TagMatch::Untagged, 0).expect("room");
            let ended = far.wait(Some(Duration::from_millis(20))).expect("the device works");
            assert_eq!(ended.is_none(), is_child, "{ended:?}");
        }
    }
}
