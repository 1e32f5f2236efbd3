//! Events: a flag that tasks wait for.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::waiting::{after, lock};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken, go_last, spend};

/// A flag that any number of tasks and threads wait for: gevent's and Python's `Event`.
///
/// A handle: clones are the same event. Setting it lets everybody go on who waits, and everybody who comes until it is
/// cleared. For a value instead of a flag there is [`AsyncResult`](super::AsyncResult).
///
/// # Examples
/// ```
/// use osier::sync::Event;
///
/// let ready = Event::new();
/// let waiters: Vec<_> = (0..3)
///     .map(|n| {
///         let ready = ready.clone();
///         osier::spawn(move || {
///             ready.wait();
///             n
///         })
///     })
///     .collect();
/// ready.set();
/// assert_eq!(waiters.into_iter().map(|w| w.join().unwrap()).sum::<i32>(), 3);
/// ```
#[derive(Clone, Default)]
pub struct Event {
    raw: Arc<RawEvent>,
}

impl Event {
    /// Makes an event that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.raw.is_set()
    }

    /// Sets it. Whoever waits goes on, also if it is cleared right afterwards.
    pub fn set(&self) {
        self.raw.set();
    }

    /// Takes the flag down: whoever comes from now on waits.
    pub fn clear(&self) {
        self.raw.clear();
    }

    /// Waits until it is set; not at all if it is.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread. Also a task that finds it set while others who waited for that
    /// have been woken and have not run yet: they go on first.
    ///
    /// # Cancel safety
    /// A cancelled task unwinds from here, unless the event was set first.
    pub fn wait(&self) {
        self.raw.queue_up();
        self.raw.wait(None);
    }

    /// Waits until it is set, for at most `timeout`. Whether it was.
    ///
    /// # Suspends
    /// As [`Event::wait`].
    ///
    /// # Cancel safety
    /// As [`Event::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        if !timeout.is_zero() {
            self.raw.queue_up();
        }
        self.raw.wait_timeout(timeout)
    }

    /// Waits until it is set, or until `deadline`. Whether it was.
    ///
    /// # Suspends
    /// As [`Event::wait`].
    ///
    /// # Cancel safety
    /// As [`Event::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.raw.queue_up();
        self.raw.wait(Some(deadline))
    }

    /// What waits and wakes, for `wait` over several objects.
    pub(crate) fn raw(&self) -> &RawEvent {
        &self.raw
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}

/// An event without the handle.
#[derive(Debug)]
pub(crate) struct RawEvent {
    /// Raised under the lock of the queue.
    flag: AtomicBool,
    waiters: Mutex<Waiters>,
    /// How many calls of `wait` have been woken and have not gone on.
    waking: AtomicUsize,
}

#[derive(Debug)]
struct Waiters {
    queue: WaitQueue,
    /// How many of them are calls of `wait`.
    calls: usize,
}

impl Default for RawEvent {
    fn default() -> Self {
        let waiters = Waiters { queue: WaitQueue::new(), calls: 0 };
        Self { flag: AtomicBool::new(false), waiters: Mutex::new(waiters), waking: AtomicUsize::new(0) }
    }
}

impl RawEvent {
    pub(crate) fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`.
        self.flag.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self) {
        let mut waiters = lock(&self.waiters);
        // Release: pairs with the Acquire in `is_set`.
        self.flag.store(true, Ordering::Release);
        // Relaxed, as every use: it only decides who goes first.
        self.waking.fetch_add(std::mem::take(&mut waiters.calls), Ordering::Relaxed);
        let wakeups = waiters.queue.notify_all();
        drop(waiters);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    pub(crate) fn clear(&self) {
        // Release: whoever sets it again, and reads that it was cleared, sees what was done before.
        self.flag.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        if timeout.is_zero() { self.is_set() } else { self.wait(after(timeout)) }
    }

    /// Lets those go on first who have been woken and have not run: who comes now comes after them.
    #[inline]
    fn queue_up(&self) {
        if self.waking.load(Ordering::Relaxed) > 0 && self.is_set() {
            go_last();
        }
    }

    /// Waits until it is set, or until `deadline`. Whether it was.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        spend();
        if self.is_set() {
            return true;
        }
        let waiter = Waiter::interruptible();
        let mut waiters = lock(&self.waiters);
        // Under the lock: whoever sets it afterwards finds the waiter.
        if self.is_set() {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { waiters.queue.push(&raw const waiter) };
        waiters.calls += 1;
        drop(waiters);
        let leave = || {
            let mut waiters = lock(&self.waiters);
            let was_woken = waiter.was_passed_over();
            // SAFETY: it was pushed there.
            let left = unsafe { waiters.queue.remove(&waiter) };
            if was_woken {
                // It counts among those, but will not go on.
                self.waking.fetch_sub(1, Ordering::Relaxed);
            } else {
                waiters.calls -= usize::from(left);
            }
            left
        };
        let was_set = waiter.wait(deadline, leave) == Woken::Notified;
        if was_set {
            self.waking.fetch_sub(1, Ordering::Relaxed);
        }
        was_set
    }

    /// Enters a waiter, to be notified when it is set. False if it is set: then it was not entered.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(crate) unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        let mut waiters = lock(&self.waiters);
        // Under the lock, as in `wait`.
        let is_set = self.is_set();
        if !is_set {
            // SAFETY: the caller's promise.
            unsafe { waiters.queue.push(waiter) };
        }
        !is_set
    }

    /// Takes a waiter out that was entered by `watch`. False if it was notified.
    pub(crate) fn unwatch(&self, waiter: &Waiter) -> bool {
        // SAFETY: it was pushed by `watch`.
        unsafe { lock(&self.waiters).queue.remove(waiter) }
    }
}
