//! What can be tuned.

use std::time::Duration;

/// Settings of an [`crate::Endpoint`]. The defaults suit Ethernet within one site, 1 to 100 Gb/s,
/// with peers that spin while they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Source ports a context spreads over; 1 to 256.
    pub paths: u16,
    /// The most bytes in flight to one peer.
    pub max_window: u32,
    /// Bytes in flight allowed to a new peer.
    pub initial_window: u32,
    /// Queueing delay aimed at, on top of the round trip of an empty network.
    pub queue_target: Duration,
    /// The shortest time after which silence is taken for a loss.
    pub min_rto: Duration,
    /// The longest time between two attempts to reach a silent peer.
    pub max_rto: Duration,
    /// The longest an acknowledgement waits for company.
    pub ack_delay: Duration,
    /// Bytes after which an acknowledgement waits no longer.
    pub ack_bytes: u32,
    /// The longest a train may occupy the context's own sending rate: trains shrink from the
    /// device's limit to one datagram on slow networks.
    pub train_time: Duration,
    /// Times a datagram is sent again to a receiver that was not ready; `None` for no limit.
    pub rnr_retries: Option<u32>,
    /// How long a peer that never answered is tried.
    pub unreachable_after: Duration,
    /// How long a peer that was alive may be silent while something is owed. An application that
    /// computes without calling us is silent too, so this is minutes.
    pub unresponsive_after: Duration,
    /// How long a peer's host may say "port unreachable" before that is believed.
    pub refused_after: Duration,
    /// The interval of probes to a peer that owes something while nothing is in flight.
    pub keepalive: Duration,
    /// How long a context without work keeps its state.
    pub idle_after: Duration,
    /// The most peers known at once.
    pub max_peers: u32,
    /// The first PSN of every context; for tests of the wrap.
    pub first_psn: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            paths: 16,
            // The product of 100 Gb/s and 80 us. More would not be faster on hosts: what is in
            // flight would no longer fit the processor's cache.
            max_window: 1 << 20,
            initial_window: 128 << 10,
            queue_target: Duration::from_micros(250),
            min_rto: Duration::from_micros(500),
            max_rto: Duration::from_millis(250),
            ack_delay: Duration::from_micros(25),
            ack_bytes: 192 << 10,
            train_time: Duration::from_micros(32),
            rnr_retries: None,
            unreachable_after: Duration::from_secs(30),
            unresponsive_after: Duration::from_secs(600),
            refused_after: Duration::from_secs(2),
            keepalive: Duration::from_secs(1),
            idle_after: Duration::from_secs(1),
            max_peers: 1 << 20,
            first_psn: 1,
        }
    }
}
