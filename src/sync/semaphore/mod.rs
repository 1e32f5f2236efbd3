//! Semaphores: permits, first come first served.
//!
//! # Rooms
//! - Here: the handle, and permits as values. `bounded`: the one that never has more than it began with. `raw`: the protocol
//!   under both.

mod bounded;
mod raw;

pub use bounded::{BoundedSemaphore, ReleasedTooOften};
pub(crate) use raw::RawSemaphore;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::waiting::after;
use crate::task::{Wakeup, spend};

/// A number of permits: gevent's `Semaphore`, and a call may take several at once.
///
/// A handle: clones are the same semaphore. First come, first served: a call that wants many permits is not overtaken by
/// later ones that want few. Permits belong to nobody; whoever likes gives them back. [`hold`](Self::hold) gives them as
/// a value that gives them back itself.
///
/// # Examples
/// ```
/// use osier::sync::Semaphore;
///
/// let at_once = Semaphore::new(3);
/// let tasks: Vec<_> = (0..10)
///     .map(|n| {
///         let at_once = at_once.clone();
///         osier::spawn(move || {
///             let _permit = at_once.hold();
///             osier::yield_now();
///             n
///         })
///     })
///     .collect();
/// assert_eq!(tasks.into_iter().map(|t| t.join().unwrap()).sum::<u32>(), 45);
/// assert_eq!(at_once.available(), 3);
/// ```
#[derive(Clone)]
pub struct Semaphore {
    raw: Arc<RawSemaphore>,
}

impl Semaphore {
    /// How many permits there can be.
    pub const MAX_PERMITS: usize = usize::MAX / raw::PERMIT;

    /// Makes one with `permits` permits.
    ///
    /// # Panics
    /// If that is more than [`Semaphore::MAX_PERMITS`].
    pub fn new(permits: usize) -> Self {
        Self { raw: Arc::new(RawSemaphore::new(permits)) }
    }

    /// How many permits are there to be taken.
    pub fn available(&self) -> usize {
        self.raw.available()
    }

    /// Whether a call that wants one permit would wait.
    pub fn is_locked(&self) -> bool {
        !self.raw.is_ready()
    }

    /// Takes one permit, waiting for it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, without a permit; no permit is lost.
    pub fn acquire(&self) {
        self.acquire_many(1);
    }

    /// Takes `n` permits at once, waiting until there are as many.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`]; those behind it that want fewer get theirs.
    pub fn acquire_many(&self, n: usize) {
        self.raw.acquire(n, None);
    }

    /// Takes one permit if there is one and nobody waits for it. Whether it did.
    pub fn try_acquire(&self) -> bool {
        self.raw.try_acquire(1)
    }

    /// Takes `n` permits if there are as many and nobody waits for them. Whether it did.
    pub fn try_acquire_many(&self, n: usize) -> bool {
        self.raw.try_acquire(n)
    }

