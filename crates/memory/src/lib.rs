//! Message buffers, and memory that peers may write, read and change.
//!
//! A [`Buffer`] is what an endpoint holds between the posting of a receive and its completion. A
//! [`Region`] is memory handed over for remote access; [`Regions`] gives it a key and says, for
//! each claim of a peer, whether it may.

mod access;
mod atomic;
mod buffer;
mod element;
mod raw;
mod region;
mod regions;

pub use access::Access;
pub use atomic::{Atomic, Datatype, Operator};
pub use buffer::Buffer;
pub use raw::borrowed_bytes;
pub use region::{OutOfRange, Region};
pub use regions::{Denied, KeyTaken, Regions, Visit, Watch};
