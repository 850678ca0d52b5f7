//! How the endpoints of one host find each other.
//!
//! An endpoint announces itself by a locked file whose name says the user, the network namespace
//! and the address. Its peers make files whose names begin like that one, and count up a word in
//! it. Two hosts in namespaces of one kernel have different names, two containers that do not share
//! the directory see different files: neither is taken for the other's neighbour.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use nix::ifaddrs::getifaddrs;
use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    Unavailable,
    link::{Offer, Request},
    segment::{Segment, user},
    sys::Window,
};

/// Where shared memory has its names.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// Bytes of an announcement.
const PAGE: usize = 4096;
/// The word that peers count up when they have left a request.
const REQUESTS_AT: usize = 0;
/// The byte that whoever made a file keeps locked.
const OWNER: u16 = 0;

/// The announcement of an endpoint to others on its host.
#[derive(Debug)]
pub struct Presence {
    directory: PathBuf,
    address: SocketAddr,
    /// The network namespace, as part of names.
    network: String,
    name: String,
    page: Window,
    requests_seen: u64,
    rng: Xoshiro256PlusPlus,
    /// Keeps the file locked.
    _segment: Segment,
}

impl Presence {
    /// Announces the endpoint that listens at `address`. The names of its links are drawn from
    /// `seed`.
    pub fn announce(address: SocketAddr, seed: u64) -> Result<Self, Unavailable> {
        Self::announce_in(Path::new(DIRECTORY), address, seed)
    }

    pub(super) fn announce_in(
        directory: &Path,
        address: SocketAddr,
        seed: u64,
    ) -> Result<Self, Unavailable> {
        // Of the thread, since a thread can be in a network namespace of its own.
        let network = fs::metadata("/proc/thread-self/ns/net")
            .map_err(Unavailable::os("telling the network namespace"))?;
        let network = format!("{}-{}", network.dev(), network.ino());
        sweep(directory);
        let name = name(&network, address);
        let path = directory.join(&name);
        let segment = Segment::create(directory, PAGE, OWNER)
            .map_err(Unavailable::os("reserving shared memory"))?;
        let named = match segment.name(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_if_stale(&path).and_then(|()| segment.name(&path))
            }
            named => named,
        };
        named.map_err(Unavailable::os("announcing the endpoint"))?;
        let page = segment.map().map_err(Unavailable::os("mapping shared memory"))?.window();
        Ok(Self {
            directory: directory.to_owned(),
            address,
            network,
            name,
            page,
            requests_seen: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            _segment: segment,
        })
    }

    /// Offers a link to the endpoint at `peer`, towards which this one is the incarnation `connid`.
    ///
    /// # Errors
    /// [`Unavailable::NotAnnounced`] if it is not on this host, or others if there is no memory.
    pub fn offer(&mut self, peer: SocketAddr, connid: u32) -> Result<Offer, Unavailable> {
        let (name, page) = self.find(peer)?;
        let random: u128 = self.rng.random();
        let path = self.directory.join(format!("{name}.{random:032x}"));
        // To a peer on the same host a wildcard answers from the address it was called at.
        let ip = if self.address.ip().is_unspecified() { peer.ip() } else { self.address.ip() };
        let address = SocketAddr::new(ip, self.address.port());
        let offer = Offer::make(path, address, connid, self.rng.random())?;
        page.word(REQUESTS_AT).fetch_add(1, Ordering::AcqRel);
        Ok(offer)
    }

    /// The announcement of the endpoint at `peer`.
    fn find(&self, peer: SocketAddr) -> Result<(String, Window), Unavailable> {
        let wildcard = match peer.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let exact = name(&self.network, peer);
        let any = name(&self.network, SocketAddr::new(wildcard, peer.port()));
        for (name, is_exact) in [(exact, true), (any, false)] {
            let segment = match Segment::open(&self.directory.join(&name), PAGE) {
                Ok(segment) => segment,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Unavailable::os("opening the announcement")(error)),
            };
            // A wildcard endpoint of this host answers only for addresses of this host.
            if segment.is_locked(OWNER) && (is_exact || is_local(peer.ip())) {
                let page =
                    segment.map().map_err(Unavailable::os("mapping shared memory"))?.window();
                return Ok((name, page));
            }
        }
        Err(if is_local(peer.ip()) { Unavailable::NotAnnounced } else { Unavailable::OtherHost })
    }

    /// Whether a peer may have left a request since the last call of [`Self::take_requests`].
    pub fn has_requests(&self) -> bool {
        self.page.word(REQUESTS_AT).load(Ordering::Acquire) != self.requests_seen
    }

    /// The requests that peers have left.
    pub fn take_requests(&mut self) -> Vec<Request> {
        self.requests_seen = self.page.word(REQUESTS_AT).load(Ordering::Acquire);
        let prefix = format!("{}.", self.name);
        let mut requests = Vec::new();
        for path in files(&self.directory, &prefix) {
            match Request::open(path.clone()) {
                Ok(request) => requests.push(request),
                // Of a dead process, or of another version of this program, which waits in vain.
                Err(_) => drop(remove_if_stale(&path)),
            }
        }
        requests
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // If it is gone already, somebody has tidied up.
        drop(fs::remove_file(self.directory.join(&self.name)));
        for request in self.take_requests() {
            request.refuse();
        }
    }
}

fn name(network: &str, address: SocketAddr) -> String {
    format!("elastane.{}.{network}.{}.{}", user(), address.ip().to_canonical(), address.port())
}

/// The files in `directory` whose names begin with `prefix`.
fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok);
    let begins = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    entries.filter(begins).map(|entry| entry.path()).collect()
}

/// Removes what processes of this user have left behind that were killed.
fn sweep(directory: &Path) {
    for path in files(directory, &format!("elastane.{}.", user())) {
        // What is in use, or another sweeps just now, is left alone.
        drop(remove_if_stale(&path));
    }
}

/// Removes the file at `path` if whoever made it is gone.
fn remove_if_stale(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let about = file.metadata()?;
    if about.uid() != user() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Whoever removes a stale file holds its lock, so that of two that want to, the slower one
    // cannot remove what the faster one has put in its place.
    let _lock = super::segment::Lock::take(file, OWNER)?;
    let there = fs::symlink_metadata(path)?;
    if (there.dev(), there.ino()) == (about.dev(), about.ino()) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Whether `ip` is an address of this host (of this network namespace).
fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    let Ok(mut interfaces) = getifaddrs() else { return false };
    interfaces.any(|interface| {
        interface.address.is_some_and(|address| {
            address.as_sockaddr_in().is_some_and(|v4| ip == v4.ip())
                || address.as_sockaddr_in6().is_some_and(|v6| ip == v6.ip())
        })
    })
}

/// The name of an endpoint at `address` beside `presence`.
#[cfg(test)]
pub(super) fn tests_name(presence: &Presence, address: SocketAddr) -> String {
    name(&presence.network, address)
}
