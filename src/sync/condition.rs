//! gevent's condition: a lock and a condition variable in one.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use super::rlock::{RLock, RLockGuard};
use super::waiting::{after, lock};
use crate::coroutine::{region, unwind};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

/// A lock, and a place to wait until somebody says that something has changed: gevent's and Python's `Condition`.
///
/// A handle: clones are the same condition. Waiting and notifying go through the guard, so the lock is held. It guards no
/// value of its own; with one, [`Mutex`](super::Mutex) and [`Condvar`](super::Condvar) are the better pair.
///
/// # Examples
/// ```
/// use osier::sync::Condition;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static READY: AtomicU32 = AtomicU32::new(0);
/// let condition = Condition::new();
/// let waiter = osier::spawn({
///     let condition = condition.clone();
///     move || condition.lock().wait_for(|| READY.load(Ordering::Relaxed) > 0)
/// });
/// let guard = condition.lock();
/// READY.store(1, Ordering::Relaxed);
/// guard.notify_all();
/// drop(guard);
/// waiter.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Condition {
    lock: RLock,
    waiters: Arc<StdMutex<WaitQueue>>,
}

/// The lock of a [`Condition`], held: the right to wait and to notify.
#[must_use = "the condition is unlocked as soon as the guard is dropped"]
#[derive(Debug)]
pub struct ConditionGuard<'a> {
    condition: &'a Condition,
    /// Held, but for the time of a wait.
    _guard: RLockGuard<'a>,
}

impl Condition {
    /// Makes one with a lock of its own.
    pub fn new() -> Self {
        Self::with_lock(RLock::new())
    }

    /// Makes one over a lock, which several conditions may share.
    pub fn with_lock(lock: RLock) -> Self {
        Self { lock, waiters: Arc::new(StdMutex::new(WaitQueue::new())) }
    }

    /// Locks it. The holder may lock it again.
    ///
    /// # Suspends
    /// As [`RLock::lock`].
    ///
    /// # Cancel safety
    /// As [`RLock::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> ConditionGuard<'_> {
        self.locked(self.lock.lock())
    }

    /// Locks it if nobody else holds it.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<ConditionGuard<'_>> {
        Some(self.locked(self.lock.try_lock()?))
    }

    /// Locks it, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`RLock::lock`].
    ///
    /// # Cancel safety
    /// As [`RLock::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<ConditionGuard<'_>> {
        Some(self.locked(self.lock.lock_timeout(timeout)?))
    }

    /// Locks it, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`RLock::lock`].
    ///
    /// # Cancel safety
    /// As [`RLock::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_deadline(&self, deadline: Instant) -> Option<ConditionGuard<'_>> {
        Some(self.locked(self.lock.lock_deadline(deadline)?))
    }

    fn locked<'a>(&'a self, guard: RLockGuard<'a>) -> ConditionGuard<'a> {
        ConditionGuard { condition: self, _guard: guard }
    }

    /// Whether the caller holds its lock.
    pub fn is_owned(&self) -> bool {
        self.lock.is_owned()
    }
}

impl ConditionGuard<'_> {
    /// Unlocks, however often it is locked, waits to be notified, and locks as often again.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits locks again before it unwinds from here, for its guards are still there.
    /// One that was notified first returns: no notification goes to one who does not act on it.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits to be notified, for at most `timeout`. Whether it was. Locking again afterwards may take longer.
    ///
    /// # Suspends
    /// As [`ConditionGuard::wait`].
    ///
    /// # Cancel safety
    /// As [`ConditionGuard::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(after(timeout))
    }

    /// Waits to be notified, until `deadline`. Whether it was. Locking again afterwards may take longer.
    ///
    /// # Suspends
    /// As [`ConditionGuard::wait`].
    ///
    /// # Cancel safety
    /// As [`ConditionGuard::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    /// Waits until `condition` holds; it is asked with the lock held.
    ///
    /// # Suspends
    /// As [`ConditionGuard::wait`].
    ///
    /// # Cancel safety
    /// As [`ConditionGuard::wait`].
    pub fn wait_for(&self, mut condition: impl FnMut() -> bool) {
        while !condition() {
            self.wait();
        }
    }

    /// Waits until `condition` holds, for at most `timeout`. Whether it does.
    ///
    /// # Suspends
    /// As [`ConditionGuard::wait`].
    ///
    /// # Cancel safety
    /// As [`ConditionGuard::wait`].
    pub fn wait_for_timeout(&self, timeout: Duration, condition: impl FnMut() -> bool) -> bool {
        self.wait_for_until(after(timeout), condition)
    }

    /// Waits until `condition` holds, or until `deadline`. Whether it does.
    ///
    /// # Suspends
    /// As [`ConditionGuard::wait`].
    ///
    /// # Cancel safety
    /// As [`ConditionGuard::wait`].
    pub fn wait_for_deadline(&self, deadline: Instant, condition: impl FnMut() -> bool) -> bool {
        self.wait_for_until(Some(deadline), condition)
    }

    fn wait_for_until(&self, deadline: Option<Instant>, mut condition: impl FnMut() -> bool) -> bool {
        loop {
            if condition() {
                return true;
            }
            if !self.wait_until(deadline) {
                return condition();
            }
        }
    }

    /// Notifies the `n` who have waited longest, or as many as there are.
    pub fn notify(&self, n: usize) {
        let mut waiters = lock(&self.condition.waiters);
        let wakeups: Vec<_> = std::iter::from_fn(|| waiters.notify_first(|_| ())).take(n).collect();
        drop(waiters);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    /// Notifies the one who has waited longest, if anybody waits.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies everybody who waits.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        // Before the lock is given up: to lock again may be a wait, which cannot be refused any more.
        region::forbid("wait");
        let Condition { lock: rlock, waiters } = self.condition;
        let waiter = Waiter::interruptible();
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { lock(waiters).push(&raw const waiter) };
        // SAFETY: this guard holds it, and it is restored below, whatever happens.
        let depth = unsafe { rlock.release_all() };
        // SAFETY: it was pushed there.
        let wait = || waiter.wait(deadline, || unsafe { lock(waiters).remove(&waiter) });
        let woken = unwind::intercept(wait);
        rlock.restore(depth);
        woken.unwrap_or_else(|payload| unwind::throw(payload)) == Woken::Notified
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("lock", &self.lock).finish_non_exhaustive()
    }
}
