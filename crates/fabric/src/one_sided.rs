//! One-sided operations of an RDM endpoint: memory that peers reach, and reaching theirs.

use bytes::Bytes;
use io::PacketIo;
use memory::{Access, Buffer, KeyTaken, Region, Regions};
use message::{
    AtomicRefused, AtomicRequest, Busy, OpId, OperationCounters, ReadRequest, Served, WriteRequest,
};
use wire::{PeerId, RKey, RemotePlace};

use crate::{
    Error,
    rdm::{RdmEndpoint, ReceiveRefused},
};

/// An empty registry of regions, for [`Options::regions`](crate::Options::regions) of several
/// endpoints. Keys that it draws are random.
///
/// # Errors
/// [`Error::NoRandomness`].
pub fn new_regions() -> Result<Regions, Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(Error::NoRandomness)?;
    Ok(Regions::new(secret))
}

impl<D: PacketIo> RdmEndpoint<D> {
    /// Lets peers that know the key do to `region` what `access` says. The key is random: who is
    /// not told it cannot guess it.
    ///
    /// ```
    /// use std::net::{Ipv4Addr, SocketAddr};
    /// use elastane_fabric::{Access, Event, Options, RdmEndpoint, Region, RemotePlace};
    ///
    /// let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    /// let mut alice = RdmEndpoint::open(&Options::listen(here))?;
    /// let mut bob = RdmEndpoint::open(&Options::listen(here))?;
    ///
    /// let region = Region::zeroed(64);
    /// let key = bob.register(region.clone(), Access::WRITE);
    /// let to = alice.peer(bob.address())?;
    /// alice.write(to, RemotePlace { key, offset: 8 }, "hello".into(), 1)?;
    /// let completion = loop {
    ///     bob.progress()?;
    ///     if let Some(completion) = alice.poll()? {
    ///         break completion;
    ///     }
    /// };
    /// assert!(matches!(completion.event, Event::Written) && completion.result.is_ok());
    /// assert_eq!(&region.to_vec()[8..13], b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register(&mut self, region: Region, access: Access) -> RKey {
        self.engine.layer.register(region, access)
    }

    /// The same under a key of the caller's choice, which peers may guess.
    ///
    /// # Errors
    /// [`KeyTaken`] if another region of this endpoint, or of one that shares its registry, has
    /// the key.
    pub fn register_as(
        &mut self,
        key: RKey,
        region: Region,
        access: Access,
    ) -> Result<(), KeyTaken> {
        self.engine.layer.register_as(key, region, access)
    }

    /// Takes a region back: when this returns no peer reaches it any more, through this endpoint
    /// or one that shares its registry, and what they had begun fails at their side. Returns
    /// whether there was such a region.
    pub fn revoke(&mut self, key: RKey) -> bool {
        self.engine.layer.revoke(key)
    }

    /// Writes into memory of `to`. It completes when all bytes are there (`FI_DELIVERY_COMPLETE`,
    /// and so `FI_TRANSMIT_COMPLETE`).
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn write(
        &mut self,
        to: PeerId,
        place: RemotePlace,
        data: Bytes,
        context: u64,
    ) -> Result<OpId, Busy> {
        let request = WriteRequest { data, place, context, complete: true, remote_data: None };
        self.post_write(to, request)
    }

    /// Writes a copy of `data`, which is free when this returns; success is not reported
    /// (`fi_inject_write`).
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn inject_write(
        &mut self,
        to: PeerId,
        place: RemotePlace,
        data: &[u8],
    ) -> Result<OpId, Busy> {
        let data = Bytes::copy_from_slice(data);
        self.post_write(to, WriteRequest { data, place, ..WriteRequest::default() })
    }

    /// Sends a copy of `data` as an untagged message; `data` is free when this returns, and
    /// success is not reported (`fi_inject`).
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn inject(&mut self, to: PeerId, data: &[u8]) -> Result<OpId, Busy> {
        let data = Bytes::copy_from_slice(data);
        self.post_send(to, message::SendRequest { data, ..message::SendRequest::default() })
    }

    /// Writes with everything that can be said of a write.
    ///
    /// # Errors
    /// [`Busy`] while too many operations wait for completion.
    pub fn post_write(&mut self, to: PeerId, request: WriteRequest) -> Result<OpId, Busy> {
        let op = self.engine.layer.post_write(to, request)?;
        self.engine.kick(to);
        Ok(op)
    }

    /// Reads memory of `from`, as many bytes as `buffer` holds. The buffer comes back with the
    /// completion.
    ///
    /// # Errors
    /// [`ReceiveRefused`], with the buffer, while too many operations wait for completion.
    pub fn read(
        &mut self,
        from: PeerId,
        place: RemotePlace,
        buffer: Buffer,
        context: u64,
    ) -> Result<OpId, ReceiveRefused> {
        let request = ReadRequest { buffer, place, context };
        let posted = self.engine.layer.post_read(from, request);
        let op = posted.map_err(|(busy, buffer)| ReceiveRefused { busy, buffer })?;
        self.engine.kick(from);
        Ok(op)
    }

    /// Executes an atomic operation on memory of `at`. Those of one endpoint to another run in
    /// the order they were posted, each exactly once, and atomic towards all other peers and
    /// [`Region::atomic`].
    ///
    /// # Errors
    /// [`AtomicRefused`] if the operation does not exist or is too long, and while too many
    /// operations wait for completion.
    pub fn atomic(&mut self, at: PeerId, request: AtomicRequest) -> Result<OpId, AtomicRefused> {
        let op = self.engine.layer.post_atomic(at, request)?;
        self.engine.kick(at);
        Ok(op)
    }

    /// What is posted to `to` from now on takes effect there only once everything posted to it
    /// before is complete (`FI_FENCE`). [`message::Config::order`] asks for such order between
    /// all operations of certain kinds.
    pub fn fence(&mut self, to: PeerId) {
        self.engine.layer.fence(to);
    }

    /// How many operations of each kind ended, and how (`fi_cntr`).
    pub fn operations(&self) -> OperationCounters {
        self.engine.layer.operations()
    }

    /// How many operations of peers on memory of this endpoint are over (`FI_RMA_EVENT`).
    /// [`Regions::watch`] counts those on one region.
    pub fn served(&self) -> Served {
        self.engine.layer.served()
    }
}
