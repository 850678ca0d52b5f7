//! Messages over TCP: one stream, or one for each direction where both sides send at once.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    time::Duration,
};

use bytes::Buf as _;
use fabric::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smallvec::SmallVec;

use super::{
    BenchError,
    lane::{End, Lane, Pattern, Progress, Share},
};
use crate::{baseline::is_timeout, load::LoadError};

/// What is read at once, as in the comparison.
const SINK_BYTES: usize = 256 << 10;
/// What the receiver of a known number of messages says when it has them all.
const RECEIPT: [u8; 1] = [0x06];
/// The kernel takes no more pieces in one call (`IOV_MAX`).
const MOST_TOGETHER: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// How a lane uses its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// One stream: messages go there, or there and back one at a time.
    One {
        /// The last message of a row is complete when the other side says that it has all. Else
        /// a message is complete when the kernel has taken it.
        receipt: bool,
    },
    /// One stream for each direction.
    Two {
        /// As above.
        receipt: bool,
    },
}

impl Use {
    pub(super) const fn streams(self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Two { .. } => 2,
        }
    }

    const fn receipt(self) -> bool {
        let (Self::One { receipt } | Self::Two { receipt }) = self;
        receipt
    }
}

/// Listens for the other side's streams.
pub(super) fn listen(local: IpAddr) -> Result<TcpListener, BenchError> {
    let listener = TcpListener::bind((local, 0)).map_err(LoadError::os("listen on a TCP port"))?;
    Ok(listener)
}

