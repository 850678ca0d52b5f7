//! The system calls of the UDP device, each behind a safe function. The only unsafe code of this
//! backend.

mod address;
mod control;
mod message;
mod option;

pub(super) use address::RawAddress;
pub(super) use control::ControlBuffer;
pub(super) use message::{
    BATCH, Slot, receive_batch, receive_message, send_batch, send_bytes, send_message,
};
pub(super) use option::{interface_mtu, option, set_option};
