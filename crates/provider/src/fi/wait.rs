//! Wait objects of queues and counters: fi_cq(3), fi_eq(3), fi_cntr(3), fi_control(3).

use std::{
    ffi::{c_int, c_void},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use libfabric_sys as fi;

use crate::{endpoint::Call, wake::Wake};

/// The wait object that was asked for, if any. What was left open becomes a descriptor.
pub(super) fn make(wanted: &mut fi::fi_wait_obj) -> Call<Option<Arc<Wake>>> {
    if *wanted == fi::FI_WAIT_UNSPEC {
        *wanted = fi::FI_WAIT_FD;
    }
    match *wanted {
        fi::FI_WAIT_NONE => Ok(None),
        fi::FI_WAIT_FD | fi::FI_WAIT_YIELD => match Wake::new() {
            Ok(wake) => Ok(Some(Arc::new(wake))),
            Err(error) => Err(error as c_int),
        },
        _ => Err(fi::FI_ENOSYS),
    }
}

/// `FI_GETWAIT` and `FI_GETWAITOBJ`.
///
/// # Safety
/// There is room for the answer at `arg`.
pub(super) unsafe fn control(command: c_int, arg: *mut c_void, wake: Option<&Arc<Wake>>) -> c_int {
    let value = match (command, wake) {
        (fi::FI_GETWAIT, Some(wake)) => wake.descriptor().as_raw_fd(),
        (fi::FI_GETWAITOBJ, Some(_)) => fi::FI_WAIT_FD as c_int,
        (fi::FI_GETWAITOBJ, None) => fi::FI_WAIT_NONE as c_int,
        _ => return -fi::FI_ENOSYS,
    };
    // SAFETY: these commands have a number for an answer.
    unsafe { *arg.cast::<c_int>() = value };
    0
}
