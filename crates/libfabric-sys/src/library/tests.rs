//! The installed libfabric, where there is one.

use std::{env, process::Command, ptr};

use super::*;
use crate::{
    FI_CLASS_FABRIC, FI_EBUSY, FI_ENODATA, FI_LOG_CORE, FI_LOG_DEBUG, FI_PARAM_INT,
    FI_PARAM_SIZE_T, FI_PARAM_STRING, FI_TYPE_EP_TYPE, fi_context, fi_ops, fid,
};

/// The installed one, or a line that says why nothing is tried.
pub(crate) fn installed() -> Option<Library> {
    match Library::load() {
        Ok(library) => Some(library),
        Err(absent @ Unusable::Absent { .. }) => {
            eprintln!("not tried: {absent}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn library_that_is_not_there_is_named() {
    let error = Library::load_from("/nowhere/libfabric.so.1").unwrap_err();
    assert!(matches!(error, Unusable::Absent { .. }));
    let text = error.to_string();
    assert!(text.starts_with("cannot load /nowhere/libfabric.so.1: "), "{text}");
    assert!(text.contains("No such file") && text.ends_with("libfabric1)"), "{text}");
}

#[test]
fn library_that_is_no_libfabric_is_refused() {
    let error = Library::load_from("libc.so.6").unwrap_err();
    assert!(matches!(error, Unusable::Foreign { .. }));
    let text = error.to_string();
    assert!(text.starts_with("libc.so.6 is no libfabric: "), "{text}");
    assert!(text.contains("fi_version"), "{text}");
}

#[test]
fn errors_have_a_text() {
    let Some(library) = installed() else { return };
    assert!(library.version() >= OLDEST);
    assert_eq!(library.strerror(FI_EBUSY), library.strerror(-FI_EBUSY));
    assert_ne!(library.strerror(FI_EBUSY), library.strerror(FI_ENODATA));
}

#[test]
fn fabric_of_an_offer_opens_and_closes() {
    let Some(library) = installed() else { return };
    let version = FI_VERSION(1, 17);
    // SAFETY: no hints.
    let offers = unsafe { library.getinfo(version, None, None, 0, ptr::null()) }.unwrap();
    // SAFETY: a list that is not empty.
    let offer = unsafe { &*offers };
    // SAFETY: each offer has an endpoint's attributes.
    let ep_type = unsafe { &raw const (*offer.ep_attr).r#type };
    // SAFETY: the value is of that kind.
    let text = unsafe { library.tostr(ep_type.cast(), FI_TYPE_EP_TYPE) }.unwrap();
    assert!(text.starts_with("FI_EP_"), "{text}");
    // SAFETY: the attributes are those of an offer.
    let fabric = unsafe { library.fabric(offer.fabric_attr, ptr::null_mut()) }.unwrap();
    // SAFETY: it is open.
    let head = unsafe { &raw mut (*fabric).fid };
    // SAFETY: as above.
    let fid { fclass, ops, .. } = unsafe { *head };
    assert_eq!(fclass, FI_CLASS_FABRIC);
    // SAFETY: the table is the provider's.
    let close = unsafe { fi_ops::close.of(ops) }.unwrap();
    // SAFETY: nothing was opened from it.
    assert_eq!(unsafe { close(head) }, FI_SUCCESS);
    // SAFETY: the list is not in use any more.
    unsafe { library.freeinfo(offers) };
}

#[test]
fn hints_that_nobody_meets_have_no_offers() {
    let Some(library) = installed() else { return };
    // SAFETY: null asks for empty hints.
    let hints = unsafe { library.dupinfo(ptr::null()) };
    assert!(!hints.is_null());
    // SAFETY: empty hints have all parts.
    unsafe { (*hints).addr_format = u32::MAX };
    // SAFETY: the hints are whole.
    let found = unsafe { library.getinfo(FI_VERSION(1, 17), None, None, 0, hints) };
    assert_eq!(found, Err(FI_ENODATA));
    // SAFETY: the hints are not in use any more.
    unsafe { library.freeinfo(hints) };
}

extern "C" fn getinfo(
    _: u32,
    _: *const c_char,
    _: *const c_char,
    _: u64,
    _: *const fi_info,
    _: *mut *mut fi_info,
) -> c_int {
    -FI_ENODATA
}

extern "C" fn fabric(_: *mut fi_fabric_attr, _: *mut *mut fid_fabric, _: *mut c_void) -> c_int {
    -FI_ENODATA
}

extern "C" fn cleanup() {}

#[test]
fn parameters_come_from_the_environment() {
    if installed().is_none() {
        return;
    }
    // In a process of its own, since the environment is for all threads of this one.
    let name = "library::tests::parameters_of_a_provider";
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .envs([("FI_X_TEXT", "a b"), ("FI_X_NUMBER", "-7"), ("FI_X_SIZE", "5000000000")])
        .envs([("FI_LOG_LEVEL", "debug"), ("FI_LOG_PROV", "x")])
        .output()
        .unwrap();
    let (shown, errors) = (String::from_utf8(status.stdout), String::from_utf8(status.stderr));
    let (shown, errors) = (shown.unwrap(), errors.unwrap());
    assert!(status.status.success() && shown.contains("1 passed"), "{shown}\n{errors}");
    assert!(errors.contains("place():12<debug> 100 %s\n"), "{errors}");
}

#[test]
#[ignore = "run by parameters_come_from_the_environment"]
fn parameters_of_a_provider() {
    // libfabric reads its own environment when it is asked for something the first time.
    let library = installed().unwrap();
    // SAFETY: no hints.
    let offers = unsafe { library.getinfo(FI_VERSION(1, 17), None, None, 0, ptr::null()) };
    // SAFETY: the list is not in use.
    unsafe { library.freeinfo(offers.unwrap_or_default()) };

    let services = HostServices::of_this_process().unwrap();
    let mut provider = fi_provider {
        version: FI_VERSION(1, 0),
        fi_version: FI_VERSION(1, 17),
        context: fi_context::default(),
        name: c"x".as_ptr(),
        getinfo,
        fabric,
        cleanup,
    };
    let provider = &raw mut provider;
    for (name, kind) in [
        (c"text", FI_PARAM_STRING),
        (c"absent", FI_PARAM_STRING),
        (c"number", FI_PARAM_INT),
        (c"size", FI_PARAM_SIZE_T),
    ] {
        // SAFETY: the provider has a name.
        unsafe { services.param_define(provider, name, kind, c"100 %s") }.unwrap();
    }
    // SAFETY: the parameter is of that type, as above.
    assert_eq!(unsafe { services.param_string(provider, c"text") }, Ok("a b".to_owned()));
    // SAFETY: as above.
    assert_eq!(unsafe { services.param_string(provider, c"absent") }, Err(FI_ENODATA));
    // SAFETY: as above.
    assert_eq!(unsafe { services.param_int(provider, c"number") }, Ok(-7));
    // SAFETY: as above.
    assert_eq!(unsafe { services.param_size_t(provider, c"size") }, Ok(5_000_000_000));
    // SAFETY: the provider is whole.
    assert!(unsafe { services.log_enabled(provider, FI_LOG_DEBUG, FI_LOG_CORE) });
    // SAFETY: as above.
    unsafe { services.log(provider, FI_LOG_DEBUG, FI_LOG_CORE, (c"place", 12), c"100 %s\n") };
}
