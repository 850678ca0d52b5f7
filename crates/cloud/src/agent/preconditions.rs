//! What has to be there before an agent makes anything.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{AgentError, AgentOptions};

/// Programs, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 10] = [
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("nft", "nftables"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("useradd", "passwd"),
    ("getent", "libc-bin"),
    ("cp", "coreutils"),
    ("grep", "grep"),
];
/// Folders without which an instance would be nothing.
const SYSTEM: [&str; 4] = ["/usr", "/etc", "/bin", "/lib"];
/// Where programs are beside what `PATH` names: an ordinary user's often lacks these.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// The prefixes a network may have: four subnets with room for instances.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=24;

/// Finds everything that is missing, not only the first.
pub(super) fn check(options: &AgentOptions) -> Result<(), AgentError> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push(
            "a cloud needs root, because its instances have mounts, users and an SSH server of \
             their own (without root, `elastane compare` makes hosts that have a network only)"
                .to_owned(),
        );
    }
    let absent: Vec<_> =
        PROGRAMS.into_iter().filter(|(program, _)| find(program).is_none()).collect();
    if !absent.is_empty() {
        let programs: Vec<_> = absent.iter().map(|(program, _)| *program).collect();
        let packages: Vec<_> = absent.iter().map(|(_, package)| *package).collect();
        missing.push(format!(
            "not installed: {}: `apt-get install {}`",
            programs.join(", "),
            packages.join(" ")
        ));
    }
    let root = device(Path::new("/"));
    let apart = SYSTEM.into_iter().filter(|folder| {
        let own = device(Path::new(folder));
        own.is_some() && own != root
    });
    let apart: Vec<_> = apart.collect();
    if !apart.is_empty() {
        missing.push(format!(
            "on a file system of its own, where instances would find nothing: {}",
            apart.join(", ")
        ));
    }
    if !missing.is_empty() {
        return Err(AgentError::Preconditions(missing));
    }
    match options.network {
        Some(network) if !PREFIXES.contains(&network.prefix_len()) => {
            Err(AgentError::Network(network))
        }
        Some(_) | None => Ok(()),
    }
}

/// The file system a folder is on, if the folder is there.
fn device(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|metadata| metadata.dev())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(Into::into));
    directories
        .map(|directory: PathBuf| directory.join(program))
        .find(|candidate| Path::is_file(candidate))
}
