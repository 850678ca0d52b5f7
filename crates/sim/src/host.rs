//! A host as it is in life: the transport, the message layer and an application, bound together
//! as the fabric binds them.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use message::Rdm;
use srd::{Delivery, Endpoint, Filled, Incoming, PeerError, TrainLimits, Upper};
use wire::{PeerId, Time, Token, Train};

use crate::{
    Arrival, Node,
    application::{Application, Told},
    topology::{LISTENING_PORT, address_of, host_at},
    workload::Plan,
};

/// Segments of one system call on older kernels.
const TRAIN_DATAGRAMS: usize = 64;
const TRAIN_BYTES: usize = 65_507;

/// The message layer, with an ear for what the transport tells it of peers.
#[derive(Debug)]
struct Overheard {
    rdm: Rdm,
    lost: Vec<(PeerId, PeerError)>,
}

impl Upper for Overheard {
    fn fill(&mut self, now: Time, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        self.rdm.fill(now, peer, room, train)
    }

    fn next_is_bulk(&self, peer: PeerId) -> bool {
        self.rdm.next_is_bulk(peer)
    }

    fn refill(&mut self, peer: PeerId, token: Token, train: &mut Train) -> Bytes {
        self.rdm.refill(peer, token, train)
    }

    fn acked(&mut self, now: Time, peer: PeerId, token: Token) {
        self.rdm.acked(now, peer, token);
    }

    fn refused(&mut self, now: Time, peer: PeerId, token: Token) {
        self.rdm.refused(now, peer, token);
    }

    fn reclaim(&mut self, now: Time, peer: PeerId, token: Token) {
        self.rdm.reclaim(now, peer, token);
    }

    fn deliver(&mut self, now: Time, peer: PeerId, head: &[u8], landed: usize) -> Delivery {
        self.rdm.deliver(now, peer, head, landed)
    }

    fn peer_failed(&mut self, now: Time, peer: PeerId, error: PeerError) {
        self.lost.push((peer, error));
        self.rdm.peer_failed(now, peer, error);
    }

    fn is_owed(&self, peer: PeerId) -> bool {
        self.rdm.is_owed(peer)
    }
}

/// How the hosts of a run are set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) plan: Arc<Plan>,
    pub(crate) transport: srd::Config,
    pub(crate) messages: message::Config,
    pub(crate) datagram_bytes: usize,
    pub(crate) receive_window: usize,
    pub(crate) ipv6: bool,
}

/// The software of one host in one incarnation.
#[derive(Debug)]
pub(crate) struct HostNode {
    endpoint: Endpoint,
    upper: Overheard,
    application: Application,
    ipv6: bool,
    stored_peak: usize,
}

impl HostNode {
    pub(crate) fn new(setup: &Setup, seed: u64, application: Application) -> Self {
        let limits = TrainLimits {
            datagrams: TRAIN_DATAGRAMS,
            bytes: TRAIN_BYTES,
            datagram_bytes: setup.datagram_bytes,
        };
        let mut endpoint = Endpoint::new(setup.transport.clone(), LISTENING_PORT, limits, seed);
        endpoint.set_receive_window(setup.receive_window);
        let mut rdm = Rdm::new(setup.messages.clone());
        application.offer_memory(&mut rdm);
        let upper = Overheard { rdm, lost: Vec::new() };
        Self { endpoint, upper, application, ipv6: setup.ipv6, stored_peak: 0 }
    }

    pub(crate) fn application(&self) -> &Application {
        &self.application
    }

    pub(crate) fn counters(&self) -> srd::Counters {
        *self.endpoint.counters()
    }

    /// The most bytes the message layer ever stored.
    pub(crate) fn stored_peak(&self) -> usize {
        self.stored_peak
    }

    /// Operations not complete and bytes stored.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.upper.rdm.outstanding(), self.upper.rdm.stored_bytes())
    }

    /// Whether everything sent was acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.endpoint.is_drained()
    }

    /// Peers with more state than an address.
    pub(crate) fn contexts(&self) -> usize {
        self.endpoint.context_count()
    }

    /// Posts what is due, for the first time.
    pub(crate) fn begin(&mut self, now: Time) {
        self.turn(now);
    }

    /// Posts receives for whatever comes.
    pub(crate) fn open_pool(&mut self, now: Time) {
        self.application.open_pool();
        self.turn(now);
    }

    /// Posts nothing more and cancels the receives that wait.
    pub(crate) fn finish(&mut self, now: Time) {
        self.application.finish(&mut self.upper.rdm);
        self.turn(now);
    }

    /// Lets the application act on what happened, until nothing more follows from it.
    fn turn(&mut self, now: Time) {
        for (peer, error) in self.upper.lost.drain(..) {
            if let Some(host) = host_at(self.endpoint.peer_address(peer).ip()) {
                self.application.told.push_back(Told::PeerLost(host, error));
            }
        }
        loop {
            let (endpoint, ipv6) = (&mut self.endpoint, self.ipv6);
            let mut peer_of = |host| peer_at(endpoint, address_of(host, ipv6));
            self.application.act(now, &mut self.upper.rdm, &mut peer_of);
            self.stored_peak = self.stored_peak.max(self.upper.rdm.stored_bytes());
            self.wake_peers(now);
            let mut completed = false;
            while let Some(completion) = self.upper.rdm.poll_completion() {
                let endpoint = &self.endpoint;
                let host_of = |peer| host_at(endpoint.peer_address(peer).ip());
                self.application.complete(completion, host_of);
                completed = true;
            }
            if !completed {
                break;
            }
        }
    }

    fn wake_peers(&mut self, now: Time) -> bool {
        let mut woken = false;
        while let Some(peer) = self.upper.rdm.poll_wake() {
            self.endpoint.wake(now, peer);
            woken = true;
        }
        woken
    }
}

fn peer_at(endpoint: &mut Endpoint, address: SocketAddr) -> PeerId {
    endpoint.connect(address).expect("a network has fewer hosts than an endpoint may know peers")
}

impl Node for HostNode {
    type Event = Told;

    fn handle_datagram(&mut self, now: Time, arrival: Arrival<'_>) {
        let Arrival { source, port, ecn, bytes } = arrival;
        if port != LISTENING_PORT {
            return;
        }
        let incoming = Incoming { source, ecn, bytes, landed: 0 };
        self.endpoint.handle_datagram(now, incoming, &mut self.upper);
        self.turn(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now, &mut self.upper);
        }
        self.turn(now);
    }

    fn poll_transmit(&mut self, now: Time, train: &mut Train) -> bool {
        loop {
            if self.endpoint.poll_transmit(now, train, &mut self.upper) {
                return true;
            }
            if !self.wake_peers(now) {
                return false;
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let due = self.application.due();
        self.endpoint.poll_timeout().into_iter().chain(due).min()
    }

    fn poll_event(&mut self) -> Option<Told> {
        self.application.told.pop_front()
    }
}
