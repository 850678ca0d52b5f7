//! How an endpoint is opened.

use std::{ffi::c_void, ptr};

use super::{Calls, Endpoint, NAME_ROOM, Remote, Room};
use crate::{
    FI_CQ_FORMAT_TAGGED, FI_ENABLE, FI_ETOOSMALL, FI_MR_ENDPOINT, FI_MR_LOCAL, FI_MR_VIRT_ADDR,
    FI_READ, FI_RECV, FI_REMOTE_READ, FI_REMOTE_WRITE, FI_SEND, FI_TRANSMIT, FI_WAIT_NONE,
    FI_WAIT_UNSPEC, FI_WRITE,
    client::{
        ClientError, Domain,
        contexts::Contexts,
        domain::{Inner, Open},
        memory::Memory,
        offers::field,
    },
    fi_addr_t, fi_cq_attr, fi_ops_av, fi_ops_cm, fi_ops_domain, fi_ops_mr, fid_cq, fid_ep, fid_mr,
};

/// What an endpoint is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) ep: Open<fid_ep>,
    pub(super) cq: Open<fid_cq>,
    pub(super) mr: Option<Open<fid_mr>>,
    /// Of the memory, for every operation; null where providers need none.
    pub(super) desc: *mut c_void,
    pub(super) key: Option<(u64, u64)>,
}

/// The key that memory is registered under, where that is the caller's choice: from here on.
const FIRST_KEY: u64 = 1;

pub(super) fn open(domain: &Domain, room: Room) -> Result<Endpoint, ClientError> {
    const MEMORY: &str = "have so much memory";
    let inner = &*domain.inner;
    let naming = &inner.naming;
    let no_memory = || naming.failed(MEMORY, crate::FI_ENOMEM);
    let memory = Memory::new(room.bytes).ok_or_else(no_memory)?;
    let contexts = Contexts::new(room.operations).ok_or_else(no_memory)?;
    let cq = open_cq(inner, room.operations)?;
    let ep = open_ep(inner)?;
    naming.check("bind an address vector", ep.bind(&inner.av, 0))?;
    naming.check("bind a completion queue", ep.bind(&cq, FI_TRANSMIT | FI_RECV))?;
    naming.check("enable an endpoint", ep.control(FI_ENABLE))?;
    let (mr, desc, key) = register(inner, &ep, &memory)?;
    let name = name_of(inner, &ep)?;
    // SAFETY: both are open.
    let calls = unsafe { Calls::of(ep.as_ptr(), cq.as_ptr()) };
    let parts = Parts { ep, cq, mr, desc, key };
    Ok(Endpoint {
        parts: Some(parts),
        calls,
        contexts: Some(contexts),
        memory: Some(memory),
        domain: domain.clone(),
        name,
        peer: 0,
        remote: Remote::default(),
    })
}

fn open_cq(inner: &Inner, operations: usize) -> Result<Open<fid_cq>, ClientError> {
    const DOING: &str = "open a completion queue";
    let wait_obj = if inner.sleep { FI_WAIT_UNSPEC } else { FI_WAIT_NONE };
    let mut attr = fi_cq_attr {
        // Writes of the peer complete here too.
        size: operations.saturating_mul(2),
        format: FI_CQ_FORMAT_TAGGED,
        wait_obj,
        ..fi_cq_attr::default()
    };
    // SAFETY: it is open.
    let ops = unsafe { (*inner.domain.as_ptr()).ops };
    // SAFETY: the table is the provider's.
    let open = unsafe { fi_ops_domain::cq_open.of(ops) };
    let open = open.ok_or_else(|| inner.naming.missing(DOING))?;
    let mut cq = ptr::null_mut();
    // SAFETY: the domain is open, and the attributes are whole.
    let status = unsafe { open(inner.domain.as_ptr(), &mut attr, &mut cq, ptr::null_mut()) };
    let doing = if inner.sleep { "open a completion queue to sleep on" } else { DOING };
    inner.naming.check(doing, status)?;
    Ok(Open::new(cq))
}

