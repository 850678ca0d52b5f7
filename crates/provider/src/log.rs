//! The log of the libfabric that loaded this provider (`FI_LOG_LEVEL`).

use std::{ffi::CString, fmt, sync::OnceLock};

use libfabric_sys as fi;

static HOST: OnceLock<Option<fi::HostServices>> = OnceLock::new();

fn host() -> Option<&'static fi::HostServices> {
    HOST.get_or_init(fi::HostServices::of_this_process).as_ref()
}

/// Tells what the user should know without asking.
pub(crate) fn warn(what: fmt::Arguments<'_>) {
    write(fi::FI_LOG_WARN, what);
}

/// Tells what the user may ask for.
pub(crate) fn info(what: fmt::Arguments<'_>) {
    write(fi::FI_LOG_INFO, what);
}

fn write(level: fi::fi_log_level, what: fmt::Arguments<'_>) {
    let Some(host) = host() else { return };
    let Ok(text) = CString::new(what.to_string()) else { return };
    crate::fi::log(host, level, &text);
}
