//! The kernel's TCP, given every chance: any congestion control, kernel-tuned or fixed buffers,
//! blocking or busy-polling, one stream or several, `TCP_NODELAY` always on.

mod workload;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use wire::Time;

use crate::{
    clock::Clock,
    load::{Half, Link, Load, LoadError, Offer, Outcome, Prepared, Shape, Test},
    meter::Flow,
};

/// How a side waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// In the kernel, until woken.
    Block,
    /// By asking again and again.
    Poll,
}

/// What can be set for better or worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpTuning {
    /// The congestion control; `None` for the system's default.
    pub congestion: Option<String>,
    /// Bytes of send and receive buffer; `None` leaves them to the kernel's autotuning.
    pub buffer: Option<usize>,
    /// How a side waits in ping-pong and windowed tests.
    pub wait: Wait,
    /// Streams side by side.
    pub streams: usize,
}

impl TcpTuning {
    /// What a program gets that sets nothing but `TCP_NODELAY`.
    pub const fn system_default() -> Self {
        Self { congestion: None, buffer: None, wait: Wait::Block, streams: 1 }
    }

    /// The same with cubic.
    pub fn cubic() -> Self {
        Self { congestion: Some("cubic".to_owned()), ..Self::system_default() }
    }
}

impl std::fmt::Display for TcpTuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { congestion, buffer, wait, streams } = self;
        write!(f, "{}", congestion.as_deref().unwrap_or("the default congestion control"))?;
        match buffer {
            Some(bytes) => write!(f, ", {} MiB buffers", bytes >> 20)?,
            None => write!(f, ", autotuned buffers")?,
        }
        match wait {
            Wait::Block => write!(f, ", blocking")?,
            Wait::Poll => write!(f, ", busy-polling")?,
        }
        if *streams > 1 { write!(f, ", {streams} streams") } else { Ok(()) }
    }
}

/// TCP as a load.
#[derive(Clone, Debug)]
pub struct Tcp {
    tuning: TcpTuning,
}

impl Tcp {
    /// TCP set up like this.
    pub const fn new(tuning: TcpTuning) -> Self {
        Self { tuning }
    }

    /// The server's half, which may move to another thread.
    pub fn listen(&self, test: &Test, link: Link) -> Result<(Offer, TcpHalf), LoadError> {
        let socket = self.socket(SocketAddr::new(link.local, 0))?;
        let backlog = i32::try_from(self.tuning.streams).unwrap_or(i32::MAX);
        socket.listen(backlog).map_err(LoadError::os("listen on a TCP port"))?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().map_err(LoadError::os("read a TCP address"))?;
        let offer = Offer { addresses: vec![address], token: Vec::new() };
        Ok((offer, self.half(test, Ends::Listening(listener))))
    }

    /// The client's half, which may move to another thread.
    pub fn connect(
        &self,
        test: &Test,
        link: Link,
        offered: &Offer,
    ) -> Result<(Offer, TcpHalf), LoadError> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let server = *offered.addresses.first().ok_or(LoadError::NoAddress)?;
        let mut streams = Vec::new();
        let mut offer = Offer::default();
        for _ in 0..self.tuning.streams {
            let socket = self.socket(SocketAddr::new(link.local, 0))?;
            socket
                .connect_timeout(&server.into(), PATIENCE)
                .map_err(LoadError::os("connect over TCP"))?;
            let stream = TcpStream::from(socket);
            offer.addresses.push(stream.local_addr().map_err(LoadError::os("read an address"))?);
            streams.push(stream);
        }
        Ok((offer, self.half(test, Ends::Connected(streams))))
    }

    fn socket(&self, bind_to: SocketAddr) -> Result<Socket, LoadError> {
        let socket = Socket::new(Domain::for_address(bind_to), Type::STREAM, Some(Protocol::TCP))
            .map_err(LoadError::os("open a TCP socket"))?;
        if let Some(name) = &self.tuning.congestion {
            socket
                .set_tcp_congestion(name.as_bytes())
                .map_err(|error| LoadError::Congestion { name: name.clone(), error })?;
        }
        if let Some(bytes) = self.tuning.buffer {
            let sized = socket
                .set_recv_buffer_size(bytes)
                .and_then(|()| socket.set_send_buffer_size(bytes));
            sized.map_err(LoadError::os("size TCP buffers"))?;
        }
        socket.bind(&bind_to.into()).map_err(LoadError::os("bind a TCP socket"))?;
        Ok(socket)
    }

    fn half(&self, test: &Test, ends: Ends) -> TcpHalf {
        TcpHalf { test: test.clone(), wait: self.tuning.wait, streams: self.tuning.streams, ends }
    }
}

