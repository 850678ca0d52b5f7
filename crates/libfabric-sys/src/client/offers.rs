//! What providers offer.

use std::{
    ffi::{CStr, CString, c_int},
    ptr::NonNull,
};

use super::{ClientError, Wish, text};
use crate::{
    FI_ATOMIC, FI_CONTEXT, FI_CONTEXT2, FI_DELIVERY_COMPLETE, FI_EP_RDM, FI_EP_UNSPEC,
    FI_MR_ALLOCATED, FI_MR_ENDPOINT, FI_MR_LOCAL, FI_MR_PROV_KEY, FI_MR_VIRT_ADDR, FI_NUMERICHOST,
    FI_ORDER_SAS, FI_PROGRESS_MANUAL, FI_RM_ENABLED, FI_RMA, FI_SOCKADDR, FI_SOCKADDR_IN,
    FI_SOCKADDR_IN6, FI_SOURCE, FI_TAGGED, FI_THREAD_DOMAIN, FI_VERSION, Library, fi_ep_type,
    fi_info,
};

/// The version of the interface that is asked for.
const VERSION: u32 = FI_VERSION(1, 17);
/// Data with a remote write has so many bytes.
const REMOTE_DATA: usize = 4;

/// A field of a part of an `fi_info`, given a pointer to the part.
///
/// The part may be shorter than this crate's declaration, so nobody makes a reference to it.
macro_rules! field {
    ($part:expr, $field:ident) => {{
        let part = $part;
        // SAFETY: libfabric fills every part, and each has had this field since 1.17.
        unsafe { (*part).$field }
    }};
    ($part:expr, $field:ident = $value:expr) => {{
        let (part, value) = ($part, $value);
        // SAFETY: as above; the part is this caller's own.
        unsafe { (*part).$field = value }
    }};
}
pub(super) use field;

/// A list of `fi_info`, freed with this.
#[derive(Debug)]
pub(super) struct Offers {
    library: Library,
    head: NonNull<fi_info>,
}

impl Drop for Offers {
    fn drop(&mut self) {
        // SAFETY: it came from this library, and all that used it borrowed it from here.
        unsafe { self.library.freeinfo(self.head.as_ptr()) }
    }
}

impl Offers {
    /// Empty hints.
    fn hints(library: Library) -> Result<Self, c_int> {
        // SAFETY: null asks for empty hints.
        let head = unsafe { library.dupinfo(std::ptr::null()) };
        let head = NonNull::new(head).ok_or(crate::FI_ENOMEM)?;
        Ok(Self { library, head })
    }

    fn ask(hints: &Self, source: Option<&CStr>) -> Result<Self, c_int> {
        let library = hints.library;
        let flags = if source.is_some() { FI_SOURCE | FI_NUMERICHOST } else { 0 };
        let hints = hints.head.as_ptr();
        // SAFETY: the hints are whole.
        let head = unsafe { library.getinfo(VERSION, source, None, flags, hints) }?;
        let head = NonNull::new(head).ok_or(crate::FI_ENODATA)?;
        Ok(Self { library, head })
    }

    pub(super) fn as_ptr(&self) -> *mut fi_info {
        self.head.as_ptr()
    }

    /// The first.
    pub(super) fn first(&self) -> fi_info {
        // SAFETY: lists are not empty, and this structure is the same in every version.
        unsafe { *self.head.as_ptr() }
    }

    /// The names of the providers, each once, in their order. Of one that is layered on another,
    /// `tcp;ofi_rxm`, the first: it is asked for by that.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = Some(self.head);
        while let Some(info) = next {
            // SAFETY: an element of the list.
            let info = unsafe { *info.as_ptr() };
            let name = field!(info.fabric_attr, prov_name);
            // SAFETY: names are texts.
            let name = unsafe { text(name) };
            let name = name.split(';').next().unwrap_or_default();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            next = NonNull::new(info.next);
        }
        names
    }
}

/// What of a wish is asked for.
#[derive(Clone, Copy, Default)]
struct Needs {
    kind: fi_ep_type,
    caps: u64,
    remote_data: usize,
    /// When an operation is complete, where that is not the provider's choice.
    complete: u64,
}

impl Needs {
    const ANYTHING: Self = Self { kind: FI_EP_UNSPEC, caps: 0, remote_data: 0, complete: 0 };
    /// Without directions a capability has all of them.
    const MESSAGES: Self = Self { kind: FI_EP_RDM, caps: FI_TAGGED, ..Self::ANYTHING };

