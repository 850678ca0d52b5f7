//! `rdma/fi_domain.h`: domains, address vectors, memory regions. Manual pages fi_domain(3),
//! fi_av(3), fi_mr(3).

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::iovec;

use crate::{
    declare::{constants, operations, records},
    fi_addr_t, fi_atomic_attr, fi_av_type, fi_cntr_attr, fi_collective_attr, fi_cq_attr, fi_info,
    fi_poll_attr, fi_rx_attr, fi_tx_attr, fi_xpu_attr, fid, fid_av_set, fid_cntr, fid_cq, fid_ep,
    fid_poll, fid_stx, fid_xpu_ctx,
};

/// Whose memory is registered: fi_mr(3).
pub type fi_hmem_iface = c_uint;
/// The type of an element: fi_atomic(3).
pub type fi_datatype = c_uint;
/// An atomic operation: fi_atomic(3).
pub type fi_op = c_uint;
/// A collective operation: fi_collective(3).
pub type fi_collective_op = c_uint;

constants! {
    "fi_av(3)" u64 {
        FI_SYMMETRIC = 1 << 59,
        FI_SYNC_ERR = 1 << 58,
    }

    "fi_av_set(3)" u64 {
        FI_UNIVERSE = 1 << 57,
        FI_BARRIER_SET = 1 << 40,
        FI_BROADCAST_SET = 1 << 41,
        FI_ALLTOALL_SET = 1 << 42,
        FI_ALLREDUCE_SET = 1 << 43,
        FI_ALLGATHER_SET = 1 << 44,
        FI_REDUCE_SCATTER_SET = 1 << 45,
        FI_REDUCE_SET = 1 << 46,
        FI_SCATTER_SET = 1 << 47,
        FI_GATHER_SET = 1 << 48,
    }

    "fi_mr(3)" u64 {
        /// Since 1.20.
        FI_MR_DMABUF = 1 << 40,
        /// Since 2.0.
        FI_MR_SINGLE_USE = 1 << 41,
        /// A flag of registration; 1.x counted it among the capabilities.
        FI_HMEM_HOST_ALLOC = 1 << 45,
        FI_HMEM_DEVICE_ONLY = 1 << 46,
        /// Deprecated flag of binding a domain.
        FI_REG_MR = 1 << 59,
    }

    "fi_mr(3)" fi_hmem_iface {
        FI_HMEM_SYSTEM = 0,
        FI_HMEM_CUDA = 1,
        FI_HMEM_ROCR = 2,
        FI_HMEM_ZE = 3,
        FI_HMEM_NEURON = 4,
        FI_HMEM_SYNAPSEAI = 5,
    }

    "fi_atomic(3)" fi_datatype {
        FI_INT8 = 0,
        FI_UINT8 = 1,
        FI_INT16 = 2,
        FI_UINT16 = 3,
        FI_INT32 = 4,
        FI_UINT32 = 5,
        FI_INT64 = 6,
        FI_UINT64 = 7,
        FI_FLOAT = 8,
        FI_DOUBLE = 9,
        FI_FLOAT_COMPLEX = 10,
        FI_DOUBLE_COMPLEX = 11,
        FI_LONG_DOUBLE = 12,
        FI_LONG_DOUBLE_COMPLEX = 13,
        /// Since 1.13, with [`FI_UINT128`]; beyond `FI_DATATYPE_LAST`.
        FI_INT128 = 14,
        FI_UINT128 = 15,
        /// This and the next three since 2.0, for collectives.
        FI_FLOAT16 = 16,
        FI_BFLOAT16 = 17,
        FI_FLOAT8_E4M3 = 18,
        FI_FLOAT8_E5M2 = 19,
        FI_VOID = 256,
    }

    "fi_atomic(3)" fi_op {
        FI_MIN = 0,
        FI_MAX = 1,
        FI_SUM = 2,
        FI_PROD = 3,
        FI_LOR = 4,
        FI_LAND = 5,
        FI_BOR = 6,
        FI_BAND = 7,
        FI_LXOR = 8,
        FI_BXOR = 9,
        FI_ATOMIC_READ = 10,
        FI_ATOMIC_WRITE = 11,
        FI_CSWAP = 12,
        FI_CSWAP_NE = 13,
        FI_CSWAP_LE = 14,
        FI_CSWAP_LT = 15,
        FI_CSWAP_GE = 16,
        FI_CSWAP_GT = 17,
        FI_MSWAP = 18,
        /// Since 2.0, for collectives.
        FI_DIFF = 19,
        /// For collectives.
        FI_NOOP = 256,
    }

    "fi_atomic(3)" u32 {
        /// One more than the last operation between two peers.
        FI_ATOMIC_OP_LAST = 19,
        /// One more than the last type of version 1.0; later types are beyond.
        FI_DATATYPE_LAST = 14,
    }

    "fi_collective(3)" fi_collective_op {
        FI_BARRIER = 0,
        FI_BROADCAST = 1,
        FI_ALLTOALL = 2,
        FI_ALLREDUCE = 3,
        FI_ALLGATHER = 4,
        FI_REDUCE_SCATTER = 5,
        FI_REDUCE = 6,
        FI_SCATTER = 7,
        FI_GATHER = 8,
    }
}

