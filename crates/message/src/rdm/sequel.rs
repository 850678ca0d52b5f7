//! Which operations wait for which earlier ones of the same peer (P§8.13).

use slab::Slab;
use wire::PeerId;

use super::{Rdm, peers::Active, send::SendOp};

/// The kinds of operation between which order can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationClass {
    /// Messages.
    Send,
    /// Writes of a peer's memory.
    Write,
    /// Reads of it.
    Read,
    /// Atomic operations on it.
    Atomic,
}

/// Which operations on a peer take effect there only once which earlier ones have (`FI_ORDER_*`);
/// combine them with `|`. What is asked for holds for operations of any length, anywhere in the
/// peer's memory.
///
/// Messages are always matched in the order they were sent, and atomic operations are always
/// executed in the order they were posted; neither costs anything. All else costs a round trip
/// for each operation that has to wait for one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order(u16);

impl Order {
    /// Nothing but what always holds.
    pub const NONE: Self = Self(0);
    /// `FI_ORDER_RMA_WAW`.
    pub const WRITE_AFTER_WRITE: Self = Self::of(OperationClass::Write, OperationClass::Write);
    /// `FI_ORDER_RMA_WAR`.
    pub const WRITE_AFTER_READ: Self = Self::of(OperationClass::Write, OperationClass::Read);
    /// `FI_ORDER_RMA_RAW`.
    pub const READ_AFTER_WRITE: Self = Self::of(OperationClass::Read, OperationClass::Write);
    /// `FI_ORDER_RMA_RAR`.
    pub const READ_AFTER_READ: Self = Self::of(OperationClass::Read, OperationClass::Read);
    /// `FI_ORDER_SAW`: a message is matched once the writes before it are placed.
    pub const SEND_AFTER_WRITE: Self = Self::of(OperationClass::Send, OperationClass::Write);
    /// `FI_ORDER_SAR`.
    pub const SEND_AFTER_READ: Self = Self::of(OperationClass::Send, OperationClass::Read);
    /// `FI_ORDER_WAS`.
    pub const WRITE_AFTER_SEND: Self = Self::of(OperationClass::Write, OperationClass::Send);
    /// `FI_ORDER_RAS`.
    pub const READ_AFTER_SEND: Self = Self::of(OperationClass::Read, OperationClass::Send);

    /// `later` waits for every `earlier` one.
    pub const fn of(later: OperationClass, earlier: OperationClass) -> Self {
        Self(1 << (4 * later as u16 + earlier as u16))
    }

    /// Whether all order of `wanted` is kept.
    pub const fn includes(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    const fn before(self, later: OperationClass) -> Predecessors {
        Predecessors((self.0 >> (4 * later as u16) & 0xf) as u8)
    }
}

impl std::ops::BitOr for Order {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The classes whose earlier operations an operation waits for, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Predecessors(u8);

impl Predecessors {
    const ALL: Self = Self(0xf);
}

/// Operations of each class that have begun and are not complete.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unfinished([u32; 4]);

impl Unfinished {
    pub(super) const fn begin(&mut self, class: OperationClass) {
        self.0[class as usize] += 1;
    }

    fn has_any(self, of: Predecessors) -> bool {
        of.0 != 0 && (0..4).any(|class| of.0 & 1 << class != 0 && self.0[class] > 0)
    }
}

impl Active {
    /// What is to begin next: an answer to the peer, or the oldest operation unless it waits.
    pub(super) fn front(&self, sends: &Slab<SendOp>) -> Option<usize> {
        self.answers.front().or_else(|| self.queue.front().filter(|&at| !self.keeps(&sends[at])))
    }

    /// Whether anything has to leave before a message that is posted now, or with it: nobody may
    /// make progress for a while after that, and who waits for a word about a message of its own
    /// would wait as long.
    pub(super) fn is_before_a_message(&self, order: Order) -> bool {
        self.has_work()
            || !self.queue.is_empty()
            || self.fence
            || self.unfinished.has_any(order.before(OperationClass::Send))
    }

    fn keeps(&self, send: &SendOp) -> bool {
        self.unfinished.has_any(send.after)
    }

    /// Notes whether the queue's first waits, before anybody is told that there is work.
    pub(super) fn look_at_front(&mut self, sends: &Slab<SendOp>) {
        self.is_kept = self.queue.front().is_some_and(|at| self.keeps(&sends[at]));
    }
}

impl Rdm {
    /// What is posted to `peer` from now on takes effect there only once everything posted before
    /// is complete (`FI_FENCE`).
    pub fn fence(&mut self, peer: PeerId) {
        // A peer that is idle has nothing outstanding.
        if let Some(active) = self.peers.active_mut(peer) {
            active.fence = true;
        }
    }

    /// What an operation that is posted now has to wait for.
    pub(super) fn predecessors(&mut self, peer: PeerId, class: OperationClass) -> Predecessors {
        let active = self.peers.activate(peer);
        if std::mem::take(&mut active.fence) {
            Predecessors::ALL
        } else {
            self.config.order.before(class)
        }
    }

    /// An operation that had begun is complete: another may wait for it.
    pub(super) fn finished(&mut self, peer: PeerId, class: OperationClass) {
        let Some(active) = self.peers.active_mut(peer) else { return };
        active.unfinished.0[class as usize] -= 1;
        if active.is_kept {
            active.look_at_front(&self.sends);
            self.peers.announce(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_names_what_waits_and_for_what() {
        let order = Order::SEND_AFTER_WRITE | Order::READ_AFTER_WRITE;
        assert!(order.includes(Order::SEND_AFTER_WRITE) && !order.includes(Order::SEND_AFTER_READ));
        let mut unfinished = Unfinished::default();
        unfinished.begin(OperationClass::Write);
        assert!(unfinished.has_any(order.before(OperationClass::Send)));
        assert!(unfinished.has_any(order.before(OperationClass::Read)));
        assert!(!unfinished.has_any(order.before(OperationClass::Write)));
        assert!(unfinished.has_any(Predecessors::ALL));
    }
}
