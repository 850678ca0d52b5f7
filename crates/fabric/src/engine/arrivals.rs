//! What the device brings, and where it goes.

use std::time::Duration;

use io::{Arrival, Landing, Layout, PacketIo};
use message::{Landed, LandingOffer};
use srd::{Handled, Incoming};
use wire::Time;

use super::{Engine, Layer, Routed};
use crate::Error;

/// The longest pause between two looks at the device after which what is there has just come.
const ATTENDED: Duration = Duration::from_micros(500);
/// Trains received before the application gets its turn.
const RECEIVE_BATCH: usize = 8;

impl<D: PacketIo, L: Layer> Engine<D, L> {
    /// Receives from the device. `now` may be left open: as long as nothing arrives, nobody needs
    /// it.
    pub(super) fn receive(&mut self, now: Option<Time>) -> Result<bool, Error> {
        let mut arrived_at = None;
        let emptied = self.receive_some(now, &mut arrived_at)?;
        if emptied && let Some(now) = now.or(arrived_at) {
            self.emptied_at = now;
        }
        if let Some(at) = arrived_at {
            self.arrived_at = at;
        }
        Ok(arrived_at.is_some())
    }

    /// Something has arrived, the first since `arrived_at` is known.
    #[inline]
    fn note_arrival(&mut self, now: Option<Time>, arrived_at: &mut Option<Time>) -> Time {
        if let Some(at) = *arrived_at {
            return at;
        }
        let now = now.unwrap_or_else(|| self.watch.now());
        // Else the processor was somebody else's, or the application's.
        let attended = now.since(self.emptied_at) < ATTENDED;
        self.transport.set_unattended(!attended);
        *arrived_at = Some(now);
        now
    }

    /// Returns whether nothing more is on the device.
    fn receive_some(
        &mut self,
        now: Option<Time>,
        arrived_at: &mut Option<Time>,
    ) -> Result<bool, Error> {
        for _ in 0..RECEIVE_BATCH {
            // Another look at the device would keep the application from what it waits for.
            if arrived_at.is_some() && self.layer.has_completions() {
                return Ok(false);
            }
            let Some(mut offer) = self.layer.offer_landing() else {
                let Some(arrival) = self.device.receive(&mut self.scratch, None)? else {
                    return Ok(true);
                };
                let now = self.note_arrival(now, arrived_at);
                let scratch = std::mem::take(&mut self.scratch.bytes);
                self.deliver(now, &arrival, &scratch[..arrival.bytes]);
                self.scratch.bytes = scratch;
                continue;
            };
            let landing = Landing {
                head: offer.head,
                body: offer.body,
                buffer: &mut offer.buffer.as_mut_slice()[offer.start..offer.end],
            };
            let received = self.device.receive(&mut self.scratch, Some(landing));
            let Ok(Some(arrival)) = received else {
                self.layer.return_landing(offer);
                received?;
                return Ok(true);
            };
            let now = self.note_arrival(now, arrived_at);
            let scratch = std::mem::take(&mut self.scratch.bytes);
            match arrival.layout {
                Layout::Contiguous => {
                    self.layer.return_landing(offer);
                    self.deliver(now, &arrival, &scratch[..arrival.bytes]);
                }
                Layout::Landed => self.deliver_landed(now, &arrival, &scratch, offer),
            }
            self.scratch.bytes = scratch;
        }
        Ok(false)
    }

    /// Delivers the datagrams of a contiguous arrival.
    fn deliver(&mut self, now: Time, arrival: &Arrival, bytes: &[u8]) {
        for datagram in bytes.chunks(arrival.stride.max(1)) {
            self.handle(now, arrival, datagram, 0);
        }
    }

    /// Delivers datagrams whose bodies are in the landing buffer: where they are if that is where
    /// they belong.
    fn deliver_landed(
        &mut self,
        now: Time,
        arrival: &Arrival,
        scratch: &[u8],
        offer: LandingOffer,
    ) {
        let (head, body, start) = (offer.head, offer.body, offer.start);
        let count = arrival.datagrams();
        let last_body = arrival.datagram_bytes(count - 1).saturating_sub(head);
        let source = self.transport.peer_connid(offer.peer).map(wire::ConnId::raw);
        let heads = &scratch[..count * head];
        match self.layer.prepare_landed(offer, heads, count, last_body, source) {
            Landed::InPlace => {
                for (index, bytes) in heads.chunks_exact(head).enumerate() {
                    let landed = if index + 1 == count { last_body } else { body };
                    self.handle(now, arrival, bytes, landed);
                }
            }
            Landed::Elsewhere(offer) => {
                let mut gathered = std::mem::take(&mut self.gathered);
                gathered.clear();
                for (index, bytes) in heads.chunks_exact(head).enumerate() {
                    let landed = if index + 1 == count { last_body } else { body };
                    let at = start + index * body;
                    gathered.extend_from_slice(bytes);
                    gathered.extend_from_slice(&offer.buffer.as_slice()[at..at + landed]);
                }
                self.layer.return_landing(offer);
                self.deliver(now, arrival, &gathered);
                self.gathered = gathered;
            }
        }
    }

    fn handle(&mut self, now: Time, arrival: &Arrival, bytes: &[u8], landed: usize) {
        let incoming = Incoming { source: arrival.source, ecn: arrival.ecn, bytes, landed };
        let upper = &mut Routed { layer: &mut self.layer, locals: &mut self.locals };
        let handled = self.transport.handle_datagram(now, incoming, upper);
        if let Handled::Unreliable(address, payload_at) = handled
            && let Ok(peer) = self.transport.connect(address)
        {
            self.layer.deliver_unreliable(peer, &bytes[payload_at..]);
        }
        if self.transport.peer_count() > self.peers_seen {
            self.size_new_peers();
        }
    }
}