impl Load for Tcp {
    fn can_run(&self, test: &Test, _link: Link) -> bool {
        match test.shape {
            Shape::OneWay | Shape::BothWays => true,
            Shape::PingPong | Shape::Windows => self.tuning.streams == 1,
        }
    }

    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError> {
        let (offer, half) = self.listen(test, link)?;
        Ok(Prepared { offer, half: Box::new(half) })
    }

    fn answer(&self, test: &Test, link: Link, offered: &Offer) -> Result<Prepared, LoadError> {
        let (offer, half) = self.connect(test, link, offered)?;
        Ok(Prepared { offer, half: Box::new(half) })
    }
}

/// One side of a TCP test.
#[derive(Debug)]
pub struct TcpHalf {
    test: Test,
    wait: Wait,
    streams: usize,
    ends: Ends,
}

#[derive(Debug)]
enum Ends {
    Listening(TcpListener),
    Connected(Vec<TcpStream>),
}

impl Half for TcpHalf {
    fn run(&mut self, peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        match &self.ends {
            Ends::Listening(listener) => {
                let give_up = clock.now() + Duration::from_secs(5);
                let streams = (0..self.streams)
                    .map(|_| accept(listener, peer, clock, give_up))
                    .collect::<Result<Vec<_>, _>>()?;
                self.serve(&streams, clock)
            }
            Ends::Connected(streams) => self.drive(streams, clock),
        }
    }
}

impl TcpHalf {
    fn serve(&self, streams: &[TcpStream], clock: &Clock) -> Result<Outcome, LoadError> {
        for stream in streams {
            workload::prepare(stream, &self.test, self.wait)?;
        }
        match self.test.shape {
            Shape::OneWay => {
                let flow =
                    side_by_side(streams, |stream| workload::receive(stream, &self.test, clock))?;
                Ok(Outcome { flow, latency: None })
            }
            Shape::BothWays => self.both_ways(streams, clock),
            Shape::PingPong => {
                workload::pong(&streams[0], &self.test, clock)?;
                Ok(Outcome::default())
            }
            Shape::Windows => {
                let flow = workload::answer_windows(&streams[0], &self.test, clock)?;
                Ok(Outcome { flow: Some(flow), latency: None })
            }
        }
    }

    fn drive(&self, streams: &[TcpStream], clock: &Clock) -> Result<Outcome, LoadError> {
        for stream in streams {
            workload::prepare(stream, &self.test, self.wait)?;
        }
        match self.test.shape {
            Shape::OneWay => {
                side_by_side(streams, |stream| {
                    workload::send(stream, &self.test, clock).map(|()| None)
                })?;
                Ok(Outcome::default())
            }
            Shape::BothWays => self.both_ways(streams, clock),
            Shape::PingPong => {
                let latency = workload::ping(&streams[0], &self.test, clock)?;
                Ok(Outcome { flow: None, latency })
            }
            Shape::Windows => {
                workload::send_windows(&streams[0], &self.test, clock)?;
                Ok(Outcome::default())
            }
        }
    }

    fn both_ways(&self, streams: &[TcpStream], clock: &Clock) -> Result<Outcome, LoadError> {
        let flow = side_by_side(streams, |stream| {
            thread::scope(|scope| {
                let sender = scope.spawn(|| workload::send(stream, &self.test, clock));
                let flow = workload::receive(stream, &self.test, clock);
                sender.join().expect("the sending thread does not panic")?;
                flow
            })
        })?;
        Ok(Outcome { flow, latency: None })
    }
}

/// Runs `work` for every stream, each in its own thread if there are several.
fn side_by_side<W>(streams: &[TcpStream], work: W) -> Result<Option<Flow>, LoadError>
where
    W: Fn(&TcpStream) -> Result<Option<Flow>, LoadError> + Sync,
{
    if let [only] = streams {
        return work(only);
    }
    let flows = thread::scope(|scope| {
        let threads: Vec<_> = streams.iter().map(|stream| scope.spawn(|| work(stream))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a stream's thread does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Flow::together(&flows.into_iter().flatten().collect::<Vec<_>>()))
}

/// Accepts one of the peer's connections; those of strangers are closed.
fn accept(
    listener: &TcpListener,
    peer: &Offer,
    clock: &Clock,
    give_up: Time,
) -> Result<TcpStream, LoadError> {
    loop {
        let left = give_up.since(clock.now());
        if left.is_zero() {
            return Err(LoadError::NothingArrived(Duration::from_secs(5)));
        }
        let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, timeout) {
            Ok(0) | Err(nix::Error::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(LoadError::os("wait for a TCP connection")(error)),
        }
        let (stream, from) = listener.accept().map_err(LoadError::os("accept a TCP connection"))?;
        if peer.addresses.contains(&from) {
            return Ok(stream);
        }
    }
}
