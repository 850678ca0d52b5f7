//! Atomic operations: fi_atomic(3).

use std::ffi::{c_int, c_void};

use bytes::Bytes;
use fabric::{Atomic, AtomicRequest, Datatype, MAX_ATOMIC_BYTES, Operator, Region};
use libfabric_sys as fi;

use super::{
    endpoint::Ep,
    guarded,
    memory::{array, region},
    status,
    transfer::{Ending, always, place},
};
use crate::endpoint::Call;

pub(super) static OPS: fi::fi_ops_atomic = fi::fi_ops_atomic {
    write,
    writev,
    writemsg,
    inject,
    readwrite,
    readwritev,
    readwritemsg,
    compwrite,
    compwritev,
    compwritemsg,
    writevalid,
    readwritevalid,
    compwritevalid,
    ..fi::fi_ops_atomic::ENOSYS
};

/// The three kinds of operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Change,
    Fetch,
    Compare,
}

/// An operation as a call gives it.
struct Asked<'a> {
    shape: Shape,
    operands: &'a [fi::fi_ioc],
    comparands: &'a [fi::fi_ioc],
    results: &'a [fi::fi_ioc],
    to: u64,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
}

fn piece(addr: *const c_void, count: usize) -> [fi::fi_ioc; 1] {
    [fi::fi_ioc { addr: addr.cast_mut(), count }]
}

/// The operation by its numbers, if it is one of this shape.
fn named(shape: Shape, datatype: fi::fi_datatype, op: fi::fi_op) -> Option<Atomic> {
    let datatype = Datatype::from_code(u8::try_from(datatype).ok()?)?;
    let operator = Operator::from_code(u8::try_from(op).ok()?)?;
    let fits = match shape {
        Shape::Change => !operator.compares() && operator != Operator::Read,
        Shape::Fetch => !operator.compares(),
        Shape::Compare => operator.compares(),
    };
    let atomic = Atomic { operator, datatype };
    (fits && atomic.is_supported()).then_some(atomic)
}

/// # Safety
/// As fi_atomic(3) says of the pieces.
unsafe fn post(ep: *mut fi::fid_ep, asked: &Asked<'_>, ending: impl Fn(&Ep) -> Ending) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(ep) };
        let ending = ending(ep);
        super::count(ep.call(|endpoint, vector| {
            // SAFETY: the pieces are as the manual page says.
            let (request, results) = unsafe { request(asked) }?;
            if ending.flags & fi::FI_FENCE != 0 {
                endpoint.fence(vector, asked.to)?;
            }
            let is_write = asked.shape == Shape::Change;
            let class = fi::FI_ATOMIC | if is_write { fi::FI_WRITE } else { fi::FI_READ };
            let posted = if is_write {
                ending.posted(endpoint.tx, class)
            } else {
                Some(always(ending, endpoint.tx, class, (0, results)))
            };
            endpoint.atomic(vector, asked.to, request, posted)
        }))
    })
}

/// # Safety
/// The pieces are as fi_atomic(3) says.
unsafe fn request(asked: &Asked<'_>) -> Call<(AtomicRequest, Vec<Region>)> {
    let atomic = named(asked.shape, asked.datatype, asked.op).ok_or(fi::FI_EOPNOTSUPP)?;
    let size = atomic.datatype.size();
    let count: usize = asked.operands.iter().map(|piece| piece.count).sum();
    let mut operands = Vec::with_capacity(atomic.operand_bytes(count));
    if atomic.operator != Operator::Read {
        for piece in asked.operands.iter().chain(asked.comparands) {
            // SAFETY: the caller promised so many elements.
            let bytes = unsafe { array(piece.addr.cast_const().cast::<u8>(), piece.count * size) };
            operands.extend_from_slice(bytes);
        }
    }
    let wanted = asked.results.iter().filter(|piece| piece.count > 0 && !piece.addr.is_null());
    let results = wanted.map(|piece| {
        let bytes = libc::iovec { iov_base: piece.addr, iov_len: piece.count * size };
        // SAFETY: the caller promised room for so many elements, until the operation is complete.
        unsafe { region(&bytes) }
    });
    let request = AtomicRequest {
        atomic,
        place: place(asked.addr, asked.key),
        count: u16::try_from(count).map_err(|_| fi::FI_EMSGSIZE)?,
        operands: Bytes::from(operands),
        fetch: asked.shape != Shape::Change,
        context: 0,
        complete: true,
    };
    Ok((request, results.collect()))
}

