//! What an endpoint counts. Names follow the EFA device's where it has the same counter.

/// Totals since the endpoint was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Reliable datagrams sent, first transmissions only.
    pub tx_pkts: u64,
    /// Payload bytes of those.
    pub tx_bytes: u64,
    /// Reliable datagrams delivered upwards.
    pub rx_pkts: u64,
    /// Payload bytes of those.
    pub rx_bytes: u64,
    /// Datagrams sent again.
    pub retrans_pkts: u64,
    /// Payload bytes sent again.
    pub retrans_bytes: u64,
    /// Times a whole context was silent past its retransmission timeout.
    pub retrans_timeout_events: u64,
    /// Retransmissions that turned out unneeded.
    pub spurious_retrans: u64,
    /// Peers given up as unresponsive.
    pub unresponsive_remote_events: u64,
    /// Peers given up as unreachable.
    pub unreachable_remote_events: u64,
    /// Peers found restarted.
    pub restarted_remote_events: u64,
    /// Paths taken out of use.
    pub path_quarantines: u64,
    /// Source ports exchanged for new ones.
    pub path_redraws: u64,
    /// Acknowledgements sent in a datagram of their own.
    pub tx_acks: u64,
    /// Probes sent.
    pub tx_probes: u64,
    /// Datagrams put back because the layer above had no room.
    pub tx_not_ready: u64,
    /// Notices from peers that they had no room.
    pub rx_not_ready: u64,
    /// Datagrams that had arrived before.
    pub rx_duplicates: u64,
    /// Datagrams dropped as malformed.
    pub rx_malformed: u64,
    /// Datagrams dropped because they were meant for, or came from, another incarnation.
    pub rx_stale: u64,
    /// Datagrams dropped because they came from where their claimed sender is not.
    pub rx_foreign: u64,
    /// Datagrams dropped because they lay outside the receive window.
    pub rx_out_of_window: u64,
    /// Datagrams dropped because no more peers can be known.
    pub rx_no_room_for_peer: u64,
}
