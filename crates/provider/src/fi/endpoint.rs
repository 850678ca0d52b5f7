//! Endpoints: fi_endpoint(3).

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fabric::Order;
use libfabric_sys as fi;

use super::{Object, atomic, av, cm, cntr, cq, guarded, memory, msg, rma, status, tagged};
use crate::{
    domain::{Domain, State},
    endpoint::{Binding, Call, Endpoint, Kind, Settings},
    params,
    vector::AddressVector,
};

/// What this crate keeps with an endpoint's descriptor.
pub(super) struct Ep {
    pub(super) domain: Arc<Domain>,
    pub(super) key: usize,
    tx_flags: AtomicU64,
    rx_flags: AtomicU64,
}

impl Ep {
    /// # Safety
    /// `fid` is an open endpoint of this crate.
    pub(super) unsafe fn of<'a>(fid: *mut fi::fid_ep) -> &'a Self {
        // SAFETY: the caller promised it.
        &unsafe { Object::<fi::fid_ep, Self>::of(fid) }.inner
    }

    /// Flags of plain calls that send.
    pub(super) fn tx_flags(&self) -> u64 {
        self.tx_flags.load(Ordering::Relaxed)
    }

    /// Flags of plain calls that receive.
    pub(super) fn rx_flags(&self) -> u64 {
        self.rx_flags.load(Ordering::Relaxed)
    }

    /// Runs a call that moves data. If it cannot be done now, progress is made, so that it can be
    /// before long.
    #[inline]
    pub(super) fn call(&self, what: impl FnOnce(&mut Endpoint, &AddressVector) -> Call) -> Call {
        let mut state = self.domain.lock();
        let State { endpoints, vectors, .. } = &mut *state;
        let endpoint = &mut endpoints[self.key];
        let vector = endpoint.vector.and_then(|vector| vectors.get(vector));
        let result = vector.ok_or(fi::FI_ENOAV).and_then(|vector| what(endpoint, vector));
        if result == Err(fi::FI_EAGAIN) {
            state.progress(self.key);
        }
        result
    }
}

static FID_OPS: fi::fi_ops = fi::fi_ops { close, bind, control, ..fi::fi_ops::ENOSYS };

static OPS: fi::fi_ops_ep = fi::fi_ops_ep { cancel, getopt, setopt, ..fi::fi_ops_ep::ENOSYS };

static COLLECTIVE: fi::fi_ops_collective = fi::fi_ops_collective::ENOSYS;

/// fi_endpoint(3).
pub(super) unsafe extern "C" fn open(
    domain: *mut fi::fid_domain,
    info: *mut fi::fi_info,
    ep: *mut *mut fi::fid_ep,
    context: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the domain is open.
        let domain = unsafe { super::domain::of(domain) };
        // SAFETY: the info is one that fi_getinfo(3) made, or a copy.
        let Ok(settings) = (unsafe { settings(info) }) else { return -fi::FI_EINVAL };
        let (tx_flags, rx_flags) = (settings.tx_flags.into(), settings.rx_flags.into());
        let key = domain.lock().endpoints.insert(Endpoint::new(settings));
        let inner = Ep { domain: Arc::clone(domain), key, tx_flags, rx_flags };
        let fid = fi::fid_ep {
            fid: fi::fid { fclass: fi::FI_CLASS_EP, context, ops: &raw const FID_OPS },
            ops: &raw const OPS,
            cm: &raw const cm::OPS,
            msg: &raw const msg::OPS,
            rma: &raw const rma::OPS,
            tagged: &raw const tagged::OPS,
            atomic: &raw const atomic::OPS,
            collective: &raw const COLLECTIVE,
        };
        // SAFETY: the caller wants it there.
        unsafe { *ep = Object::publish(fid, inner) };
        0
    })
}

/// fi_endpoint2(3).
pub(super) unsafe extern "C" fn open_with_flags(
    domain: *mut fi::fid_domain,
    info: *mut fi::fi_info,
    ep: *mut *mut fi::fid_ep,
    _flags: u64,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the arguments are those of the manual page.
    unsafe { open(domain, info, ep, context) }
}