/// Connects so many streams.
pub(super) fn connect(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>, BenchError> {
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    let streams: io::Result<Vec<_>> = (0..count).map(|_| connect()).collect();
    Ok(streams.map_err(LoadError::os("connect over TCP"))?)
}

/// Accepts the streams that come from these addresses, in their order. Others are closed.
pub(super) fn accept(listener: &TcpListener, from: &[End]) -> Result<Vec<TcpStream>, BenchError> {
    let mut found: Vec<Option<TcpStream>> = from.iter().map(|_| None).collect();
    while found.iter().any(Option::is_none) {
        let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, timeout) {
            Ok(0) => return Err(LoadError::NothingArrived(PATIENCE).into()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(LoadError::os("wait for a TCP connection")(error).into()),
        }
        let (stream, peer) = listener.accept().map_err(LoadError::os("accept over TCP"))?;
        if let Some(at) = from.iter().position(|end| end.address == peer) {
            found[at] = Some(stream);
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Where a stream ends on this side.
pub(super) fn end_of(stream: &TcpStream) -> Result<End, BenchError> {
    let address = stream.local_addr().map_err(LoadError::os("read a TCP address"))?;
    Ok(End { address, number: address.port().into(), first_psn: 0, key: None })
}

/// The streams of an endpoint.
pub(super) struct TcpLane {
    outbound: TcpStream,
    inbound: Option<TcpStream>,
    uses: Use,
    pattern: Pattern,
    verify: bool,
    bytes: usize,
    sink: Vec<u8>,
    sent: u64,
    /// What the kernel has not taken of the messages that were posted.
    unsent: VecDeque<Bytes>,
    /// Messages that were posted together, and so are written together.
    together: usize,
    /// Messages that were posted and are not complete.
    open: u64,
    /// The last message of the row has not been acknowledged.
    receipt_due: bool,
    posts: Option<u64>,
    arrived_bytes: usize,
    arrived: u64,
    arrivals: Option<u64>,
}

impl TcpLane {
    /// `streams` in the order in which both sides have them; `is_client` tells the directions
    /// apart where there are two.
    pub(super) fn new(
        streams: Vec<TcpStream>,
        is_client: bool,
        uses: Use,
        pattern: Pattern,
        verify: bool,
    ) -> Result<Self, BenchError> {
        for stream in &streams {
            let set_up = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
            set_up.map_err(LoadError::os("set up a TCP stream"))?;
        }
        let mut streams = streams.into_iter();
        let (Some(first), second) = (streams.next(), streams.next()) else {
            return Err(LoadError::NoAddress.into());
        };
        let (outbound, inbound) = match second {
            Some(second) if is_client => (first, Some(second)),
            Some(second) => (second, Some(first)),
            None => (first, None),
        };
        Ok(Self {
            outbound,
            inbound,
            uses,
            pattern,
            verify,
            bytes: 0,
            sink: vec![0; SINK_BYTES],
            sent: 0,
            unsent: VecDeque::new(),
            together: 1,
            open: 0,
            receipt_due: false,
            posts: None,
            arrived_bytes: 0,
            arrived: 0,
            arrivals: None,
        })
    }

    /// Ends the streams.
    pub(super) fn close(self) {
        self.outbound.shutdown(Shutdown::Both).ok();
    }

    /// Gives the kernel what it takes.
    fn write(&mut self) -> Result<(), BenchError> {
        while !self.unsent.is_empty() {
            let pieces: SmallVec<[IoSlice<'_>; 1]> =
                self.unsent.iter().take(self.together).map(|piece| IoSlice::new(piece)).collect();
            let taken = (&self.outbound).write_vectored(&pieces);
            drop(pieces);
            match taken {
                Ok(bytes) => self.written(bytes),
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(LoadError::os("send over TCP")(error).into()),
            }
        }
        Ok(())
    }

    fn written(&mut self, mut bytes: usize) {
        while let Some(front) = self.unsent.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.unsent.pop_front();
        }
    }

    /// Messages that are complete because the kernel has taken them.
    fn take_written(&mut self) -> u64 {
        let unsent = self.unsent.len() as u64;
        let receipt = u64::from(self.receipt_due && unsent == 0 && self.open > 0);
        let completed = self.open - unsent.max(receipt);
        self.open -= completed;
        completed
    }

    /// Takes the receipt if it is there.
    fn take_receipt(&mut self) -> Result<u64, BenchError> {
        if !self.receipt_due || !self.unsent.is_empty() {
            return Ok(0);
        }
        let mut receipt = [0; 1];
        match (&self.outbound).read(&mut receipt) {
            Ok(0) => Err(gone()),
            Ok(_) => {
                self.receipt_due = false;
                Ok(std::mem::take(&mut self.open))
            }
            Err(error) if is_timeout(&error) => Ok(0),
            Err(error) => Err(LoadError::os("receive over TCP")(error).into()),
        }
    }

    fn read(&mut self) -> Result<u64, BenchError> {
        if self.arrivals == Some(0) || self.arrivals == Some(self.arrived) {
            return Ok(0);
        }
        let stream = self.inbound.as_ref().unwrap_or(&self.outbound);
        let bytes = match (&*stream).read(&mut self.sink) {
            Ok(0) => return Err(gone()),
            Ok(bytes) => bytes,
            Err(error) if is_timeout(&error) => return Ok(0),
            Err(error) => return Err(LoadError::os("receive over TCP")(error).into()),
        };
        let before = self.arrived;
        let mut at = 0;
        while at < bytes {
            let length = (self.bytes - self.arrived_bytes).min(bytes - at);
            if self.verify {
                let found = &self.sink[at..at + length];
                self.pattern.check(self.arrived, self.bytes, self.arrived_bytes, found)?;
            }
            at += length;
            self.arrived_bytes += length;
            if self.arrived_bytes == self.bytes {
                self.arrived_bytes = 0;
                self.arrived += 1;
            }
        }
        if self.arrivals == Some(self.arrived) && self.uses.receipt() {
            let sent = (&*stream).write_all(&RECEIPT);
            sent.map_err(LoadError::os("send over TCP"))?;
        }
        Ok(self.arrived - before)
    }
}

fn gone() -> BenchError {
    LoadError::os("receive over TCP")(io::Error::from(io::ErrorKind::ConnectionReset)).into()
}

impl Lane for TcpLane {
    fn begin(&mut self, share: Share) -> Result<(), BenchError> {
        self.bytes = share.bytes;
        (self.sent, self.arrived, self.arrived_bytes) = (0, 0, 0);
        self.arrivals = share.arrivals;
        self.posts = share.posts;
        Ok(())
    }

    fn post(&mut self, count: u64) -> Result<(), BenchError> {
        let had_room = self.unsent.is_empty();
        self.together = usize::try_from(count).unwrap_or(1).clamp(1, MOST_TOGETHER);
        for _ in 0..count {
            let message = self.pattern.message(self.sent, self.bytes);
            self.sent += 1;
            self.open += 1;
            self.unsent.push_back(message);
        }
        self.receipt_due = self.uses.receipt() && self.posts == Some(self.sent);
        if had_room { self.write() } else { Ok(()) }
    }

    fn poll(&mut self) -> Result<Progress, BenchError> {
        let completed = {
            self.write()?;
            self.take_written() + self.take_receipt()?
        };
        Ok(Progress { completed, arrived: self.read()? })
    }

    fn wait(&mut self, at_most: Duration) -> Result<Progress, BenchError> {
        let progress = self.poll()?;
        if progress != Progress::default() {
            return Ok(progress);
        }
        let mut outbound = PollFlags::POLLIN;
        if !self.unsent.is_empty() {
            outbound |= PollFlags::POLLOUT;
        }
        let inbound = self.inbound.as_ref().unwrap_or(&self.outbound);
        let mut waiting = [
            PollFd::new(self.outbound.as_fd(), outbound),
            PollFd::new(inbound.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => self.poll(),
            Err(error) => Err(LoadError::os("wait for a TCP stream")(error).into()),
        }
    }

    fn end(&mut self, _peer_posted: u64) -> Result<(), BenchError> {
        Ok(())
    }
}
