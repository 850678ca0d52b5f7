//! `rdma/fi_eq.h`: event queues, completion queues, counters, and the sets that wait on them.
//! Manual pages fi_eq(3), fi_cq(3), fi_cntr(3), fi_poll(3).

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{pollfd, pthread_cond_t, pthread_mutex_t};

use crate::{
    declare::{constants, operations, records},
    fi_addr_t, fi_info, fid, fid_xpu_cntr, fid_xpu_cq, fid_xpu_ctx,
};

/// What a queue can be waited on with: fi_eq(3).
pub type fi_wait_obj = c_uint;
/// The format of completions: fi_cq(3).
pub type fi_cq_format = c_uint;
/// What ends a wait: fi_cq(3).
pub type fi_cq_wait_cond = c_uint;
/// What a counter counts: fi_cntr(3).
pub type fi_cntr_events = c_uint;

constants! {
    "fi_eq(3)" fi_wait_obj {
        FI_WAIT_NONE = 0,
        FI_WAIT_UNSPEC = 1,
        FI_WAIT_SET = 2,
        FI_WAIT_FD = 3,
        FI_WAIT_MUTEX_COND = 4,
        FI_WAIT_YIELD = 5,
        FI_WAIT_POLLFD = 6,
    }

    "fi_eq(3)" u32 {
        /// Events begin here.
        FI_NOTIFY = 0,
        FI_CONNREQ = 1,
        FI_CONNECTED = 2,
        FI_SHUTDOWN = 3,
        FI_MR_COMPLETE = 4,
        FI_AV_COMPLETE = 5,
        FI_JOIN_COMPLETE = 6,
    }

    "fi_cq(3)" fi_cq_format {
        FI_CQ_FORMAT_UNSPEC = 0,
        FI_CQ_FORMAT_CONTEXT = 1,
        FI_CQ_FORMAT_MSG = 2,
        FI_CQ_FORMAT_DATA = 3,
        FI_CQ_FORMAT_TAGGED = 4,
    }

    "fi_cq(3)" fi_cq_wait_cond {
        FI_CQ_COND_NONE = 0,
        FI_CQ_COND_THRESHOLD = 1,
    }

    "fi_cntr(3)" fi_cntr_events {
        FI_CNTR_EVENTS_COMP = 0,
        /// Since 1.21.
        FI_CNTR_EVENTS_BYTES = 1,
    }
}

