//! What is measured, as `pairs.h` has it for the peers.

use std::time::Duration;

use elastane_fabric::{
    Buffer, Bytes, Completion, Event, Options, PeerId, PeerRoute, RdmEndpoint, SendRequest, Tag,
    TagMatch,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::Failure;

const SMALL: usize = 8;
const TRIPS: u32 = 20_000;
const WARM_UP: u32 = 1_000;
/// A row of messages of one size: how many are on their way at a time, and how often that many.
struct Stream {
    bytes: usize,
    window: usize,
    windows: u32,
}

const RATE: Stream = Stream { bytes: SMALL, window: 64, windows: 4_000 };
const MIDDLE: Stream = Stream { bytes: 64 << 10, window: 64, windows: 200 };
const LARGE: Stream = Stream { bytes: 4 << 20, window: 8, windows: 40 };

const PING: Tag = Tag(1);
const FLOW: Tag = Tag(2);
const ANSWER: Tag = Tag(3);

/// How long a side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one run of a pair of processes came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Seconds from one process to the other, 8 bytes.
    pub(crate) latency: f64,
    /// Messages of 8 bytes per second.
    pub(crate) rate: f64,
    /// Bytes per second in messages of 64 KiB.
    pub(crate) bandwidth_64k: f64,
    /// Bytes per second in messages of 4 MiB.
    pub(crate) bandwidth_4m: f64,
}

/// Binds this process to the first processor it may use, or to the last.
pub(crate) fn pin(second: bool) -> Result<(), Failure> {
    let this = Pid::from_raw(0);
    let usable = sched_getaffinity(this)?;
    let mut usable = (0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false));
    let cpu = if second { usable.next_back() } else { usable.next() };
    let mut chosen = CpuSet::new();
    chosen.set(cpu.ok_or("no processor to run on")?)?;
    Ok(sched_setaffinity(this, &chosen)?)
}

/// One of the two processes.
pub(crate) struct Side {
    endpoint: RdmEndpoint,
    other: PeerId,
    second: bool,
}

impl Side {
    /// The first process: starts the second by `start`, given this one's address.
    pub(crate) fn first(
        start: impl FnOnce(String) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut endpoint = RdmEndpoint::open(&Options::listen("127.0.0.1:0".parse()?))?;
        start(endpoint.address().to_string())?;
        // Not before: the second process would begin with this one's single processor.
        pin(false)?;
        endpoint.receive(Buffer::zeroed(SMALL), None, tagged(ANSWER), 0)?;
        let hello = wait(&mut endpoint)?;
        let other = hello.peer.ok_or("a message from nobody")?;
        Ok(Self { endpoint, other, second: false })
    }

    /// The second, which looks for the first at `address`.
    pub(crate) fn second(address: &str) -> Result<Self, Failure> {
        pin(true)?;
        let mut endpoint = RdmEndpoint::open(&Options::listen("127.0.0.1:0".parse()?))?;
        let other = endpoint.peer(address.parse()?)?;
        endpoint.send_tagged(other, ANSWER, Bytes::from_static(&[0; SMALL]), 0)?;
        wait(&mut endpoint)?;
        Ok(Self { endpoint, other, second: true })
    }

    /// Everything that is measured.
    pub(crate) fn run(mut self) -> Result<Figures, Failure> {
        let latency = self.latency()?;
        let way = self.endpoint.route(self.other);
        if !matches!(way, PeerRoute::SharedMemory) {
            return Err(format!("not through shared memory: {way:?}").into());
        }
        let rate = self.stream(&RATE)?;
        let bandwidth_64k = self.stream(&MIDDLE)? * f64::from(u32::try_from(MIDDLE.bytes)?);
        let bandwidth_4m = self.stream(&LARGE)? * f64::from(u32::try_from(LARGE.bytes)?);
        self.endpoint.close(PATIENCE)?;
        Ok(Figures { latency, rate, bandwidth_64k, bandwidth_4m })
    }

    /// Sends eight bytes that nobody waits for.
    fn tell(&mut self, tag: Tag) -> Result<(), Failure> {
        let data = Bytes::from_static(&[7; SMALL]);
        let request = SendRequest { data, tag: Some(tag), ..SendRequest::default() };
        self.endpoint.post_send(self.other, request)?;
        Ok(())
    }

    fn latency(&mut self) -> Result<f64, Failure> {
        let clock = self.endpoint.clock();
        let mut spare = Buffer::zeroed(SMALL);
        let mut began = clock.now();
        for trip in 0..TRIPS + WARM_UP {
            if trip == WARM_UP {
                began = clock.now();
            }
            self.endpoint.receive(spare, Some(self.other), tagged(PING), 0)?;
            if !self.second {
                self.tell(PING)?;
            }
            spare = received(wait(&mut self.endpoint)?)?;
            if self.second {
                self.tell(PING)?;
            }
        }
        Ok(clock.now().since(began).as_secs_f64() / f64::from(TRIPS) / 2.0)
    }

    /// Messages per second.
    fn stream(&mut self, row: &Stream) -> Result<f64, Failure> {
        let clock = self.endpoint.clock();
        let message = Bytes::from(vec![7; row.bytes]);
        let mut spare: Vec<_> = (0..row.window).map(|_| Buffer::zeroed(row.bytes)).collect();
        let mut answer = Buffer::zeroed(SMALL);
        let warm_up = row.windows / 10;
        let mut began = clock.now();
        for window in 0..row.windows + warm_up {
            if window == warm_up {
                began = clock.now();
            }
            if self.second {
                for buffer in spare.drain(..) {
                    self.endpoint.receive(buffer, Some(self.other), tagged(FLOW), 0)?;
                }
                while spare.len() < row.window {
                    spare.push(received(wait(&mut self.endpoint)?)?);
                }
                self.tell(ANSWER)?;
                continue;
            }
            // Before the other side can be gone: what it sent and nobody received goes with it.
            let room = std::mem::take(&mut answer);
            self.endpoint.receive(room, Some(self.other), tagged(ANSWER), 0)?;
            for _ in 0..row.window {
                self.endpoint.send_tagged(self.other, FLOW, message.clone(), 0)?;
            }
            for _ in 0..=row.window {
                let completion = wait(&mut self.endpoint)?;
                if let Event::Received { buffer, .. } = completion.event {
                    answer = buffer;
                }
            }
        }
        let took = clock.now().since(began).as_secs_f64();
        Ok(f64::from(row.windows) * f64::from(u32::try_from(row.window)?) / took)
    }
}

fn tagged(tag: Tag) -> TagMatch {
    TagMatch::Tagged { tag, ignore: 0 }
}

fn wait(endpoint: &mut RdmEndpoint) -> Result<Completion, Failure> {
    let completion = endpoint.wait(Some(PATIENCE))?.ok_or("the other process says nothing")?;
    completion.result?;
    Ok(completion)
}

fn received(completion: Completion) -> Result<Buffer, Failure> {
    match completion.event {
        Event::Received { buffer, .. } => Ok(buffer),
        event => Err(format!("a message was expected, not {event:?}").into()),
    }
}
