//! Loans: a large message that its receiver may copy out of the sender's memory by itself, beside
//! what the sender sends of it. For endpoints of one host; how bytes are copied is the caller's
//! business.
//!
//! The receiver copies from the end of the message towards the beginning, and the sender sends as
//! ever from the beginning on, as far as it is granted: they meet somewhere. What was copied is not
//! granted any more, and a message of which anything was copied ends with a `Stop` (P§8.7), so that
//! its sender need not have done anything for it.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use memory::Buffer;
use wire::{MessageSeq, PeerId, Token};

use super::{
    Rdm,
    placing::{Arriving, Placing},
    records::Content,
    stream::Stream,
};
use crate::numbers::key;

/// A word that says, as long as it has its value, that the bytes of a send are where they were.
#[derive(Debug)]
pub(super) struct Seal(Arc<AtomicU64>);

impl Drop for Seal {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
        // Whoever sees what becomes of the bytes sees this word as it is now.
        fence(Ordering::SeqCst);
    }
}

/// A message in this endpoint's memory that its receiver may copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent {
    /// Which message.
    pub seq: MessageSeq,
    /// Where it is in this process's memory.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
    /// Where in this process's memory the seal is that was given to [`Rdm::lend`]. It is there as
    /// long as the message is.
    pub seal_address: u64,
}

/// What can be done with a loan now.
#[derive(Debug)]
pub enum LoanUse {
    /// Bytes to be copied. It must come back through [`Rdm::copied`] before anything else is
    /// delivered.
    Copy(Copying),
    /// Nothing: no receive has met the message yet.
    Wait,
    /// Nothing, ever: the message is over, or the loan is not of it.
    Over,
}

/// Bytes to be copied out of the peer's memory.
#[derive(Debug)]
pub struct Copying {
    /// The receive's buffer, taken out of it until this comes back.
    pub buffer: Buffer,
    /// Where in the message, and in the buffer, the bytes are.
    pub range: Range<usize>,
    placing: usize,
}

impl Rdm {
    /// Lends the message that begins with this datagram, if there is more of it than may be sent
    /// yet. As long as the word at [`Lent::seal_address`] is `seal`, the bytes are there.
    pub fn lend(&mut self, token: Token, seal: u64) -> Option<Lent> {
        let Content::Start { op, .. } = self.records.get(token).content else { return None };
        let send = &mut self.sends[op as usize];
        if send.limit >= send.end || send.seal.is_some() {
            return None;
        }
        let word = Arc::new(AtomicU64::new(seal));
        let lent = Lent {
            seq: send.seq,
            address: send.data.as_ptr().addr() as u64,
            length: send.data.len() as u64,
            seal_address: word.as_ptr().addr() as u64,
        };
        send.seal = Some(Seal(word));
        Some(lent)
    }

    /// What to copy next, at most `most` bytes, of message `seq` of `peer`, which has lent it
    /// whole and says that it has `length` bytes.
    pub fn use_loan(&mut self, peer: PeerId, seq: MessageSeq, length: u64, most: usize) -> LoanUse {
        self.landing.assert_returned();
        let at = match self.arriving.get(&(peer, Stream::Message(seq))) {
            Some(&Arriving::Placing(at)) => at,
            Some(Arriving::Unexpected(_)) => return LoanUse::Wait,
            None if seq.distance(self.peers.peer_mut(peer).next_receive) >= 0 => {
                return LoanUse::Wait;
            }
            None => return LoanUse::Over,
        };
        let placing = &mut self.placing[at];
        if placing.envelope.total != length {
            self.counters.malformed += 1;
            return LoanUse::Over;
        }
        let range = placing.next_copy(most);
        let buffer = std::mem::take(&mut placing.receive.buffer);
        LoanUse::Copy(Copying { buffer, range, placing: at })
    }