    fn of(wish: &Wish<'_>) -> Self {
        let mut needs = Self::MESSAGES;
        if wish.remote_memory {
            needs.caps |= FI_RMA;
            // A write that only left has not arrived: whoever counts writes counts those.
            needs.complete = FI_DELIVERY_COMPLETE;
        }
        if wish.atomics {
            needs.caps |= FI_ATOMIC;
        }
        if wish.remote_data {
            needs.remote_data = REMOTE_DATA;
        }
        needs
    }

    fn hints(self, library: Library, provider: Option<&CStr>) -> Result<Offers, c_int> {
        let hints = Offers::hints(library)?;
        let info = hints.as_ptr();
        let parts = hints.first();
        field!(info, caps = self.caps);
        field!(info, mode = FI_CONTEXT | FI_CONTEXT2);
        field!(parts.ep_attr, r#type = self.kind);
        let domain = parts.domain_attr;
        let modes = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED;
        field!(domain, mr_mode = modes | FI_MR_PROV_KEY | FI_MR_ENDPOINT);
        if self.kind == FI_EP_RDM {
            field!(domain, threading = FI_THREAD_DOMAIN);
            field!(domain, data_progress = FI_PROGRESS_MANUAL);
            field!(domain, resource_mgmt = FI_RM_ENABLED);
            field!(domain, cq_data_size = self.remote_data);
            field!(parts.tx_attr, op_flags = self.complete);
            field!(parts.tx_attr, msg_order = FI_ORDER_SAS);
            field!(parts.rx_attr, msg_order = FI_ORDER_SAS);
        }
        if let Some(provider) = provider {
            // SAFETY: it is a text. Hints are freed by C, with what they hold.
            let name = unsafe { libc::strdup(provider.as_ptr()) };
            field!(parts.fabric_attr, prov_name = name);
        }
        Ok(hints)
    }

    fn offers(self, library: Library, provider: Option<&CStr>) -> Option<Offers> {
        Offers::ask(&self.hints(library, provider).ok()?, None).ok()
    }

    fn providers(self, library: Library) -> Vec<String> {
        self.offers(library, None).map(|offers| offers.names()).unwrap_or_default()
    }
}

/// The names of all providers that offer something here.
#[must_use]
pub fn providers(library: Library) -> Vec<String> {
    Needs::ANYTHING.providers(library)
}

/// Whether a provider could be opened for a wish, as far as can be said without opening it.
///
/// # Errors
/// There is no such provider, or it lacks what is wished for.
pub fn check(library: Library, wish: &Wish<'_>) -> Result<(), ClientError> {
    find(library, wish).map(drop)
}

/// The offer that suits a wish best: the provider's first.
pub(super) fn find(library: Library, wish: &Wish<'_>) -> Result<Offers, ClientError> {
    let name = || wish.provider.to_owned();
    let unknown = || ClientError::Unknown { name: name(), known: providers(library) };
    if wish.provider.is_empty() {
        return Err(unknown());
    }
    let provider = CString::new(wish.provider).map_err(|_| unknown())?;
    let mut needs = Needs::of(wish);
    let mut offers = needs.offers(library, Some(&provider));
    if offers.is_none() {
        needs.complete = 0;
        offers = needs.offers(library, Some(&provider));
    }
    let Some(offers) = offers else {
        if Needs::ANYTHING.offers(library, Some(&provider)).is_none() {
            return Err(unknown());
        }
        let is_reliable = Needs::MESSAGES.offers(library, Some(&provider)).is_some();
        let lacks = if is_reliable {
            wish.names().join(" or ")
        } else {
            "reliable datagram endpoints (FI_EP_RDM)".to_owned()
        };
        let fitting = needs.providers(library);
        return Err(ClientError::Unfit { name: name(), lacks, fitting });
    };
    let formats = [FI_SOCKADDR, FI_SOCKADDR_IN, FI_SOCKADDR_IN6];
    let Some(address) = wish.source.filter(|_| formats.contains(&offers.first().addr_format))
    else {
        return Ok(offers);
    };
    let node = CString::new(address.to_string()).map_err(|_| unknown())?;
    let hints = needs.hints(library, Some(&provider));
    let there = hints.and_then(|hints| Offers::ask(&hints, Some(&node)));
    there.map_err(|_| ClientError::Elsewhere { name: name(), address })
}
