//! One process with one endpoint.

use std::{
    collections::BTreeMap, io::Read as _, net::SocketAddr, os::fd::AsFd as _, time::Duration,
};

use elastane_fabric::{
    Buffer, Completion, Event, FaultDevice, FaultSpec, OperationError, Options, PacketIo,
    PeerError, PeerId, RdmEndpoint, TagMatch, UdpDevice,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{
    Failure,
    memory::{self, Part},
    message::{self, Inbox, Life},
};

/// The first argument of a worker.
pub(crate) const NAME: &str = "worker";
/// The longest message.
const LONGEST: usize = 512 << 10;
/// Receives posted at any time.
const RECEIVES: usize = 48;
/// Sends on their way at any time.
const SENDS: usize = 24;
/// How often a worker says what it did: what it did later is not counted if it is killed.
const PRINTED_EVERY: Duration = Duration::from_millis(250);
/// What a worker that has been told to stop waits for its last sends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until standard input ends: `INDEX SEED FAULTS ADDRESS…`, where faults of `shm` mean none
/// and shared memory.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let [index, seed, faults, addresses @ ..] = arguments else {
        return Err("a worker needs an index, a seed, faults and addresses".into());
    };
    let (index, seed): (usize, u64) = (index.parse()?, seed.parse()?);
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
    let options = Options::listen(*addresses.get(index).ok_or("an index beyond the addresses")?);
    if faults == "shm" {
        return Worker::new(RdmEndpoint::open(&options)?, index, seed, &addresses)?.work();
    }
    let device = UdpDevice::open(options.listen, &options.device)?;
    let spec: FaultSpec = faults.parse()?;
    let endpoint = RdmEndpoint::on_device(FaultDevice::new(device, spec), &options)?;
    Worker::new(endpoint, index, seed, &addresses)?.work()
}

/// What a worker did so far, printed now and then and at its end.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// An operation failed with a peer.
    pub(crate) fn fail(&mut self, error: PeerError) {
        self.add(
            match error {
                PeerError::Unreachable(_) => "failed-unreachable",
                PeerError::Unresponsive(_) => "failed-unresponsive",
                PeerError::Restarted => "failed-restarted",
                PeerError::Closed => "failed-closed",
                PeerError::Exited => "failed-exited",
            },
            1,
        );
    }

    fn print(&self) {
        let pairs: Vec<_> = self.0.iter().map(|(what, count)| format!("{what}={count}")).collect();
        println!("tally {}", pairs.join(" "));
    }
}

struct Worker<D: PacketIo> {
    endpoint: RdmEndpoint<D>,
    life: Life,
    rng: Xoshiro256PlusPlus,
    peers: Vec<Peer>,
    inbox: Inbox,
    spare: Vec<Buffer>,
    receives: u64,
    posted: usize,
    sending: usize,
    tally: Tally,
}

struct Peer {
    id: PeerId,
    part: Part,
    /// The number of the next message to it.
    next: u64,
}

