//! `rdma/fi_tagged.h`: tagged messages. Manual page fi_tagged(3).

use std::ffi::c_void;

use libc::iovec;

use crate::{
    declare::{constants, operations, records},
    fi_addr_t, fid_ep,
};

constants! {
    "fi_tagged(3)" u64 {
        /// For the tag format [`FI_TAG_MPI`](crate::FI_TAG_MPI).
        FI_MPI_IGNORE_TAG = u32::MAX as u64,
        FI_MPI_IGNORE_PAYLOAD = (u8::MAX as u64) << 32,
    }
}

records! {
    "fi_tagged(3)"
    /// A tagged message.
    pub struct fi_msg_tagged {
        pub msg_iov: *const iovec,
        pub desc: *mut *mut c_void,
        pub iov_count: usize,
        pub addr: fi_addr_t,
        pub tag: u64,
        /// Bits of the tag that need not match.
        pub ignore: u64,
        pub context: *mut c_void,
        pub data: u64,
    }
}

operations! {
    "fi_tagged(3)"
    /// Tagged messages.
    pub struct fi_ops_tagged {
        fn recv(
            ep: *mut fid_ep,
            buf: *mut c_void,
            len: usize,
            desc: *mut c_void,
            src_addr: fi_addr_t,
            tag: u64,
            ignore: u64,
            context: *mut c_void,
        ) -> isize;
        fn recvv(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            src_addr: fi_addr_t,
            tag: u64,
            ignore: u64,
            context: *mut c_void,
        ) -> isize;
        fn recvmsg(ep: *mut fid_ep, msg: *const fi_msg_tagged, flags: u64) -> isize;
        fn send(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            dest_addr: fi_addr_t,
            tag: u64,
            context: *mut c_void,
        ) -> isize;
        fn sendv(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            dest_addr: fi_addr_t,
            tag: u64,
            context: *mut c_void,
        ) -> isize;
        fn sendmsg(ep: *mut fid_ep, msg: *const fi_msg_tagged, flags: u64) -> isize;
        fn inject(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            dest_addr: fi_addr_t,
            tag: u64,
        ) -> isize;
        fn senddata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            data: u64,
            dest_addr: fi_addr_t,
            tag: u64,
            context: *mut c_void,
        ) -> isize;
        fn injectdata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            data: u64,
            dest_addr: fi_addr_t,
            tag: u64,
        ) -> isize;
    }
}