    /// Takes back what [`Self::use_loan`] gave. `copied`: the bytes are there.
    pub fn copied(&mut self, copying: Copying, copied: bool) {
        let Copying { buffer, range, placing: at } = copying;
        let placing = &mut self.placing[at];
        placing.receive.buffer = buffer;
        if !copied {
            return;
        }
        let peer = placing.envelope.peer;
        self.counters.copied_bytes += range.len() as u64;
        self.counters.copied_messages += u64::from(!placing.is_copied);
        placing.is_copied = true;
        if range.start < placing.authorised {
            self.mark(at, range.start, range.len());
        } else {
            // It was granted to nobody, and need not be.
            placing.received += placing.ranges.insert(range.clone());
            placing.tail = placing.ranges.last_hole_before(placing.needed).end;
            placing.tail = placing.tail.max(placing.authorised);
            if placing.scheduled && placing.wanted() == 0 {
                self.want_no_more(peer, key(at));
            }
        }
        if !self.finish_if_complete(at) {
            self.issue_grants_if_due();
        }
        self.peers.settle(peer);
    }
}

impl Placing {
    /// Bytes that no grant covers yet.
    pub(super) const fn wanted(&self) -> usize {
        self.tail.saturating_sub(self.authorised)
    }

    /// The last missing bytes, at most `most`. What may arrive by itself comes after all else,
    /// and not together with it.
    fn next_copy(&self, most: usize) -> Range<usize> {
        let hole = self.ranges.last_hole_before(self.needed);
        let start = hole.start.max(hole.end.saturating_sub(most));
        let start = if hole.end > self.authorised { start.max(self.authorised) } else { start };
        start..hole.end
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use srd::{PeerError, Upper as _};
    use wire::{Time, Train};

    use super::*;
    use crate::rdm::{Config, SendRequest};

    const PEER: PeerId = PeerId(0);

    /// The bytes of a message. When they go the seal must be broken.
    struct Owner {
        bytes: Vec<u8>,
        seal: Arc<std::sync::OnceLock<Arc<AtomicU64>>>,
    }

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            let seal = self.seal.get().expect("it was lent");
            assert_eq!(seal.load(Ordering::Acquire), 0, "the bytes went before their seal");
        }
    }

    #[test]
    fn seal_is_broken_before_the_bytes_go_however_the_send_ends() {
        type End = fn(&mut Rdm, crate::OpId, Token);
        let ends: [End; 4] = [
            |rdm, op, _| assert!(rdm.cancel(op)),
            |rdm, _, token| rdm.refused(Time::ZERO, PEER, token),
            |rdm, _, _| rdm.peer_failed(Time::ZERO, PEER, PeerError::Closed),
            |rdm, _, _| *rdm = Rdm::new(Config::default()),
        ];
        for end in ends {
            let seal = Arc::default();
            let owner = Owner { bytes: vec![1; 1 << 20], seal: Arc::clone(&seal) };
            let data = Bytes::from_owner(owner);
            let mut rdm = Rdm::new(Config::default());
            let op = rdm
                .post_send(PEER, SendRequest { data, ..SendRequest::default() })
                .expect("there is room");
            let mut train = Train::default();
            let filled = rdm.fill(Time::ZERO, PEER, 9_000, &mut train).expect("the beginning");
            let lent = rdm.lend(filled.token, 77).expect("most of it waits for a grant");
            assert_eq!(lent.length, 1 << 20);
            assert_eq!(rdm.lend(filled.token, 78), None, "lent once");
            let word = &rdm.sends[op.index()].seal.as_ref().expect("lent").0;
            assert_eq!(word.as_ptr().addr() as u64, lent.seal_address);
            assert_eq!(word.load(Ordering::Acquire), 77);
            seal.set(Arc::clone(word)).expect("once");
            train.close(filled.tail.clone());
            drop((train, filled.tail));
            end(&mut rdm, op, filled.token);
            let word = seal.get().expect("set above");
            assert_eq!(word.load(Ordering::Acquire), 0);
        }
    }
}
