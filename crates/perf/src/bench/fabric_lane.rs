//! Sends on the fabric: one reliable-datagram-message endpoint.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use fabric::{
    Buffer, Completion, Event, OpId, OperationError, Options, PeerId, RdmEndpoint, Region,
    SendRequest, TagMatch,
};

use super::{
    BenchError,
    lane::{End, Lane, Pattern, Progress, Reaping, Share},
    remote_lane::{Operation, RemoteLane, region_bytes},
    setup::{Local, Setup, Verb},
};
use crate::load::LoadError;

/// How long a closing endpoint waits for its last acknowledgements.
const LINGER: Duration = Duration::from_millis(200);

/// Closes an endpoint.
pub(super) fn close(endpoint: RdmEndpoint) {
    endpoint.close(LINGER).ok();
}

/// An endpoint that is open and does not know its peer yet.
pub(super) struct Unpaired {
    endpoint: RdmEndpoint,
    /// What the other side works on, with its key.
    memory: Option<(Region, u64)>,
}

impl Unpaired {
    /// Opens one; with memory for the other side if `setup`'s operation needs any.
    pub(super) fn open(local: IpAddr, setup: &Setup) -> Result<Self, BenchError> {
        // The loops that measure spin themselves, over all lanes.
        let spin = Duration::ZERO;
        let options = Options { spin, ..Options::listen((local, 0).into()) };
        let mut endpoint = RdmEndpoint::open(&options).map_err(LoadError::fabric)?;
        let memory = (setup.verb != Verb::Send).then(|| {
            let region = Region::zeroed(region_bytes(&setup.sizes));
            let key = RemoteLane::register(&mut endpoint, &region);
            (region, key)
        });
        Ok(Self { endpoint, memory })
    }

    pub(super) fn end(&self) -> End {
        let address = self.endpoint.address();
        let lot = self.endpoint.transport().connid_towards(address).raw();
        End {
            address,
            number: address.port().into(),
            first_psn: lot & 0x00ff_ffff,
            key: self.memory.as_ref().map(|memory| memory.1),
        }
    }

    /// A lane of one-sided operations.
    pub(super) fn pair_memory(
        mut self,
        remote: End,
        pattern: Pattern,
        operation: Operation,
    ) -> Result<RemoteLane, BenchError> {
        let peer = self.endpoint.peer(remote.address).map_err(LoadError::fabric)?;
        let (Some((region, _)), Some(key)) = (self.memory, remote.key) else {
            return Err(LoadError::NoAddress.into());
        };
        Ok(RemoteLane::new(self.endpoint, peer, operation, pattern, region, key))
    }

    /// A lane of sends.
    pub(super) fn pair(
        mut self,
        remote: End,
        pattern: Pattern,
        setup: &Setup,
    ) -> Result<SendLane, BenchError> {
        let peer = self.endpoint.peer(remote.address).map_err(LoadError::fabric)?;
        Ok(SendLane {
            endpoint: self.endpoint,
            peer,
            pattern,
            verify: setup.verify,
            remote_data: setup.remote_data,
            bytes: 0,
            sent: 0,
            receives: 0,
            receives_left: None,
            posted: VecDeque::new(),
            spare: Vec::new(),
        })
    }
}

/// An endpoint and its peer.
pub(super) struct SendLane {
    endpoint: RdmEndpoint,
    peer: PeerId,
    pattern: Pattern,
    verify: bool,
    /// Each message carries its number beside its bytes.
    remote_data: bool,
    bytes: usize,
    sent: u64,
    /// Receives that were posted. They are matched in this order, which is that of the messages;
    /// they complete in any.
    receives: u64,
    /// Receives that are still to be posted; `None` for as many as it takes.
    receives_left: Option<u64>,
    posted: VecDeque<OpId>,
    spare: Vec<Buffer>,
}

impl SendLane {
    /// Closes the endpoint. What the other side has not heard of it no longer waits for.
    pub(super) fn close(self) {
        close(self.endpoint);
    }

    fn receive(&mut self, buffer: Buffer) -> Result<(), BenchError> {
        match &mut self.receives_left {
            Some(0) => {
                self.spare.push(buffer);
                return Ok(());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let number = self.receives;
        self.receives += 1;
        let op = self.endpoint.receive(buffer, Some(self.peer), TagMatch::Untagged, number);
        self.posted.push_back(op.map_err(LoadError::fabric)?);
        Ok(())
    }
}

impl Reaping for SendLane {
    fn endpoint(&mut self) -> &mut RdmEndpoint {
        &mut self.endpoint
    }

    fn take(&mut self, completion: Completion, so_far: &mut Progress) -> Result<(), BenchError> {
        completion.result.map_err(LoadError::fabric)?;
        match completion.event {
            Event::Sent => so_far.completed += 1,
            // The lane posts no one-sided operation, no multi-receive, and registers no memory.
            Event::Written
            | Event::Released { .. }
            | Event::Read { .. }
            | Event::Atomic { .. }
            | Event::RemoteWrite { .. } => {}
            Event::Received { buffer, length, remote_data, .. } => {
                so_far.arrived += 1;
                let number = completion.context;
                if let Some(at) = self.posted.iter().position(|op| *op == completion.op) {
                    self.posted.remove(at);
                }
                if self.verify {
                    let found = usize::try_from(length).unwrap_or(0).min(buffer.len());
                    let found = &buffer.as_slice()[..found];
                    self.pattern.check(number, self.bytes, 0, found)?;
                    if self.remote_data && remote_data != Some(number) {
                        let (message, bytes) = (number, self.bytes);
                        return Err(BenchError::Corrupt { message, bytes, at: bytes });
                    }
                }
                self.receive(buffer)?;
            }
        }
        Ok(())
    }
}

impl Lane for SendLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.bytes = share.bytes;
        (self.sent, self.receives) = (0, 0);
        self.receives_left = share.arrivals;
        self.spare.clear();
        if share.arrivals == Some(0) {
            return Ok(());
        }
        let fitting = (Local::RECEIVE_BYTES / share.bytes.max(1)).max(2);
        for _ in 0..share.depth.min(fitting) {
            self.receive(Buffer::zeroed(share.bytes))?;
        }
        Ok(())
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        for _ in 0..count {
            let message = self.pattern.message(self.sent, self.bytes);
            let remote_data = self.remote_data.then_some(self.sent);
            let request =
                SendRequest { data: message, remote_data, complete: true, ..Default::default() };
            self.endpoint.post_send(self.peer, request).map_err(LoadError::fabric)?;
            self.sent += 1;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        self.poll_all()
    }

    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        self.wait_all(at_most)
    }

    fn end(&mut self, _peer_posted: u64) -> Result<(), BenchError> {
        while let Some(op) = self.posted.pop_front() {
            self.endpoint.cancel(op);
        }
        // What was cancelled completes at once.
        while let Some(completion) = self.endpoint.take_completion() {
            match completion.result {
                Ok(()) | Err(OperationError::Canceled) => {}
                Err(error) => return Err(LoadError::fabric(error).into()),
            }
        }
        Ok(())
    }
}