/// The end of a plain call.
fn plain(context: *mut c_void) -> impl Fn(&Ep) -> Ending {
    move |ep| Ending::new(context, ep.tx_flags())
}

unsafe extern "C" fn write(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    count: usize,
    _desc: *mut c_void,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    let operands = &piece(buf, count);
    let (shape, comparands, results) = (Shape::Change, &[][..], &[][..]);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn writev(
    ep: *mut fi::fid_ep,
    iov: *const fi::fi_ioc,
    _desc: *mut *mut c_void,
    count: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let operands = unsafe { array(iov, count) };
    let (shape, comparands, results) = (Shape::Change, &[][..], &[][..]);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn inject(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    count: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
) -> isize {
    let operands = &piece(buf, count);
    let (shape, comparands, results) = (Shape::Change, &[][..], &[][..]);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, |_| Ending::SILENT) }
}

unsafe extern "C" fn writemsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_atomic,
    flags: u64,
) -> isize {
    // SAFETY: the arguments are those of the manual page.
    unsafe { post_message(ep, msg, (Shape::Change, &[], &[]), flags) }
}

/// # Safety
/// As fi_atomicmsg(3) and its like.
unsafe fn post_message(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_atomic,
    (shape, comparands, results): (Shape, &[fi::fi_ioc], &[fi::fi_ioc]),
    flags: u64,
) -> isize {
    // SAFETY: the message is there during the call.
    let msg = unsafe { &*msg };
    // SAFETY: there are that many pieces.
    let operands = unsafe { array(msg.msg_iov, msg.iov_count) };
    // SAFETY: there are that many places.
    let [target] = (unsafe { array(msg.rma_iov, msg.rma_iov_count) }) else {
        return -(fi::FI_EINVAL as isize);
    };
    let (to, addr, key) = (msg.addr, target.addr, target.key);
    let (datatype, op) = (msg.datatype, msg.op);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, |_| Ending::new(msg.context, flags)) }
}

