//! What became of an endpoint, for whoever started the program (`FI_ELASTANE_REPORT`).

use std::{
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::endpoint::Endpoint;

/// Writes a line of JSON into the directory that `FI_ELASTANE_REPORT` names, if it names one.
pub(crate) fn write(endpoint: &Endpoint) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Some(directory) = env::var_os("FI_ELASTANE_REPORT") else { return };
    let Some(mut summary) = endpoint.summary() else { return };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    summary["pid"] = pid.into();
    summary["name"] = crate::name().to_string_lossy().into();
    summary["version"] = env!("CARGO_PKG_VERSION").into();
    let file = PathBuf::from(directory).join(format!("{pid}-{number}.json"));
    if let Err(error) = fs::write(&file, format!("{summary}\n")) {
        crate::log::warn(format_args!("cannot write {}: {error}", file.display()));
    }
}
