//! A provider's domain, and what is opened from it.

use std::{cell::Cell, ptr, rc::Rc};

use super::{
    ClientError, Endpoint, Naming, Room, Wish,
    offers::{self, Offers, field},
    text,
};
use crate::{
    FI_MAJOR, FI_MINOR, FI_SUCCESS, Library, fi_av_attr, fi_info, fi_ops, fi_ops_domain,
    fi_ops_fabric, fid, fid_av, fid_domain, fid_fabric,
};

/// An open descriptor, closed with this; `T` begins with a [`fid`].
#[derive(Debug)]
pub(super) struct Open<T> {
    pointer: *mut T,
}

impl<T> Open<T> {
    pub(super) const fn new(pointer: *mut T) -> Self {
        Self { pointer }
    }

    pub(super) const fn as_ptr(&self) -> *mut T {
        self.pointer
    }

    pub(super) const fn head(&self) -> *mut fid {
        self.pointer.cast()
    }

    /// Closes it. `false` if that failed, and it is open still.
    pub(super) fn close(self) -> bool {
        let closed = self.close_once();
        std::mem::forget(self);
        closed
    }

    fn close_once(&self) -> bool {
        // SAFETY: it is open, so it has a head.
        let ops = unsafe { (*self.head()).ops };
        // SAFETY: the table is the provider's.
        let Some(close) = (unsafe { fi_ops::close.of(ops) }) else { return false };
        // SAFETY: it is open, and not used after this.
        let status = unsafe { close(self.head()) };
        status == FI_SUCCESS
    }

    pub(super) fn control(&self, command: std::ffi::c_int) -> std::ffi::c_int {
        // SAFETY: it is open, so it has a head.
        let ops = unsafe { (*self.head()).ops };
        // SAFETY: the table is the provider's.
        let Some(control) = (unsafe { fi_ops::control.of(ops) }) else { return -crate::FI_ENOSYS };
        // SAFETY: the commands that this crate gives take no argument.
        unsafe { control(self.head(), command, ptr::null_mut()) }
    }

    pub(super) fn bind<O>(&self, other: &Open<O>, flags: u64) -> std::ffi::c_int {
        // SAFETY: it is open, so it has a head.
        let ops = unsafe { (*self.head()).ops };
        // SAFETY: the table is the provider's.
        let Some(bind) = (unsafe { fi_ops::bind.of(ops) }) else { return -crate::FI_ENOSYS };
        // SAFETY: both are open.
        unsafe { bind(self.head(), other.head(), flags) }
    }
}

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        self.close_once();
    }
}

/// What was chosen for a [`Wish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The provider, with those it is layered on: `tcp;ofi_rxm`.
    pub provider: String,
    /// The fabric's name.
    pub fabric: String,
    /// The domain's: a network device, most often.
    pub domain: String,
    /// The version of libfabric.
    pub libfabric: String,
}

/// A domain of a provider: what its endpoints share.
#[derive(Clone, Debug)]
pub struct Domain {
    pub(super) inner: Rc<Inner>,
}

/// Fields are closed in their order.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) av: Open<fid_av>,
    pub(super) domain: Open<fid_domain>,
    _fabric: Open<fid_fabric>,
    pub(super) offers: Offers,
    pub(super) naming: Naming,
    pub(super) remote_memory: bool,
    pub(super) atomics: bool,
    pub(super) sleep: bool,
    /// Registrations so far.
    pub(super) keys: Cell<u64>,
}

impl Domain {
    /// Opens the first domain that the provider offers for a wish.
    ///
    /// # Errors
    /// There is no such provider, it lacks what is wished for, or it failed.
    pub fn open(library: Library, wish: &Wish<'_>) -> Result<Self, ClientError> {
        let offers = offers::find(library, wish)?;
        let info = offers.first();
        let naming = Naming { library, provider: wish.provider.to_owned() };
        // SAFETY: the attributes are those of an offer.
        let fabric = unsafe { library.fabric(info.fabric_attr, ptr::null_mut()) };
        let fabric = Open::new(fabric.map_err(|error| naming.failed("open a fabric", error))?);
        let domain = open_domain(&naming, &fabric, &offers)?;
        let av = open_av(&naming, &domain, &info)?;
        let Wish { remote_memory, atomics, sleep, .. } = *wish;
        let inner = Inner {
            av,
            domain,
            _fabric: fabric,
            offers,
            naming,
            remote_memory,
            atomics,
            sleep,
            keys: Cell::new(0),
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// What was opened.
    #[must_use]
    pub fn description(&self) -> Description {
        let Inner { offers, naming, .. } = &*self.inner;
        let info = offers.first();
        let version = naming.library.version();
        let names = [
            field!(info.fabric_attr, prov_name),
            field!(info.fabric_attr, name),
            field!(info.domain_attr, name),
        ];
        // SAFETY: names are texts.
        let [provider, fabric, domain] = names.map(|name| unsafe { text(name) });
        let libfabric = format!("{}.{}", FI_MAJOR(version), FI_MINOR(version));
        Description { provider, fabric, domain, libfabric }
    }

    /// The longest message in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        field!(self.inner.offers.first().ep_attr, max_msg_size)
    }

    /// Opens an endpoint with this much room.
    ///
    /// # Errors
    /// The provider failed, or memory is out.
    pub fn endpoint(&self, room: Room) -> Result<Endpoint, ClientError> {
        Endpoint::open(self, room)
    }
}

fn open_domain(
    naming: &Naming,
    fabric: &Open<fid_fabric>,
    offers: &Offers,
) -> Result<Open<fid_domain>, ClientError> {
    const DOING: &str = "open a domain";
    // SAFETY: it is open.
    let ops = unsafe { (*fabric.as_ptr()).ops };
    // SAFETY: the table is the provider's.
    let open = unsafe { fi_ops_fabric::domain.of(ops) }.ok_or_else(|| naming.missing(DOING))?;
    let mut domain = ptr::null_mut();
    // SAFETY: the offer is this fabric's.
    let status = unsafe { open(fabric.as_ptr(), offers.as_ptr(), &mut domain, ptr::null_mut()) };
    naming.check(DOING, status)?;
    Ok(Open::new(domain))
}

fn open_av(
    naming: &Naming,
    domain: &Open<fid_domain>,
    info: &fi_info,
) -> Result<Open<fid_av>, ClientError> {
    const DOING: &str = "open an address vector";
    // SAFETY: it is open.
    let ops = unsafe { (*domain.as_ptr()).ops };
    // SAFETY: the table is the provider's.
    let open = unsafe { fi_ops_domain::av_open.of(ops) }.ok_or_else(|| naming.missing(DOING))?;
    let kind = field!(info.domain_attr, av_type);
    let mut attr = fi_av_attr { r#type: kind, ..fi_av_attr::default() };
    let mut av = ptr::null_mut();
    // SAFETY: the domain is open, and the attributes are whole.
    let status = unsafe { open(domain.as_ptr(), &mut attr, &mut av, ptr::null_mut()) };
    naming.check(DOING, status)?;
    Ok(Open::new(av))
}
