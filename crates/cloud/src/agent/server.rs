//! What listens, and what moves the instances on.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use super::{AgentError, PORT, http};
use crate::ec2::{HttpRequest, HttpResponse, Service};

/// The most connections at once; more are closed unanswered.
const CONNECTIONS: usize = 256;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(75);

/// What the agent's threads share.
pub(super) struct Shared {
    service: Mutex<Option<Service>>,
    signal: Mutex<Signal>,
    changed: Condvar,
    connections: AtomicUsize,
}

#[derive(Default)]
struct Signal {
    /// There is something to move on.
    due: bool,
    stop: bool,
}

/// Ends [`Agent::run`](super::Agent::run), from another thread.
#[derive(Clone)]
pub struct Stopper {
    shared: Weak<Shared>,
}

impl Stopper {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }

    /// Ends it, if it has not ended.
    pub fn stop(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(|signal| signal.stop = true);
        }
    }
}

impl Shared {
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let response = match self.service().as_mut() {
            Some(service) => service.answer(request, now()),
            None => {
                let mut response = HttpResponse::new(Vec::new());
                *response.status_mut() = ::http::StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        };
        self.tell(|signal| signal.due = true);
        response
    }

    /// Moves instances on until it is told to stop.
    pub(super) fn run(&self) {
        loop {
            let wait = match self.service().as_mut() {
                Some(service) => service.poll(now()),
                None => return,
            };
            let signal = lock(&self.signal);
            let idle = |signal: &mut Signal| !signal.due && !signal.stop;
            let (mut signal, _) = self
                .changed
                .wait_timeout_while(signal, wait, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if signal.stop {
                return;
            }
            signal.due = false;
        }
    }

    /// Ends the service, and with it the machines; the threads that listen answer no more.
    pub(super) fn close(&self) {
        *self.service() = None;
    }

    fn tell(&self, change: impl FnOnce(&mut Signal)) {
        change(&mut lock(&self.signal));
        self.changed.notify_all();
    }

    fn service(&self) -> MutexGuard<'_, Option<Service>> {
        lock(&self.service)
    }
}

/// Begins to answer on both sockets. The threads that listen end with the process.
pub(super) fn serve(service: Service, tcp: TcpListener, unix: UnixListener) -> Arc<Shared> {
    let shared = Arc::new(Shared {
        service: Mutex::new(Some(service)),
        signal: Mutex::default(),
        changed: Condvar::new(),
        connections: AtomicUsize::new(0),
    });
    let one = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let limited = stream.set_read_timeout(Some(SILENCE)).is_ok()
                && stream.set_write_timeout(Some(SILENCE)).is_ok()
                && stream.set_nodelay(true).is_ok();
            if limited {
                serve_one(&one, stream);
            }
        }
    });
    let other = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in unix.incoming().flatten() {
            let limited = stream.set_read_timeout(Some(SILENCE)).is_ok()
                && stream.set_write_timeout(Some(SILENCE)).is_ok();
            if limited {
                serve_one(&other, stream);
            }
        }
    });
    shared
}

/// Serves a connection on a thread of its own.
fn serve_one(shared: &Arc<Shared>, mut stream: impl io::Read + io::Write + Send + 'static) {
    if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        // A client that has gone away is no concern of the others'.
        http::serve(&mut stream, |request| shared.answer(request)).ok();
        shared.connections.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Listens on the port, or on the usual one, or on any. Returns which.
pub(super) fn bind_port(port: Option<u16>) -> Result<(TcpListener, u16), AgentError> {
    let bind = |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        Ok::<_, io::Error>((listener, port))
    };
    let wanted = port.unwrap_or(PORT);
    let bound = match (bind(wanted), port) {
        (Err(error), None) if error.kind() == io::ErrorKind::AddrInUse => bind(0),
        (outcome, _) => outcome,
    };
    bound.map_err(|error| AgentError::Listen { port: wanted, error })
}

/// Listens on a socket for instances. Whoever reaches it still has to sign.
pub(super) fn bind_socket(path: &Path) -> Result<UnixListener, AgentError> {
    let bind = || {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    bind().map_err(|error| AgentError::File { what: "listen on", path: path.to_owned(), error })
}

/// The cloud's time.
#[expect(
    clippy::disallowed_methods,
    reason = "records are given the time, and here is their clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
