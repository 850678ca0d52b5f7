//! Landings: the next train of a large message, received straight into the buffer it is for.
//! Which train comes next is a guess; a wrong one costs a copy, never a wrong byte.

use std::ops::Range;

use memory::Buffer;
use srd::Delivery;
use wire::{Frame, HEADER_LEN, OneSided, PeerId};

use super::{
    Rdm,
    placing::{Arriving, Placing},
    stream::Stream,
};
use crate::numbers::clamp;

/// Bytes of a segment's datagram before its payload: the header, without acknowledgement block,
/// and the frame's head.
const HEAD: usize = HEADER_LEN + 16;
const SOURCE_AT: Range<usize> = 8..12;
const ACK_LEN_AT: usize = 29;
/// After so many wrong guesses in a row none are made for a while.
const MISSES_TOLERATED: u32 = 4;
/// How long: so many times no offer is made.
const OFFERS_SKIPPED: u32 = 64;

/// A guess where the next train belongs, and the buffer to receive it into.
#[derive(Debug)]
pub struct LandingOffer {
    /// The receive's buffer, taken out of it until the offer comes back.
    pub buffer: Buffer,
    /// Where the first datagram's body goes.
    pub start: usize,
    /// Bytes from here on must not be touched: they have arrived, or are not wanted.
    pub end: usize,
    /// Bytes of each datagram before its body.
    pub head: usize,
    /// Bytes of each datagram's body; the last may have fewer.
    pub body: usize,
    /// Who would send the train.
    pub peer: PeerId,
    /// The message, or the read, it would be of.
    stream: Stream,
    placing: usize,
}

/// Whether a train was what had been guessed.
#[derive(Debug)]
pub enum Landed {
    /// The bodies are where they belong. Deliver each datagram's head, with its body as landed.
    InPlace,
    /// It is something else. Put the datagrams together from heads and bodies, hand the offer
    /// back with [`Rdm::return_landing`], then deliver them.
    Elsewhere(LandingOffer),
}

/// A train in place whose datagrams are being delivered.
#[derive(Clone, Copy, Debug)]
struct Expected {
    peer: PeerId,
    stream: Stream,
    start: usize,
    body: usize,
    count: usize,
    last_body: usize,
}

/// The state of guessing.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// The message whose segment arrived last.
    pub(super) latest: Option<usize>,
    expected: Option<Expected>,
    lent: bool,
    misses_in_a_row: u32,
    skip: u32,
}

impl Landing {
    /// Bytes that arrive now would miss the buffer that is lent.
    pub(super) fn assert_returned(&self) {
        assert!(!self.lent, "a landing must be returned before anything else is delivered");
    }

    /// A message ended.
    pub(super) fn forget(&mut self, at: usize) {
        if self.latest == Some(at) {
            self.latest = None;
        }
    }
}

impl Rdm {
    /// Guesses the next train: the message whose segment came last goes on where it has its
    /// first hole. `None` if there is no such message or guesses were wrong of late.
    ///
    /// The offer must come back through [`Rdm::prepare_landed`] or [`Rdm::return_landing`] before
    /// anything is delivered and before a peer fails; either panics otherwise.
    pub fn offer_landing(&mut self) -> Option<LandingOffer> {
        let at = self.landing.latest?;
        if self.landing.skip > 0 {
            self.landing.skip -= 1;
            return None;
        }
        self.landing.expected = None;
        let placing = self.placing.get_mut(at)?;
        let hole = placing.likely_hole();
        if placing.body == 0 || hole.len() < 2 * placing.body {
            return None;
        }
        self.landing.lent = true;
        Some(LandingOffer {
            buffer: std::mem::take(&mut placing.receive.buffer),
            start: hole.start,
            end: hole.end,
            head: HEAD,
            body: placing.body,
            peer: placing.envelope.peer,
            stream: placing.stream,
            placing: at,
        })
    }

    /// Takes back an offer that was not used, or after [`Landed::Elsewhere`].
    pub fn return_landing(&mut self, offer: LandingOffer) {
        self.landing.lent = false;
        if let Some(placing) = self.placing.get_mut(offer.placing) {
            placing.receive.buffer = offer.buffer;
        }
    }

