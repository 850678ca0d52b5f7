//! Large messages that a peer lends: copied out of its memory when it does not send them itself.

use io::shm::{CopyCosts, Link, Loan, Unreadable};
use message::LoanUse;
use wire::{MessageSeq, PeerId, Time};

use super::route::PeerCopies;
use crate::{Clock, engine::Layer};

/// Bytes copied before others get their turn.
const TURN: usize = CopyCosts::SAMPLE;
/// The most loans that are kept. What is lent beyond them comes through the ring.
const MAX_LOANS: usize = 64;

/// What one peer has lent.
#[derive(Debug)]
pub(super) struct Loans {
    /// Claims, the oldest first.
    open: Vec<Loan>,
    /// Whether the peer's memory is read, and from which length on at once.
    pub(super) copies: PeerCopies,
    /// When a look found nothing from the peer, of those since something came the first.
    quiet_since: Option<Time>,
}

impl Loans {
    /// Tries to read the memory at the other end of `link`.
    pub(super) fn try_link(link: &mut Link, clock: Clock) -> Self {
        let costs = link.try_other_memory().and_then(|()| CopyCosts::measured(|| clock.now()));
        let copies = match costs {
            // Where the peer's sending and this side's receiving together are faster than this
            // side's copying alone, it is waited for as long as a copy takes: so the wait never
            // costs more than the copy that it may save.
            Ok(costs) => PeerCopies::CrossMemory {
                at_once_from: costs.worth_from(),
                silence: costs.cross_memory,
            },
            Err(reason) => PeerCopies::Rings(Some(reason)),
        };
        if costs.is_err() {
            link.leave_other_memory();
        }
        Self { copies, ..Self::off() }
    }

    /// Never reads a peer's memory.
    pub(super) fn off() -> Self {
        Self { open: Vec::new(), copies: PeerCopies::Rings(None), quiet_since: None }
    }

    /// A look at what came from the peer found something, or nothing.
    pub(super) fn looked(&mut self, now: Time, any: bool) {
        self.quiet_since = if any { None } else { self.quiet_since.or(Some(now)) };
    }

    /// The peer lends something.
    pub(super) fn add(&mut self, peer: PeerId, loan: Loan, layer: &mut impl Layer) {
        if self.open.len() >= MAX_LOANS {
            self.open.retain(|loan| match use_of(loan, peer, layer) {
                LoanUse::Over => false,
                LoanUse::Wait => true,
                LoanUse::Copy(copying) => {
                    layer.copied(copying, false);
                    true
                }
            });
        }
        let reads = matches!(self.copies, PeerCopies::CrossMemory { .. });
        if reads && self.open.len() < MAX_LOANS {
            self.open.push(loan);
        }
    }

    /// When something may be copied that may not be now.
    pub(super) fn due(&self, now: Time) -> Option<Time> {
        let PeerCopies::CrossMemory { silence, .. } = self.copies else { return None };
        let at = self.quiet_since.unwrap_or(now) + silence;
        (!self.open.is_empty() && at > now).then_some(at)
    }

    /// Copies a part of what the peer lends, if now is the time. Returns whether there was one.
    pub(super) fn copy(
        &mut self,
        now: Time,
        peer: PeerId,
        link: &mut Link,
        layer: &mut impl Layer,
    ) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let PeerCopies::CrossMemory { at_once_from, silence } = self.copies else { return false };
        let at_once_from = at_once_from.map_or(u64::MAX, |bytes| bytes as u64);
        let is_late = self.quiet_since.is_some_and(|since| now.since(since) >= silence);
        let mut at = 0;
        while let Some(loan) = self.open.get(at) {
            if !is_late && loan.length < at_once_from {
                at += 1;
                continue;
            }
            match use_of(loan, peer, layer) {
                LoanUse::Wait => at += 1,
                LoanUse::Over => drop(self.open.remove(at)),
                LoanUse::Copy(mut copying) => {
                    let range = copying.range.clone();
                    let into = &mut copying.buffer.as_mut_slice()[range.clone()];
                    let copied = link.copy_loan(loan, range.start, into);
                    layer.copied(copying, copied.is_ok());
                    if let Err(reason) = copied {
                        self.fail(at, reason, link, peer);
                    }
                    return true;
                }
            }
        }
        false
    }

    /// A loan could not be read: what it is of comes through the ring.
    fn fail(&mut self, at: usize, reason: Unreadable, link: &mut Link, peer: PeerId) {
        self.open.remove(at);
        // A loan that is over says nothing of the others.
        if reason != Unreadable::Broken {
            log::info!("peer {peer:?}: large messages through the rings from now on: {reason}");
            self.copies = PeerCopies::Rings(Some(reason));
            self.open.clear();
            link.leave_other_memory();
        }
    }
}

fn use_of(loan: &Loan, peer: PeerId, layer: &mut impl Layer) -> LoanUse {
    layer.use_loan(peer, MessageSeq(loan.name), loan.length, TURN)
}
