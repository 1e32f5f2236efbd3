//! gevent's channel: a putter waits until its receiver goes on with the item.
//!
//! A putter that finds a getter gives it the item, and then waits itself, in the queue of those who have handed over. The
//! getter wakes it, by its ticket, when it has come back from its own wait.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::core::{Got, Put};
use super::error::{GetError, PutError, ShutDown};
use crate::coroutine::region;
use crate::sync::waiting::{Waiting, after, lock};
use crate::task::{WaitQueue, Wakeup, Woken, spend};

/// A queue without room: gevent's `Channel`. [`put`](Self::put) returns once its receiver runs on with the item.
///
/// The rendezvous channel, [`channel::bounded(0)`](crate::sync::channel::bounded), returns to the sender at the hand-over
/// already.
///
/// # Examples
/// ```
/// use osier::sync::Channel;
///
/// let channel = Channel::new();
/// let putter = osier::spawn({
///     let channel = channel.clone();
///     move || {
///         channel.put("hello").unwrap();
///         channel.shutdown();
///     }
/// });
/// assert!((&channel).into_iter().eq(["hello"]));
/// putter.join().unwrap();
/// ```
pub struct Channel<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    /// Beside each its item.
    putters: WaitQueue,
    /// Beside each a place for an item and its putter's ticket.
    getters: WaitQueue,
    /// Putters whose items are with getters that have not come back yet. Beside each its ticket.
    handed_over: WaitQueue,
    tickets: u64,
    is_shut: bool,
    _items: PhantomData<T>,
}

/// What a getter has beside it: the item, and the ticket of a putter that waits for it to go on.
type Demand<T> = Option<(T, Option<u64>)>;

impl<T> Channel<T> {
    /// Makes one.
    pub fn new() -> Self {
        let state = State {
            putters: WaitQueue::new(),
            getters: WaitQueue::new(),
            handed_over: WaitQueue::new(),
            tickets: 0,
            is_shut: false,
            _items: PhantomData,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Gives an item to a getter, waits for one if need be, and until it goes on with the item.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits for a getter has not put the item. One that is cancelled later has: it
    /// returns.
    ///
    /// # Errors
    /// The channel is shut down, or was meanwhile; the item comes back.
    pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
        match self.put_until(item, None) {
            Put::Done => Ok(()),
            Put::Full(item) | Put::ShutDown(item) => Err(ShutDown(item)),
        }
    }

    /// Gives an item to a getter that waits. Does not wait until it goes on.
    ///
    /// # Errors
    /// No getter waits, or the channel is shut down; the item comes back.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        let mut state = lock(&self.state);
        match state.hand_over(item, None) {
            Ok(wakeup) => {
                drop(state);
                wakeup.fire();
                Ok(())
            }
            Err(item) if state.is_shut => Err(PutError::ShutDown(item)),
            Err(item) => Err(PutError::Full(item)),
        }
    }

