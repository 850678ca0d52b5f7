//! Completion queues: fi_cq(3).

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    sync::Arc,
    thread,
    time::Duration,
};

use libfabric_sys as fi;

use super::{Object, guarded, wait};
use crate::{
    domain::{Domain, State},
    queue::{Entry, Failure, Head, Queue},
    wake::Wake,
};

/// Versions that made the entry of an error longer.
const V1_5: u32 = fi::FI_VERSION(1, 5);
const V1_20: u32 = fi::FI_VERSION(1, 20);

struct Cq {
    domain: Arc<Domain>,
    key: usize,
    format: fi::fi_cq_format,
    wake: Option<Arc<Wake>>,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, control, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_cq = fi::fi_ops_cq {
    read,
    readfrom,
    readerr,
    sread,
    sreadfrom,
    signal,
    strerror,
    ..fi::fi_ops_cq::ENOSYS
};

/// # Safety
/// `cq` is an open completion queue of this crate.
unsafe fn of<'a>(cq: *mut fi::fid_cq) -> &'a Cq {
    // SAFETY: the caller promised it.
    &unsafe { Object::<fi::fid_cq, Cq>::of(cq) }.inner
}

/// Its number in the domain.
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn key(cq: *mut fi::fid_cq) -> usize {
    // SAFETY: the caller promised it.
    unsafe { of(cq) }.key
}

/// Whether the application may sleep on its descriptor: fi_trywait(3).
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn may_sleep(cq: *mut fi::fid_cq) -> bool {
    // SAFETY: the caller promised it.
    let Cq { domain, key, .. } = unsafe { of(cq) };
    let mut state = domain.lock();
    state.queues[*key].sleeper.clear();
    state.progress_queue(*key);
    let endpoints = state.queues[*key].endpoints.clone();
    let idle = endpoints.iter().all(|&at| state.may_sleep(at));
    let queue = &mut state.queues[*key];
    queue.sleeper.is_there = idle && queue.head() == Head::Nothing && !queue.signalled;
    queue.sleeper.is_there
}

/// fi_cq_open(3).
pub(super) unsafe extern "C" fn open(
    domain: *mut fi::fid_domain,
    attr: *mut fi::fi_cq_attr,
    cq: *mut *mut fi::fid_cq,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the domain is open.
        let domain = unsafe { super::domain::of(domain) };
        // SAFETY: the attributes are there, or null.
        let (format, wake) = match unsafe { attr.as_mut() } {
            None => (fi::FI_CQ_FORMAT_CONTEXT, Ok(None)),
            Some(attr) => {
                if attr.format == fi::FI_CQ_FORMAT_UNSPEC {
                    attr.format = fi::FI_CQ_FORMAT_CONTEXT;
                }
                (attr.format, wait::make(&mut attr.wait_obj))
            }
        };
        let wake = match wake {
            Ok(wake) => wake,
            Err(error) => return -error,
        };
        if format > fi::FI_CQ_FORMAT_TAGGED {
            return -fi::FI_ENOSYS;
        }
        let key = domain.lock().queues.insert(Queue::new(wake.clone()));
        let fid = fi::fid_cq {
            fid: fi::fid { fclass: fi::FI_CLASS_CQ, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
        };
        let inner = Cq { domain: Arc::clone(domain), key, format, wake };
        // SAFETY: the caller wants it there.
        unsafe { *cq = Object::publish(fid, inner) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        let Cq { domain, key, .. } = unsafe { of(fid.cast()) };
        let mut state = domain.lock();
        if !state.queues[*key].endpoints.is_empty() {
            return -fi::FI_EBUSY;
        }
        state.queues.remove(*key);
        drop(state);
        // SAFETY: the application uses it no more.
        drop(unsafe { Object::<fi::fid_cq, Cq>::take(fid.cast()) });
        0
    })
}

unsafe extern "C" fn control(fid: *mut fi::fid, command: c_int, arg: *mut c_void) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let cq = unsafe { of(fid.cast()) };
        // SAFETY: the caller wants an answer there.
        unsafe { wait::control(command, arg, cq.wake.as_ref()) }
    })
}

