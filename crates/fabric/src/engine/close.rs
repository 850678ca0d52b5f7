//! Ends: of an endpoint, and of peers that say goodbye.

use std::time::Duration;

use io::PacketIo;
use wire::{PeerId, Time};

use super::{Engine, Layer};
use crate::{Error, local::Locals};

/// Looks at the device for the last words of a peer: others' may have come before them.
const LAST_WORDS: usize = 64;

impl<D: PacketIo, L: Layer> Engine<D, L> {
    /// Whether nothing is left to send or to be acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        !self.unsent
            && self.layer.sends_outstanding() == 0
            && self.transport.is_drained()
            && self.locals.is_drained()
    }

    /// Waits until everything sent is acknowledged, at most `linger`, then says goodbye.
    pub(crate) fn close(&mut self, linger: Duration) -> Result<(), Error> {
        let until = self.watch.now() + linger;
        while !self.is_drained() && self.watch.now() < until {
            if !self.look_at_everything()? && !self.is_drained() {
                let left = until.since(self.watch.now());
                self.sleep(Some(left))?;
            }
        }
        let drained = self.is_drained();
        self.say_goodbye();
        if drained {
            return Ok(());
        }
        Err(Error::Unfinished { waited: linger, operations: self.layer.sends_outstanding() })
    }

    pub(crate) fn say_goodbye(&mut self) {
        // A child process has copies of sockets and mappings, but the peers are its parent's, and
        // what closes a link closes it for both.
        if !self.is_owner() {
            std::mem::forget(std::mem::replace(&mut self.locals, Locals::off()));
            return;
        }
        self.transport.close();
        let now = self.watch.now();
        // One datagram a peer; what does not leave at once is not worth waiting for.
        for _ in 0..=self.transport.peer_count() {
            if !self.flush(now, 1) {
                break;
            }
        }
        self.locals.close();
        self.wake_peers(now);
    }

    /// Receives what a peer that closes its link sent by UDP. Returns whether it said goodbye.
    pub(super) fn hear_out(&mut self, now: Time, peer: PeerId) -> Result<bool, Error> {
        for _ in 0..LAST_WORDS {
            if !self.receive(Some(now))? || !self.locals.is_up(peer) {
                break;
            }
        }
        Ok(!self.locals.is_up(peer))
    }
}