    /// Whether `count` datagrams received into an offer are what was guessed. `heads` holds their
    /// heads one after another, `last_body` is the length of the last one's body, and
    /// `source_connid` is the connid of the offer's peer if it is known.
    pub fn prepare_landed(
        &mut self,
        offer: LandingOffer,
        heads: &[u8],
        count: usize,
        last_body: usize,
        source_connid: Option<u32>,
    ) -> Landed {
        let expected = Expected {
            peer: offer.peer,
            stream: offer.stream,
            start: offer.start,
            body: offer.body,
            count,
            last_body,
        };
        if offer.start + expected.length() <= offer.end && expected.agrees(heads, source_connid) {
            self.counters.landing_hits += 1;
            self.landing.misses_in_a_row = 0;
            self.landing.expected = Some(expected);
            self.return_landing(offer);
            return Landed::InPlace;
        }
        self.counters.landing_misses += 1;
        self.landing.misses_in_a_row += 1;
        if self.landing.misses_in_a_row >= MISSES_TOLERATED {
            self.landing.misses_in_a_row = 0;
            self.landing.skip = OFFERS_SKIPPED;
        }
        if let Some(placing) = self.placing.get_mut(offer.placing) {
            placing.missed_at = Some(offer.start);
        }
        Landed::Elsewhere(offer)
    }

    /// A datagram whose body the device placed. One that is not what was prepared is turned
    /// away: its body is lost, but it comes again.
    pub(super) fn landed_arrived(&mut self, peer: PeerId, head: &[u8], landed: usize) -> Delivery {
        let placed = match Frame::parse(head) {
            Ok(frame) => part_of(&frame)
                .filter(|&(_, _, length)| usize::from(length) == landed)
                .and_then(|(stream, offset, _)| {
                    let expected = self.landing.expected?;
                    let start = expected.start_of(offset, landed)?;
                    let same = (expected.peer, expected.stream) == (peer, stream);
                    match self.arriving.get(&(peer, stream)) {
                        Some(&Arriving::Placing(at)) if same => Some((at, start)),
                        _ => None,
                    }
                }),
            Err(_) => None,
        };
        let Some((at, start)) = placed else {
            self.counters.not_ready += 1;
            return Delivery::NotReady;
        };
        self.mark(at, start, landed);
        self.placed_segment(at, start as u64, landed);
        self.peers.settle(peer);
        Delivery::Accepted
    }
}

/// What a segment is part of, where its payload belongs, and how long that is.
fn part_of(frame: &Frame) -> Option<(Stream, u64, u16)> {
    match *frame {
        Frame::Segment { seq, offset, length } => Some((Stream::Message(seq), offset, length)),
        Frame::OneSided(OneSided::Data { seq, offset, length }) => {
            Some((Stream::Read(seq), offset, length))
        }
        _ => None,
    }
}

impl Placing {
    /// Where the next train will go: the first hole, or past everything that arrived if that
    /// was guessed in vain.
    fn likely_hole(&self) -> Range<usize> {
        let limit = self.authorised.min(self.needed);
        let first = self.ranges.first_hole(limit);
        if self.missed_at == Some(first.start) { self.ranges.last_hole(limit) } else { first }
    }
}

impl Expected {
    fn length(&self) -> usize {
        self.count.saturating_sub(1) * self.body + self.last_body
    }

    /// Whether the heads are those of this train.
    fn agrees(&self, heads: &[u8], source_connid: Option<u32>) -> bool {
        if self.count == 0 || heads.len() != self.count * HEAD || self.last_body > self.body {
            return false;
        }
        let source = source_connid.map(u32::to_le_bytes);
        heads.chunks_exact(HEAD).enumerate().all(|(i, head)| {
            let length = if i + 1 == self.count { self.last_body } else { self.body };
            let offset = (self.start + i * self.body) as u64;
            source.is_none_or(|source| head[SOURCE_AT] == source)
                && head[ACK_LEN_AT] == 0
                && Frame::parse(&head[HEADER_LEN..]).is_ok_and(|frame| {
                    part_of(&frame).is_some_and(|(stream, at, have)| {
                        stream == self.stream && at == offset && usize::from(have) == length
                    })
                })
        })
    }

    /// Where in the message the body of `length` bytes for `offset` is, if it is of this train.
    fn start_of(&self, offset: u64, length: usize) -> Option<usize> {
        let start = clamp(offset, usize::MAX);
        let distance = start.checked_sub(self.start)?;
        let i = distance / self.body;
        let is_last = i + 1 == self.count;
        let whole = distance % self.body == 0 && i < self.count;
        (whole && length == if is_last { self.last_body } else { self.body }).then_some(start)
    }
}
