//! Handing the document out over HTTP, on loopback, from a thread of its own.
//!
//! A process has one port, opened by the first endpoint that publishes and closed with the last.
//! The thread touches nothing of an endpoint: it reads the latest [`Endpoint`] each put up.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::{
    announce::Announced,
    exposition,
    live::{Document, Endpoint, FORMAT, VERSION},
    process,
};

/// The port asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Whichever the process has, else any that is free.
    Auto,
    /// This one.
    Number(u16),
}

/// Text that names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no metrics port; write auto, or a number from 1 to 65535")]
pub struct PortError(String);

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(number)) if number > 0 => Ok(Self::Number(number)),
            _ => Err(PortError(text.to_owned())),
        }
    }
}

/// Why metrics cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The port is taken.
    #[error("metrics port {0} is in use; choose another, or auto, which takes any that is free")]
    InUse(u16),
    /// A process has one port.
    #[error("metrics port {asked}: this process publishes on port {has} already; ask for auto")]
    OtherPort {
        /// The port asked for.
        asked: u16,
        /// The port of the process.
        has: u16,
    },
    /// The port did not open.
    #[error("the metrics port did not open: {0}")]
    Listen(io::Error),
    /// The file that makes the port known could not be written.
    #[error("cannot announce the metrics port: {0}")]
    Announce(io::Error),
}

/// One endpoint's place in the document of its process, for as long as it lives.
#[derive(Debug)]
pub struct Publisher {
    place: Arc<Place>,
    server: Arc<Server>,
}

/// The latest of an endpoint, and when it was put up.
type Place = Mutex<Option<(Arc<Endpoint>, Instant)>>;

impl Publisher {
    /// Opens the port of this process if it is not open, and takes a place behind it.
    pub fn open(port: Port) -> Result<Self, PublishError> {
        let server = Server::of_this_process(port)?;
        let place = Arc::default();
        lock(&server.shared.places).push(Arc::downgrade(&place));
        Ok(Self { place, server })
    }

    /// Puts up the endpoint as it is now.
    #[expect(clippy::disallowed_methods, reason = "the age of a figure is real time")]
    pub fn publish(&self, endpoint: Endpoint) {
        let latest = Some((Arc::new(endpoint), Instant::now()));
        let before = std::mem::replace(&mut *lock(&self.place), latest);
        // Freed here, not while whoever asks has to wait.
        drop(before);
    }

    /// Where the document is to be had.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    pid: u32,
    /// Withdrawn when the server is dropped.
    _announced: Announced,
}

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<Vec<Weak<Place>>>,
    stop: AtomicBool,
}

/// The server of this process, if it has one.
static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    fn of_this_process(port: Port) -> Result<Arc<Self>, PublishError> {
        let mut present = lock(&SERVER);
        // A fork has its parent's server, and not the thread behind it.
        let ours = present.upgrade().filter(|server| server.pid == std::process::id());
        if let Some(server) = ours {
            let has = server.address.port();
            return match port {
                Port::Number(asked) if asked != has => Err(PublishError::OtherPort { asked, has }),
                _ => Ok(server),
            };
        }
        let server = Arc::new(Self::start(port)?);
        *present = Arc::downgrade(&server);
        Ok(server)
    }

    fn start(port: Port) -> Result<Self, PublishError> {
        let number = match port {
            Port::Auto => 0,
            Port::Number(number) => number,
        };
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AddrInUse => PublishError::InUse(number),
                    _ => PublishError::Listen(error),
                }
            })?;
        let address = listener.local_addr().map_err(PublishError::Listen)?;
        let shared = Arc::<Shared>::default();
        let announced = Announced::write(address.port()).map_err(PublishError::Announce)?;
        spawn_without_signals({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &shared)
        })
        .map_err(PublishError::Listen)?;
        Ok(Self { address, shared, pid: std::process::id(), _announced: announced })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            self.shared.stop.store(true, Ordering::Release);
            // Wakes the thread. If it does not get through the thread is busy with another, and
            // sees the flag afterwards.
            TcpStream::connect_timeout(&self.address, Duration::from_millis(100)).ok();
        }
    }
}

/// Signals are the application's: they must go to its own threads.
fn spawn_without_signals(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = thread::Builder::new().name("elastane-metrics".to_owned()).spawn(work);
    before.thread_set_mask()?;
    spawned.map(drop)
}

/// How long a client may keep the thread waiting at a time, and how often.
const PATIENCE: Duration = Duration::from_millis(250);
const READS: usize = 16;
const REQUEST_BYTES: usize = 8 << 10;

fn serve(listener: &TcpListener, shared: &Shared) {
    for connection in listener.incoming() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        // A client that goes away or never asks is its own affair.
        if let Ok(connection) = connection {
            answer(connection, shared).ok();
        }
    }
}

fn answer(mut connection: TcpStream, shared: &Shared) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut connection)?;
    let answer = respond(&request, || document(shared));
    let Answer { status, kind, body, with_body } = &answer;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes())?;
    if *with_body {
        connection.write_all(body.as_bytes())?;
    }
    connection.flush()
}

/// Method and path of the request, or what is wrong with it.
fn read_request(connection: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut bytes = Vec::with_capacity(1024);
    for _ in 0..READS {
        let mut piece = [0; 1024];
        let count = connection.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        if let Some(request) = parse_request(&bytes) {
            return Ok(request);
        }
        if count == 0 || bytes.len() > REQUEST_BYTES {
            break;
        }
    }
    Ok(None)
}