records! {
    "fi_av(3)"
    /// What an address vector is opened with.
    pub struct fi_av_attr {
        pub r#type: fi_av_type,
        pub rx_ctx_bits: c_int,
        pub count: usize,
        pub ep_per_node: usize,
        pub name: *const c_char,
        pub map_addr: *mut c_void,
        pub flags: u64,
    }

    "fi_av_set(3)"
    /// What a set of addresses is opened with.
    pub struct fi_av_set_attr {
        pub count: usize,
        pub start_addr: fi_addr_t,
        pub end_addr: fi_addr_t,
        pub stride: u64,
        pub comm_key_size: usize,
        pub comm_key: *mut u8,
        pub flags: u64,
    }

    "fi_av(3)"
    /// An address vector.
    pub struct fid_av {
        pub fid: fid,
        pub ops: *const fi_ops_av,
    }

    "fi_mr(3)"
    /// A memory region.
    pub struct fid_mr {
        pub fid: fid,
        pub mem_desc: *mut c_void,
        pub key: u64,
    }

    "fi_mr(3)"
    /// Memory behind a DMA buffer's descriptor, since 1.20.
    pub struct fi_mr_dmabuf {
        pub fd: c_int,
        pub offset: u64,
        pub len: usize,
        pub base_addr: *mut c_void,
    }

    "fi_mr(3)"
    /// The authorization key of an address, since 1.20.
    pub struct fi_mr_auth_key {
        pub av: *mut fid_av,
        pub src_addr: fi_addr_t,
    }

    "fi_mr(3)"
    /// What a memory region is registered with: 80 bytes, 88 since 1.19, 96 since 1.22, 112 since
    /// 2.0.
    pub struct fi_mr_attr {
        /// A union in C: with [`FI_MR_DMABUF`] it points at a [`fi_mr_dmabuf`].
        pub mr_iov: *const iovec,
        pub iov_count: usize,
        pub access: u64,
        pub offset: u64,
        pub requested_key: u64,
        pub context: *mut c_void,
        pub auth_key_size: usize,
        pub auth_key: *mut u8,
        pub iface: fi_hmem_iface,
        /// A union in C: an accelerator's number is a C `int` at its first byte.
        pub device: u64,
        /// Since 1.19.
        pub hmem_data: *mut c_void,
        /// Since 1.22; bytes.
        pub page_size: usize,
        /// Since 2.0.
        pub base_mr: *const fid_mr,
        /// Since 2.0.
        pub sub_mr_cnt: usize,
    }

    "fi_mr(3)"
    /// The argument of `FI_REFRESH`.
    pub struct fi_mr_modify {
        pub flags: u64,
        pub attr: fi_mr_attr,
    }

    "fi_domain(3)"
    /// A domain.
    pub struct fid_domain {
        pub fid: fid,
        pub ops: *const fi_ops_domain,
        pub mr: *const fi_ops_mr,
    }
}

