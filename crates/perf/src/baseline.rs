//! What the fabric is measured against.

mod iperf3;
mod tcp;
mod udp;

pub use iperf3::{Iperf3, installed_version as iperf3_version};
pub use tcp::{Tcp, TcpTuning, Wait};
pub use udp::UdpRaw;

use std::io;

/// Whether an error only says that a bounded wait passed.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Whether an error says that the peer closed its end.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::UnexpectedEof
    )
}
