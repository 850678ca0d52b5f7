//! The library under libfabric, as Debian has it: what it asks of who loads it, what `fi_info` says
//! of it, `fi_pingpong` over it, and sleeping on its descriptors.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod fi_info;
mod fi_pingpong;
mod installed;
mod library;
mod waits;
