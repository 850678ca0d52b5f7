//! Address vectors: fi_av(3).

use std::{
    ffi::{CString, c_char, c_int, c_void},
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use libfabric_sys as fi;

use super::{
    Object, guarded,
    memory::{self, array},
    status,
};
use crate::{domain::Domain, endpoint::Call, vector::AddressVector};

struct Av {
    domain: Arc<Domain>,
    key: usize,
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, bind, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_av = fi::fi_ops_av {
    insert,
    insertsvc,
    insertsym,
    remove,
    lookup,
    straddr,
    ..fi::fi_ops_av::ENOSYS
};

/// # Safety
/// `av` is an open address vector of this crate.
unsafe fn of<'a>(av: *mut fi::fid_av) -> &'a Av {
    // SAFETY: the caller promised it.
    &unsafe { Object::<fi::fid_av, Av>::of(av) }.inner
}

/// Its number in the domain.
///
/// # Safety
/// As [`of`].
pub(super) unsafe fn key(av: *mut fi::fid_av) -> usize {
    // SAFETY: the caller promised it.
    unsafe { of(av) }.key
}

/// fi_av_open(3).
pub(super) unsafe extern "C" fn open(
    domain: *mut fi::fid_domain,
    attr: *mut fi::fi_av_attr,
    av: *mut *mut fi::fid_av,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the domain is open.
        let domain = unsafe { super::domain::of(domain) };
        // SAFETY: the attributes are there, or null.
        if let Some(attr) = unsafe { attr.as_mut() } {
            if attr.flags & fi::FI_EVENT != 0 || !attr.name.is_null() || attr.rx_ctx_bits > 0 {
                return -fi::FI_ENOSYS;
            }
            if attr.r#type == fi::FI_AV_UNSPEC {
                attr.r#type = fi::FI_AV_TABLE;
            }
        }
        let key = domain.lock().vectors.insert(AddressVector::default());
        let fid = fi::fid_av {
            fid: fi::fid { fclass: fi::FI_CLASS_AV, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
        };
        // SAFETY: the caller wants it there.
        unsafe { *av = Object::publish(fid, Av { domain: Arc::clone(domain), key }) };
        0
    })
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: it is open until this returns 0.
        let Av { domain, key } = unsafe { of(fid.cast()) };
        let mut state = domain.lock();
        if state.vectors[*key].bound > 0 {
            return -fi::FI_EBUSY;
        }
        state.vectors.remove(*key);
        drop(state);
        // SAFETY: the application uses it no more.
        drop(unsafe { Object::<fi::fid_av, Av>::take(fid.cast()) });
        0
    })
}

/// Only to an event queue, which no operation here needs.
unsafe extern "C" fn bind(_fid: *mut fi::fid, _with: *mut fi::fid, _flags: u64) -> c_int {
    0
}

unsafe extern "C" fn insert(
    av: *mut fi::fid_av,
    addr: *const c_void,
    count: usize,
    fi_addr: *mut fi::fi_addr_t,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        let mut at: *const c_void = addr;
        let addresses = (0..count).map(|_| {
            // SAFETY: so many addresses lie one behind the other.
            let address = unsafe { memory::socket_address(at) };
            let bytes = address.map_or(size_of::<libc::sockaddr_in>(), memory::address_bytes);
            at = at.wrapping_byte_add(bytes);
            address
        });
        // SAFETY: the arguments are those of the manual page.
        unsafe { insert_all(av, addresses, fi_addr, flags, context) }
    })
}

/// Inserts addresses; `None` is one that is none.
///
/// # Safety
/// As fi_av_insert(3) of what comes back.
unsafe fn insert_all(
    av: *mut fi::fid_av,
    addresses: impl Iterator<Item = Option<SocketAddr>>,
    fi_addr: *mut fi::fi_addr_t,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    // SAFETY: it is open.
    let Av { domain, key } = unsafe { of(av) };
    let mut state = domain.lock();
    let vector = &mut state.vectors[*key];
    let errors: *mut c_int =
        if flags & fi::FI_SYNC_ERR == 0 { std::ptr::null_mut() } else { context.cast() };
    let mut inserted = 0;
    for (at, address) in addresses.enumerate() {
        let usable =
            address.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
        let (number, error) = match usable {
            Some(address) => (vector.insert(address) as u64, 0),
            None => (fi::FI_ADDR_NOTAVAIL, fi::FI_EINVAL),
        };
        inserted += c_int::from(error == 0);
        if !fi_addr.is_null() {
            // SAFETY: there is a place for each address.
            let place = unsafe { fi_addr.add(at) };
            // SAFETY: as above.
            unsafe { place.write(number) };
        }
        if !errors.is_null() {
            // SAFETY: as above.
            let place = unsafe { errors.add(at) };
            // SAFETY: as above.
            unsafe { place.write(error) };
        }
    }
    inserted
}

