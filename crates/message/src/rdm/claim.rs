//! Claims: stored messages that leave matching before anybody says where they go (P§8.14).

use memory::Buffer;
use wire::PeerId;

use super::{
    Rdm,
    matching::{Receive, TagMatch},
    peers::Control,
    receive::PeekInfo,
    unexpected::Unexpected,
};
use crate::{Busy, OpId};

/// A stored message that is kept for whoever holds this (`FI_CLAIM`, `MPI_Message`).
///
/// It stays stored, and counts as such, until it is received or discarded by the endpoint that
/// gave the claim.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claimed message stays stored until it is received or discarded"]
pub struct Claim {
    at: usize,
}

/// A claimed message that cannot be received now.
#[derive(Debug, thiserror::Error)]
#[error("{busy}")]
pub struct ClaimRefused {
    /// Why.
    pub busy: Busy,
    /// The message, still claimed.
    pub claim: Claim,
    /// The buffer that was to receive it.
    pub buffer: Buffer,
}

impl Rdm {
    /// Claims the oldest stored message that a receive would meet: no other receive, peek or
    /// claim meets it any more. A large message need not have arrived entirely.
    pub fn claim(&mut self, from: Option<PeerId>, tag: TagMatch) -> Option<(Claim, PeekInfo)> {
        let at = self.unexpected.find(from, tag)?;
        self.unexpected.claim(at);
        Some((Claim { at }, self.unexpected.get(at).envelope.info()))
    }

    /// Receives a claimed message, which completes like any receive. If its peer failed or gave
    /// it up since it was claimed, that is its error.
    ///
    /// # Errors
    /// [`ClaimRefused`] at the operation limit, with claim and buffer.
    ///
    /// # Panics
    /// If another endpoint gave the claim; but that is not always noticed.
    pub fn receive_claimed(
        &mut self,
        claim: Claim,
        buffer: Buffer,
        context: u64,
    ) -> Result<OpId, ClaimRefused> {
        if self.receives_waiting() >= self.config.max_operations {
            return Err(ClaimRefused { busy: Busy, claim, buffer });
        }
        let op = OpId::matched_receive(self.next_serial());
        let Unexpected { envelope, lost, .. } = *self.unexpected.get(claim.at);
        let tag = match envelope.tag {
            Some(tag) => TagMatch::Tagged { tag, ignore: 0 },
            None => TagMatch::Untagged,
        };
        let from = Some(envelope.peer);
        let receive = Receive { op, context, from, tag, buffer, piece: None };
        match lost {
            None => self.receive_unexpected(receive, claim.at),
            Some(error) => {
                self.unexpected.remove(claim.at);
                self.fail_receive(receive, from, Some(envelope), error);
            }
        }
        Ok(op)
    }

    /// Drops a claimed message. Its sender's operation succeeds as if it had been received.
    ///
    /// # Panics
    /// As [`Self::receive_claimed`].
    pub fn discard_claimed(&mut self, claim: Claim) {
        let Unexpected { envelope, stored, lost, .. } = self.unexpected.remove(claim.at);
        self.pool.recycle(stored);
        self.counters.discarded_messages += 1;
        let peer = envelope.peer;
        // What is still coming without a grant comes late, and counts as acknowledged.
        let is_coming = lost.is_none() && self.arrived(peer, envelope.stream()).is_some();
        if is_coming && envelope.unscheduled < envelope.total {
            self.control(peer, Control::Stop(envelope.seq));
        }
        self.peers.settle(peer);
    }
}
