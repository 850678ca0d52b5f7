//! A caller: hints of its own, and a list that it frees as fi_freeinfo(3) does.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    net::SocketAddrV4,
    ptr,
};

use libfabric_sys::{
    FI_SUCCESS, FI_VERSION, fi_domain_attr, fi_ep_attr, fi_fabric_attr, fi_info, fi_rx_attr,
    fi_tx_attr,
};
use nix::sys::socket::SockaddrIn;

use super::super::{getinfo, hints::from_c};

/// The version of MPICH 5.
pub(super) const NOW: u32 = FI_VERSION(2, 5);

/// Hints with all their parts, which ask for nothing.
#[derive(Clone, Default)]
pub(super) struct Asked {
    pub(super) info: fi_info,
    pub(super) tx: fi_tx_attr,
    pub(super) rx: fi_rx_attr,
    pub(super) ep: fi_ep_attr,
    pub(super) domain: fi_domain_attr,
    pub(super) fabric: fi_fabric_attr,
    pub(super) domain_name: CString,
    pub(super) fabric_name: CString,
    pub(super) provider: CString,
    pub(super) source: Option<SocketAddrV4>,
    pub(super) destination: Option<SocketAddrV4>,
}

impl Asked {
    pub(super) fn with(fill: impl FnOnce(&mut Self)) -> Self {
        let mut asked = Self::default();
        fill(&mut asked);
        asked
    }

    pub(super) fn caps(caps: u64) -> Self {
        Self::with(|asked| asked.info.caps = caps)
    }

    /// A returned entry as hints.
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            info: entry.info,
            tx: entry.tx,
            rx: entry.rx,
            ep: entry.ep,
            domain: entry.domain,
            fabric: entry.fabric,
            domain_name: entry.domain_name.clone(),
            fabric_name: entry.fabric_name.clone(),
            provider: crate::name().to_owned(),
            source: entry.source,
            destination: entry.destination,
        }
    }
}

fn text(text: &CString) -> *mut c_char {
    if text.is_empty() { ptr::null_mut() } else { text.as_ptr().cast_mut() }
}

fn address(address: Option<&SockaddrIn>) -> (*mut c_void, usize) {
    let size = size_of::<libc::sockaddr_in>();
    address.map_or((ptr::null_mut(), 0), |address| (ptr::from_ref(address).cast_mut().cast(), size))
}

/// Calls the provider.
pub(super) fn ask(
    version: u32,
    (node, service): (Option<&CStr>, Option<&CStr>),
    flags: u64,
    hints: Option<Asked>,
) -> Result<List, c_int> {
    let Some(mut asked) = hints else {
        return call(version, (node, service), flags, ptr::null());
    };
    asked.domain.name = text(&asked.domain_name);
    asked.fabric.name = text(&asked.fabric_name);
    asked.fabric.prov_name = text(&asked.provider);
    let [source, destination] =
        [asked.source, asked.destination].map(|address| address.map(SockaddrIn::from));
    let mut info = asked.info;
    (info.src_addr, info.src_addrlen) = address(source.as_ref());
    (info.dest_addr, info.dest_addrlen) = address(destination.as_ref());
    info.tx_attr = &raw mut asked.tx;
    info.rx_attr = &raw mut asked.rx;
    info.ep_attr = &raw mut asked.ep;
    info.domain_attr = &raw mut asked.domain;
    info.fabric_attr = &raw mut asked.fabric;
    call(version, (node, service), flags, &info)
}

/// Calls the provider with hints of any shape.
pub(super) fn call(
    version: u32,
    (node, service): (Option<&CStr>, Option<&CStr>),
    flags: u64,
    hints: *const fi_info,
) -> Result<List, c_int> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    let mut list = ptr::null_mut();
    // SAFETY: the texts end in a zero, the hints are whole or null, and there is room for the list.
    let status =
        unsafe { getinfo(version, pointer(node), pointer(service), flags, hints, &mut list) };
    if status == FI_SUCCESS {
        assert!(!list.is_null());
        Ok(List(list))
    } else {
        assert!(list.is_null() && status < 0, "{status}");
        Err(-status)
    }
}

