//! gevent's queues: what is put by some tasks is got by others.
//!
//! | gevent | osier | comes out |
//! | --- | --- | --- |
//! | `Queue`, `JoinableQueue` | [`Queue`] | in the order in which it was put |
//! | `LifoQueue` | [`LifoQueue`] | the latest first |
//! | `PriorityQueue` | [`PriorityQueue`] | the smallest first, of equals the earliest |
//! | `SimpleQueue` | [`SimpleQueue`] | as put; it is never full, and never shut down |
//! | `Channel` | [`Channel`] | as put; a putter waits until its receiver goes on |
//!
//! All are handles: clones are the same queue, for tasks and threads alike. Items need not be `Send`; a queue of such
//! items serves the tasks of one worker.
//!
//! An end marker is [`shutdown`](QueueOf::shutdown): getters drain the queue, and `for item in &queue` ends. Compared
//! with [`channel`](super::channel): there the last end that is dropped closes; here every handle can do everything.
//!
//! # Rooms
//! - `core`: a queue under its lock. `store`: the orders. `channel`, `simple`: the two of their own. `error`: errors.

mod channel;
mod core;
mod error;
mod simple;
mod store;

pub use channel::{Channel, Iter as ChannelIter};
pub use error::{GetError, PutError, ShutDown};
pub use simple::SimpleQueue;

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::core::{Core, Got, Put};
use self::store::{Fifo, Heap, Lifo, Store};
use super::waiting::after;

/// A queue: first in, first out.
///
/// # Examples
/// ```
/// use osier::sync::Queue;
///
/// let jobs = Queue::bounded(2);
/// let worker = osier::spawn({
///     let jobs = jobs.clone();
///     move || (&jobs).into_iter().sum::<u32>()
/// });
/// (1..=10).for_each(|n| jobs.put(n).unwrap());
/// jobs.shutdown();
/// assert_eq!(worker.join().unwrap(), 55);
/// ```
///
/// A queue of what is not `Send` stays on its thread:
/// ```compile_fail
/// let queue = osier::sync::Queue::<std::rc::Rc<u8>>::new();
/// osier::spawn(move || queue.get());
/// ```
pub type Queue<T> = QueueOf<T, Fifo<T>>;

/// A queue that tells its joiners when all work is done: every [`Queue`] does. The name is gevent's.
///
/// # Examples
/// ```
/// use osier::sync::JoinableQueue;
///
/// let jobs = JoinableQueue::new();
/// drop(osier::spawn({
///     let jobs = jobs.clone();
///     move || {
///         for _job in &jobs {
///             jobs.task_done();
///         }
///     }
/// }));
/// (0..10).for_each(|n| jobs.put(n).unwrap());
/// jobs.join();
/// assert_eq!(jobs.unfinished(), 0);
/// jobs.shutdown();
/// ```
pub type JoinableQueue<T> = Queue<T>;

/// A queue that gives the latest item first.
pub type LifoQueue<T> = QueueOf<T, Lifo<T>>;

/// A queue that gives the smallest item first; of equals, the one that was put first.
///
/// A comparison that panics does so in the call that needed it, and leaves the queue as it was. Comparisons must neither
/// wait (that panics) nor use the queue.
///
/// # Examples
/// ```
/// use osier::sync::PriorityQueue;
///
/// let queue: PriorityQueue<_> = [3, 1, 2].into_iter().collect();
/// queue.shutdown();
/// assert!((&queue).into_iter().eq([1, 2, 3]));
/// ```
pub type PriorityQueue<T> = QueueOf<T, Heap<T>>;

/// A queue of items of type `T`; `S` says in which order they come out. See [`Queue`], [`LifoQueue`], [`PriorityQueue`].
pub struct QueueOf<T, S> {
    core: Arc<Core<T, S>>,
}

impl<T, S: Store<T>> QueueOf<T, S> {
    /// Makes one without a limit: putting never waits.
    pub fn new() -> Self {
        Self::bounded(usize::MAX)
    }

    /// Makes one that holds at most `maxsize` items. With 0, each item goes from its putter to a getter.
    pub fn bounded(maxsize: usize) -> Self {
        Self { core: Arc::new(Core::new(maxsize)) }
    }