operations! {
    "fi_av(3)"
    /// What an address vector can do.
    pub struct fi_ops_av {
        /// The number of addresses inserted, or an error.
        fn insert(
            av: *mut fid_av,
            addr: *const c_void,
            count: usize,
            fi_addr: *mut fi_addr_t,
            flags: u64,
            context: *mut c_void,
        ) -> c_int;
        fn insertsvc(
            av: *mut fid_av,
            node: *const c_char,
            service: *const c_char,
            fi_addr: *mut fi_addr_t,
            flags: u64,
            context: *mut c_void,
        ) -> c_int;
        fn insertsym(
            av: *mut fid_av,
            node: *const c_char,
            nodecnt: usize,
            service: *const c_char,
            svccnt: usize,
            fi_addr: *mut fi_addr_t,
            flags: u64,
            context: *mut c_void,
        ) -> c_int;
        fn remove(av: *mut fid_av, fi_addr: *mut fi_addr_t, count: usize, flags: u64) -> c_int;
        fn lookup(
            av: *mut fid_av,
            fi_addr: fi_addr_t,
            addr: *mut c_void,
            addrlen: *mut usize,
        ) -> c_int;
        fn straddr(
            av: *mut fid_av,
            addr: *const c_void,
            buf: *mut c_char,
            len: *mut usize,
        ) -> *const c_char;
        /// See fi_av_set(3).
        fn av_set(
            av: *mut fid_av,
            attr: *mut fi_av_set_attr,
            av_set: *mut *mut fid_av_set,
            context: *mut c_void,
        ) -> c_int;
        /// This and the next two since 1.20.
        fn insert_auth_key(
            av: *mut fid_av,
            auth_key: *const c_void,
            auth_key_size: usize,
            fi_addr: *mut fi_addr_t,
            flags: u64,
        ) -> c_int;
        fn lookup_auth_key(
            av: *mut fid_av,
            fi_addr: fi_addr_t,
            auth_key: *mut c_void,
            auth_key_size: *mut usize,
        ) -> c_int;
        fn set_user_id(
            av: *mut fid_av,
            fi_addr: fi_addr_t,
            user_id: fi_addr_t,
            flags: u64,
        ) -> c_int;
        /// Since 2.7.
        fn lookup2(
            av: *mut fid_av,
            fi_addr: fi_addr_t,
            buf: *mut c_void,
            len: *mut usize,
            flags: u64,
            ctx: *mut fid_xpu_ctx,
        ) -> c_int;
    }

    "fi_domain(3)"
    /// What a domain can do.
    pub struct fi_ops_domain {
        fn av_open(
            domain: *mut fid_domain,
            attr: *mut fi_av_attr,
            av: *mut *mut fid_av,
            context: *mut c_void,
        ) -> c_int;
        fn cq_open(
            domain: *mut fid_domain,
            attr: *mut fi_cq_attr,
            cq: *mut *mut fid_cq,
            context: *mut c_void,
        ) -> c_int;
        fn endpoint(
            domain: *mut fid_domain,
            info: *mut fi_info,
            ep: *mut *mut fid_ep,
            context: *mut c_void,
        ) -> c_int;
        fn scalable_ep(
            domain: *mut fid_domain,
            info: *mut fi_info,
            sep: *mut *mut fid_ep,
            context: *mut c_void,
        ) -> c_int;
        fn cntr_open(
            domain: *mut fid_domain,
            attr: *mut fi_cntr_attr,
            cntr: *mut *mut fid_cntr,
            context: *mut c_void,
        ) -> c_int;
        /// Deprecated.
        fn poll_open(
            domain: *mut fid_domain,
            attr: *mut fi_poll_attr,
            pollset: *mut *mut fid_poll,
        ) -> c_int;
        fn stx_ctx(
            domain: *mut fid_domain,
            attr: *mut fi_tx_attr,
            stx: *mut *mut fid_stx,
            context: *mut c_void,
        ) -> c_int;
        fn srx_ctx(
            domain: *mut fid_domain,
            attr: *mut fi_rx_attr,
            rx_ep: *mut *mut fid_ep,
            context: *mut c_void,
        ) -> c_int;
        fn query_atomic(
            domain: *mut fid_domain,
            datatype: fi_datatype,
            op: fi_op,
            attr: *mut fi_atomic_attr,
            flags: u64,
        ) -> c_int;
        fn query_collective(
            domain: *mut fid_domain,
            coll: fi_collective_op,
            attr: *mut fi_collective_attr,
            flags: u64,
        ) -> c_int;
        /// Since 1.17.
        fn endpoint2(
            domain: *mut fid_domain,
            info: *mut fi_info,
            ep: *mut *mut fid_ep,
            flags: u64,
            context: *mut c_void,
        ) -> c_int;
        /// Since 2.7.
        fn xpu_ctx(
            domain: *mut fid_domain,
            attr: *mut fi_xpu_attr,
            ctx: *mut *mut fid_xpu_ctx,
            context: *mut c_void,
        ) -> c_int;
    }

    "fi_mr(3)"
    /// What registers memory of a domain.
    pub struct fi_ops_mr {
        fn reg(
            fid: *mut fid,
            buf: *const c_void,
            len: usize,
            access: u64,
            offset: u64,
            requested_key: u64,
            flags: u64,
            mr: *mut *mut fid_mr,
            context: *mut c_void,
        ) -> c_int;
        fn regv(
            fid: *mut fid,
            iov: *const iovec,
            count: usize,
            access: u64,
            offset: u64,
            requested_key: u64,
            flags: u64,
            mr: *mut *mut fid_mr,
            context: *mut c_void,
        ) -> c_int;
        fn regattr(
            fid: *mut fid,
            attr: *const fi_mr_attr,
            flags: u64,
            mr: *mut *mut fid_mr,
        ) -> c_int;
    }
}
