//! Memory regions: fi_mr(3). Keys are the application's, and places in a region count from its
//! beginning (`mr_mode` 0).

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
};

use fabric::{Access, Watch};
use libfabric_sys as fi;

use super::{
    Object, cntr, guarded,
    memory::{array, one, region},
};
use crate::{counter::Counter, domain::Domain};

/// What every version has of `fi_mr_attr`.
#[repr(C)]
struct Attributes {
    iov: *const libc::iovec,
    count: usize,
    access: u64,
    offset: u64,
    requested_key: u64,
    context: *mut c_void,
}

struct Mr {
    domain: Arc<Domain>,
    /// Under which peers reach it, if they may.
    key: Option<u64>,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, bind, control, ..fi::fi_ops::ENOSYS };

pub(super) static OPS: fi::fi_ops_mr =
    fi::fi_ops_mr { reg, regv, regattr, ..fi::fi_ops_mr::ENOSYS };

unsafe extern "C" fn reg(
    fid: *mut fi::fid,
    buf: *const c_void,
    len: usize,
    access: u64,
    _offset: u64,
    requested_key: u64,
    _flags: u64,
    mr: *mut *mut fi::fid_mr,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { register(fid, &one(buf, len), (access, requested_key), mr, context) }
}

unsafe extern "C" fn regv(
    fid: *mut fi::fid,
    iov: *const libc::iovec,
    count: usize,
    access: u64,
    _offset: u64,
    requested_key: u64,
    _flags: u64,
    mr: *mut *mut fi::fid_mr,
    context: *mut c_void,
) -> c_int {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { register(fid, pieces, (access, requested_key), mr, context) }
}

unsafe extern "C" fn regattr(
    fid: *mut fi::fid,
    attr: *const fi::fi_mr_attr,
    _flags: u64,
    mr: *mut *mut fi::fid_mr,
) -> c_int {
    // SAFETY: the attributes are there during the call, and their beginning is the same in all
    // versions.
    let attr = unsafe { &*attr.cast::<Attributes>() };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(attr.iov, attr.count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { register(fid, pieces, (attr.access, attr.requested_key), mr, attr.context) }
}

/// # Safety
/// As fi_mr_reg(3).
unsafe fn register(
    fid: *mut fi::fid,
    pieces: &[libc::iovec],
    (access, requested_key): (u64, u64),
    mr: *mut *mut fi::fid_mr,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: memory is registered with an open domain.
        let domain = unsafe { super::domain::of(fid.cast()) };
        let [piece] = pieces else { return -fi::FI_EINVAL };
        let is_remote = access & (fi::FI_REMOTE_READ | fi::FI_REMOTE_WRITE) != 0;
        let mut key = None;
        if is_remote {
            // SAFETY: the application registers memory that stays until the region is closed.
            let memory = unsafe { region(piece) };
            let regions = domain.lock().regions.clone();
            if regions.register_as(requested_key, memory, rights(access)).is_err() {
                return -fi::FI_ENOKEY;
            }
            key = Some(requested_key);
        }
        domain.lock().registrations += 1;
        let fid = fi::fid_mr {
            fid: fi::fid { fclass: fi::FI_CLASS_MR, context, ops: &raw const FID_OPS },
            mem_desc: std::ptr::null_mut(),
            key: requested_key,
        };
        // SAFETY: the caller wants it there.
        unsafe { *mr = Object::publish(fid, Mr { domain: Arc::clone(domain), key }) };
        0
    })
}

/// What peers may do: whoever may write may also change elements in one step.
fn rights(access: u64) -> Access {
    let has = |bit| access & bit != 0;
    let mut rights = Access::NONE;
    if has(fi::FI_REMOTE_READ) {
        rights = rights | Access::READ;
    }
    if has(fi::FI_REMOTE_WRITE) {
        rights = rights | Access::WRITE | Access::ATOMIC;
    }
    rights
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: the application uses it no more.
        let Mr { domain, key } = unsafe { Object::<fi::fid_mr, Mr>::take(fid.cast()) }.inner;
        let mut state = domain.lock();
        state.registrations -= 1;
        if let Some(key) = key {
            // What peers had begun fails at their side.
            state.regions.revoke(key);
        }
        0
    })
}

/// To a counter, which counts operations of peers on the region from then on, or to an endpoint:
/// the domain's endpoints serve it in any case.
unsafe extern "C" fn bind(fid: *mut fi::fid, with: *mut fi::fid, flags: u64) -> c_int {
    guarded(|| {
        // SAFETY: every descriptor begins with its class.
        match unsafe { (*with).fclass } {
            fi::FI_CLASS_CNTR => {}
            fi::FI_CLASS_EP => return 0,
            _ => return -fi::FI_EINVAL,
        }
        // SAFETY: the region is open.
        let Mr { domain, key } = &unsafe { Object::<fi::fid_mr, Mr>::of(fid.cast()) }.inner;
        // SAFETY: the class says what it is.
        let counter = unsafe { cntr::key(with.cast()) };
        let mut state = domain.lock();
        let Some(visits) = state.counters.get_mut(counter).map(Counter::visits) else {
            return -fi::FI_EINVAL;
        };
        state.watch_counted(counter);
        let wants = |flag| (flags & flag != 0).then(|| Arc::clone(&visits));
        let watch = Watch { reads: wants(fi::FI_REMOTE_READ), writes: wants(fi::FI_REMOTE_WRITE) };
        // What peers cannot reach has nothing to count.
        if let Some(key) = key {
            state.regions.watch(*key, watch);
        }
        0
    })
}

unsafe extern "C" fn control(_fid: *mut fi::fid, command: c_int, _arg: *mut c_void) -> c_int {
    if command == fi::FI_ENABLE { 0 } else { -fi::FI_ENOSYS }
}
