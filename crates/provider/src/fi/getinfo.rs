//! fi_getinfo(3): what there is for who asks for that.

mod addresses;
mod allocation;
mod hints;
mod interfaces;
mod matching;
mod mtu;
mod offer;
#[cfg(test)]
mod tests;

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int},
    net::SocketAddrV4,
    panic::{self, AssertUnwindSafe},
};

use libfabric_sys::{
    FI_EINVAL, FI_ENODATA, FI_ENOMEM, FI_EOTHER, FI_SUCCESS, OFI_CORE_PROV_ONLY, fi_info,
};

use addresses::Ends;
use allocation::Entry;
use hints::Hints;
use interfaces::{Interface, Wish};
use offer::{Kind, Offer};

/// `fi_provider.getinfo`.
///
/// # Safety
/// `node` and `service` are null or end in a zero, `hints` is null or whole, and `info` is where
/// the list goes.
pub(super) unsafe extern "C" fn getinfo(
    version: u32,
    node: *const c_char,
    service: *const c_char,
    flags: u64,
    hints: *const fi_info,
    info: *mut *mut fi_info,
) -> c_int {
    if info.is_null() {
        return -FI_EINVAL;
    }
    // SAFETY: the caller says that a list can be put here.
    unsafe { info.write(std::ptr::null_mut()) };
    // A utility provider would layer over what is reliable, or make reliable what has a reliable
    // sibling.
    if flags & OFI_CORE_PROV_ONLY != 0 {
        return -FI_ENODATA;
    }
    let found = panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller says that it is null or ends in a zero.
        let node = unsafe { hints::text(node) };
        // SAFETY: the caller says that it is null or ends in a zero.
        let service = unsafe { hints::text(service) };
        // SAFETY: the caller says that there are whole hints, or none.
        let hints = (!hints.is_null()).then(|| unsafe { Hints::read(hints, version) });
        let entries = find(version, (node, service), flags, hints.transpose()?.as_ref())?;
        allocation::list(&entries).ok_or(FI_ENOMEM)
    }));
    match found {
        Ok(Ok(list)) => {
            // SAFETY: as above.
            unsafe { info.write(list) };
            FI_SUCCESS
        }
        Ok(Err(error)) => -error,
        Err(_) => -FI_EOTHER,
    }
}

/// The entries of the list, the reliable ones first.
fn find(
    version: u32,
    (node, service): (Option<CString>, Option<CString>),
    flags: u64,
    hints: Option<&Hints>,
) -> Result<Vec<Entry>, c_int> {
    let provider = crate::name();
    let nothing_asked = Hints::default();
    let asked = hints.unwrap_or(&nothing_asked);
    // Who asks for others is told before a name server is asked.
    let may_match = |kind: &Kind| {
        let most = Offer::of(*kind, usize::MAX, provider);
        matching::answer(&most, hints, version).is_some()
    };
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(may_match).collect();
    if kinds.is_empty() || !asked.may_be_for(provider) {
        return Err(FI_ENODATA);
    }
    let ends = addresses::find(node.as_deref(), service.as_deref(), flags, asked)?;
    let usable = interfaces::usable();
    let wish = Wish { interface: interface_wanted(), address: ends.local };
    let mut entries = Vec::new();
    for kind in kinds {
        let is_named = |interface: &Interface| has_names(interface, kind, provider, asked);
        let are_names_asked = asked.domain_name.is_some() || asked.fabric_name.is_some();
        let is_named: Option<&dyn Fn(&Interface) -> bool> =
            if are_names_asked { Some(&is_named) } else { None };
        for interface in interfaces::choose(&usable, &wish, is_named) {
            let offer = Offer::of(kind, interface.mtu, provider);
            let attributes = matching::answer(&offer, hints, version);
            entries.extend(attributes.map(|attributes| Entry {
                attributes,
                fabric: offer::fabric_name(interface, provider),
                domain: offer::domain_name(interface, kind),
                source: source(interface, &ends),
                destination: ends.destination,
            }));
        }
    }
    if entries.is_empty() { Err(FI_ENODATA) } else { Ok(entries) }
}

/// Where an endpoint on this interface listens.
fn source(interface: &Interface, ends: &Ends) -> SocketAddrV4 {
    SocketAddrV4::new(ends.local.unwrap_or(interface.address), ends.port)
}

/// Whether the names asked for are those of this kind of endpoint on this interface. As libfabric
/// does, without regard to case.
fn has_names(interface: &Interface, kind: Kind, provider: &CStr, asked: &Hints) -> bool {
    let is = |asked: &Option<CString>, name: CString| {
        let same = |asked: &CString| asked.to_bytes().eq_ignore_ascii_case(name.to_bytes());
        asked.as_ref().is_none_or(same)
    };
    is(&asked.fabric_name, offer::fabric_name(interface, provider))
        && is(&asked.domain_name, offer::domain_name(interface, kind))
}

/// The only interface to offer, where somebody says which.
fn interface_wanted() -> Option<String> {
    let name = env::var("FI_ELASTANE_IFACE").ok()?;
    (!name.is_empty()).then_some(name)
}
