//! What the engine wants of a message layer beside what the transport wants.

use inspect::live::{Counters, Queues};
use message::{Brief, BriefRequest, Copying, Landed, LandingOffer, Lent, LoanUse};
use srd::{PeerError, Upper};
use wire::{MessageSeq, PeerId, Token};

/// A message layer, as the engine sees it.
pub(crate) trait Layer: Upper {
    fn poll_wake(&mut self) -> Option<PeerId>;

    /// Whether [`Self::poll_wake`] has one.
    fn has_wakes(&self) -> bool;

    /// Whether the application has something to take.
    fn has_completions(&self) -> bool;

    fn queued_bytes(&self, peer: PeerId) -> u64;

    /// Sends that are not complete.
    fn sends_outstanding(&self) -> usize;

    /// The kind of endpoint, in a word.
    fn kind(&self) -> &'static str;

    /// How much waits in the layer.
    fn queues(&self) -> Queues;

    /// What the layer counted.
    fn counters(&self) -> Counters {
        Counters::new()
    }

    /// How operations posted here ended, by kind.
    fn operations(&self) -> Counters {
        Counters::new()
    }

    fn offer_landing(&mut self) -> Option<LandingOffer> {
        None
    }

    fn return_landing(&mut self, _offer: LandingOffer) {}

    fn prepare_landed(
        &mut self,
        offer: LandingOffer,
        _heads: &[u8],
        _count: usize,
        _last_body: usize,
        _source: Option<u32>,
    ) -> Landed {
        Landed::Elsewhere(offer)
    }

    fn deliver_unreliable(&mut self, _peer: PeerId, _payload: &[u8]) {}

    fn lend(&mut self, _token: Token, _seal: u64) -> Option<Lent> {
        None
    }

    fn use_loan(&mut self, _: PeerId, _: MessageSeq, _length: u64, _most: usize) -> LoanUse {
        LoanUse::Over
    }

    fn copied(&mut self, _copying: Copying, _copied: bool) {}

    fn leave_at_once(
        &mut self,
        _: PeerId,
        _: &BriefRequest<'_>,
        _head: &mut Vec<u8>,
    ) -> Option<Brief> {
        None
    }

    fn brief_taken(&mut self, _: PeerId, _: Brief) {}

    fn brief_refused(&mut self, _: PeerId, _: Brief, _datagram: &[u8]) -> Option<Token> {
        None
    }

    fn brief_lost(&mut self, _: PeerId, _: Brief, _: PeerError) {}
}
