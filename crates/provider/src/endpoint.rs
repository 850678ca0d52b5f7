//! Endpoints (fi_endpoint(3)): operations on the fabric, and what the application is told of
//! them.

mod operations;

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Duration};

use bytes::{Bytes, BytesMut};
use fabric::{
    Claim, Completion, DatagramEndpoint, Event, OpId, OperationCounters, OperationError, Options,
    Order, PeerId, RdmEndpoint, Region, Regions, Served,
};
use libfabric_sys as fi;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::{
    errors,
    params::{self, Parameters},
    queue::{Entry, Failure, Item},
    vector::AddressVector,
};

/// What messages that are copied when they are posted are copied into, a piece at a time.
const POOL: usize = 64 << 10;
/// Operations that may wait for completion at a time: memory sets the limit, not this.
const MAX_OPERATIONS: usize = 1 << 20;

/// The kinds of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rdm,
    Datagram,
}

/// What an endpoint was asked to be.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) kind: Kind,
    /// Where to listen; port 0 for any.
    pub(crate) listen: SocketAddr,
    /// What it was opened with (`fi_info.caps`).
    pub(crate) caps: u64,
    /// Flags of plain calls, for what is sent and what is received.
    pub(crate) tx_flags: u64,
    pub(crate) rx_flags: u64,
    /// Which operations wait for which.
    pub(crate) order: Order,
}

impl Settings {
    /// Opens the transport, on the first port that is free of those that users want to be used
    /// unless the application names one.
    fn open(&self, params: &Parameters, regions: &Regions) -> Result<Transport, fabric::Error> {
        let mut options = self.options(params);
        options.regions = Some(regions.clone());
        let ports = params.ports.clone().filter(|_| self.listen.port() == 0).unwrap_or(0..=0);
        let last = *ports.end();
        for port in ports {
            if port != 0 {
                options.listen.set_port(port);
            }
            match self.open_at(&options) {
                Err(fabric::Error::Open(_)) if port != last => {}
                opened => return opened,
            }
        }
        unreachable!("the last attempt ends this")
    }

    fn open_at(&self, options: &Options) -> Result<Transport, fabric::Error> {
        match self.kind {
            Kind::Rdm => RdmEndpoint::open(options).map(|e| Transport::Rdm(Box::new(e))),
            Kind::Datagram => {
                DatagramEndpoint::open(options).map(|e| Transport::Datagram(Box::new(e)))
            }
        }
    }

    fn options(&self, params: &Parameters) -> Options {
        let mut options = Options::listen(self.listen);
        options.messages.max_operations = MAX_OPERATIONS;
        options.messages.order = self.order;
        options.shared_memory = params.shared_memory;
        options.cross_memory = params.cross_memory;
        let transport = &mut options.transport;
        transport.paths = params.paths.unwrap_or(transport.paths);
        transport.unresponsive_after = params.peer_timeout.unwrap_or(transport.unresponsive_after);
        transport.unreachable_after = params.connect_timeout.unwrap_or(transport.unreachable_after);
        options
    }
}

/// Where completions go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) queue: usize,
    /// Only of operations that ask for one (`FI_SELECTIVE_COMPLETION`).
    pub(crate) selective: bool,
}

/// Which counter counts what, by its number in the domain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CounterBindings {
    pub(crate) send: Option<usize>,
    pub(crate) receive: Option<usize>,
    pub(crate) read: Option<usize>,
    pub(crate) write: Option<usize>,
    pub(crate) remote_read: Option<usize>,
    pub(crate) remote_write: Option<usize>,
}

impl CounterBindings {
    /// Whether nothing is counted.
    pub(crate) const fn is_none(&self) -> bool {
        let Self { send, receive, read, write, remote_read, remote_write } = self;
        send.is_none()
            && receive.is_none()
            && read.is_none()
            && write.is_none()
            && remote_read.is_none()
            && remote_write.is_none()
    }
}

#[derive(Debug)]
enum Transport {
    Rdm(Box<RdmEndpoint>),
    Datagram(Box<DatagramEndpoint>),
}

/// What is to be told of an operation.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    /// The caller's pointer, as a number.
    pub(crate) context: usize,
    /// What the completion's flags are, remote data aside.
    pub(crate) flags: u64,
    /// Whether success is told.
    pub(crate) report: bool,
    /// Where the caller's buffer is.
    pub(crate) buffer: usize,
    /// Where the bytes are to be put that were received in one piece for several.
    pub(crate) scatter: Vec<Region>,
    pub(crate) op: Option<OpId>,
}