/// Writes an entry in this format at `buf`, and returns where the next one goes.
///
/// # Safety
/// There is room for it.
unsafe fn write(format: fi::fi_cq_format, buf: *mut c_void, entry: &Entry) -> *mut c_void {
    let &Entry { flags, length: len, data, tag, .. } = entry;
    let (op_context, place) = (entry.context as *mut c_void, entry.buffer as *mut c_void);
    match format {
        fi::FI_CQ_FORMAT_CONTEXT => {
            // SAFETY: the caller promised it.
            unsafe { put(buf, fi::fi_cq_entry { op_context }) }
        }
        fi::FI_CQ_FORMAT_MSG => {
            // SAFETY: as above.
            unsafe { put(buf, fi::fi_cq_msg_entry { op_context, flags, len }) }
        }
        fi::FI_CQ_FORMAT_DATA => {
            let whole = fi::fi_cq_data_entry { op_context, flags, len, buf: place, data };
            // SAFETY: as above.
            unsafe { put(buf, whole) }
        }
        _ => {
            let whole = fi::fi_cq_tagged_entry { op_context, flags, len, buf: place, data, tag };
            // SAFETY: as above.
            unsafe { put(buf, whole) }
        }
    }
}

/// Writes a value at `at`, and returns where it ends.
///
/// # Safety
/// There is room for it.
unsafe fn put<T>(at: *mut c_void, value: T) -> *mut c_void {
    // SAFETY: the caller promised it.
    unsafe { at.cast::<T>().write_unaligned(value) };
    at.wrapping_byte_add(size_of::<T>())
}

/// What a call returns that finds nothing.
const NOTHING: isize = -(fi::FI_EAGAIN as isize);

/// Takes up to `count` completions.
///
/// # Safety
/// There is room for them at `buf`, and at `sources` unless it is null.
unsafe fn take(
    state: &mut State,
    cq: &Cq,
    (mut buf, count): (*mut c_void, usize),
    sources: *mut fi::fi_addr_t,
) -> isize {
    let queue = &mut state.queues[cq.key];
    match queue.head() {
        Head::Nothing => return NOTHING,
        Head::Failure => return -(fi::FI_EAVAIL as isize),
        Head::Entries => {}
    }
    let mut taken = 0;
    while taken < count {
        let next = queue.take(|entry| {
            if !sources.is_null() {
                // SAFETY: the caller promised room for so many.
                let place = unsafe { sources.add(taken) };
                // SAFETY: as above.
                unsafe { place.write(entry.source) };
            }
            // SAFETY: as above.
            unsafe { write(cq.format, buf, entry) }
        });
        let Some(next) = next else { break };
        buf = next;
        taken += 1;
    }
    taken.cast_signed()
}

unsafe extern "C" fn read(cq: *mut fi::fid_cq, buf: *mut c_void, count: usize) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { readfrom(cq, buf, count, std::ptr::null_mut()) }
}

unsafe extern "C" fn readfrom(
    cq: *mut fi::fid_cq,
    buf: *mut c_void,
    count: usize,
    sources: *mut fi::fi_addr_t,
) -> isize {
    guarded(|| {
        // SAFETY: it is open.
        let cq = unsafe { of(cq) };
        let mut state = cq.domain.lock();
        state.progress_queue(cq.key);
        // SAFETY: the caller has room for so many.
        let taken = unsafe { take(&mut state, cq, (buf, count), sources) };
        if taken == NOTHING && state.is_time_to_yield() {
            drop(state);
            thread::yield_now();
        }
        taken
    })
}

unsafe extern "C" fn sread(
    cq: *mut fi::fid_cq,
    buf: *mut c_void,
    count: usize,
    cond: *const c_void,
    timeout: c_int,
) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { sreadfrom(cq, buf, count, std::ptr::null_mut(), cond, timeout) }
}

