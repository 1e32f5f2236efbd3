//! The one channel behind all ends: a queue of values, and two queues of those who wait.
//!
//! Whoever comes second completes the first one's call, under the lock: a sender puts its value into the place of the
//! receiver that has waited longest; a receiver that makes room moves the longest waiting sender's value into the
//! queue. So a call that has been completed returns, whatever happens to its task meanwhile, and order is kept.
//!
//! # Invariants
//! - Receivers wait only while the queue is empty and no sender waits; senders wait only while the queue is full.
//! - No value is dropped and nobody is woken under the lock.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

/// What became of a send.
pub(super) enum Sent<T> {
    Delivered,
    /// There was no room, and none came in time.
    NoRoom(T),
    /// Every receiver is gone.
    Disconnected(T),
}

/// What became of a receive.
pub(super) enum Received<T> {
    Value(T),
    /// There was nothing, and nothing came in time.
    Nothing,
    /// There is nothing, and every sender is gone.
    Disconnected,
}

/// See the module's page.
pub(super) struct Exchange<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct State<T> {
    queue: VecDeque<T>,
    waiting_senders: WaitQueue,
    waiting_receivers: WaitQueue,
    /// Whether all ends of one side are gone.
    is_closed: bool,
}

// SAFETY: a waiting call's place is touched only under the lock, or by its owner once nobody else can; values move
// between threads, which takes `T: Send`.
unsafe impl<T: Send> Send for Exchange<T> {}
// SAFETY: as above; no `&T` is ever given out.
unsafe impl<T: Send> Sync for Exchange<T> {}

/// A call that waits: on its stack, and in one of the queues.
#[repr(C)]
struct Waiting<T> {
    waiter: Waiter,
    /// A sender's value, until it is taken; a receiver's, once it is there.
    place: UnsafeCell<Option<T>>,
}

impl<T> Waiting<T> {
    fn new(value: Option<T>) -> Self {
        Self { waiter: Waiter::new(), place: UnsafeCell::new(value) }
    }

    /// The waiter, as a pointer to all of `self`.
    fn as_waiter(&self) -> *const Waiter {
        std::ptr::from_ref(self).cast()
    }

    /// The place that belongs to a waiter.
    ///
    /// # Safety
    /// - `waiter` came from `as_waiter`, is in a queue, and the queue's lock is held for as long as `'a`.
    unsafe fn place_of<'a>(waiter: *const Waiter) -> &'a mut Option<T> {
        // SAFETY: `Waiting` is `repr(C)` with the waiter first, and under the lock nobody else touches the place.
        unsafe { &mut *(*waiter.cast::<Self>()).place.get() }
    }

    fn into_place(self) -> Option<T> {
        self.place.into_inner()
    }
}

