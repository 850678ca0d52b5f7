//! Unreliable datagrams on the fabric: what is lost stays lost.

use std::{net::IpAddr, time::Duration};

use fabric::{Buffer, Completion, DatagramEndpoint, Event, Options, PeerId, SendError};

use super::{
    BenchError,
    lane::{End, Lane, Pattern, Progress, Share},
    setup::Local,
};
use crate::load::LoadError;

/// So many completions are taken before the lane is left for others: a fast sender must not keep
/// the receiver from everything else.
const MOST_AT_ONCE: usize = 64;

/// An endpoint and its peer.
pub(super) struct DatagramLane {
    endpoint: DatagramEndpoint,
    peer: Option<PeerId>,
    /// The longest message, in bytes; of each buffer, for those stay posted from row to row.
    longest: usize,
    pattern: Option<Pattern>,
    verify: bool,
    bytes: usize,
    /// Messages that were posted.
    posted: u64,
    /// Messages that the kernel took.
    sent: u64,
    /// The number of the next message of the other side, if none is lost.
    next: u64,
    receives: usize,
}

impl DatagramLane {
    /// Opens an endpoint that does not know its peer yet.
    pub(super) fn open(local: IpAddr, verify: bool) -> Result<Self, BenchError> {
        let options = Options { spin: Duration::ZERO, ..Options::listen((local, 0).into()) };
        let endpoint = DatagramEndpoint::open(&options).map_err(LoadError::fabric)?;
        Ok(Self {
            endpoint,
            peer: None,
            longest: 0,
            pattern: None,
            verify,
            bytes: 0,
            posted: 0,
            sent: 0,
            next: 0,
            receives: 0,
        })
    }

    pub(super) fn end(&self) -> End {
        let address = self.endpoint.address();
        End { address, number: address.port().into(), first_psn: 0, key: None }
    }

    /// Learns who the other side is. Returns the longest message there, in bytes.
    pub(super) fn meet(&mut self, remote: End) -> Result<u64, BenchError> {
        let peer = self.endpoint.peer(remote.address).map_err(LoadError::fabric)?;
        self.peer = Some(peer);
        self.longest = self.endpoint.max_message(peer);
        Ok(self.longest as u64)
    }

    /// Messages will be pieces of this.
    pub(super) fn send_of(&mut self, pattern: &Pattern) {
        self.pattern = Some(pattern.clone());
    }

    fn parts(&self) -> Result<(PeerId, &Pattern), BenchError> {
        let (Some(peer), Some(pattern)) = (self.peer, &self.pattern) else {
            return Err(LoadError::NoAddress.into());
        };
        Ok((peer, pattern))
    }

    /// Gives the kernel what it takes of what was posted.
    fn send(&mut self) -> Result<(), BenchError> {
        while self.sent < self.posted {
            let (peer, pattern) = self.parts()?;
            let message = pattern.message(self.sent, self.bytes);
            match self.endpoint.send(peer, message, 0) {
                Ok(_) => self.sent += 1,
                Err(SendError::Full) => break,
                Err(error) => return Err(LoadError::fabric(error).into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: Buffer) -> Result<(), BenchError> {
        self.endpoint.receive(buffer, 0).map_err(LoadError::fabric)?;
        Ok(())
    }

    fn take(&mut self, completion: Completion, so_far: &mut Progress) -> Result<(), BenchError> {
        let Event::Received { buffer, length, .. } = completion.event else {
            so_far.completed += 1;
            return Ok(completion.result.map_err(LoadError::fabric)?);
        };
        let found = usize::try_from(length).unwrap_or(0).min(buffer.len());
        // What comes from others, or late from the row before, is not of this row.
        let is_ours = completion.peer == self.peer && found == self.bytes;
        if is_ours && completion.result.is_ok() {
            so_far.arrived += 1;
            if self.verify {
                let number = self.parts()?.1.find(self.next, &buffer.as_slice()[..found])?;
                self.next = number + 1;
            }
        }
        self.receive(buffer)
    }
}

impl Lane for DatagramLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.bytes = share.bytes;
        (self.posted, self.sent, self.next) = (0, 0, 0);
        if share.arrivals == Some(0) {
            return Ok(());
        }
        let fitting = (Local::RECEIVE_BYTES / self.longest.max(1)).max(2);
        let depth = share.depth.min(fitting);
        for _ in self.receives..depth {
            self.receive(Buffer::zeroed(self.longest))?;
        }
        self.receives = self.receives.max(depth);
        Ok(())
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        self.posted += count;
        self.send()
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        self.send()?;
        let mut progress = Progress::default();
        for _ in 0..MOST_AT_ONCE {
            match self.endpoint.poll().map_err(LoadError::fabric)? {
                Some(completion) => self.take(completion, &mut progress)?,
                None => break,
            }
        }
        Ok(progress)
    }

    /// Looks, without a wait: the endpoint has no wait object.
    fn wait(&mut self, _at_most: Duration) -> Result<Progress, BenchError> {
        let progress = self.poll()?;
        if progress == Progress::default() {
            crate::cpu::Pause::Yield.pause();
        }
        Ok(progress)
    }

    fn end(&mut self, _peer_posted: u64) -> Result<(), BenchError> {
        Ok(())
    }
}
