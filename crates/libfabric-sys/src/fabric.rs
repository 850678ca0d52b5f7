//! `rdma/fabric.h`: what every descriptor starts with, the fabric, and what describes a provider's
//! offer. Manual pages fi_getinfo(3), fi_fabric(3), fi_control(3).

mod flags;
mod info;
mod names;

#[cfg(test)]
pub(crate) use flags::CONSTANTS as FLAGS;
#[cfg(test)]
pub(crate) use info::RECORDS as INFO_RECORDS;
#[cfg(test)]
pub(crate) use names::CONSTANTS as NAMES;

pub use flags::*;
pub use info::*;
pub use names::*;
use std::ffi::{c_char, c_int, c_void};

use crate::{
    declare::{operations, records},
    fi_eq_attr, fi_wait_attr, fid_domain, fid_ep, fid_eq, fid_pep, fid_wait,
};

/// The version of the layout that this crate declares: that of libfabric's main branch on the way
/// to 2.7, whose headers still say 2.6.
pub const FI_MAJOR_VERSION: u32 = 2;
/// See [`FI_MAJOR_VERSION`].
pub const FI_MINOR_VERSION: u32 = 6;

/// A version as one number, as fi_version(3) and fi_getinfo(3) take it.
#[must_use]
#[expect(non_snake_case, reason = "the macro's name in C")]
pub const fn FI_VERSION(major: u32, minor: u32) -> u32 {
    (major << 16) | minor
}

/// The major part of a version.
#[must_use]
#[expect(non_snake_case, reason = "the macro's name in C")]
pub const fn FI_MAJOR(version: u32) -> u32 {
    version >> 16
}

/// The minor part of a version.
#[must_use]
#[expect(non_snake_case, reason = "the macro's name in C")]
pub const fn FI_MINOR(version: u32) -> u32 {
    version & 0xffff
}

/// A DSCP value as a traffic class: fi_endpoint(3).
#[must_use]
pub const fn fi_tc_dscp_set(dscp: u8) -> u32 {
    dscp as u32 | FI_TC_DSCP
}

/// The DSCP value in a traffic class, 0 if there is none: fi_endpoint(3).
#[must_use]
pub const fn fi_tc_dscp_get(tclass: u32) -> u8 {
    if tclass & FI_TC_DSCP == 0 { 0 } else { tclass.to_le_bytes()[0] }
}

/// A peer as an address vector knows it: fi_av(3).
pub type fi_addr_t = u64;
/// Any descriptor: fi_fabric(3).
pub type fid_t = *mut fid;

/// A context of an accelerator (2.7), of fi_xpu(3); this crate never looks inside.
#[repr(C)]
#[derive(Debug)]
pub struct fid_xpu_ctx {
    _opaque: [u8; 0],
}
/// An endpoint exported to an accelerator (2.7), of fi_xpu(3); this crate never looks inside.
#[repr(C)]
#[derive(Debug)]
pub struct fid_xpu_ep {
    _opaque: [u8; 0],
}
/// A completion queue exported to an accelerator (2.7), of fi_xpu(3); this crate never looks
/// inside.
#[repr(C)]
#[derive(Debug)]
pub struct fid_xpu_cq {
    _opaque: [u8; 0],
}
/// A counter exported to an accelerator (2.7), of fi_xpu(3); this crate never looks inside.
#[repr(C)]
#[derive(Debug)]
pub struct fid_xpu_cntr {
    _opaque: [u8; 0],
}
/// What an accelerator's context is opened with (2.7), of fi_xpu(3); this crate never looks inside.
#[repr(C)]
#[derive(Debug)]
pub struct fi_xpu_attr {
    _opaque: [u8; 0],
}

