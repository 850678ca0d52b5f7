//! One-sided reads and writes: fi_rma(3).

use std::ffi::c_void;

use fabric::RemotePlace;
use libfabric_sys as fi;

use super::{
    endpoint::Ep,
    guarded,
    memory::{array, one},
    transfer::{self, Ending, Outgoing, place},
};

pub(super) static OPS: fi::fi_ops_rma = fi::fi_ops_rma {
    read,
    readv,
    readmsg,
    write,
    writev,
    writemsg,
    inject,
    writedata,
    injectdata,
    ..fi::fi_ops_rma::ENOSYS
};

unsafe extern "C" fn read(
    ep: *mut fi::fid_ep,
    buf: *mut c_void,
    len: usize,
    _desc: *mut c_void,
    from: fi::fi_addr_t,
    addr: u64,
    key: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { fetch(ep, &one(buf, len), from, place(addr, key), context, None) }
}

unsafe extern "C" fn readv(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    from: fi::fi_addr_t,
    addr: u64,
    key: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { fetch(ep, pieces, from, place(addr, key), context, None) }
}

unsafe extern "C" fn readmsg(ep: *mut fi::fid_ep, msg: *const fi::fi_msg_rma, flags: u64) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    // SAFETY: there are that many places.
    let [target] = (unsafe { array(msg.rma_iov, msg.rma_iov_count) }) else {
        return -(fi::FI_EINVAL as isize);
    };
    let target = place(target.addr, target.key);
    // SAFETY: the arguments are those of the manual page.
    unsafe { fetch(ep, pieces, msg.addr, target, msg.context, Some(flags)) }
}

/// # Safety
/// As fi_read(3).
unsafe fn fetch(
    ep: *mut fi::fid_ep,
    pieces: &[libc::iovec],
    from: u64,
    place: RemotePlace,
    context: *mut c_void,
    flags: Option<u64>,
) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = Ending::new(context, flags.unwrap_or_else(|| ep.tx_flags()));
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::read(ep, pieces, from, place, ending) }
    })
}

unsafe extern "C" fn write(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { put(ep, &outgoing, place(addr, key), context, None) }
}

unsafe extern "C" fn writev(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let outgoing = Outgoing { pieces: unsafe { array(iov, count) }, to, tag: None, data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { put(ep, &outgoing, place(addr, key), context, None) }
}

unsafe extern "C" fn writemsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_rma,
    flags: u64,
) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    // SAFETY: there are that many places.
    let [target] = (unsafe { array(msg.rma_iov, msg.rma_iov_count) }) else {
        return -(fi::FI_EINVAL as isize);
    };
    let data = (flags & fi::FI_REMOTE_CQ_DATA != 0).then_some(msg.data);
    let outgoing = Outgoing { pieces, to: msg.addr, tag: None, data };
    let target = place(target.addr, target.key);
    // SAFETY: the arguments are those of the manual page.
    unsafe { put(ep, &outgoing, target, msg.context, Some(flags)) }
}

/// # Safety
/// As fi_write(3).
unsafe fn put(
    ep: *mut fi::fid_ep,
    outgoing: &Outgoing<'_>,
    place: RemotePlace,
    context: *mut c_void,
    flags: Option<u64>,
) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = Ending::new(context, flags.unwrap_or_else(|| ep.tx_flags()));
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::write(ep, outgoing, place, ending) }
    })
}

unsafe extern "C" fn inject(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { put_silently(ep, &outgoing, place(addr, key)) }
}

unsafe extern "C" fn writedata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    data: u64,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { put(ep, &outgoing, place(addr, key), context, None) }
}

unsafe extern "C" fn injectdata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    data: u64,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { put_silently(ep, &outgoing, place(addr, key)) }
}

/// # Safety
/// As fi_inject_write(3).
unsafe fn put_silently(ep: *mut fi::fid_ep, outgoing: &Outgoing<'_>, place: RemotePlace) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::write(ep, outgoing, place, Ending::SILENT) }
    })
}
