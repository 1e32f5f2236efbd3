//! Waiting as a future does: a waiter that stands for whoever polls, in a box, since a future may move between polls.
//!
//! ```text
//!   poll ── take the waiter out ── ready? ── yes: done
//!                                    └ no: the waker of this poll goes in, and the waiter back into its queue
//! ```
//!
//! The waker lies in the waiter, and belongs to the queue's lock while the waiter is linked; whoever notifies moves it out
//! and calls it after unlocking. So a poll with another waker first takes the waiter out. There is no protocol beyond the
//! wait queue's: what has come before is seen by the look under the lock with which the waiter enters again.
//!
//! # Invariants
//! - The waiter is changed and freed only when it is in no queue.

use std::fmt;
use std::ptr::NonNull;
use std::task::{Poll, Waker};

use super::wait_queue::Waiter;

/// The place of one future among those who wait for something. Whoever holds it calls `leave` before it goes; forgotten,
/// the waiter stays where it is for ever.
pub(crate) struct Polled(Option<NonNull<Waiter>>);

// SAFETY: its owner alone reaches the waiter, but for the queue that it is in, under its lock; the waker in it is `Send`.
unsafe impl Send for Polled {}
// SAFETY: through a `&Polled` nothing is reached.
unsafe impl Sync for Polled {}

impl Polled {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Enters the waiter, with the waker of this poll, by `watch`, which says whether it was entered; false if it need not
    /// wait. `unwatch` takes it out of where it was entered last.
    ///
    /// # Safety
    /// - `unwatch` and `watch` are of the same object, and so is that of the next `poll` or `leave`; `watch` enters the
    ///   waiter as [`WaitQueue::push`](super::WaitQueue::push) demands.
    pub(crate) unsafe fn poll(
        &mut self,
        waker: &Waker,
        watch: impl FnOnce(*const Waiter) -> bool,
        unwatch: impl FnOnce(&Waiter) -> bool,
    ) -> Poll<()> {
        self.leave(unwatch);
        let waiter = NonNull::from(Box::leak(Box::new(Waiter::polled(waker))));
        self.0 = Some(waiter);
        if watch(waiter.as_ptr()) {
            return Poll::Pending;
        }
        self.leave(|_| true);
        Poll::Ready(())
    }

    /// Takes the waiter out by `unwatch`, unless it was notified, and frees it.
    #[inline]
    pub(crate) fn leave(&mut self, unwatch: impl FnOnce(&Waiter) -> bool) {
        if let Some(waiter) = self.0.take() {
            Self::free(waiter, unwatch);
        }
    }

    #[cold]
    fn free(waiter: NonNull<Waiter>, unwatch: impl FnOnce(&Waiter) -> bool) {
        {
            // SAFETY: `poll` made it, and it is freed below.
            let waiter = unsafe { waiter.as_ref() };
            // One that cannot be taken out any more was notified under the same lock.
            let is_out = waiter.is_notified() || unwatch(waiter) || waiter.is_notified();
            debug_assert!(is_out, "who waits for a future is notified under the lock that takes it out");
        }
        // SAFETY: `poll` made the box, and nobody else knows it any more.
        drop(unsafe { Box::from_raw(waiter.as_ptr()) });
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Polled").field(&self.0.is_some()).finish()
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::sleeper::Wakeup;
    use super::super::wait_queue::WaitQueue;
    use super::*;
    use loom::sync::{Arc, Mutex};
    use loom::thread;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// What is waited for: a flag that is set once, and who waits.
    #[derive(Clone)]
    struct Flag(Arc<Mutex<(bool, WaitQueue)>>);

    impl Flag {
        fn new() -> Self {
            Self(Arc::new(Mutex::new((false, WaitQueue::new()))))
        }

        fn set(&self) {
            let mut inner = self.0.lock().unwrap();
            inner.0 = true;
            let wakeups = inner.1.notify_all();
            drop(inner);
            wakeups.into_iter().for_each(Wakeup::fire);
        }

        fn watch(&self, waiter: *const Waiter) -> bool {
            let mut inner = self.0.lock().unwrap();
            if !inner.0 {
                // SAFETY: the models leave before they go.
                unsafe { inner.1.push(waiter) };
            }
            !inner.0
        }

        /// The seeded bug: the look is not under the lock under which the waiter enters.
        fn watch_late(&self, waiter: *const Waiter) -> bool {
            let is_set = self.0.lock().unwrap().0;
            if !is_set {
                // SAFETY: as above.
                unsafe { self.0.lock().unwrap().1.push(waiter) };
            }
            !is_set
        }

        fn unwatch(&self, waiter: &Waiter) -> bool {
            // SAFETY: it was pushed here, if anywhere.
            unsafe { self.0.lock().unwrap().1.remove(waiter) }
        }
    }

    /// Counts calls; loom need not see it, for it is read when all threads have ended.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A future is polled twice, with one waker each, while somebody sets the flag.
    fn poll_twice(watch: fn(&Flag, *const Waiter) -> bool) {
        let flag = Flag::new();
        let other = {
            let flag = flag.clone();
            thread::spawn(move || flag.set())
        };
        let mut polled = Polled::new();
        let mut last = None;
        for _ in 0..2 {
            let calls = std::sync::Arc::new(Calls::default());
            let waker = Waker::from(calls.clone());
            // SAFETY: all of it is of one flag.
            let poll = unsafe { polled.poll(&waker, |waiter| watch(&flag, waiter), |waiter| flag.unwatch(waiter)) };
            last = poll.is_pending().then_some(calls);
        }
        other.join().unwrap();
        if let Some(calls) = last {
            assert_eq!(calls.0.load(Ordering::SeqCst), 1, "whoever polled last was woken");
        }
        polled.leave(|waiter| flag.unwatch(waiter));
    }

    #[test]
    fn model_whoever_polled_last_is_woken() {
        loom::model(|| poll_twice(Flag::watch));
    }

    #[test]
    #[should_panic = "whoever polled last was woken"]
    fn model_finds_a_look_outside_of_the_lock() {
        loom::model(|| poll_twice(Flag::watch_late));
    }
}
