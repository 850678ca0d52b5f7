//! What a domain holds: endpoints, queues, counters, address vectors, regions. One thread at a time
//! uses it, and every call of the application has one turn.

use std::{
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use fabric::Regions;
use slab::Slab;
use std::sync::Arc;

use crate::{
    counter::Counter,
    endpoint::Endpoint,
    fi::turn::{Turn, Turns},
    queue::{Head, Queue},
    vector::AddressVector,
    wake::Deadline,
};

/// How often it is looked whether the application makes progress by itself.
const LOOK: Duration = Duration::from_millis(5);
/// The pause while it does not and there is something to do.
const BUSY: Duration = Duration::from_micros(100);
/// Looks in vain between two offers of the processor to others: what an application waits for may
/// have to run on it first. Each offer is a system call; but with more processes than processors a
/// message waits for the end of somebody's time slice if there are none.
const LOOKS_BETWEEN: u32 = 64;
/// The longest sleep of a waiting call before it looks around.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// What is inside.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) endpoints: Slab<Endpoint>,
    pub(crate) queues: Slab<Queue>,
    pub(crate) counters: Slab<Counter>,
    pub(crate) vectors: Slab<AddressVector>,
    /// Regions registered and not closed, those without remote access included.
    pub(crate) registrations: usize,
    pub(crate) regions: Regions,
    /// Counts calls of the application that make progress. Changed by these alone.
    calls: Arc<AtomicU64>,
    /// Those since anything happened.
    idle: u32,
}

impl State {
    /// Makes progress on an endpoint and puts what is over where it belongs. Returns whether
    /// anything happened.
    fn progress_endpoint(&mut self, at: usize) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(at) else { return false };
        // An endpoint that fails has told its log; its operations fail by themselves.
        let worked = endpoint.progress().unwrap_or(false);
        if worked {
            self.idle = 0;
        }
        self.drain(at);
        worked
    }

    #[inline]
    fn note_call(&self) {
        // Whose turn it is counts alone.
        self.calls.store(self.calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether so much was looked for in vain that another process should have the processor.
    pub(crate) const fn is_time_to_yield(&mut self) -> bool {
        self.idle = self.idle.wrapping_add(1);
        self.idle.is_multiple_of(LOOKS_BETWEEN)
    }

    fn drain(&mut self, at: usize) {
        let Self { endpoints, queues, counters, vectors, .. } = self;
        let endpoint = &mut endpoints[at];
        let vector = endpoint.vector.and_then(|vector| vectors.get(vector));
        let (tx, rx) = (endpoint.tx, endpoint.rx);
        endpoint.tell_outcomes(vector, |is_sent, outcome| {
            let binding = if is_sent { tx } else { rx };
            if let Some(queue) = binding.and_then(|binding| queues.get_mut(binding.queue)) {
                queue.add(outcome);
            }
        });
        if !endpoint.counters.is_none() {
            for (counter, done, failed) in endpoint.new_counts() {
                if let Some(counter) = counter.and_then(|at| counters.get_mut(at)) {
                    counter.count(done, failed);
                }
            }
        }
        for (_, counter) in counters {
            counter.collect_for_sleeper();
        }
    }

    /// Whether somebody sleeps until something happens on an endpoint, or is about to.
    fn has_sleeper(&self, at: usize) -> bool {
        let awaits = |queue: &Queue| queue.sleeper.is_there && queue.endpoints.contains(&at);
        self.queues.iter().any(|(_, queue)| awaits(queue))
            || self.counters.iter().any(|(_, counter)| counter.has_sleeper_for(at))
    }

    /// Has the wait objects of a counter tell of all endpoints that have what it counts.
    pub(crate) fn watch_counted(&mut self, counter: usize) {
        let Some(wake) = self.counters[counter].sleeper.wake.clone() else { return };
        for at in self.counted(counter) {
            if let Some(descriptor) = self.endpoints.get_mut(at).and_then(Endpoint::descriptor) {
                wake.watch(descriptor);
            }
        }
    }

    /// Makes progress on one endpoint, for the application.
    pub(crate) fn progress(&mut self, endpoint: usize) {
        self.note_call();
        self.progress_endpoint(endpoint);
    }

    /// Makes progress on all endpoints that report to a queue, unless it has something already.
    pub(crate) fn progress_queue(&mut self, queue: usize) {
        self.note_call();
        if self.queues[queue].head() != Head::Nothing {
            self.idle = 0;
            return;
        }
        for at in 0..self.queues[queue].endpoints.len() {
            self.progress_endpoint(self.queues[queue].endpoints[at]);
        }
    }

    /// Makes progress on all endpoints that a counter counts.
    pub(crate) fn progress_counter(&mut self, counter: usize) {
        self.note_call();
        for at in self.counted(counter) {
            self.progress_endpoint(at);
        }
        self.counters[counter].collect();
    }

    /// The endpoints that have what a counter counts.
    pub(crate) fn counted(&self, counter: usize) -> Vec<usize> {
        if self.counters[counter].counts_visits() {
            return self.endpoints.iter().map(|(at, _)| at).collect();
        }
        self.counters[counter].endpoints.clone()
    }

    /// Whether there is nothing to do on an endpoint until its descriptor tells.
    pub(crate) fn may_sleep(&mut self, at: usize) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(at) else { return true };
        let may = endpoint.may_sleep();
        self.drain(at);
        may
    }

    /// Whether nothing was opened in the domain that is still open.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
            && self.queues.is_empty()
            && self.counters.is_empty()
            && self.vectors.is_empty()
            && self.registrations == 0
    }
}