impl<T> Exchange<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            waiting_senders: WaitQueue::new(),
            waiting_receivers: WaitQueue::new(),
            is_closed: false,
        };
        Self { state: Mutex::new(state), capacity, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    pub(super) fn try_send(&self, value: T) -> Sent<T> {
        let mut state = self.lock();
        let sent = state.offer(value, self.capacity);
        drop(state);
        match sent {
            Ok(wakeup) => {
                wakeup.fire();
                Sent::Delivered
            }
            Err(refused) => refused,
        }
    }

    /// Sends, waiting for room until `deadline`, or as long as it takes.
    pub(super) fn send(&self, value: T, deadline: Option<Instant>) -> Sent<T> {
        let mut state = self.lock();
        let value = match state.offer(value, self.capacity) {
            Ok(wakeup) => {
                drop(state);
                wakeup.fire();
                return Sent::Delivered;
            }
            Err(Sent::NoRoom(value)) => value,
            Err(refused) => return refused,
        };
        let waiting = Waiting::new(Some(value));
        // SAFETY: the waiter is new, and stays here until the wait below has ended, when it is in no queue.
        unsafe { state.waiting_senders.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let unlink = || unsafe { self.lock().waiting_senders.remove(&waiting.waiter) };
        match (waiting.waiter.wait(deadline, unlink), waiting.into_place()) {
            (_, None) => Sent::Delivered,
            (Woken::Notified, Some(value)) => Sent::Disconnected(value),
            (Woken::Elapsed, Some(value)) => Sent::NoRoom(value),
        }
    }

    pub(super) fn try_recv(&self) -> Received<T> {
        let mut state = self.lock();
        let (received, wakeup) = state.take();
        drop(state);
        wakeup.fire();
        received
    }

    /// Receives, waiting until `deadline`, or as long as it takes.
    pub(super) fn recv(&self, deadline: Option<Instant>) -> Received<T> {
        let mut state = self.lock();
        let (received, wakeup) = state.take();
        if !matches!(received, Received::Nothing) {
            drop(state);
            wakeup.fire();
            return received;
        }
        let waiting = Waiting::new(None);
        // SAFETY: the waiter is new, and stays here until the wait below has ended, when it is in no queue.
        unsafe { state.waiting_receivers.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let unlink = || unsafe { self.lock().waiting_receivers.remove(&waiting.waiter) };
        match (waiting.waiter.wait(deadline, unlink), waiting.into_place()) {
            (_, Some(value)) => Received::Value(value),
            (Woken::Notified, None) => Received::Disconnected,
            (Woken::Elapsed, None) => Received::Nothing,
        }
    }

    pub(super) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops one sender; the last one closes the channel, and receivers drain it.
    pub(super) fn drop_sender(&self) {
        // AcqRel: the last one sees what the others sent.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock().is_closed = true;
            self.notify_all(|state| &mut state.waiting_receivers);
        }
    }

    /// Drops one receiver; the last one closes the channel, and what is in it is dropped.
    pub(super) fn drop_receiver(&self) {
        // AcqRel: as in `drop_sender`.
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.lock();
            state.is_closed = true;
            let unreceived = std::mem::take(&mut state.queue);
            drop(state);
            self.notify_all(|state| &mut state.waiting_senders);
            drop(unreceived);
        }
    }

    /// Wakes everybody in one queue, empty-handed.
    fn notify_all(&self, queue: impl Fn(&mut State<T>) -> &mut WaitQueue) {
        loop {
            let mut state = self.lock();
            let wakeup = queue(&mut state).notify_first(|_| ());
            drop(state);
            match wakeup {
                Some(wakeup) => wakeup.fire(),
                None => return,
            }
        }
    }
}

impl<T> State<T> {
    /// Hands `value` to a receiver that waits, or to the queue.
    fn offer(&mut self, value: T, capacity: usize) -> Result<Wakeup, Sent<T>> {
        let mut value = Some(value);
        // SAFETY: only `Waiting<T>` enter this queue, and its lock is held.
        let deliver = |waiter| unsafe { *Waiting::place_of(waiter) = value.take() };
        if let Some(wakeup) = self.waiting_receivers.notify_first(deliver) {
            return Ok(wakeup);
        }
        let value = value.expect("nobody waited, so nobody took it");
        if self.is_closed {
            Err(Sent::Disconnected(value))
        } else if self.queue.len() < capacity {
            self.queue.push_back(value);
            Ok(Wakeup::None)
        } else {
            Err(Sent::NoRoom(value))
        }
    }

    /// Takes the next value, and lets the sender that has waited longest go on.
    fn take(&mut self) -> (Received<T>, Wakeup) {
        let mut next = self.queue.pop_front();
        let had_one = next.is_some();
        let queue = &mut self.queue;
        let collect = |waiter| {
            // SAFETY: only `Waiting<T>` enter this queue, and its lock is held.
            let sent = unsafe { Waiting::place_of(waiter) }.take();
            if had_one { queue.extend(sent) } else { next = sent }
        };
        // A closed channel's senders are about to be woken with their values.
        let wakeup = if self.is_closed { None } else { self.waiting_senders.notify_first(collect) };
        let received = match next {
            Some(value) => Received::Value(value),
            None if self.is_closed => Received::Disconnected,
            None => Received::Nothing,
        };
        (received, wakeup.unwrap_or(Wakeup::None))
    }
}