impl<D: PacketIo> Worker<D> {
    fn new(
        mut endpoint: RdmEndpoint<D>,
        index: usize,
        seed: u64,
        addresses: &[SocketAddr],
    ) -> Result<Self, Failure> {
        let mut peers = Vec::new();
        for (other, address) in addresses.iter().enumerate() {
            if other != index {
                let part = Part::new(index);
                peers.push(Peer { id: endpoint.peer(*address)?, part, next: 0 });
            }
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        memory::register(&mut endpoint, addresses.len(), &mut rng)?;
        let life = Life { worker: u32::try_from(index)?, number: rng.random() };
        Ok(Self {
            endpoint,
            life,
            rng,
            peers,
            inbox: Inbox::default(),
            spare: Vec::new(),
            receives: 0,
            posted: 0,
            sending: 0,
            tally: Tally::default(),
        })
    }

    fn work(mut self) -> Result<(), Failure> {
        let clock = self.endpoint.clock();
        let (mut told_at, mut printed_at) = (None, clock.now());
        loop {
            let now = clock.now();
            if now.since(printed_at) > PRINTED_EVERY {
                printed_at = now;
                self.tally.print();
            }
            while self.posted < RECEIVES {
                self.post()?;
            }
            if told_at.is_none() {
                while self.sending < SENDS {
                    self.send()?;
                }
                for peer in self.peers.iter_mut().filter(|peer| peer.part.is_idle()) {
                    peer.part.begin(&mut self.endpoint, peer.id)?;
                }
            }
            if let Some(completion) = self.endpoint.wait(Some(Duration::from_millis(20)))? {
                self.complete(completion)?;
            }
            while let Some(completion) = self.endpoint.take_completion() {
                self.complete(completion)?;
            }
            match told_at {
                None if is_told_to_stop()? => {
                    told_at = Some(now);
                    println!("quiet");
                }
                // The supervisor closes the pipe when nobody has anything on its way any more.
                Some(at) if self.is_quiet() && now.since(at) > Duration::from_secs(3) => break,
                Some(at) if now.since(at) > PATIENCE => {
                    return Err(format!(
                        "operations never ended, {} sends among them",
                        self.sending
                    )
                    .into());
                }
                _ => {}
            }
        }
        self.tally.add("descriptors", std::fs::read_dir("/proc/self/fd")?.count() as u64);
        self.tally.print();
        Ok(self.endpoint.close(Duration::from_secs(10))?)
    }

    /// Whether nothing of this worker is under way.
    fn is_quiet(&self) -> bool {
        self.sending == 0 && self.peers.iter().all(|peer| peer.part.is_idle())
    }

    fn post(&mut self) -> Result<(), Failure> {
        let buffer = self.spare.pop().unwrap_or_else(|| Buffer::zeroed(LONGEST));
        self.endpoint.receive(buffer, None, TagMatch::Untagged, self.receives)?;
        self.receives += 1;
        self.posted += 1;
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let to = self.rng.random_range(0..self.peers.len());
        // As many of each order of magnitude.
        let order = self.rng.random_range(5.0..19.0f64).exp2();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2^5 to 2^19")]
        let length = (order as usize).min(LONGEST);
        let peer = &mut self.peers[to];
        let message = message::write(self.life, peer.next, length);
        peer.next += 1;
        self.endpoint.send(peer.id, message.into(), 0)?;
        self.sending += 1;
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), Failure> {
        match completion.event {
            Event::Sent => {
                self.sending -= 1;
                match completion.result {
                    Ok(()) => self.tally.add("sent", 1),
                    // Somebody is killed now and then.
                    Err(OperationError::Peer(error)) => self.tally.fail(error),
                    Err(error) => return Err(format!("a send failed: {error}").into()),
                }
                Ok(())
            }
            Event::Received { buffer, length, .. } => {
                self.posted -= 1;
                match completion.result {
                    Ok(()) => {}
                    // Its sender was killed half-way.
                    Err(OperationError::Peer(_)) => {
                        self.spare.push(buffer);
                        return Ok(());
                    }
                    Err(error) => return Err(format!("a receive failed: {error}").into()),
                }
                let message = &buffer.as_slice()[..usize::try_from(length)?];
                let (life, number) = message::read(message)?;
                self.inbox.enter(life, number, completion.context)?;
                self.tally.add("received", 1);
                self.tally.add("bytes", length);
                self.spare.push(buffer);
                Ok(())
            }
            Event::Atomic { .. } | Event::Written | Event::Read { .. } => {
                let Self { endpoint, life, rng, peers, tally, .. } = self;
                let mut peers = peers.iter_mut();
                let peer = peers.find(|peer| Some(peer.id) == completion.peer);
                let part = &mut peer.ok_or("an operation with nobody")?.part;
                part.complete(endpoint, *life, rng, completion, tally)
            }
            event @ (Event::RemoteWrite { .. } | Event::Released { .. }) => {
                Err(format!("nobody asked for {event:?}").into())
            }
        }
    }
}

/// Whether standard input has ended.
fn is_told_to_stop() -> Result<bool, Failure> {
    let mut stdin = std::io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut polled, PollTimeout::ZERO)? == 0 {
        return Ok(false);
    }
    Ok(stdin.read(&mut [0])? == 0)
}
