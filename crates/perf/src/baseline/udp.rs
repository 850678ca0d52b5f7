//! UDP with nothing above it: no acknowledgement, no retransmission, no order, no congestion
//! control. What arrives is what this machine can carry at most, whatever protocol runs on it.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use wire::Time;

use super::{is_closed, is_timeout};
use crate::{
    clock::Clock,
    cpu::Pause,
    load::{Half, Link, Load, LoadError, Offer, Outcome, Prepared, Shape, Test},
    meter::{Flow, Meter},
    stats::{Latencies, LatencySummary},
};

/// Raw UDP as a load.
#[derive(Clone, Copy, Debug)]
pub struct UdpRaw;

/// The largest UDP payload there is; a train of segments may not be longer either.
const MAX_PAYLOAD: usize = 65_507;

/// Segments in a train: what kernels since 6.9 take, and what older ones do.
const TRAIN_SEGMENTS: [usize; 2] = [128, 64];

/// Sent from, walking, so that the source does not stay in the first-level cache.
const SOURCE_BYTES: usize = 1 << 20;

/// Socket buffers asked for.
const BUFFER_BYTES: usize = 8 << 20;

/// A blocking receive returns this often to look at the clock.
const TICK: Duration = Duration::from_millis(10);

/// A reply that has not come by then is lost, and the next round begins.
const LOST_AFTER: Duration = Duration::from_millis(20);

impl Load for UdpRaw {
    fn can_run(&self, test: &Test, link: Link) -> bool {
        match test.shape {
            Shape::OneWay => true,
            // A message is one datagram, and fragments are no measure of anything.
            Shape::PingPong | Shape::Windows => {
                usize::try_from(test.bytes).is_ok_and(|bytes| bytes <= unfragmented(link))
            }
            Shape::BothWays => false,
        }
    }

    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError> {
        prepare(test, link, Role::Server)
    }

    fn answer(&self, test: &Test, link: Link, _offered: &Offer) -> Result<Prepared, LoadError> {
        prepare(test, link, Role::Client)
    }
}

fn prepare(test: &Test, link: Link, role: Role) -> Result<Prepared, LoadError> {
    let socket = UdpSocket::bind(SocketAddr::new(link.local, 0))
        .map_err(LoadError::os("bind a UDP socket"))?;
    size_buffers(&socket).map_err(LoadError::os("size UDP buffers"))?;
    let address = socket.local_addr().map_err(LoadError::os("read a UDP address"))?;
    let payload = payload(test).min(unfragmented(link));
    let half = UdpHalf { socket, test: test.clone(), role, payload };
    Ok(Prepared {
        offer: Offer { addresses: vec![address], token: Vec::new() },
        half: Box::new(half),
    })
}

/// The message as one datagram; a longer one is sent as several of the largest.
fn payload(test: &Test) -> usize {
    usize::try_from(test.bytes).unwrap_or(usize::MAX).clamp(1, MAX_PAYLOAD)
}

/// The largest payload that crosses the link in one piece.
fn unfragmented(link: Link) -> usize {
    let ip_and_udp = if link.local.is_ipv4() { 28 } else { 48 };
    link.mtu.saturating_sub(ip_and_udp).clamp(1, MAX_PAYLOAD)
}

/// As large as allowed: a privileged process may exceed the system's limit.
fn size_buffers(socket: &UdpSocket) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        SockRef::from(socket).set_recv_buffer_size(BUFFER_BYTES)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
        SockRef::from(socket).set_send_buffer_size(BUFFER_BYTES)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

struct UdpHalf {
    socket: UdpSocket,
    test: Test,
    role: Role,
    /// Bytes of a datagram.
    payload: usize,
}

