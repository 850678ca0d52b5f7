//! `rdma/fi_endpoint.h`: endpoints and untagged messages. Manual pages fi_endpoint(3), fi_msg(3).

use std::ffi::{c_int, c_void};

use libc::iovec;

use crate::{
    declare::{constants, operations, records},
    fi_addr_t, fi_ops_atomic, fi_ops_cm, fi_ops_collective, fi_ops_rma, fi_ops_tagged, fi_rx_attr,
    fi_tx_attr, fid, fid_xpu_ep,
};

constants! {
    "fi_endpoint(3)" c_int {
        /// The only level of options.
        FI_OPT_ENDPOINT = 0,
    }

    "fi_endpoint(3)" c_int {
        /// Options begin here; a `size_t` in bytes.
        FI_OPT_MIN_MULTI_RECV = 0,
        FI_OPT_CM_DATA_SIZE = 1,
        /// Of 1.x.
        FI_OPT_BUFFERED_MIN = 2,
        /// Of 1.x.
        FI_OPT_BUFFERED_LIMIT = 3,
        FI_OPT_SEND_BUF_SIZE = 4,
        FI_OPT_RECV_BUF_SIZE = 5,
        FI_OPT_TX_SIZE = 6,
        FI_OPT_RX_SIZE = 7,
        FI_OPT_FI_HMEM_P2P = 8,
        /// Not in use since 2.7.
        FI_OPT_XPU_TRIGGER = 9,
        /// A `bool`.
        FI_OPT_CUDA_API_PERMITTED = 10,
        /// A `bool`.
        FI_OPT_SHARED_MEMORY_PERMITTED = 11,
        FI_OPT_MAX_MSG_SIZE = 12,
        FI_OPT_MAX_TAGGED_SIZE = 13,
        FI_OPT_MAX_RMA_SIZE = 14,
        FI_OPT_MAX_ATOMIC_SIZE = 15,
        FI_OPT_INJECT_MSG_SIZE = 16,
        FI_OPT_INJECT_TAGGED_SIZE = 17,
        FI_OPT_INJECT_RMA_SIZE = 18,
        FI_OPT_INJECT_ATOMIC_SIZE = 19,
        /// A `bool`.
        FI_OPT_FIREWALL_ADDR = 20,
    }

    "fi_endpoint(3)" c_int {
        FI_HMEM_P2P_ENABLED = 0,
        FI_HMEM_P2P_REQUIRED = 1,
        FI_HMEM_P2P_PREFERRED = 2,
        FI_HMEM_P2P_DISABLED = 3,
    }
}

records! {
    "fi_msg(3)"
    /// An untagged message.
    pub struct fi_msg {
        pub msg_iov: *const iovec,
        pub desc: *mut *mut c_void,
        pub iov_count: usize,
        pub addr: fi_addr_t,
        pub context: *mut c_void,
        pub data: u64,
    }

    "fi_endpoint(3)"
    /// An endpoint. libfabric calls through each table without a look, so none may be null.
    pub struct fid_ep {
        pub fid: fid,
        pub ops: *const fi_ops_ep,
        pub cm: *const fi_ops_cm,
        pub msg: *const fi_ops_msg,
        pub rma: *const fi_ops_rma,
        pub tagged: *const fi_ops_tagged,
        pub atomic: *const fi_ops_atomic,
        pub collective: *const fi_ops_collective,
    }

    "fi_endpoint(3)"
    /// A passive endpoint.
    pub struct fid_pep {
        pub fid: fid,
        pub ops: *const fi_ops_ep,
        pub cm: *const fi_ops_cm,
    }

    "fi_endpoint(3)"
    /// A shared context of sends.
    pub struct fid_stx {
        pub fid: fid,
        pub ops: *const fi_ops_ep,
    }
}

operations! {
    "fi_endpoint(3)"
    /// What an endpoint can do.
    pub struct fi_ops_ep {
        fn cancel(fid: *mut fid, context: *mut c_void) -> isize;
        fn getopt(
            fid: *mut fid,
            level: c_int,
            optname: c_int,
            optval: *mut c_void,
            optlen: *mut usize,
        ) -> c_int;
        fn setopt(
            fid: *mut fid,
            level: c_int,
            optname: c_int,
            optval: *const c_void,
            optlen: usize,
        ) -> c_int;
        fn tx_ctx(
            sep: *mut fid_ep,
            index: c_int,
            attr: *mut fi_tx_attr,
            tx_ep: *mut *mut fid_ep,
            context: *mut c_void,
        ) -> c_int;
        fn rx_ctx(
            sep: *mut fid_ep,
            index: c_int,
            attr: *mut fi_rx_attr,
            rx_ep: *mut *mut fid_ep,
            context: *mut c_void,
        ) -> c_int;
        fn rx_size_left(ep: *mut fid_ep) -> isize;
        fn tx_size_left(ep: *mut fid_ep) -> isize;
        /// Since 2.7.
        fn export_xpu(ep: *mut fid_ep, flags: u64, xpu_ep: *mut fid_xpu_ep) -> c_int;
    }

    "fi_msg(3)"
    /// Untagged messages.
    pub struct fi_ops_msg {
        fn recv(
            ep: *mut fid_ep,
            buf: *mut c_void,
            len: usize,
            desc: *mut c_void,
            src_addr: fi_addr_t,
            context: *mut c_void,
        ) -> isize;
        fn recvv(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            src_addr: fi_addr_t,
            context: *mut c_void,
        ) -> isize;
        fn recvmsg(ep: *mut fid_ep, msg: *const fi_msg, flags: u64) -> isize;
        fn send(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            dest_addr: fi_addr_t,
            context: *mut c_void,
        ) -> isize;
        fn sendv(
            ep: *mut fid_ep,
            iov: *const iovec,
            desc: *mut *mut c_void,
            count: usize,
            dest_addr: fi_addr_t,
            context: *mut c_void,
        ) -> isize;
        fn sendmsg(ep: *mut fid_ep, msg: *const fi_msg, flags: u64) -> isize;
        fn inject(ep: *mut fid_ep, buf: *const c_void, len: usize, dest_addr: fi_addr_t) -> isize;
        fn senddata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            desc: *mut c_void,
            data: u64,
            dest_addr: fi_addr_t,
            context: *mut c_void,
        ) -> isize;
        fn injectdata(
            ep: *mut fid_ep,
            buf: *const c_void,
            len: usize,
            data: u64,
            dest_addr: fi_addr_t,
        ) -> isize;
    }
}
