//! Offers in memory that libfabric frees: each part from the C allocator, as fi_freeinfo(3)
//! expects.

use std::{
    ffi::{CStr, CString, c_char},
    net::SocketAddrV4,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
};

use libfabric_sys::{
    FI_SOCKADDR_IN, fi_domain_attr, fi_ep_attr, fi_fabric_attr, fi_info, fi_rx_attr, fi_tx_attr,
};

use nix::sys::socket::SockaddrIn;

use super::offer::Attributes;

/// Zeros behind each structure: a libfabric whose structures are longer copies them as long as its
/// own are.
const SLACK: usize = 256;

/// One entry of the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) attributes: Attributes,
    pub(super) fabric: CString,
    pub(super) domain: CString,
    pub(super) source: SocketAddrV4,
    pub(super) destination: Option<SocketAddrV4>,
}

/// The list, in the order of `entries`; none where memory is out.
pub(super) fn list(entries: &[Entry]) -> Option<*mut fi_info> {
    // All memory is there before any of it is let go of.
    let parts: Option<Vec<_>> = entries.iter().map(Parts::new).collect();
    Some(parts?.into_iter().rev().fold(ptr::null_mut(), |next, parts| parts.join(next)))
}

/// All memory of an entry.
struct Parts {
    info: Block<fi_info>,
    tx: Block<fi_tx_attr>,
    rx: Block<fi_rx_attr>,
    ep: Block<fi_ep_attr>,
    domain: Block<fi_domain_attr>,
    domain_name: Block<c_char>,
    fabric: Block<fi_fabric_attr>,
    fabric_name: Block<c_char>,
    source: Block<libc::sockaddr_in>,
    destination: Option<Block<libc::sockaddr_in>>,
}

impl Parts {
    fn new(entry: &Entry) -> Option<Self> {
        let attributes = &entry.attributes;
        let destination = match entry.destination {
            Some(address) => Some(Block::new(to_c(address))?),
            None => None,
        };
        Some(Self {
            info: Block::new(fi_info { caps: attributes.caps, ..fi_info::default() })?,
            tx: Block::new(attributes.tx)?,
            rx: Block::new(attributes.rx)?,
            ep: Block::new(attributes.ep)?,
            domain: Block::new(attributes.domain)?,
            domain_name: Block::text(&entry.domain)?,
            // The name of the provider is libfabric's to add.
            fabric: Block::new(fi_fabric_attr::default())?,
            fabric_name: Block::text(&entry.fabric)?,
            source: Block::new(to_c(entry.source))?,
            destination,
        })
    }

    fn join(mut self, next: *mut fi_info) -> *mut fi_info {
        self.domain.name = self.domain_name.release();
        self.fabric.name = self.fabric_name.release();
        let info = &mut *self.info;
        info.next = next;
        info.addr_format = FI_SOCKADDR_IN;
        info.src_addrlen = size_of::<libc::sockaddr_in>();
        info.src_addr = self.source.release().cast();
        if let Some(destination) = self.destination {
            info.dest_addrlen = size_of::<libc::sockaddr_in>();
            info.dest_addr = destination.release().cast();
        }
        info.tx_attr = self.tx.release();
        info.rx_attr = self.rx.release();
        info.ep_attr = self.ep.release();
        info.domain_attr = self.domain.release();
        info.fabric_attr = self.fabric.release();
        self.info.release()
    }
}

fn to_c(address: SocketAddrV4) -> libc::sockaddr_in {
    *SockaddrIn::from(address).as_ref()
}

/// A `T` from the C allocator, freed unless it is released.
struct Block<T>(NonNull<T>);

impl<T: Copy> Block<T> {
    fn new(value: T) -> Option<Self> {
        // SAFETY: any size may be asked for.
        let room = unsafe { libc::calloc(1, size_of::<T>() + SLACK) };
        let block = Self(NonNull::new(room.cast())?);
        // SAFETY: there is room for it, aligned for any type of C.
        unsafe { block.0.write(value) };
        Some(block)
    }
}

impl Block<c_char> {
    fn text(text: &CStr) -> Option<Self> {
        // SAFETY: the text ends in a zero.
        NonNull::new(unsafe { libc::strdup(text.as_ptr()) }).map(Self)
    }
}

impl<T> Block<T> {
    fn release(self) -> *mut T {
        let room = self.0.as_ptr();
        std::mem::forget(self);
        room
    }
}

impl<T> Deref for Block<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a value was written when the room was got, and nobody else has it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: the room came from the C allocator and was not released.
        unsafe { libc::free(self.0.as_ptr().cast()) };
    }
}