/// A domain (fi_domain(3)).
#[derive(Debug)]
pub(crate) struct Domain {
    state: Turns<State>,
    /// As the application's headers are (fi_getinfo(3)).
    pub(crate) api_version: u32,
    /// As in the state, to be looked at by whoever has no turn.
    calls: Arc<AtomicU64>,
    stop: AtomicBool,
}

impl Domain {
    /// `is_serial`: whether the application makes one call at a time (`FI_THREAD_DOMAIN`).
    pub(crate) fn new(regions: Regions, api_version: u32, is_serial: bool) -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let state = State {
            endpoints: Slab::new(),
            queues: Slab::new(),
            counters: Slab::new(),
            vectors: Slab::new(),
            registrations: 0,
            regions,
            calls: Arc::clone(&calls),
            idle: 0,
        };
        let state = Turns::new(state, is_serial);
        Self { state, api_version, calls, stop: AtomicBool::new(false) }
    }

    /// For a call of the application.
    #[inline]
    pub(crate) fn lock(&self) -> Turn<'_, State> {
        self.state.call()
    }

    /// Waits until `done` says so, at most `timeout`; without one, for ever. `endpoints` are those
    /// that matter, `signal` a descriptor that ends the sleep. Returns whether it does.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        endpoints: impl Fn(&State) -> Vec<usize>,
        signal: Option<BorrowedFd<'_>>,
        mut done: impl FnMut(&mut State) -> bool,
    ) -> bool {
        let deadline = Deadline::after(timeout);
        loop {
            let mut state = self.lock();
            if done(&mut state) {
                return true;
            }
            if deadline.is_over() {
                return false;
            }
            let endpoints = endpoints(&state);
            let mut descriptors = Vec::new();
            if !endpoints.iter().all(|&at| may_sleep(&mut state, at, &mut descriptors)) {
                continue;
            }
            drop(state);
            sleep(&descriptors, signal, deadline.left().min(LONGEST_SLEEP));
        }
    }
}

/// Whether there is nothing to do on an endpoint until its descriptor, which is added, tells.
fn may_sleep(state: &mut State, at: usize, descriptors: &mut Vec<RawFd>) -> bool {
    let may = state.may_sleep(at);
    let descriptor = state.endpoints.get_mut(at).and_then(Endpoint::descriptor);
    descriptors.extend(descriptor.map(|descriptor| descriptor.as_raw_fd()));
    may
}

/// Sleeps until a descriptor is readable. One that was closed meanwhile ends the sleep.
fn sleep(descriptors: &[RawFd], signal: Option<BorrowedFd<'_>>, timeout: Duration) {
    let mut waiting: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
        .collect();
    waiting.extend(signal.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }));
    crate::fi::poll(&mut waiting, timeout);
}

/// The thread that makes progress while the application does not: peers would take a process that
/// computes for a dead one.
#[derive(Debug)]
pub(crate) struct Progress {
    thread: Option<JoinHandle<()>>,
    domain: Arc<Domain>,
    /// The process that started it: children have no such thread.
    owner: u32,
}

impl Progress {
    pub(crate) fn start(domain: &Arc<Domain>) -> std::io::Result<Self> {
        let watched = Arc::clone(domain);
        let thread =
            thread::Builder::new().name("elastane".to_owned()).spawn(move || stand_in(&watched))?;
        Ok(Self { thread: Some(thread), domain: Arc::clone(domain), owner: std::process::id() })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.owner != std::process::id() {
            std::mem::forget(thread);
            return;
        }
        self.domain.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        if thread.join().is_err() {
            crate::log::warn(format_args!("the progress thread has panicked"));
        }
    }
}

fn stand_in(domain: &Domain) {
    let (mut seen, mut pause) = (0, LOOK);
    loop {
        thread::park_timeout(pause);
        if domain.stop.load(Ordering::Acquire) {
            return;
        }
        pause = LOOK;
        // An application at work is not disturbed: a visit is felt by all its threads.
        let calls = domain.calls.load(Ordering::Relaxed);
        if std::mem::replace(&mut seen, calls) != calls {
            continue;
        }
        // If it is taken, somebody is at work.
        let Some(mut state) = domain.state.visit() else { continue };
        let endpoints: Vec<usize> = state.endpoints.iter().map(|(at, _)| at).collect();
        for at in endpoints {
            if state.progress_endpoint(at) {
                pause = BUSY;
            }
            // Peers were told that nobody sleeps here.
            if state.has_sleeper(at) {
                state.may_sleep(at);
            }
        }
    }
}