    /// How many items it may hold; `None` without a limit.
    pub fn maxsize(&self) -> Option<usize> {
        Some(self.core.maxsize()).filter(|&maxsize| maxsize != usize::MAX)
    }

    /// Sets how many items it may hold; `None` for no limit. Putters that have room now go on; what is too much stays.
    pub fn set_maxsize(&self, maxsize: impl Into<Option<usize>>) {
        self.core.set_maxsize(maxsize.into().unwrap_or(usize::MAX));
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether no item is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// Puts an item in, waiting for room.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while the queue is full.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has not put the item, which is dropped as its stack unwinds.
    ///
    /// # Errors
    /// The queue is shut down, or was meanwhile; the item comes back.
    pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
        match self.core.put(item, None) {
            Put::Done => Ok(()),
            Put::Full(item) | Put::ShutDown(item) => Err(ShutDown(item)),
        }
    }

    /// Puts an item in if there is room.
    ///
    /// # Errors
    /// There is none, or the queue is shut down; the item comes back.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.core.try_put(item).into_result()
    }

    /// Puts an item in, waiting for room for at most `timeout`.
    ///
    /// # Suspends
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    ///
    /// # Errors
    /// The time is up, or the queue is shut down; the item comes back.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        if timeout.is_zero() { self.try_put(item) } else { self.core.put(item, after(timeout)).into_result() }
    }

    /// Puts an item in, waiting for room until `deadline`.
    ///
    /// # Suspends
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    ///
    /// # Errors
    /// The time is up, or the queue is shut down; the item comes back.
    pub fn put_deadline(&self, item: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.core.put(item, Some(deadline)).into_result()
    }

    /// Gets the next item, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while the queue is empty.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has taken nothing; one that was given an item returns it.
    ///
    /// # Errors
    /// The queue is shut down, and drained.
    pub fn get(&self) -> Result<T, ShutDown> {
        match self.core.get(None) {
            Got::Item(item) => Ok(item),
            Got::Nothing | Got::ShutDown => Err(ShutDown(())),
        }
    }

    /// Gets the next item, if there is one.
    ///
    /// # Errors
    /// There is none; the queue is shut down, and drained.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.core.try_get().into_result()
    }

    /// Gets the next item, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// The time is up; the queue is shut down, and drained.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        if timeout.is_zero() { self.try_get() } else { self.core.get(after(timeout)).into_result() }
    }

    /// Gets the next item, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// The time is up; the queue is shut down, and drained.
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.core.get(Some(deadline)).into_result()
    }

    /// A clone of the next item, which stays in the queue; waits for one.
    ///
    /// The clone is made under the queue's lock: it must neither wait (that panics) nor use the queue. What is put while a getter
    /// waits goes to that one, and is never the next in the queue.
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// The queue is shut down, and drained.
    pub fn peek(&self) -> Result<T, ShutDown>
    where
        T: Clone,
    {
        match self.core.peek(None) {
            Got::Item(item) => Ok(item),
            Got::Nothing | Got::ShutDown => Err(ShutDown(())),
        }
    }

    /// A clone of the next item, if there is one.
    ///
    /// # Errors
    /// As [`try_get`](Self::try_get).
    pub fn try_peek(&self) -> Result<T, GetError>
    where
        T: Clone,
    {
        self.core.try_peek().into_result()
    }

    /// A clone of the next item; waits for one for at most `timeout`. See [`peek`](Self::peek).
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn peek_timeout(&self, timeout: Duration) -> Result<T, GetError>
    where
        T: Clone,
    {
        if timeout.is_zero() { self.try_peek() } else { self.core.peek(after(timeout)).into_result() }
    }

    /// A clone of the next item; waits for one until `deadline`. See [`peek`](Self::peek).
    ///
    /// # Suspends
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn peek_deadline(&self, deadline: Instant) -> Result<T, GetError>
    where
        T: Clone,
    {
        self.core.peek(Some(deadline)).into_result()
    }

    /// How many items have been put for which [`task_done`](Self::task_done) was not called.
    pub fn unfinished(&self) -> usize {
        self.core.unfinished()
    }

    /// Says that the work for one item that was got is done.
    ///
    /// # Panics
    /// If it is called more often than items were put.
    pub fn task_done(&self) {
        assert!(self.core.task_done(), "`task_done` is for items that were put: it was called too often");
    }

    /// Waits until [`task_done`](Self::task_done) was called for all items that were put.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; nothing else changes.
    pub fn join(&self) {
        self.core.join(None);
    }

    /// Waits as [`join`](Self::join) does, for at most `timeout`. Whether all work is done.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.unfinished() == 0 || (!timeout.is_zero() && self.core.join(after(timeout)))
    }

    /// Waits as [`join`](Self::join) does, until `deadline`. Whether all work is done.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    pub fn join_deadline(&self, deadline: Instant) -> bool {
        self.core.join(Some(deadline))
    }

    /// Shuts the queue down: nothing is put any more, what is in it can be got. Putters that wait get their items back,
    /// getters that wait get an error.
    pub fn shutdown(&self) {
        self.core.shutdown(false);
    }

    /// Shuts the queue down and drops what is in it, as if the work for it were done.
    pub fn shutdown_now(&self) {
        self.core.shutdown(true);
    }

    /// Whether it is shut down.
    pub fn is_shut_down(&self) -> bool {
        self.core.is_shut()
    }

    /// Gets item after item, waiting for each; ends when the queue is shut down, and drained.
    pub fn iter(&self) -> Iter<'_, T, S> {
        Iter { queue: self }
    }
}

