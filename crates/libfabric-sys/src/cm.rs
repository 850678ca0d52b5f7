//! `rdma/fi_cm.h`: addresses, connections, multicast. Manual page fi_cm(3).

use std::ffi::{c_int, c_void};

use crate::{
    declare::{operations, records},
    fi_addr_t, fid, fid_ep, fid_pep,
};

records! {
    "fi_cm(3)"
    /// A multicast group.
    pub struct fid_mc {
        pub fid: fid,
        pub fi_addr: fi_addr_t,
    }
}

operations! {
    "fi_cm(3)"
    /// Addresses and connections.
    pub struct fi_ops_cm {
        fn setname(fid: *mut fid, addr: *mut c_void, addrlen: usize) -> c_int;
        /// `-FI_ETOOSMALL` and the length needed where the room does not do.
        fn getname(fid: *mut fid, addr: *mut c_void, addrlen: *mut usize) -> c_int;
        fn getpeer(ep: *mut fid_ep, addr: *mut c_void, addrlen: *mut usize) -> c_int;
        fn connect(
            ep: *mut fid_ep,
            addr: *const c_void,
            param: *const c_void,
            paramlen: usize,
        ) -> c_int;
        fn listen(pep: *mut fid_pep) -> c_int;
        fn accept(ep: *mut fid_ep, param: *const c_void, paramlen: usize) -> c_int;
        fn reject(
            pep: *mut fid_pep,
            handle: *mut fid,
            param: *const c_void,
            paramlen: usize,
        ) -> c_int;
        fn shutdown(ep: *mut fid_ep, flags: u64) -> c_int;
        fn join(
            ep: *mut fid_ep,
            addr: *const c_void,
            flags: u64,
            mc: *mut *mut fid_mc,
            context: *mut c_void,
        ) -> c_int;
    }
}
