//! `rdma/fi_collective.h`: collective operations. Manual pages fi_collective(3), fi_av_set(3).

use std::ffi::{c_int, c_void};

use crate::{
    declare::{operations, records},
    fi_addr_t, fi_atomic_attr, fi_collective_op, fi_datatype, fi_ioc, fi_op, fid, fid_ep,
};

records! {
    "fi_av_set(3)"
    /// A set of addresses.
    pub struct fid_av_set {
        pub fid: fid,
        pub ops: *const fi_ops_av_set,
    }

    "fi_collective(3)"
    /// What a collective operation can do.
    pub struct fi_collective_attr {
        pub op: fi_op,
        pub datatype: fi_datatype,
        pub datatype_attr: fi_atomic_attr,
        pub max_members: usize,
        pub mode: u64,
    }

    "fi_collective(3)"
    /// A group.
    pub struct fi_collective_addr {
        pub set: *const fid_av_set,
        pub coll_addr: fi_addr_t,
    }

    "fi_collective(3)"
    /// A collective operation.
    pub struct fi_msg_collective {
        pub msg_iov: *const fi_ioc,
        pub desc: *mut *mut c_void,
        pub iov_count: usize,
        pub coll_addr: fi_addr_t,
        pub root_addr: fi_addr_t,
        pub coll: fi_collective_op,
        pub datatype: fi_datatype,
        pub op: fi_op,
        pub context: *mut c_void,
    }
}

operations! {
    "fi_av_set(3)"
    /// What a set of addresses can do.
    pub struct fi_ops_av_set {
        fn set_union(dst: *mut fid_av_set, src: *const fid_av_set) -> c_int;
        fn intersect(dst: *mut fid_av_set, src: *const fid_av_set) -> c_int;
        fn diff(dst: *mut fid_av_set, src: *const fid_av_set) -> c_int;
        fn insert(set: *mut fid_av_set, addr: fi_addr_t) -> c_int;
        fn remove(set: *mut fid_av_set, addr: fi_addr_t) -> c_int;
        fn addr(set: *mut fid_av_set, coll_addr: *mut fi_addr_t) -> c_int;
    }

    "fi_collective(3)"
    /// Collective operations.
    pub struct fi_ops_collective {
        fn barrier(ep: *mut fid_ep, coll_addr: fi_addr_t, context: *mut c_void) -> isize;
        fn broadcast(
            ep: *mut fid_ep,
            buf: *mut c_void,
            count: usize,
            desc: *mut c_void,
            coll_addr: fi_addr_t,
            root_addr: fi_addr_t,
            datatype: fi_datatype,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn alltoall(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            datatype: fi_datatype,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn allreduce(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            datatype: fi_datatype,
            op: fi_op,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn allgather(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            datatype: fi_datatype,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn reduce_scatter(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            datatype: fi_datatype,
            op: fi_op,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn reduce(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            root_addr: fi_addr_t,
            datatype: fi_datatype,
            op: fi_op,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn scatter(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            root_addr: fi_addr_t,
            datatype: fi_datatype,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn gather(
            ep: *mut fid_ep,
            buf: *const c_void,
            count: usize,
            desc: *mut c_void,
            result: *mut c_void,
            result_desc: *mut c_void,
            coll_addr: fi_addr_t,
            root_addr: fi_addr_t,
            datatype: fi_datatype,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
        fn msg(
            ep: *mut fid_ep,
            msg: *const fi_msg_collective,
            resultv: *mut fi_ioc,
            result_desc: *mut *mut c_void,
            result_count: usize,
            flags: u64,
        ) -> isize;
        /// Since 1.17.
        fn barrier2(
            ep: *mut fid_ep,
            coll_addr: fi_addr_t,
            flags: u64,
            context: *mut c_void,
        ) -> isize;
    }
}
