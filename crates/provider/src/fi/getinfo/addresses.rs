//! Where a caller wants to be, and where it wants to go.

use std::{
    ffi::{CStr, c_int},
    net::{Ipv4Addr, SocketAddrV4},
    ptr,
};

use libfabric_sys::{FI_EINVAL, FI_ENODATA, FI_NUMERICHOST, FI_SOURCE};

use super::{
    hints::{Hints, from_c},
    interfaces::source_towards,
};

/// The addresses of a call, and what follows from them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    /// The port to listen on; 0 for any.
    pub(super) port: u16,
    /// The address to listen on, none where any will do.
    pub(super) local: Option<Ipv4Addr>,
    pub(super) destination: Option<SocketAddrV4>,
}

/// Finds the addresses as fi_getinfo(3) says: `node` and `service` are the local side with
/// `FI_SOURCE`, the other one without, and the hints say the rest.
///
/// # Errors
/// `FI_ENODATA` where a name means nothing, or no route leads to the destination.
pub(super) fn find(
    node: Option<&CStr>,
    service: Option<&CStr>,
    flags: u64,
    hints: &Hints,
) -> Result<Ends, c_int> {
    let is_named = node.is_some() || service.is_some();
    let named = is_named.then(|| resolve(node, service, flags)).transpose()?;
    let (source, destination) = match named {
        Some(named) if flags & FI_SOURCE != 0 => (Some(named), hints.destination),
        Some(named) => (hints.source, Some(named)),
        None if flags & FI_SOURCE != 0 => return Err(FI_EINVAL),
        None => (hints.source, hints.destination),
    };
    let local = source.map(|source| *source.ip()).filter(|ip| !ip.is_unspecified());
    let local = match (local, destination) {
        (None, Some(far)) => Some(source_towards(far).ok_or(FI_ENODATA)?),
        (local, _) => local,
    };
    Ok(Ends { port: source.map_or(0, |source| source.port()), local, destination })
}

/// Asks the resolver; with `FI_NUMERICHOST` only whether the name is an address.
fn resolve(node: Option<&CStr>, service: Option<&CStr>, flags: u64) -> Result<SocketAddrV4, c_int> {
    // SAFETY: zeros are a value of this structure of numbers and pointers.
    let mut wanted: libc::addrinfo = unsafe { std::mem::zeroed() };
    wanted.ai_family = libc::AF_INET;
    wanted.ai_socktype = libc::SOCK_DGRAM;
    if flags & FI_NUMERICHOST != 0 {
        wanted.ai_flags |= libc::AI_NUMERICHOST;
    }
    if flags & FI_SOURCE != 0 {
        wanted.ai_flags |= libc::AI_PASSIVE;
    }
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    let mut found = ptr::null_mut();
    // SAFETY: the texts end in a zero, and everything outlives the call.
    let status = unsafe { libc::getaddrinfo(pointer(node), pointer(service), &wanted, &mut found) };
    if status != 0 || found.is_null() {
        return Err(FI_ENODATA);
    }
    // SAFETY: there is a first entry, as just checked.
    let first = unsafe { found.read() };
    // SAFETY: the entry is of the family that was asked for, so this is its address.
    let address = from_c(unsafe { first.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() });
    // SAFETY: it came from getaddrinfo and is freed once.
    unsafe { libc::freeaddrinfo(found) };
    Ok(address)
}
