//! What a provider offers and what a caller asks for: `fi_info` and its parts.
//!
//! libfabric copies these structures by the size that its own headers give them, and a caller frees
//! them with fi_freeinfo(3): allocate every part with the C allocator, with zeroed room behind it,
//! and look at fields that a later version added only where the caller's version has them.

use std::ffi::{c_char, c_int, c_void};

use crate::{
    declare::records, fi_av_type, fi_bus_type, fi_ep_type, fi_link_state, fi_progress,
    fi_resource_mgmt, fi_threading, fid, fid_domain, fid_fabric, fid_nic, fid_xpu_ctx,
};

records! {
    "fi_getinfo(3)"
    /// What a provider offers, or what a caller asks for.
    pub struct fi_info {
        /// The next offer.
        pub next: *mut fi_info,
        pub caps: u64,
        pub mode: u64,
        pub addr_format: u32,
        pub src_addrlen: usize,
        pub dest_addrlen: usize,
        pub src_addr: *mut c_void,
        pub dest_addr: *mut c_void,
        pub handle: *mut fid,
        pub tx_attr: *mut fi_tx_attr,
        pub rx_attr: *mut fi_rx_attr,
        pub ep_attr: *mut fi_ep_attr,
        pub domain_attr: *mut fi_domain_attr,
        pub fabric_attr: *mut fi_fabric_attr,
        /// May be null.
        pub nic: *mut fid_nic,
    }

    "fi_endpoint(3)"
    /// How an endpoint sends.
    pub struct fi_tx_attr {
        pub caps: u64,
        pub mode: u64,
        pub op_flags: u64,
        pub msg_order: u64,
        /// Not in use since 2.0.
        pub comp_order: u64,
        /// Bytes.
        pub inject_size: usize,
        /// Operations.
        pub size: usize,
        pub iov_limit: usize,
        pub rma_iov_limit: usize,
        pub tclass: u32,
    }

    "fi_endpoint(3)"
    /// How an endpoint receives.
    pub struct fi_rx_attr {
        pub caps: u64,
        pub mode: u64,
        pub op_flags: u64,
        pub msg_order: u64,
        /// Not in use since 2.0.
        pub comp_order: u64,
        /// Not in use since 2.0.
        pub total_buffered_recv: usize,
        /// Operations.
        pub size: usize,
        pub iov_limit: usize,
    }

    "fi_endpoint(3)"
    /// An endpoint: 96 bytes, 104 since 2.7.
    pub struct fi_ep_attr {
        pub r#type: fi_ep_type,
        pub protocol: u32,
        pub protocol_version: u32,
        /// Bytes.
        pub max_msg_size: usize,
        pub msg_prefix_size: usize,
        pub max_order_raw_size: usize,
        pub max_order_war_size: usize,
        pub max_order_waw_size: usize,
        pub mem_tag_format: u64,
        pub tx_ctx_cnt: usize,
        pub rx_ctx_cnt: usize,
        pub auth_key_size: usize,
        pub auth_key: *mut u8,
        /// Since 2.7; valid only with the flag [`FI_XPU`](crate::FI_XPU).
        pub xpu_ctx: *mut fid_xpu_ctx,
    }

    "fi_domain(3)"
    /// A domain: 192 bytes up to 1.18, 200 in 1.20, 208 in 2.0, 224 in 2.5, 232 in 2.7.
    pub struct fi_domain_attr {
        pub domain: *mut fid_domain,
        pub name: *mut c_char,
        pub threading: fi_threading,
        pub control_progress: fi_progress,
        /// Called `progress` as well since 2.0.
        pub data_progress: fi_progress,
        pub resource_mgmt: fi_resource_mgmt,
        pub av_type: fi_av_type,
        pub mr_mode: c_int,
        pub mr_key_size: usize,
        pub cq_data_size: usize,
        pub cq_cnt: usize,
        pub ep_cnt: usize,
        pub tx_ctx_cnt: usize,
        pub rx_ctx_cnt: usize,
        pub max_ep_tx_ctx: usize,
        pub max_ep_rx_ctx: usize,
        pub max_ep_stx_ctx: usize,
        pub max_ep_srx_ctx: usize,
        pub cntr_cnt: usize,
        pub mr_iov_limit: usize,
        pub caps: u64,
        pub mode: u64,
        pub auth_key: *mut u8,
        pub auth_key_size: usize,
        pub max_err_data: usize,
        pub mr_cnt: usize,
        pub tclass: u32,
        /// Since 1.20.
        pub max_ep_auth_key: usize,
        /// Since 2.0.
        pub max_group_id: u32,
        /// Since 2.5.
        pub max_cntr_value: u64,
        /// Since 2.5.
        pub max_err_cntr_value: u64,
        /// Since 2.7.
        pub max_xpu_ctx_cnt: usize,
    }

    "fi_fabric(3)"
    /// A fabric.
    pub struct fi_fabric_attr {
        pub fabric: *mut fid_fabric,
        pub name: *mut c_char,
        /// Null in what a provider returns: libfabric puts its name here.
        pub prov_name: *mut c_char,
        pub prov_version: u32,
        pub api_version: u32,
    }

    "fi_nic(3)"
    /// A device.
    pub struct fi_device_attr {
        pub name: *mut c_char,
        pub device_id: *mut c_char,
        pub device_version: *mut c_char,
        pub vendor_id: *mut c_char,
        pub driver: *mut c_char,
        pub firmware: *mut c_char,
    }

    "fi_nic(3)"
    /// Where a PCI device is.
    pub struct fi_pci_attr {
        pub domain_id: u16,
        pub bus_id: u8,
        pub device_id: u8,
        pub function_id: u8,
    }

    "fi_nic(3)"
    /// The bus of a device.
    pub struct fi_bus_attr {
        pub bus_type: fi_bus_type,
        /// A union in C, with this one member.
        pub attr: fi_pci_attr,
    }

    "fi_nic(3)"
    /// The link of a device.
    pub struct fi_link_attr {
        pub address: *mut c_char,
        /// Bytes.
        pub mtu: usize,
        /// Bits per second.
        pub speed: usize,
        pub state: fi_link_state,
        pub network_type: *mut c_char,
    }
}
