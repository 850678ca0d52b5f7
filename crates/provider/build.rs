//! How the library is linked: it is loaded into other people's programs, so it needs nothing but
//! libc, and stays where it is once it was loaded.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What rustc asks the linker for as libgcc_s: its part that unwinds, as an archive.
const UNWINDER: &str = "INPUT(-lgcc_eh -lgcc -lc)\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") != "linux" {
        return;
    }
    // Its thread may still be on its way out when libfabric closes the library.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    if target("ENV") == "gnu" && has_archive() {
        let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("unwinder");
        write(&folder);
        println!("cargo::rustc-link-search=native={}", folder.display());
    } else {
        println!("cargo::warning=no libgcc_eh.a: the library will need libgcc_s.so.1");
    }
}

/// The linker finds this before libgcc_s, as it looks here first.
fn write(folder: &Path) {
    let written =
        fs::create_dir_all(folder).and_then(|()| fs::write(folder.join("libgcc_s.so"), UNWINDER));
    written.unwrap_or_else(|error| panic!("cannot write into {}: {error}", folder.display()));
}

/// Whether the compiler that links has the archive: it says where, or repeats the bare name.
fn has_archive() -> bool {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let answer = Command::new(compiler).arg("-print-file-name=libgcc_eh.a").output();
    answer.is_ok_and(|answer| {
        let path = String::from_utf8_lossy(&answer.stdout);
        Path::new(path.trim()).is_absolute()
    })
}
