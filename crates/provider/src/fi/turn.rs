//! Whose turn it is to use a domain.
//!
//! An application that promises to make one call at a time (`FI_THREAD_DOMAIN` of fi_domain(3))
//! competes with one thread only, the library's own, which looks in every few milliseconds. So the
//! application says that it is inside by a plain store, and the rare visitor pays for both: it
//! makes every thread of the process pass a fence (membarrier(2)) between its own knock and its
//! look whether somebody is inside. Who is inside stays; the visitor comes again.
//!
//! All others take turns by a lock.

use std::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, Ordering, compiler_fence},
};

use parking_lot::{Mutex, MutexGuard};

/// What is agreed on by, with the fences between one's own sign and a look at the other's.
trait Signs {
    /// The lock, taken.
    type Guard<'a>
    where
        Self: 'a;

    fn lock(&self) -> Self::Guard<'_>;
    fn try_lock(&self) -> Option<Self::Guard<'_>>;
    /// The application is inside, without the lock. With acquire and release order.
    fn is_inside(&self) -> bool;
    fn set_inside(&self, is: bool);
    /// The visitor is inside, or wants to be. With acquire and release order.
    fn is_wanted(&self) -> bool;
    fn set_wanted(&self, is: bool);
    /// A fence to the visitor's.
    fn fence_of_the_application(&self);
    /// A fence to those of all others.
    fn fence_of_the_visitor(&self);
}

/// The application's turn begins; `None`: without the lock.
#[inline]
fn enter<S: Signs>(signs: &S) -> Option<S::Guard<'_>> {
    signs.set_inside(true);
    signs.fence_of_the_application();
    if !signs.is_wanted() {
        return None;
    }
    signs.set_inside(false);
    Some(signs.lock())
}

/// The visitor's turn begins, unless it is somebody else's.
fn visit<S: Signs>(signs: &S) -> Option<S::Guard<'_>> {
    let guard = signs.try_lock()?;
    signs.set_wanted(true);
    signs.fence_of_the_visitor();
    if signs.is_inside() {
        signs.set_wanted(false);
        return None;
    }
    Some(guard)
}

/// The signs of a process.
#[derive(Debug, Default)]
struct Plain {
    lock: Mutex<()>,
    inside: AtomicBool,
    wanted: AtomicBool,
}

impl Signs for Plain {
    type Guard<'a> = MutexGuard<'a, ()>;

    fn lock(&self) -> Self::Guard<'_> {
        self.lock.lock()
    }

    fn try_lock(&self) -> Option<Self::Guard<'_>> {
        self.lock.try_lock()
    }

    #[inline]
    fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire)
    }

    #[inline]
    fn set_inside(&self, is: bool) {
        self.inside.store(is, Ordering::Release);
    }

    #[inline]
    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    #[inline]
    fn set_wanted(&self, is: bool) {
        self.wanted.store(is, Ordering::Release);
    }

    #[inline]
    fn fence_of_the_application(&self) {
        // The processor's part is done by the other fence.
        compiler_fence(Ordering::SeqCst);
    }

    fn fence_of_the_visitor(&self) {
        barrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

/// Asks the kernel for a barrier, or prepares for that. Returns whether it does it.
fn barrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Something that one thread uses at a time.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    signs: Plain,
    /// The application makes one call at a time.
    is_serial: bool,
    value: UnsafeCell<T>,
}

// SAFETY: whoever has a turn has the value alone: by the lock, or, of an application that promised
// to make one call at a time, because the visitor saw that it is inside or it that the visitor is.
unsafe impl<T: Send> Sync for Turns<T> {}

impl<T> Turns<T> {
    /// `is_serial`: whether the application promises to make one call at a time.
    pub(crate) fn new(value: T, is_serial: bool) -> Self {
        let is_serial = is_serial && barrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        Self { signs: Plain::default(), is_serial, value: UnsafeCell::new(value) }
    }