/// What becomes of a call: nothing, or a positive number of fi_errno(3).
pub(crate) type Call<T = ()> = Result<T, i32>;

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) settings: Settings,
    transport: Option<Transport>,
    pub(crate) vector: Option<usize>,
    pub(crate) tx: Option<Binding>,
    pub(crate) rx: Option<Binding>,
    pub(crate) counters: CounterBindings,
    /// `FI_OPT_MIN_MULTI_RECV`.
    pub(crate) least_multi: usize,
    posted: Slab<Posted>,
    /// By number in the address vector.
    peers: Vec<Option<PeerId>>,
    /// By peer, its number in the address vector.
    names: Vec<u64>,
    /// Messages reserved, by context.
    claims: FxHashMap<usize, (Claim, Entry)>,
    tallied: OperationCounters,
    served: Served,
    /// Messages and bytes that were sent or written, for [`crate::report`].
    sent: (u64, u64),
    pool: BytesMut,
}

impl Endpoint {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            transport: None,
            vector: None,
            tx: None,
            rx: None,
            counters: CounterBindings::default(),
            least_multi: 64,
            posted: Slab::new(),
            peers: Vec::new(),
            names: Vec::new(),
            claims: FxHashMap::default(),
            tallied: OperationCounters::default(),
            served: Served::default(),
            sent: (0, 0),
            pool: BytesMut::new(),
        }
    }

    /// Opens the transport. `regions` are those of its domain, which peers reach through it.
    pub(crate) fn enable(&mut self, regions: &Regions) -> Call {
        if self.transport.is_some() {
            return Ok(());
        }
        if self.vector.is_none() {
            return Err(fi::FI_ENOAV);
        }
        if self.tx.is_none() && self.rx.is_none() {
            return Err(fi::FI_ENOCQ);
        }
        let opened = self.settings.open(params::of_an_offer(), regions);
        self.transport = Some(opened.map_err(|error| {
            crate::log::warn(format_args!("cannot open an endpoint: {error}"));
            errors::of_call(&error)
        })?);
        Ok(())
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        self.transport.is_some()
    }

    /// Where peers reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.transport {
            None => self.settings.listen,
            Some(Transport::Rdm(endpoint)) => endpoint.address(),
            Some(Transport::Datagram(endpoint)) => endpoint.address(),
        }
    }

    fn rdm(&mut self) -> Call<&mut RdmEndpoint> {
        match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => Ok(endpoint),
            Some(Transport::Datagram(_)) => Err(fi::FI_EOPNOTSUPP),
            None => Err(fi::FI_EOPBADSTATE),
        }
    }

    /// The peer with this number in the address vector.
    fn peer(&mut self, vector: &AddressVector, number: u64) -> Call<PeerId> {
        let at = usize::try_from(number).map_err(|_| fi::FI_EINVAL)?;
        if let Some(Some(peer)) = self.peers.get(at) {
            return Ok(*peer);
        }
        let address = vector.address(at).ok_or(fi::FI_EINVAL)?;
        let peer = match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => endpoint.peer(address),
            Some(Transport::Datagram(endpoint)) => endpoint.peer(address),
            None => return Err(fi::FI_EOPBADSTATE),
        };
        let peer = peer.map_err(|error| errors::of_call(&error))?;
        if self.peers.len() <= at {
            self.peers.resize(at + 1, None);
        }
        self.peers[at] = Some(peer);
        self.name(peer, number);
        Ok(peer)
    }

    fn name(&mut self, peer: PeerId, number: u64) {
        if self.names.len() <= peer.index() {
            self.names.resize(peer.index() + 1, fi::FI_ADDR_NOTAVAIL);
        }
        self.names[peer.index()] = number;
    }

    /// The number of a peer in the address vector, if it is there.
    fn number(&mut self, vector: Option<&AddressVector>, peer: PeerId) -> u64 {
        match self.names.get(peer.index()) {
            Some(&number) if number != fi::FI_ADDR_NOTAVAIL => return number,
            _ => {}
        }
        let address = match &self.transport {
            Some(Transport::Rdm(endpoint)) => endpoint.peer_address(peer),
            Some(Transport::Datagram(endpoint)) => endpoint.peer_address(peer),
            None => return fi::FI_ADDR_NOTAVAIL,
        };
        let Some(number) = vector.and_then(|vector| vector.number(address)) else {
            return fi::FI_ADDR_NOTAVAIL;
        };
        self.name(peer, number as u64);
        number as u64
    }

    /// An address was removed from the vector.
    pub(crate) fn forget(&mut self, number: usize) {
        if let Some(peer) = self.peers.get_mut(number).and_then(Option::take)
            && let Some(name) = self.names.get_mut(peer.index())
        {
            *name = fi::FI_ADDR_NOTAVAIL;
        }
    }

    /// Copies bytes that the caller takes back at once.
    pub(crate) fn copy(&mut self, pieces: &[&[u8]]) -> Bytes {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if length > POOL / 4 {
            return Bytes::from(pieces.concat());
        }
        if self.pool.capacity() < length {
            // Takes the old piece of memory again if nobody refers to it any more.
            self.pool.reserve(POOL);
        }
        for piece in pieces {
            self.pool.extend_from_slice(piece);
        }
        self.pool.split().freeze()
    }

    /// Remembers an operation; returns the number by which it comes back, 0 if nothing is told.
    #[inline]
    fn remember(&mut self, posted: Option<Posted>) -> u64 {
        posted.map_or(0, |posted| self.posted.insert(posted) as u64 + 1)
    }

    fn posted_at(context: u64) -> Option<usize> {
        usize::try_from(context.checked_sub(1)?).ok()
    }

    const fn count(&mut self, bytes: u64) {
        self.sent.0 += 1;
        self.sent.1 += bytes;
    }

    /// An operation could not be posted, or it was and has this name.
    fn settle(&mut self, context: u64, op: Call<OpId>) -> Call {
        let at = Self::posted_at(context).filter(|&at| self.posted.contains(at));
        match (op, at) {
            (Ok(op), Some(at)) => self.posted[at].op = Some(op),
            (Ok(_), None) => {}
            (Err(error), at) => {
                at.map(|at| self.posted.remove(at));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes progress. Returns whether anything happened.
    pub(crate) fn progress(&mut self) -> Call<bool> {
        let progress = match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => endpoint.progress(),
            Some(Transport::Datagram(endpoint)) => endpoint.progress(),
            None => return Ok(false),
        };
        progress.map_err(|error| {
            crate::log::warn(format_args!("an endpoint fails: {error}"));
            errors::of_call(&error)
        })
    }

    /// Tells of all that is over, and with each whether it is something that was sent.
    #[inline]
    pub(crate) fn tell_outcomes(
        &mut self,
        vector: Option<&AddressVector>,
        mut tell: impl FnMut(bool, Item),
    ) {
        // Two loops, so that a completion is not moved when it is taken.
        while let Some(Transport::Rdm(endpoint)) = &mut self.transport {
            let Some(completion) = endpoint.take_completion() else { return };
            self.tell_outcome(vector, completion, &mut tell);
        }
        while let Some(Transport::Datagram(endpoint)) = &mut self.transport {
            let Some(completion) = endpoint.take_completion() else { return };
            self.tell_outcome(vector, completion, &mut tell);
        }
    }

    /// Tells of a completion, unless the application is not to know of it.
    #[inline]
    fn tell_outcome(
        &mut self,
        vector: Option<&AddressVector>,
        completion: Completion,
        tell: &mut impl FnMut(bool, Item),
    ) {
        // All is read where it is, since to move it takes longer.
        let Completion { context, peer, ref event, result, .. } = completion;
        if let &Event::RemoteWrite { data, length, .. } = event {
            return tell(false, Item::Done(self.remote_write(vector, peer, data, length)));
        }
        let is_sent = !matches!(event, Event::Received { .. } | Event::Released { .. });
        let Some(at) = Self::posted_at(context).filter(|&at| self.posted.contains(at)) else {
            // Nobody waits for it, and an entry without a context would bring the caller down.
            if let Err(error) = result {
                crate::log::warn(format_args!("an injected operation failed: {error}"));
            }
            return;
        };
        let goes_on = self.is_piece(at, event);
        let posted = &self.posted[at];
        let (mut entry, mut report) = (posted.entry(), posted.report);
        let scatter = if goes_on {
            entry.flags &= !fi::FI_MULTI_RECV;
            Vec::new()
        } else {
            self.posted.remove(at).scatter
        };
        let mut excess = 0;
        match *event {
            Event::Received { tag, remote_data, length, message_length, offset, ref buffer } => {
                put(&scatter, &buffer.as_slice()[..as_size(length)]);
                entry.length = as_size(length);
                excess = as_size(message_length.saturating_sub(length));
                entry.buffer += as_size(offset);
                entry.tag = tag.map_or(0, |tag| tag.0);
                entry.data = remote_data.unwrap_or(0);
                entry.flags |= if remote_data.is_some() { fi::FI_REMOTE_CQ_DATA } else { 0 };
            }
            Event::Released { .. } => {
                entry.flags = fi::FI_MULTI_RECV;
                report = true;
            }
            Event::Read { ref buffer } => put(&scatter, buffer.as_slice()),
            Event::Atomic { ref old } => put(&scatter, old),
            Event::Sent | Event::Written | Event::RemoteWrite { .. } => {}
        }
        if !is_sent {
            entry.source = peer.map_or(fi::FI_ADDR_NOTAVAIL, |peer| self.number(vector, peer));
        }
        match result {
            Ok(()) if report => tell(is_sent, Item::Done(entry)),
            Ok(()) => {}
            Err(error) => tell(is_sent, Item::Failed(Box::new(failure(entry, excess, &error)))),
        }
    }

    /// Whether more comes of this operation.
    fn is_piece(&self, at: usize, event: &Event) -> bool {
        matches!(event, Event::Received { .. }) && self.posted[at].flags & fi::FI_MULTI_RECV != 0
    }

    fn remote_write(
        &mut self,
        vector: Option<&AddressVector>,
        peer: Option<PeerId>,
        data: u64,
        length: u64,
    ) -> Entry {
        Entry {
            flags: fi::FI_RMA | fi::FI_REMOTE_WRITE | fi::FI_REMOTE_CQ_DATA,
            length: as_size(length),
            data,
            source: peer.map_or(fi::FI_ADDR_NOTAVAIL, |peer| self.number(vector, peer)),
            ..Entry::default()
        }
    }

    /// What ended since the last call, by counter: successes and failures.
    pub(crate) fn new_counts(&mut self) -> [(Option<usize>, u64, u64); 6] {
        let Some(Transport::Rdm(endpoint)) = &self.transport else { return Default::default() };
        let now = endpoint.operations();
        let served = endpoint.served();
        let was = std::mem::replace(&mut self.tallied, now);
        let had_served = std::mem::replace(&mut self.served, served);
        let bound = self.counters;
        let count = |counter, now: &[fabric::Tally], was: &[fabric::Tally]| {
            let sum = |of: fn(&fabric::Tally) -> u64| {
                now.iter().map(of).sum::<u64>() - was.iter().map(of).sum::<u64>()
            };
            (counter, sum(|tally| tally.completed), sum(|tally| tally.failed))
        };
        [
            count(bound.send, &[now.sends], &[was.sends]),
            count(bound.receive, &[now.receives], &[was.receives]),
            count(bound.read, &[now.reads, now.fetches], &[was.reads, was.fetches]),
            count(bound.write, &[now.writes, now.atomics], &[was.writes, was.atomics]),
            (bound.remote_read, served.reads - had_served.reads, 0),
            (bound.remote_write, served.writes - had_served.writes, 0),
        ]
    }

    /// What the endpoint did, for [`crate::report`].
    pub(crate) fn summary(&self) -> Option<serde_json::Value> {
        let Some(Transport::Rdm(endpoint)) = &self.transport else { return None };
        let (mut local, mut remote) = (0, 0);
        for peer in 0..endpoint.transport().peer_count() {
            let peer = PeerId(u32::try_from(peer).unwrap_or(u32::MAX));
            match endpoint.route(peer) {
                fabric::PeerRoute::SharedMemory => local += 1,
                fabric::PeerRoute::Udp(_) => remote += 1,
            }
        }
        Some(serde_json::json!({
            "address": endpoint.address().to_string(),
            "peers": {"shared_memory": local, "udp": remote},
            "messages_sent": self.sent.0,
            "bytes_sent": self.sent.1,
        }))
    }

    /// A descriptor to sleep on while [`Self::may_sleep`] said so.
    pub(crate) fn descriptor(&mut self) -> Option<BorrowedFd<'_>> {
        match self.transport.as_mut()? {
            Transport::Rdm(endpoint) => endpoint.descriptor().ok(),
            Transport::Datagram(endpoint) => endpoint.descriptor().ok(),
        }
    }

    /// Whether there is nothing to do until the descriptor is readable.
    pub(crate) fn may_sleep(&mut self) -> bool {
        match &mut self.transport {
            Some(Transport::Rdm(endpoint)) => endpoint.may_sleep().unwrap_or(false),
            Some(Transport::Datagram(endpoint)) => endpoint.may_sleep().unwrap_or(false),
            None => true,
        }
    }

    /// Closes it, after at most `linger` for what is in flight: applications end without telling
    /// each other, and what they sent last has to arrive.
    pub(crate) fn close(self, linger: Duration) {
        if let Some(Transport::Rdm(endpoint)) = self.transport
            && let Err(error) = endpoint.close(linger)
        {
            crate::log::warn(format_args!("{error}"));
        }
    }
}

/// What is written.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) data: Bytes,
    pub(crate) remote_data: Option<u64>,
}

impl Posted {
    fn entry(&self) -> Entry {
        let &Self { context, flags, buffer, .. } = self;
        Entry { context, flags, buffer, source: fi::FI_ADDR_NOTAVAIL, ..Entry::default() }
    }
}

fn failure(entry: Entry, excess: usize, error: &OperationError) -> Failure {
    Failure { entry, excess, error: errors::number(error), text: error.to_string() }
}

/// Puts `bytes` where the caller wants them, piece by piece.
fn put(places: &[Region], mut bytes: &[u8]) {
    for place in places {
        let (now, later) = bytes.split_at(bytes.len().min(place.len()));
        place.write(0, now).expect("no more than the place holds");
        bytes = later;
    }
}

fn as_size(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
