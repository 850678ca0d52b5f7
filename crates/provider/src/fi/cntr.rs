//! Counters: fi_cntr(3).

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use libfabric_sys as fi;

use super::{Object, guarded};
use crate::{counter::Counter, domain::Domain};

struct Cntr {
    domain: Arc<Domain>,
    key: usize,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, control, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_cntr =
    fi::fi_ops_cntr { read, readerr, add, set, wait, adderr, seterr, ..fi::fi_ops_cntr::ENOSYS };

/// # Safety
/// `cntr` is an open counter of this crate.
unsafe fn of<'a>(cntr: *mut fi::fid_cntr) -> &'a Cntr {
    // SAFETY: the caller promised it.
    &unsafe { Object::<fi::fid_cntr, Cntr>::of(cntr) }.inner
}

/// Its number in the domain.
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn key(cntr: *mut fi::fid_cntr) -> usize {
    // SAFETY: the caller promised it.
    unsafe { of(cntr) }.key
}

/// Makes progress. What waits on several at once does it through here (fi_trywait(3)).
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn progress(cntr: *mut fi::fid_cntr) {
    // SAFETY: the caller promised it.
    let Cntr { domain, key } = unsafe { of(cntr) };
    domain.lock().progress_counter(*key);
}

/// fi_cntr_open(3).
pub(super) unsafe extern "C" fn open(
    domain: *mut fi::fid_domain,
    attr: *mut fi::fi_cntr_attr,
    cntr: *mut *mut fi::fid_cntr,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the domain is open.
        let domain = unsafe { super::domain::of(domain) };
        // SAFETY: the attributes are there, or null.
        if let Some(attr) = unsafe { attr.as_ref() } {
            let waits = [fi::FI_WAIT_NONE, fi::FI_WAIT_UNSPEC, fi::FI_WAIT_YIELD];
            if attr.events != fi::FI_CNTR_EVENTS_COMP || !waits.contains(&attr.wait_obj) {
                return -fi::FI_ENOSYS;
            }
        }
        let key = domain.lock().counters.insert(Counter::default());
        let fid = fi::fid_cntr {
            fid: fi::fid { fclass: fi::FI_CLASS_CNTR, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
        };
        // SAFETY: the caller wants it there.
        unsafe { *cntr = Object::publish(fid, Cntr { domain: Arc::clone(domain), key }) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        let Cntr { domain, key } = unsafe { of(fid.cast()) };
        let mut state = domain.lock();
        if !state.counters[*key].endpoints.is_empty() {
            return -fi::FI_EBUSY;
        }
        state.counters.remove(*key);
        drop(state);
        // SAFETY: the application uses it no more.
        drop(unsafe { Object::<fi::fid_cntr, Cntr>::take(fid.cast()) });
        0
    })
}

unsafe extern "C" fn control(_fid: *mut fi::fid, _command: c_int, _arg: *mut c_void) -> c_int {
    -fi::FI_ENOSYS
}

unsafe extern "C" fn read(cntr: *mut fi::fid_cntr) -> u64 {
    look(cntr, |counter| counter.value)
}

unsafe extern "C" fn readerr(cntr: *mut fi::fid_cntr) -> u64 {
    look(cntr, |counter| counter.errors)
}

fn look(cntr: *mut fi::fid_cntr, what: fn(&Counter) -> u64) -> u64 {
    // SAFETY: it is open.
    let Cntr { domain, key } = unsafe { of(cntr) };
    let mut state = domain.lock();
    state.progress_counter(*key);
    what(&state.counters[*key])
}

unsafe extern "C" fn add(cntr: *mut fi::fid_cntr, value: u64) -> c_int {
    change(cntr, |counter| counter.value = counter.value.wrapping_add(value))
}

unsafe extern "C" fn set(cntr: *mut fi::fid_cntr, value: u64) -> c_int {
    change(cntr, |counter| counter.value = value)
}

unsafe extern "C" fn adderr(cntr: *mut fi::fid_cntr, value: u64) -> c_int {
    change(cntr, |counter| counter.errors = counter.errors.wrapping_add(value))
}

unsafe extern "C" fn seterr(cntr: *mut fi::fid_cntr, value: u64) -> c_int {
    change(cntr, |counter| counter.errors = value)
}

fn change(cntr: *mut fi::fid_cntr, what: impl FnOnce(&mut Counter)) -> c_int {
    // SAFETY: it is open.
    let Cntr { domain, key } = unsafe { of(cntr) };
    what(&mut domain.lock().counters[*key]);
    0
}

unsafe extern "C" fn wait(cntr: *mut fi::fid_cntr, threshold: u64, timeout: c_int) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let Cntr { domain, key } = unsafe { of(cntr) };
        let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
        let errors = domain.lock().counters[*key].errors;
        let mut failed = false;
        let reached = domain.wait(
            timeout,
            |state| state.counters[*key].endpoints.clone(),
            None,
            |state| {
                state.progress_counter(*key);
                let counter = &state.counters[*key];
                failed = counter.errors != errors;
                failed || counter.value >= threshold
            },
        );
        match (reached, failed) {
            (_, true) => -fi::FI_EAVAIL,
            (true, _) => 0,
            (false, _) => -fi::FI_ETIMEDOUT,
        }
    })
}
