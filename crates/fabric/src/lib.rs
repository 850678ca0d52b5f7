//! Elastane's public Rust API: endpoints on a software fabric.
//!
//! - [`RdmEndpoint`]: reliable messages of any size, tagged or not, in order per sender; writes,
//!   reads and atomics on memory of peers.
//! - [`SrdEndpoint`]: reliable messages of one datagram, in any order.
//! - [`DatagramEndpoint`]: unreliable datagrams.
//!
//! An endpoint belongs to one thread at a time, needs no connection set-up and names its peers by
//! UDP address. The examples `ping_pong`, `bulk`, `many_to_one` and `shared_counter` of this
//! crate run on one machine.
#![forbid(unsafe_code)]

mod clock;
mod datagram;
mod engine;
mod one_sided;
mod options;
mod rdm;

pub use bytes::Bytes;
pub use clock::Clock;
pub use datagram::{DatagramEndpoint, SrdEndpoint};
pub use io::{CaptureDevice, FaultDevice, FaultSpec, PacketIo, SendError, UdpDevice, UdpOptions};
pub use memory::{Access, Atomic, Buffer, Datatype, KeyTaken, Operator, OutOfRange, Region};
pub use message::{
    AtomicRefused, AtomicRequest, Busy, Completion, Event, MAX_ATOMIC_BYTES, OpId,
    OperationCounters, OperationError, PeekInfo, ReadRequest, SendRequest, TagMatch, Tally,
    WriteRequest,
};
pub use options::{Error, Options};
pub use rdm::{RdmEndpoint, ReceiveRefused};
pub use srd::PeerError;
pub use wire::{PeerId, RKey, RefusalCause, RemotePlace, Tag};
