//! What every call that waits in a queue has on its stack: a waiter, and a place for what it waits for.

use std::cell::UnsafeCell;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::coroutine::current;
use crate::task::Waiter;

/// A waiter with a place that whoever notifies it may read and write.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Waiting<P> {
    pub(crate) waiter: Waiter,
    place: UnsafeCell<P>,
}

impl<P> Waiting<P> {
    /// A record for the running task, or for the thread where no task runs.
    pub(crate) fn new(place: P) -> Self {
        Self { waiter: Waiter::new(), place: UnsafeCell::new(place) }
    }

    /// As [`new`](Self::new), for a wait that ends with a cancel: see [`Waiter::interruptible`].
    pub(crate) fn interruptible(place: P) -> Self {
        Self { waiter: Waiter::interruptible(), place: UnsafeCell::new(place) }
    }

    /// The waiter, as a pointer to all of `self`: to push it with.
    pub(crate) fn as_waiter(&self) -> *const Waiter {
        std::ptr::from_ref(self).cast()
    }

    /// The place that belongs to a waiter.
    ///
    /// # Safety
    /// - `waiter` came from the `as_waiter` of a `Self`, and is in a queue whose lock is held for as long as `'a`; or it was
    ///   notified, and its owner asks.
    /// - No other reference to the place is in use.
    pub(crate) unsafe fn place_of<'a>(waiter: *const Waiter) -> &'a mut P {
        // SAFETY: `Waiting` is `repr(C)` with the waiter first, and under the lock nobody else touches the place.
        unsafe { &mut *(*waiter.cast::<Self>()).place.get() }
    }

    /// Gives up the waiter, which is in no queue any more.
    pub(crate) fn into_place(self) -> P {
        self.place.into_inner()
    }
}

/// Locks a mutex of ours, under which nobody panics half way.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When `timeout` from now is over; `None` if that is never.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    current::now().checked_add(timeout)
}

/// The earlier of two moments of which there may be none.
#[inline]
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
