//! What `broadcast` and `watch` are made of: the last values that were sent, numbered, and who waits for the next.
//!
//! Every receiver has a place of its own in the log and takes clones, so nobody waits for the slow; what falls out at the
//! old end is missed by those who have not come so far.
//!
//! A receiver may be shared, so what one task has seen at its place another may take: a select takes it as it begins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::primitives::SpinLock;
use crate::sync::select::{Begun, Operand, Token};
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
    /// Those who wait for a value.
    waiting: WaitQueue,
    /// Those who wait until nobody wants one.
    waiting_for_closed: WaitQueue,
}

/// The end of a receiver: its place in a log.
pub(super) struct End<T> {
    log: Arc<Log<T>>,
    /// The number of the first value that it has not taken. Read and written under the log's lock, so `Relaxed`.
    place: AtomicU64,
    /// Whether it passes over what it has missed without a word.
    skips: bool,
}

/// What a receiver finds at its place.
pub(super) enum Next<T> {
    Value(Arc<T>),
    /// So many have fallen out before it came.
    Missed(u64),
    Nothing,
    Closed,
}

/// What became of a value that was to be sent.
pub(super) enum Appended<T> {
    /// It is in. What fell out, to be dropped.
    Done(Option<Arc<T>>),
    /// The log is closed.
    Closed(T),
    /// Another was sent before.
    TooLate(T),
}

/// A select's receive that was begun: what it has taken, and the place where that was.
struct Taken<T> {
    next: Next<T>,
    place: u64,
}

impl<T> State<T> {
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// What is at `place`, which moves on. With `skips`, what was missed is not told.
    fn next(&self, place: &AtomicU64, skips: bool) -> Next<T> {
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
    /// A log that keeps `capacity` values, with one sender. It begins with `first`, which its receivers have seen.
    pub(super) fn new(capacity: usize, first: Option<T>) -> Arc<Self> {
        let values = first.into_iter().map(Arc::new).collect();
        let (waiting, waiting_for_closed) = (WaitQueue::new(), WaitQueue::new());
        let state = State { values, first: 0, is_closed: false, waiting, waiting_for_closed };
        let (senders, receivers) = (AtomicUsize::new(1), AtomicUsize::new(0));
        Arc::new(Self { state: SpinLock::new(state), capacity, senders, receivers })
    }

    /// The end of a receiver that gets what is sent from now on.
    pub(super) fn subscribe(self: &Arc<Self>, skips: bool) -> End<T> {
        self.receivers.fetch_add(1, Ordering::Relaxed);
        let place = AtomicU64::new(self.state.lock().end());
        End { log: self.clone(), place, skips }
    }

    /// Sends a value.
    pub(super) fn append(&self, value: T) -> Appended<T> {
        self.append_if(value, |_| true)
    }

    /// Sends a value, unless another was sent after the one before `end`.
    pub(super) fn append_at(&self, end: u64, value: T) -> Appended<T> {
        self.append_if(value, |state| state.end() == end)
    }

    fn append_if(&self, value: T, is_in_time: impl FnOnce(&State<T>) -> bool) -> Appended<T> {
        let value = Arc::new(value);
        let mut state = self.state.lock();
        let (is_closed, is_in_time) = (state.is_closed, is_in_time(&state));
        if is_closed || !is_in_time {
            drop(state);
            let value = Arc::into_inner(value).unwrap_or_else(|| unreachable!("nobody else has seen it"));
            return if is_closed { Appended::Closed(value) } else { Appended::TooLate(value) };
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
        Appended::Done(oldest)
    }

    /// The newest value, and the number of the one after it.
    pub(super) fn last(&self) -> Option<(Arc<T>, u64)> {
        let state = self.state.lock();
        Some((state.values.back()?.clone(), state.end()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
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
        let mut wakeups = state.waiting.notify_all();
        wakeups.extend(state.waiting_for_closed.notify_all());
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        was_open
    }

    pub(super) fn receivers(&self) -> usize {
        self.receivers.load(Ordering::Relaxed)
    }

    /// Whether nobody wants what would be sent: the log is closed, or there is no receiver. Asked under the lock, under
    /// which the last receiver says that it has gone.
    fn is_unwanted(&self, state: &State<T>) -> bool {
        state.is_closed || self.receivers() == 0
    }

    /// Waits until nobody wants what would be sent, or until `deadline`. Whether that is so.
    pub(super) fn wait_closed(&self, deadline: Option<Instant>) -> bool {
        spend();
        let waiter = Waiter::new();
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        if !unsafe { self.watch_closed(&raw const waiter) } {
            return true;
        }
        waiter.wait(deadline, || self.unwatch_closed(&waiter)) == Woken::Notified
    }

    /// Enters a waiter that is notified when nobody wants what would be sent. False if that is so.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    unsafe fn watch_closed(&self, waiter: *const Waiter) -> bool {
        let mut state = self.state.lock();
        let entered = !self.is_unwanted(&state);
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.waiting_for_closed.push(waiter) };
        }
        entered
    }

    /// Takes a waiter out that was entered by `watch_closed`. False if it was notified.
    fn unwatch_closed(&self, waiter: &Waiter) -> bool {
        // SAFETY: it was pushed there.
        unsafe { self.state.lock().waiting_for_closed.remove(waiter) }
    }
}

/// A log gets ready, as an object for its senders, when nobody wants what they would send.
impl<T> Operand for Log<T> {
    fn is_ready(&self) -> bool {
        self.is_unwanted(&self.state.lock())
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watch_closed(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.unwatch_closed(waiter);
    }
}

impl<T> End<T> {
    pub(super) fn log(&self) -> &Arc<Log<T>> {
        &self.log
    }

