//! Counters: fi_cntr(3).

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use libfabric_sys as fi;

use super::{Object, guarded, wait};
use crate::{counter::Counter, domain::Domain, wake::Wake};

struct Cntr {
    domain: Arc<Domain>,
    key: usize,
    wake: Option<Arc<Wake>>,
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

/// Whether the application may sleep on its descriptor: fi_trywait(3). One that has changed since
/// the application saw it is to be looked at first.
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn may_sleep(cntr: *mut fi::fid_cntr) -> bool {
    // SAFETY: the caller promised it.
    let Cntr { domain, key, .. } = unsafe { of(cntr) };
    let mut state = domain.lock();
    state.counters[*key].sleeper.clear();
    state.progress_counter(*key);
    let idle = state.counted(*key).iter().all(|&at| state.may_sleep(at));
    state.counters[*key].collect();
    idle && state.counters[*key].may_sleep()
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
        let wake = match unsafe { attr.as_mut() } {
            None => Ok(None),
            Some(attr) if attr.events != fi::FI_CNTR_EVENTS_COMP => Err(fi::FI_ENOSYS),
            Some(attr) => wait::make(&mut attr.wait_obj),
        };
        let wake = match wake {
            Ok(wake) => wake,
            Err(error) => return -error,
        };
        let key = domain.lock().counters.insert(Counter::new(wake.clone()));
        let fid = fi::fid_cntr {
            fid: fi::fid { fclass: fi::FI_CLASS_CNTR, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
        };
        // SAFETY: the caller wants it there.
        unsafe { *cntr = Object::publish(fid, Cntr { domain: Arc::clone(domain), key, wake }) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        let Cntr { domain, key, .. } = unsafe { of(fid.cast()) };
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

unsafe extern "C" fn control(fid: *mut fi::fid, command: c_int, arg: *mut c_void) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let cntr = unsafe { of(fid.cast()) };
        // SAFETY: the caller wants an answer there.
        unsafe { wait::control(command, arg, cntr.wake.as_ref()) }
    })
}

unsafe extern "C" fn read(cntr: *mut fi::fid_cntr) -> u64 {
    look(cntr, |counter| counter.value)
}

unsafe extern "C" fn readerr(cntr: *mut fi::fid_cntr) -> u64 {
    look(cntr, |counter| counter.errors)
}

fn look(cntr: *mut fi::fid_cntr, what: fn(&Counter) -> u64) -> u64 {
    // SAFETY: it is open.
    let Cntr { domain, key, .. } = unsafe { of(cntr) };
    let mut state = domain.lock();
    state.progress_counter(*key);
    state.counters[*key].tell();
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
    let Cntr { domain, key, .. } = unsafe { of(cntr) };
    let mut state = domain.lock();
    let counter = &mut state.counters[*key];
    counter.collect();
    what(counter);
    0
}

unsafe extern "C" fn wait(cntr: *mut fi::fid_cntr, threshold: u64, timeout: c_int) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let Cntr { domain, key, wake } = unsafe { of(cntr) };
        let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
        let errors = domain.lock().counters[*key].errors;
        let mut failed = false;
        let reached = domain.wait(
            timeout,
            |state| state.counted(*key),
            wake.as_ref().map(|wake| wake.descriptor()),
            |state| {
                state.counters[*key].sleeper.clear();
                state.progress_counter(*key);
                let counter = &mut state.counters[*key];
                counter.tell();
                failed = counter.errors != errors;
                let is_over = failed || counter.value >= threshold;
                counter.sleeper.is_there = !is_over;
                is_over
            },
        );
        match (reached, failed) {
            (_, true) => -fi::FI_EAVAIL,
            (true, _) => 0,
            (false, _) => -fi::FI_ETIMEDOUT,
        }
    })
}
