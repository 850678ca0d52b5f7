//! Addresses as they are written on the command line.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};

/// Where a server listens unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 7471;

/// `HOST`, `HOST:PORT`, `2001:db8::1` or `[2001:db8::1]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    host: String,
    port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, DEFAULT_PORT)
    }
}

impl HostPort {
    /// Reads an address whose port, if it is not written, is `default_port`.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            // More colons without brackets are those of an IPv6 address.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let is_name = !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || "[]/@".contains(c))
            && !host.chars().all(|c| c.is_ascii_digit());
        if !is_name {
            return Err(format!("`{text}` is no host; write HOST, HOST:PORT or [IPV6]:PORT"));
        }
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .map_err(|_| format!("`{port}` is no port; write a number from 0 to 65535"))?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HostPort {
    /// The host as it was written, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// All addresses of the host, in the order they are to be tried.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let Self { host, port } = self;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        let found = (host.as_str(), *port).to_socket_addrs();
        let found = found.with_context(|| {
            format!("unknown host {host}: check the spelling, or give its address instead")
        })?;
        let found: Vec<_> = found.collect();
        if found.is_empty() {
            bail!("host {host} has no address: give its address instead");
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_with_and_without_port() {
        for (text, shown) in [
            ("node1", "node1:7471"),
            ("node1:9", "node1:9"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("::1", "[::1]:7471"),
            ("[::1]", "[::1]:7471"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
        ] {
            let parsed: Result<HostPort, _> = text.parse();
            assert_eq!(parsed.map(|address| address.to_string()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":9", "7472", "node1:", "node1:x", "node1:65536", "[::1]9", "a b"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