records! {
    "fi_poll(3)"
    /// Deprecated: what a wait set is opened with.
    pub struct fi_wait_attr {
        pub wait_obj: fi_wait_obj,
        pub flags: u64,
    }

    "fi_poll(3)"
    /// Deprecated: a wait set.
    pub struct fid_wait {
        pub fid: fid,
        pub ops: *const fi_ops_wait,
    }

    "fi_eq(3)"
    /// What `FI_GETWAIT` gives for `FI_WAIT_MUTEX_COND`.
    pub struct fi_mutex_cond {
        pub mutex: *mut pthread_mutex_t,
        pub cond: *mut pthread_cond_t,
    }

    "fi_eq(3)"
    /// What `FI_GETWAIT` gives for `FI_WAIT_POLLFD`.
    pub struct fi_wait_pollfd {
        pub change_index: u64,
        /// Room on the way in, descriptors on the way out.
        pub nfds: usize,
        pub fd: *mut pollfd,
    }

    "fi_poll(3)"
    /// Deprecated: what a poll set is opened with.
    pub struct fi_poll_attr {
        pub flags: u64,
    }

    "fi_poll(3)"
    /// Deprecated: a poll set.
    pub struct fid_poll {
        pub fid: fid,
        pub ops: *const fi_ops_poll,
    }

    "fi_eq(3)"
    /// What an event queue is opened with.
    pub struct fi_eq_attr {
        pub size: usize,
        pub flags: u64,
        pub wait_obj: fi_wait_obj,
        pub signaling_vector: c_int,
        pub wait_set: *mut fid_wait,
    }

    "fi_eq(3)"
    /// An event.
    pub struct fi_eq_entry {
        pub fid: *mut fid,
        pub context: *mut c_void,
        pub data: u64,
    }

    "fi_eq(3)"
    /// An event that tells of a failure.
    pub struct fi_eq_err_entry {
        pub fid: *mut fid,
        pub context: *mut c_void,
        pub data: u64,
        pub err: c_int,
        pub prov_errno: c_int,
        pub err_data: *mut c_void,
        pub err_data_size: usize,
    }

    "fi_eq(3)"
    /// An event of a connection.
    pub struct fi_eq_cm_entry {
        pub fid: *mut fid,
        pub info: *mut fi_info,
        /// The data of the connection, as much as there is room for.
        pub data: [u8; 0],
    }

    "fi_eq(3)"
    /// An event queue.
    pub struct fid_eq {
        pub fid: fid,
        pub ops: *const fi_ops_eq,
    }

    "fi_cq(3)"
    /// A completion of `FI_CQ_FORMAT_CONTEXT`.
    pub struct fi_cq_entry {
        pub op_context: *mut c_void,
    }

    "fi_cq(3)"
    /// A completion of `FI_CQ_FORMAT_MSG`.
    pub struct fi_cq_msg_entry {
        pub op_context: *mut c_void,
        pub flags: u64,
        pub len: usize,
    }

    "fi_cq(3)"
    /// A completion of `FI_CQ_FORMAT_DATA`.
    pub struct fi_cq_data_entry {
        pub op_context: *mut c_void,
        pub flags: u64,
        pub len: usize,
        pub buf: *mut c_void,
        pub data: u64,
    }

    "fi_cq(3)"
    /// A completion of `FI_CQ_FORMAT_TAGGED`.
    pub struct fi_cq_tagged_entry {
        pub op_context: *mut c_void,
        pub flags: u64,
        pub len: usize,
        pub buf: *mut c_void,
        pub data: u64,
        pub tag: u64,
    }

    "fi_cq(3)"
    /// A completion in error: 72 bytes for callers below version 1.5, 80 below 1.20, then 88. Write
    /// no more than the caller has.
    pub struct fi_cq_err_entry {
        pub op_context: *mut c_void,
        pub flags: u64,
        pub len: usize,
        pub buf: *mut c_void,
        pub data: u64,
        pub tag: u64,
        /// Bytes that did not fit.
        pub olen: usize,
        /// Positive, one of `FI_E*`.
        pub err: c_int,
        pub prov_errno: c_int,
        pub err_data: *mut c_void,
        /// Since 1.5. 0 on the way in asks for a pointer into the provider.
        pub err_data_size: usize,
        /// Since 1.20.
        pub src_addr: fi_addr_t,
    }

    "fi_cq(3)"
    /// What a completion queue is opened with: 40 bytes, 48 since 2.7.
    pub struct fi_cq_attr {
        pub size: usize,
        pub flags: u64,
        pub format: fi_cq_format,
        pub wait_obj: fi_wait_obj,
        pub signaling_vector: c_int,
        pub wait_cond: fi_cq_wait_cond,
        pub wait_set: *mut fid_wait,
        /// Since 2.7; valid only with the flag [`FI_XPU`](crate::FI_XPU).
        pub xpu_ctx: *mut fid_xpu_ctx,
    }

    "fi_cq(3)"
    /// A completion queue.
    pub struct fid_cq {
        pub fid: fid,
        pub ops: *const fi_ops_cq,
    }

    "fi_cntr(3)"
    /// What a counter is opened with: 32 bytes since 2.7, before that without the last field.
    pub struct fi_cntr_attr {
        pub events: fi_cntr_events,
        pub wait_obj: fi_wait_obj,
        pub wait_set: *mut fid_wait,
        pub flags: u64,
        /// Since 2.7; valid only with the flag [`FI_XPU`](crate::FI_XPU).
        pub xpu_ctx: *mut fid_xpu_ctx,
    }

    "fi_cntr(3)"
    /// A counter.
    pub struct fid_cntr {
        pub fid: fid,
        pub ops: *const fi_ops_cntr,
    }
}

