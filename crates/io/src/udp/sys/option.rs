use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

const INT_LEN: libc::socklen_t = 4;
const _: () = assert!(INT_LEN as usize == size_of::<libc::c_int>());

/// Sets a socket option whose value is an `int`.
pub(in crate::udp) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; the value outlives the call, its length is
    // the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), INT_LEN)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option whose value is an `int`.
pub(in crate::udp) fn option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = INT_LEN;
    let room = ptr::from_mut(&mut value).cast();
    // SAFETY: the descriptor is open while borrowed; `room` and `len` outlive the call, `len` is
    // the room there is.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, room, &mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// The MTU of a network interface, asked of the network namespace that `socket` lives in.
pub(in crate::udp) fn interface_mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<usize> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 },
    };
    // The last byte stays zero: the kernel reads a C string.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU of an `ifreq`; it outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `ifru_mtu` is the member it wrote.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}