/// `None` while the request goes on; `Some(None)` if it is none.
fn parse_request(bytes: &[u8]) -> Option<Option<(String, String)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let method = request.method.unwrap_or_default().to_owned();
            let target = request.path.unwrap_or_default();
            let path = target.split(['?', '#']).next().unwrap_or_default();
            Some(Some((method, path.to_owned())))
        }
        Err(_) => Some(None),
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
    with_body: bool,
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn respond(request: &Option<(String, String)>, document: impl FnOnce() -> Document) -> Answer {
    let plain =
        |status, body: &str| Answer { status, kind: PLAIN, body: body.to_owned(), with_body: true };
    let Some((method, path)) = request else {
        return plain("400 Bad Request", "this is no HTTP request\n");
    };
    let with_body = method == "GET";
    if !with_body && method != "HEAD" {
        return plain("405 Method Not Allowed", "only GET and HEAD\n");
    }
    let found = |kind, body| Answer { status: "200 OK", kind, body, with_body };
    match path.as_str() {
        "/metrics" => match exposition::text(document()) {
            Ok(text) => found(exposition::CONTENT_TYPE, text),
            Err(error) => plain("500 Internal Server Error", &format!("{error}\n")),
        },
        "/metrics.json" => match serde_json::to_string(&document()) {
            Ok(text) => found("application/json", text + "\n"),
            Err(error) => plain("500 Internal Server Error", &format!("{error}\n")),
        },
        "/" => found(PLAIN, "/metrics       Prometheus text\n/metrics.json  JSON\n".to_owned()),
        _ => plain("404 Not Found", "see /\n"),
    }
}

/// What the endpoints of this process are now.
fn document(shared: &Shared) -> Document {
    let pid = std::process::id();
    let mut endpoints = Vec::new();
    lock(&shared.places).retain(|place| {
        let Some(place) = place.upgrade() else { return false };
        let latest = lock(&place).clone();
        endpoints.extend(latest.map(|(endpoint, at)| Endpoint {
            age_seconds: at.elapsed().as_secs_f64(),
            ..Endpoint::clone(&endpoint)
        }));
        true
    });
    Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        elastane: env!("CARGO_PKG_VERSION").to_owned(),
        pid,
        program: process::program(pid),
        endpoints,
    }
}

/// A panic elsewhere leaves what is locked whole: each is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{live::sample, watch};

    fn get(publisher: &Publisher, request: &str) -> String {
        let mut connection = TcpStream::connect(publisher.address()).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn port_is_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(Port::Auto));
        assert_eq!("9400".parse(), Ok(Port::Number(9400)));
        for text in ["", "0", "65536", "Auto", "-1"] {
            let error = text.parse::<Port>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no metrics port")), "{error}");
        }
    }

    /// One test, as a process has one server.
    #[test]
    fn endpoints_share_a_port_from_the_first_to_the_last() {
        let first = Publisher::open(Port::Auto).unwrap();
        let second = Publisher::open(Port::Auto).unwrap();
        assert_eq!(first.address(), second.address());
        assert!(first.address().ip().is_loopback());
        let has = first.address().port();
        let other = Publisher::open(Port::Number(has - 1)).unwrap_err();
        assert!(matches!(other, PublishError::OtherPort { .. }), "{other}");
        let announced = crate::announce::find(std::process::id()).unwrap();
        assert_eq!(announced.port, has);

        first.publish(sample::endpoint());
        let document = watch::fetch(&first.address().into()).unwrap();
        assert_eq!(document.endpoints.len(), 1);
        second.publish(sample::endpoint());
        let document = watch::fetch(&first.address().into()).unwrap();
        assert_eq!(document.pid, std::process::id());
        let [one, _] = &document.endpoints[..] else { panic!("{document:?}") };
        assert!(one.age_seconds >= 0.0);
        assert_eq!(Endpoint { age_seconds: 0.0, ..one.clone() }, sample::endpoint());
        drop(second);
        assert_eq!(watch::fetch(&first.address().into()).unwrap().endpoints.len(), 1);

        requests_are_answered_by_method_and_path(&first);

        let address = first.address();
        drop(first);
        assert_eq!(crate::announce::find(std::process::id()), None);
        let again = Publisher::open(Port::Auto).unwrap();
        assert!(watch::fetch(&again.address().into()).unwrap().endpoints.is_empty());
        drop(again);
        assert!(address.port() > 0);
    }

    fn requests_are_answered_by_method_and_path(publisher: &Publisher) {
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
            ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
            ("GET /nothing HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "),
            ("POST /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 405 "),
            ("\0\0\0\0\r\n\r\n", "HTTP/1.1 400 "),
        ] {
            let answer = get(publisher, request);
            assert!(answer.starts_with(status), "{request:?}: {answer}");
        }
        let head = get(publisher, "HEAD /metrics HTTP/1.0\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains(exposition::CONTENT_TYPE), "{head}");
        // Headers without end are cut off.
        let endless = format!("GET / HTTP/1.0\r\nX: {}", "x".repeat(REQUEST_BYTES));
        let mut connection = TcpStream::connect(publisher.address()).unwrap();
        connection.write_all(endless.as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
}
