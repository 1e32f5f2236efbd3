//! The condition variable: waiting, with a mutex unlocked, for somebody to say that something has changed.

use std::fmt;
use std::sync::Mutex as StdMutex;
use std::time::{Duration, Instant};

use super::mutex::MutexGuard;
use super::waiting::{after, lock};
use crate::coroutine::region;
use crate::primitives::const_unless_modelled;
use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

/// A condition variable: `std::sync::Condvar`, over osier's [`Mutex`](super::Mutex).
///
/// Waiters are notified in the order of their arrival. A wait returns without reason never; a condition is checked in a
/// loop all the same, for another task may lock between the notification and the waiter's return.
///
/// # Examples
/// ```
/// use osier::sync::{Condvar, Mutex};
/// use std::sync::Arc;
///
/// let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
/// let consumer = osier::spawn({
///     let shared = shared.clone();
///     move || {
///         let (items, arrived) = &*shared;
///         arrived.wait_while(items.lock(), |items| items.is_empty()).pop()
///     }
/// });
/// shared.0.lock().push("item");
/// shared.1.notify_one();
/// assert_eq!(consumer.join().unwrap(), Some("item"));
/// ```
pub struct Condvar {
    waiters: StdMutex<WaitQueue>,
}

/// Whether a wait with a time limit ended because the time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was up before a notification came.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_unless_modelled! {
        /// Makes one that nobody waits for.
        pub fn new() -> Self {
            Self { waiters: StdMutex::new(WaitQueue::new()) }
        }
    }

    /// Unlocks, waits to be notified, and locks again.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled before it is notified unwinds from here, without the lock. Once notified it locks again,
    /// cancelled or not, and returns: no notification goes to one who does not act on it.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// Waits as long as `condition` holds.
    ///
    /// # Suspends
    /// As [`Condvar::wait`].
    ///
    /// # Cancel safety
    /// As [`Condvar::wait`].
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Waits to be notified, for at most `timeout`. Locking again afterwards may take longer.
    ///
    /// # Suspends
    /// As [`Condvar::wait`].
    ///
    /// # Cancel safety
    /// As [`Condvar::wait`].
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let (guard, woken) = self.wait_until(guard, after(timeout));
        (guard, WaitTimeoutResult(woken == Woken::Elapsed))
    }

    /// Waits to be notified, until `deadline`.
    ///
    /// # Suspends
    /// As [`Condvar::wait`].
    ///
    /// # Cancel safety
    /// As [`Condvar::wait`].
    pub fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let (guard, woken) = self.wait_until(guard, Some(deadline));
        (guard, WaitTimeoutResult(woken == Woken::Elapsed))
    }

    /// Waits as long as `condition` holds, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Condvar::wait`].
    ///
    /// # Cancel safety
    /// As [`Condvar::wait`].
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let deadline = after(timeout);
        loop {
            if !condition(&mut guard) {
                return (guard, WaitTimeoutResult(false));
            }
            let woken;
            (guard, woken) = self.wait_until(guard, deadline);
            if woken == Woken::Elapsed {
                let timed_out = condition(&mut guard);
                return (guard, WaitTimeoutResult(timed_out));
            }
        }
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, Woken) {
        // Before the mutex is given up: to lock again may be a wait, which cannot be refused any more.
        region::forbid("wait");
        let waiter = Waiter::interruptible();
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { lock(&self.waiters).push(&raw const waiter) };
        // Only now: whoever changes something under the mutex, and then notifies, finds the waiter.
        let unlocked = guard.unlock();
        // SAFETY: it was pushed there.
        let woken = waiter.wait(deadline, || unsafe { lock(&self.waiters).remove(&waiter) });
        (MutexGuard::relock(unlocked), woken)
    }

    /// Notifies the one who has waited longest, if anybody waits.
    pub fn notify_one(&self) {
        let wakeup = lock(&self.waiters).notify_first(|_| ());
        if let Some(wakeup) = wakeup {
            wakeup.fire();
        }
    }

    /// Notifies everybody who waits.
    pub fn notify_all(&self) {
        let wakeups = lock(&self.waiters).notify_all();
        wakeups.into_iter().for_each(Wakeup::fire);
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
