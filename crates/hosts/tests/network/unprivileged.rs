//! The same tests, as a user without privileges.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

/// Debian's `nobody`, who owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn every_other_test_passes_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        // Then the others are being run by such a user already.
        return;
    }
    // The build directory may be out of that user's reach.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("network");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&copy)
        .args(["--skip", "unprivileged::"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
