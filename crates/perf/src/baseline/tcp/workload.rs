//! What the two ends of a TCP stream do in each test.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;
use wire::Time;

use super::{
    super::{is_closed, is_timeout},
    Wait,
};
use crate::{
    clock::Clock,
    cpu::Pause,
    load::{LoadError, Shape, Test},
    meter::{Flow, Meter},
    stats::{Latencies, LatencySummary},
};

/// A blocking call returns this often to look at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Messages are sent from a buffer of at least this size, one after the other, so that no
/// transport profits from a small buffer that never leaves the cache.
const SOURCE_BYTES: usize = 1 << 20;

/// What is read at once: the size at which reading TCP costs least.
const SINK_BYTES: usize = 256 << 10;

/// A receiver begins, and so ends, at most this much later than its sender: on a busy machine, or
/// where the first bytes are lost, which TCP sends again after 200 ms, then 400 ms, 800 ms.
const LATE_RECEIVER: Duration = Duration::from_secs(3);

/// Sets a connected stream up for a test.
pub(super) fn prepare(stream: &TcpStream, test: &Test, wait: Wait) -> Result<(), LoadError> {
    let polled = wait == Wait::Poll && matches!(test.shape, Shape::PingPong | Shape::Windows);
    let set_up = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        stream.set_nonblocking(polled)
    };
    set_up().map_err(LoadError::os("set up a TCP stream"))
}

/// Sends messages, each with one write, until the receiver has measured enough and leaves. One
/// that receives on the same stream cannot leave: then the clock ends it.
pub(super) fn send(stream: &TcpStream, test: &Test, clock: &Clock) -> Result<(), LoadError> {
    let message = message_bytes(test);
    let source = vec![0x5a; SOURCE_BYTES.max(message)];
    let started = clock.now();
    let over = match test.shape {
        Shape::OneWay => started + test.sending() + LATE_RECEIVER,
        Shape::BothWays | Shape::PingPong | Shape::Windows => started + test.sending(),
    };
    let mut at = 0;
    'messages: while clock.now() < over {
        if at + message > source.len() {
            at = 0;
        }
        let mut rest = &source[at..at + message];
        at += message;
        while !rest.is_empty() {
            match (&*stream).write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if is_timeout(&error) => {}
                Err(error) if is_closed(&error) && measured(test, started, clock) => {
                    return Ok(());
                }
                Err(error) => return Err(LoadError::os("send over TCP")(error)),
            }
            if rest.len() < message && clock.now() >= over {
                break 'messages;
            }
        }
    }
    finish_sending(stream)
}

/// Takes what arrives until the measurement is over.
pub(super) fn receive(
    stream: &TcpStream,
    test: &Test,
    clock: &Clock,
) -> Result<Option<Flow>, LoadError> {
    let mut sink = vec![0; SINK_BYTES];
    let mut meter = Meter::new(test);
    let give_up = clock.now() + test.patience();
    let mut now = clock.now();
    while !meter.is_over(now) && now < give_up {
        let arrived = (&*stream).read(&mut sink);
        now = clock.now();
        match arrived {
            Ok(0) => break,
            Ok(bytes) => meter.arrived(now, as_u64(bytes)),
            Err(error) if is_timeout(&error) => {}
            Err(error) if is_closed(&error) => break,
            Err(error) => return Err(LoadError::os("receive over TCP")(error)),
        }
    }
    let flow = meter.finish(now)?;
    if test.shape == Shape::BothWays {
        drain(stream, &mut sink, test, clock)?;
    }
    Ok(Some(flow))
}

/// Sends a message and waits for it to come back, until the time is over.
pub(super) fn ping(
    stream: &TcpStream,
    test: &Test,
    clock: &Clock,
) -> Result<Option<LatencySummary>, LoadError> {
    let mut message = vec![0x5a; message_bytes(test)];
    let mut latencies = Latencies::new();
    let started = clock.now();
    let over = started + test.warm_up + test.duration;
    let give_up = started + test.patience();
    let mut sent = started;
    // On a busy machine the warm-up may take all of the time: one sample there must be.
    while sent < over || latencies.is_empty() {
        write_all(stream, &message, clock, give_up)?;
        if !read_all(stream, &mut message, clock, give_up)? {
            return Err(early(test, started, sent));
        }
        let back = clock.now();
        if sent.since(started) >= test.warm_up {
            latencies.round_trip(back.since(sent));
        }
        sent = back;
    }
    finish_sending(stream)?;
    Ok(latencies.summary())
}

/// Sends every message back until the other side is done.
pub(super) fn pong(stream: &TcpStream, test: &Test, clock: &Clock) -> Result<(), LoadError> {
    let mut message = vec![0; message_bytes(test)];
    let give_up = clock.now() + test.patience();
    while read_all(stream, &mut message, clock, give_up)? {
        write_all(stream, &message, clock, give_up)?;
    }
    Ok(())
}

