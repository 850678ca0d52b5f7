//! Nodes, services and addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use libfabric_sys::*;
use nix::sys::socket::SockaddrIn6;

use super::asking::{Asked, Entry, NOW, ask, entries};

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// A host that is nobody's (RFC 5737), in particular not this one.
const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

fn only_kinds(list: Vec<Entry>) -> Entry {
    assert_eq!(list.len(), 2, "one of a kind: {list:?}");
    list.into_iter().next().unwrap()
}

#[test]
fn a_node_with_the_flag_is_where_to_listen() {
    let list = ask(NOW, (Some(c"127.0.0.1"), Some(c"9228")), FI_SOURCE, None).unwrap();
    let entry = only_kinds(entries(&list));
    assert_eq!(entry.source, Some(SocketAddrV4::new(HOME, 9228)));
    assert_eq!(entry.destination, None);
    let list = ask(NOW, (Some(c"localhost"), None), FI_SOURCE, None).unwrap();
    assert_eq!(only_kinds(entries(&list)).source, Some(SocketAddrV4::new(HOME, 0)));
    // Each address of 127.0.0.0/8 is this host's.
    let list = ask(NOW, (Some(c"127.0.0.2"), None), FI_SOURCE | FI_NUMERICHOST, None).unwrap();
    let there = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 0);
    assert_eq!(only_kinds(entries(&list)).source, Some(there));
}

#[test]
fn a_service_with_the_flag_is_the_port_on_every_address() {
    let list = ask(NOW, (None, Some(c"9228")), FI_SOURCE, None).unwrap();
    for entry in entries(&list) {
        let source = entry.source.unwrap();
        assert_eq!(source.port(), 9228);
        assert!(!source.ip().is_unspecified());
    }
}

#[test]
fn a_node_without_the_flag_is_where_to_go_and_the_route_says_from_where() {
    let list = ask(NOW, (Some(c"127.0.0.1"), Some(c"9228")), 0, None).unwrap();
    let entry = only_kinds(entries(&list));
    assert_eq!(entry.destination, Some(SocketAddrV4::new(HOME, 9228)));
    assert_eq!(entry.source, Some(SocketAddrV4::new(HOME, 0)));
    // Who goes to an address of its own host leaves from there.
    let list = ask(NOW, (None, None), 0, None).unwrap();
    let own = entries(&list)[0].source.unwrap();
    let node = std::ffi::CString::new(own.ip().to_string()).unwrap();
    let list = ask(NOW, (Some(&node), None), 0, None).unwrap();
    assert_eq!(only_kinds(entries(&list)).source, Some(own));
}

#[test]
fn addresses_of_the_hints_are_the_same() {
    let end = |port| Some(SocketAddrV4::new(HOME, port));
    let asked = Asked::with(|asked| asked.source = end(9228));
    let list = ask(NOW, (None, None), 0, Some(asked)).unwrap();
    assert_eq!(only_kinds(entries(&list)).source, end(9228));

    let asked = Asked::with(|asked| asked.destination = end(9229));
    let list = ask(NOW, (None, None), 0, Some(asked)).unwrap();
    let entry = only_kinds(entries(&list));
    assert_eq!((entry.source, entry.destination), (end(0), end(9229)));

    let asked = Asked::with(|asked| (asked.source, asked.destination) = (end(1), end(2)));
    let list = ask(NOW, (Some(c"127.0.0.1"), Some(c"3")), FI_SOURCE, Some(asked.clone())).unwrap();
    let entry = only_kinds(entries(&list));
    assert_eq!((entry.source, entry.destination), (end(3), end(2)));
    let list = ask(NOW, (Some(c"127.0.0.1"), Some(c"3")), 0, Some(asked)).unwrap();
    let entry = only_kinds(entries(&list));
    assert_eq!((entry.source, entry.destination), (end(1), end(3)));
}

#[test]
fn any_address_with_a_port_is_every_address_with_it() {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9228);
    let asked = Asked::with(|asked| asked.source = Some(any));
    let list = ask(NOW, (None, None), 0, Some(asked)).unwrap();
    for entry in entries(&list) {
        let source = entry.source.unwrap();
        assert!(source.port() == 9228 && !source.ip().is_unspecified());
    }
}

#[test]
fn what_leads_nowhere_is_no_data() {
    let nobody = Asked::with(|asked| asked.source = Some(SocketAddrV4::new(NOBODY, 0)));
    let name = |flags| ask(NOW, (Some(c"g00n13s"), None), flags, None).unwrap_err();
    assert_eq!(ask(NOW, (None, None), 0, Some(nobody)).unwrap_err(), FI_ENODATA);
    assert_eq!(name(FI_NUMERICHOST), FI_ENODATA);
    assert_eq!(name(FI_NUMERICHOST | FI_SOURCE), FI_ENODATA);
    let service = ask(NOW, (Some(c"127.0.0.1"), Some(c"no-such-service")), 0, None);
    assert_eq!(service.unwrap_err(), FI_ENODATA);
}

#[test]
fn the_flag_alone_says_nothing() {
    assert_eq!(ask(NOW, (None, None), FI_SOURCE, None).unwrap_err(), FI_EINVAL);
}

#[test]
fn addresses_of_other_families_are_no_data() {
    let mut address = *SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, 0)).as_ref();
    let mut info = fi_info { addr_format: FI_SOCKADDR, ..fi_info::default() };
    info.src_addr = (&raw mut address).cast();
    for bytes in [28, 16, 8] {
        info.src_addrlen = bytes;
        let found = super::asking::call(NOW, (None, None), 0, &info);
        assert_eq!(found.unwrap_err(), FI_ENODATA);
    }
}
