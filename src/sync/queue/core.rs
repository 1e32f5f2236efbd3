//! A queue under its lock, with those who wait at both ends.
//!
//! Whoever comes second completes the first one's call, as in a channel: a putter gives its item to the getter that has
//! waited longest, a getter that makes room moves in the item of the putter that has. Where putting an item in runs code
//! of the item's, that is left to its putter, for whom the place is kept meanwhile.
//!
//! # Invariants
//! - Getters wait only while there is no item. Putters wait only while there is no room.
//! - No item is dropped and nobody is woken under the lock.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use super::error::{GetError, PutError};
use super::store::Store;
use crate::coroutine::unwind;
use crate::no_suspend;
use crate::sync::waiting::{Waiting, lock};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken, spend};

/// What became of a put.
pub(super) enum Put<T> {
    Done,
    Full(T),
    ShutDown(T),
}

/// What became of a get.
pub(super) enum Got<T> {
    Item(T),
    Nothing,
    ShutDown,
}

impl<T> Put<T> {
    pub(super) fn into_result(self) -> Result<(), PutError<T>> {
        match self {
            Self::Done => Ok(()),
            Self::Full(item) => Err(PutError::Full(item)),
            Self::ShutDown(item) => Err(PutError::ShutDown(item)),
        }
    }
}

impl<T> Got<T> {
    pub(super) fn into_result(self) -> Result<T, GetError> {
        match self {
            Self::Item(item) => Ok(item),
            Self::Nothing => Err(GetError::Empty),
            Self::ShutDown => Err(GetError::ShutDown),
        }
    }
}

/// See the module's page.
pub(super) struct Core<T, S> {
    state: Mutex<State<T, S>>,
    /// Whether a put may have to wait.
    is_bounded: AtomicBool,
}

struct State<T, S> {
    store: S,
    maxsize: usize,
    /// Places kept for putters that were told to put their items in themselves.
    kept: usize,
    unfinished: usize,
    is_shut: bool,
    /// Beside each a place for an item.
    getters: WaitQueue,
    /// Beside each its item.
    putters: WaitQueue,
    peekers: WaitQueue,
    joiners: WaitQueue,
    _items: PhantomData<T>,
}

/// A getter's place for its item, empty at first.
type Demand<T> = Option<T>;

/// What a putter has beside it.
struct Offer<T> {
    item: Option<T>,
    /// Whether a place is kept for the item, which its putter shall put in.
    is_admitted: bool,
}

