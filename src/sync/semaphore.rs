//! Semaphores: permits, first come first served.
//!
//! ```text
//!   word:  ┌─────────────────┬────────┐
//!          │ permits         │ QUEUED │
//!          └─────────────────┴────────┘
//! ```
//!
//! Taking and giving back permits are one exchange of the word while nobody waits. Once somebody does, both go through
//! the lock of the queue: permits are given to who has waited longest, as soon as there are as many as that call wants.
//!
//! # Invariants
//! - `QUEUED` is set and cleared under the queue's lock, and says whether anybody waits.
//! - While it is set, the word changes under that lock only.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::spin_lock::{SpinGuard, SpinLock};
use super::waiting::{Waiting, after};
use crate::exception::{Raise, raise};
use crate::primitives::{AtomicUsize, Ordering};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken, spend};

const QUEUED: usize = 1;
const PERMIT: usize = 2;

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
    pub const MAX_PERMITS: usize = usize::MAX / PERMIT;

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
        Permit { semaphore: self.clone(), permits }
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

/// Permits of a [`Semaphore`], given back when this is dropped.
///
/// It may be moved into another task, so that a place taken before the spawn is given back at the task's end.
#[derive(Debug)]
#[must_use = "the permits are given back as soon as this is dropped"]
pub struct Permit {
    semaphore: Semaphore,
    permits: usize,
}

impl Permit {
    /// How many permits.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Gives them back, and leaves it to the caller to wake who got them.
    pub(crate) fn give_back(mut self) -> Vec<Wakeup> {
        let n = std::mem::take(&mut self.permits);
        self.semaphore.raw.give_back(n, Semaphore::MAX_PERMITS).unwrap_or_default()
    }

    /// Keeps them for good: the semaphore has fewer from now on.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.release_many(self.permits);
        }
    }
}

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
        if self.semaphore.raw.release(1, self.bound) { Ok(()) } else { Err(ReleasedTooOften(())) }
    }

    /// Takes one permit, waiting for it, and gives it back when the [`Permit`] is dropped.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold(&self) -> Permit {
        self.semaphore.hold()
    }

    /// Takes one permit if there is one and nobody waits for it.
    pub fn try_hold(&self) -> Option<Permit> {
        self.semaphore.try_hold()
    }

    /// Takes one permit, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_timeout(&self, timeout: Duration) -> Option<Permit> {
        self.semaphore.hold_timeout(timeout)
    }

    /// Takes one permit, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub fn hold_deadline(&self, deadline: Instant) -> Option<Permit> {
        self.semaphore.hold_deadline(deadline)
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
pub struct ReleasedTooOften(());

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

/// A semaphore without the handle. See the module's page.
pub(crate) struct RawSemaphore {
    word: AtomicUsize,
    queues: SpinLock<Queues>,
}

struct Queues {
    /// Those who want permits; beside each, how many.
    takers: WaitQueue,
    /// Those who want to know that there is one.
    watchers: WaitQueue,
}

impl RawSemaphore {
    pub(crate) fn new(permits: usize) -> Self {
        let limit = Semaphore::MAX_PERMITS;
        assert!(permits <= limit, "a semaphore has at most {limit} permits");
        let queues = Queues { takers: WaitQueue::new(), watchers: WaitQueue::new() };
        Self { word: AtomicUsize::new(permits * PERMIT), queues: SpinLock::new(queues) }
    }

    pub(crate) fn available(&self) -> usize {
        self.word.load(Ordering::Relaxed) / PERMIT
    }

