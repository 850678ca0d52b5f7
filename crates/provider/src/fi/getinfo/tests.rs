//! Asks as applications do: through C structures.

mod addresses;
mod asking;
mod callers;
mod matching;
mod memory;

use libfabric_sys::*;

use asking::{Asked, NOW, ask, entries};

#[test]
fn who_asks_for_nothing_is_offered_everything_and_the_reliable_kind_first() {
    let list = ask(NOW, (None, None), 0, None).unwrap();
    let entries = entries(&list);
    let is_datagram: Vec<_> = entries.iter().map(|e| e.ep.r#type == FI_EP_DGRAM).collect();
    assert!(is_datagram.is_sorted(), "{is_datagram:?}");
    assert_eq!(is_datagram.iter().filter(|is| **is).count() * 2, entries.len());

    let first = &entries[0];
    for (caps, what) in [
        (FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC, "primary"),
        (FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE, "directions"),
        (FI_DIRECTED_RECV | FI_MULTI_RECV | FI_SOURCE | FI_RMA_EVENT, "of receivers"),
        (FI_LOCAL_COMM | FI_REMOTE_COMM, "of domains"),
    ] {
        assert_eq!(first.info.caps & caps, caps, "{what}");
    }
    for entry in &entries {
        assert_eq!(entry.tx.caps | entry.rx.caps | entry.domain.caps, entry.info.caps);
        assert!(entry.fabric.prov_name.is_null(), "libfabric adds its own");
        assert!(entry.info.nic.is_null());
        assert_eq!(entry.domain.max_cntr_value, u64::MAX);
        assert_eq!(entry.domain.max_err_cntr_value, u64::MAX);
        assert_eq!(
            (entry.info.mode, entry.tx.mode, entry.rx.mode, entry.domain.mode),
            (0, 0, 0, 0)
        );
        assert_eq!(entry.domain.mr_mode, 0);
        assert_eq!(entry.info.addr_format, FI_SOCKADDR_IN);
        assert!(entry.source.is_some_and(|source| !source.ip().is_unspecified()));
    }
}

#[test]
fn each_subnet_has_one_entry_of_a_kind() {
    let list = ask(NOW, (None, None), 0, None).unwrap();
    let entries = entries(&list);
    let mut names: Vec<_> =
        entries.iter().map(|entry| (entry.ep.r#type, entry.fabric_name.clone())).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), entries.len());
}

#[test]
fn what_was_returned_can_be_asked_for() {
    let list = ask(NOW, (None, None), 0, None).unwrap();
    for entry in entries(&list) {
        let again = ask(NOW, (None, None), 0, Some(Asked::of(&entry))).unwrap();
        let again = entries(&again);
        assert_eq!(again.len(), 1, "{entry:?}");
        let [entry, again] = [&entry, &again[0]].map(|entry| format!("{:?}", entry.comparable()));
        assert_eq!(entry, again);
    }
}

#[test]
fn a_utility_provider_is_offered_nothing() {
    assert_eq!(ask(NOW, (None, None), OFI_CORE_PROV_ONLY, None).unwrap_err(), FI_ENODATA);
}

#[test]
fn other_providers_and_what_is_layered_are_not_ours() {
    let own = crate::name().to_str().unwrap();
    let asked = |names: &str| {
        let asked = Asked::with(|asked| asked.provider = std::ffi::CString::new(names).unwrap());
        ask(NOW, (None, None), 0, Some(asked)).map(|_| ())
    };
    for ours in [own, &own.to_uppercase(), "^tcp", &format!("{own};^ofi_rxm"), ";"] {
        assert_eq!(asked(ours), Ok(()), "{ours}");
    }
    for others in ["tcp", &format!("^{own}"), &format!("{own};ofi_rxd"), &format!("tcp;^{own}")] {
        assert_eq!(asked(others), Err(FI_ENODATA), "{others}");
    }
}

#[test]
fn names_choose() {
    let list = ask(NOW, (None, None), 0, None).unwrap();
    for entry in entries(&list) {
        let named = |domain: bool, fabric: bool| {
            let asked = Asked::with(|asked| {
                if domain {
                    asked.domain_name = entry.domain_name.clone();
                }
                if fabric {
                    asked.fabric_name = entry.fabric_name.clone();
                }
            });
            let found = ask(NOW, (None, None), 0, Some(asked)).unwrap();
            entries(&found).len()
        };
        assert_eq!(named(true, true), 1);
        assert_eq!(named(false, true), 2, "both kinds");
    }
    let absent = Asked::with(|asked| asked.domain_name = c"invalid_domain".to_owned());
    assert_eq!(ask(NOW, (None, None), 0, Some(absent)).unwrap_err(), FI_ENODATA);
}

#[test]
fn loopback_is_there_for_who_names_it() {
    let asked = Asked::with(|asked| asked.domain_name = c"lo-rdm".to_owned());
    let list = ask(NOW, (None, None), 0, Some(asked)).unwrap();
    let entries = entries(&list);
    assert!(entries[0].source.unwrap().ip().is_loopback());
}