    pub(super) fn len(&self) -> usize {
        let state = self.log.state.lock();
        let at = self.place.load(Ordering::Relaxed).max(state.first);
        usize::try_from(state.end() - at).unwrap_or(usize::MAX)
    }

    /// Whether there is a value at its place, or will never be.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.log.state.lock();
        self.is_ready_in(&state)
    }

    fn is_ready_in(&self, state: &State<T>) -> bool {
        self.place.load(Ordering::Relaxed) < state.end() || state.is_closed
    }

    pub(super) fn try_next(&self) -> Next<T> {
        self.log.state.lock().next(&self.place, self.skips)
    }

    /// As [`try_next`](Self::try_next), and what was missed is not told.
    pub(super) fn try_next_kept(&self) -> Next<T> {
        self.log.state.lock().next(&self.place, true)
    }

    /// What is at its place, waiting for it until `deadline` or as long as it takes.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Next<T> {
        self.next_as(self.skips, deadline)
    }

    /// As [`next`](Self::next), and what was missed is not told.
    pub(super) fn next_kept(&self) -> Next<T> {
        self.next_as(true, None)
    }

    fn next_as(&self, skips: bool, deadline: Option<Instant>) -> Next<T> {
        spend();
        loop {
            let mut state = self.log.state.lock();
            let next = state.next(&self.place, skips);
            if !matches!(next, Next::Nothing) {
                return next;
            }
            let waiter = Waiter::interruptible();
            // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
            unsafe { state.waiting.push(&raw const waiter) };
            drop(state);
            // SAFETY: it was pushed there.
            let unlink = || unsafe { self.log.state.lock().waiting.remove(&waiter) };
            if waiter.wait(deadline, unlink) == Woken::Elapsed {
                return Next::Nothing;
            }
        }
    }

    /// The newest value, which it has seen then.
    pub(super) fn see_last(&self) -> Option<Arc<T>> {
        let state = self.log.state.lock();
        let last = state.values.back()?.clone();
        self.place.store(state.end(), Ordering::Relaxed);
        Some(last)
    }

    /// Enters a waiter that is notified when there is something at its place. False if there is.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(super) unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        let mut state = self.log.state.lock();
        let entered = !self.is_ready_in(&state);
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.waiting.push(waiter) };
        }
        entered
    }

    pub(super) fn unwatch(&self, waiter: &Waiter) {
        // SAFETY: it was pushed there by `watch`.
        unsafe { self.log.state.lock().waiting.remove(waiter) };
    }

    /// Completes a receive that a select began.
    pub(super) fn finish(token: &mut Token) -> Next<T> {
        Self::take_begun(token).map_or(Next::Closed, |taken| taken.next)
    }

    fn take_begun(token: &mut Token) -> Option<Taken<T>> {
        match token.settle() {
            // SAFETY: only receives from a log of `T` begin so.
            Begun::Received => unsafe { token.take::<Taken<T>>() },
            _ => None,
        }
    }
}

/// A receive of a select: what is at the place is taken as it begins.
impl<T> Operand for End<T> {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.unwatch(waiter);
    }

    fn begin(&self, token: &mut Token) -> bool {
        let state = self.log.state.lock();
        let place = self.place.load(Ordering::Relaxed);
        let next = state.next(&self.place, self.skips);
        drop(state);
        if matches!(next, Next::Nothing) {
            return false;
        }
        token.put(Some(Taken { next, place }));
        token.begun = Begun::Received;
        true
    }

    fn collect(&self, token: &mut Token) -> bool {
        // Woken to look again: another that shares the receiver may have been faster.
        self.begin(token)
    }

    fn abandon(&self, token: &mut Token) {
        let Some(taken) = Self::take_begun(token) else { return };
        let mut state = self.log.state.lock();
        // Back to where it was. Another that shares the receiver may have gone on meanwhile, and gets it again; or it waits
        // for the next one, and has to look.
        self.place.fetch_min(taken.place, Ordering::Relaxed);
        let wakeups = state.waiting.notify_all();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        drop(taken);
    }
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        self.log.receivers.fetch_add(1, Ordering::Relaxed);
        let place = AtomicU64::new(self.place.load(Ordering::Relaxed));
        Self { log: self.log.clone(), place, skips: self.skips }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.log.receivers.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let mut state = self.log.state.lock();
        // Looked at again, under the lock: a sender may have subscribed meanwhile. Who has come to wait since, and has seen
        // a receiver, finds this lock taken, or is in the queue.
        let wakeups = if self.log.receivers() == 0 { state.waiting_for_closed.notify_all() } else { Vec::new() };
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
    }
}
