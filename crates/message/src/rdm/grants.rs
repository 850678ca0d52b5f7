//! Grants: how much of their large messages senders may send, so that together they do not
//! overrun the last hop (P§8.4).

use std::collections::VecDeque;

use wire::PeerId;

use super::{Rdm, peers::Control, placing::Placing};
use crate::numbers::key;

/// No sender is held to less, and fewer bytes are granted only at a message's end.
const MIN_GRANT: usize = 64 << 10;

/// The grant budget's books.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Bytes that senders may send and that have not arrived.
    granted: usize,
    /// Senders with a message that needs grants.
    senders: usize,
    /// Senders with a message that wants more, in turn. Each is in it once.
    turns: VecDeque<PeerId>,
    /// Bytes that arrived since grants were issued.
    returned: usize,
    /// All that a sender was allowed to send has arrived.
    idle_sender: bool,
}

impl Rdm {
    /// Enters a message that met its receive.
    pub(super) fn open_grants(&mut self, at: usize) {
        let placing = &mut self.placing[at];
        if placing.wanted() == 0 {
            return;
        }
        placing.scheduled = true;
        // What comes unscheduled fills the last hop like what is granted. A sender configured
        // for more than we are must not stop all grants by claiming to be about to send it.
        let coming = placing.authorised.saturating_sub(placing.received);
        placing.granted = coming.min(self.config.unscheduled_bytes);
        let peer = placing.envelope.peer;
        let active = self.peers.activate(peer);
        active.scheduled += 1;
        self.grants.senders += usize::from(active.scheduled == 1);
        active.granted += placing.granted;
        self.grants.granted += placing.granted;
        if active.wants.is_empty() {
            self.grants.turns.push_back(peer);
        }
        active.wants.push_back(key(at));
        self.issue_grants();
    }

    /// Takes a message off the books.
    pub(super) fn close_grants(&mut self, at: u32, placing: &Placing) {
        if !placing.scheduled {
            return;
        }
        let peer = placing.envelope.peer;
        let active = self.peers.activate(peer);
        self.grants.granted -= placing.granted;
        active.granted -= placing.granted;
        active.scheduled -= 1;
        self.grants.senders -= usize::from(active.scheduled == 0);
        if placing.wanted() > 0 {
            self.want_no_more(peer, at);
        }
    }

    /// Takes a message out of those that want more.
    pub(super) fn want_no_more(&mut self, peer: PeerId, at: u32) {
        let active = self.peers.activate(peer);
        active.wants.retain(|&wanting| wanting != at);
        if active.wants.is_empty() {
            self.grants.turns.retain(|&turn| turn != peer);
        }
    }

    /// Bytes that counted against the budget have arrived.
    pub(super) fn budget_returned(&mut self, peer: PeerId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.grants.granted -= bytes;
        self.grants.returned += bytes;
        if let Some(active) = self.peers.active_mut(peer) {
            active.granted -= bytes;
            active.proved = active.proved.saturating_add(bytes);
            self.grants.idle_sender |= active.granted == 0;
        }
    }

    /// Issues grants when enough arrived for it to be worth a datagram.
    pub(super) fn issue_grants_if_due(&mut self) {
        if self.grants.returned >= MIN_GRANT || self.grants.idle_sender {
            self.issue_grants();
        }
    }

    /// Shares what is left of the budget evenly among the senders that want it. A sender of which
    /// nothing is on its way gets the least grant even if nothing is left: another may keep what
    /// it was granted for as long as its application computes.
    pub(super) fn issue_grants(&mut self) {
        self.grants.returned = 0;
        self.grants.idle_sender = false;
        let budget = self.config.grant_budget.max(MIN_GRANT);
        let allowance = (budget / self.grants.senders.max(1)).max(MIN_GRANT);
        let mut passed_over = 0;
        while passed_over < self.grants.turns.len() {
            let Some(peer) = self.grants.turns.pop_front() else { return };
            let Some(active) = self.peers.active_mut(peer) else { continue };
            let Some(&at) = active.wants.front() else { continue };
            let placing = &mut self.placing[at as usize];
            let wanted = placing.wanted();
            let least = if active.granted == 0 { MIN_GRANT } else { 0 };
            let left = budget.saturating_sub(self.grants.granted).max(least);
            let allowance =
                allowance.min(self.config.first_grant.max(active.proved.saturating_mul(2)));
            let room = left.min(allowance.saturating_sub(active.granted));
            // Few large grants rather than many small ones: each costs a datagram.
            if room < wanted.min((allowance / 4).max(MIN_GRANT)) {
                self.grants.turns.push_back(peer);
                passed_over += 1;
                continue;
            }
            let amount = wanted.min(room);
            placing.authorised += amount;
            placing.granted += amount;
            active.granted += amount;
            self.grants.granted += amount;
            self.counters.grants += 1;
            if !placing.grant_queued {
                placing.grant_queued = true;
                active.control.push_back(Control::Grant(placing.stream));
            }
            if placing.wanted() == 0 {
                active.wants.pop_front();
            }
            if !active.wants.is_empty() {
                self.grants.turns.push_back(peer);
            }
            passed_over = 0;
            self.peers.announce(peer);
        }
    }
}
