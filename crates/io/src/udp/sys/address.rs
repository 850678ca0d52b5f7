use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The size of `sockaddr_in6`, the largest address met here.
const ROOM: usize = size_of::<libc::sockaddr_in6>();
const V4_LEN: libc::socklen_t = 16;
const V6_LEN: libc::socklen_t = 28;
const _: () = assert!(V4_LEN as usize == size_of::<libc::sockaddr_in>());
const _: () = assert!(V6_LEN as usize == ROOM);

/// A socket address as the kernel reads and writes it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(in crate::udp) struct RawAddress {
    bytes: [u8; ROOM],
    len: libc::socklen_t,
}

impl RawAddress {
    /// Room for the kernel to write an address of either family.
    pub(in crate::udp) const ROOM: Self = Self { bytes: [0; ROOM], len: V6_LEN };

    /// The address and its length for the kernel to read.
    pub(super) fn parts(&self) -> (&[u8], libc::socklen_t) {
        (&self.bytes, self.len)
    }

    /// Room and its length for the kernel to write.
    pub(super) fn room(&mut self) -> (&mut [u8], libc::socklen_t) {
        (&mut self.bytes, V6_LEN)
    }

    /// The address, if the kernel wrote one of a family this device speaks.
    pub(in crate::udp) fn to_socket_addr(self) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes(self.field(0)));
        let port = u16::from_be_bytes(self.field(2));
        match family {
            libc::AF_INET => {
                let octets: [u8; 4] = self.field(4);
                Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into())
            }
            libc::AF_INET6 => {
                let flow = u32::from_be_bytes(self.field(4));
                let octets: [u8; 16] = self.field(8);
                let scope = u32::from_ne_bytes(self.field(24));
                Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
            }
            _ => None,
        }
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }

    fn set(&mut self, at: usize, field: &[u8]) {
        self.bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn set_family(&mut self, family: libc::c_int) {
        let family = libc::sa_family_t::try_from(family).expect("address families are small");
        self.set(0, &family.to_ne_bytes());
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> Self {
        let mut raw = Self::ROOM;
        raw.set(2, &address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                raw.set_family(libc::AF_INET);
                raw.set(4, &v4.ip().octets());
                raw.len = V4_LEN;
            }
            SocketAddr::V6(v6) => {
                raw.set_family(libc::AF_INET6);
                raw.set(4, &v6.flowinfo().to_be_bytes());
                raw.set(8, &v6.ip().octets());
                raw.set(24, &v6.scope_id().to_ne_bytes());
            }
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_either_family_survives_the_round_trip() {
        let v6 = SocketAddrV6::new("fe80::12:3".parse().unwrap(), 65_535, 7, 4);
        for address in ["10.1.2.3:7000".parse().unwrap(), SocketAddr::from(v6)] {
            assert_eq!(RawAddress::from(address).to_socket_addr(), Some(address));
        }
        assert_eq!(RawAddress::ROOM.to_socket_addr(), None);
    }
}