    /// Puts an item as [`put`](Self::put) does; waits for a getter for at most `timeout`.
    ///
    /// # Suspends
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    ///
    /// # Errors
    /// No getter has come in time, or the channel is shut down; the item comes back.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(item, after(timeout)).into_result()
    }

    /// Puts an item as [`put`](Self::put) does; waits for a getter until `deadline`.
    ///
    /// # Suspends
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_deadline(&self, item: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.put_until(item, Some(deadline)).into_result()
    }

    /// Gets an item, waiting for a putter.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has taken nothing; one that was given an item returns it.
    ///
    /// # Errors
    /// The channel is shut down.
    pub fn get(&self) -> Result<T, ShutDown> {
        match self.get_until(None) {
            Got::Item(item) => Ok(item),
            Got::Nothing | Got::ShutDown => Err(ShutDown(())),
        }
    }

    /// Gets an item, if a putter waits.
    ///
    /// # Errors
    /// None waits; the channel is shut down.
    pub fn try_get(&self) -> Result<T, GetError> {
        let mut state = lock(&self.state);
        let (got, wakeup) = state.take();
        drop(state);
        wakeup.into_iter().for_each(Wakeup::fire);
        got.into_result()
    }

    /// Gets an item, waiting for a putter for at most `timeout`.
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// The time is up; the channel is shut down.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        if timeout.is_zero() { self.try_get() } else { self.get_until(after(timeout)).into_result() }
    }

    /// Gets an item, waiting for a putter until `deadline`.
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.get_until(Some(deadline)).into_result()
    }

    /// Shuts the channel down: everybody who waits gets an error, putters with their items.
    pub fn shutdown(&self) {
        let mut state = lock(&self.state);
        state.is_shut = true;
        let mut wakeups = state.putters.notify_all();
        wakeups.extend(state.getters.notify_all());
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    /// Whether it is shut down.
    pub fn is_shut_down(&self) -> bool {
        lock(&self.state).is_shut
    }

    /// Gets item after item, waiting for each; ends when the channel is shut down.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { channel: self }
    }

    fn put_until(&self, item: T, deadline: Option<Instant>) -> Put<T> {
        if region::is_forbidden() && !self.is_shut_down() {
            // Now: who has handed the item over waits, and cannot take it back.
            region::forbid("wait");
        }
        let mut state = lock(&self.state);
        let ticket = state.tickets;
        let item = match state.hand_over(item, Some(ticket)) {
            Ok(wakeup) => {
                state.tickets += 1;
                let waiting = Waiting::new(ticket);
                // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
                unsafe { state.handed_over.push(waiting.as_waiter()) };
                drop(state);
                wakeup.fire();
                // SAFETY: it was pushed there.
                let leave = || unsafe { lock(&self.state).handed_over.remove(&waiting.waiter) };
                let go_on = || {
                    // The item is delivered. The cancellation waits for the next wait, and so no longer for the getter.
                    // SAFETY: it was pushed there.
                    let woken = unsafe { lock(&self.state).handed_over.notify_this(waiting.as_waiter()) };
                    woken.into_iter().for_each(Wakeup::fire);
                };
                waiting.waiter.wait_through_cancel(go_on, leave);
                return Put::Done;
            }
            Err(item) if state.is_shut => return Put::ShutDown(item),
            Err(item) => item,
        };
        let waiting = Waiting::interruptible(Some(item));
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.putters.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let leave = || unsafe { lock(&self.state).putters.remove(&waiting.waiter) };
        match (waiting.waiter.wait(deadline, leave), waiting.into_place()) {
            (_, None) => Put::Done,
            (Woken::Notified, Some(item)) => Put::ShutDown(item),
            (Woken::Elapsed, Some(item)) => Put::Full(item),
        }
    }

    fn get_until(&self, deadline: Option<Instant>) -> Got<T> {
        spend();
        let mut state = lock(&self.state);
        let (got, wakeup) = state.take();
        if !matches!(got, Got::Nothing) {
            drop(state);
            wakeup.into_iter().for_each(Wakeup::fire);
            return got;
        }
        let waiting = Waiting::<Demand<T>>::interruptible(None);
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.getters.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let leave = || unsafe { lock(&self.state).getters.remove(&waiting.waiter) };
        let woken = waiting.waiter.wait(deadline, leave);
        match (woken, waiting.into_place()) {
            (_, Some((item, ticket))) => {
                let putter = ticket.and_then(|ticket| lock(&self.state).find(ticket));
                putter.into_iter().for_each(Wakeup::fire);
                Got::Item(item)
            }
            (Woken::Notified, None) => Got::ShutDown,
            (Woken::Elapsed, None) => Got::Nothing,
        }
    }
}

impl<T> State<T> {
    /// Gives an item to the getter that has waited longest. The item comes back if none waits.
    fn hand_over(&mut self, item: T, ticket: Option<u64>) -> Result<Wakeup, T> {
        let mut item = Some(item);
        // SAFETY: only `Waiting<Demand<T>>` enter this queue, and its lock is held.
        let place_of = |waiter| unsafe { Waiting::<Demand<T>>::place_of(waiter) };
        let deliver = |waiter| *place_of(waiter) = item.take().map(|item| (item, ticket));
        match self.getters.notify_first(deliver) {
            Some(wakeup) => Ok(wakeup),
            None => Err(item.unwrap_or_else(|| unreachable!("nobody waited, so nobody took it"))),
        }
    }

    /// Takes the item of the putter that has waited longest, who may go on then.
    fn take(&mut self) -> (Got<T>, Option<Wakeup>) {
        let mut item = None;
        // SAFETY: only `Waiting<Option<T>>` enter this queue, and its lock is held.
        let place_of = |waiter| unsafe { Waiting::<Option<T>>::place_of(waiter) };
        let wakeup = self.putters.notify_first(|waiter| item = place_of(waiter).take());
        let got = match item {
            Some(item) => Got::Item(item),
            None if self.is_shut => Got::ShutDown,
            None => Got::Nothing,
        };
        (got, wakeup)
    }

    /// Notifies the putter with that ticket, if it still waits.
    fn find(&mut self, ticket: u64) -> Option<Wakeup> {
        // SAFETY: only `Waiting<u64>` enter this queue, and its lock is held.
        let waiter = self.handed_over.find(|waiter| *unsafe { Waiting::<u64>::place_of(waiter) } == ticket)?;
        // SAFETY: it is in this queue, by this pointer.
        unsafe { self.handed_over.notify_this(waiter) }
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("shut_down", &self.is_shut_down()).finish()
    }
}

/// Gets item after item. See [`Channel::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    channel: &'a Channel<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    /// # Suspends
    /// As [`Channel::get`].
    ///
    /// # Cancel safety
    /// As [`Channel::get`].
    fn next(&mut self) -> Option<T> {
        self.channel.get().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

impl<'a, T> IntoIterator for &'a Channel<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
