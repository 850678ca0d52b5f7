//! Elastane's public Rust API: endpoints on a software fabric.
//!
//! - [`RdmEndpoint`]: reliable messages of any size, tagged or not, in order per sender.
//! - [`SrdEndpoint`]: reliable messages of one datagram, in any order.
//! - [`DatagramEndpoint`]: unreliable datagrams.
//!
//! An endpoint belongs to one thread at a time, needs no connection set-up and names its peers by
//! UDP address. The examples `ping_pong`, `bulk` and `many_to_one` of this crate run on one
//! machine.
#![forbid(unsafe_code)]

mod clock;
mod datagram;
mod engine;
mod metrics;
mod options;
mod rdm;

pub use bytes::Bytes;
pub use clock::Clock;
pub use datagram::{DatagramEndpoint, SrdEndpoint};
pub use inspect::Port as MetricsPort;
pub use io::{CaptureDevice, FaultDevice, FaultSpec, PacketIo, SendError, UdpDevice, UdpOptions};
pub use memory::Buffer;
pub use message::{Busy, Completion, Event, OpId, OperationError, PeekInfo, SendRequest, TagMatch};
pub use options::{Error, METRICS_VARIABLE, Metrics, Options};
pub use rdm::{RdmEndpoint, ReceiveRefused};
pub use srd::PeerError;
pub use wire::{PeerId, Tag};