unsafe extern "C" fn sreadfrom(
    cq: *mut fi::fid_cq,
    buf: *mut c_void,
    count: usize,
    sources: *mut fi::fi_addr_t,
    _cond: *const c_void,
    timeout: c_int,
) -> isize {
    guarded(|| {
        // SAFETY: it is open.
        let cq = unsafe { of(cq) };
        let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
        let signal = cq.wake.as_ref().map(|wake| wake.descriptor());
        cq.domain.wait(
            timeout,
            |state| state.queues[cq.key].endpoints.clone(),
            signal,
            |state| {
                state.queues[cq.key].sleeper.clear();
                state.progress_queue(cq.key);
                let queue = &mut state.queues[cq.key];
                queue.sleeper.is_there = queue.head() == Head::Nothing && !queue.signalled;
                !queue.sleeper.is_there
            },
        );
        let mut state = cq.domain.lock();
        state.queues[cq.key].signalled = false;
        state.queues[cq.key].sleeper.is_there = false;
        // SAFETY: the caller has room for so many.
        unsafe { take(&mut state, cq, (buf, count), sources) }
    })
}

unsafe extern "C" fn signal(cq: *mut fi::fid_cq) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let cq = unsafe { of(cq) };
        let Some(wake) = &cq.wake else { return -fi::FI_ENOSYS };
        cq.domain.lock().queues[cq.key].signalled = true;
        wake.signal();
        0
    })
}

unsafe extern "C" fn readerr(
    cq: *mut fi::fid_cq,
    buf: *mut fi::fi_cq_err_entry,
    _flags: u64,
) -> isize {
    guarded(|| {
        // SAFETY: it is open.
        let cq = unsafe { of(cq) };
        let failure = cq.domain.lock().queues[cq.key].take_failure();
        let Some(failure) = failure else { return -(fi::FI_EAGAIN as isize) };
        // SAFETY: the caller has room for what its version of libfabric declares.
        unsafe { write_failure(cq.domain.api_version, buf, &failure) };
        1
    })
}

/// # Safety
/// There is room for the entry as libfabric declared it in this version.
unsafe fn write_failure(version: u32, buf: *mut fi::fi_cq_err_entry, failure: &Failure) {
    let Failure { entry, excess, error, text } = failure;
    crate::log::info(format_args!("an operation failed: {text}"));
    let whole = fi::fi_cq_err_entry {
        op_context: entry.context as *mut c_void,
        flags: entry.flags,
        len: entry.length,
        buf: entry.buffer as *mut c_void,
        data: entry.data,
        tag: entry.tag,
        olen: *excess,
        err: *error,
        prov_errno: *error,
        err_data: std::ptr::null_mut(),
        err_data_size: 0,
        src_addr: entry.source,
    };
    let bytes = match version {
        version if version < V1_5 => std::mem::offset_of!(fi::fi_cq_err_entry, err_data_size),
        version if version < V1_20 => std::mem::offset_of!(fi::fi_cq_err_entry, src_addr),
        _ => size_of::<fi::fi_cq_err_entry>(),
    };
    let from: *const u8 = (&raw const whole).cast();
    // SAFETY: the caller promised it.
    unsafe { from.copy_to_nonoverlapping(buf.cast(), bytes) };
}

unsafe extern "C" fn strerror(
    _cq: *mut fi::fid_cq,
    number: c_int,
    _data: *const c_void,
    buf: *mut c_char,
    length: usize,
) -> *const c_char {
    let text: &CStr = crate::errors::text(number);
    if !buf.is_null() && length > 0 {
        let bytes = text.to_bytes();
        let fits = bytes.len().min(length - 1);
        // SAFETY: there is room for so many, and the zero.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(buf.cast(), fits) };
        // SAFETY: as above.
        let end = unsafe { buf.add(fits) };
        // SAFETY: as above.
        unsafe { end.write(0) };
    }
    text.as_ptr()
}
