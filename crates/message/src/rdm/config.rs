//! Limits and thresholds.

use super::sequel::Order;

/// What bounds an [`super::Rdm`] and where its protocols change over.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest message, in bytes, that is sent whole without waiting for a grant.
    pub eager_bytes: usize,
    /// How many bytes of a larger message are sent without waiting for a grant.
    pub unscheduled_bytes: usize,
    /// How many bytes may be granted and on their way to this endpoint, over all senders. Two
    /// bandwidth-delay products keep the last hop busy. A sender with nothing on its way is
    /// granted 64 KiB even beyond it, lest others that do not use their grants stop it.
    pub grant_budget: usize,
    /// How many bytes a sender is granted at first. It grows as the sender delivers: when many
    /// begin at once the first to be heard must not take all of the budget.
    pub first_grant: usize,
    /// How many bytes of messages that no receive was posted for are stored. Beyond it, senders
    /// are told to try later.
    pub unexpected_bytes: usize,
    /// How many bytes are stored of messages that arrived before their predecessors. When these
    /// arrive, they may move to a full unexpected store; what it then holds too much counts
    /// here. So the two limits together bound [`super::Rdm::stored_bytes`].
    pub ahead_bytes: usize,
    /// Which operations wait for which earlier ones to the same peer.
    pub order: Order,
    /// How many sends, and how many receives, may wait for completion or to be polled.
    pub max_operations: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            eager_bytes: 64 << 10,
            unscheduled_bytes: 64 << 10,
            grant_budget: 4 << 20,
            first_grant: 256 << 10,
            unexpected_bytes: 64 << 20,
            ahead_bytes: 32 << 20,
            order: Order::NONE,
            max_operations: 65_536,
        }
    }
}
