//! What is remembered of a peer even while nothing happens.

use std::net::SocketAddr;

use wire::{ConnId, Time};

use crate::{
    Config,
    context::{Context, Past},
    rtt::Rtt,
};

/// How many past incarnations are remembered, to reject their late datagrams.
const RETIRED: usize = 8;

/// A known peer. Small: the bulk of the state is in the context, which exists only while there
/// is work.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The peer's incarnation, once it was heard of.
    pub(crate) connid: Option<ConnId>,
    /// This endpoint's incarnation towards this peer; exchanged after a failure, so that both
    /// sides begin anew.
    pub(crate) local: ConnId,
    retired: Vec<ConnId>,
    past: Past,
    pub(crate) rtt: Rtt,
    /// The peer has answered something addressed to this incarnation.
    pub(crate) heard: bool,
    pub(crate) heard_at: Time,
    /// Since when an answer has been waited for in vain.
    pub(crate) silent_since: Option<Time>,
    /// Since when the peer's host has called the port unreachable.
    pub(crate) refused_since: Option<Time>,
    /// Bytes that may be sent before the peer has proved that it receives at its address.
    pub(crate) unproven: u32,
    pub(crate) proven: bool,
    /// Something was sent as this incarnation before the peer's was known: any incarnation of the
    /// peer may take it.
    pub(crate) unaddressed: bool,
    /// The largest datagram on the way to the peer, UDP payload.
    pub(crate) datagram_bytes: u32,
    /// The layer above has something to send.
    pub(crate) wants_to_send: bool,
    /// In the endpoint's queue of peers to serve.
    pub(crate) queued: bool,
    /// The time of this peer's entry in the endpoint's timers.
    pub(crate) armed: Time,
    pub(crate) context: Option<Box<Context>>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, local: ConnId, datagram: u32, config: &Config) -> Self {
        Self {
            address,
            connid: None,
            local,
            retired: Vec::new(),
            past: Past::none(config),
            rtt: Rtt::default(),
            heard: false,
            heard_at: Time::ZERO,
            silent_since: None,
            refused_since: None,
            unproven: 0,
            proven: false,
            unaddressed: false,
            datagram_bytes: datagram,
            wants_to_send: false,
            queued: false,
            armed: Time::NEVER,
            context: None,
        }
    }

    /// The context, made if there is none.
    pub(crate) fn context(&mut self, now: Time, config: &Config) -> &mut Context {
        self.context.get_or_insert_with(|| {
            let mut context = Context::new(now, self.past, config);
            context.congestion.set_datagram(self.datagram_bytes as usize);
            Box::new(context)
        })
    }

    /// Whether something may be sent to it: new data, or what the context itself has.
    pub(crate) fn has_work(&self, now: Time) -> bool {
        let has_own = |context: &Context| {
            context.has_own_work()
                || context.paths.has_quarantined() && context.paths.next_test_at() <= now
        };
        self.wants_to_send || self.context.as_deref().is_some_and(has_own)
    }

    /// Drops the context, keeping the sequence numbers.
    pub(crate) fn rest(&mut self) {
        if let Some(context) = self.context.take() {
            self.past = Past {
                next: context.tx.next_psn(),
                cumulative: context.rx.cumulative(),
                next_path_seq: context.paths.next_seq(),
            };
        }
    }

    /// Whether `bytes` may be sent unasked: until the peer has shown that it receives at its
    /// address, it gets no more than it sent.
    pub(crate) fn spend(&mut self, bytes: u32) -> bool {
        if self.proven {
            return true;
        }
        let left = self.unproven.checked_sub(bytes);
        self.unproven = left.unwrap_or(self.unproven);
        left.is_some()
    }

    pub(crate) fn is_retired(&self, connid: ConnId) -> bool {
        self.retired.contains(&connid)
    }

    /// Forgets everything between the two endpoints; sequence numbers begin anew.
    pub(crate) fn begin_anew(&mut self, config: &Config) {
        self.context = None;
        self.past = Past::none(config);
        self.heard = false;
        self.silent_since = None;
        self.refused_since = None;
        self.wants_to_send = false;
    }

    /// Remembers the peer's present incarnation as a past one.
    pub(crate) fn retire_connid(&mut self) {
        if let Some(connid) = self.connid.take() {
            if self.retired.len() == RETIRED {
                self.retired.remove(0);
            }
            self.retired.push(connid);
        }
    }
}
