//! The protocol of semaphores.
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

use std::fmt;
use std::time::Instant;

use super::Semaphore;
use crate::primitives::{AtomicUsize, Ordering, SpinGuard, SpinLock};
use crate::sync::waiting::Waiting;
use crate::task::{Taken, WaitQueue, Waiter, Wakeup, Woken, spend};

const QUEUED: usize = 1;
/// One permit, in the word.
pub(super) const PERMIT: usize = 2;

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
        let waiting = Waiting::interruptible(n);
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
        // One that was passed over has held nobody up; the others may have left meanwhile.
        let serves = left && self.word.load(Ordering::Relaxed) & QUEUED != 0;
        let wakeups = if serves { self.serve(&mut queues, 0) } else { Vec::new() };
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
    pub(super) fn give_back(&self, n: usize, limit: usize) -> Option<Vec<Wakeup>> {
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
        let serve = || {
            queues.takers.take_first_if(|taker| {
                // SAFETY: only `Waiting<usize>` enter this queue, and its lock is held.
                let wanted = *unsafe { Waiting::<usize>::place_of(taker) };
                let is_served = wanted <= permits;
                permits -= if is_served { wanted } else { 0 };
                is_served
            })
        };
        let served: Vec<Taken> = std::iter::from_fn(serve).collect();
        let tells = queues.takers.is_empty() && permits > 0;
        let is_empty = queues.takers.is_empty() && (tells || queues.watchers.is_empty());
        // Before anybody is notified, who may look at once. Release: pairs with the Acquire in `try_acquire`.
        self.word.store((permits * PERMIT) | if is_empty { 0 } else { QUEUED }, Ordering::Release);
        // SAFETY: the lock is held since they were taken.
        let mut wakeups: Vec<_> = served.into_iter().map(|taken| unsafe { taken.notify() }).collect();
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
    use std::sync::Arc;

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
