//! Lanes over a provider of libfabric's, whichever: its reliable datagram endpoints.

mod channel;
mod remote;
mod send;

use std::net::IpAddr;

use libfabric_sys::{
    Library,
    client::{self, Description, Domain, Endpoint, Room, Wish},
};
use serde::{Deserialize, Serialize};

use self::channel::Channel;
pub(super) use self::{remote::RemoteLane, send::SendLane};
use super::{
    BenchError,
    lane::Pattern,
    setup::{Goal, Local, Setup, Verb, Waiting},
};
use crate::load::LoadError;

/// Bytes of a cache line, at which every message begins.
const LINE: usize = 64;
/// What a provider carries beside a message or a write, at least, in bits.
const DATA: u64 = u32::MAX as u64;

/// Fails if a test's provider is not there, or lacks what the test takes.
pub fn check(setup: &Setup) -> Result<(), BenchError> {
    if let Some(provider) = &setup.provider {
        client::check(Library::load()?, &wish(provider, setup, Waiting::Spin, None))?;
    }
    Ok(())
}

/// Fails if this provider is not there, or has no reliable endpoints.
pub fn check_provider(provider: &str) -> Result<(), BenchError> {
    client::check(Library::load()?, &Wish { provider, ..Wish::default() })?;
    Ok(())
}

fn wish<'a>(
    provider: &'a str,
    setup: &Setup,
    waiting: Waiting,
    source: Option<IpAddr>,
) -> Wish<'a> {
    Wish {
        provider,
        remote_memory: matches!(setup.verb, Verb::Write | Verb::Read),
        atomics: setup.verb == Verb::Atomic,
        remote_data: setup.remote_data || tells(setup),
        sleep: waiting == Waiting::Sleep,
        source,
    }
}

/// Whether a write tells the other side's program of itself.
fn tells(setup: &Setup) -> bool {
    setup.verb == Verb::Write && (setup.remote_data || setup.goal == Goal::Latency)
}

/// What was opened, as documents have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// Its name, with those it is layered on.
    pub name: String,
    /// The name of its fabric.
    pub fabric: String,
    /// The name of its domain: a network device, most often.
    pub domain: String,
    /// The version of libfabric.
    pub libfabric: String,
}

impl From<Description> for Provider {
    fn from(description: Description) -> Self {
        let Description { provider: name, fabric, domain, libfabric } = description;
        Self { name, fabric, domain, libfabric }
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// In the provider's own form.
    name: Vec<u8>,
    /// How its memory is reached.
    key: Option<(u64, u64)>,
}

/// The endpoints of a side, which do not know their peers yet.
pub(super) struct Unpaired {
    endpoints: Vec<Endpoint>,
    pub(super) provider: Provider,
}

impl Unpaired {
    pub(super) fn open(
        provider: &str,
        setup: &Setup,
        local: Local,
        at: IpAddr,
    ) -> Result<Self, BenchError> {
        let wish = wish(provider, setup, local.waiting, Some(at));
        let domain = Domain::open(Library::load()?, &wish)?;
        if let Some(bytes) = setup.sizes.iter().copied().find(|&size| size > longest(&domain)) {
            return Err(BenchError::TooLong { bytes, longest: longest(&domain) });
        }
        let room = match setup.verb {
            Verb::Send => send::room(setup, local),
            Verb::Write | Verb::Read | Verb::Atomic => remote::room(setup, local),
        };
        let endpoints = (0..setup.endpoints).map(|_| domain.endpoint(room));
        let endpoints = endpoints.collect::<Result<_, _>>()?;
        Ok(Self { endpoints, provider: domain.description().into() })
    }

    pub(super) fn places(&self) -> Vec<Place> {
        let place = |end: &Endpoint| Place { name: end.name().to_vec(), key: end.key() };
        self.endpoints.iter().map(place).collect()
    }

    /// Connects each with the one of the other side, and makes lanes of them by `lane`.
    pub(super) fn pair<L>(
        self,
        there: &[Place],
        lane: impl Fn(Channel) -> L,
    ) -> Result<Vec<L>, BenchError> {
        let pair = |(mut endpoint, place): (Endpoint, &Place)| {
            endpoint.connect(&place.name)?;
            if let Some(key) = place.key {
                endpoint.reach(key);
            } else if endpoint.key().is_some() {
                return Err(LoadError::NoAddress.into());
            }
            Ok(lane(Channel::new(endpoint)))
        };
        self.endpoints.into_iter().zip(there).map(pair).collect()
    }
}

fn longest(domain: &Domain) -> u64 {
    u64::try_from(domain.longest()).unwrap_or(u64::MAX)
}

/// From one message to the next.
fn stride(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(LINE)
}

/// How many messages of this size are kept at a time, of `most`.
fn fitting(bytes: usize, most: u64) -> usize {
    let fitting = (Local::RECEIVE_BYTES / stride(bytes)).max(2);
    fitting.min(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Bytes for so many messages of the size that takes most.
fn most_bytes(setup: &Setup, count: impl Fn(usize) -> usize) -> usize {
    let sizes = setup.sizes.iter().map(|&bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    sizes.map(|bytes| stride(bytes) * count(bytes)).max().unwrap_or(0)
}

fn room_for(bytes: usize, depths: [u64; 2]) -> Room {
    let operations: u64 = depths.iter().sum();
    // A few more: what both sides say to each other at the end of a row.
    let operations = usize::try_from(operations).unwrap_or(usize::MAX).saturating_add(16);
    Room { bytes, operations }
}

/// The memory that messages are sent from.
fn pattern_bytes(setup: &Setup) -> usize {
    stride(Pattern::new(setup.largest()).pieces().len())
}
