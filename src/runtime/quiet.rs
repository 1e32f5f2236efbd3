//! Whether there is nothing left to do: no task that could go on by itself, now or later.
//!
//! A task that waits for another, or for nobody, does not count; one that sleeps does, and so does a blocking call. What
//! other threads will do nobody knows. Tasks that were built as daemons never count.
//!
//! A worker that falls asleep says first whether one of its timers counts. The last one to fall asleep looks at all that is
//! said, and wakes those who wait for it. Whoever begins to wait looks itself, afterwards: with a fence on both sides one
//! of the two sees the other, as in `idle`. A worker that wakes up meanwhile moves `wakes`.

#[cfg(feature = "blocking")]
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::diagnosis::deciding;
use super::shared::Shared;
#[cfg(feature = "blocking")]
use super::worker::Worker;
use crate::coroutine::current;
use crate::task::{RawTask, WaitQueue, Waiter, Woken};

/// Who waits for quiet, and what disturbs it.
pub(super) struct Quiet {
    waiting: Mutex<WaitQueue>,
    /// How many those are, for a look without the lock.
    waiters: AtomicUsize,
    /// Moves when a worker wakes up.
    pub(super) wakes: AtomicUsize,
    /// Blocking calls under way.
    busy: AtomicUsize,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(WaitQueue::new()),
            waiters: AtomicUsize::new(0),
            wakes: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitQueue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    pub(super) fn is_awaited(&self) -> bool {
        // SeqCst: after a worker counted itself asleep; pairs with the fence in `Shared::wait_quiet`.
        fence(Ordering::SeqCst);
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Wakes everybody who waits for quiet.
    pub(super) fn announce(&self) {
        // The worker that does it may count as asleep.
        let _deciding = deciding();
        let woken = self.waiting().notify_all();
        woken.into_iter().for_each(crate::task::Wakeup::fire);
    }
}

/// Says, while it lives, that something is under way that will wake a task.
#[cfg(feature = "blocking")]
#[derive(Debug)]
pub(crate) struct Busy(Option<Weak<Shared>>);

#[cfg(feature = "blocking")]
impl Busy {
    /// On the runtime of the running task.
    pub(crate) fn begin() -> Self {
        let shared = Worker::get().map(|worker| worker.shared().weak());
        if let Some(shared) = Worker::get().map(Worker::shared) {
            shared.quiet.busy.fetch_add(1, Ordering::SeqCst);
        }
        Self(shared)
    }
}

#[cfg(feature = "blocking")]
impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(shared) = self.0.as_ref().and_then(Weak::upgrade) {
            let was_last = shared.quiet.busy.fetch_sub(1, Ordering::SeqCst) == 1;
            let workers = shared.remotes.len();
            if was_last && (workers == 1 || shared.idle.asleep() == workers) {
                // It may be the only thing that the worker of a local or of a test runtime waited for; that one has seen
                // to everything else before it went to sleep. And if all sleep, one looks whether that is for good.
                shared.remotes[0].parker.unpark();
            }
            shared.look_for_quiet();
        }
    }
}

impl Shared {
    /// Whether nothing is left to do, as far as all workers have said.
    fn is_quiet(&self) -> bool {
        let wakes = self.quiet.wakes.load(Ordering::SeqCst);
        let all_asleep = || self.idle.asleep() == self.remotes.len();
        all_asleep()
            && !self.quiet.is_busy()
            && !self.has_fresh()
            && self.remotes.iter().all(|remote| remote.inbox.is_empty() && !remote.expects_what_counts())
            && self.quiet.wakes.load(Ordering::SeqCst) == wakes
            && all_asleep()
    }

    /// After a worker has counted itself asleep: wakes those who wait for quiet, if it is.
    pub(super) fn look_for_quiet(&self) {
        if self.quiet.is_awaited() && self.is_quiet() {
            self.quiet.announce();
        }
    }

    /// Waits until nothing is left to do, or for at most `patience`. True if it is so.
    pub(super) fn wait_quiet(&self, patience: Option<Duration>) -> bool {
        let deadline = patience.and_then(|patience| current::now().checked_add(patience));
        let waiter = Waiter::new();
        let quiet = &self.quiet;
        let _waits = Waits::begin(quiet);
        // SAFETY: the waiter is new, and stays here until it is notified or taken out.
        unsafe { quiet.waiting().push(&raw const waiter) };
        // SeqCst: pairs with the fence in `is_awaited`.
        fence(Ordering::SeqCst);
        self.look_for_quiet();
        // SAFETY: it was pushed there.
        waiter.wait(deadline, || unsafe { quiet.waiting().remove(&waiter) }) == Woken::Notified
    }
}

/// Counts somebody who waits for quiet; the timer of such a task is nothing to wait for.
struct Waits<'a>(&'a Quiet);

impl<'a> Waits<'a> {
    fn begin(quiet: &'a Quiet) -> Self {
        quiet.waiters.fetch_add(1, Ordering::SeqCst);
        if let Some(task) = RawTask::current() {
            task.carrier().waits_for_quiet.set(true);
        }
        Self(quiet)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(task) = RawTask::current() {
            task.carrier().waits_for_quiet.set(false);
        }
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
