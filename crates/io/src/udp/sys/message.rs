use std::{
    io::{self, IoSlice, IoSliceMut},
    mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use super::{ControlBuffer, RawAddress};

/// The most datagrams of one `sendmmsg` or `recvmmsg`.
pub(in crate::udp) const BATCH: usize = 32;

/// What one `recvmsg` said beside the bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::udp) struct Received {
    pub(in crate::udp) bytes: usize,
    /// The datagram was longer than the buffers; its end is lost.
    pub(in crate::udp) truncated: bool,
}

/// Sends `payload` as one datagram, or as one train where `control` says so. A connected socket
/// needs no destination.
pub(in crate::udp) fn send_message(
    socket: BorrowedFd<'_>,
    to: Option<&RawAddress>,
    payload: &[IoSlice<'_>],
    control: &[u8],
) -> io::Result<usize> {
    let header = outgoing(to, payload, control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open while borrowed; `header` points at `to`, `payload` and
    // `control`, which outlive the call and are only read by it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends one datagram from a connected socket: the same as [`send_message`] for a payload in one
/// piece, with less for the kernel to read.
pub(in crate::udp) fn send_bytes(socket: BorrowedFd<'_>, payload: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open while borrowed; `payload` outlives the call and is only read
    // by it.
    let sent =
        unsafe { libc::send(socket.as_raw_fd(), payload.as_ptr().cast(), payload.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends up to [`BATCH`] datagrams, each a head and a tail, with one system call. Returns how many
/// were taken; an error means that not even the first was.
pub(in crate::udp) fn send_batch(
    socket: BorrowedFd<'_>,
    to: &RawAddress,
    datagrams: &[[IoSlice<'_>; 2]],
    control: &[u8],
) -> io::Result<usize> {
    let mut headers = [empty_batch_header(); BATCH];
    let mut count: libc::c_uint = 0;
    for (header, payload) in headers.iter_mut().zip(datagrams) {
        header.msg_hdr = outgoing(Some(to), payload, control);
        count += 1;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers point at `to`, `datagrams` and `control`, which outlive
    // the call and are only read by it; the kernel writes only the `msg_len` of each header.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, flags as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives one datagram or train without waiting.
pub(in crate::udp) fn receive_message<const N: usize>(
    socket: BorrowedFd<'_>,
    from: &mut RawAddress,
    payload: &mut [IoSliceMut<'_>],
    control: &mut ControlBuffer<N>,
    flags: libc::c_int,
) -> io::Result<Received> {
    let mut header = incoming(from, payload, control);
    // SAFETY: the descriptor is open while borrowed; `header` points at `from`, `payload` and
    // `control`, exclusively borrowed for the call, with the lengths they have.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags | libc::MSG_DONTWAIT) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    control.set_received(header.msg_controllen as _);
    Ok(Received { bytes, truncated: header.msg_flags & libc::MSG_TRUNC != 0 })
}

/// A place for one datagram or train of a batch.
#[derive(Debug)]
pub(in crate::udp) struct Slot {
    pub(in crate::udp) from: RawAddress,
    pub(in crate::udp) control: ControlBuffer<128>,
    pub(in crate::udp) buffer: Box<[u8]>,
    pub(in crate::udp) received: Received,
}

impl Slot {
    pub(in crate::udp) fn new(bytes: usize) -> Self {
        Self {
            from: RawAddress::ROOM,
            control: ControlBuffer::default(),
            buffer: vec![0; bytes].into_boxed_slice(),
            received: Received { bytes: 0, truncated: false },
        }
    }
}

/// Fills up to [`BATCH`] slots with one system call, without waiting. Returns how many.
pub(in crate::udp) fn receive_batch(
    socket: BorrowedFd<'_>,
    slots: &mut [Slot],
) -> io::Result<usize> {
    let mut headers = [empty_batch_header(); BATCH];
    let mut payloads: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    let mut count: libc::c_uint = 0;
    for ((header, payload), slot) in headers.iter_mut().zip(&mut payloads).zip(&mut *slots) {
        *payload = IoSliceMut::new(&mut slot.buffer);
        header.msg_hdr = incoming(&mut slot.from, std::slice::from_mut(payload), &mut slot.control);
        count += 1;
    }
    // SAFETY: the first `count` headers point at `payloads` and `slots`, exclusively borrowed for
    // the call, with the lengths they have; no timeout is given.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (header, slot) in headers[..received].iter().zip(slots) {
        slot.control.set_received(header.msg_hdr.msg_controllen as _);
        slot.received = Received {
            bytes: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(received)
}

fn outgoing(to: Option<&RawAddress>, payload: &[IoSlice<'_>], control: &[u8]) -> libc::msghdr {
    let mut header = empty_header();
    if let Some((name, name_len)) = to.map(RawAddress::parts) {
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name_len;
    }
    // `IoSlice` is documented to have the layout of `iovec`.
    header.msg_iov = payload.as_ptr().cast_mut().cast();
    header.msg_iovlen = payload.len() as _;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len() as _;
    }
    header
}

fn incoming<const N: usize>(
    from: &mut RawAddress,
    payload: &mut [IoSliceMut<'_>],
    control: &mut ControlBuffer<N>,
) -> libc::msghdr {
    let mut header = empty_header();
    let (name, name_len) = from.room();
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = name_len;
    // `IoSliceMut` is documented to have the layout of `iovec`.
    header.msg_iov = payload.as_mut_ptr().cast();
    header.msg_iovlen = payload.len() as _;
    header.msg_control = control.room().as_mut_ptr().cast();
    header.msg_controllen = control.room().len() as _;
    header
}

fn empty_header() -> libc::msghdr {
    // SAFETY: `msghdr` is plain integers and pointers, for which all zeroes is a value.
    unsafe { mem::zeroed() }
}

fn empty_batch_header() -> libc::mmsghdr {
    libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }
}