/// A list that was returned.
#[derive(Debug)]
pub(super) struct List(pub(super) *mut fi_info);

impl Drop for List {
    fn drop(&mut self) {
        let mut next = self.0;
        while !next.is_null() {
            // SAFETY: the list is whole until it is freed, from its head on.
            let info = unsafe { next.read() };
            // SAFETY: every entry has this part.
            let domain = unsafe { info.domain_attr.read() }.name;
            // SAFETY: every entry has this part.
            let fabric = unsafe { info.fabric_attr.read() }.name;
            for part in [
                domain.cast(),
                fabric.cast(),
                info.src_addr,
                info.dest_addr,
                info.tx_attr.cast(),
                info.rx_attr.cast(),
                info.ep_attr.cast(),
                info.domain_attr.cast(),
                info.fabric_attr.cast(),
                next.cast(),
            ] {
                // SAFETY: each part came from the C allocator, and is freed once.
                unsafe { libc::free(part) };
            }
            next = info.next;
        }
    }
}

/// A copy of an entry of a list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) info: fi_info,
    pub(super) tx: fi_tx_attr,
    pub(super) rx: fi_rx_attr,
    pub(super) ep: fi_ep_attr,
    pub(super) domain: fi_domain_attr,
    pub(super) fabric: fi_fabric_attr,
    pub(super) domain_name: CString,
    pub(super) fabric_name: CString,
    pub(super) source: Option<SocketAddrV4>,
    pub(super) destination: Option<SocketAddrV4>,
}

impl Entry {
    /// Without what differs from call to call: where its parts are.
    pub(super) fn comparable(&self) -> Self {
        let mut same = self.clone();
        same.info = fi_info {
            caps: self.info.caps,
            mode: self.info.mode,
            addr_format: self.info.addr_format,
            src_addrlen: self.info.src_addrlen,
            dest_addrlen: self.info.dest_addrlen,
            ..fi_info::default()
        };
        same.domain.name = ptr::null_mut();
        same.fabric.name = ptr::null_mut();
        same
    }
}

/// All entries of a list.
pub(super) fn entries(list: &List) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: the list is whole.
        let info = unsafe { next.read() };
        entries.push(entry(info));
        next = info.next;
    }
    entries
}

fn entry(info: fi_info) -> Entry {
    // SAFETY: every entry has this part.
    let domain = unsafe { info.domain_attr.read() };
    // SAFETY: every entry has this part.
    let fabric = unsafe { info.fabric_attr.read() };
    Entry {
        // SAFETY: every entry has this part.
        tx: unsafe { info.tx_attr.read() },
        // SAFETY: every entry has this part.
        rx: unsafe { info.rx_attr.read() },
        // SAFETY: every entry has this part.
        ep: unsafe { info.ep_attr.read() },
        // SAFETY: every domain has a name, which ends in a zero.
        domain_name: unsafe { CStr::from_ptr(domain.name) }.to_owned(),
        // SAFETY: every fabric has a name, which ends in a zero.
        fabric_name: unsafe { CStr::from_ptr(fabric.name) }.to_owned(),
        domain,
        fabric,
        source: from(info.src_addr, info.src_addrlen),
        destination: from(info.dest_addr, info.dest_addrlen),
        info,
    }
}

fn from(address: *mut c_void, bytes: usize) -> Option<SocketAddrV4> {
    if address.is_null() {
        assert_eq!(bytes, 0);
        return None;
    }
    assert_eq!(bytes, size_of::<libc::sockaddr_in>());
    // SAFETY: it is as long as said.
    let v4 = unsafe { address.cast::<libc::sockaddr_in>().read() };
    assert_eq!(c_int::from(v4.sin_family), libc::AF_INET);
    Some(from_c(v4))
}