/// Sends windows of messages, each message with one write, and waits for a reply after each window.
pub(super) fn send_windows(
    stream: &TcpStream,
    test: &Test,
    clock: &Clock,
) -> Result<(), LoadError> {
    let size = message_bytes(test);
    let source = vec![0x5a; SOURCE_BYTES.max(size)];
    let started = clock.now();
    let over = started + test.sending();
    let give_up = started + test.patience();
    let mut now = started;
    let mut at = 0;
    while now < over {
        for _ in 0..test.window {
            if at + size > source.len() {
                at = 0;
            }
            write_all(stream, &source[at..at + size], clock, give_up)?;
            at += size;
        }
        if !read_all(stream, &mut [0], clock, give_up)? {
            return Err(early(test, started, now));
        }
        now = clock.now();
    }
    finish_sending(stream)
}

/// Takes what arrives and replies after every window, until the other side is done.
pub(super) fn answer_windows(
    stream: &TcpStream,
    test: &Test,
    clock: &Clock,
) -> Result<Flow, LoadError> {
    let mut sink = vec![0; SINK_BYTES];
    let mut meter = Meter::new(test);
    let window = test.bytes * u64::from(test.window);
    let give_up = clock.now() + test.patience();
    let pause = Pause::for_this_machine();
    let mut in_window = 0;
    let mut now = clock.now();
    while now < give_up {
        let arrived = (&*stream).read(&mut sink);
        now = clock.now();
        match arrived {
            Ok(0) => break,
            Ok(bytes) => {
                meter.arrived(now, as_u64(bytes));
                in_window += as_u64(bytes);
                if in_window >= window {
                    in_window -= window;
                    write_all(stream, &[1], clock, give_up)?;
                }
            }
            Err(error) if is_timeout(&error) => pause.pause(),
            Err(error) if is_closed(&error) => break,
            Err(error) => return Err(LoadError::os("receive over TCP")(error)),
        }
    }
    meter.finish(now)
}

/// Writes all of `bytes`, blocking or polling as the stream is set up.
fn write_all(
    stream: &TcpStream,
    mut bytes: &[u8],
    clock: &Clock,
    give_up: Time,
) -> Result<(), LoadError> {
    while !bytes.is_empty() {
        match (&*stream).write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if is_timeout(&error) => check_patience(clock, give_up)?,
            Err(error) => return Err(LoadError::os("send over TCP")(error)),
        }
    }
    Ok(())
}

/// Fills all of `bytes`, blocking or polling as the stream is set up. False if the other side is
/// done.
fn read_all(
    stream: &TcpStream,
    mut bytes: &mut [u8],
    clock: &Clock,
    give_up: Time,
) -> Result<bool, LoadError> {
    let pause = Pause::for_this_machine();
    while !bytes.is_empty() {
        match (&*stream).read(bytes) {
            Ok(0) => return Ok(false),
            Ok(arrived) => bytes = &mut bytes[arrived..],
            Err(error) if is_timeout(&error) => {
                check_patience(clock, give_up)?;
                pause.pause();
            }
            Err(error) if is_closed(&error) => return Ok(false),
            Err(error) => return Err(LoadError::os("receive over TCP")(error)),
        }
    }
    Ok(true)
}

fn check_patience(clock: &Clock, give_up: Time) -> Result<(), LoadError> {
    if clock.now() < give_up {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::TimedOut, "the other side stopped");
    Err(LoadError::Os { doing: "go on over TCP", error })
}

/// Takes what the sender still sends, so that it ends by its own clock and is not cut off. A
/// sender that was stalled by the network may never get there: it is given its tail, no more.
fn drain(stream: &TcpStream, sink: &mut [u8], test: &Test, clock: &Clock) -> Result<(), LoadError> {
    let over = clock.now() + 2 * test.tail();
    while clock.now() < over {
        match (&*stream).read(sink) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) if is_closed(&error) => return Ok(()),
            Err(error) => return Err(LoadError::os("receive over TCP")(error)),
        }
    }
    Ok(())
}

fn finish_sending(stream: &TcpStream) -> Result<(), LoadError> {
    // What a stalled network still holds is of no use: the next test must find an idle wire.
    let linger = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    linger.map_err(LoadError::os("end a TCP stream"))?;
    match stream.shutdown(Shutdown::Write) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        Err(error) => Err(LoadError::os("end a TCP stream")(error)),
    }
}

fn measured(test: &Test, started: Time, clock: &Clock) -> bool {
    clock.now().since(started) >= test.warm_up + test.duration
}

fn early(test: &Test, started: Time, at: Time) -> LoadError {
    LoadError::EndedEarly { measured: at.since(started), wanted: test.duration }
}

fn message_bytes(test: &Test) -> usize {
    usize::try_from(test.bytes).unwrap_or(usize::MAX).max(1)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a usize fits in 64 bits")
}