impl Half for UdpHalf {
    fn run(&mut self, peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        let peer = *peer.addresses.first().ok_or(LoadError::NoAddress)?;
        // A connected socket takes no datagram of a stranger, and the route is looked up once.
        self.socket.connect(peer).map_err(LoadError::os("connect a UDP socket"))?;
        match (self.test.shape, self.role) {
            (Shape::OneWay, Role::Client) => self.blast(clock).map(|()| Outcome::default()),
            (Shape::OneWay, Role::Server) => self.swallow(clock).map(flow),
            (Shape::PingPong, Role::Client) => {
                self.ping(clock).map(|latency| Outcome { flow: None, latency })
            }
            (Shape::PingPong, Role::Server) => self.pong(clock).map(|()| Outcome::default()),
            (Shape::Windows, Role::Client) => self.send_windows(clock).map(|()| Outcome::default()),
            (Shape::Windows, Role::Server) => self.answer_windows(clock).map(flow),
            (shape @ Shape::BothWays, _) => Err(LoadError::Unsupported(shape)),
        }
    }
}

fn flow(flow: Flow) -> Outcome {
    Outcome { flow: Some(flow), latency: None }
}

impl UdpHalf {
    fn blast(&self, clock: &Clock) -> Result<(), LoadError> {
        let segment = self.payload;
        let source = vec![0x5a; SOURCE_BYTES];
        let mut train = self.longest_train(segment, &source)?;
        let over = clock.now() + self.test.sending();
        let mut at = 0;
        while clock.now() < over {
            if at + train > source.len() {
                at = 0;
            }
            match self.socket.send(&source[at..at + train]) {
                Ok(sent) => at += sent,
                Err(error) if is_timeout(&error) || is_closed(&error) => {}
                Err(error) if is_queue_full(&error) => {}
                // The route's device cannot segment although the socket option was taken.
                Err(error) if error.raw_os_error() == Some(EIO) && train > segment => {
                    train = segment;
                }
                Err(error) => return Err(LoadError::os("send UDP datagrams")(error)),
            }
        }
        self.say_done()
    }

    /// Turns segmentation on and returns how many bytes one call may send; without segmentation,
    /// one datagram.
    fn longest_train(&self, segment: usize, source: &[u8]) -> Result<usize, LoadError> {
        let option = i32::try_from(segment).expect("a UDP payload fits in 16 bits");
        if setsockopt(&self.socket, sockopt::UdpGsoSegment, &option).is_err() {
            return Ok(segment);
        }
        for segments in TRAIN_SEGMENTS {
            let train = segments.min(MAX_PAYLOAD / segment) * segment;
            match self.socket.send(&source[..train]) {
                Ok(_) => return Ok(train),
                Err(error) if is_closed(&error) || is_queue_full(&error) => return Ok(train),
                Err(_) => {}
            }
        }
        setsockopt(&self.socket, sockopt::UdpGsoSegment, &0)
            .map_err(LoadError::os("turn UDP segmentation off"))?;
        Ok(segment)
    }

    fn swallow(&self, clock: &Clock) -> Result<Flow, LoadError> {
        // Without it the kernel takes trains apart again, which still works.
        let merged = setsockopt(&self.socket, sockopt::UdpGroSegment, &true);
        self.socket.set_read_timeout(Some(TICK)).map_err(LoadError::os("set a timeout"))?;
        let mut sink = vec![0; if merged.is_ok() { 1 << 16 } else { MAX_PAYLOAD }];
        let mut meter = Meter::new(&self.test);
        let mut now = clock.now();
        let give_up = now + self.test.patience();
        while !meter.is_over(now) && now < give_up {
            let arrived = self.receive(&mut sink)?;
            now = clock.now();
            match arrived {
                Some(0) => break,
                Some(bytes) => meter.arrived(now, as_u64(bytes)),
                None => {}
            }
        }
        meter.finish(now)
    }

