//! The queue without a limit, without joiners and without an end.

use std::fmt;
use std::time::{Duration, Instant};

use super::{GetError, Queue};

/// A queue that is never full and never shut down: gevent's and Python's `SimpleQueue`. Putting never waits.
///
/// # Examples
/// ```
/// use osier::sync::SimpleQueue;
///
/// let queue = SimpleQueue::new();
/// queue.put(1);
/// queue.put(2);
/// assert_eq!((queue.get(), queue.get()), (1, 2));
/// assert!(queue.try_get().unwrap_err().is_empty());
/// ```
pub struct SimpleQueue<T> {
    queue: Queue<T>,
}

impl<T> SimpleQueue<T> {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self { queue: Queue::new() }
    }

    /// Puts an item in.
    pub fn put(&self, item: T) {
        _ = self.queue.try_put(item);
    }

    /// Gets the next item, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while the queue is empty.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has taken nothing; one that was given an item returns it.
    pub fn get(&self) -> T {
        self.queue.get().unwrap_or_else(|_| unreachable!("a simple queue is never shut down"))
    }

    /// Gets the next item, if there is one.
    ///
    /// # Errors
    /// There is none.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.queue.try_get()
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
    /// The time is up.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.queue.get_timeout(timeout)
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
    /// The time is up.
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.queue.get_deadline(deadline)
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no item is in it.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T> Default for SimpleQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue").field("len", &self.len()).finish()
    }
}
