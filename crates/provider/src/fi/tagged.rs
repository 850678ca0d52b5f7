//! Tagged messages: fi_tagged(3).

use std::ffi::c_void;

use fabric::{Tag, TagMatch};
use libfabric_sys as fi;

use super::{
    endpoint::Ep,
    guarded,
    memory::{array, one},
    msg,
    transfer::{self, Ending, Outgoing},
};

pub(super) static OPS: fi::fi_ops_tagged = fi::fi_ops_tagged {
    recv,
    recvv,
    recvmsg,
    send,
    sendv,
    sendmsg,
    inject,
    senddata,
    injectdata,
    ..fi::fi_ops_tagged::ENOSYS
};

unsafe extern "C" fn recv(
    ep: *mut fi::fid_ep,
    buf: *mut c_void,
    len: usize,
    _desc: *mut c_void,
    from: fi::fi_addr_t,
    tag: u64,
    ignore: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, &one(buf, len), from, (tag, ignore), context, None) }
}

unsafe extern "C" fn recvv(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    from: fi::fi_addr_t,
    tag: u64,
    ignore: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, pieces, from, (tag, ignore), context, None) }
}

unsafe extern "C" fn recvmsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_tagged,
    flags: u64,
) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { receive(ep, pieces, msg.addr, (msg.tag, msg.ignore), msg.context, Some(flags)) }
}

/// # Safety
/// As fi_trecv(3).
unsafe fn receive(
    ep: *mut fi::fid_ep,
    pieces: &[libc::iovec],
    from: u64,
    (tag, ignore): (u64, u64),
    context: *mut c_void,
    flags: Option<u64>,
) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = Ending::new(context, flags.unwrap_or_else(|| ep.rx_flags()));
        let tag = TagMatch::Tagged { tag: Tag(tag), ignore };
        // SAFETY: the pieces are as the manual page says.
        unsafe { transfer::receive(ep, pieces, from, tag, ending) }
    })
}

unsafe extern "C" fn send(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    to: fi::fi_addr_t,
    tag: u64,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: Some(tag), data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post(ep, &outgoing, context, None) }
}

unsafe extern "C" fn sendv(
    ep: *mut fi::fid_ep,
    iov: *const libc::iovec,
    _desc: *mut *mut c_void,
    count: usize,
    to: fi::fi_addr_t,
    tag: u64,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(iov, count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post(ep, &Outgoing { pieces, to, tag: Some(tag), data: None }, context, None) }
}

unsafe extern "C" fn sendmsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_tagged,
    flags: u64,
) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let pieces = unsafe { array(msg.msg_iov, msg.iov_count) };
    let data = (flags & fi::FI_REMOTE_CQ_DATA != 0).then_some(msg.data);
    let outgoing = Outgoing { pieces, to: msg.addr, tag: Some(msg.tag), data };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post(ep, &outgoing, msg.context, Some(flags)) }
}

unsafe extern "C" fn inject(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    to: fi::fi_addr_t,
    tag: u64,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: Some(tag), data: None };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post_silently(ep, &outgoing) }
}

unsafe extern "C" fn senddata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    _desc: *mut c_void,
    data: u64,
    to: fi::fi_addr_t,
    tag: u64,
    context: *mut c_void,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: Some(tag), data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post(ep, &outgoing, context, None) }
}

unsafe extern "C" fn injectdata(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    len: usize,
    data: u64,
    to: fi::fi_addr_t,
    tag: u64,
) -> isize {
    let outgoing = Outgoing { pieces: &one(buf, len), to, tag: Some(tag), data: Some(data) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { msg::post_silently(ep, &outgoing) }
}
