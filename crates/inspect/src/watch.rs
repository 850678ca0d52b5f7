//! Fetching the document of a process.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use crate::live::{Document, FORMAT, VERSION};

/// How long connecting, and each wait for more of the answer, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer read.
const ANSWER_BYTES: u64 = 32 << 20;

/// Where a document is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    host: String,
    port: u16,
}

impl Source {
    /// A port of a host, by name or address.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The host has no address.
    #[error("unknown host {0}: check the spelling, or give its address")]
    UnknownHost(String),
    /// Nobody listens.
    #[error("nothing publishes at {0}; start the program with ELASTANE_METRICS=auto")]
    Refused(Source),
    /// Connecting or reading failed.
    #[error("cannot read from {0}: {1}")]
    Io(Source, io::Error),
    /// Somebody else answers there.
    #[error("what answers at {0} is no Elastane endpoint")]
    Foreign(Source),
    /// The program is of another version.
    #[error(
        "{0} publishes version {1} of the document and this program reads {VERSION}; use the \
             same version of both"
    )]
    Version(Source, u64),
}

/// Fetches the document once.
pub fn fetch(source: &Source) -> Result<Document, WatchError> {
    let answer = ask(source)?;
    let foreign = || WatchError::Foreign(source.clone());
    let body = body(&answer).ok_or_else(foreign)?;
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|_| foreign())?;
    if value["format"] != FORMAT {
        return Err(foreign());
    }
    match value["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        version => return Err(WatchError::Version(source.clone(), version.unwrap_or(0))),
    }
    serde_json::from_value(value).map_err(|_| foreign())
}

fn ask(source: &Source) -> Result<Vec<u8>, WatchError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => WatchError::Refused(source.clone()),
        _ => WatchError::Io(source.clone(), error),
    };
    let unknown = || WatchError::UnknownHost(source.host.clone());
    let addresses = (source.host.as_str(), source.port).to_socket_addrs().map_err(|_| unknown())?;
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(connection) => return exchange(connection, source).map_err(failed),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.map_or_else(unknown, failed))
}

fn exchange(mut connection: TcpStream, source: &Source) -> io::Result<Vec<u8>> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /metrics.json HTTP/1.0\r\nHost: {source}\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer that says that all is well.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).ok()? else { return None };
    (response.code == Some(200)).then(|| &answer[head..])
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::live::sample;

    /// What fetching says when one connection is answered so.
    fn fetched(answer: String) -> Result<Document, WatchError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = listener.local_addr().unwrap().into();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut connection, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let count = connection.read(&mut request).unwrap();
                assert!(count > 0);
                connection.write_all(answer.as_bytes()).unwrap();
            });
            fetch(&source)
        })
    }

    #[test]
    fn document_is_read_back() {
        let text = serde_json::to_string(&sample::document()).unwrap();
        let read = fetched(format!("HTTP/1.1 200 OK\r\nX: y\r\n\r\n{text}")).unwrap();
        assert_eq!(read, sample::document());
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let foreign =
            ["", "220 smtp\r\n", "HTTP/1.1 404 No\r\n\r\n{}", "HTTP/1.1 200 OK\r\n\r\n[]"];
        for answer in foreign {
            let error = fetched(answer.to_owned()).unwrap_err();
            assert!(matches!(error, WatchError::Foreign(_)), "{answer:?}: {error}");
        }
        let newer = format!(r#"{{"format":"{FORMAT}","version":999}}"#);
        let error = fetched(format!("HTTP/1.1 200 OK\r\n\r\n{newer}")).unwrap_err();
        assert!(matches!(error, WatchError::Version(_, 999)), "{error}");
    }

    #[test]
    fn closed_port_says_how_to_open_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = Source::from(listener.local_addr().unwrap());
        drop(listener);
        let error = fetch(&source).unwrap_err().to_string();
        assert!(error.contains("ELASTANE_METRICS=auto"), "{error}");
    }
}
