//! One host of a network.

use std::{
    ffi::OsStr,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    panic::resume_unwind,
    process::Command,
    sync::Arc,
    thread,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    error::HostsError,
    plan::Addresses,
    sentinel::{Sentinel, Standing},
    sys,
};

/// A host: a network namespace with addresses of its own.
#[derive(Debug)]
pub struct Host {
    index: usize,
    name: String,
    addresses: Addresses,
    has_ipv6: bool,
    sentinel: Arc<Sentinel>,
}

impl Host {
    pub(crate) fn new(
        index: usize,
        addresses: Addresses,
        has_ipv6: bool,
        sentinel: Arc<Sentinel>,
    ) -> Self {
        Self { index, name: format!("host{index}"), addresses, has_ipv6, sentinel }
    }

    /// The host's name: `host0`, `host1` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's IPv4 address, as the other hosts reach it.
    pub fn address(&self) -> IpAddr {
        self.addresses.v4.into()
    }

    /// The host's IPv4 address.
    pub fn address4(&self) -> Ipv4Addr {
        self.addresses.v4
    }

    /// The host's IPv6 address; `None` where this machine has no IPv6.
    pub fn address6(&self) -> Option<Ipv6Addr> {
        self.has_ipv6.then_some(self.addresses.v6)
    }

    /// A command that will run in this host. The process, and whatever it starts, is killed when
    /// the network is dropped or this process ends; spawning after that fails.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let sentinel = Arc::downgrade(&self.sentinel);
        let index = self.index;
        let parent = std::process::id();
        sys::before_exec(&mut command, move || {
            let gone = || io::Error::from_raw_os_error(libc::ENETDOWN);
            let sentinel = sentinel.upgrade().ok_or_else(gone)?;
            let entered = sentinel.enter(index);
            // In the new process the last owner must not run the clean-up.
            std::mem::forget(sentinel);
            entered?;
            // Once inside, the sentinel finds this process. Until then the parent may have died
            // and the sentinel have looked for the last time.
            let alive = std::os::unix::process::parent_id() == parent;
            if alive { Ok(()) } else { Err(gone()) }
        });
        command
    }

    /// A socket in this host, for use from anywhere in this process.
    pub fn socket(
        &self,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> Result<Socket, HostsError> {
        self.sentinel
            .socket(self.index, domain, kind, protocol)
            .map_err(|error| HostsError::Socket { host: self.name.clone(), error })
    }

    /// Runs `work` on a thread of its own in this host and returns what it returns. Sockets it
    /// opens stay in the host. Needs root, see the crate's description.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, HostsError> {
        if self.sentinel.standing() == Standing::UserNamespace {
            return Err(HostsError::ThreadCannotEnter { host: self.name.clone() });
        }
        let outcome = thread::scope(|scope| {
            scope.spawn(|| self.sentinel.enter(self.index).map(|()| work())).join()
        });
        outcome
            .unwrap_or_else(|panic| resume_unwind(panic))
            .map_err(|error| HostsError::Enter { host: self.name.clone(), error })
    }
}
