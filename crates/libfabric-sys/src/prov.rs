//! `rdma/providers/fi_prov.h`: what a provider hands to libfabric. Manual page fi_provider(3).

use std::ffi::{c_char, c_int, c_void};

use crate::{fi_context, fi_fabric_attr, fi_info, fid_fabric};

/// The name of the function that libfabric looks up in a provider's library: it takes nothing and
/// returns a [`fi_provider`], or null where the provider cannot work. See fi_provider(3).
pub const FI_PROV_INI: &std::ffi::CStr = c"fi_prov_ini";

/// How the file name of a provider's library ends. See fi_provider(3).
pub const FI_LIB_SUFFIX: &str = "fi.so";

/// A provider. It stays in writable memory of its own: libfabric writes into `context`.
/// See fi_provider(3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fi_provider {
    /// The provider's own version, as [`FI_VERSION`](crate::FI_VERSION) packs it.
    pub version: u32,
    /// The newest version of the interface that the provider knows. A caller that asks for a newer
    /// one does not see the provider, and libfabric loads none below 1.3.
    pub fi_version: u32,
    /// libfabric's own.
    pub context: fi_context,
    /// The name users say.
    pub name: *const c_char,
    /// fi_getinfo(3).
    pub getinfo: unsafe extern "C" fn(
        version: u32,
        node: *const c_char,
        service: *const c_char,
        flags: u64,
        hints: *const fi_info,
        info: *mut *mut fi_info,
    ) -> c_int,
    /// fi_fabric(3).
    pub fabric: unsafe extern "C" fn(
        attr: *mut fi_fabric_attr,
        fabric: *mut *mut fid_fabric,
        context: *mut c_void,
    ) -> c_int,
    /// Called before the library is unloaded, also in a forked child that exits.
    pub cleanup: unsafe extern "C" fn(),
}

/// What the tests compare with the headers.
#[cfg(test)]
pub(crate) const RECORDS: &[crate::layout::Record] = &[crate::layout::Record {
    name: "fi_provider",
    size: size_of::<fi_provider>(),
    fields: &[
        ("version", std::mem::offset_of!(fi_provider, version)),
        ("fi_version", std::mem::offset_of!(fi_provider, fi_version)),
        ("context", std::mem::offset_of!(fi_provider, context)),
        ("name", std::mem::offset_of!(fi_provider, name)),
        ("getinfo", std::mem::offset_of!(fi_provider, getinfo)),
        ("fabric", std::mem::offset_of!(fi_provider, fabric)),
        ("cleanup", std::mem::offset_of!(fi_provider, cleanup)),
    ],
}];