unsafe extern "C" fn readwrite(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    count: usize,
    _desc: *mut c_void,
    result: *mut c_void,
    _result_desc: *mut c_void,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    let (operands, results) = (&piece(buf, count), &piece(result, count));
    let (shape, comparands) = (Shape::Fetch, &[][..]);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn readwritev(
    ep: *mut fi::fid_ep,
    iov: *const fi::fi_ioc,
    _desc: *mut *mut c_void,
    count: usize,
    resultv: *mut fi::fi_ioc,
    _result_desc: *mut *mut c_void,
    result_count: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let operands = unsafe { array(iov, count) };
    // SAFETY: as above.
    let results = unsafe { array(resultv.cast_const(), result_count) };
    let (shape, comparands) = (Shape::Fetch, &[][..]);
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn readwritemsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_atomic,
    resultv: *mut fi::fi_ioc,
    _result_desc: *mut *mut c_void,
    result_count: usize,
    flags: u64,
) -> isize {
    // SAFETY: there are that many pieces.
    let results = unsafe { array(resultv.cast_const(), result_count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post_message(ep, msg, (Shape::Fetch, &[], results), flags) }
}

unsafe extern "C" fn compwrite(
    ep: *mut fi::fid_ep,
    buf: *const c_void,
    count: usize,
    _desc: *mut c_void,
    compare: *const c_void,
    _compare_desc: *mut c_void,
    result: *mut c_void,
    _result_desc: *mut c_void,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    let (operands, comparands) = (&piece(buf, count), &piece(compare, count));
    let (shape, results) = (Shape::Compare, &piece(result, count));
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn compwritev(
    ep: *mut fi::fid_ep,
    iov: *const fi::fi_ioc,
    _desc: *mut *mut c_void,
    count: usize,
    comparev: *const fi::fi_ioc,
    _compare_desc: *mut *mut c_void,
    compare_count: usize,
    resultv: *mut fi::fi_ioc,
    _result_desc: *mut *mut c_void,
    result_count: usize,
    to: fi::fi_addr_t,
    addr: u64,
    key: u64,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    context: *mut c_void,
) -> isize {
    // SAFETY: there are that many pieces.
    let operands = unsafe { array(iov, count) };
    // SAFETY: as above.
    let comparands = unsafe { array(comparev, compare_count) };
    // SAFETY: as above.
    let results = unsafe { array(resultv.cast_const(), result_count) };
    let shape = Shape::Compare;
    let asked = Asked { shape, operands, comparands, results, to, addr, key, datatype, op };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post(ep, &asked, plain(context)) }
}

unsafe extern "C" fn compwritemsg(
    ep: *mut fi::fid_ep,
    msg: *const fi::fi_msg_atomic,
    comparev: *const fi::fi_ioc,
    _compare_desc: *mut *mut c_void,
    compare_count: usize,
    resultv: *mut fi::fi_ioc,
    _result_desc: *mut *mut c_void,
    result_count: usize,
    flags: u64,
) -> isize {
    // SAFETY: there are that many pieces.
    let comparands = unsafe { array(comparev, compare_count) };
    // SAFETY: as above.
    let results = unsafe { array(resultv.cast_const(), result_count) };
    // SAFETY: the arguments are those of the manual page.
    unsafe { post_message(ep, msg, (Shape::Compare, comparands, results), flags) }
}

/// How many elements an operation takes: fi_atomicvalid(3).
///
/// # Safety
/// `count` is null or there is a place for the answer.
unsafe fn valid(
    shape: Shape,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    count: *mut usize,
) -> c_int {
    let Some(atomic) = named(shape, datatype, op) else { return -fi::FI_EOPNOTSUPP };
    if !count.is_null() {
        // SAFETY: the caller promised it.
        unsafe { *count = most(atomic) };
    }
    0
}

/// Elements in one operation, operands and comparands counted.
fn most(atomic: Atomic) -> usize {
    let each = atomic.operand_bytes(1).max(atomic.datatype.size());
    MAX_ATOMIC_BYTES / each
}

unsafe extern "C" fn writevalid(
    _ep: *mut fi::fid_ep,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    count: *mut usize,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { valid(Shape::Change, datatype, op, count) }
}

unsafe extern "C" fn readwritevalid(
    _ep: *mut fi::fid_ep,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    count: *mut usize,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { valid(Shape::Fetch, datatype, op, count) }
}

unsafe extern "C" fn compwritevalid(
    _ep: *mut fi::fid_ep,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    count: *mut usize,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { valid(Shape::Compare, datatype, op, count) }
}

/// fi_query_atomic(3).
pub(super) unsafe extern "C" fn query(
    _domain: *mut fi::fid_domain,
    datatype: fi::fi_datatype,
    op: fi::fi_op,
    attr: *mut fi::fi_atomic_attr,
    flags: u64,
) -> c_int {
    guarded(|| {
        let shape = if flags & fi::FI_COMPARE_ATOMIC != 0 {
            Shape::Compare
        } else if flags & fi::FI_FETCH_ATOMIC != 0 {
            Shape::Fetch
        } else {
            Shape::Change
        };
        let atomic = named(shape, datatype, op).ok_or(fi::FI_EOPNOTSUPP);
        status(atomic.map(|atomic| {
            // SAFETY: the caller wants it there.
            unsafe { (*attr).size = atomic.datatype.size() };
            // SAFETY: as above.
            unsafe { (*attr).count = most(atomic) };
        }))
    })
}
