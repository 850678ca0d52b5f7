//! Memory of the application, as operations take it.

use std::{
    ffi::{CStr, c_char, c_void},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ptr::NonNull,
    slice,
};

use bytes::Bytes;
use fabric::{Buffer, Region, borrowed_bytes};

use crate::endpoint::Endpoint;

/// Messages up to this many bytes are copied when they are sent: that costs less than to keep
/// track of who owns them.
const COPIED: usize = 512;

#[expect(clippy::cast_possible_truncation, reason = "families are small numbers")]
const INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "families are small numbers")]
const INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

/// # Safety
/// `count` values lie at `start`, or it is null.
pub(super) unsafe fn array<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller promised it.
    unsafe { slice::from_raw_parts(start, count) }
}

/// One piece of memory, as a list.
pub(super) fn one(start: *const c_void, length: usize) -> [libc::iovec; 1] {
    [libc::iovec { iov_base: start.cast_mut(), iov_len: length }]
}

/// Bytes that leave: copied if they are few, in several pieces, or the application wants them back
/// at once; else read where they are until the operation is complete.
///
/// # Safety
/// The pieces are readable, and stay so and unchanged until the operation is complete.
pub(super) unsafe fn outgoing(
    endpoint: &mut Endpoint,
    pieces: &[libc::iovec],
    inject: bool,
) -> Bytes {
    let total: usize = pieces.iter().map(|piece| piece.iov_len).sum();
    let mut filled = pieces.iter().filter(|piece| piece.iov_len > 0);
    let (first, second) = (filled.next(), filled.next());
    let Some(first) = first else { return Bytes::new() };
    if inject || second.is_some() || total <= COPIED {
        // SAFETY: the caller promised that they are readable.
        let bytes = |piece: &libc::iovec| unsafe { array(piece.iov_base.cast(), piece.iov_len) };
        if second.is_none() {
            return endpoint.copy(&[bytes(first)]);
        }
        let pieces: Vec<&[u8]> = pieces.iter().map(bytes).collect();
        return endpoint.copy(&pieces);
    }
    let Some(start) = NonNull::new(first.iov_base.cast()) else { return Bytes::new() };
    // SAFETY: the caller promised that they stay.
    unsafe { borrowed_bytes(start, first.iov_len) }
}

/// Memory that is filled: in place if it is one piece, else a buffer, and where its bytes go.
///
/// # Safety
/// The pieces are writable, and nobody touches them until the operation is complete.
#[inline]
pub(super) unsafe fn incoming(pieces: &[libc::iovec]) -> (Buffer, Vec<Region>) {
    let filled = pieces.iter().filter(|piece| piece.iov_len > 0 && !piece.iov_base.is_null());
    let mut all = filled.clone();
    let (first, second) = (all.next(), all.next());
    let Some(first) = first else { return (Buffer::zeroed(0), Vec::new()) };
    if second.is_none() {
        let start = NonNull::new(first.iov_base.cast()).expect("looked at above");
        // SAFETY: the caller promised it.
        return (unsafe { Buffer::from_raw(start, first.iov_len) }, Vec::new());
    }
    // SAFETY: the caller promised it.
    let regions = filled.map(|piece| unsafe { region(piece) }).collect::<Vec<_>>();
    let total = regions.iter().map(Region::len).sum();
    (Buffer::zeroed(total), regions)
}

/// A region over one piece. One that begins nowhere is the address space (fi_mr(3)).
///
/// # Safety
/// The bytes are readable and writable as long as the region is used.
pub(super) unsafe fn region(piece: &libc::iovec) -> Region {
    let length = piece.iov_len;
    match NonNull::new(piece.iov_base.cast()) {
        // SAFETY: the caller promised it.
        Some(start) => unsafe { Region::from_raw(start, length) },
        None if length == 0 => Region::zeroed(0),
        // SAFETY: as above, of those bytes that peers will name.
        None => unsafe { Region::of_process(length) },
    }
}

/// # Safety
/// `text` is null, or ends in a zero.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller promised it.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// The address in a `sockaddr_in` or `sockaddr_in6`.
///
/// # Safety
/// `at` is null, or an address of the family that it says, of any alignment.
pub(super) unsafe fn socket_address(at: *const c_void) -> Option<SocketAddr> {
    if at.is_null() {
        return None;
    }
    // SAFETY: every address begins with its family.
    let family = unsafe { at.cast::<libc::sa_family_t>().read_unaligned() };
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says so.
            let address = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(address.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says so.
            let address = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(address.sin6_port)))
        }
        _ => None,
    }
}

/// Bytes of an address of this kind.
pub(super) const fn address_bytes(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(_) => size_of::<libc::sockaddr_in>(),
        SocketAddr::V6(_) => size_of::<libc::sockaddr_in6>(),
    }
}

/// Writes an address, as much as there is room for, and says how much it takes. `FI_ETOOSMALL`
/// if it does not fit.
///
/// # Safety
/// `length` is writable, and that many bytes at `into` are unless it is null.
pub(super) unsafe fn write_address(
    address: SocketAddr,
    into: *mut c_void,
    length: *mut usize,
) -> Result<(), i32> {
    // SAFETY: the caller promised it.
    let room = if into.is_null() { 0 } else { unsafe { *length } };
    let bytes = match address {
        SocketAddr::V4(address) => {
            let native = libc::sockaddr_in {
                sin_family: INET,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: it has no padding.
            unsafe { copy_out(&native, into, room) }
        }
        SocketAddr::V6(address) => {
            let native = libc::sockaddr_in6 {
                sin6_family: INET6,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: it has no padding.
            unsafe { copy_out(&native, into, room) }
        }
    };
    // SAFETY: the caller promised it.
    unsafe { *length = bytes };
    if room < bytes { Err(libfabric_sys::FI_ETOOSMALL) } else { Ok(()) }
}

/// # Safety
/// `room` bytes at `into` are writable; `native` has no padding.
unsafe fn copy_out<T>(native: &T, into: *mut c_void, room: usize) -> usize {
    let from: *const u8 = std::ptr::from_ref(native).cast();
    let length = size_of::<T>().min(room);
    if length > 0 {
        // SAFETY: the caller promised it, and the value is on the stack.
        unsafe { from.copy_to_nonoverlapping(into.cast(), length) };
    }
    size_of::<T>()
}