impl<T, S: Store<T>> Core<T, S> {
    pub(super) fn new(maxsize: usize) -> Self {
        let state = State {
            store: S::default(),
            maxsize,
            kept: 0,
            unfinished: 0,
            is_shut: false,
            getters: WaitQueue::new(),
            putters: WaitQueue::new(),
            peekers: WaitQueue::new(),
            joiners: WaitQueue::new(),
            _items: PhantomData,
        };
        Self { state: Mutex::new(state), is_bounded: AtomicBool::new(maxsize < usize::MAX) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        lock(&self.state)
    }

    pub(super) fn maxsize(&self) -> usize {
        self.lock().maxsize
    }

    pub(super) fn len(&self) -> usize {
        self.lock().store.len()
    }

    pub(super) fn is_full(&self) -> bool {
        !self.lock().has_room()
    }

    pub(super) fn is_shut(&self) -> bool {
        self.lock().is_shut
    }

    pub(super) fn unfinished(&self) -> usize {
        self.lock().unfinished
    }

    pub(super) fn set_maxsize(&self, maxsize: usize) {
        let mut state = self.lock();
        // Relaxed: it only says whether a put counts.
        self.is_bounded.store(maxsize < usize::MAX, Ordering::Relaxed);
        state.maxsize = maxsize;
        let wakeups = state.admit();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    pub(super) fn try_put(&self, item: T) -> Put<T> {
        let mut state = self.lock();
        let (put, wakeups) = state.offer(item);
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        put
    }

    pub(super) fn put(&self, item: T, deadline: Option<Instant>) -> Put<T> {
        if self.is_bounded.load(Ordering::Relaxed) {
            spend();
        }
        let mut state = self.lock();
        let item = match state.offer(item) {
            (Put::Full(item), _) => item,
            (put, wakeups) => {
                drop(state);
                wakeups.into_iter().for_each(Wakeup::fire);
                return put;
            }
        };
        let waiting = Waiting::interruptible(Offer { item: Some(item), is_admitted: false });
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.putters.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let woken = waiting.waiter.wait(deadline, || unsafe { self.lock().putters.remove(&waiting.waiter) });
        let Offer { item, is_admitted } = waiting.into_place();
        match item {
            None => Put::Done,
            Some(item) if is_admitted => self.put_admitted(item),
            Some(item) if woken == Woken::Notified => Put::ShutDown(item),
            Some(item) => Put::Full(item),
        }
    }

    /// Puts an item in for which a place is kept: also if there would be no room any more, for a limit may have come.
    fn put_admitted(&self, item: T) -> Put<T> {
        let mut state = self.lock();
        state.kept -= 1;
        let offered = unwind::intercept(|| state.offer_as(item, true));
        let (put, wakeups) = match offered {
            Ok((put, wakeups)) => (Ok(put), wakeups),
            // The place is free again.
            Err(payload) => (Err(payload), state.admit()),
        };
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        put.unwrap_or_else(|payload| unwind::throw(payload))
    }

    pub(super) fn try_get(&self) -> Got<T> {
        let mut state = self.lock();
        let (got, wakeups) = state.take();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        got
    }

    pub(super) fn get(&self, deadline: Option<Instant>) -> Got<T> {
        spend();
        let mut state = self.lock();
        let (got, wakeups) = state.take();
        if !matches!(got, Got::Nothing) {
            drop(state);
            wakeups.into_iter().for_each(Wakeup::fire);
            return got;
        }
        let waiting = Waiting::<Demand<T>>::interruptible(None);
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.getters.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let woken = waiting.waiter.wait(deadline, || unsafe { self.lock().getters.remove(&waiting.waiter) });
        match (woken, waiting.into_place()) {
            (_, Some(item)) => Got::Item(item),
            (Woken::Notified, None) => Got::ShutDown,
            (Woken::Elapsed, None) => Got::Nothing,
        }
    }

    pub(super) fn try_peek(&self) -> Got<T>
    where
        T: Clone,
    {
        self.lock().look()
    }

    pub(super) fn peek(&self, deadline: Option<Instant>) -> Got<T>
    where
        T: Clone,
    {
        spend();
        loop {
            let mut state = self.lock();
            let got = state.look();
            if !matches!(got, Got::Nothing) {
                return got;
            }
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
            unsafe { state.peekers.push(&raw const waiter) };
            drop(state);
            // SAFETY: it was pushed there.
            let woken = waiter.wait(deadline, || unsafe { self.lock().peekers.remove(&waiter) });
            if woken == Woken::Elapsed {
                return Got::Nothing;
            }
        }
    }

    /// Says that the work for one item is done. False if there is none.
    pub(super) fn task_done(&self) -> bool {
        let mut state = self.lock();
        let is_due = state.unfinished > 0;
        let wakeups = state.finish(usize::from(is_due));
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        is_due
    }

    /// Waits until all work is done, or until `deadline`. Whether it is.
    pub(super) fn join(&self, deadline: Option<Instant>) -> bool {
        spend();
        let waiter = Waiter::new();
        let mut state = self.lock();
        if state.unfinished == 0 {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.joiners.push(&raw const waiter) };
        drop(state);
        // SAFETY: it was pushed there.
        waiter.wait(deadline, || unsafe { self.lock().joiners.remove(&waiter) }) == Woken::Notified
    }

    pub(super) fn shutdown(&self, now: bool) {
        let mut state = self.lock();
        state.is_shut = true;
        let dropped = now.then(|| std::mem::take(&mut state.store));
        let mut wakeups = state.putters.notify_all();
        wakeups.extend(state.getters.notify_all());
        wakeups.extend(state.peekers.notify_all());
        let done = dropped.as_ref().map_or(0, Store::len).min(state.unfinished);
        wakeups.extend(state.finish(done));
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        drop(dropped);
    }
}

impl<T, S: Store<T>> State<T, S> {
    fn has_room(&self) -> bool {
        self.store.len() + self.kept < self.maxsize
    }

    /// Gives an item to a getter that waits, or puts it in if there is room.
    fn offer(&mut self, item: T) -> (Put<T>, Vec<Wakeup>) {
        self.offer_as(item, false)
    }

    /// As [`offer`](Self::offer), where one that `is_admitted` asks for no room.
    fn offer_as(&mut self, item: T, is_admitted: bool) -> (Put<T>, Vec<Wakeup>) {
        if self.is_shut {
            return (Put::ShutDown(item), Vec::new());
        }
        let mut item = Some(item);
        // SAFETY: only `Waiting<Demand<T>>` enter this queue, and its lock is held.
        let deliver = |waiter| unsafe { *Waiting::<Demand<T>>::place_of(waiter) = item.take() };
        if let Some(wakeup) = self.getters.notify_first(deliver) {
            self.unfinished += 1;
            return (Put::Done, vec![wakeup]);
        }
        let Some(item) = item else { unreachable!("nobody waited, so nobody took it") };
        if !is_admitted && !self.has_room() {
            return (Put::Full(item), Vec::new());
        }
        self.store.push(item);
        self.unfinished += 1;
        (Put::Done, self.peekers.notify_all())
    }

    /// Takes the next item, and lets the putter go on for whom there is room then.
    fn take(&mut self) -> (Got<T>, Vec<Wakeup>) {
        if let Some(item) = self.store.pop() {
            return (Got::Item(item), self.admit());
        }
        let mut item = None;
        // SAFETY: only `Waiting<Offer<T>>` enter this queue, and its lock is held.
        let collect = |waiter| item = unsafe { Waiting::<Offer<T>>::place_of(waiter) }.item.take();
        let wakeup = self.putters.notify_first(collect);
        match item {
            Some(item) => {
                self.unfinished += 1;
                (Got::Item(item), Vec::from_iter(wakeup))
            }
            None if self.is_shut => (Got::ShutDown, Vec::new()),
            None => (Got::Nothing, Vec::new()),
        }
    }

    /// A clone of the next item.
    fn look(&self) -> Got<T>
    where
        T: Clone,
    {
        match self.store.peek() {
            // The lock is held: a clone that waited would hold up a thread that wants it.
            Some(item) => Got::Item(no_suspend(|| item.clone())),
            None if self.is_shut => Got::ShutDown,
            None => Got::Nothing,
        }
    }

    /// Moves in the items of those putters for whom there is room, or keeps places for them.
    fn admit(&mut self) -> Vec<Wakeup> {
        let mut wakeups = Vec::new();
        while self.has_room() {
            let (store, kept) = (&mut self.store, &mut self.kept);
            let admit = |waiter| {
                // SAFETY: only `Waiting<Offer<T>>` enter this queue, and its lock is held.
                let offer = unsafe { Waiting::<Offer<T>>::place_of(waiter) };
                if S::IS_PASSIVE {
                    offer.item.take().into_iter().for_each(|item| store.push(item));
                } else {
                    offer.is_admitted = true;
                    *kept += 1;
                }
            };
            let Some(wakeup) = self.putters.notify_first(admit) else { break };
            wakeups.push(wakeup);
            self.unfinished += usize::from(S::IS_PASSIVE);
        }
        if !wakeups.is_empty() {
            wakeups.extend(self.peekers.notify_all());
        }
        wakeups
    }

    /// Says that the work for `n` items is done.
    fn finish(&mut self, n: usize) -> Vec<Wakeup> {
        self.unfinished -= n;
        if self.unfinished == 0 { self.joiners.notify_all() } else { Vec::new() }
    }
}
