//! Ctrl-C: what was begun is undone before the process ends.

use std::{
    io, mem,
    process::exit,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// How long cleaning up may take before the process ends without.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Waits for the signals that ask a process to end.
#[derive(Clone)]
pub(crate) struct Interrupts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    signal: Option<i32>,
    /// How many hold something that they let go when their work is disturbed.
    holds: usize,
    actions: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupts {
    /// Begins to listen, on a thread of its own.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let interrupts = Self { shared: Arc::default() };
        let listening = interrupts.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                listening.strike(signal);
            }
        })?;
        Ok(interrupts)
    }

    /// Has `action` run on a signal, before the process ends; at once if the signal came already.
    pub(crate) fn on_interrupt(&self, action: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        if state.signal.is_none() {
            state.actions.push(Box::new(action));
        } else {
            drop(state);
            action();
        }
    }

    /// Until the returned value is dropped, the end of the process waits, though not for long.
    pub(crate) fn hold(&self) -> Hold {
        self.shared.lock().holds += 1;
        Hold { shared: Arc::clone(&self.shared) }
    }

    /// After a signal nothing else that goes wrong is worth a word.
    pub(crate) fn end_if_interrupted(&self) {
        let signal = self.shared.lock().signal;
        if let Some(signal) = signal {
            exit(128 + signal);
        }
    }

    fn strike(&self, signal: i32) {
        let actions = {
            let mut state = self.shared.lock();
            state.signal = Some(signal);
            mem::take(&mut state.actions)
        };
        for action in actions {
            action();
        }
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |s| s.holds > 0);
        drop(waited);
        exit(128 + signal);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Interrupts::hold`].
pub(crate) struct Hold {
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().holds -= 1;
        self.shared.changed.notify_all();
    }
}
