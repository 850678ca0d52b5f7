//! Whose memory is how long.

use std::{
    ffi::{c_int, c_void},
    net::{Ipv4Addr, SocketAddr},
    ptr, slice,
};

use fabric::{DatagramEndpoint, Options};
use libfabric_sys::*;

use super::asking::{Asked, NOW, ask, call, entries};

/// A structure that ends where memory does.
struct AtTheEdge {
    pages: *mut c_void,
    page: usize,
}

impl AtTheEdge {
    fn new() -> Self {
        // SAFETY: it takes any number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the kernel chooses a place where nothing is.
        let pages = unsafe { libc::mmap(ptr::null_mut(), 2 * page, access, kind, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED);
        // SAFETY: the second page is within what was just mapped.
        let second = unsafe { pages.byte_add(page) };
        // SAFETY: nobody uses that page.
        assert_eq!(unsafe { libc::mprotect(second, page, libc::PROT_NONE) }, 0);
        Self { pages, page }
    }

    /// The first `bytes` of `whole`, with nothing behind them.
    fn put<T>(&self, whole: &T, bytes: usize) -> *mut T {
        // SAFETY: the first page is longer than any structure of libfabric.
        let place = unsafe { self.pages.byte_add(self.page - bytes) };
        // SAFETY: there is room for as much up to the end of the page.
        unsafe { ptr::copy_nonoverlapping(ptr::from_ref(whole).cast::<u8>(), place.cast(), bytes) };
        place.cast()
    }
}

impl Drop for AtTheEdge {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody uses it any more.
        assert_eq!(unsafe { libc::munmap(self.pages, 2 * self.page) }, 0);
    }
}

#[test]
fn hints_of_an_older_caller_are_not_read_beyond_their_end() {
    let asked = fi_domain_attr { max_ep_auth_key: 99, max_group_id: 99, ..Default::default() };
    let edge = AtTheEdge::new();
    for (version, bytes, is_read) in [
        (FI_VERSION(1, 5), 192, false),
        (FI_VERSION(1, 18), 192, false),
        (FI_VERSION(1, 20), 200, true),
        (FI_VERSION(2, 0), 208, true),
        (FI_VERSION(2, 5), 224, true),
    ] {
        let info = fi_info { domain_attr: edge.put(&asked, bytes), ..fi_info::default() };
        let found = call(version, (None, None), 0, &info).map(|_| ());
        let expected = if is_read { Err(FI_ENODATA) } else { Ok(()) };
        assert_eq!(found, expected, "{version:#x}");
    }
    let ep = fi_ep_attr { r#type: FI_EP_RDM, ..Default::default() };
    let info = fi_info { ep_attr: edge.put(&ep, 96), ..fi_info::default() };
    assert!(call(FI_VERSION(2, 99), (None, None), 0, &info).is_ok());
}

#[test]
fn hints_without_parts_ask_for_nothing() {
    let list = call(NOW, (None, None), 0, &fi_info::default()).unwrap();
    let all = ask(NOW, (None, None), 0, None).unwrap();
    assert_eq!(entries(&list).len(), entries(&all).len());
}

#[test]
fn a_longer_structure_of_a_later_libfabric_finds_zeros() {
    fn is_zero_behind<T>(part: *const T) -> bool {
        const LATER: usize = 200;
        // SAFETY: every part has that much behind it, which is what is tested, and the allocator
        // says so.
        let room = unsafe { libc::malloc_usable_size(part.cast_mut().cast()) };
        assert!(room >= size_of::<T>() + LATER);
        // SAFETY: within the room that the allocator says there is.
        let behind = unsafe { part.add(1) };
        // SAFETY: as above, and the room was zeroed.
        let behind = unsafe { slice::from_raw_parts(behind.cast::<u8>(), LATER) };
        behind.iter().all(|byte| *byte == 0)
    }
    let list = ask(NOW, (None, None), 0, None).unwrap();
    for entry in entries(&list) {
        assert!(is_zero_behind(entry.info.domain_attr));
        assert!(is_zero_behind(entry.info.ep_attr));
        assert!(is_zero_behind(entry.info.tx_attr));
        assert!(is_zero_behind(entry.info.rx_attr));
        assert!(is_zero_behind(entry.info.fabric_attr));
    }
    assert!(is_zero_behind(list.0));
}

#[test]
fn no_room_for_the_list_is_an_error() {
    // SAFETY: everything may be null but the room for the list, without which nothing is done.
    let status: c_int = unsafe {
        super::super::getinfo(NOW, ptr::null(), ptr::null(), 0, ptr::null(), ptr::null_mut())
    };
    assert_eq!(status, -FI_EINVAL);
}

#[test]
fn a_datagram_is_as_long_as_an_endpoint_takes_it() {
    let asked = Asked::with(|asked| asked.ep.r#type = FI_EP_DGRAM);
    let list = ask(NOW, (Some(c"127.0.0.1"), None), FI_SOURCE, Some(asked)).unwrap();
    let offered = entries(&list)[0].ep.max_msg_size;
    let options = Options::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut endpoint = DatagramEndpoint::open(&options).unwrap();
    let peer = endpoint.peer(endpoint.address()).unwrap();
    assert_eq!(offered, endpoint.max_message(peer));
}
