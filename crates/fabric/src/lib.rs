//! Elastane's public Rust API: endpoints on a software fabric.
//!
//! - [`RdmEndpoint`]: reliable messages of any size, tagged or not, in order per sender; writes,
//!   reads and atomics on memory of peers. Peers on the same host are reached through shared
//!   memory, all others by UDP.
//! - [`SrdEndpoint`]: reliable messages of one datagram, in any order.
//! - [`DatagramEndpoint`]: unreliable datagrams.
//!
//! An endpoint belongs to one thread at a time: threads share one behind a lock, and sleep on its
//! descriptor without holding it. It needs no connection set-up and names its peers by UDP
//! address. A process may have any number. After a fork the endpoint stays the parent's: the child
//! must not use it, and dropping it there changes nothing for the parent. The examples `ping_pong`,
//! `bulk`, `many_to_one` and `shared_counter` of this crate run on one machine.
#![forbid(unsafe_code)]

mod clock;
mod datagram;
mod engine;
mod local;
mod metrics;
mod one_sided;
mod options;
mod rdm;
mod wait;

pub use bytes::Bytes;
pub use clock::Clock;
pub use datagram::{DatagramEndpoint, SrdEndpoint};
pub use inspect::Port as MetricsPort;
pub use io::shm::Unreadable;
pub use io::shm::{CrossMemoryOff, cross_memory};
pub use io::{CaptureDevice, FaultDevice, FaultSpec, PacketIo, SendError, UdpDevice, UdpOptions};
pub use local::{
    CrossMemory, LocalError, MAX_LINKS, PeerCopies, PeerRoute, SharedMemory, UdpReason,
};
pub use memory::{
    Access, Atomic, Buffer, Datatype, KeyTaken, Operator, OutOfRange, Region, Regions, Watch,
    borrowed_bytes,
};
pub use message::{
    AtomicRefused, AtomicRequest, BriefRequest, Busy, Claim, ClaimRefused, Completion, Event,
    MAX_ATOMIC_BYTES, MAX_BRIEF, MultiReceiveRequest, OpId, OperationClass, OperationCounters,
    OperationError, Order, PeekInfo, ReadRequest, SendRequest, Served, TagMatch, Tally,
    WriteRequest,
};
pub use one_sided::new_regions;
pub use options::{Error, METRICS_VARIABLE, Metrics, Options};
pub use rdm::{RdmEndpoint, ReceiveRefused};
pub use srd::{PeerError, Silence};
pub use wire::{PeerId, RKey, RefusalCause, RemotePlace, Tag};
