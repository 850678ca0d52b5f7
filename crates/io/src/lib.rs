//! Packet I/O: UDP devices, and devices that wrap any device.
#![deny(unsafe_code)]

mod fault;
mod packet_io;
mod pcap;
mod udp;

pub use fault::{FaultCounters, FaultDevice, FaultSide, FaultSpec, FaultSpecError};
pub use packet_io::{
    Arrival, DeviceCounters, Landing, Layout, Limits, PacketIo, Scratch, SendError,
};
pub use pcap::{CaptureDevice, CaptureError};
pub use udp::{BATCH_DATAGRAMS, OpenError, UdpDevice, UdpOptions};