operations! {
    "fi_poll(3)"
    /// Deprecated: what a wait set can do.
    pub struct fi_ops_wait {
        fn wait(waitset: *mut fid_wait, timeout: c_int) -> c_int;
    }

    "fi_poll(3)"
    /// Deprecated: what a poll set can do.
    pub struct fi_ops_poll {
        fn poll(pollset: *mut fid_poll, context: *mut *mut c_void, count: c_int) -> c_int;
        fn poll_add(pollset: *mut fid_poll, event_fid: *mut fid, flags: u64) -> c_int;
        fn poll_del(pollset: *mut fid_poll, event_fid: *mut fid, flags: u64) -> c_int;
    }

    "fi_eq(3)"
    /// What an event queue can do.
    pub struct fi_ops_eq {
        fn read(
            eq: *mut fid_eq,
            event: *mut u32,
            buf: *mut c_void,
            len: usize,
            flags: u64,
        ) -> isize;
        fn readerr(eq: *mut fid_eq, buf: *mut fi_eq_err_entry, flags: u64) -> isize;
        fn write(
            eq: *mut fid_eq,
            event: u32,
            buf: *const c_void,
            len: usize,
            flags: u64,
        ) -> isize;
        fn sread(
            eq: *mut fid_eq,
            event: *mut u32,
            buf: *mut c_void,
            len: usize,
            timeout: c_int,
            flags: u64,
        ) -> isize;
        fn strerror(
            eq: *mut fid_eq,
            prov_errno: c_int,
            err_data: *const c_void,
            buf: *mut c_char,
            len: usize,
        ) -> *const c_char;
    }

    "fi_cq(3)"
    /// What a completion queue can do.
    pub struct fi_ops_cq {
        /// The number of completions, `-FI_EAGAIN`, or `-FI_EAVAIL` where the next one is in error.
        fn read(cq: *mut fid_cq, buf: *mut c_void, count: usize) -> isize;
        fn readfrom(
            cq: *mut fid_cq,
            buf: *mut c_void,
            count: usize,
            src_addr: *mut fi_addr_t,
        ) -> isize;
        fn readerr(cq: *mut fid_cq, buf: *mut fi_cq_err_entry, flags: u64) -> isize;
        fn sread(
            cq: *mut fid_cq,
            buf: *mut c_void,
            count: usize,
            cond: *const c_void,
            timeout: c_int,
        ) -> isize;
        fn sreadfrom(
            cq: *mut fid_cq,
            buf: *mut c_void,
            count: usize,
            src_addr: *mut fi_addr_t,
            cond: *const c_void,
            timeout: c_int,
        ) -> isize;
        fn signal(cq: *mut fid_cq) -> c_int;
        fn strerror(
            cq: *mut fid_cq,
            prov_errno: c_int,
            err_data: *const c_void,
            buf: *mut c_char,
            len: usize,
        ) -> *const c_char;
        /// Since 2.7.
        fn export_xpu(cq: *mut fid_cq, flags: u64, xpu_cq: *mut fid_xpu_cq) -> c_int;
    }

    "fi_cntr(3)"
    /// What a counter can do.
    pub struct fi_ops_cntr {
        fn read(cntr: *mut fid_cntr) -> u64;
        fn readerr(cntr: *mut fid_cntr) -> u64;
        fn add(cntr: *mut fid_cntr, value: u64) -> c_int;
        fn set(cntr: *mut fid_cntr, value: u64) -> c_int;
        fn wait(cntr: *mut fid_cntr, threshold: u64, timeout: c_int) -> c_int;
        fn adderr(cntr: *mut fid_cntr, value: u64) -> c_int;
        fn seterr(cntr: *mut fid_cntr, value: u64) -> c_int;
        /// Since 2.7.
        fn export_xpu(cntr: *mut fid_cntr, flags: u64, xpu_cntr: *mut fid_xpu_cntr) -> c_int;
    }
}
