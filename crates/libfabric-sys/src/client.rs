//! libfabric as a caller uses it, in safe words: reliable datagram endpoints ([`FI_EP_RDM`]) of any
//! provider, their tagged messages, remote memory access and atomic operations.
//!
//! All memory that an endpoint's operations touch is its own and is freed after the endpoint is
//! closed, so no operation can outlive what it works on; it is read and written by atomic loads and
//! stores, since a peer may write to it at any time.
//!
//! ```no_run
//! use elastane_libfabric_sys::{Library, client::{Domain, Room, Wish}};
//!
//! let domain = Domain::open(Library::load()?, &Wish { provider: "tcp", ..Wish::default() })?;
//! let mut endpoint = domain.endpoint(Room { bytes: 4096, operations: 16 })?;
//! let name = endpoint.name().to_vec();
//! endpoint.connect(&name)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`FI_EP_RDM`]: crate::FI_EP_RDM

mod contexts;
mod domain;
mod endpoint;
mod memory;
mod offers;
#[cfg(test)]
mod tests;

use std::{
    ffi::{CStr, c_char, c_int},
    net::IpAddr,
};

pub use domain::{Description, Domain};
pub use endpoint::{Done, Endpoint, Event, Place, Room};
pub use offers::{check, providers};

use crate::Library;

/// What is wanted of a provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The provider's name, as `fi_info -l` lists it.
    pub provider: &'a str,
    /// Reads and writes of a peer's memory.
    pub remote_memory: bool,
    /// Atomic operations on it.
    pub atomics: bool,
    /// Messages and writes that come with data for the other side's program, of four bytes.
    pub remote_data: bool,
    /// A caller may sleep until something is complete.
    pub sleep: bool,
    /// The address of the interface to use; of providers whose addresses are those of the Internet
    /// protocol.
    pub source: Option<IpAddr>,
}

impl Wish<'_> {
    /// The names of what it takes beside messages.
    fn names(&self) -> Vec<&'static str> {
        let needs = [
            (self.remote_memory, "remote memory access"),
            (self.atomics, "atomic operations"),
            (self.remote_data, "data with messages and writes"),
        ];
        needs.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect()
    }
}

/// Why there is no endpoint, or why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no provider of that name.
    #[error(
        "this libfabric has no provider `{name}`; it has: {}; FI_PROVIDER_PATH names folders \
         with more",
        .known.join(", ")
    )]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The provider lacks something.
    #[error("the provider `{name}` has no {lacks}; these have: {}", .fitting.join(", "))]
    Unfit {
        /// Its name.
        name: String,
        /// What it lacks.
        lacks: String,
        /// The providers that have it.
        fitting: Vec<String>,
    },
    /// The provider cannot use the interface of this address.
    #[error("the provider `{name}` has no endpoint at {address}")]
    Elsewhere {
        /// Its name.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// A call failed.
    #[error("the provider `{name}` cannot {doing}: {reason}")]
    Failed {
        /// The provider's name.
        name: String,
        /// What was attempted.
        doing: &'static str,
        /// What libfabric says of the error.
        reason: String,
    },
}

/// What messages of failure are made with.
#[derive(Clone, Debug)]
struct Naming {
    library: Library,
    provider: String,
}

impl Naming {
    fn failed(&self, doing: &'static str, error: c_int) -> ClientError {
        let reason = self.library.strerror(error);
        ClientError::Failed { name: self.provider.clone(), doing, reason }
    }

    /// The table lacks a function.
    fn missing(&self, doing: &'static str) -> ClientError {
        self.failed(doing, crate::FI_ENOSYS)
    }

    /// An error if a call's answer is one.
    fn check(&self, doing: &'static str, status: c_int) -> Result<(), ClientError> {
        if status < 0 { Err(self.failed(doing, status)) } else { Ok(()) }
    }
}

/// A text of libfabric's, empty where there is none.
///
/// # Safety
/// `text` is null or ends in a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
