//! Fabrics: fi_fabric(3), and waiting on several queues: fi_trywait(3).

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use libfabric_sys as fi;

use super::{Object, cntr, cq, domain, eq, guarded, memory::array};

struct Fab {
    api_version: u32,
    /// Domains that are open.
    domains: Arc<AtomicUsize>,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_fabric = fi::fi_ops_fabric {
    domain: open_domain,
    eq_open: eq::open,
    trywait,
    domain2: open_domain_with_flags,
    ..fi::fi_ops_fabric::ENOSYS
};

/// fi_fabric(3).
pub(super) unsafe extern "C" fn fabric(
    attr: *mut fi::fi_fabric_attr,
    fabric: *mut *mut fi::fid_fabric,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the attributes are there, or null.
        let api_version = unsafe { attr.as_ref() }.map_or(0, |attr| attr.api_version);
        let fid = fi::fid_fabric {
            fid: fi::fid { fclass: fi::FI_CLASS_FABRIC, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
            api_version,
        };
        let inner = Fab { api_version, domains: Arc::default() };
        // SAFETY: the caller wants it there.
        unsafe { *fabric = Object::publish(fid, inner) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        let fabric = unsafe { Object::<fi::fid_fabric, Fab>::of(fid.cast()) };
        if fabric.inner.domains.load(Ordering::Relaxed) > 0 {
            return -fi::FI_EBUSY;
        }
        // SAFETY: the application uses it no more.
        drop(unsafe { Object::<fi::fid_fabric, Fab>::take(fid.cast()) });
        0
    })
}

unsafe extern "C" fn open_domain(
    fabric: *mut fi::fid_fabric,
    info: *mut fi::fi_info,
    domain: *mut *mut fi::fid_domain,
    context: *mut c_void,
) -> c_int {
    // SAFETY: it is open.
    let fabric = &unsafe { Object::<fi::fid_fabric, Fab>::of(fabric) }.inner;
    // SAFETY: it is there, or null.
    let attr = unsafe { info.as_ref() }.map(|info| info.domain_attr);
    // SAFETY: as above.
    let attr = attr.and_then(|attr| unsafe { attr.as_ref() });
    let is_serial = attr.is_some_and(|attr| attr.threading == fi::FI_THREAD_DOMAIN);
    // SAFETY: the caller wants it there.
    unsafe { domain::open((fabric.api_version, is_serial), &fabric.domains, domain, context) }
}

unsafe extern "C" fn open_domain_with_flags(
    fabric: *mut fi::fid_fabric,
    info: *mut fi::fi_info,
    domain: *mut *mut fi::fid_domain,
    _flags: u64,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { open_domain(fabric, info, domain, context) }
}

unsafe extern "C" fn trywait(
    _fabric: *mut fi::fid_fabric,
    fids: *mut *mut fi::fid,
    count: c_int,
) -> c_int {
    guarded(|| {
        // SAFETY: there are so many.
        let fids = unsafe { array(fids.cast_const(), usize::try_from(count).unwrap_or(0)) };
        for &fid in fids {
            // SAFETY: every descriptor begins with its class.
            let class = unsafe { (*fid).fclass };
            let may = match class {
                // SAFETY: the class says what it is.
                fi::FI_CLASS_CQ => unsafe { cq::may_sleep(fid.cast()) },
                // SAFETY: as above.
                fi::FI_CLASS_EQ => unsafe { eq::may_sleep(fid.cast()) },
                // SAFETY: as above.
                fi::FI_CLASS_CNTR => unsafe { cntr::may_sleep(fid.cast()) },
                _ => return -fi::FI_EINVAL,
            };
            if !may {
                return -fi::FI_EAGAIN;
            }
        }
        0
    })
}
