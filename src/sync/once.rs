//! What is done once: `Once`, and the cell whose value is made once.
//!
//! The state is read without a lock, and changed under it. Who finds the closure of another running waits; if that closure
//! fails, one of them runs its own.

use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::waiting::{after, lock};
use crate::coroutine::current;
use crate::primitives::const_unless_modelled;
use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

const NEW: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// Runs a closure once, for all tasks and threads that want it run: `std::sync::Once` for closures that wait.
///
/// There is no poisoning: if the closure unwinds, the next call runs its own.
///
/// # Examples
/// ```
/// use osier::sync::Once;
///
/// static START: Once = Once::new();
/// let mut calls = 0;
/// for _ in 0..3 {
///     START.call_once(|| calls += 1);
/// }
/// assert!(calls == 1 && START.is_completed());
/// ```
pub struct Once {
    /// Changed under the lock of `waiters`.
    state: AtomicU8,
    /// Whose closure runs: see `current::context`.
    runner: AtomicUsize,
    waiters: StdMutex<WaitQueue>,
}

impl Once {
    const_unless_modelled! {
        /// Makes one that has not run.
        pub fn new() -> Self {
            Self { state: AtomicU8::new(NEW), runner: AtomicUsize::new(0), waiters: StdMutex::new(WaitQueue::new()) }
        }
    }

    /// Whether a closure has run to its end.
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release in `finish`; what the closure did is visible.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Runs `f`, unless a closure has run to its end; waits while one runs.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while another's closure runs.
    ///
    /// # Cancel safety
    /// A task that is cancelled while another's closure runs unwinds from here, and `f` has not run. One that is
    /// cancelled in a wait of `f` leaves the closure to the next.
    ///
    /// # Panics
    /// With `f`'s panic. If `f` comes here again: it would wait for itself.
    pub fn call_once(&self, f: impl FnOnce()) {
        let result = self.try_call(|| -> Result<(), Infallible> {
            f();
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    /// Waits until a closure has run to its end.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; nothing else changes.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits until a closure has run to its end, for at most `timeout`. Whether one has.
    ///
    /// # Suspends
    /// As [`Once::wait`].
    ///
    /// # Cancel safety
    /// As [`Once::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(after(timeout))
    }

    /// Waits until a closure has run to its end, or until `deadline`. Whether one has.
    ///
    /// # Suspends
    /// As [`Once::wait`].
    ///
    /// # Cancel safety
    /// As [`Once::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        while !self.is_completed() {
            if self.wait_for_change(deadline, |state| state != DONE) == Woken::Elapsed {
                return false;
            }
        }
        true
    }

    /// Runs `f` unless one has succeeded before; if it fails, the next call runs its own.
    fn try_call<E>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        loop {
            if self.is_completed() {
                return Ok(());
            }
            if self.begin() {
                let mut end = End { once: self, state: NEW };
                let result = f();
                if result.is_ok() {
                    end.state = DONE;
                }
                return result;
            }
            let runner = self.runner.load(Ordering::Relaxed);
            assert!(runner != current::context(), "a closure that runs once has come to wait for itself");
            self.wait_for_change(None, |state| state == RUNNING);
        }
    }

    /// Says that the caller's closure runs. False if another's does, or has.
    fn begin(&self) -> bool {
        let _waiters = lock(&self.waiters);
        let is_new = self.state.load(Ordering::Relaxed) == NEW;
        if is_new {
            self.runner.store(current::context(), Ordering::Relaxed);
            self.state.store(RUNNING, Ordering::Relaxed);
        }
        is_new
    }

    fn finish(&self, state: u8) {
        let mut waiters = lock(&self.waiters);
        self.runner.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `is_completed`.
        self.state.store(state, Ordering::Release);
        let wakeups = waiters.notify_all();
        drop(waiters);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    /// Waits for the end of a closure until `deadline`, if the state is one to wait in.
    fn wait_for_change(&self, deadline: Option<Instant>, is_to_wait: impl Fn(u8) -> bool) -> Woken {
        let waiter = Waiter::new();
        let mut waiters = lock(&self.waiters);
        if !is_to_wait(self.state.load(Ordering::Relaxed)) {
            return Woken::Notified;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { waiters.push(&raw const waiter) };
        drop(waiters);
        // SAFETY: it was pushed there.
        waiter.wait(deadline, || unsafe { lock(&self.waiters).remove(&waiter) })
    }
}

/// Says how a closure ended, also if that was by unwinding.
struct End<'a> {
    once: &'a Once,
    state: u8,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.once.finish(self.state);
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish_non_exhaustive()
    }
}

/// A cell whose value is made once: `std::sync::OnceLock` for values whose making waits.
///
/// # Examples
/// ```
/// use osier::sync::OnceCell;
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
/// let tasks: Vec<_> = (0..4).map(|n| osier::spawn(move || CONFIG.get_or_init(|| format!("made by {n}")))).collect();
/// let texts: Vec<_> = tasks.into_iter().map(|t| t.join().unwrap()).collect();
/// assert!(texts.iter().all(|text| std::ptr::eq(*text, texts[0])));
/// ```
pub struct OnceCell<T> {
    once: Once,
    /// Written by the closure that `once` runs; never again while the cell is shared.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one, and from then on shared: it moves to the thread that drops or takes it.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    const_unless_modelled! {
        /// Makes an empty one.
        pub fn new() -> Self {
            Self { once: Once::new(), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if it has been made.
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it is complete, so nobody writes it as long as the cell is shared.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value, if it has been made.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Puts a value in.
    ///
    /// # Suspends
    /// As [`OnceCell::get_or_init`].
    ///
    /// # Cancel safety
    /// As [`OnceCell::get_or_init`].
    ///
    /// # Errors
    /// There is one; yours comes back.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().unwrap_or_else(|| unreachable!("the closure runs once")));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none it is made by `f`.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while another makes it.
    ///
    /// # Cancel safety
    /// As [`Once::call_once`].
    ///
    /// # Panics
    /// With `f`'s panic; the next call tries again. If `f` comes here again: it would wait for itself.
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(f())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; if there is none it is made by `f`, which may fail.
    ///
    /// # Suspends
    /// As [`OnceCell::get_or_init`].
    ///
    /// # Cancel safety
    /// As [`OnceCell::get_or_init`].
    ///
    /// # Errors
    /// With `f`'s error; the next call tries again.
    ///
    /// # Panics
    /// As [`OnceCell::get_or_init`].
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        self.once.try_call(|| {
            let value = f()?;
            // SAFETY: this closure alone runs, and it is not complete, so nobody else looks at the value.
            unsafe { *self.value.get() = Some(value) };
            Ok(())
        })?;
        Ok(self.get().unwrap_or_else(|| unreachable!("the value of a completed cell is there")))
    }

    /// Waits for the value.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until somebody has made it.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; nothing else changes.
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().unwrap_or_else(|| unreachable!("the value of a completed cell is there"))
    }

    /// Waits for the value, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`OnceCell::wait`].
    ///
    /// # Cancel safety
    /// As [`OnceCell::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.once.wait_timeout(timeout);
        self.get()
    }

    /// Waits for the value, until `deadline`.
    ///
    /// # Suspends
    /// As [`OnceCell::wait`].
    ///
    /// # Cancel safety
    /// As [`OnceCell::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> Option<&T> {
        self.once.wait_deadline(deadline);
        self.get()
    }

    /// Takes the value out and leaves the cell empty.
    pub fn take(&mut self) -> Option<T> {
        self.once = Once::new();
        self.value.get_mut().take()
    }

    /// Gives the value back, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = Self::new();
        _ = cell.set(value);
        cell
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}
