//! The boundary to C. Every function here is called by libfabric or through its inline functions,
//! with what their manual pages promise; that is what each `SAFETY` note leans on.

mod atomic;
mod av;
mod cm;
mod cntr;
mod cq;
mod domain;
mod endpoint;
mod eq;
mod fabric;
mod getinfo;
mod memory;
mod mr;
mod msg;
pub(crate) mod provider;
mod rma;
mod tagged;
mod transfer;
pub(crate) mod turn;
mod wait;

pub(crate) use provider::parameter;

use std::{
    ffi::{CStr, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use libfabric_sys as fi;

/// A descriptor as libfabric sees it, and what this crate keeps with it.
#[repr(C)]
#[derive(Debug)]
struct Object<F, T> {
    fid: F,
    inner: T,
}

impl<F, T> Object<F, T> {
    /// Hands it to the application, until it is closed.
    fn publish(fid: F, inner: T) -> *mut F {
        Box::into_raw(Box::new(Self { fid, inner })).cast()
    }

    /// # Safety
    /// `fid` is what [`Self::publish`] returned, and was not closed.
    unsafe fn of<'a>(fid: *mut F) -> &'a Self {
        // SAFETY: the descriptor is the first field of the object.
        unsafe { &*fid.cast::<Self>() }
    }

    /// Takes it back.
    ///
    /// # Safety
    /// As above, and nobody uses it any more.
    unsafe fn take(fid: *mut F) -> Self {
        // SAFETY: it was made by `Box::into_raw`.
        *unsafe { Box::from_raw(fid.cast::<Self>()) }
    }
}

/// Runs what a call does. No panic crosses the boundary: it would be undefined behaviour.
fn guarded<T: From<i16>>(what: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|_| {
        crate::log::warn(format_args!("a call has panicked; please report it"));
        // What `-FI_EOTHER` is.
        T::from(-256)
    })
}

/// What a call returns to C: 0, or the error negated.
fn status(result: Result<(), i32>) -> c_int {
    result.map_or_else(|error| -error, |()| 0)
}

/// The same for calls that move data.
fn count(result: Result<(), i32>) -> isize {
    result.map_or_else(|error| -(error as isize), |()| 0)
}

/// Waits until one of the descriptors is readable.
pub(crate) fn poll(descriptors: &mut [libc::pollfd], timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the slice says how many there are; no signal mask is given.
    unsafe {
        libc::ppoll(
            descriptors.as_mut_ptr(),
            descriptors.len() as libc::nfds_t,
            &raw const timeout,
            std::ptr::null(),
        );
    }
}

/// Writes a line into libfabric's log.
pub(crate) fn log(host: &fi::HostServices, level: fi::fi_log_level, text: &CStr) {
    let provider = provider::address();
    // SAFETY: libfabric knows the provider, since it has loaded it.
    if unsafe { host.log_enabled(provider, level, fi::FI_LOG_CORE) } {
        let line = CStr::to_string_lossy(text).into_owned() + "\n";
        if let Ok(line) = std::ffi::CString::new(line) {
            // SAFETY: as above.
            unsafe { host.log(provider, level, fi::FI_LOG_CORE, (c"elastane", 0), &line) };
        }
    }
}
