//! What libfabric finds when it loads the library: fi_provider(3).

use std::{
    cell::UnsafeCell,
    ffi::{CStr, c_char},
    fs, ptr,
    sync::OnceLock,
};

use libfabric_sys as fi;

use super::{fabric, getinfo};

/// Later than any libfabric there is: a provider is left out when its version is below the one
/// that a caller asks for. What a caller knows is told by its own version.
const FI_VERSION: u32 = fi::FI_VERSION(2, 99);

/// This provider's version, 0.1.
const VERSION: u32 = fi::FI_VERSION(0, 1);

struct Provider(UnsafeCell<fi::fi_provider>);

// SAFETY: this crate only writes it before it is handed out; libfabric writes into its context.
unsafe impl Sync for Provider {}

static PROVIDER: Provider = Provider(UnsafeCell::new(fi::fi_provider {
    version: VERSION,
    fi_version: FI_VERSION,
    context: fi::fi_context { internal: [ptr::null_mut(); 4] },
    name: c"elastane".as_ptr(),
    getinfo: getinfo::getinfo,
    fabric: fabric::fabric,
    cleanup,
}));

/// Where libfabric knows the provider.
pub(super) fn address() -> *const fi::fi_provider {
    PROVIDER.0.get()
}

/// The name it answers to: `elastane`, or `efa` where that is asked for (`FI_ELASTANE_NAME`) or
/// said by the file's name.
pub(crate) fn name() -> &'static CStr {
    static NAME: OnceLock<&CStr> = OnceLock::new();
    NAME.get_or_init(|| {
        let asked = std::env::var("FI_ELASTANE_NAME");
        let is_efa = match asked.as_deref() {
            Ok(name) => name == "efa",
            Err(_) => file_name().is_some_and(|name| name.starts_with("libefa")),
        };
        if is_efa { c"efa" } else { c"elastane" }
    })
}

/// The name of the file that this code is in.
fn file_name() -> Option<String> {
    let mut found = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    let here: *const () = fi_prov_ini as *const ();
    // SAFETY: the address is one of this library; the answer has a place.
    if unsafe { libc::dladdr(here.cast(), &raw mut found) } == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of a loaded file ends in a zero and stays.
    let path = unsafe { CStr::from_ptr::<'static>(found.dli_fname as *const c_char) };
    let path = path.to_string_lossy();
    path.rsplit('/').next().map(str::to_owned)
}

/// Whether this machine has an EFA device of AWS, which must not be hidden by accident.
fn has_efa_device() -> bool {
    let Ok(devices) = fs::read_dir("/sys/class/infiniband") else { return false };
    devices.flatten().any(|device| {
        fs::read_link(device.path().join("device/driver"))
            .is_ok_and(|driver| driver.file_name().is_some_and(|name| name == "efa"))
    })
}

/// What libfabric looks up in the library and calls first: fi_provider(3).
#[unsafe(no_mangle)]
pub extern "C" fn fi_prov_ini() -> *mut fi::fi_provider {
    let provider = PROVIDER.0.get();
    if name() == c"efa" && has_efa_device() && std::env::var_os("FI_ELASTANE_HIDE_EFA").is_none() {
        crate::log::warn(format_args!(
            "this machine has an EFA device: set FI_ELASTANE_HIDE_EFA=1 to be served in its place"
        ));
        return ptr::null_mut();
    }
    // SAFETY: libfabric calls this once for each time it loads the library, before all else.
    unsafe { (*provider).name = name().as_ptr() };
    provider
}

extern "C" fn cleanup() {
    // Endpoints belong to the application, and whatever it leaves open ends with the process.
}