    /// Whether a call that wants one permit would get it at once.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.word.load(Ordering::Relaxed);
        state >= PERMIT && state & QUEUED == 0
    }

    #[inline]
    pub(crate) fn try_acquire(&self, n: usize) -> bool {
        let mut state = self.word.load(Ordering::Relaxed);
        while state & QUEUED == 0 && state / PERMIT >= n {
            // Acquire: pairs with the Release of whoever gave them back.
            let left = state - n * PERMIT;
            match self.word.compare_exchange_weak(state, left, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes `n` permits, waiting until `deadline` or as long as it takes. False if it took too long.
    pub(crate) fn acquire(&self, n: usize, deadline: Option<Instant>) -> bool {
        spend();
        self.try_acquire(n) || self.acquire_slow(n, deadline)
    }

    #[cold]
    fn acquire_slow(&self, n: usize, deadline: Option<Instant>) -> bool {
        let waiting = Waiting::new(n);
        let mut queues = self.lock_queues();
        if !self.announce(n, true) {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { queues.takers.push(waiting.as_waiter()) };
        drop(queues);
        // Notified: whoever did that has taken the permits for us.
        waiting.waiter.wait(deadline, || self.leave(&waiting.waiter, |queues| &mut queues.takers)) == Woken::Notified
    }

    /// Waits until there is a permit to be taken, or until `deadline`. Whether there is.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        spend();
        let waiter = Waiter::new();
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        if !unsafe { self.watch(&raw const waiter) } {
            return true;
        }
        waiter.wait(deadline, || self.unwatch(&waiter)) == Woken::Notified
    }

    /// Enters a waiter, to be notified when there is a permit to be taken. False if there is: it was not entered.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(crate) unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        let mut queues = self.lock_queues();
        if !self.announce(1, false) {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { queues.watchers.push(waiter) };
        true
    }

    /// Takes a waiter out that was entered. False if it was notified.
    pub(crate) fn unwatch(&self, waiter: &Waiter) -> bool {
        self.leave(waiter, |queues| &mut queues.watchers)
    }

    /// Under the lock of the queues: says that somebody enters them who wants `n` permits. False if they are there; then
    /// they were taken, if `take` says so.
    fn announce(&self, n: usize, take: bool) -> bool {
        loop {
            let state = self.word.load(Ordering::Relaxed);
            let next = if state & QUEUED != 0 {
                return true;
            } else if state / PERMIT < n {
                // Who gives permits back sees the bit, and the queue under its lock.
                state | QUEUED
            } else if take {
                state - n * PERMIT
            } else {
                return false;
            };
            // Acquire: as in `try_acquire`. An exchange: permits may have come since we looked.
            if self.word.compare_exchange(state, next, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return next & QUEUED != 0;
            }
        }
    }

    /// Takes a waiter out of a queue, and serves those that it held up. False if it was notified.
    fn leave(&self, waiter: &Waiter, queue: fn(&mut Queues) -> &mut WaitQueue) -> bool {
        let mut queues = self.lock_queues();
        // SAFETY: it was pushed there.
        let left = unsafe { queue(&mut queues).remove(waiter) };
        let wakeups = if left { self.serve(&mut queues, 0) } else { Vec::new() };
        drop(queues);
        wakeups.into_iter().for_each(Wakeup::fire);
        left
    }

    /// Gives `n` permits back. False if there were more than `limit` then: nothing has changed.
    pub(crate) fn release(&self, n: usize, limit: usize) -> bool {
        let wakeups = self.give_back(n, limit);
        let is_done = wakeups.is_some();
        wakeups.into_iter().flatten().for_each(Wakeup::fire);
        is_done
    }

    /// Gives `n` permits back, and leaves it to the caller to wake who got them. `None` if there were more than `limit`.
    fn give_back(&self, n: usize, limit: usize) -> Option<Vec<Wakeup>> {
        let mut state = self.word.load(Ordering::Relaxed);
        loop {
            if state & QUEUED != 0 {
                return self.give_back_slow(n, limit);
            }
            if n > limit.saturating_sub(state / PERMIT) {
                return None;
            }
            // Release: pairs with the Acquire of whoever takes them.
            let more = state + n * PERMIT;
            match self.word.compare_exchange_weak(state, more, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(Vec::new()),
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn give_back_slow(&self, n: usize, limit: usize) -> Option<Vec<Wakeup>> {
        let mut queues = self.lock_queues();
        if self.word.load(Ordering::Relaxed) & QUEUED == 0 {
            // Everybody has left meanwhile.
            drop(queues);
            return self.give_back(n, limit);
        }
        (n <= limit.saturating_sub(self.available())).then(|| self.serve(&mut queues, n))
    }

    /// Adds permits and gives them to those whose turn it is. Under the lock of the queues, with `QUEUED` set.
    fn serve(&self, queues: &mut Queues, more: usize) -> Vec<Wakeup> {
        // Acquire: what was done before permits were given back reaches their takers through the notification.
        let mut permits = self.word.load(Ordering::Acquire) / PERMIT + more;
        let mut served = 0;
        let next = queues.takers.find(|taker| {
            // SAFETY: only `Waiting<usize>` enter this queue, and its lock is held.
            let wanted = *unsafe { Waiting::<usize>::place_of(taker) };
            let is_served = wanted <= permits;
            if is_served {
                permits -= wanted;
                served += 1;
            }
            !is_served
        });
        let tells = next.is_none() && permits > 0;
        let is_empty = next.is_none() && (tells || queues.watchers.is_empty());
        // Before anybody is notified, who may look at once. Release: pairs with the Acquire in `try_acquire`.
        self.word.store((permits * PERMIT) | if is_empty { 0 } else { QUEUED }, Ordering::Release);
        let mut wakeups = Vec::with_capacity(served);
        wakeups.extend((0..served).filter_map(|_| queues.takers.notify_first(|_| ())));
        if tells {
            wakeups.extend(queues.watchers.notify_all());
        }
        wakeups
    }

    fn lock_queues(&self) -> SpinGuard<'_, Queues> {
        self.queues.lock()
    }
}

impl fmt::Debug for RawSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSemaphore").field("available", &self.available()).finish_non_exhaustive()
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::thread;

    type Release = fn(&RawSemaphore, usize);

    fn release(semaphore: &RawSemaphore, n: usize) {
        assert!(semaphore.release(n, Semaphore::MAX_PERMITS));
    }

    /// Two permits, and a thread for each number: it takes and gives back as many. Loom reports whoever sleeps for ever
    /// as a deadlock.
    fn contend(wanted: &'static [usize], release: Release) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let semaphore = Arc::new(RawSemaphore::new(2));
            let take = move |semaphore: &RawSemaphore, n| {
                assert!(semaphore.acquire(n, None));
                release(semaphore, n);
            };
            let threads: Vec<_> = wanted[1..]
                .iter()
                .map(|&n| {
                    let semaphore = semaphore.clone();
                    thread::spawn(move || take(&semaphore, n))
                })
                .collect();
            take(&semaphore, wanted[0]);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 2 * PERMIT, "everything has been given back");
        });
    }

    #[test]
    fn model_permits_reach_who_waits_for_them() {
        contend(&[2, 2], release);
        contend(&[1, 2, 1], release);
    }

    #[test]
    fn model_who_waits_for_a_permit_and_takes_none_is_told() {
        loom::model(|| {
            let semaphore = Arc::new(RawSemaphore::new(0));
            let other = semaphore.clone();
            let giver = thread::spawn(move || release(&other, 1));
            assert!(semaphore.wait(None));
            // It was told of a permit that is there, not of one that is about to be.
            assert!(semaphore.try_acquire(1));
            giver.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_a_release_that_overlooks_who_has_just_come() {
        contend(&[2, 2], |semaphore, n| {
            let state = semaphore.word.load(Ordering::Relaxed);
            if state & QUEUED == 0 {
                // The seeded bug: no exchange, so somebody may have entered the queue since.
                semaphore.word.fetch_add(n * PERMIT, Ordering::Release);
            } else {
                release(semaphore, n);
            }
        });
    }
}