records! {
    "fi_fabric(3)"
    /// The head of every descriptor.
    pub struct fid {
        /// One of `FI_CLASS_*`.
        pub fclass: usize,
        /// What the caller gave when the descriptor was opened, echoed in events.
        pub context: *mut c_void,
        pub ops: *const fi_ops,
    }

    "fi_fabric(3)"
    /// A fabric.
    pub struct fid_fabric {
        pub fid: fid,
        pub ops: *const fi_ops_fabric,
        /// The version given to fi_getinfo(3), stamped by libfabric.
        pub api_version: u32,
    }

    "fi_nic(3)"
    /// A network device, as `fi_info` may carry it.
    pub struct fid_nic {
        pub fid: fid,
        pub device_attr: *mut fi_device_attr,
        pub bus_attr: *mut fi_bus_attr,
        pub link_attr: *mut fi_link_attr,
        pub prov_attr: *mut c_void,
    }

    "fi_endpoint(3)"
    /// The argument of `FI_ALIAS`.
    pub struct fi_alias {
        pub fid: *mut *mut fid,
        pub flags: u64,
    }

    "fi_fabric(3)"
    /// The argument of `FI_GET_VAL` and `FI_SET_VAL`.
    pub struct fi_fid_var {
        pub name: c_int,
        pub val: *mut c_void,
    }

    "fi_mr(3)"
    /// The argument of `FI_GET_RAW_MR`.
    pub struct fi_mr_raw_attr {
        pub flags: u64,
        pub base_addr: *mut u64,
        pub raw_key: *mut u8,
        pub key_size: *mut usize,
    }

    "fi_mr(3)"
    /// The argument of `FI_MAP_RAW_MR`.
    pub struct fi_mr_map_raw {
        pub flags: u64,
        pub base_addr: u64,
        pub raw_key: *mut u8,
        pub key_size: usize,
        pub key: *mut u64,
    }

    "fi_mr(3)"
    /// The argument of `FI_GET_MR_XPU_DESC` (2.7).
    pub struct fi_mr_xpu_desc {
        pub buf: *mut c_void,
        pub len: *mut usize,
        pub flags: u64,
        pub ctx: *mut fid_xpu_ctx,
    }

    "fi_getinfo(3)"
    /// What `op_context` points at under the mode `FI_CONTEXT`.
    pub struct fi_context {
        pub internal: [*mut c_void; 4],
    }

    "fi_getinfo(3)"
    /// What `op_context` points at under the mode `FI_CONTEXT2`.
    pub struct fi_context2 {
        pub internal: [*mut c_void; 8],
    }

    "fi_msg(3)"
    /// What `FI_MULTI_RECV` completions of a peer queue point at.
    pub struct fi_recv_context {
        pub ep: *mut fid_ep,
        pub context: *mut c_void,
    }

    "fi_atomic(3)"
    /// Elements of local memory.
    pub struct fi_ioc {
        pub addr: *mut c_void,
        /// Elements, not bytes.
        pub count: usize,
    }

    "fi_getinfo(3)"
    /// A parameter, as fi_getparams lists it.
    pub struct fi_param {
        pub name: *const c_char,
        pub r#type: fi_param_type,
        pub help_string: *const c_char,
        pub value: *const c_char,
    }
}

operations! {
    "fi_fabric(3)"
    /// What every descriptor can do.
    pub struct fi_ops {
        /// `-FI_EBUSY` while descriptors opened from this one are open.
        fn close(fid: *mut fid) -> c_int;
        fn bind(fid: *mut fid, bfid: *mut fid, flags: u64) -> c_int;
        /// `command` is one of the commands of [`FI_ENABLE`] and its neighbours.
        fn control(fid: *mut fid, command: c_int, arg: *mut c_void) -> c_int;
        fn ops_open(
            fid: *mut fid,
            name: *const c_char,
            flags: u64,
            ops: *mut *mut c_void,
            context: *mut c_void,
        ) -> c_int;
        fn tostr(fid: *const fid, buf: *mut c_char, len: usize) -> c_int;
        fn ops_set(
            fid: *mut fid,
            name: *const c_char,
            flags: u64,
            ops: *mut c_void,
            context: *mut c_void,
        ) -> c_int;
    }

    "fi_fabric(3)"
    /// What a fabric can do.
    pub struct fi_ops_fabric {
        fn domain(
            fabric: *mut fid_fabric,
            info: *mut fi_info,
            dom: *mut *mut fid_domain,
            context: *mut c_void,
        ) -> c_int;
        fn passive_ep(
            fabric: *mut fid_fabric,
            info: *mut fi_info,
            pep: *mut *mut fid_pep,
            context: *mut c_void,
        ) -> c_int;
        fn eq_open(
            fabric: *mut fid_fabric,
            attr: *mut fi_eq_attr,
            eq: *mut *mut fid_eq,
            context: *mut c_void,
        ) -> c_int;
        /// Deprecated.
        fn wait_open(
            fabric: *mut fid_fabric,
            attr: *mut fi_wait_attr,
            waitset: *mut *mut fid_wait,
        ) -> c_int;
        fn trywait(fabric: *mut fid_fabric, fids: *mut *mut fid, count: c_int) -> c_int;
        fn domain2(
            fabric: *mut fid_fabric,
            info: *mut fi_info,
            dom: *mut *mut fid_domain,
            flags: u64,
            context: *mut c_void,
        ) -> c_int;
    }
}
