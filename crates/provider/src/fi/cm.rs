//! Names of endpoints: fi_cm(3).

use std::ffi::{c_int, c_void};

use libfabric_sys as fi;

use super::{endpoint::Ep, guarded, memory, status};

pub(super) static OPS: fi::fi_ops_cm = fi::fi_ops_cm { setname, getname, ..fi::fi_ops_cm::ENOSYS };

unsafe extern "C" fn getname(fid: *mut fi::fid, addr: *mut c_void, length: *mut usize) -> c_int {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        let address = ep.domain.lock().endpoints[ep.key].address();
        // SAFETY: the caller wants it there, and says how much room there is.
        status(unsafe { memory::write_address(address, addr, length) })
    })
}

unsafe extern "C" fn setname(fid: *mut fi::fid, addr: *mut c_void, _length: usize) -> c_int {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        // SAFETY: an address is given.
        let Some(address) = (unsafe { memory::socket_address(addr) }) else {
            return -fi::FI_EINVAL;
        };
        let mut state = ep.domain.lock();
        let endpoint = &mut state.endpoints[ep.key];
        if endpoint.is_enabled() {
            return -fi::FI_EOPBADSTATE;
        }
        endpoint.settings.listen = address;
        0
    })
}
