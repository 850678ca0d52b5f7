//! Tables of functions: what their slots answer, and what a foreign one has.

use std::{
    ffi::{c_char, c_int},
    mem::offset_of,
    ptr,
};

use crate::{FI_ENOSYS, fi_ops, fi_ops_cntr, fi_ops_cq, fi_ops_domain, fi_ops_msg, fid_cq};

extern "C" fn signal(_: *mut fid_cq) -> c_int {
    17
}

#[test]
fn slot_that_nobody_filled_says_that_there_is_no_such_function() {
    let (null, text) = (ptr::null_mut(), ptr::null::<c_char>());
    let ops = fi_ops::ENOSYS;
    // SAFETY: the stub looks at nothing.
    assert_eq!(unsafe { (ops.ops_open)(null, text, 0, ptr::null_mut(), null.cast()) }, -FI_ENOSYS);
    let msg = fi_ops_msg::ENOSYS;
    // SAFETY: the stub looks at nothing.
    let sent = unsafe { (msg.inject)(ptr::null_mut(), ptr::null(), 0, 0) };
    assert_eq!(sent, -FI_ENOSYS as isize);
    let cq = fi_ops_cq::ENOSYS;
    // SAFETY: the stub looks at nothing.
    let text = unsafe { (cq.strerror)(ptr::null_mut(), 0, ptr::null(), ptr::null_mut(), 0) };
    assert!(text.is_null());
    let cntr = fi_ops_cntr::ENOSYS;
    // SAFETY: the stub looks at nothing.
    assert_eq!(unsafe { (cntr.read)(ptr::null_mut()) }, 0);
}

#[test]
fn table_says_its_own_size() {
    assert_eq!(fi_ops::ENOSYS.size, size_of::<fi_ops>());
    assert_eq!(fi_ops_domain::ENOSYS.size, size_of::<fi_ops_domain>());
}

#[test]
fn slot_of_a_whole_table_is_found() {
    let cq = fi_ops_cq { signal, ..fi_ops_cq::ENOSYS };
    // SAFETY: the table is whole.
    let found = unsafe { fi_ops_cq::signal.of(&cq) }.unwrap();
    // SAFETY: it looks at nothing.
    assert_eq!(unsafe { found(ptr::null_mut()) }, 17);
}

#[test]
fn slot_that_a_foreign_table_lacks_is_none() {
    // As a provider of 1.17 has it: no `xpu_ctx`, and a hole.
    let end = offset_of!(fi_ops_domain, xpu_ctx);
    let mut words = vec![0_usize; end / size_of::<usize>()];
    words[0] = end;
    words[offset_of!(fi_ops_domain, endpoint2) / size_of::<usize>()] = signal as *const () as usize;
    let table: *const fi_ops_domain = words.as_ptr().cast();
    // SAFETY: the table is as long as it says.
    assert!(unsafe { fi_ops_domain::xpu_ctx.of(table) }.is_none());
    // SAFETY: as above.
    assert!(unsafe { fi_ops_domain::poll_open.of(table) }.is_none());
    // SAFETY: as above.
    assert!(unsafe { fi_ops_domain::endpoint2.of(table) }.is_some());
    // SAFETY: null is allowed.
    assert!(unsafe { fi_ops_domain::endpoint2.of(ptr::null()) }.is_none());
}
