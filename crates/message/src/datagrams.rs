//! Receives of one datagram each, served in the order posted.

use std::collections::VecDeque;

use memory::Buffer;
use srd::Delivery;
use wire::PeerId;

use crate::{Busy, Completion, Event, OpId, OperationError};

#[derive(Debug)]
struct Posted {
    op: OpId,
    context: u64,
    buffer: Buffer,
}

/// A queue of receives, and the completions of an endpoint whose messages are datagrams.
#[derive(Debug)]
pub struct DatagramQueue {
    receives: VecDeque<Posted>,
    completions: VecDeque<Completion>,
    serial: u32,
    max_operations: usize,
}

impl DatagramQueue {
    /// A queue in which up to `max_operations` receives may be posted or wait to be polled.
    pub fn new(max_operations: usize) -> Self {
        Self { receives: VecDeque::new(), completions: VecDeque::new(), serial: 0, max_operations }
    }

    /// Posts a receive.
    ///
    /// # Errors
    /// [`Busy`] at the operation limit, with the buffer.
    pub fn post_receive(&mut self, buffer: Buffer, context: u64) -> Result<OpId, (Busy, Buffer)> {
        if self.receives.len() + self.completions.len() >= self.max_operations {
            return Err((Busy, buffer));
        }
        let op = OpId::matched_receive(self.next_serial());
        self.receives.push_back(Posted { op, context, buffer });
        Ok(op)
    }

    /// Cancels a receive that has met no datagram; it completes in error. Returns whether it was
    /// there.
    pub fn cancel(&mut self, op: OpId) -> bool {
        let Some(at) = self.receives.iter().position(|posted| posted.op == op) else {
            return false;
        };
        let Some(Posted { op, context, buffer }) = self.receives.remove(at) else { return false };
        let event = received(buffer, 0, 0);
        let result = Err(OperationError::Canceled);
        self.completions.push_back(Completion { op, context, peer: None, event, result });
        true
    }

    /// A datagram from `peer` goes to the oldest receive. Without one it is not taken.
    pub fn deliver(&mut self, peer: PeerId, datagram: &[u8]) -> Delivery {
        let Some(Posted { op, context, mut buffer }) = self.receives.pop_front() else {
            return Delivery::NotReady;
        };
        buffer.write_at(0, datagram);
        let message_length = datagram.len() as u64;
        let length = message_length.min(buffer.len() as u64);
        let result = if length < message_length {
            Err(OperationError::Truncated { message_length })
        } else {
            Ok(())
        };
        let event = received(buffer, length, message_length);
        self.completions.push_back(Completion { op, context, peer: Some(peer), event, result });
        Delivery::Accepted
    }

    /// Completes a send that nothing more will be heard of: that of an unreliable datagram.
    pub fn complete_send(&mut self, peer: PeerId, context: u64) -> OpId {
        let op = OpId::send(0, self.next_serial());
        self.report(op, peer, context, Ok(()));
        op
    }

    /// The next completion.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Whether [`Self::poll_completion`] has one.
    pub fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// Receives posted and not complete.
    pub fn outstanding(&self) -> usize {
        self.receives.len()
    }

    /// Completions that wait to be polled.
    pub fn completions(&self) -> usize {
        self.completions.len()
    }

    pub(crate) fn report(
        &mut self,
        op: OpId,
        peer: PeerId,
        context: u64,
        result: Result<(), OperationError>,
    ) {
        let peer = Some(peer);
        self.completions.push_back(Completion { op, context, peer, event: Event::Sent, result });
    }

    pub(crate) fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

fn received(buffer: Buffer, length: u64, message_length: u64) -> Event {
    Event::Received { tag: None, remote_data: None, length, message_length, offset: 0, buffer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_meet_receives_in_order_and_long_ones_are_cut() {
        let mut queue = DatagramQueue::new(8);
        let cancelled = queue.post_receive(Buffer::zeroed(4), 1).unwrap();
        queue.post_receive(Buffer::zeroed(4), 2).unwrap();
        assert!(queue.cancel(cancelled));
        assert!(!queue.cancel(cancelled));
        assert_eq!(queue.deliver(PeerId(3), b"longer"), Delivery::Accepted);
        assert_eq!(queue.deliver(PeerId(3), b"more"), Delivery::NotReady);
        let first = queue.poll_completion().unwrap();
        assert_eq!((first.context, first.result), (1, Err(OperationError::Canceled)));
        let second = queue.poll_completion().unwrap();
        assert_eq!(second.result, Err(OperationError::Truncated { message_length: 6 }));
        let Event::Received { buffer, length: 4, .. } = second.event else {
            panic!("a receive completes as one");
        };
        assert_eq!(buffer.as_slice(), b"long");
    }

    #[test]
    fn receives_beyond_the_limit_are_busy_until_completions_are_polled() {
        let mut queue = DatagramQueue::new(1);
        queue.post_receive(Buffer::zeroed(1), 0).unwrap();
        assert!(queue.post_receive(Buffer::zeroed(1), 0).is_err());
        queue.deliver(PeerId(0), b"x");
        assert!(queue.post_receive(Buffer::zeroed(1), 0).is_err());
        assert!(queue.poll_completion().is_some());
        assert!(queue.post_receive(Buffer::zeroed(1), 0).is_ok());
    }
}
