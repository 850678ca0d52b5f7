//! What a caller asks for, copied out of its structures, which may be shorter than ours.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    net::{Ipv4Addr, SocketAddrV4},
    ptr,
};

use libfabric_sys::{
    FI_ENODATA, FI_FORMAT_UNSPEC, FI_SOCKADDR, FI_SOCKADDR_IN, FI_SOCKADDR_IP, FI_VERSION,
    fi_domain_attr, fi_ep_attr, fi_fabric_attr, fi_info, fi_rx_attr, fi_tx_attr,
};

/// `fi_ep_attr` up to 2.6: later fields are valid only with a flag.
const EP_ATTR_BYTES: usize = 96;

/// What a caller asks for. A part that is not there asks for nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    pub(super) caps: u64,
    pub(super) tx: fi_tx_attr,
    pub(super) rx: fi_rx_attr,
    pub(super) ep: fi_ep_attr,
    /// Without its name.
    pub(super) domain: fi_domain_attr,
    pub(super) domain_name: Option<CString>,
    pub(super) fabric_name: Option<CString>,
    pub(super) provider: Option<CString>,
    pub(super) source: Option<SocketAddrV4>,
    pub(super) destination: Option<SocketAddrV4>,
}

impl Hints {
    /// # Errors
    /// `FI_ENODATA` where addresses are in a format that is not offered.
    ///
    /// # Safety
    /// `hints` is the head of a whole `fi_info` of a caller of that version.
    pub(super) unsafe fn read(hints: *const fi_info, version: u32) -> Result<Self, c_int> {
        // SAFETY: the caller says that it is whole, and its size never changed.
        let info = unsafe { hints.read() };
        if ![FI_FORMAT_UNSPEC, FI_SOCKADDR, FI_SOCKADDR_IP, FI_SOCKADDR_IN]
            .contains(&info.addr_format)
        {
            return Err(FI_ENODATA);
        }
        // SAFETY: parts are null or whole; the size of this one never changed.
        let fabric: fi_fabric_attr = unsafe { prefix(info.fabric_attr, usize::MAX) };
        // SAFETY: parts are null or whole, in the layout of the caller's version.
        let domain: fi_domain_attr =
            unsafe { prefix(info.domain_attr, domain_attr_bytes(version)) };
        Ok(Self {
            caps: info.caps,
            // SAFETY: parts are null or whole; the size of this one never changed.
            tx: unsafe { prefix(info.tx_attr, usize::MAX) },
            // SAFETY: parts are null or whole; the size of this one never changed.
            rx: unsafe { prefix(info.rx_attr, usize::MAX) },
            // SAFETY: parts are null or whole, and every version has as much.
            ep: unsafe { prefix(info.ep_attr, EP_ATTR_BYTES) },
            // SAFETY: a name is null or ends in a zero.
            domain_name: unsafe { text(domain.name) },
            // SAFETY: a name is null or ends in a zero.
            fabric_name: unsafe { text(fabric.name) },
            // SAFETY: a name is null or ends in a zero.
            provider: unsafe { text(fabric.prov_name) },
            // SAFETY: an address is null or as long as said.
            source: unsafe { address(info.src_addr, info.src_addrlen) }?,
            // SAFETY: an address is null or as long as said.
            destination: unsafe { address(info.dest_addr, info.dest_addrlen) }?,
            domain,
        })
    }

    /// Whether these may be hints for the provider of this name, or for any. Names are split by
    /// semicolons; one after a `^` is not wanted, one that begins with `ofi_` is layered over
    /// others, and we are not.
    pub(super) fn may_be_for(&self, provider: &CStr) -> bool {
        let Some(names) = &self.provider else { return true };
        let mut names =
            names.to_bytes().split(|byte| *byte == b';').filter(|name| !name.is_empty());
        names.all(|name| match name {
            [b'^', excluded @ ..] => !excluded.eq_ignore_ascii_case(provider.to_bytes()),
            name => name.eq_ignore_ascii_case(provider.to_bytes()),
        })
    }
}

/// As much as a caller has who was compiled for that version.
fn domain_attr_bytes(version: u32) -> usize {
    const GROWN: [(u32, usize); 3] =
        [(FI_VERSION(2, 5), 224), (FI_VERSION(2, 0), 208), (FI_VERSION(1, 20), 200)];
    GROWN.iter().find(|(since, _)| version >= *since).map_or(192, |(_, bytes)| *bytes)
}

/// The first `bytes` of a structure, and zeros for the rest; of none, zeros.
///
/// # Safety
/// `from` is null or points at that many bytes of a `T` (all, if it has fewer), which consists of
/// numbers and pointers.
unsafe fn prefix<T: Copy + Default>(from: *const T, bytes: usize) -> T {
    let mut copy = T::default();
    if !from.is_null() {
        let bytes = bytes.min(size_of::<T>());
        // SAFETY: the bytes are there, as the caller says, and every pattern of them is a `T`.
        unsafe {
            ptr::copy_nonoverlapping(from.cast::<u8>(), ptr::from_mut(&mut copy).cast(), bytes);
        }
    }
    copy
}

/// # Safety
/// `text` is null or ends in a zero.
pub(super) unsafe fn text(text: *const c_char) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    // SAFETY: there is a text, as the caller says.
    Some(unsafe { CStr::from_ptr(text) }.to_owned())
}

/// # Errors
/// `FI_ENODATA` where it is not one of IPv4.
///
/// # Safety
/// `address` is null or `bytes` long.
unsafe fn address(address: *const c_void, bytes: usize) -> Result<Option<SocketAddrV4>, c_int> {
    if address.is_null() || bytes == 0 {
        return Ok(None);
    }
    if bytes < size_of::<libc::sockaddr_in>() {
        return Err(FI_ENODATA);
    }
    // SAFETY: it is long enough, as just checked; nothing says that it is aligned.
    let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    if c_int::from(v4.sin_family) != libc::AF_INET {
        return Err(FI_ENODATA);
    }
    Ok(Some(from_c(v4)))
}

/// An address as libfabric's callers have it.
pub(super) fn from_c(address: libc::sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port))
}
