//! Operations that end before their time.

use srd::PeerError;
use wire::PeerId;

use super::{Rdm, stream::Stream};
use crate::{OpId, OperationError};

impl Rdm {
    /// Cancels an operation, which then completes with [`OperationError::Canceled`]. Returns
    /// `false`, and changes nothing, if it is too late: the receive has met a message, or all of
    /// the message was sent.
    pub fn cancel(&mut self, op: OpId) -> bool {
        if !op.is_receive() {
            return self.cancel_send(op);
        }
        let Some(receive) = self.posted.take_op(op) else { return false };
        self.fail_posted(receive, OperationError::Canceled);
        true
    }

    /// A peer is lost: whatever involves it fails, any-source receives stay, and it starts
    /// anew. Messages that are stored whole stay as well: their sender was told that they arrived,
    /// and may have closed its endpoint because of that.
    pub(super) fn fail_peer(&mut self, peer: PeerId, error: PeerError) {
        let error = OperationError::Peer(error);
        self.records.forget(peer);
        self.fail_sends(peer, error);
        for op in self.posted.all_directed(peer) {
            if let Some(receive) = self.posted.take_op(op) {
                self.fail_posted(receive, error);
            }
        }
        for is_read in [false, true] {
            let placing = self.placing.iter().filter(|(_, placing)| {
                placing.envelope.peer == peer
                    && matches!(placing.stream, Stream::Read(_)) == is_read
            });
            let mut placing: Vec<_> =
                placing.map(|(at, placing)| (placing.envelope.seq, at)).collect();
            placing.sort_unstable_by(|(one, _), (other, _)| one.distance(*other).cmp(&0));
            for (_, at) in placing {
                let placing = self.end_placing(at);
                if is_read {
                    self.complete_read(placing, Err(error));
                } else {
                    self.fail_receive(placing.receive, Some(peer), Some(placing.envelope), error);
                }
            }
        }
        self.fail_atomics(peer, error);
        self.forget_served(peer);
        for at in self.unexpected.partial_from(peer) {
            let stream = self.unexpected.get(at).envelope.stream();
            self.arrived(peer, stream);
            let stored = self.unexpected.lose(at, error);
            self.pool.recycle(stored);
        }
        self.drop_held(peer);
        self.peers.reset(peer);
        self.issue_grants();
    }
}