unsafe extern "C" fn insertsvc(
    av: *mut fi::fid_av,
    node: *const c_char,
    service: *const c_char,
    fi_addr: *mut fi::fi_addr_t,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the texts end in zeros, or are not there.
        let node = unsafe { memory::text(node) };
        // SAFETY: as above.
        let service = unsafe { memory::text(service) };
        let (Some(node), Some(service)) = (node, service) else { return -fi::FI_EINVAL };
        let Ok(port) = service.parse::<u16>() else { return -fi::FI_EINVAL };
        let found = (node, port).to_socket_addrs().ok().and_then(|mut found| found.next());
        // SAFETY: the arguments are those of the manual page.
        unsafe { insert_all(av, [found].into_iter(), fi_addr, flags, context) }
    })
}

unsafe extern "C" fn insertsym(
    av: *mut fi::fid_av,
    node: *const c_char,
    nodes: usize,
    service: *const c_char,
    services: usize,
    fi_addr: *mut fi::fi_addr_t,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the texts end in zeros, or are not there.
        let node = unsafe { memory::text(node) };
        // SAFETY: as above.
        let service = unsafe { memory::text(service) };
        let (Some(node), Some(service)) = (node, service) else { return -fi::FI_EINVAL };
        let (Ok(first), Ok(port)) = (node.parse::<std::net::Ipv4Addr>(), service.parse::<u16>())
        else {
            return -fi::FI_EINVAL;
        };
        let addresses = (0..nodes).flat_map(|node| {
            let ip = u32::try_from(node).ok().and_then(|node| first.to_bits().checked_add(node));
            (0..services).map(move |service| {
                let port = u16::try_from(service).ok().and_then(|s| port.checked_add(s))?;
                Some(SocketAddr::from((std::net::Ipv4Addr::from_bits(ip?), port)))
            })
        });
        // SAFETY: the arguments are those of the manual page.
        unsafe { insert_all(av, addresses, fi_addr, flags, context) }
    })
}

unsafe extern "C" fn remove(
    av: *mut fi::fid_av,
    fi_addr: *mut fi::fi_addr_t,
    count: usize,
    _flags: u64,
) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let Av { domain, key } = unsafe { of(av) };
        // SAFETY: there are so many.
        let numbers = unsafe { array(fi_addr.cast_const(), count) };
        let mut state = domain.lock();
        let remove = |number: u64| -> Call {
            let number = usize::try_from(number).map_err(|_| fi::FI_EINVAL)?;
            if state.vectors[*key].remove(number).ok_or(fi::FI_EINVAL)? {
                let bound = state.endpoints.iter_mut().filter(|(_, ep)| ep.vector == Some(*key));
                bound.for_each(|(_, endpoint)| endpoint.forget(number));
            }
            Ok(())
        };
        status(numbers.iter().copied().try_for_each(remove))
    })
}

unsafe extern "C" fn lookup(
    av: *mut fi::fid_av,
    fi_addr: fi::fi_addr_t,
    addr: *mut c_void,
    length: *mut usize,
) -> c_int {
    guarded(|| {
        // SAFETY: it is open.
        let Av { domain, key } = unsafe { of(av) };
        let number = usize::try_from(fi_addr).ok();
        let address = number.and_then(|number| domain.lock().vectors[*key].address(number));
        let Some(address) = address else { return -fi::FI_EINVAL };
        // SAFETY: the caller wants it there, and says how much room there is.
        match unsafe { memory::write_address(address, addr, length) } {
            // What fits is written, and how much there is; that is no error here.
            Ok(()) | Err(_) => 0,
        }
    })
}

unsafe extern "C" fn straddr(
    _av: *mut fi::fid_av,
    addr: *const c_void,
    buf: *mut c_char,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: it is an address.
    let address = unsafe { memory::socket_address(addr) };
    let text = match address {
        Some(SocketAddr::V4(address)) => format!("fi_sockaddr_in://{address}"),
        Some(SocketAddr::V6(address)) => format!("fi_sockaddr_in6://{address}"),
        None => "fi_addr_unknown".to_owned(),
    };
    let text = CString::new(text).unwrap_or_default();
    let bytes = text.as_bytes_with_nul();
    // SAFETY: the length is there.
    let room = if buf.is_null() { 0 } else { unsafe { *length } };
    let fits = room.min(bytes.len());
    if fits > 0 {
        // SAFETY: there is room for so many.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(buf.cast(), fits) };
        // SAFETY: it is the last that was written.
        let last = unsafe { buf.add(fits - 1) };
        // SAFETY: as above.
        unsafe { last.write(0) };
    }
    // SAFETY: the length is there.
    unsafe { *length = bytes.len() };
    buf
}
