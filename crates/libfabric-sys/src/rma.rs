//! `rdma/fi_rma.h`: access to the memory of a peer. Manual page fi_rma(3).

use std::ffi::c_void;

use libc::iovec;

use crate::{
    declare::{operations, records},
    fi_addr_t, fid_ep,
};

records! {
    "fi_rma(3)"
    /// Bytes of a peer's memory.
    pub struct fi_rma_iov {
        /// An offset into the region, or an address under `FI_MR_VIRT_ADDR`.
        pub addr: u64,
        pub len: usize,
        pub key: u64,
    }

    "fi_atomic(3)"
    /// Elements of a peer's memory.
    pub struct fi_rma_ioc {
        pub addr: u64,
        /// Elements, not bytes.
        pub count: usize,
        pub key: u64,
    }

    "fi_rma(3)"
    /// A read or write.
    pub struct fi_msg_rma {
        pub msg_iov: *const iovec,
        pub desc: *mut *mut c_void,
        pub iov_count: usize,
        pub addr: fi_addr_t,
        pub rma_iov: *const fi_rma_iov,
        pub rma_iov_count: usize,
        pub context: *mut c_void,
        pub data: u64,
    }
}

operations! {
    "fi_rma(3)"
    /// Reads and writes.
    pub struct fi_ops_rma {
        fn read(
            ep: *mut fid_ep,
            buf: *mut c_void,
            len: usize,
            desc: *mut c_void,
            src_addr: fi_addr_t,
            addr: u64,
            key: u64,
            context: *mut c_void,
        ) -> isize;
        fn readv(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            src_addr: fi_addr_t,
            addr: u64,
            key: u64,
            context: *mut c_void,
        ) -> isize;
        fn readmsg(ep: *mut fid_ep, msg: *const fi_msg_rma, flags: u64) -> isize;
        fn write(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            dest_addr: fi_addr_t,
            addr: u64,
            key: u64,
            context: *mut c_void,
        ) -> isize;
        fn writev(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            dest_addr: fi_addr_t,
            addr: u64,
            key: u64,
            context: *mut c_void,
        ) -> isize;
        fn writemsg(ep: *mut fid_ep, msg: *const fi_msg_rma, flags: u64) -> isize;
        fn inject(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            dest_addr: fi_addr_t,
            addr: u64,
            key: u64,
        ) -> isize;
        fn writedata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            data: u64,
            dest_addr: fi_addr_t,
            addr: u64,
            key: u64,
            context: *mut c_void,
        ) -> isize;
        fn injectdata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            data: u64,
            dest_addr: fi_addr_t,
            addr: u64,
            key: u64,
        ) -> isize;
    }
}
