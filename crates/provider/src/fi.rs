//! The functions that libfabric calls.

mod getinfo;

use std::{
    ffi::{CStr, OsStr, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use libfabric_sys::{FI_ENOSYS, FI_VERSION, fi_context, fi_fabric_attr, fi_provider, fid_fabric};

/// A provider in memory of its own, which libfabric writes into.
struct Registered(*mut fi_provider);

// SAFETY: the pointer is given to libfabric and never followed here.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

/// What libfabric looks up in a provider's library.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fi_prov_ini() -> *mut fi_provider {
    static PROVIDER: OnceLock<Registered> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            Registered(Box::into_raw(Box::new(fi_provider {
                version: FI_VERSION(0, 1),
                fi_version: FI_VERSION(2, 99),
                context: fi_context::default(),
                name: crate::name().as_ptr(),
                getinfo: getinfo::getinfo,
                fabric,
                cleanup,
            })))
        })
        .0
}

extern "C" fn fabric(_: *mut fi_fabric_attr, _: *mut *mut fid_fabric, _: *mut c_void) -> c_int {
    -FI_ENOSYS
}

extern "C" fn cleanup() {}

/// `efa` where the library's file is called `libefa-fi.so` or `FI_ELASTANE_NAME` says so.
pub(crate) fn name_of_library() -> &'static CStr {
    let asked = std::env::var_os("FI_ELASTANE_NAME");
    let file = library_file().and_then(|path| path.to_bytes().rsplit(|byte| *byte == b'/').next());
    if asked.as_deref() == Some(OsStr::new("efa")) || file == Some(b"libefa-fi.so") {
        return c"efa";
    }
    c"elastane"
}

/// The file this code was loaded from.
fn library_file() -> Option<&'static CStr> {
    let mut found = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    let here = fi_prov_ini as extern "C" fn() -> *mut fi_provider as *const c_void;
    // SAFETY: the answer is written into a structure that outlives the call.
    let known = unsafe { libc::dladdr(here, &mut found) };
    if known == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own text, which lives as long as the library.
    Some(unsafe { CStr::from_ptr(found.dli_fname) })
}
