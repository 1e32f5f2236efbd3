//! What `broadcast` and `watch` are made of: the last values that were sent, numbered, and who waits for the next.
//!
//! Every receiver has a place of its own in the log and takes clones, so nobody waits for the slow; what falls out at the
//! old end is missed by those who have not come so far.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::sync::spin_lock::SpinLock;
use crate::task::{WaitQueue, Waiter, Wakeup, Woken, spend};

/// See the module's page.
pub(super) struct Log<T> {
    state: SpinLock<State<T>>,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct State<T> {
    /// Shared, so that values are cloned and dropped outside the lock.
    values: VecDeque<Arc<T>>,
    /// The number of the first of them.
    first: u64,
    /// Nothing is sent any more.
    is_closed: bool,
    waiting: WaitQueue,
}

/// What a receiver finds at its place.
pub(super) enum Next<T> {
    Value(Arc<T>),
    /// So many have fallen out before it came.
    Missed(u64),
    Nothing,
    Closed,
}

impl<T> State<T> {
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    fn is_ready(&self, place: u64) -> bool {
        place < self.end() || self.is_closed
    }

    /// What is at `place`, which moves on. With `skips`, what was missed is not told.
    fn next(&self, place: &AtomicU64, skips: bool) -> Next<T> {
        // Relaxed, as every use of a place: it is read and written under the lock.
        let at = place.load(Ordering::Relaxed);
        if at < self.first && !skips {
            place.store(self.first, Ordering::Relaxed);
            return Next::Missed(self.first - at);
        }
        let at = at.max(self.first);
        let value = usize::try_from(at - self.first).ok().and_then(|index| self.values.get(index));
        match value {
            Some(value) => {
                place.store(at + 1, Ordering::Relaxed);
                Next::Value(value.clone())
            }
            None if self.is_closed => Next::Closed,
            None => Next::Nothing,
        }
    }
}

impl<T> Log<T> {
    /// A log that keeps `capacity` values, with one sender and one receiver.
    pub(super) fn new(capacity: usize, first: Option<T>) -> Self {
        let values = first.into_iter().map(Arc::new).collect();
        let state = State { values, first: 0, is_closed: false, waiting: WaitQueue::new() };
        Self { state: SpinLock::new(state), capacity, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) }
    }

    /// Sends a value; it comes back if the log is closed.
    pub(super) fn append(&self, value: T) -> Result<(), T> {
        let value = Arc::new(value);
        let mut state = self.state.lock();
        if state.is_closed {
            drop(state);
            return Err(Arc::into_inner(value).unwrap_or_else(|| unreachable!("nobody else has seen it")));
        }
        state.values.push_back(value);
        let oldest = if state.values.len() > self.capacity {
            state.first += 1;
            state.values.pop_front()
        } else {
            None
        };
        let wakeups = state.waiting.notify_all();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        drop(oldest);
        Ok(())
    }

    /// The newest value, and the number of the one after it.
    pub(super) fn last(&self) -> Option<(Arc<T>, u64)> {
        let state = self.state.lock();
        Some((state.values.back()?.clone(), state.end()))
    }

    /// The number of the next value to be sent.
    pub(super) fn end(&self) -> u64 {
        self.state.lock().end()
    }

    pub(super) fn len(&self, place: &AtomicU64) -> usize {
        let state = self.state.lock();
        let at = place.load(Ordering::Relaxed).max(state.first);
        usize::try_from(state.end() - at).unwrap_or(usize::MAX)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn try_next(&self, place: &AtomicU64, skips: bool) -> Next<T> {
        self.state.lock().next(place, skips)
    }

    /// What is at `place`, waiting for it until `deadline` or as long as it takes.
    pub(super) fn next(&self, place: &AtomicU64, skips: bool, deadline: Option<Instant>) -> Next<T> {
        spend();
        loop {
            let mut state = self.state.lock();
            let next = state.next(place, skips);
            if !matches!(next, Next::Nothing) {
                return next;
            }
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
            unsafe { state.waiting.push(&raw const waiter) };
            drop(state);
            // SAFETY: it was pushed there.
            let unlink = || unsafe { self.state.lock().waiting.remove(&waiter) };
            if waiter.wait(deadline, unlink) == Woken::Elapsed {
                return Next::Nothing;
            }
        }
    }

    // ---- ends

    pub(super) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops one sender; the last one closes the log.
    pub(super) fn drop_sender(&self) {
        // AcqRel: the last one sees what the others sent.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    /// Closes the log and lets everybody who waits look again. False if it was closed before.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state.lock();
        let was_open = !std::mem::replace(&mut state.is_closed, true);
        let wakeups = state.waiting.notify_all();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        was_open
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop_receiver(&self) {
        self.receivers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Relaxed)
    }

    // ---- as something to wait for

    pub(super) fn is_ready(&self, place: &AtomicU64) -> bool {
        self.state.lock().is_ready(place.load(Ordering::Relaxed))
    }

    /// Enters a waiter that is notified when there is something at `place`. False if there is.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(super) unsafe fn watch(&self, place: &AtomicU64, waiter: *const Waiter) -> bool {
        let mut state = self.state.lock();
        let entered = !state.is_ready(place.load(Ordering::Relaxed));
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.waiting.push(waiter) };
        }
        entered
    }

    pub(super) fn unwatch(&self, waiter: &Waiter) {
        // SAFETY: it was pushed there by `watch`.
        unsafe { self.state.lock().waiting.remove(waiter) };
    }
}