impl<T, S> Clone for QueueOf<T, S> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

impl<T, S: Store<T>> Default for QueueOf<T, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, S: Store<T>> FromIterator<T> for QueueOf<T, S> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let queue = Self::new();
        queue.extend_with(items);
        queue
    }
}

impl<T, S: Store<T>> QueueOf<T, S> {
    /// Puts items into a queue without a limit.
    fn extend_with(&self, items: impl IntoIterator<Item = T>) {
        for item in items {
            _ = self.try_put(item);
        }
    }
}

impl<T, S: Store<T>> fmt::Debug for QueueOf<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Queue");
        f.field("len", &self.len()).field("maxsize", &self.maxsize()).field("shut_down", &self.is_shut_down()).finish()
    }
}

/// Gets item after item. See [`QueueOf::iter`].
#[derive(Debug)]
pub struct Iter<'a, T, S: Store<T>> {
    queue: &'a QueueOf<T, S>,
}

impl<T, S: Store<T>> Iterator for Iter<'_, T, S> {
    type Item = T;

    /// # Suspends
    /// As [`QueueOf::get`].
    ///
    /// # Cancel safety
    /// As [`QueueOf::get`].
    fn next(&mut self) -> Option<T> {
        self.queue.get().ok()
    }
}

impl<T, S: Store<T>> FusedIterator for Iter<'_, T, S> {}

/// Gets item after item, with a handle of its own. See [`QueueOf::iter`].
#[derive(Debug)]
pub struct IntoIter<T, S: Store<T>> {
    queue: QueueOf<T, S>,
}

impl<T, S: Store<T>> Iterator for IntoIter<T, S> {
    type Item = T;

    /// # Suspends
    /// As [`QueueOf::get`].
    ///
    /// # Cancel safety
    /// As [`QueueOf::get`].
    fn next(&mut self) -> Option<T> {
        self.queue.get().ok()
    }
}

impl<T, S: Store<T>> FusedIterator for IntoIter<T, S> {}

impl<T, S: Store<T>> IntoIterator for QueueOf<T, S> {
    type Item = T;
    type IntoIter = IntoIter<T, S>;

    fn into_iter(self) -> IntoIter<T, S> {
        IntoIter { queue: self }
    }
}

impl<'a, T, S: Store<T>> IntoIterator for &'a QueueOf<T, S> {
    type Item = T;
    type IntoIter = Iter<'a, T, S>;

    fn into_iter(self) -> Iter<'a, T, S> {
        self.iter()
    }
}