/// What an endpoint is to be.
///
/// # Safety
/// `info` is null or one that fi_getinfo(3) made, or a copy.
unsafe fn settings(info: *const fi::fi_info) -> Call<Settings> {
    // SAFETY: the caller promised it.
    let info = unsafe { info.as_ref() }.ok_or(fi::FI_EINVAL)?;
    // SAFETY: an info's parts are there or null.
    let ep = unsafe { info.ep_attr.as_ref() };
    // SAFETY: as above.
    let tx = unsafe { info.tx_attr.as_ref() };
    // SAFETY: as above.
    let rx = unsafe { info.rx_attr.as_ref() };
    // SAFETY: an info's address is one of a family that it says.
    let listen = unsafe { memory::socket_address(info.src_addr) }.ok_or(fi::FI_EINVAL)?;
    let kind = match ep.map(|ep| ep.r#type) {
        Some(fi::FI_EP_DGRAM) => Kind::Datagram,
        _ => Kind::Rdm,
    };
    Ok(Settings {
        kind,
        listen,
        caps: info.caps,
        tx_flags: tx.map_or(0, |tx| tx.op_flags),
        rx_flags: rx.map_or(0, |rx| rx.op_flags),
        order: order(tx.map_or(0, |tx| tx.msg_order)),
    })
}

/// The order that is not kept anyway: messages and atomic operations have theirs always.
fn order(asked: u64) -> Order {
    [
        (fi::FI_ORDER_WAW | fi::FI_ORDER_RMA_WAW, Order::WRITE_AFTER_WRITE),
        (fi::FI_ORDER_WAR | fi::FI_ORDER_RMA_WAR, Order::WRITE_AFTER_READ),
        (fi::FI_ORDER_RAW | fi::FI_ORDER_RMA_RAW, Order::READ_AFTER_WRITE),
        (fi::FI_ORDER_RAR | fi::FI_ORDER_RMA_RAR, Order::READ_AFTER_READ),
        (fi::FI_ORDER_SAW, Order::SEND_AFTER_WRITE),
        (fi::FI_ORDER_SAR, Order::SEND_AFTER_READ),
        (fi::FI_ORDER_WAS, Order::WRITE_AFTER_SEND),
        (fi::FI_ORDER_RAS, Order::READ_AFTER_SEND),
    ]
    .into_iter()
    .filter(|(bits, _)| asked & bits != 0)
    .fold(Order::NONE, |sum, (_, order)| sum | order)
}

unsafe extern "C" fn close(fid: *mut fi::fid) -> c_int {
    guarded(|| {
        // SAFETY: the application uses it no more.
        let Ep { domain, key, .. } = unsafe { Object::<fi::fid_ep, Ep>::take(fid.cast()) }.inner;
        let mut state = domain.lock();
        let endpoint = state.endpoints.remove(key);
        for queue in [endpoint.tx, endpoint.rx].into_iter().flatten() {
            if let Some(queue) = state.queues.get_mut(queue.queue) {
                queue.endpoints.retain(|&other| other != key);
            }
        }
        for (_, counter) in &mut state.counters {
            counter.endpoints.retain(|&other| other != key);
        }
        if let Some(vector) = endpoint.vector.and_then(|at| state.vectors.get_mut(at)) {
            vector.bound -= 1;
        }
        // Others go on while this one waits for its peers.
        drop(state);
        crate::report::write(&endpoint);
        endpoint.close(params::of_an_offer().linger);
        0
    })
}

unsafe extern "C" fn bind(fid: *mut fi::fid, with: *mut fi::fid, flags: u64) -> c_int {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        // SAFETY: every descriptor begins with its class.
        let class = unsafe { (*with).fclass };
        let mut state = ep.domain.lock();
        if state.endpoints[ep.key].is_enabled() && class != fi::FI_CLASS_CNTR {
            return -fi::FI_EOPBADSTATE;
        }
        match class {
            fi::FI_CLASS_AV => {
                // SAFETY: the class says what it is.
                let vector = unsafe { av::key(with.cast()) };
                state.endpoints[ep.key].vector = Some(vector);
                state.vectors[vector].bound += 1;
            }
            fi::FI_CLASS_CQ => {
                // SAFETY: the class says what it is.
                let queue = unsafe { cq::key(with.cast()) };
                bind_queue(&mut state, ep.key, queue, flags);
            }
            fi::FI_CLASS_CNTR => {
                // SAFETY: the class says what it is.
                let counter = unsafe { cntr::key(with.cast()) };
                bind_counter(&mut state, ep.key, counter, flags);
            }
            fi::FI_CLASS_EQ => {}
            _ => return -fi::FI_EINVAL,
        }
        0
    })
}

fn bind_queue(state: &mut State, key: usize, queue: usize, flags: u64) {
    let binding = Binding { queue, selective: flags & fi::FI_SELECTIVE_COMPLETION != 0 };
    let endpoint = &mut state.endpoints[key];
    if flags & fi::FI_TRANSMIT != 0 {
        endpoint.tx = Some(binding);
    }
    if flags & fi::FI_RECV != 0 {
        endpoint.rx = Some(binding);
    }
    let endpoints = &mut state.queues[queue].endpoints;
    if !endpoints.contains(&key) {
        endpoints.push(key);
    }
}

