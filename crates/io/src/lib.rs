//! Packet I/O: UDP devices, devices that wrap any device, and shared memory between endpoints of
//! one host.
#![deny(unsafe_code)]

mod fault;
mod packet_io;
mod pcap;
pub mod shm;
mod udp;

pub use fault::{FaultCounters, FaultDevice, FaultSide, FaultSpec, FaultSpecError};
pub use packet_io::{
    Arrival, DeviceCounters, Landing, Layout, Limits, PacketIo, Scratch, SendError,
};
pub use pcap::{CaptureDevice, CaptureError};
pub use udp::{BATCH_DATAGRAMS, OpenError, UdpDevice, UdpOptions};
