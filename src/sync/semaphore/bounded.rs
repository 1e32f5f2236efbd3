//! gevent's `BoundedSemaphore`: it has at most the permits that it was made with.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use super::{Permit, RawSemaphore, Semaphore};
use crate::exception::{Raise, raise};

/// A semaphore that is never given back more permits than it was made with: gevent's `BoundedSemaphore`.
///
/// # Examples
/// ```
/// use osier::sync::BoundedSemaphore;
///
/// let places = BoundedSemaphore::new(1);
/// places.acquire();
/// assert!(!places.try_acquire());
/// places.release().unwrap();
/// assert_eq!(places.release().unwrap_err().to_string(), "semaphore released too many times");
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    bound: usize,
}

impl BoundedSemaphore {
    /// Makes one with `permits` permits, and never more.
    ///
    /// # Panics
    /// As [`Semaphore::new`].
    pub fn new(permits: usize) -> Self {
        Self { semaphore: Semaphore::new(permits), bound: permits }
    }

    /// How many permits are there to be taken.
    pub fn available(&self) -> usize {
        self.semaphore.available()
    }

    /// Whether a call that wants one permit would wait.
    pub fn is_locked(&self) -> bool {
        self.semaphore.is_locked()
    }

    /// Takes one permit, waiting for it.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire(&self) {
        self.semaphore.acquire();
    }

    /// Takes one permit if there is one and nobody waits for it. Whether it did.
    pub fn try_acquire(&self) -> bool {
        self.semaphore.try_acquire()
    }

    /// Takes one permit, waiting for at most `timeout`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.semaphore.acquire_timeout(timeout)
    }

    /// Takes one permit, waiting until `deadline`. Whether it did.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.semaphore.acquire_deadline(deadline)
    }

    /// Gives one permit back.
    ///
    /// # Errors
    /// All of them are there; nothing has changed.
    pub fn release(&self) -> Result<(), ReleasedTooOften> {
        if self.semaphore.raw.release(1, self.bound) { Ok(()) } else { Err(ReleasedTooOften) }
    }

    /// Takes one permit, waiting for it, and gives it back when the [`Permit`] is dropped.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold(&self) -> Permit {
        self.limit(self.semaphore.hold())
    }

    /// Takes one permit if there is one and nobody waits for it.
    pub fn try_hold(&self) -> Option<Permit> {
        self.semaphore.try_hold().map(|permit| self.limit(permit))
    }

    /// Takes one permit, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_timeout(&self, timeout: Duration) -> Option<Permit> {
        self.semaphore.hold_timeout(timeout).map(|permit| self.limit(permit))
    }

    /// Takes one permit, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_deadline(&self, deadline: Instant) -> Option<Permit> {
        self.semaphore.hold_deadline(deadline).map(|permit| self.limit(permit))
    }

    fn limit(&self, permit: Permit) -> Permit {
        permit.limited(self.bound)
    }

    /// Waits until there is a permit to be taken, and takes none.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait(&self) {
        self.semaphore.wait();
    }

    /// Waits until there is a permit to be taken, for at most `timeout`, and takes none. Whether there was.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.semaphore.wait_timeout(timeout)
    }

    /// Waits until there is a permit to be taken, or until `deadline`, and takes none. Whether there was.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.semaphore.wait_deadline(deadline)
    }

    /// What waits and wakes, for `wait` over several objects.
    pub(crate) fn raw(&self) -> &RawSemaphore {
        self.semaphore.raw()
    }
}

/// With one permit, as gevent's.
impl Default for BoundedSemaphore {
    fn default() -> Self {
        Self::new(1)
    }
}

/// A [`BoundedSemaphore`] was given back more permits than it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleasedTooOften;

impl fmt::Display for ReleasedTooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("semaphore released too many times")
    }
}

impl Error for ReleasedTooOften {}

impl Raise for ReleasedTooOften {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}