    /// The turn of a call of the application.
    #[inline]
    pub(crate) fn call(&self) -> Turn<'_, T> {
        let guard = if self.is_serial { enter(&self.signs) } else { Some(self.signs.lock()) };
        Turn { turns: self, guard, is_visit: false }
    }

    /// The turn of the library's own thread, if it is nobody else's.
    pub(crate) fn visit(&self) -> Option<Turn<'_, T>> {
        let guard = if self.is_serial { visit(&self.signs) } else { self.signs.try_lock() };
        guard.map(|guard| Turn { turns: self, guard: Some(guard), is_visit: true })
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a, T> {
    turns: &'a Turns<T>,
    /// `None`: the application is inside.
    guard: Option<MutexGuard<'a, ()>>,
    is_visit: bool,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it is this one's turn.
        unsafe { &*self.turns.value.get() }
    }
}

impl<T> DerefMut for Turn<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.turns.value.get() }
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.guard.is_none() {
            self.turns.signs.set_inside(false);
        } else if self.is_visit {
            // The lock goes after this, with the guard.
            self.turns.signs.set_wanted(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Both ways of taking turns, on real processors: sums are right if nobody shares a turn.
    #[test]
    fn calls_and_visits_never_meet() {
        for is_serial in [true, false] {
            let turns = Arc::new(Turns::new((0_u64, 0_u64), is_serial));
            let visited = Arc::clone(&turns);
            let visitor = std::thread::spawn(move || {
                let mut visits = 0;
                while visits < 2_000 {
                    let Some(mut turn) = visited.visit() else {
                        std::thread::yield_now();
                        continue;
                    };
                    turn.0 += 1;
                    turn.1 += 1;
                    assert_eq!(turn.0, turn.1);
                    visits += 1;
                }
            });
            let mut calls = 0;
            while calls < 200_000 || !visitor.is_finished() {
                let mut turn = turns.call();
                turn.0 += 1;
                assert_eq!(turn.0, turn.1 + 1);
                turn.1 += 1;
                calls += 1;
            }
            visitor.join().unwrap();
            assert_eq!(turns.call().0, calls + 2_000);
        }
    }

    /// Every order in which the signs can take effect, with both fences as the processor's.
    #[test]
    fn calls_and_visits_never_meet_in_any_order() {
        use loom::sync::atomic::{AtomicBool, fence};

        #[derive(Default)]
        struct Modelled {
            lock: loom::sync::Mutex<()>,
            inside: AtomicBool,
            wanted: AtomicBool,
        }

        impl Signs for Modelled {
            type Guard<'a> = loom::sync::MutexGuard<'a, ()>;

            fn lock(&self) -> Self::Guard<'_> {
                self.lock.lock().unwrap()
            }

            fn try_lock(&self) -> Option<Self::Guard<'_>> {
                self.lock.try_lock().ok()
            }

            fn is_inside(&self) -> bool {
                self.inside.load(Ordering::Acquire)
            }

            fn set_inside(&self, is: bool) {
                self.inside.store(is, Ordering::Release);
            }

            fn is_wanted(&self) -> bool {
                self.wanted.load(Ordering::Acquire)
            }

            fn set_wanted(&self, is: bool) {
                self.wanted.store(is, Ordering::Release);
            }

            fn fence_of_the_application(&self) {
                fence(Ordering::SeqCst);
            }

            fn fence_of_the_visitor(&self) {
                fence(Ordering::SeqCst);
            }
        }

        loom::model(|| {
            let signs = loom::sync::Arc::new(Modelled::default());
            // Loom panics if both may be at it at once.
            let value = loom::sync::Arc::new(loom::cell::UnsafeCell::new(0));
            let (visited, shared) = (signs.clone(), value.clone());
            let visitor = loom::thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(guard) = visit(&*visited) {
                        shared.with_mut(|_| ());
                        visited.set_wanted(false);
                        drop(guard);
                    }
                }
            });
            for _ in 0..2 {
                let guard = enter(&*signs);
                value.with_mut(|_| ());
                if guard.is_none() {
                    signs.set_inside(false);
                }
            }
            visitor.join().unwrap();
        });
    }
}
