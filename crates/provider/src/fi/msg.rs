//! Untagged messages: fi_msg(3).

use std::ffi::c_void;

use fabric::TagMatch;
use libfabric_sys as fi;

use super::{
    endpoint::Ep,
    guarded,
    memory::{array, one},
    transfer::{self, Ending, Outgoing},
};

pub(super) static OPS: fi::fi_ops_msg = fi::fi_ops_msg {
    recv,
    recvv,
    recvmsg,
    send,
    sendv,
    sendmsg,
    inject,
    senddata,
    injectdata,
    ..fi::fi_ops_msg::ENOSYS
};

unsafe extern "C" fn recv(
    ep: *mut fi::fid_ep,
    buf: *mut c_void,
    len: usize,
    _desc: *mut c_void,
    from: fi::fi_addr_t,
    context: *mut c_void,
) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, &one(buf, len), from, context, None) }
}

unsafe extern "C" fn recvv(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    from: fi::fi_addr_t,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, pieces, from, context, None) }
}

unsafe extern "C" fn recvmsg(ep: *mut fi::fid_ep, msg: *const fi::fi_msg, flags: u64) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, pieces, msg.addr, msg.context, Some(flags)) }
}

/// # Safety
/// As fi_recv(3).
unsafe fn receive(
    ep: *mut fi::fid_ep,
    pieces: &[libc::iovec],
    from: u64,
    context: *mut c_void,
    flags: Option<u64>,
) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = Ending::new(context, flags.unwrap_or_else(|| ep.rx_flags()));
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::receive(ep, pieces, from, TagMatch::Untagged, ending) }
    })
}

unsafe extern "C" fn send(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    to: fi::fi_addr_t,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &outgoing, context, None) }
}

unsafe extern "C" fn sendv(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    to: fi::fi_addr_t,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &Outgoing { pieces, to, tag: None, data: None }, context, None) }
}

unsafe extern "C" fn sendmsg(ep: *mut fi::fid_ep, msg: *const fi::fi_msg, flags: u64) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    let data = (flags & fi::FI_REMOTE_CQ_DATA != 0).then_some(msg.data);
    let outgoing = Outgoing { pieces, to: msg.addr, tag: None, data };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &outgoing, msg.context, Some(flags)) }
}

/// # Safety
/// As fi_send(3).
pub(super) unsafe fn post(
    ep: *mut fi::fid_ep,
    outgoing: &Outgoing<'_>,
    context: *mut c_void,
    flags: Option<u64>,
) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = Ending::new(context, flags.unwrap_or_else(|| ep.tx_flags()));
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::send(ep, outgoing, ending) }
    })
}

unsafe extern "C" fn inject(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    to: fi::fi_addr_t,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post_silently(ep, &outgoing) }
}

unsafe extern "C" fn senddata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    data: u64,
    to: fi::fi_addr_t,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &outgoing, context, None) }
}

unsafe extern "C" fn injectdata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    data: u64,
    to: fi::fi_addr_t,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: None, data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post_silently(ep, &outgoing) }
}

/// # Safety
/// As fi_inject(3).
pub(super) unsafe fn post_silently(ep: *mut fi::fid_ep, outgoing: &Outgoing<'_>) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::send(ep, outgoing, Ending::SILENT) }
    })
}