fn open_ep(inner: &Inner) -> Result<Open<fid_ep>, ClientError> {
    const DOING: &str = "open an endpoint";
    // SAFETY: it is open.
    let ops = unsafe { (*inner.domain.as_ptr()).ops };
    // SAFETY: the table is the provider's.
    let open = unsafe { fi_ops_domain::endpoint.of(ops) };
    let open = open.ok_or_else(|| inner.naming.missing(DOING))?;
    let mut ep = ptr::null_mut();
    let (domain, info) = (inner.domain.as_ptr(), inner.offers.as_ptr());
    // SAFETY: the offer is this domain's.
    let status = unsafe { open(domain, info, &mut ep, ptr::null_mut()) };
    inner.naming.check(DOING, status)?;
    Ok(Open::new(ep))
}

type Registered = (Option<Open<fid_mr>>, *mut c_void, Option<(u64, u64)>);

/// Registers the memory, where it is for the peer or the provider wants it registered.
fn register(inner: &Inner, ep: &Open<fid_ep>, memory: &Memory) -> Result<Registered, ClientError> {
    const DOING: &str = "register memory";
    let naming = &inner.naming;
    let mode = field!(inner.offers.first().domain_attr, mr_mode);
    let shared = inner.remote_memory || inner.atomics;
    if !shared && mode & FI_MR_LOCAL == 0 {
        return Ok((None, ptr::null_mut(), None));
    }
    let remote = FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    let access = FI_SEND | FI_RECV | if shared { remote } else { 0 };
    // SAFETY: it is open.
    let ops = unsafe { (*inner.domain.as_ptr()).mr };
    // SAFETY: the table is the provider's.
    let reg = unsafe { fi_ops_mr::reg.of(ops) }.ok_or_else(|| naming.missing(DOING))?;
    let key = inner.keys.get();
    inner.keys.set(key + 1);
    let mut mr = ptr::null_mut();
    let (start, bytes) = (memory.start(), memory.len());
    // SAFETY: the memory is there until the registration is closed.
    let status = unsafe {
        reg(
            inner.domain.head(),
            start.cast(),
            bytes,
            access,
            0,
            FIRST_KEY + key,
            0,
            &mut mr,
            ptr::null_mut(),
        )
    };
    naming.check(DOING, status)?;
    let mr = Open::new(mr);
    if mode & FI_MR_ENDPOINT != 0 {
        naming.check("bind memory to an endpoint", mr.bind(ep, 0))?;
        naming.check("enable memory", mr.control(FI_ENABLE))?;
    }
    // SAFETY: it is open; this structure is the same in every version.
    let fid_mr { mem_desc, key, .. } = unsafe { *mr.as_ptr() };
    let base = if mode & FI_MR_VIRT_ADDR == 0 { 0 } else { start.expose_provenance() as u64 };
    Ok((Some(mr), mem_desc, shared.then_some((key, base))))
}

fn name_of(inner: &Inner, ep: &Open<fid_ep>) -> Result<Vec<u8>, ClientError> {
    const DOING: &str = "tell an endpoint's address";
    // SAFETY: it is open.
    let cm = unsafe { (*ep.as_ptr()).cm };
    // SAFETY: the table is the provider's.
    let getname = unsafe { fi_ops_cm::getname.of(cm) };
    let getname = getname.ok_or_else(|| inner.naming.missing(DOING))?;
    let mut name = vec![0_u8; NAME_ROOM / 2];
    let mut length = name.len();
    // SAFETY: there is so much room.
    let status = unsafe { getname(ep.head(), name.as_mut_ptr().cast(), &mut length) };
    inner.naming.check(DOING, status)?;
    if length > name.len() {
        return Err(inner.naming.failed(DOING, FI_ETOOSMALL));
    }
    name.truncate(length);
    Ok(name)
}

/// Adds a peer's address.
pub(super) fn insert(
    inner: &Inner,
    name: &[u8; NAME_ROOM],
    doing: &'static str,
) -> Result<fi_addr_t, ClientError> {
    // SAFETY: it is open.
    let ops = unsafe { (*inner.av.as_ptr()).ops };
    // SAFETY: the table is the provider's.
    let insert = unsafe { fi_ops_av::insert.of(ops) };
    let insert = insert.ok_or_else(|| inner.naming.missing(doing))?;
    let mut peer = 0;
    let (av, name) = (inner.av.as_ptr(), name.as_ptr().cast());
    // SAFETY: the name is one, and there are zeros behind it.
    let count = unsafe { insert(av, name, 1, &mut peer, 0, ptr::null_mut()) };
    inner.naming.check(doing, count)?;
    if count == 0 {
        return Err(inner.naming.failed(doing, crate::FI_EINVAL));
    }
    Ok(peer)
}
