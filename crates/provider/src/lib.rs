//! `libelastane-fi.so`: the fabric as a provider of libfabric, loaded by any libfabric from 1.17 on.
//! See fi_provider(7).

mod fi;

use std::ffi::CStr;

/// The name users say: `elastane`, or `efa` where `FI_ELASTANE_NAME` says so.
pub(crate) fn name() -> &'static CStr {
    static NAME: std::sync::LazyLock<&CStr> = std::sync::LazyLock::new(fi::name_of_library);
    *NAME
}