fn bind_counter(state: &mut State, key: usize, counter: usize, flags: u64) {
    let bound = &mut state.endpoints[key].counters;
    for (flag, place) in [
        (fi::FI_SEND, &mut bound.send),
        (fi::FI_RECV, &mut bound.receive),
        (fi::FI_READ, &mut bound.read),
        (fi::FI_WRITE, &mut bound.write),
        (fi::FI_REMOTE_READ, &mut bound.remote_read),
        (fi::FI_REMOTE_WRITE, &mut bound.remote_write),
    ] {
        if flags & flag != 0 {
            *place = Some(counter);
        }
    }
    let endpoints = &mut state.counters[counter].endpoints;
    if !endpoints.contains(&key) {
        endpoints.push(key);
    }
}

unsafe extern "C" fn control(fid: *mut fi::fid, command: c_int, arg: *mut c_void) -> c_int {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        match command {
            fi::FI_ENABLE => status(enable(ep)),
            fi::FI_GETOPSFLAG | fi::FI_SETOPSFLAG => {
                // SAFETY: these commands have flags for an argument.
                let flags = unsafe { &mut *arg.cast::<u64>() };
                status(op_flags(ep, command, flags))
            }
            _ => -fi::FI_ENOSYS,
        }
    })
}

fn enable(ep: &Ep) -> Call {
    let mut state = ep.domain.lock();
    let State { endpoints, regions, queues, .. } = &mut *state;
    let endpoint = &mut endpoints[ep.key];
    endpoint.enable(regions)?;
    for binding in [endpoint.tx, endpoint.rx].into_iter().flatten() {
        if let (Some(wake), Some(descriptor)) =
            (queues[binding.queue].sleeper.wake.as_ref(), endpoint.descriptor())
        {
            wake.watch(descriptor);
        }
    }
    let counters: Vec<usize> = state.counters.iter().map(|(at, _)| at).collect();
    counters.into_iter().for_each(|counter| state.watch_counted(counter));
    Ok(())
}

/// `FI_GETOPSFLAG` and `FI_SETOPSFLAG` of fi_endpoint(3).
fn op_flags(ep: &Ep, command: c_int, flags: &mut u64) -> Call {
    let which = *flags & (fi::FI_TRANSMIT | fi::FI_RECV);
    let place = match which {
        fi::FI_TRANSMIT => &ep.tx_flags,
        fi::FI_RECV => &ep.rx_flags,
        _ => return Err(fi::FI_EINVAL),
    };
    if command == fi::FI_GETOPSFLAG {
        *flags = place.load(Ordering::Relaxed);
    } else {
        place.store(*flags & !which, Ordering::Relaxed);
    }
    Ok(())
}

unsafe extern "C" fn cancel(fid: *mut fi::fid, context: *mut c_void) -> isize {
    guarded(|| {
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        let mut state = ep.domain.lock();
        let was_there = state.endpoints[ep.key].cancel(context as usize);
        state.progress(ep.key);
        if was_there { 0 } else { -(fi::FI_ENOENT as isize) }
    })
}

unsafe extern "C" fn getopt(
    fid: *mut fi::fid,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut usize,
) -> c_int {
    guarded(|| {
        if level != fi::FI_OPT_ENDPOINT {
            return -fi::FI_ENOPROTOOPT;
        }
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        let answer = match name {
            fi::FI_OPT_MIN_MULTI_RECV => ep.domain.lock().endpoints[ep.key].least_multi,
            fi::FI_OPT_CM_DATA_SIZE => 0,
            _ => return -fi::FI_ENOPROTOOPT,
        };
        // SAFETY: the length is there.
        if unsafe { *length } < size_of::<usize>() {
            return -fi::FI_ETOOSMALL;
        }
        // SAFETY: there is room, as just looked.
        unsafe { value.cast::<usize>().write_unaligned(answer) };
        // SAFETY: the length is there.
        unsafe { *length = size_of::<usize>() };
        0
    })
}

unsafe extern "C" fn setopt(
    fid: *mut fi::fid,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: usize,
) -> c_int {
    guarded(|| {
        if level != fi::FI_OPT_ENDPOINT || name != fi::FI_OPT_MIN_MULTI_RECV {
            return -fi::FI_ENOPROTOOPT;
        }
        if length < size_of::<usize>() {
            return -fi::FI_EINVAL;
        }
        // SAFETY: the endpoint is open.
        let ep = unsafe { Ep::of(fid.cast()) };
        // SAFETY: the length says that it is there.
        let least = unsafe { value.cast::<usize>().read_unaligned() };
        ep.domain.lock().endpoints[ep.key].least_multi = least;
        0
    })
}