    /// Takes one permit, waiting for at most `timeout`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_many_timeout(1, timeout)
    }

    /// Takes `n` permits at once, waiting for at most `timeout`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_many_timeout(&self, n: usize, timeout: Duration) -> bool {
        if timeout.is_zero() {
            return self.raw.try_acquire(n);
        }
        spend();
        // Before the clock is asked.
        self.raw.try_acquire(n) || self.raw.acquire(n, after(timeout))
    }

    /// Takes one permit, waiting until `deadline`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.acquire_many_deadline(1, deadline)
    }

    /// Takes `n` permits at once, waiting until `deadline`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_many_deadline(&self, n: usize, deadline: Instant) -> bool {
        self.raw.acquire(n, Some(deadline))
    }

    /// Gives one permit back, or adds one.
    ///
    /// # Panics
    /// If there were more than [`Semaphore::MAX_PERMITS`].
    pub fn release(&self) {
        self.release_many(1);
    }

    /// Gives `n` permits back, or adds them.
    ///
    /// # Panics
    /// As [`Semaphore::release`].
    pub fn release_many(&self, n: usize) {
        assert!(self.raw.release(n, Self::MAX_PERMITS), "a semaphore has at most {} permits", Self::MAX_PERMITS);
    }

    /// Takes one permit, waiting for it, and gives it back when the [`Permit`] is dropped.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold(&self) -> Permit {
        self.hold_many(1)
    }

    /// Takes `n` permits as [`acquire_many`](Self::acquire_many) does, and gives them back when the [`Permit`] is dropped.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_many(&self, n: usize) -> Permit {
        self.acquire_many(n);
        self.permit(n)
    }

    /// Takes one permit as [`try_acquire`](Self::try_acquire) does.
    pub fn try_hold(&self) -> Option<Permit> {
        self.try_hold_many(1)
    }

    /// Takes `n` permits as [`try_acquire_many`](Self::try_acquire_many) does.
    pub fn try_hold_many(&self, n: usize) -> Option<Permit> {
        self.try_acquire_many(n).then(|| self.permit(n))
    }

    /// Takes one permit, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_timeout(&self, timeout: Duration) -> Option<Permit> {
        self.hold_many_timeout(1, timeout)
    }

    /// Takes `n` permits at once, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_many_timeout(&self, n: usize, timeout: Duration) -> Option<Permit> {
        self.acquire_many_timeout(n, timeout).then(|| self.permit(n))
    }

    /// Takes one permit, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_deadline(&self, deadline: Instant) -> Option<Permit> {
        self.hold_many_deadline(1, deadline)
    }

    /// Takes `n` permits at once, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_many_deadline(&self, n: usize, deadline: Instant) -> Option<Permit> {
        self.acquire_many_deadline(n, deadline).then(|| self.permit(n))
    }

    /// Permits that were taken.
    fn permit(&self, permits: usize) -> Permit {
        Permit { semaphore: self.clone(), permits, limit: Self::MAX_PERMITS }
    }

    /// Waits until there is a permit to be taken, and takes none.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait(&self) {
        self.raw.wait(None);
    }

    /// Waits until there is a permit to be taken, for at most `timeout`, and takes none. Whether there was.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.raw.is_ready() || (!timeout.is_zero() && self.raw.wait(after(timeout)))
    }

    /// Waits until there is a permit to be taken, or until `deadline`, and takes none. Whether there was.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.raw.wait(Some(deadline))
    }

    /// What waits and wakes, for `wait` over several objects.
    pub(crate) fn raw(&self) -> &RawSemaphore {
        &self.raw
    }
}

/// With one permit, as gevent's.
impl Default for Semaphore {
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish()
    }
}

/// Permits of a [`Semaphore`] or a [`BoundedSemaphore`], given back when this is dropped.
///
/// It may be moved into another task, so that a place taken before the spawn is given back at the task's end. That of a
/// bounded semaphore that has all its permits already, because somebody gave back one too many, adds none.
#[derive(Debug)]
#[must_use = "the permits are given back as soon as this is dropped"]
pub struct Permit {
    semaphore: Semaphore,
    permits: usize,
    /// How many the semaphore has at most.
    limit: usize,
}

impl Permit {
    /// How many permits.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// With another limit: that of a bounded semaphore.
    fn limited(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Gives them back, and leaves it to the caller to wake who got them.
    pub(crate) fn give_back(mut self) -> Vec<Wakeup> {
        let n = std::mem::take(&mut self.permits);
        self.semaphore.raw.give_back(n, self.limit).unwrap_or_default()
    }

    /// Keeps them for good: the semaphore has fewer from now on.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            let is_done = self.semaphore.raw.release(self.permits, self.limit);
            let is_bounded = self.limit < Semaphore::MAX_PERMITS;
            assert!(is_done || is_bounded, "a semaphore has at most {} permits", Semaphore::MAX_PERMITS);
        }
    }
}
