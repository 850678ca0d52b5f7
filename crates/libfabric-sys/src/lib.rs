//! libfabric's C declarations in the layout of its newest headers (2.7), for who implements a
//! provider and for who calls one. One module per header; every name is libfabric's, so that it can
//! be looked up in the manual page that its documentation names.
//!
//! Nothing here links libfabric. A provider is loaded by a copy of it, and which one is only known
//! then: [`HostServices`] finds the log and the parameters of that copy. A caller loads one at run
//! time, [`Library`]; [`client`] is what such a caller needs of it, without unsafe code of its own.
//!
//! **Structures.** Later versions of libfabric add fields at the end only, so these structures hold
//! those of every version. Whoever got one from elsewhere may look at the added fields (the
//! documentation says since when) only if the other side has them.
//!
//! **Tables of functions.** libfabric's inline functions call through most slots without a look. So
//! no slot here can be null, and each table has a constant `ENOSYS` whose slots all answer
//! `-FI_ENOSYS` (or null, or 0, where the type leaves no room for an error) and whose `size` is
//! right:
//!
//! ```
//! use elastane_libfabric_sys::{fi_ops_cq, fid_cq};
//!
//! extern "C" fn signal(_: *mut fid_cq) -> std::ffi::c_int {
//!     0
//! }
//!
//! static CQ: fi_ops_cq = fi_ops_cq { signal, ..fi_ops_cq::ENOSYS };
//! assert_eq!(CQ.size, size_of::<fi_ops_cq>());
//! ```
//!
//! A table that came from elsewhere may be shorter, and have holes. It is never read as a whole;
//! each slot has a [`Slot`] of its name which looks first: `fi_ops_cq::signal.of(cq.ops)`.
//!
//! **Enumerations** are integers, since the other side may say anything.

#![expect(non_camel_case_types, reason = "the names of C, so that they can be looked up")]
#![cfg_attr(
    test,
    expect(clippy::cast_possible_truncation, reason = "sizes of this machine, printed by C")
)]

mod atomic;
pub mod client;
mod cm;
mod collective;
mod declare;
mod domain;
mod endpoint;
mod eq;
mod errno;
mod ext;
mod fabric;
#[cfg(test)]
mod layout;
mod library;
mod log;
mod prov;
mod rma;
mod tagged;

pub use atomic::*;
pub use cm::*;
pub use collective::*;
pub use declare::Slot;
pub use domain::*;
pub use endpoint::*;
pub use eq::*;
pub use errno::*;
pub use ext::*;
pub use fabric::*;
pub use library::{HostServices, Library, Unusable};
pub use log::*;
pub use prov::*;
pub use rma::*;
pub use tagged::*;