    fn ping(&self, clock: &Clock) -> Result<Option<LatencySummary>, LoadError> {
        self.poll()?;
        let mut message = vec![0x5a_u8; self.payload];
        let mut reply = vec![0; MAX_PAYLOAD];
        let mut latencies = Latencies::new();
        let started = clock.now();
        let over = started + self.test.warm_up + self.test.duration;
        let give_up = started + self.test.patience();
        let mut sent = started;
        // On a busy machine the warm-up may take all of the time: one sample there must be.
        while sent < over || (latencies.is_empty() && sent < give_up) {
            // Numbered, so that a reply given up as lost is not taken for the next one.
            message[0] = message[0].wrapping_add(1);
            self.send(&message)?;
            let mut back = self.await_reply(&mut reply, clock, sent + LOST_AFTER)?;
            while back && reply[0] != message[0] {
                back = self.await_reply(&mut reply, clock, sent + LOST_AFTER)?;
            }
            let now = clock.now();
            if back && sent.since(started) >= self.test.warm_up {
                latencies.round_trip(now.since(sent));
            }
            sent = now;
        }
        self.say_done()?;
        Ok(latencies.summary())
    }

    fn pong(&self, clock: &Clock) -> Result<(), LoadError> {
        self.poll()?;
        let pause = Pause::for_this_machine();
        let mut message = vec![0; MAX_PAYLOAD];
        let give_up = clock.now() + self.test.patience();
        while clock.now() < give_up {
            match self.receive(&mut message)? {
                Some(0) => return Ok(()),
                Some(bytes) => self.send(&message[..bytes])?,
                None => pause.pause(),
            }
        }
        Ok(())
    }

    fn send_windows(&self, clock: &Clock) -> Result<(), LoadError> {
        self.poll()?;
        let message = vec![0x5a; self.payload];
        let over = clock.now() + self.test.sending();
        let mut now = clock.now();
        while now < over {
            for _ in 0..self.test.window {
                self.send(&message)?;
            }
            self.await_reply(&mut [0], clock, clock.now() + LOST_AFTER)?;
            now = clock.now();
        }
        self.say_done()
    }

    fn answer_windows(&self, clock: &Clock) -> Result<Flow, LoadError> {
        self.poll()?;
        let pause = Pause::for_this_machine();
        let mut sink = vec![0; MAX_PAYLOAD];
        let mut meter = Meter::new(&self.test);
        let mut in_window = 0;
        let mut now = clock.now();
        let give_up = now + self.test.patience();
        while now < give_up {
            let arrived = self.receive(&mut sink)?;
            now = clock.now();
            match arrived {
                Some(0) => break,
                Some(bytes) => {
                    meter.arrived(now, as_u64(bytes));
                    in_window += 1;
                    if in_window == self.test.window {
                        in_window = 0;
                        self.send(&[1])?;
                    }
                }
                None => pause.pause(),
            }
        }
        meter.finish(now)
    }

    fn poll(&self) -> Result<(), LoadError> {
        self.socket.set_nonblocking(true).map_err(LoadError::os("poll a UDP socket"))
    }

    /// One datagram, or one train; `None` if there is none.
    fn receive(&self, into: &mut [u8]) -> Result<Option<usize>, LoadError> {
        match self.socket.recv(into) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_timeout(&error) || is_closed(&error) => Ok(None),
            Err(error) => Err(LoadError::os("receive UDP datagrams")(error)),
        }
    }

    /// Hands one datagram to the kernel; a full queue loses it, as the wire might.
    fn send(&self, message: &[u8]) -> Result<(), LoadError> {
        match self.socket.send(message) {
            Ok(_) => Ok(()),
            Err(error) if is_timeout(&error) || is_closed(&error) || is_queue_full(&error) => {
                Ok(())
            }
            Err(error) => Err(LoadError::os("send UDP datagrams")(error)),
        }
    }

    /// Polls for a reply until then; false if it was lost.
    fn await_reply(&self, into: &mut [u8], clock: &Clock, lost: Time) -> Result<bool, LoadError> {
        let pause = Pause::for_this_machine();
        loop {
            if self.receive(into)?.is_some() {
                return Ok(true);
            }
            if clock.now() >= lost {
                return Ok(false);
            }
            pause.pause();
        }
    }

    /// An empty datagram says that nothing follows; several, since any may be lost.
    fn say_done(&self) -> Result<(), LoadError> {
        for _ in 0..3 {
            self.send(&[])?;
        }
        Ok(())
    }
}

const EIO: i32 = nix::errno::Errno::EIO as i32;

fn is_queue_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a usize fits in 64 bits")
}
