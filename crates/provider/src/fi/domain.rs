//! Domains: fi_domain(3).

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use libfabric_sys as fi;

use super::{Object, atomic, av, cntr, cq, endpoint, guarded, mr};
use crate::{
    domain::{Domain, Progress},
    params,
};

struct Dom {
    domain: Arc<Domain>,
    /// Ends with the domain.
    _progress: Option<Progress>,
    /// Domains open in the fabric.
    siblings: Arc<AtomicUsize>,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, bind, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_domain = fi::fi_ops_domain {
    av_open: av::open,
    cq_open: cq::open,
    endpoint: endpoint::open,
    cntr_open: cntr::open,
    query_atomic: atomic::query,
    endpoint2: endpoint::open_with_flags,
    ..fi::fi_ops_domain::ENOSYS
};

/// # Safety
/// `domain` is an open domain of this crate.
pub(super) unsafe fn of<'a>(domain: *mut fi::fid_domain) -> &'a Arc<Domain> {
    // SAFETY: the caller promised it.
    &unsafe { Object::<fi::fid_domain, Dom>::of(domain) }.inner.domain
}

/// Opens a domain in a fabric, for an application of this version, which makes one call at a time
/// or does not promise that.
///
/// # Safety
/// There is a place for the answer.
pub(super) unsafe fn open(
    (api_version, is_serial): (u32, bool),
    siblings: &Arc<AtomicUsize>,
    domain: *mut *mut fi::fid_domain,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        let Ok(regions) = fabric::new_regions() else { return -fi::FI_EIO };
        let inside = Arc::new(Domain::new(regions, api_version, is_serial));
        let is_wanted = params::of_an_offer().progress_thread;
        let progress = match is_wanted.then(|| Progress::start(&inside)).transpose() {
            Ok(progress) => progress,
            Err(error) => {
                crate::log::warn(format_args!("cannot start the progress thread: {error}"));
                return -fi::FI_EAGAIN;
            }
        };
        let fid = fi::fid_domain {
            fid: fi::fid { fclass: fi::FI_CLASS_DOMAIN, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
            mr: &raw const mr::OPS,
        };
        siblings.fetch_add(1, Ordering::Relaxed);
        let siblings = Arc::clone(siblings);
        let inner = Dom { domain: inside, _progress: progress, siblings };
        // SAFETY: the caller promised it.
        unsafe { *domain = Object::publish(fid, inner) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        if !unsafe { of(fid.cast()) }.lock().is_empty() {
            return -fi::FI_EBUSY;
        }
        // SAFETY: the application uses it no more.
        let closed = unsafe { Object::<fi::fid_domain, Dom>::take(fid.cast()) };
        closed.inner.siblings.fetch_sub(1, Ordering::Relaxed);
        0
    })
}

/// To an event queue, which no operation here needs.
unsafe extern "C" fn bind(_fid: *mut fi::fid, _with: *mut fi::fid, _flags: u64) -> c_int {
    0
}
