//! Event queues: fi_eq(3). No operation here reports to one; what the application writes comes
//! back.

use std::{
    collections::VecDeque,
    ffi::{c_char, c_int, c_void},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::Duration,
};

use libfabric_sys as fi;
use parking_lot::Mutex;

use super::{Object, guarded, memory::array, wait};
use crate::wake::{Deadline, Wake};

struct Event {
    kind: u32,
    bytes: Vec<u8>,
}

struct Eq {
    events: Mutex<VecDeque<Event>>,
    wake: Option<Arc<Wake>>,
    /// Whether the application may write (`FI_WRITE`).
    writable: bool,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, control, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_eq =
    fi::fi_ops_eq { read, readerr, write, sread, strerror, ..fi::fi_ops_eq::ENOSYS };

/// # Safety
/// `eq` is an open event queue of this crate.
unsafe fn of<'a>(eq: *mut fi::fid_eq) -> &'a Eq {
    // SAFETY: the caller promised it.
    &unsafe { Object::<fi::fid_eq, Eq>::of(eq) }.inner
}

/// Whether the application may sleep on its descriptor: fi_trywait(3).
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn may_sleep(eq: *mut fi::fid_eq) -> bool {
    // SAFETY: the caller promised it.
    unsafe { of(eq) }.events.lock().is_empty()
}

/// fi_eq_open(3).
pub(super) unsafe extern "C" fn open(
    _fabric: *mut fi::fid_fabric,
    attr: *mut fi::fi_eq_attr,
    eq: *mut *mut fi::fid_eq,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the attributes are there, or null.
        let (flags, wake) = match unsafe { attr.as_mut() } {
            None => (0, Ok(None)),
            Some(attr) => (attr.flags, wait::make(&mut attr.wait_obj)),
        };
        let wake = match wake {
            Ok(wake) => wake,
            Err(error) => return -error,
        };
        let fid = fi::fid_eq {
            fid: fi::fid { fclass: fi::FI_CLASS_EQ, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
        };
        let writable = flags & fi::FI_WRITE != 0;
        let inner = Eq { events: Mutex::new(VecDeque::new()), wake, writable };
        // SAFETY: the caller wants it there.
        unsafe { *eq = Object::publish(fid, inner) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: the application uses it no more.
        drop(unsafe { Object::<fi::fid_eq, Eq>::take(fid.cast()) });
        0
    })
}

unsafe extern "C" fn control(fid: *mut fi::fid, command: c_int, arg: *mut c_void) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let eq = unsafe { of(fid.cast()) };
        // SAFETY: the caller wants an answer there.
        unsafe { wait::control(command, arg, eq.wake.as_ref()) }
    })
}

unsafe extern "C" fn read(
    eq: *mut fi::fid_eq,
    event: *mut u32,
    buf: *mut c_void,
    length: usize,
    flags: u64,
) -> isize {
    guarded(|| {
        // SAFETY: it is open.
        let eq = unsafe { of(eq) };
        let mut events = eq.events.lock();
        let Some(first) = events.front() else { return -(fi::FI_EAGAIN as isize) };
        if first.bytes.len() > length {
            return -(fi::FI_ETOOSMALL as isize);
        }
        let bytes = first.bytes.len();
        // SAFETY: the caller wants it there.
        unsafe { *event = first.kind };
        // SAFETY: there is room, as just looked.
        unsafe { first.bytes.as_ptr().copy_to_nonoverlapping(buf.cast(), bytes) };
        if flags & fi::FI_PEEK == 0 {
            events.pop_front();
        }
        if events.is_empty()
            && let Some(wake) = &eq.wake
        {
            wake.clear();
        }
        bytes.cast_signed()
    })
}

unsafe extern "C" fn readerr(
    _eq: *mut fi::fid_eq,
    _buf: *mut fi::fi_eq_err_entry,
    _flags: u64,
) -> isize {
    -(fi::FI_EAGAIN as isize)
}

unsafe extern "C" fn write(
    eq: *mut fi::fid_eq,
    event: u32,
    buf: *const c_void,
    length: usize,
    _flags: u64,
) -> isize {
    guarded(|| {
        // SAFETY: it is open.
        let eq = unsafe { of(eq) };
        if !eq.writable {
            return -(fi::FI_EINVAL as isize);
        }
        // SAFETY: so many bytes are there.
        let bytes = unsafe { array(buf.cast::<u8>(), length) }.to_vec();
        eq.events.lock().push_back(Event { kind: event, bytes });
        if let Some(wake) = &eq.wake {
            wake.signal();
        }
        length.cast_signed()
    })
}

unsafe extern "C" fn sread(
    eq: *mut fi::fid_eq,
    event: *mut u32,
    buf: *mut c_void,
    length: usize,
    timeout: c_int,
    flags: u64,
) -> isize {
    let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
    let deadline = Deadline::after(timeout);
    loop {
        // SAFETY: the arguments are those of the manual page.
        let got = unsafe { read(eq, event, buf, length, flags) };
        if got != -(fi::FI_EAGAIN as isize) || deadline.is_over() {
            return got;
        }
        // SAFETY: it is open.
        let Some(wake) = &unsafe { of(eq) }.wake else { return -(fi::FI_ENOSYS as isize) };
        let fd = wake.descriptor().as_raw_fd();
        let pause = deadline.left().min(Duration::from_millis(100));
        super::poll(&mut [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }], pause);
    }
}

unsafe extern "C" fn strerror(
    _eq: *mut fi::fid_eq,
    number: c_int,
    _data: *const c_void,
    _buf: *mut c_char,
    _length: usize,
) -> *const c_char {
    crate::errors::text(number).as_ptr()
}
